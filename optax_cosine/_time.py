"""Step counts that stay exact up to 2**31 - 1, where float32 gives up at 2**24.

Each function takes known times (NumPy) or traced ones. Known times are computed in
Python's integers and fractions, and rounded once when they are stored. Traced times
are computed in int32, and in floats for the fractions of a step.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from optax_cosine._arrays import (
    Numbers,
    Scalar,
    always,
    is_float,
    is_known,
    is_traced,
    read_only,
    select,
    stack,
)

LARGEST = 2**31 - 1  # The largest int32, and so the largest count that Optax reaches.

# A time this close to an integer is stored as the integer. After fractions of steps
# were added up or stretched, a restart is then still at its step.
_SNAP = 2.0**-20


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Time:
    """A point in time or a duration: `whole + frac` optimizer steps.

    `frac` is 0 if counts and lengths are whole. Derivatives with respect to a count or
    a length flow through `frac` alone. Stored times have 0 <= frac < 1; the difference
    of two times need not.
    """

    whole: Numbers  # int32
    frac: Numbers  # float32 or float64

    def __neg__(self) -> "Time":
        return Time(-self.whole, -self.frac)

    def __sub__(self, other: "Time") -> "Time":
        """The exact difference, neither normalized nor clamped."""
        return Time(
            _subtract(self.whole, other.whole), _subtract(self.frac, other.frac)
        )

    def __ge__(self, other: "Time") -> Numbers:
        if always(self.frac, 0) and always(other.frac, 0):
            return self.whole >= other.whole
        # Rounding the int32 difference to a float cannot change its sign.
        whole = (self.whole - other.whole).astype(other.frac.dtype)
        return whole >= other.frac - self.frac

    def astype(self, dtype: np.dtype) -> "Time":
        if is_known(self) and self.frac.dtype != dtype:
            return from_exact(to_exact(self), dtype)
        return Time(self.whole, self.frac.astype(dtype))

    def to_float(self) -> Numbers:
        whole = self.whole.astype(self.frac.dtype)
        return whole if always(self.frac, 0) else whole + self.frac

    def map(self, function: Callable[[Numbers], Numbers]) -> "Time":
        return Time(function(self.whole), function(self.frac))


def _subtract(x: Numbers, y: Numbers) -> Numbers:
    return x if always(y, 0) else x - y


# --- From counts and lengths to times ---


def from_array(steps: ArrayLike, dtype: np.dtype) -> Time:
    """`steps` of any real dtype, clamped to [0, 2**31 - 1]. NaN stays NaN."""
    steps = jnp.asarray(steps)
    if steps.dtype.itemsize < 4:
        steps = steps.astype(np.float32 if is_float(steps) else np.int32)
    if is_float(steps):
        whole = jnp.floor(jnp.clip(steps, 0, 2.0**31))
        is_outside = (steps < 0) | (steps >= 2.0**31)
        frac = jnp.where(is_outside, 0, steps - whole)
        # Less than half of the grid of stored times is 0; only the derivative stays.
        is_tiny = frac < 0.5 / _grid(dtype)
        frac = jnp.where(is_tiny, frac - lax.stop_gradient(frac), frac)
        return Time(whole.astype(np.int32), frac.astype(dtype))
    # The count is clamped in its own dtype: a larger one would wrap in int32.
    whole = jnp.clip(steps, 0, LARGEST).astype(np.int32)
    return Time(whole, np.zeros(whole.shape, dtype))


def clamp_counts(counts: np.ndarray) -> "np.ndarray | Time":
    """NumPy's counts without what JAX would wrap, round or refuse.

    Whole counts become int32. Counts with a fraction become times, unless JAX has
    float64: as float32 they would lose their last digits.
    """
    counts = counts.astype(counts.dtype.newbyteorder("="))
    if counts.dtype not in (np.uint32, np.int64, np.uint64, np.float64, np.longdouble):
        return counts
    counts = np.clip(counts, 0, LARGEST)
    whole = np.nan_to_num(np.floor(counts)).astype(np.int32)
    if (counts == whole).all():
        return whole
    if jnp.result_type(float) == np.float64:
        return counts.astype(np.float64)
    frac = (counts - whole).astype(np.float32)
    return Time(whole + (frac >= 1), np.where(frac >= 1, np.float32(0), frac))


def to_time(steps: Scalar, dtype: np.dtype) -> Time:
    """One checked number, or a traced one, as a time."""
    if is_traced(steps):
        return from_array(steps, dtype)
    return from_exact(np.array(steps, object), dtype)


def to_free_time(steps: Scalar) -> Time:
    """A time that belongs to no table yet, and takes its dtype later.

    A known fraction of a step is float64 only if float32 does not hold it.
    """
    wide = to_time(steps, np.dtype(jnp.result_type(float)))
    if is_traced(steps):
        return wide
    narrow = to_time(steps, np.dtype(np.float32))
    return narrow if narrow.frac == wide.frac else wide


def freed(time: Time) -> Time:
    """A time of a table, stored as `to_free_time` stores the same number.

    So equal times are stored alike, however they were computed.
    """
    is_single = is_known(time) and not np.ndim(time.whole)
    return to_free_time(to_number(time)) if is_single else time


def stack_times(times: Sequence[Time]) -> Time:
    """A column of times."""
    return Time(stack([x.whole for x in times]), stack([x.frac for x in times]))


def to_ratio(value: float | Fraction) -> tuple[int, int]:
    """The closest ratio of two int32 numbers: 1.1 is (11, 10)."""
    if value > 1:
        denominator, numerator = to_ratio(1 / Fraction(value))
        return numerator, denominator
    ratio = Fraction(value).limit_denominator(LARGEST)
    return ratio.numerator, ratio.denominator


# --- Known times, in exact numbers ---


def from_exact(steps: np.ndarray, dtype: np.dtype) -> Time:
    """Python's integers and fractions, or int64, as stored times."""
    whole, frac = steps, np.zeros(steps.shape)
    if steps.dtype == object:
        # One float64 has no room for the steps of a long run and their fraction.
        rounded = np.array([_round(x, dtype) for x in steps.flat], object)
        whole = np.array([math.floor(x) for x in rounded]).reshape(steps.shape)
        frac = rounded.reshape(steps.shape) - whole
    # By way of float64, as narrow types do not take Python's fractions.
    frac = np.array(frac, np.float64).astype(dtype)
    return Time(read_only(np.array(whole, np.int32)), read_only(frac))


