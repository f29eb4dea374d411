"""Exact time: a whole number of steps, and a part of one.

The whole is an int32 and so exact up to 2**31 - 1, far beyond the integers of float32.
The part is a float, 0 wherever lengths and counts are whole; derivatives by a length or
a count go through it.
"""

import math
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from optax_cosine._checks import LARGEST, is_traced


class Instant(NamedTuple):
    """A time, or a duration, in steps; as stored, the part is in [0, 1)."""

    whole: Any
    part: Any


def number(whole: Any, part: Any = 0) -> Any:
    """A stored instant as an exact Python number, an int where it is whole."""
    return int(whole) + (Fraction(float(part)) if part else 0)


def exact(steps: Any, dtype: Any) -> Instant:
    """A Python number as NumPy's int32 and float."""
    whole = math.floor(steps)
    part = dtype.type(steps - whole)
    carry = int(part)  # a part may round to 1
    return Instant(np.asarray(whole + carry, np.int32), np.asarray(part - carry))


def as_fraction(value: Any) -> tuple[int, ...]:
    """The nearest fraction of two numbers within int32, 1.1 being 11 / 10."""
    if value > 1:
        return as_fraction(1 / Fraction(value))[::-1]
    return Fraction(value).limit_denominator(LARGEST).as_integer_ratio()


def saturated(count: ArrayLike) -> ArrayLike:
    """Host numbers within int32, where JAX would wrap, round or refuse them."""
    if isinstance(count, int):
        return np.int32(min(max(count, 0), LARGEST))
    if not isinstance(count, (float, np.ndarray, np.generic)):
        return count
    count = np.asarray(count)
    count = count.astype(count.dtype.newbyteorder("="))
    if count.dtype in (np.uint32, np.int64, np.uint64, np.float64):
        count = np.clip(count, 0, LARGEST)
        if (count == np.floor(count)).all():
            return count.astype(np.int32)
    return count


def as_instant(steps: ArrayLike, dtype: Any) -> Instant:
    """`steps` of any real dtype, clamped to [0, 2**31 - 1] before it is converted.

    NaN stays NaN.
    """
    steps = jnp.asarray(steps)
    if steps.dtype.itemsize < 4:
        is_float = jnp.issubdtype(steps.dtype, jnp.floating)
        steps = steps.astype(np.float32 if is_float else np.int32)
    if jnp.issubdtype(steps.dtype, jnp.floating):
        whole = jnp.floor(jnp.clip(steps, 0, 2.0**31))
        outside = (steps < 0) | (steps >= 2.0**31)
        part = jnp.where(outside, 0, steps - whole)
        return Instant(whole.astype(np.int32), part.astype(dtype))
    if steps.dtype == np.int32:
        whole = lax.max(steps, np.int32(0))
    else:
        whole = jnp.clip(steps, 0, LARGEST).astype(np.int32)
    return Instant(whole, lax.full_like(whole, 0, dtype))


def length(steps: Any, dtype: Any) -> Instant:
    """A checked length; a traced one that is no number lasts no time."""
    if is_traced(steps):
        return as_instant(jnp.where(steps > 0, steps, 0), dtype)
    return exact(steps, dtype)


def difference(end: Instant, start: Instant) -> Instant:
    """`end - start`, whose part may be negative."""
    return Instant(end.whole - start.whole, end.part - start.part)


def negative(steps: Instant) -> Instant:
    return Instant(-steps.whole, -steps.part)


def reached(now: Instant, boundary: Instant) -> Array:
    # The difference of two whole numbers keeps its sign as a float.
    since = (now.whole - boundary.whole).astype(boundary.part.dtype)
    return since >= boundary.part - now.part


def plus(start: Instant, steps: Instant) -> Instant:
    """`start + steps`, which may be negative, within [0, 2**31 - 1]."""
    part = start.part + steps.part
    carry = jnp.floor(part)
    steps_whole = steps.whole + carry.astype(np.int32)
    whole = start.whole + jnp.minimum(steps_whole, LARGEST - start.whole)
    return select(whole < 0, as_instant(0, part.dtype), Instant(whole, part - carry))


def least(a: Instant, b: Instant) -> Instant:
    return select(reached(a, b), b, a)


def rescaled(now: Instant, steps: Instant, counts: Instant) -> Instant:
    """`now * steps / counts`, exact where all three are whole."""
    whole, rest = _times_ratio(now.whole, steps.whole, counts.whole)
    dtype = now.part.dtype
    after, per = (
        as_float(Instant(x.whole, x.part.astype(dtype))) for x in (steps, counts)
    )
    part = rest.astype(dtype) / counts.whole.astype(dtype)
    # What the parts add, and their derivatives.
    reached_so_far = whole.astype(dtype) + part
    added = now.part * after + now.whole.astype(dtype) * steps.part.astype(dtype)
    part = part + (added - reached_so_far * counts.part.astype(dtype)) / per
    # Just past the largest the sum wraps; far beyond, its estimate tells.
    too_far = (whole < 0) | (as_float(now) * after / per > 2.0**31 + 2.0**12)
    end = Instant(jnp.full_like(whole, LARGEST), jnp.zeros_like(part))
    return select(too_far, end, Instant(whole, part))


def as_float(time: Instant) -> Array:
    return time.whole.astype(time.part.dtype) + time.part


def _times_ratio(n: Array, times: Array, by: Array) -> tuple[Array, Array]:
    """Quotient and remainder of `n * times / by`, of int32 numbers, exact.

    The product has up to 62 bits, so `n` is taken in two halves of 16. Products wrap
    around 2**32, and remainders, which are smaller, are right nevertheless.
    """
    whole, times = n * lax.div(times, by), lax.rem(times, by)
    high, low = n >> 16, n & 0xFFFF
    first, left = _divided(high, times, by)
    second, high_left = _divided(left, np.int32(2**16), by)
    third, low_left = _divided(low, times, by)
    short = high_left - by + low_left  # in this order it cannot overflow
    whole = whole + (first << 16) + second + third
    return _carried(whole + 1, short, by)


def _divided(n: Array, times: Any, by: Array) -> tuple[Array, Array]:
    # The quotient has 16 bits: float32 finds it, or the one beside it.
    estimate = n.astype(np.float32) * times.astype(np.float32) / by.astype(np.float32)
    quotient = lax.round(estimate).astype(np.int32)
    left = n * times - quotient * by
    return _carried(quotient, left, by)


def _carried(quotient: Array, left: Array, by: Array) -> tuple[Array, Array]:
    return select(left < 0, (quotient - 1, left + by), (quotient, left))


def select(which: Array, on_true: Any, on_false: Any) -> Any:
    return jax.tree.map(
        lambda x, y: lax.select(*jnp.broadcast_arrays(which, x, y)), on_true, on_false
    )


def is_numpy(*trees: Any) -> bool:
    return all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(trees))
