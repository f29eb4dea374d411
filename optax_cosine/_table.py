"""The schedule as a table of phases, and the one function that evaluates it.

A phase is some steps long, goes from one value to another, and has a shape. Boundaries
between phases are integers, and so are the steps gone by and the steps left: they are
exact up to 2**31 - 1, and only their quotient is ever rounded. Warm-up, annealing and
restarts are tables; the evaluation is the same for all of them.
"""

import bisect
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from optax_cosine._checks import is_traced
from optax_cosine._curve import as_sum, half_cosine, power, ratio
from optax_cosine._instant import (
    Instant,
    as_float,
    difference,
    exact,
    is_numpy,
    length,
    number,
    plus,
    reached,
    select,
)
from optax_cosine._schedule import Schedule, frozen, known, plain
from optax_cosine._text import Piece

LINEAR, COSINE = 0, 1
SHAPES = ("linear", "cosine")
# Of a decay by name: its shape, and its exponent of time.
DECAYS = {"cosine": (COSINE, 1.0), "linear": (LINEAR, 1.0), "sqrt": (LINEAR, 0.5)}
HOLD, MIRROR, REPEAT = 0, 1, 2
AFTER = ("hold", "mirror", "repeat")
_NO_STEPS = 2.0**-60  # stands in for a length of 0: it divides any count finitely
_WHOLE = 1e-6  # what is whole but for this is meant to be whole
_NEVER = lax.GatherScatterMode.PROMISE_IN_BOUNDS  # nothing to wrap, clamp or fill in
_ZERO = lax.GatherScatterMode.FILL_OR_DROP
_COMPARISONS = 2**18  # at most, at once; where there are more, boundaries are searched


class Phase(NamedTuple):
    """One row of a table."""

    steps: Any
    shape: str
    init_value: Any
    end_value: Any
    exponent: Any = 1.0  # of the weight of a cosine
    time_exponent: Any = 1.0  # of the fraction of the phase gone by


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Table(Schedule):
    """Phases one after the other; a pytree of columns with one entry for each phase."""

    ends: Instant  # of each phase
    shapes: Any  # int32, LINEAR or COSINE
    init_values: Any  # float, as the next three
    end_values: Any
    exponents: Any
    time_exponents: Any
    after: Any  # int32, one for all: HOLD, MIRROR or REPEAT

    @property
    def phases(self) -> list[Phase]:
        """The rows of the table as Python numbers, those of empty phases too."""
        values = known(self)
        numbers = (map(_shortest, column) for column in _columns(values)[1:])
        rows = zip(_rows_on_host(values), *numbers, strict=True)
        return [
            Phase(plain(end - start), SHAPES[shape], *numbers)
            for (start, end, shape, *_), *numbers in rows
        ]

    @property
    def _batch_shape(self) -> tuple[int, ...]:
        return getattr(self.after, "shape", ())

    @property
    def _dtype(self) -> np.dtype:
        return np.dtype(self.init_values.dtype)

    def _exact_total(self) -> Any:
        return number(self.ends.whole[-1], self.ends.part[-1])

    def _traced_total(self) -> Instant:
        return Instant(self.ends.whole[..., -1], self.ends.part[..., -1])

    @property
    def _endless(self) -> Any:
        return self.after != HOLD

    def _scaled(self, by: Callable[[Any], Any]) -> "Table":
        values = by(self.init_values), by(self.end_values)
        return dataclasses.replace(self, init_values=values[0], end_values=values[1])

    def _host_function(self) -> Callable[[Any], float]:
        fold = _fold_on_host(self._exact_total(), int(self.after))
        rows = [row for row in _rows_on_host(self) if row[0] < row[1]]
        inner_ends = [end for _, end, *_ in rows[:-1]]
        if not rows:  # traced lengths of 0, fetched
            return lambda count: float(self.end_values[-1])

        def value(count: Any) -> float:
            count = fold(count)
            return _value_on_host(count, *rows[bisect.bisect_right(inner_ends, count)])

        return value

    def _pieces(self) -> list[Piece]:
        pieces = [
            Piece(start, end, _shape(shape, first, last), first, last)
            for start, end, shape, first, last, *_ in _rows_on_host(self)
            if start < end
        ]
        return [*pieces, _what_follows(self, pieces)]

    def _value(self, now: Instant, at_once: int) -> Array:
        now = Instant(now.whole, now.part.astype(self._dtype))
        total = _entry(np.array([len(self.shapes) - 1], np.uint32), self.ends)
        laps = _laps(now, total, self.after)
        phase = _phase(self, _index(self, total, now, laps, at_once))
        now = _folded(now, total, laps, self.after)
        gone, left, first_half = _fractions(phase, now)
        gone, left = power(gone, left, first_half, phase.time_exponent)
        gone, left, second_half = _eased(gone, left, phase.shape)
        # An exponent bends the weight of the first value, which is what is left.
        left, gone = power(left, gone, second_half, phase.exponent)
        return _between(phase.init_value, phase.end_value, gone, left)

    def _code(self) -> str:
        parts = [_phase_code(phase) for phase in self.phases if phase.steps]
        parts = parts or [_phase_code(self.phases[-1])]
        if len(parts) == 1 and self.after == HOLD:
            return parts[0]
        if len(parts) > 8:
            parts[4:-2] = ["..."]
        after = f", after={AFTER[self.after]!r}" if self.after != HOLD else ""
        return f"join({', '.join(parts)}{after})"

    def to_dict(self) -> dict[str, Any]:
        """As in `Schedule`."""
        values = known(self)
        columns = dict(zip(COLUMNS[1:], _columns(values)[1:], strict=True))
        return {
            "kind": "table",
            "dtype": str(values._dtype),
            "ends": values.ends.whole.tolist(),
            "end_parts": values.ends.part.tolist(),
            "shapes": np.array(SHAPES)[values.shapes].tolist(),
            **{name: column.tolist() for name, column in columns.items()},
            "after": np.array(AFTER)[values.after].tolist(),
        }