def _round(steps: int | Fraction, dtype: np.dtype) -> int | Fraction:
    # Less than half a step is not snapped to 0: the row would become empty.
    if abs(steps - round(steps)) < _SNAP and (abs(steps) > 0.5 or not steps):
        return round(steps)
    grid = _grid(dtype)
    return Fraction(round(steps * grid), grid)


def _grid(dtype: np.dtype) -> int:
    """Stored fractions of a step are multiples of one over this number.

    So sums and differences of stored times are exact, and a fraction is stored alike
    whatever whole number of steps comes with it.
    """
    return 2**48 if dtype == np.float64 else 2**24


def to_exact(time: Time) -> np.ndarray:
    """The exact numbers that were stored: int64, or Python's fractions."""
    if not np.any(time.frac):
        return np.asarray(time.whole, np.int64)
    whole, frac = np.broadcast_arrays(time.whole, time.frac)
    pairs = zip(whole.ravel().tolist(), frac.ravel(), strict=True)
    exact = np.empty(whole.size, object)
    exact[:] = [whole + simplest_ratio(frac) for whole, frac in pairs]
    return exact.reshape(whole.shape)


def to_number(time: Time) -> int | Fraction:
    """The exact number that one known time is."""
    return to_exact(time).item()


def to_numbers(times: Time) -> list[int | Fraction]:
    """Ints if they are whole: Python compares a count with an int faster."""
    exact = to_exact(times).tolist()
    return [int(x) if x.denominator == 1 else x for x in exact]


def is_zero(time: Time) -> bool:
    """Whether the time is known to be 0."""
    return always(time.whole, 0) and always(time.frac, 0)


