"""The table of rows that a schedule is, and how rows are cut, moved and put together.

A row has an end, and a clock: the times at which its fraction is 0 and 1. In a freshly
built table the clock of a row is the time that the row plays. A cut row keeps its
clock, and a moved or stretched row takes its clock along. So a table stays a table,
whatever is done to it, and no row is ever computed from another.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from optax_cosine._arrays import (
    Numbers,
    Pytree,
    always,
    is_known,
    is_traced,
    read_only,
    select,
)
from optax_cosine._time import (
    LARGEST,
    Time,
    add,
    minimum,
    scale,
    stack_times,
    to_doubles,
    to_time,
)

# `shapes` and `after` are stored as these codes.
LINEAR, COSINE = 0, 1
SHAPES = ("linear", "cosine")
HOLD, MIRROR, REPEAT = 0, 1, 2
AFTER = ("hold", "mirror", "repeat")


class Rows(NamedTuple):
    """The columns of a table, or one row of them."""

    end: Time
    clock_start: Time
    clock_end: Time
    shape: Numbers  # int32, LINEAR or COSINE
    init_value: Numbers
    end_value: Numbers
    exponent: Numbers
    time_exponent: Numbers


class Table(NamedTuple):
    """Rows, packed: every leaf of an optimizer state costs time in each step."""

    integers: Numbers  # int32[4, rows]
    floats: Numbers  # [7, rows]
    after: Numbers  # int32, one per table: HOLD, MIRROR or REPEAT

    @property
    def rows(self) -> Rows:
        return unpack(self.integers, self.floats, -2)

    @property
    def ends(self) -> Time:
        """The first column of `rows` alone."""
        return Time(_first(self.integers), _first(self.floats))


def unpack(integers: Numbers, floats: Numbers, axis: int) -> Rows:
    """The columns by name, from arrays that hold them along an axis."""
    *wholes, shape = _split(integers, axis)
    columns = _split(floats, axis)
    times = (Time(*pair) for pair in zip(wholes, columns[:3], strict=True))
    return Rows._make([*times, shape, *columns[3:]])


def _split(packed: Numbers, axis: int) -> list[Numbers]:
    if is_known(packed):
        return [*np.moveaxis(np.asarray(packed), axis, 0)]
    parts = lax.split(packed, [1] * packed.shape[axis], axis)
    return [lax.squeeze(part, [axis]) for part in parts]


def _first(packed: Numbers) -> Numbers:
    if is_known(packed):
        return packed[..., 0, :]
    return lax.index_in_dim(packed, 0, -2, keepdims=False)


def pack(rows: Rows, after: Numbers) -> Table:
    """Read-only NumPy arrays if all is known."""
    times = rows[:3]
    integers = [*(time.whole for time in times), rows.shape]
    floats = [*(time.frac for time in times), *rows[4:]]
    dtype = np.result_type(*(column.dtype for column in floats))
    return Table(_stack(integers, np.int32), _stack(floats, dtype), after)


def _stack(columns: Sequence[Numbers], dtype: DTypeLike) -> Numbers:
    if is_known(*columns):
        return read_only(np.stack(columns, -2).astype(dtype))
    return jnp.stack([jnp.asarray(column, dtype) for column in columns], -2)


# --- Building ---


def value_dtype(values: Iterable[Any]) -> np.dtype:
    """float64 if x64 is on and the numbers are Python's or float64; else float32."""
    dtypes = {value.dtype for value in values if hasattr(value, "dtype")}
    wide = not dtypes or np.dtype(np.float64) in dtypes
    return np.dtype(jnp.result_type(float) if wide else np.float32)


def as_column(entries: ArrayLike | Sequence[ArrayLike], dtype: DTypeLike) -> Numbers:
    """NumPy's array, unless an entry is traced."""
    if isinstance(entries, list | tuple) and any(map(is_traced, entries)):
        return jnp.stack([jnp.asarray(entry, dtype) for entry in entries])
    if isinstance(entries, jax.Array):
        return entries.astype(dtype)
    return np.array(entries, dtype)