COLUMNS = ("shapes", "init_values", "end_values", "exponents", "time_exponents")


def _columns(schedule: Table) -> tuple[Any, ...]:
    """All but the ends, in the order in which a row is read."""
    return tuple(getattr(schedule, name) for name in COLUMNS)


def phase(
    steps: Any,
    shape: int,
    init_value: Any,
    end_value: Any,
    exponent: Any = 1.0,
    time_exponent: Any = 1.0,
) -> Table:
    """A table of one phase; `steps` is a checked number or an instant."""
    dtype = value_dtype([init_value, end_value])
    end = steps if isinstance(steps, Instant) else length(steps, dtype)
    columns = ([init_value], [end_value], [exponent], [time_exponent])
    return table(Instant([end.whole], [end.part]), [shape], *columns, dtype=dtype)


def table(ends: Instant, shapes: Any, *values: Any, dtype: Any) -> Table:
    """From columns, as sequences or arrays: NumPy's unless something is traced."""
    return Table(
        Instant(column(ends.whole, np.int32), column(ends.part, dtype)),
        column(shapes, np.int32),
        *(column(entries, dtype) for entries in values),
        after=column(HOLD, np.int32),
    )


def value_dtype(values: Iterable[Any]) -> Any:
    """float64 if x64 is on and the numbers are Python's or float64; else float32."""
    dtypes = {value.dtype for value in values if hasattr(value, "dtype")}
    wide = not dtypes or np.dtype(np.float64) in dtypes
    return np.dtype(jnp.result_type(float) if wide else np.float32)


def column(entries: Any, dtype: Any) -> Any:
    if isinstance(entries, (list, tuple)) and any(map(is_traced, entries)):
        return jnp.stack([jnp.asarray(entry, dtype) for entry in entries])
    if isinstance(entries, jax.Array):
        return entries.astype(dtype)
    return frozen(np.array(entries, dtype))


def melted(tables: Sequence[Any]) -> Table:
    """The tables one after the other, as one; each ends where the next begins."""
    dtype = np.result_type(*(table._dtype for table in tables))
    ends = [tables[0].ends]
    for following in tables[1:]:
        total = Instant(*(column[-1] for column in ends[-1]))
        ends.append(_moved(following.ends, total))
    whole, part = zip(*ends, strict=True)
    shapes, *values = zip(*map(_columns, tables), strict=True)
    return table(
        Instant(_joined(whole, np.int32), _joined(part, dtype)),
        _joined(shapes, np.int32),
        *(_joined(columns, dtype) for columns in values),
        dtype=dtype,
    )


def _moved(ends: Instant, by: Instant) -> Instant:
    if any(map(is_traced, (*ends, *by))):
        by = Instant(jnp.asarray(by.whole), jnp.asarray(by.part, ends.part.dtype))
        return plus(Instant(*map(jnp.asarray, ends)), by)
    moved = (_sum(number(*by), number(*end)) for end in zip(*ends, strict=True))
    return Instant(
        *map(
            np.array, zip(*(exact(end, ends.part.dtype) for end in moved), strict=True)
        )
    )


def _sum(start: Any, steps: Any) -> Any:
    # Parts are stored in float32: what is whole but for that is meant to be whole.
    end = start + steps
    return max(start, round(end)) if abs(end - round(end)) < _WHOLE else end


