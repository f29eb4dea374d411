"""The table of rows that a schedule is, and how rows are cut, moved and put together.

A row has an end, and a clock: the times at which its fraction is 0 and 1. In a freshly
built table the clock of a row is the time that the row plays. A cut row keeps its
clock, and a moved or stretched row takes its clock along. So a table stays a table,
whatever is done to it, and no row is ever computed from another.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from optax_cosine import _arrays, _time
from optax_cosine._arrays import (
    Numbers,
    Pytree,
    Scalar,
    Tree,
    always,
    concatenate,
    is_known,
    read_only,
    select,
)
from optax_cosine._time import LARGEST, Time
from optax_cosine._validation import LARGEST_RATE, SMALLEST_RATE

# `shapes` and `after` are stored as these codes.
LINEAR, COSINE = 0, 1
SHAPES = ("linear", "cosine")
HOLD, MIRROR, REPEAT = 0, 1, 2
AFTER = ("hold", "mirror", "repeat")

# The least and the largest number of the fractions of steps, the values and the
# exponents of a table.
_BELOW_1 = 1 - 2.0**-24
_LIMITS = (
    np.array([0.0] * 3 + [-LARGEST_RATE] * 2 + [SMALLEST_RATE] * 2)[:, None],
    np.array([_BELOW_1] * 3 + [LARGEST_RATE] * 4)[:, None],
)


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
        return Time(_take(self.integers, 0, -2), _take(self.floats, 0, -2))


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


def _take(numbers: Numbers, index: int, axis: int) -> Numbers:
    if is_known(numbers):
        return np.take(numbers, index, axis)
    return lax.index_in_dim(numbers, index, axis, keepdims=False)


def pack(rows: Rows, after: Numbers) -> Table:
    """Read-only NumPy arrays if all is known."""
    times = rows[:3]
    integers = [*(time.whole for time in times), rows.shape]
    floats = [*(time.frac for time in times), *rows[4:]]
    return Table(_arrays.stack(integers, -2), _arrays.stack(floats, -2), after)


# --- Building ---


def value_dtype(values: Iterable[Scalar]) -> np.dtype:
    """float64 if x64 is on and the numbers are Python's or float64; else float32."""
    dtypes = {value.dtype for value in values if hasattr(value, "dtype")}
    wide = not dtypes or np.dtype(np.float64) in dtypes
    return np.dtype(jnp.result_type(float) if wide else np.float32)


class Segment(NamedTuple):
    """A row without its times."""

    shape: int
    init_value: ArrayLike
    end_value: ArrayLike
    exponent: ArrayLike = 1.0
    time_exponent: ArrayLike = 1.0


def build_table(ends: Time, segments: Sequence[Segment]) -> Table:
    """Segments that follow each other, each on the clock of the time that it plays."""
    shapes, *values = zip(*segments, strict=True)
    shape = np.array(shapes, np.int32)
    columns = (_arrays.as_column(column, ends.frac.dtype) for column in values)
    rows = Rows(ends, starts_of(ends), ends, shape, *columns)
    return pack(rows, read_only(np.array(HOLD, np.int32)))


def single_row(steps: object, segment: Segment) -> Table:
    """A table of one row that takes a checked number of steps."""
    dtype = value_dtype([segment.init_value, segment.end_value])
    end = _time.stack_times([_time.to_time(steps, dtype)])
    return build_table(end, [segment])


def constant_row(steps: object, value: ArrayLike) -> Table:
    """A table of one row and one value."""
    return single_row(steps, Segment(LINEAR, value, value))


def starts_of(ends: Time) -> Time:
    """When each row begins: at 0, or when the row before it ends."""

    def starts(column: Numbers) -> Numbers:
        first = np.zeros((*column.shape[:-1], 1), column.dtype)
        return _arrays.concatenate([first, column[..., :-1]], -1)

    return ends.map(starts)


def has_steps(ends: Time) -> Numbers:
    """Which rows are not empty."""
    return ~(starts_of(ends) >= ends)