def build_table(
    ends: Time,
    shapes: Sequence[int],
    init_values: ArrayLike | Sequence[ArrayLike],
    end_values: ArrayLike | Sequence[ArrayLike],
    exponents: ArrayLike | Sequence[ArrayLike],
    time_exponents: ArrayLike | Sequence[ArrayLike],
    after: int = HOLD,
) -> Table:
    """Rows that follow each other, each on the clock of the time that it plays."""
    dtype = ends.frac.dtype
    values = init_values, end_values, exponents, time_exponents
    columns = (as_column(column, dtype) for column in values)
    rows = Rows(ends, starts_of(ends), ends, np.array(shapes, np.int32), *columns)
    return pack(rows, read_only(np.array(after, np.int32)))


def single_row(
    steps: object,
    shape: int,
    init_value: ArrayLike,
    end_value: ArrayLike,
    exponent: ArrayLike = 1.0,
    time_exponent: ArrayLike = 1.0,
) -> Table:
    """A table of one row that takes a checked number of steps."""
    dtype = value_dtype([init_value, end_value])
    end = stack_times([to_time(steps, dtype)])
    values = ([init_value], [end_value], [exponent], [time_exponent])
    return build_table(end, [shape], *values)


def starts_of(ends: Time) -> Time:
    """When each row begins: at 0, or when the row before it ends."""
    xp = np if is_known(ends) else jnp
    return ends.map(
        lambda x: xp.concatenate([xp.zeros_like(x[..., :1]), x[..., :-1]], -1)
    )


def end_of_table(table: Table) -> Time:
    """When the last row ends; of a table that repeats, the length of a lap."""
    return last_end(table.ends)


def last_end(ends: Time) -> Time:
    if is_known(ends):
        return ends.map(lambda x: x[..., -1])
    return ends.map(lambda x: lax.index_in_dim(x, -1, -1, keepdims=False))


class HostRow(NamedTuple):
    """A row that has steps, in Python's numbers, and when it begins."""

    start: float
    end: float
    clock_start: float
    clock_end: float
    shape: int
    init_value: float
    end_value: float
    exponent: float
    time_exponent: float


def host_rows(table: Table) -> list[HostRow]:
    """The rows of a known table that have steps."""
    check_ends("this", table)
    rows = _drop_empty(table.rows)
    starts = starts_of(rows.end)
    times = (_to_numbers(time) for time in (starts, *rows[:3]))
    return list(map(HostRow, *times, *(column.tolist() for column in rows[3:])))


def _to_numbers(times: Time) -> list[float]:
    """Ints if they are whole: Python compares a count with an int faster."""
    return [int(x) if x.is_integer() else x for x in to_doubles(times).tolist()]


def host_row_at(table: Table, step: Any, side: Literal["left", "right"]) -> HostRow:
    """The row that plays from a step on (right) or until it (left); else the last."""
    integers, floats, after = drop_empty_rows(table)
    ends = to_doubles(Table(integers, floats, after).ends)
    index = min(int(np.searchsorted(ends, step, side)), len(ends) - 1)
    # A row starts where the row before it ends.
    pair = slice(max(index - 1, 0), index + 1)
    return host_rows(Table(integers[:, pair], floats[:, pair], after))[-1]


def tables_of(tree: Pytree) -> list[Table]:
    return [
        node
        for node in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, Table))
        if isinstance(node, Table)
    ]


def check_ends(name: str, table: Table) -> None:
    """Refuses a known table whose ends fall, which no function builds."""
    ends = to_doubles(table.ends)
    if (np.diff(ends) < 0).any():
        raise ValueError(
            f"{name} is not a schedule, as its phases end at {ends.tolist()}, which "
            "falls. Its numbers are of two schedules, as after a checkpoint was "
            "restored in part: write a schedule with set_schedules, or restore all."
        )


def drop_empty_rows(table: Table) -> Table:
    """The table without its empty rows, if it is known."""
    return pack(_drop_empty(table.rows), table.after)


def is_held(table: Table) -> bool:
    """Whether the table is known to end, and to hold its last value."""
    return always(table.after, HOLD)


# --- Row transforms ---
#
# A traced number may leave any row without steps: a row that ends where the row before
# it ends is empty. The evaluator never finds an empty row.


def concatenate(tables: Sequence[Table]) -> Table:
    """The tables one after the other."""
    moved, total = [tables[0].rows], end_of_table(tables[0])
    for table in tables[1:]:
        moved.append(_move(table.rows, total))
        total = last_end(moved[-1].end)
    known = is_known(*moved)

    def join_columns(*columns: Numbers) -> Numbers:
        dtype = np.result_type(*(column.dtype for column in columns))
        if known:
            return np.concatenate(columns, dtype=dtype)
        return jnp.concatenate([jnp.asarray(column, dtype) for column in columns])

    return pack(jax.tree.map(join_columns, *moved), tables[0].after)