def _joined(columns: Sequence[Any], dtype: Any) -> Any:
    if is_numpy(columns):
        return np.concatenate(columns, dtype=dtype)
    return jnp.concatenate([jnp.asarray(column, dtype) for column in columns])


def padded(schedule: Table, phases: int) -> Table:
    """With empty phases, which are never found, at its end."""
    after = schedule.after
    columns = dataclasses.replace(schedule, after=None)
    lacking = (0, phases - schedule.shapes.size)

    def longer(column: Any) -> Any:
        xp = np if type(column) is np.ndarray else jnp
        return xp.pad(column, lacking, mode="edge")

    return dataclasses.replace(jax.tree.map(longer, columns), after=after)


def _shortest(value: np.floating) -> float:
    """The float of fewest digits that is stored as this."""
    return float(str(value))


def _phase_code(phase: Phase) -> str:
    init_value, end_value = phase.init_value, phase.end_value
    if phase.shape == "linear" and (init_value, phase.time_exponent) == (end_value, 1):
        return f"constant({init_value!r}, steps={phase.steps!r})"
    names = ("exponent", "time_exponent")
    bends = [f", {name}={getattr(phase, name)!r}" for name in names]
    bends = [bend for bend in bends if not bend.endswith("=1.0")]
    values = f"{init_value!r}, {end_value!r}, steps={phase.steps!r}"
    return f"{phase.shape}({values}{''.join(bends)})"


def _shape(shape: int, init_value: float, end_value: float) -> str:
    return "constant" if init_value == end_value else SHAPES[shape]


def _what_follows(schedule: Table, pieces: Sequence[Piece]) -> Piece:
    after = int(schedule.after)
    if not pieces:  # traced lengths of 0, fetched
        last = float(schedule.end_values[-1])
        return Piece(0, math.inf, "hold", last, last)
    first, last = pieces[0].init_value, pieces[-1].end_value
    values = {HOLD: (last, last), MIRROR: (last, first), REPEAT: (first, last)}[after]
    return Piece(schedule._exact_total(), math.inf, AFTER[after], *values)


def _rows_on_host(schedule: Table) -> list[tuple[Any, ...]]:
    """Start, end and the entries of each phase, as exact Python numbers."""
    ends = list(map(number, *schedule.ends))
    return list(
        zip(
            [0, *ends[:-1]],
            ends,
            *(x.tolist() for x in _columns(schedule)),
            strict=True,
        )
    )


def _fold_on_host(total: Any, after: int) -> Callable[[Any], Any]:
    def held(count: Any) -> Any:
        return count if count < total else total

    def lap(count: Any) -> tuple[Any, Any]:
        laps, count = divmod(count, total)
        # What a lap of a fraction lacks as it is stored in float32.
        return (laps + 1, 0) if count and total - count < _WHOLE else (laps, count)

    def mirrored(count: Any) -> Any:
        laps, count = lap(count)
        return total - count if laps % 2 else count

    def repeated(count: Any) -> Any:
        return lap(count)[1]

    return (held, mirrored, repeated)[after]


def _value_on_host(
    count: Any,
    start: Any,
    end: Any,
    shape: int,
    init_value: float,
    end_value: float,
    exponent: float,
    time_exponent: float,
) -> float:
    """The value in double precision, to be rounded once."""
    gone, left = (count - start) / (end - start), (end - count) / (end - start)
    if time_exponent != 1:
        gone = gone**time_exponent
        left = 1 - gone
    if shape == COSINE:
        small = math.sin(math.pi / 2 * (gone if gone < left else left)) ** 2
        gone, left = (small, 1 - small) if gone < left else (1 - small, small)
    if exponent != 1:
        left = left**exponent
        gone = 1 - left
    if gone < left:
        return init_value + (end_value - init_value) * gone
    return end_value + (init_value - end_value) * left


class _Phase(NamedTuple):
    """All that evaluation asks of a phase."""

    start: Instant
    end: Instant
    shape: Any
    init_value: Any
    end_value: Any
    exponent: Any
    time_exponent: Any


def _phase(schedule: Table, index: Any) -> _Phase:
    index = index[None]
    end, *entries = _entry(index, (schedule.ends, *_columns(schedule)))
    # The first has none before it: its index wraps, far beyond, where 0 is read.
    start = _entry(index - 1, schedule.ends, beyond=_ZERO)
    return _Phase(start, end, *entries)


class _Laps(NamedTuple):
    """How often a table that repeats or mirrors itself is through."""

    number: Any  # int32
    as_float: Any


