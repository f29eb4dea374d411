"""Floating-point building blocks of the evaluation: angles, half a cosine, powers.

Textbook cosine annealing, `(1 + cos(pi * x)) / 2`, subtracts two nearly equal numbers
near its end and leaves float32 no correct digit there. Here every weight is that of the
farther end of a row, seen from the nearer end: at most one half, and 0 at the nearer
end. There the same curve is the square of a sine, and nothing cancels.

A weight comes with a flag that says from which end it is seen.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from optax_cosine._arrays import Arrays, Numbers, Pytree, is_known, select
from optax_cosine._time import Time, to_doubles

# Replaces a length of 0: any count divided by it stays finite.
_TINY_LENGTH = 2.0**-60


def span_of_row(is_cosine: Numbers, dtype: np.dtype) -> Numbers:
    """The position of one end of a row, seen from the other: 1, or the angle pi / 2."""
    return select(is_cosine, dtype.type(math.pi / 2), dtype.type(1))


def position_per_step(start: Time, end: Time, is_cosine: Numbers) -> Numbers:
    """How far a step leads along a row: the span over the length.

    For known rows the quotient of double precision is rounded to the dtype.
    """
    dtype = end.frac.dtype
    if is_known(start, end, is_cosine):
        span = np.where(is_cosine, math.pi / 2, 1.0)
        length = np.maximum(to_doubles(end) - to_doubles(start), _TINY_LENGTH)
        return (span / length).astype(dtype)
    # Neither the length nor pi / 2 fits into a float32. Both rounding errors are known,
    # and correct the quotient. If the start is below 0, the length may exceed int32;
    # the wrapped difference, read as a uint32, is right.
    whole, frac = (end.whole - start.whole).astype(np.uint32), end.frac - start.frac
    rounded = whole.astype(dtype)
    length = lax.max(rounded + frac, dtype.type(_TINY_LENGTH))
    # 2**32 - 1 rounds to 2.0**32, which a uint32 does not hold. Whether it saturates or
    # wraps depends on the platform; either way the error is below 2**-31 of the length.
    lost_bits = (whole - rounded.astype(np.uint32)).astype(np.int32).astype(dtype)
    lost_frac = frac - (length - rounded)
    quarter = dtype.type(math.pi / 2)
    lost_of_quarter = dtype.type((math.pi / 2 - float(quarter)) / float(quarter))
    span = span_of_row(is_cosine, dtype)
    lost_of_span = select(is_cosine, lost_of_quarter, dtype.type(0))
    # Three divisions, each with one use: XLA gives a quotient with two uses a kernel of
    # its own.
    lost = lost_of_span - (lost_bits + lost_frac) / length
    return span / length + span * lost / length


def far_weight(angle: Array) -> Array:
    """The weight of the farther end of half a cosine, `angle` from the nearer end."""
    return lax.square(lax.sin(angle))


@jax.custom_jvp
def clip_value(low: Array, value: Array, high: Array) -> Array:
    """Clips a value that is off by a rounding, and leaves its derivative."""
    return lax.clamp(low, value, high)


@clip_value.defjvp
def _clip_value_jvp(primals: Arrays, tangents: Arrays) -> tuple[Array, Array]:
    return clip_value(*primals), tangents[1]


@jax.custom_jvp
def value_with_slope_of(value: Array, _: Array) -> Array:
    """The value, with the derivative of another number that differs by a rounding."""
    return value


@value_with_slope_of.defjvp
def _value_with_slope_of_jvp(primals: Arrays, tangents: Arrays) -> tuple[Array, Array]:
    return value_with_slope_of(*primals), tangents[1]


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def raise_to_power(
    weight: Array,
    is_base: Array,
    exponent: Array,
    one_minus: Callable[[Array, Array], Array],
) -> tuple[Array, Array]:
    """`base ** exponent`, again as the weight of the farther end and a flag.

    Args:
        weight: The smaller of `base` and `1 - base`.
        is_base: Whether `weight` is `base`.
        exponent: Above 0. An exponent of 1 changes no bit of the weight.
        one_minus: `one_minus_power`, or if the result is bent again
            `one_minus_power_precisely`.

    Returns:
        The smaller of `base ** exponent` and `1 - base ** exponent`, and whether it is
        the power.
    """
    unchanged = exponent == 1
    # A loader may have filled a table up with zeros, and 0 * log(0) is NaN.
    tiny = np.finfo(exponent.dtype).tiny
    positive = lax.max(exponent, lax.full_like(exponent, tiny))
    log = positive * _log_of_base(weight, is_base)
    # The power and the rest are computed from the selected number. So the exponential
    # has one user, and XLA computes it once.
    power = select(unchanged, weight, jnp.exp(log))
    rest = select(unchanged, weight, one_minus(log, power))
    return lax.min(power, rest), select(unchanged, is_base, power <= rest)


def _log_of_base(weight: Array, is_base: Array) -> Array:
    # Both logarithms take the weight, which has more correct digits than `1 - weight`.
    return lax.select(is_base, jnp.log(weight), jnp.log1p(-weight))


def one_minus_power(_: Array, power: Array) -> Array:
    """`1 - power`, with the absolute error of the power."""
    return 1 - power


def one_minus_power_precisely(log: Array, power: Array) -> Array:
    """`1 - power` with a small relative error.

    If the power is near 1, its `log` is near 0, and the difference would cancel. There
    it is `x - x**2 / 2 + x**3 / 6 - x**4 / 24` of `x = -log`. What is subtracted
    from x changes less than x does, so that the result is monotone, as `expm1` is not.
    """
    x, most = -log, 2.0**-5 if log.dtype == np.float32 else 2.0**-11
    series = x - x * x * (1 / 2 - x * (1 / 6 - x / 24))
    # At the end of the series `1 - power` may be rounded below the last value of the
    # series. So no difference is below the largest value of the series, with a margin
    # of some roundings.
    margin = 1 + 8 * float(np.finfo(log.dtype).eps)
    largest = lax.full_like(log, -math.expm1(-most) * margin)
    return lax.select(x < most, series, lax.max(1 - power, largest))


@raise_to_power.defjvp
def _raise_to_power_jvp(
    one_minus: Callable, primals: Arrays, tangents: Arrays
) -> tuple[Arrays, Pytree]:
    # By hand for two reasons. At an exponent of 1 autodiff would follow the branch that
    # does not depend on the exponent, and return 0. And at a base of 0 the slope may be
    # infinite; here it is 0.
    weight, is_base, exponent = primals
    weight_dot, _, exponent_dot = tangents
    bent, is_power = raise_to_power(*primals, one_minus)
    base = jnp.where(is_base, weight, 1 - weight)
    power = jnp.where(is_power, bent, 1 - bent)
    base_dot = jnp.where(is_base, weight_dot, -weight_dot)
    is_inside = base > 0
    slope = exponent * power / jnp.where(is_inside, base, 1)
    log = jnp.where(is_inside, _log_of_base(weight, is_base), 0)
    power_dot = slope * base_dot + power * log * exponent_dot
    bent_dot = jnp.where(is_power, power_dot, -power_dot)
    return (bent, is_power), (bent_dot, np.zeros(is_power.shape, jax.dtypes.float0))
