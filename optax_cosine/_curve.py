"""From steps gone by to a weight: the only trigonometry in the library.

Textbook cosine annealing, `(1 + cos(pi * x)) / 2`, subtracts two nearly equal numbers
near its end and leaves float32 no correct digit there. Here everything is measured from
the nearer end of the phase, where the same curve is the square of a sine and nothing
cancels. A fraction and an angle are rounded once each, so that a later step never falls
behind an earlier one.
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
    """A number as an unevaluated sum: `main` is its nearest float."""

    main: Array
    rest: Array


def as_sum(whole: Array, part: Array) -> Sum:
    """The integer `whole`, which may need 31 bits, plus the float `part`."""
    # At most the largest float32 that is an int32 too.
    main = jnp.minimum(whole.astype(part.dtype), 2.0**31 - 128)
    rest = (whole - main.astype(whole.dtype)).astype(part.dtype) + part
    nearest = main + rest
    return Sum(nearest, rest - (nearest - main))


def _leading_bits(x: Array) -> Array:
    """The 12 leading bits of `x`: the product of two such numbers is exact."""
    return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=11)


@jax.custom_jvp
def ratio(part: Sum, whole: Sum, inverse: Array) -> Sum:
    """`part / whole` rounded once, and what to add for the truth; `inverse` is 1/whole.

    `part` is at most `whole`.
    """
    high = _leading_bits(part.main * inverse)
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
    change = (part_dot.main + part_dot.rest) - result.main * (
        whole_dot.main + whole_dot.rest
    )
    return result, Sum(change * primals[2], jnp.zeros_like(change))


@jax.custom_jvp
def power(base: Array, rest: Array, exponent: Array) -> tuple[Array, Array]:
    """`(base**exponent, 1 - base**exponent)`; `rest` is `1 - base`.

    An exponent of 1 changes no bit of either.
    """
    raised, unchanged = jnp.exp(exponent * _log(base, rest)), exponent == 1
    return lax.select(unchanged, base, raised), lax.select(unchanged, rest, 1 - raised)


def _log(base: Array, rest: Array) -> Array:
    # From whichever is the smaller, and so the more precise. Each form keeps to its
    # side of the middle, where a step back would otherwise be possible.
    return lax.select(
        rest < base,
        jnp.maximum(jnp.log1p(-rest), -math.log(2)),
        jnp.minimum(jnp.log(base), -math.log(2)),
    )


@power.defjvp
def _power_jvp(primals, tangents):
    # Derived by hand: `select` would hide the exponent at 1, and at base 0, where the
    # slope may be infinite, it is taken as 0.
    base, rest, exponent = primals
    base_dot, _, exponent_dot = tangents
    raised, complement = power(*primals)
    inside = base > 0
    slope = exponent * raised / jnp.where(inside, base, 1)
    log = jnp.where(inside, _log(base, rest), 0)
    raised_dot = slope * base_dot + raised * log * exponent_dot
    return (raised, complement), (raised_dot, -raised_dot)


def half_cosine(
    gone: Array, left: Array, first_half: Array, error: Array
) -> tuple[Array, Array]:
    """The weights `(1 - w, w)` of half a cosine, `w = cos(pi/2 * gone)**2`.

    `gone + left` is 1; the true value of the smaller one is that plus `error`.
    """
    near = lax.select(first_half, gone, left)
    high = _leading_bits(lax.stop_gradient(near))
    low = (near - high) + error
    angle = high * _QUARTER_TURN_HIGH + (high * _QUARTER_TURN_LOW + low * (math.pi / 2))
    small, large = jnp.sin(angle) ** 2, jnp.cos(angle) ** 2
    return lax.select(first_half, small, large), lax.select(first_half, large, small)