def _laps(now: Instant, total: Instant, after: Array) -> _Laps:
    # Laps of whole length are counted in integers, others in floats.
    near = (as_float(now) / as_float(total)).astype(np.int32)
    laps = lax.select(total.part == 0, lax.div(now.whole, total.whole), near)
    laps = lax.select_n(after, lax.full_like(laps, 0), laps, laps)  # none on HOLD
    return _Laps(laps, laps.astype(total.part.dtype))


def _folded(now: Instant, total: Instant, laps: _Laps, after: Array) -> Instant:
    """`now` within one lap."""
    lap = Instant(
        now.whole - laps.number * total.whole, now.part - laps.as_float * total.part
    )
    # Twice a lap may not fit in an integer: a mirrored one is told by its parity.
    back = (laps.number & after) == MIRROR  # REPEAT has another bit
    return select(back, difference(total, lap), lap)


def _index(
    schedule: Table, total: Instant, now: Instant, laps: _Laps, at_once: int
) -> Array:
    if (phases := len(schedule.shapes)) == 1:
        return jnp.uint32(0)
    # Folded here, and for the phase that is found again: what two kernels share would
    # be a kernel of its own, and but for the barrier the compiler would share it.
    now = _folded(now, total, lax.optimization_barrier(laps), schedule.after)
    search = _compared if at_once * phases <= _COMPARISONS else _searched
    return search(schedule.ends, total, now)


def _compared(ends: Instant, total: Instant, now: Instant) -> Array:
    """Which phase is under way; from the end on, the last one that has any steps."""
    # The first that is not over: one kernel, where a sum over many would take more.
    return lax.argmin(_over(ends, total, now), 0, np.uint32)


def _searched(ends: Instant, total: Instant, now: Instant) -> Array:
    """As `_compared`, in few steps and no memory."""
    last = len(ends.whole) - 1

    def narrowed(_: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = lax.div(low + high, np.uint32(2))
        over = _over(_entry(middle[None], ends), total, now)
        return select(over, (middle + np.uint32(1), high), (low, middle))

    bounds = np.uint32(0), np.uint32(last)
    return lax.fori_loop(0, last.bit_length(), narrowed, bounds)[0]


def _over(ends: Instant, total: Instant, now: Instant) -> Array:
    before_total = (ends.whole != total.whole) | (ends.part != total.part)
    return reached(now, ends) & before_total


def _entry(index: Any, columns: Any, beyond: Any = _NEVER) -> Any:
    pick = lax.GatherDimensionNumbers((), (0,), (0,))
    return jax.tree.map(
        lambda x: lax.gather(x, index, pick, (1,), mode=beyond, fill_value=0), columns
    )


def _fractions(phase: _Phase, now: Instant) -> tuple[Array, Array, Array]:
    """How much of the phase is gone and left, and whether gone is the smaller.

    From 0 to 1; the smaller is rounded once.
    """
    elapsed, remaining = difference(now, phase.start), difference(phase.end, now)
    first_half = reached(remaining, elapsed)
    near = as_sum(*select(first_half, elapsed, remaining))
    steps = as_sum(*difference(phase.end, phase.start))
    inverse = 1 / lax.max(steps.main, steps.main.dtype.type(_NO_STEPS))
    # Before the start it is below 0, and past the end; at both, the derivative is 0.
    small = ratio(near, steps, inverse)
    small = lax.clamp(lax.full_like(small, 0), small, lax.full_like(small, 1))
    large = 1 - small
    return *select(first_half, (small, large), (large, small)), first_half


def _eased(gone: Array, left: Array, shape: Array) -> tuple[Array, Array, Array]:
    """`gone` and `left` along the curve of the phase, and whether left is smaller."""
    second_half = left < gone
    small, large = half_cosine(lax.select(second_half, left, gone))
    curve = lax.select(second_half, shape * 2, shape)  # 0 is LINEAR: as it is
    gone = lax.select_n(curve, gone, small, large)
    left = lax.select_n(curve, left, large, small)
    return gone, left, second_half


def _between(init_value: Array, end_value: Array, gone: Array, left: Array) -> Array:
    """From the nearer of the two values, so that both are met to the bit."""
    rise = end_value - init_value
    from_start = init_value + rise * gone
    from_end = end_value - rise * left
    # In the middle the two may differ by a rounding, which must not be a step back. It
    # is taken out of the value alone: the derivative stays.
    excess = (init_value + rise / 2) - from_end
    none = lax.full_like(rise, 0)
    excess = lax.clamp(lax.min(rise, none), excess, lax.max(rise, none))
    from_end = from_end + lax.stop_gradient(excess)
    return lax.select(gone <= left, from_start, from_end)