def simplest_ratio(frac: np.floating) -> Fraction:
    """2 / 5 for the float32 nearest to 0.4: the simple ratio that is stored as `frac`.

    A stretched time is rounded when it is stored. Reading it back as the ratio that it
    was keeps a second stretch exact. Ratios of numbers up to 2**12 are found again in
    float32, and up to 2**24 in float64.
    """
    exact, dtype = Fraction(float(frac)), frac.dtype
    simple = exact.limit_denominator(math.isqrt(_grid(dtype)))
    stored = dtype.type(float(_round(simple, dtype)))
    return simple if stored == frac else exact


def to_doubles(time: Time) -> np.ndarray:
    """As Python's floats, which near 2**31 - 1 still hold 2**-22 of a step."""
    return np.asarray(time.whole, np.float64) + np.asarray(time.frac, np.float64)


def _compute(function: Callable[..., np.ndarray], *times: Time) -> Time:
    dtype = np.result_type(*(time.frac.dtype for time in times))
    return from_exact(np.asarray(function(*map(to_exact, times))), dtype)


# --- Arithmetic on known and traced times ---


def add(time: Time, duration: Time) -> Time:
    """`time + duration`, normalized, clamped to 2**31 - 1 in size."""
    if is_known(time, duration):
        return _compute(lambda x, y: np.clip(x + y, -LARGEST, LARGEST), time, duration)
    if always(time.frac, 0) and always(duration.frac, 0):
        return Time(_add_clamped(time.whole, duration.whole), time.frac)
    frac = time.frac + duration.frac
    carry = jnp.floor(frac)
    steps = _add_clamped(duration.whole, carry.astype(np.int32))
    return Time(_add_clamped(time.whole, steps), frac - carry)


def _add_clamped(x: Numbers, y: Numbers) -> Numbers:
    # These bounds keep the int32 sum from wrapping.
    low = -LARGEST - jnp.minimum(x, 0)
    high = LARGEST - jnp.maximum(x, 0)
    return x + jnp.clip(y, low, high)


def minimum(a: Time, b: Time) -> Time:
    return select(a >= b, b, a)


def maximum(a: Time, b: Time) -> Time:
    """The later time. If `a` is NaN, it stays NaN."""
    return select(b >= a, b, a)


def cumulative(lengths: Time) -> Time:
    """The sums of the first 1, 2, 3, ... lengths, clamped to 2**31 - 1."""
    if is_known(lengths):
        return _compute(lambda x: np.minimum(np.cumsum(x), LARGEST), lengths)
    frac = lax.cumsum(jnp.asarray(lengths.frac))
    carry = jnp.floor(frac)
    # The first sum beyond 2**31 - 1 still fits in a uint32. Later sums may wrap.
    whole = lax.cumsum(jnp.asarray(lengths.whole, np.uint32)) + carry.astype(np.uint32)
    is_beyond = lax.cummax((whole > LARGEST).astype(np.int32)) > 0
    return Time(jnp.where(is_beyond, LARGEST, whole.astype(np.int32)), frac - carry)


def scale(time: Time, numerator: Time, denominator: Time) -> Time:
    """`time * numerator / denominator`, exact if all three are whole.

    The result is normalized, and clamped to 2**31 - 1 in size.
    """
    if is_known(time, numerator, denominator) and not np.ndim(numerator.whole):
        ratio = Fraction(to_exact(numerator).item()) / to_exact(denominator).item()
        return _compute(lambda x: np.clip(x * ratio, -LARGEST, LARGEST), time)
    # The division of integers needs a whole step: one half is 1 - 1 / 2.
    nearest = Time(denominator.whole + np.int32(1), denominator.frac - 1)
    denominator = select(denominator.whole < 1, nearest, denominator)
    is_negative = time.whole < 0
    size = select(is_negative, -time, time)
    whole, remainder = _muldiv(size.whole, numerator.whole, denominator.whole)
    dtype = time.frac.dtype
    num, den = (x.astype(dtype).to_float() for x in (numerator, denominator))
    frac = _stored_quotient(remainder, denominator.whole, dtype)
    # What the fractions of the three times add to the quotient of the integers.
    # Derivatives flow through these lines alone.
    so_far = whole.astype(dtype) + frac
    more = size.frac * num + size.whole.astype(dtype) * numerator.frac.astype(dtype)
    frac = frac + (more - so_far * denominator.frac.astype(dtype)) / den
    # Just above 2**31 - 1 the int32 quotient has wrapped to a negative number; far
    # above, only the float estimate tells.
    is_beyond = (whole < 0) | (size.to_float() * num / den > 2.0**31 + 2.0**12)
    largest = Time(jnp.full_like(whole, LARGEST), jnp.zeros_like(frac))
    size = select(is_beyond, largest, Time(whole, frac))
    return _normalize(select(is_negative, -size, size))


