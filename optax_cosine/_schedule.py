"""The schedule as a table of phases, and the one function that evaluates it.

A phase is some steps long, goes from one value to another, and has a shape. Boundaries
between phases are integers, and so are the steps gone by and the steps left: they are
exact up to 2**31 - 1, and only their quotient is ever rounded. Cosine annealing is one
phase; the evaluation is that of any number.
"""

import bisect
import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from optax_cosine._checks import LARGEST, is_traced
from optax_cosine._curve import Sum, as_sum, half_cosine, power, ratio

LINEAR, COSINE = 0, 1


class Instant(NamedTuple):
    """A time or a duration in steps: a whole int32, exact, and a part in [0, 1)."""

    whole: Any
    part: Any


class Phase(NamedTuple):
    """One row of a table, as a builder writes it; every number may be traced."""

    steps: Any
    shape: int
    init_value: Any
    end_value: Any
    exponent: Any = 1.0  # of the weight of a cosine
    time_exponent: Any = 1.0  # of the fraction of the phase gone by


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Phases one after the other; a pytree of columns with one entry for each phase.

    Called with a step count of any real dtype, it returns the value there: elementwise
    for an array, the first value before step 0, the last one from the end on.
    """

    ends: Any  # int32, the step at which each phase ends
    end_parts: Any  # float, the part of a step by which its end lies beyond that
    shapes: Any  # int32
    init_values: Any  # float, as all that follow
    end_values: Any
    exponents: Any
    time_exponents: Any

    def __call__(self, count: ArrayLike) -> Any:
        """The value at `count`; for a Python int, computed without JAX."""
        if type(count) is int and (host := self._host) is not None:
            return host.float_type(_value_on_host(host, max(count, 0)))
        if np.ndim(self.ends) != 1:
            raise ValueError(
                "this is a stack of schedules, of batch shape "
                f"{np.shape(self.ends)[:-1]}: call it under jax.vmap."
            )
        return _evaluate(self, _saturated(count))

    @functools.cached_property
    def _host(self) -> "_HostTable | None":
        """The table as Python numbers; None unless every leaf is NumPy's."""
        leaves = jax.tree.leaves(self)
        if np.ndim(self.ends) != 1 or any(
            type(leaf) is not np.ndarray for leaf in leaves
        ):
            return None
        ends = (self.ends + self.end_parts.astype(np.float64)).tolist()
        starts = [0.0, *ends[:-1]]
        columns = (column.tolist() for column in _per_phase(self))
        rows = zip(starts, ends, *columns, strict=True)
        phases = [row for row in rows if row[0] < row[1]]
        inner_ends = [row[1] for row in phases[:-1]]
        return _HostTable(inner_ends, phases, self.init_values.dtype.type)


def _per_phase(schedule: Table) -> tuple[Any, ...]:
    """The columns in the order in which `_Row` and `_value_on_host` name them."""
    return (
        schedule.shapes,
        schedule.init_values,
        schedule.end_values,
        schedule.exponents,
        schedule.time_exponents,
    )


class _HostTable(NamedTuple):
    inner_ends: list[float]
    phases: list[tuple]  # those that have any steps
    float_type: type


def _value_on_host(host: _HostTable, count: int) -> float:
    """The value in double precision, to be rounded once."""
    phase = host.phases[bisect.bisect_right(host.inner_ends, count)]
    start, end, shape, init_value, end_value, exponent, time_exponent = phase
    count = min(count, end)
    gone, left = (count - start) / (end - start), (end - count) / (end - start)
    if time_exponent != 1:
        gone = gone**time_exponent
        left = 1 - gone
    if shape == COSINE:
        small = math.sin(math.pi / 2 * min(gone, left)) ** 2
        gone, left = (small, 1 - small) if gone < left else (1 - small, small)
    if exponent != 1:
        left = left**exponent
        gone = 1 - left
    if gone < left:
        return init_value + (end_value - init_value) * gone
    return end_value + (init_value - end_value) * left


def table(phases: Sequence[Phase]) -> Table:
    """The phases one after the other, as NumPy columns unless something is traced."""
    dtype = value_dtype(v for p in phases for v in (p.init_value, p.end_value))
    ends = list(_ends([phase.steps for phase in phases], dtype))
    columns = zip(*(phase[1:] for phase in phases), strict=True)
    return Table(
        _column([end.whole for end in ends], np.int32),
        _column([end.part for end in ends], dtype),
        _column(next(columns), np.int32),
        *(_column(column, dtype) for column in columns),
    )


def value_dtype(values: Iterable[Any]) -> Any:
    """float64 if x64 is on and the numbers are Python's or float64; else float32."""
    dtypes = {value.dtype for value in values if hasattr(value, "dtype")}
    wide = not dtypes or np.dtype(np.float64) in dtypes
    return np.dtype(jnp.result_type(float) if wide else np.float32)


def _column(values: Sequence[Any], dtype: Any) -> Any:
    if any(map(is_traced, values)):
        return jnp.stack([jnp.asarray(value, dtype) for value in values])
    column = np.array(values, dtype)
    column.flags.writeable = False
    return column


def _ends(lengths: Iterable[Any], dtype: Any) -> Iterable[Instant]:
    end = Instant(0, 0.0)
    for length in lengths:
        if is_traced(length) or is_traced(end.whole):
            positive = jnp.where(length > 0, length, 0)  # NaN is no length
            end = _add(end, _as_instant(positive, dtype))
        else:
            end = Instant(end.whole + length, 0.0)
        yield end