def _move(rows: Rows, by: Time) -> Rows:
    by = by.astype(rows.end.frac.dtype)
    return rows._replace(
        end=add(rows.end, by),
        clock_start=add(rows.clock_start, by),
        clock_end=add(rows.clock_end, by),
    )


def cut(table: Table, at_step: Time) -> Table:
    """The table until `at_step`. If the table is over before, its last value holds."""
    rows, at_step = table.rows, at_step.astype(table.floats.dtype)
    is_last = rows.end >= end_of_table(table)
    ends = select(is_last, at_step, minimum(rows.end, at_step))
    return drop_empty_rows(pack(rows._replace(end=ends), table.after))


def shift_table(table: Table, steps: Time) -> Table:
    """The table from `steps` on, or later by `-steps`."""
    return _play_from_0(_move(table.rows, -steps), table)


def stretch_table(table: Table, numerator: Time, denominator: Time) -> Table:
    """The table on a clock that is slower by `numerator / denominator`."""
    rows = table.rows
    end, start, stop = (scale(x, numerator, denominator) for x in rows[:3])
    if is_known(start, stop):
        _check_clocks(rows, numerator, denominator)
    rows = rows._replace(end=end, clock_start=start, clock_end=stop)
    return _play_from_0(rows, table)


def _check_clocks(rows: Rows, numerator: Time, denominator: Time) -> None:
    factor = to_doubles(numerator) / to_doubles(denominator)
    times = to_doubles(rows.clock_start), to_doubles(rows.clock_end)
    if factor > 1 and (reach := np.abs(times).max() * factor) > LARGEST:
        raise ValueError(
            f"stretching a schedule {factor:.6g} times takes the start or the end of a "
            f"phase, which may be cut, {reach:.6g} steps away from step 0: at most "
            "2**31 - 1 are possible. Stretch less, or start the stretch earlier."
        )


def extend_table(table: Table, at_step: Time, steps: Time, counts: Time) -> Table:
    """The table in which, from `at_step` on, `steps` take as long as `counts`."""
    rest = stretch_table(shift_table(table, at_step), counts, steps)
    return splice_tables(table, at_step, rest)


def splice_tables(before: Table, at_step: Time, then: Table) -> Table:
    if always(at_step.whole, 0) and always(at_step.frac, 0):
        return then
    return concatenate([cut(before, at_step), then])


def _play_from_0(rows: Rows, table: Table) -> Table:
    """The rows of a table at other times. Rows that end by step 0 become empty.

    The last row of the table that had steps keeps at least one step.
    """
    zero = Time(np.array(0, np.int32), np.zeros((), rows.end.frac.dtype))
    one = Time(zero.whole + np.int32(1), zero.frac)
    # An empty first row stays empty: waiting must not give it steps.
    is_over = (zero >= rows.end) | (zero >= table.ends)
    is_last = table.ends >= end_of_table(table)
    end_of_last = select(zero >= rows.end, one, rows.end)
    ends = select(is_last, end_of_last, select(is_over, zero, rows.end))
    return drop_empty_rows(pack(rows._replace(end=ends), table.after))


def _drop_empty(rows: Rows) -> Rows:
    if not is_known(rows):
        return rows
    has_steps = ~(starts_of(rows.end) >= rows.end)
    return jax.tree.map(lambda column: column[has_steps], rows)


def pad_table(table: Table, rows: int) -> Table:
    """The table with empty rows at its end, which are never found."""
    lacking = (0, rows - table.integers.shape[-1])

    def pad(packed: Numbers) -> Numbers:
        widths = [(0, 0)] * (packed.ndim - 1) + [lacking]
        if is_known(packed):
            return read_only(np.pad(packed, widths, mode="edge"))
        return jnp.pad(packed, widths, mode="edge")

    return Table(pad(table.integers), pad(table.floats), table.after)


def map_table_rates(table: Table, function: Callable[[Numbers], Numbers]) -> Table:
    """The table with other values on the same clocks."""
    rows = table.rows
    values = function(rows.init_value), function(rows.end_value)
    return pack(rows._replace(init_value=values[0], end_value=values[1]), table.after)
