"""From steps gone by to a weight: the only trigonometry in the library.

Textbook cosine annealing, `(1 + cos(pi * x)) / 2`, subtracts two nearly equal numbers
near its end and leaves float32 no correct digit there. Here everything is measured from
the nearer end of the phase, where the same curve is the square of a sine and nothing
cancels. Rounding happens once per function, so a later step never falls behind an
earlier one.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

# pi/2 in two parts, the first of 12 bits: see `_leading_bits`.
_QUARTER_TURN_HIGH = 3217 / 2048
_QUARTER_TURN_LOW = math.pi / 2 - _QUARTER_TURN_HIGH


class Sum(NamedTuple):
    """A number as an unevaluated sum: more digits than one float holds."""

    main: Array
    rest: Array


def as_sum(whole: Array, part: Array) -> Sum:
    """The integer `whole`, which may need 31 bits, plus the float `part`."""
    main = whole.astype(part.dtype)
    return Sum(main, (whole - main.astype(whole.dtype)).astype(part.dtype) + part)


def _leading_bits(x: Array) -> Array:
    """The 12 leading bits of `x`: the product of two such numbers is exact."""
    return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=11)


@jax.custom_jvp
def ratio(part: Sum, whole: Sum, inverse: Array) -> Sum:
    """`part / whole` rounded once, and what the rounding took; `inverse` is 1/whole."""
    high = _leading_bits((part.main + part.rest) * inverse)
    # Long division: both products are exact, and so is what is left over, almost.
    whole_high = _leading_bits(whole.main)
    left_over = (part.main - high * whole_high) - high * (whole.main - whole_high)
    low = (left_over + (part.rest - high * whole.rest)) * inverse
    quotient = high + low
    return Sum(quotient, (high - quotient) + low)


@ratio.defjvp
def _ratio_jvp(primals, tangents):
    # The derivative of a division; that of its roundings would be noise.
    result = ratio(*primals)
    part_dot, whole_dot, _ = tangents
    change = sum(part_dot) - result.main * sum(whole_dot)
    return result, Sum(change * primals[2], jnp.zeros_like(change))


@jax.custom_jvp
def power(base: Array, rest: Array, exponent: Array) -> tuple[Array, Array]:
    """`(base**exponent, 1 - base**exponent)`; `rest` is `1 - base`.

    An exponent of 1 changes no bit of either.
    """
    # Of base and rest the smaller is the precise one; either logarithm keeps to its
    # side of the middle, so that no step goes back there.
    log_base = lax.select(
        rest < base,
        jnp.maximum(jnp.log1p(-rest), -math.log(2)),
        jnp.minimum(jnp.log(base), -math.log(2)),
    )
    raised, unchanged = jnp.exp(exponent * log_base), exponent == 1
    return lax.select(unchanged, base, raised), lax.select(unchanged, rest, 1 - raised)


@power.defjvp
def _power_jvp(primals, tangents):
    # Derived by hand: `select` would hide the exponent at 1, and at base 0, where the
    # slope may be infinite, it is taken as 0.
    base, _, exponent = primals
    base_dot, _, exponent_dot = tangents
    raised, complement = power(*primals)
    positive = jnp.where(base > 0, base, 1)
    base_part = exponent * raised / positive * base_dot
    raised_dot = base_part + raised * jnp.log(positive) * exponent_dot
    return (raised, complement), (raised_dot, -raised_dot)


def half_cosine(gone: Array, left: Array, error: Array) -> tuple[Array, Array]:
    """The weights `(1 - w, w)` of half a cosine, `w = cos(pi/2 * gone)**2`.

    `gone + left` is 1, and the smaller of them is `error` short of the truth.
    """
    first_half = gone <= left
    near = lax.select(first_half, gone, left)
    high = _leading_bits(lax.stop_gradient(near))
    low = (near - high) + error
    angle = high * _QUARTER_TURN_HIGH + (high * _QUARTER_TURN_LOW + low * (math.pi / 2))
    small, large = jnp.sin(angle) ** 2, jnp.cos(angle) ** 2
    return lax.select(first_half, small, large), lax.select(first_half, large, small)
