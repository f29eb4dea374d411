"""From steps gone by to a weight: the only trigonometry in the library.

Textbook cosine annealing, `(1 + cos(pi * x)) / 2`, subtracts two nearly equal numbers
near its end and leaves float32 no correct digit there. Here everything is measured from
the nearer end of the phase, where the same curve is the square of a sine and nothing
cancels. Every stage is the rounding of a monotone function, so that a later step never
falls behind an earlier one.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax


class Sum(NamedTuple):
    """A number as an unevaluated sum: `main` is its nearest float."""

    main: Array
    rest: Array


def as_sum(whole: Array, part: Array) -> Sum:
    """The integer `whole`, which may need 31 bits, plus the float `part`."""
    # 2**31 - 1 becomes 2.0**31, which int32 lacks. Whether the way back saturates or
    # wraps, what is lost is less than a step in 2**31.
    main = whole.astype(part.dtype)
    rest = (whole - main.astype(whole.dtype)).astype(part.dtype) + part
    nearest = main + rest
    return Sum(nearest, rest - (nearest - main))


def _leading_bits(x: Array) -> Array:
    """The 12 leading bits of `x`: the product of two such numbers is exact."""
    return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=11)


def ratio(part: Sum, whole: Sum, inverse: Array) -> Array:
    """`part / whole`, rounded once; `inverse` is 1 / whole."""
    high = _leading_bits(part.main * inverse)
    # Long division: both products are exact, and so is what is left over, almost.
    whole_high = _leading_bits(whole.main)
    left_over = (part.main - high * whole_high) - high * (whole.main - whole_high)
    return high + (left_over + (part.rest - high * whole.rest)) * inverse


@jax.custom_jvp
def power(base: Array, rest: Array, small: Array, exponent: Array) -> tuple[Array, ...]:
    """`(base**exponent, 1 - base**exponent)`.

    `rest` is `1 - base`, and `small` is whether `base` is the smaller of them. An
    exponent of 1 changes no bit of either.
    """
    unchanged = exponent == 1
    raised = jnp.exp(exponent * _log(base, rest, small))
    raised = lax.select(unchanged, base, raised)
    return raised, lax.select(unchanged, rest, 1 - raised)


def _log(base: Array, rest: Array, small: Array) -> Array:
    # From whichever is the smaller, and so the more precise.
    return lax.select(small, jnp.log(base), jnp.log1p(-rest))


@power.defjvp
def _power_jvp(primals, tangents):
    # Derived by hand: `select` would hide the exponent at 1, and at base 0, where the
    # slope may be infinite, it is taken as 0.
    base, rest, small, exponent = primals
    base_dot, _, _, exponent_dot = tangents
    raised, complement = power(*primals)
    inside = base > 0
    slope = exponent * raised / jnp.where(inside, base, 1)
    log = jnp.where(inside, _log(base, rest, small), 0)
    raised_dot = slope * base_dot + raised * log * exponent_dot
    return (raised, complement), (raised_dot, -raised_dot)


def half_cosine(near: Array) -> tuple[Array, Array]:
    """The weights of the farther and of the nearer end, at the fraction `near`."""
    angle = near * (math.pi / 2)
    return jnp.sin(angle) ** 2, jnp.cos(angle) ** 2