def _normalize(time: Time) -> Time:
    """The same time with 0 <= frac < 1, rounded as stored times are."""
    nearest, grid = jnp.round(time.frac), _grid(time.frac.dtype)
    # Less than half a step is not snapped to 0: the row would become empty.
    may_snap = (time.whole != 0) | (nearest != 0)
    is_near = (abs(time.frac - nearest) < _SNAP) & may_snap
    rounded = jnp.where(is_near, nearest, jnp.round(time.frac * grid) / grid)
    # The rounding has no derivative.
    frac = time.frac - lax.stop_gradient(time.frac - rounded)
    carry = jnp.floor(frac)
    return Time(_add_clamped(time.whole, carry.astype(np.int32)), frac - carry)


def _stored_quotient(
    remainder: Numbers, denominator: Numbers, dtype: np.dtype
) -> Numbers:
    """`remainder / denominator`, below 1, rounded as stored fractions are.

    A rounded quotient of floats may differ from a stored fraction by a unit, and a
    boundary at that fraction of a step would come a count late.
    """
    # An int32 has no room for the grid of float64, so 24 bits are computed at a time.
    size = np.array(2**24, np.int32)
    units, remainder = _muldiv(remainder, size, denominator)
    quotient = units.astype(dtype)
    if dtype == np.float64:
        units, remainder = _muldiv(remainder, size, denominator)
        quotient = quotient * 2**24 + units.astype(dtype)
    # A half is rounded to even, as Python does. `2 * remainder` may exceed int32.
    rest = denominator - remainder
    is_up = (remainder > rest) | ((remainder == rest) & ((units & 1) == 1))
    return (quotient + is_up.astype(dtype)) / _grid(dtype)


def _muldiv(
    n: Numbers, numerator: Numbers, denominator: Numbers
) -> tuple[Numbers, Numbers]:
    """The exact quotient and remainder of `n * numerator / denominator`, all int32.

    The product has up to 62 bits, and JAX has no int64 by default. So this is long
    division of `n` in base 2**16: the high half, its remainder times 2**16, the low
    half. Products wrap modulo 2**32, which is harmless: only their remainders are used,
    and those fit.
    """
    whole = n * lax.div(numerator, denominator)
    numerator = lax.rem(numerator, denominator)
    high, low = n >> 16, n & 0xFFFF
    q_high, r_high = _small_muldiv(high, numerator, denominator)
    q_mid, r_mid = _small_muldiv(r_high, np.array(2**16, np.int32), denominator)
    q_low, r_low = _small_muldiv(low, numerator, denominator)
    whole = whole + (q_high << 16) + q_mid + q_low
    # The sum of the remainders may exceed int32; subtracting first cannot overflow.
    return _fix_quotient(whole + 1, r_mid - denominator + r_low, denominator)


def _small_muldiv(
    n: Numbers, numerator: Numbers, denominator: Numbers
) -> tuple[Numbers, Numbers]:
    # The quotient has at most 16 bits, so its float32 estimate is off by at most 1.
    a, b, c = (x.astype(np.float32) for x in (n, numerator, denominator))
    quotient = lax.round(a * b / c).astype(np.int32)
    remainder = n * numerator - quotient * denominator
    return _fix_quotient(quotient, remainder, denominator)


def _fix_quotient(
    quotient: Numbers, remainder: Numbers, denominator: Numbers
) -> tuple[Numbers, Numbers]:
    fixed = quotient - 1, remainder + denominator
    return select(remainder < 0, fixed, (quotient, remainder))
