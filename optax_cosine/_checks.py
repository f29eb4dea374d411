"""Rules for arguments, and the wording of every error.

Each rule takes the name the user wrote and the value, and returns the number to store.
Traced numbers cannot be looked at. Lengths and exponents are moved into range instead,
so that no schedule with finite rates is ever NaN.
"""

import numbers
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

LARGEST = 2**31 - 1  # the largest int32, and so the largest count Optax reaches
LARGEST_RATE = float(np.finfo(np.float32).max) / 2  # so that no difference overflows
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_FLOAT32_TINY = float(np.finfo(np.float32).tiny)


def is_traced(value: Any) -> bool:
    return isinstance(value, Tracer)


def _scalar(name: str, value: Any) -> Any:
    """`value` as a Python number, or as it is when traced."""
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        if np.ndim(value) != 0:
            raise ValueError(
                f"{name} must be one number, got an array of shape {np.shape(value)}: "
                "for many schedules at once, build them under jax.vmap."
            )
        is_float = jnp.issubdtype(value.dtype, jnp.floating)
        is_span = isinstance(value, np.timedelta64)  # to NumPy an integer
        if is_span or not (is_float or jnp.issubdtype(value.dtype, jnp.integer)):
            raise TypeError(f"{name} must be a number, got one of {value.dtype}.")
        if is_traced(value):
            return value
        # bfloat16 and its kin are no Python numbers until they are float64.
        return np.asarray(value).astype(np.float64 if is_float else value.dtype).item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    return value


def shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an int of {value.bit_length()} bits"
    return repr(value)


def rate(name: str, value: Any) -> Any:
    """A value that float32 can hold; NumPy's and JAX's numbers keep their dtype."""
    number = _scalar(name, value)
    if is_traced(number):
        wide = jnp.issubdtype(number.dtype, jnp.floating) and number.dtype.itemsize >= 4
        return jnp.clip(number, -LARGEST_RATE, LARGEST_RATE) if wide else number
    if number != 0 and not _FLOAT32_TINY <= abs(number) <= LARGEST_RATE:
        raise ValueError(
            f"{name} must be 0 or from 1.2e-38 to 1.7e38 in size, half the range of "
            f"float32, got {shown(number)}."
        )
    return np.asarray(value)[()] if hasattr(value, "dtype") else number


def positive(name: str, value: Any) -> Any:
    """A number above 0 that float32 can hold."""
    if is_traced(value := _scalar(name, value)):
        value = value.astype(jnp.result_type(float))
        in_range = jnp.minimum(value, _FLOAT32_MAX)
        return jnp.where(value > _FLOAT32_TINY, in_range, _FLOAT32_TINY)
    if not _FLOAT32_TINY <= value <= _FLOAT32_MAX:
        raise ValueError(
            f"{name} must be from 1.2e-38 to 3.4e38, the range of float32 above 0, "
            f"got {shown(value)}."
        )
    return value


def fraction(name: str, value: Any) -> Any:
    """A number from 0 to 1."""
    if is_traced(value := _scalar(name, value)):
        value = value.astype(jnp.result_type(float))
        return jnp.clip(jnp.where(value > 0, value, 0), 0, 1)
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, got {shown(value)}.")
    return value


def whole_steps(name: str, value: Any, least: int = 1) -> Any:
    """A whole number of steps up to 2**31 - 1; `1e4` is the int 10000."""
    if is_traced(value := _scalar(name, value)):
        return value
    if 0 < value < 1:
        raise ValueError(
            f"{name} must be a whole number of steps, got {value!r}: "
            f"for a fraction of the run write round({value!r} * total_steps)."
        )
    return whole(name, value, "steps", least)


def whole(name: str, value: Any, of_what: str, least: int = 1) -> int:
    """A plain whole number of something, up to 2**31 - 1."""
    if is_traced(value := _scalar(name, value)):
        raise TypeError(f"{name} must be a plain number, got a traced {value.dtype}.")
    if not least <= value <= LARGEST:
        raise ValueError(
            f"{name} must be from {least} to 2**31 - 1 {of_what}, got {shown(value)}."
        )
    if value != int(value):
        raise ValueError(f"{name} must be a whole number of {of_what}, got {value!r}.")
    return int(value)


def signed_steps(name: str, value: Any) -> Any:
    """A whole number of steps in either direction."""
    if is_traced(value := _scalar(name, value)):
        return value
    if not abs(value) <= LARGEST or value != int(value):
        raise ValueError(
            f"{name} must be a whole number from -(2**31 - 1) to 2**31 - 1, got "
            f"{shown(value)}."
        )
    return int(value)


def any_steps(name: str, value: Any) -> Any:
    """A number of steps above 0, whole or not, up to 2**31 - 1."""
    if is_traced(value := _scalar(name, value)):
        return value
    if not 1e-6 <= value <= LARGEST:
        raise ValueError(
            f"{name} must be from 1e-6 to 2**31 - 1 steps, got {shown(value)}."
        )
    return int(value) if value == int(value) else Fraction(value)


def one_of(name: str, value: Any, allowed: Sequence[str]) -> Any:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.")
    return value


def no_rise(high_name: str, high: Any, low_name: str, low: Any, dtype: Any) -> None:
    """A named curve anneals: its floor, as stored, is not above where it starts."""
    if is_traced(high) or is_traced(low) or dtype.type(low) <= dtype.type(high):
        return
    low, high = _scalar(low_name, low), _scalar(high_name, high)
    raise ValueError(
        f"{low_name}={low!r} is above {high_name}={high!r}; {low_name} is a rate, not "
        f"a ratio: for a tenth of {high_name} write {low_name}=0.1 * {high_name}."
    )