def last_end(ends: Time) -> Time:
    """When the last row ends; of a table that repeats, the length of a lap."""
    return ends.map(lambda x: _take(x, -1, -1))


class HostRow(NamedTuple):
    """A row that has steps, in Python's numbers, and when it begins."""

    start: int | Fraction
    end: int | Fraction
    clock_start: int | Fraction
    clock_end: int | Fraction
    shape: int
    init_value: float
    end_value: float
    exponent: float
    time_exponent: float


def host_rows(table: Table) -> list[HostRow]:
    """The rows of a known table that have steps."""
    check_ends("this", table)
    rows = _drop_empty(widen_numbers(table).rows)
    starts = starts_of(rows.end)
    times = (_time.to_numbers(time) for time in (starts, *rows[:3]))
    return list(map(HostRow, *times, *(column.tolist() for column in rows[3:])))


def tables_of(tree: Pytree) -> list[Table]:
    return [
        node
        for node in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, Table))
        if isinstance(node, Table)
    ]


def widen_numbers(tree: Tree) -> Tree:
    """The tree in float32, if a tool wrote it in half precision.

    A fraction of a step may have become 1 there, a large number infinite and a small
    exponent 0. These become the nearest numbers that a table may hold.
    """

    def widen_part(part: Pytree) -> Pytree:
        match part:
            case Table(integers, floats, after):
                return Table(integers, _widen(floats, *_LIMITS), after)
            case Time(whole, frac):
                return Time(whole, _widen(frac, 0.0, _BELOW_1))
            case _:
                return part

    def is_part(part: object) -> bool:
        return isinstance(part, Table | Time)

    return jax.tree.map(widen_part, tree, is_leaf=is_part)


def _widen(
    floats: Numbers, least: float | np.ndarray, largest: float | np.ndarray
) -> Numbers:
    if floats.dtype.itemsize >= 4:
        return floats
    xp = np if is_known(floats) else jnp
    finite = np.minimum(largest, float(jnp.finfo(floats.dtype).max), dtype=np.float32)
    return xp.clip(floats.astype(np.float32), np.float32(least), finite)


def check_ends(name: str, table: Table) -> None:
    """Refuses a known table whose ends fall, which no function builds."""
    ends = _time.to_doubles(table.ends)
    if (np.diff(ends) < 0).any():
        raise ValueError(
            f"{name} is not a schedule, as its phases end at {ends.tolist()}, which "
            "falls. Its numbers are of two schedules, as after a checkpoint was "
            "restored in part: write a schedule with set_schedules, or restore all."
        )


def drop_empty_rows(table: Table) -> Table:
    """The table without its empty rows, if it is known."""
    return pack(_drop_empty(table.rows), table.after)


def is_held_table(node: object) -> TypeGuard[Table]:
    """Whether the node is known to be a table that ends, and holds its last value."""
    return isinstance(node, Table) and always(node.after, HOLD)


def is_constant(table: Table) -> bool:
    """Whether the table is known to have one value throughout."""
    rows = _drop_empty(table.rows)
    values = rows.init_value, rows.end_value
    return is_known(values) and bool(np.equal(values, values[0][0]).all())


# --- Row transforms ---
#
# A traced number may leave any row without steps: a row that ends where the row before
# it ends is empty. The evaluator never finds an empty row.


def join_tables(tables: Sequence[Table]) -> Table:
    """The tables one after the other."""
    moved, total = [tables[0].rows], last_end(tables[0].ends)
    for table in tables[1:]:
        moved.append(_move(table.rows, total))
        total = last_end(moved[-1].end)
    rows = jax.tree.map(lambda *columns: _arrays.concatenate(columns), *moved)
    return pack(rows, tables[0].after)


def _move(rows: Rows, by: Time) -> Rows:
    by = by.astype(rows.end.frac.dtype)
    return Rows._make([*(_time.add(time, by) for time in rows[:3]), *rows[3:]])