def _add(start: Instant, steps: Instant) -> Instant:
    """`start + steps`; beyond 2**31 - 1 there is no time."""
    part = start.part + steps.part
    carry = jnp.floor(part)
    steps_with_carry = steps.whole + carry.astype(np.int32)
    whole = start.whole + jnp.minimum(steps_with_carry, LARGEST - start.whole)
    return Instant(whole, part - carry)


def _saturated(count: ArrayLike) -> ArrayLike:
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


def _as_instant(steps: ArrayLike, dtype: Any) -> Instant:
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
    whole = jnp.clip(steps, 0, LARGEST).astype(np.int32)
    return Instant(whole, lax.full_like(whole, 0, dtype))


@jax.jit
def _evaluate(schedule: Table, count: ArrayLike) -> Array:
    # Leaves are still NumPy's where jit is disabled.
    rows = _rows(jax.tree.map(jnp.asarray, schedule))
    value = functools.partial(_value, rows)
    count = jnp.asarray(count)
    for _ in range(count.ndim):
        value = jax.vmap(value)
    return value(count)


class _Row(NamedTuple):
    """All that evaluation asks of a phase; of columns first, then of one entry each."""

    start: Instant
    end: Instant
    steps: Sum
    inverse: Any  # 1 / steps
    shape: Any
    init_value: Any
    end_value: Any
    exponent: Any
    time_exponent: Any


def _rows(schedule: Table) -> _Row:
    # None of this depends on the count: the compiler folds it into constants wherever
    # the schedule is known to it.
    ends = Instant(schedule.ends, schedule.end_parts)
    starts = Instant(*map(_shifted, ends))
    steps = as_sum(ends.whole - starts.whole, ends.part - starts.part)
    inverse = 1 / lax.select(steps.main > 0, steps.main, jnp.ones_like(steps.main))
    return _Row(starts, ends, steps, inverse, *_per_phase(schedule))


def _shifted(column: Array) -> Array:
    """The entry before each, 0 before the first."""
    return lax.concatenate([np.zeros(1, column.dtype), column[:-1]], 0)


def _value(rows: _Row, count: Array) -> Array:
    now = _as_instant(count, rows.init_value.dtype)
    row = jax.tree.map(functools.partial(_entry, _index(rows.end, now)), rows)
    gone, left, first_half, error = _fractions(row, now)
    gone, left = power(gone, left, row.time_exponent)
    first_half, error = _select(
        row.time_exponent == 1,
        (first_half, error),
        (gone < left, jnp.zeros_like(error)),
    )
    eased = half_cosine(gone, left, first_half, error)
    gone, left = _select(row.shape == COSINE, eased, (gone, left))
    # An exponent bends the weight of the first value, which is what is left.
    left, gone = power(left, gone, row.exponent)
    return _between(row.init_value, row.end_value, gone, left)


def _index(ends: Instant, now: Instant) -> Any:
    """Of the phase under way; from the end on, of the last one that has any steps."""
    if len(ends.whole) == 1:
        return np.uint32(0)
    total = Instant(ends.whole[-1], ends.part[-1])
    over = _reached(now, ends) & ~_reached(ends, total)
    # The first that is not: one kernel at any size, where a sum would take several.
    return lax.argmin(over, 0, np.uint32)


def _reached(now: Instant, boundary: Instant) -> Array:
    return (now.whole > boundary.whole) | (
        (now.whole == boundary.whole) & (now.part >= boundary.part)
    )


def _entry(index: Any, column: Array) -> Array:
    # Unsigned and never out of bounds: nothing to wrap, clamp or fill in.
    return column.at[index].get(mode="promise_in_bounds")


def _fractions(row: _Row, now: Instant) -> tuple[Array, Array, Array, Array]:
    """The fractions gone and left, whether gone is the smaller, and that one's error.

    In the middle of a very long phase both round to a half: only the integers tell.
    """
    now = _select(_reached(now, row.end), row.end, now)
    elapsed = Instant(now.whole - row.start.whole, now.part - row.start.part)
    remaining = Instant(row.end.whole - now.whole, row.end.part - now.part)
    lead = (elapsed.whole - remaining.whole).astype(row.inverse.dtype)
    first_half = lead + (elapsed.part - remaining.part) < 0
    near = as_sum(*_select(first_half, elapsed, remaining))
    small, error = ratio(near, row.steps, row.inverse)
    large = 1 - small
    gone, left = _select(first_half, (small, large), (large, small))
    return gone, left, first_half, error


def _select(which: Array, on_true: Any, on_false: Any) -> Any:
    return jax.tree.map(functools.partial(lax.select, which), on_true, on_false)


def _between(init_value: Array, end_value: Array, gone: Array, left: Array) -> Array:
    """From the nearer of the two values, so that both are met to the bit."""
    # In two halves: the difference of two finite values may overflow.
    half = end_value / 2 - init_value / 2
    rise, fall = half * gone, half * left
    from_start = (init_value + rise) + rise
    from_end = (end_value - fall) - fall
    # In the middle the two may differ by a rounding, which must not be a step back. It
    # is taken out of the value alone: the derivative stays.
    overlap = (init_value + half / 2) + half / 2 - from_end
    overlap = lax.select(jnp.sign(half) * overlap > 0, overlap, jnp.zeros_like(half))
    from_end = from_end + lax.stop_gradient(overlap)
    return lax.select(gone <= left, from_start, from_end)
