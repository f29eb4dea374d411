"""Rules for arguments, and the wording of errors.

Each check takes the name that the user wrote and the value, and returns the number to
store. A traced value cannot be looked at, so it cannot be refused: it is moved to the
nearest allowed value, and NaN to the smallest. No schedule with finite rates is NaN.
"""

import math
import numbers
from collections.abc import Sequence
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from optax_cosine._arrays import Pytree, Scalar, is_float, is_traced
from optax_cosine._time import LARGEST, clamp_counts

_FLOAT32_MAX = float(np.finfo(np.float32).max)
SMALLEST_RATE = float(np.finfo(np.float32).tiny)
# Half the range of float32, so that the difference of two rates does not overflow.
LARGEST_RATE = _FLOAT32_MAX / 2
SHORTEST = 1e-6  # The length of the shortest part, in steps.


def short_repr(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an int of {value.bit_length()} bits"
    return repr(value)


# --- Numbers ---


def _check_scalar(name: str, value: Scalar) -> Scalar:
    """`value` as a Python number, or unchanged if it is traced."""
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        if np.ndim(value) != 0:
            raise ValueError(
                f"{name} must be one number, got an array of shape {np.shape(value)}: "
                "for many schedules at once, build them under jax.vmap."
            )
        # NumPy counts timedelta64 among the integers.
        is_span = isinstance(value, np.timedelta64)
        if is_span or not (is_float(value) or jnp.issubdtype(value.dtype, jnp.integer)):
            raise TypeError(f"{name} must be a number, got one of {value.dtype}.")
        if is_traced(value):
            return value
        # bfloat16 and similar types become Python numbers by way of float64.
        dtype = np.float64 if is_float(value) else value.dtype
        return np.asarray(value).astype(dtype).item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        hint = "; YAML reads 3e-4 as text, write 3.0e-4" if _is_numeric(value) else ""
        raise TypeError(f"{name} must be a number, got {value!r}{hint}.")
    return value


def _is_numeric(value: object) -> bool:
    if not isinstance(value, str) or "e" not in value:
        return False
    return value.replace(".", "").replace("e-", "").isdigit()


def _check_range(
    name: str, value: Scalar, least: float, most: float, rule: str
) -> Scalar:
    """A number from `least` to `most`. A traced number is moved into that range."""
    value = _check_scalar(name, value)
    if is_traced(value):
        return _move_into_range(value, least, most)
    if not least <= value <= most:
        raise ValueError(f"{name} must be {rule}, got {short_repr(value)}.")
    return value


def _move_into_range(value: jax.Array, least: float, most: float) -> jax.Array:
    """A traced number from `least` to `most`: a float, or an int if these are ints."""
    if isinstance(most, float) or is_float(value):
        value = value.astype(jnp.result_type(float))
        return jnp.where(value > least, jnp.minimum(value, most), least)
    value = value.astype(np.int32) if value.dtype.itemsize < 4 else value
    is_unsigned = jnp.issubdtype(value.dtype, jnp.unsignedinteger)
    least = max(least, 0) if is_unsigned else least
    # An unsigned number would wrap if it were negated or subtracted.
    return jnp.clip(value, math.ceil(least), most).astype(np.int32)


def check_rate(name: str, value: Scalar) -> Scalar:
    """A value that float32 can hold. NumPy's and JAX's numbers keep their dtype."""
    number = _check_scalar(name, value)
    if is_traced(number):
        # The range of a narrow type is within that of a rate.
        wide = is_float(number) and number.dtype.itemsize >= 4
        return jnp.clip(number, -LARGEST_RATE, LARGEST_RATE) if wide else number
    rule = "finite and at most 1.7e38 in size, half the range of float32"
    _check_range(name, number, -LARGEST_RATE, LARGEST_RATE, rule)
    if number != 0 and abs(number) < SMALLEST_RATE:
        rule = "0 or at least 1.2e-38 in size, the smallest number of float32"
        raise ValueError(f"{name} must be {rule}, got {number!r}.")
    return np.asarray(value)[()] if hasattr(value, "dtype") else number


def check_positive(name: str, value: Scalar) -> Scalar:
    """A number above 0 that float32 can hold."""
    rule = "from 1.2e-38 to 3.4e38, the range of float32 above 0"
    return _check_range(name, value, SMALLEST_RATE, _FLOAT32_MAX, rule)


def check_fraction(name: str, value: Scalar) -> Scalar:
    """A number from 0 to 1."""
    return _check_range(name, value, 0.0, 1.0, "from 0 to 1")


# --- Steps ---


def check_steps(name: str, value: Scalar, least: int = 1) -> Scalar:
    """A whole number of steps from `least` to 2**31 - 1; `1e4` is the int 10000."""
    if is_traced(value := _check_scalar(name, value)):
        return _move_into_range(value, least, LARGEST)
    if 0 < value < 1:
        raise ValueError(
            f"{name} must be a whole number of steps, got {value!r}: "
            f"for a fraction of the run write round({value!r} * total_steps)."
        )
    return check_count(name, value, "steps", least)


def check_count(name: str, value: Scalar, of_what: str, least: int = 1) -> int:
    """A whole number of something, which is not traced."""
    if is_traced(value := _check_scalar(name, value)):
        raise TypeError(f"{name} must be a plain number, got a traced {value.dtype}.")
    rule = f"from {least} to 2**31 - 1 {of_what}"
    value = _check_range(name, value, least, LARGEST, rule)
    if value != int(value):
        raise ValueError(
            f"{name} must be a whole number of {of_what}, got {value!r}: "
            f"write round({value!r})."
        )
    return int(value)


def check_time(name: str, value: Scalar, least: int) -> Scalar:
    """A number of steps, whole or not, from `least` to 2**31 - 1."""
    rule = f"from {least if least >= 0 else '-(2**31 - 1)'} to 2**31 - 1 steps"
    return _as_exact(_check_range(name, value, least, LARGEST, rule))


def check_length(name: str, value: Scalar) -> Scalar:
    """A number of steps above 0, whole or not, up to 2**31 - 1."""
    rule = "from 1e-6 to 2**31 - 1 steps"
    return _as_exact(_check_range(name, value, SHORTEST, LARGEST, rule))


def _as_exact(value: Scalar) -> Scalar:
    if is_traced(value):
        return value
    return int(value) if value == int(value) else Fraction(value)


def check_counts(counts: object) -> Pytree:
    """A count or an array of counts, in a form that JAX takes as it is."""
    if isinstance(counts, int):
        return np.int32(min(max(counts, 0), LARGEST))
    some = jax.tree.leaves(counts)
    if hasattr(counts, "__jax_array__") or any(isinstance(x, jax.Array) for x in some):
        counts = jnp.asarray(counts)
        if not _is_real(counts.dtype):
            raise TypeError(f"count must be a real number, got one of {counts.dtype}.")
        return counts
    try:
        array = np.asarray(counts)
    except ValueError:
        array = np.array(None)
    if array.dtype == object and all(isinstance(x, numbers.Real) for x in array.flat):
        # Python's integers beyond 64 bits, and fractions.
        clamped = [float(min(max(x, 0), LARGEST)) for x in array.flat]
        array = np.array(clamped).reshape(array.shape)
    if not _is_real(array.dtype):
        raise TypeError(
            "count must be a real number or an array of them, of one length in each "
            f"axis, got {short_repr(counts)}."
        )
    return clamp_counts(array)


def _is_real(dtype: np.dtype) -> bool:
    # NumPy counts timedelta64 among the integers.
    kinds = np.bool_, np.integer, np.floating
    is_real = any(jnp.issubdtype(dtype, kind) for kind in kinds)
    return is_real and dtype.kind != "m"


# --- Names and relations ---


def check_choice(name: str, value: object, allowed: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.")
    return value


def check_not_above(
    high_name: str, high: Scalar, low_name: str, low: Scalar, dtype: np.dtype
) -> None:
    """A named curve anneals: its end value, as stored, is not above its start."""
    if is_traced(high) or is_traced(low) or dtype.type(low) <= dtype.type(high):
        return
    low, high = _check_scalar(low_name, low), _check_scalar(high_name, high)
    if high < 0:
        raise ValueError(
            f"{low_name}={low!r} is above {high_name}={high!r}. A learning rate is 0 "
            f"or more; if a rise is meant, write cosine({high!r}, {low!r}, steps=...)."
        )
    raise ValueError(
        f"{low_name}={low!r} is above {high_name}={high!r}; {low_name} is a rate, not "
        f"a ratio: for a tenth of {high_name} write {low_name}=0.1 * {high_name}."
    )