def cut(table: Table, at_step: Time) -> Table:
    """The table until `at_step`. If the table is over before, its last value holds."""
    rows, at_step = table.rows, at_step.astype(table.floats.dtype)
    is_last = rows.end >= last_end(table.ends)
    ends = select(is_last, at_step, _time.minimum(rows.end, at_step))
    return drop_empty_rows(pack(rows._replace(end=ends), table.after))


def shift_table(table: Table, steps: Time) -> Table:
    """The table from `steps` on, or later by `-steps`."""
    if _time.is_zero(steps):
        return table
    return _play_from_0(_move(table.rows, -steps), table)


def _stretch(table: Table, numerator: Time, denominator: Time) -> Table:
    """The table on a clock that is slower by `numerator / denominator`."""
    is_known_ratio = is_known(numerator, denominator)
    if is_known_ratio and _time.to_number(numerator) == _time.to_number(denominator):
        return table
    rows = table.rows
    if is_known_ratio and is_known(rows):
        _check_clocks(rows, numerator, denominator)
    times = (_time.scale(time, numerator, denominator) for time in rows[:3])
    return _play_from_0(Rows._make([*times, *rows[3:]]), table)


def _check_clocks(rows: Rows, numerator: Time, denominator: Time) -> None:
    factor = _time.to_doubles(numerator) / _time.to_doubles(denominator)
    times = _time.to_doubles(rows.clock_start), _time.to_doubles(rows.clock_end)
    if factor > 1 and (reach := np.abs(times).max() * factor) > LARGEST:
        raise ValueError(
            f"stretching a schedule {factor:.6g} times takes the start or the end of a "
            f"phase, which may be cut, {reach:.6g} steps away from step 0: at most "
            "2**31 - 1 are possible. Stretch less, or start the stretch earlier."
        )


def put_on_clock(
    table: Table, at_count: Time, at_step: Time, steps: Time, counts: Time
) -> Table:
    """The table until `at_count`, from there the table from `at_step` on.

    From `at_count` on, `steps` of the table take as long as `counts`.
    """
    rest = _stretch(shift_table(table, at_step), counts, steps)
    return splice_tables(table, at_count, rest)


def splice_tables(before: Table, at_step: Time, then: Table) -> Table:
    """`before` until `at_step`, from there `then` from its own step 0."""
    return then if _time.is_zero(at_step) else join_tables([cut(before, at_step), then])


def _play_from_0(rows: Rows, table: Table) -> Table:
    """The rows of a table at other times. Rows that end by step 0 become empty.

    The last row of the table that had steps keeps at least one step.
    """
    zero = Time(np.array(0, np.int32), np.zeros((), rows.end.frac.dtype))
    one = Time(zero.whole + np.int32(1), zero.frac)
    # An empty first row stays empty: waiting must not give it steps.
    is_over = (zero >= rows.end) | (zero >= table.ends)
    is_last = table.ends >= last_end(table.ends)
    end_of_last = select(zero >= rows.end, one, rows.end)
    ends = select(is_last, end_of_last, select(is_over, zero, rows.end))
    return drop_empty_rows(pack(rows._replace(end=ends), table.after))


def _drop_empty(rows: Rows) -> Rows:
    if not is_known(rows):
        return rows
    kept = has_steps(rows.end)
    return jax.tree.map(lambda column: column[kept], rows)


def pad_table(table: Table, rows: int) -> Table:
    """The table with empty rows at its end, which are never found."""
    lacking = rows - table.integers.shape[-1]

    def pad(packed: Numbers) -> Numbers:
        # `jnp.pad` would slice every axis, and an explicit axis of a mesh forbids it.
        broadcast_to = np.broadcast_to if is_known(packed) else jnp.broadcast_to
        last = broadcast_to(packed[..., -1:], (*packed.shape[:-1], lacking))
        return concatenate([packed, last], axis=-1)

    return Table(pad(table.integers), pad(table.floats), table.after)
