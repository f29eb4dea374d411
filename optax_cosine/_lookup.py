"""The row of a table that plays at a time.

A row plays until its end, so the row that plays is the first row whose end is after the
time. Past the last end, the last row that has steps plays.

A known table is written into the program: a few rows are chosen with selects, and more
rows are gathered. A traced table is read with gathers alone, two for all columns, and
the program does not depend on the numbers in the table. How the index of the row is
found depends on the number of rows and of counts. Each way is the fastest for some
numbers, and all ways find the same row.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from optax_cosine import _table
from optax_cosine._arrays import Numbers, Tree, is_known, select
from optax_cosine._curve import position_per_step
from optax_cosine._table import COSINE, Rows, Table
from optax_cosine._time import Time, maximum, minimum

# Up to this many known rows are chosen with selects. On a CPU, XLA vectorizes selects
# and does not vectorize gathers.
_MAX_SELECTS = 8
# Up to this many rows, the index of a row is a sum of comparisons, which XLA fuses into
# the kernel that uses the index. Known ends are constants and make a smaller program,
# so more rows are allowed.
_MAX_ADDITIONS = 8
_MAX_KNOWN_ADDITIONS = 32
# To compare every count with every end takes a single kernel, but memory too. A binary
# search is a loop of kernels. So a table is searched if more comparisons are needed.
_MAX_COMPARISONS = 2**18
# A `jax.vmap` of the caller hides the number of counts, so at least this number is
# assumed.
_LEAST_COUNTS = 128
# Row indices are computed in this file and never out of bounds, so JAX need not check.
_IN_BOUNDS = lax.GatherScatterMode.PROMISE_IN_BOUNDS


class Row(NamedTuple):
    """What evaluation reads of a row."""

    clock_start: Time
    clock_end: Time
    is_cosine: Numbers
    # A position on the row is from 0 to 1 on a line, and from 0 to the angle pi / 2 on
    # a cosine (not pi, because the sine is squared).
    position_per_step: Numbers
    init_value: Numbers
    end_value: Numbers
    exponent: Numbers
    time_exponent: Numbers


def read_row(table: Table, now: Time, num_counts: object) -> Row:
    """The row that plays at `now`, one of so many times that are evaluated at once.

    A known table must have no empty rows. The number of counts may be symbolic, as for
    `jax.export`.
    """
    if not is_known(table):
        return _gather_row(table, _find_row(table, now, num_counts))
    columns, ends = _to_row(table.rows), table.ends
    num_rows = len(ends.whole)
    if num_rows > _MAX_SELECTS:
        index = _find_row(table, now, num_counts)
        return jax.tree.map(lambda column: _gather_known(column, index), columns)
    # A number that all rows share stays known: later steps may leave operations out.
    row = _row_at(columns, 0)
    for i in range(1, num_rows):
        row = select(now >= _row_at(ends, i - 1), _row_at(columns, i), row)
    return row


def _to_row(rows: Rows) -> Row:
    """What evaluation reads of a single row, or of all rows of a known table."""
    start, end, is_cosine = rows.clock_start, rows.clock_end, rows.shape == COSINE
    per_step = position_per_step(start, end, is_cosine)
    values = rows.init_value, rows.end_value, rows.exponent, rows.time_exponent
    return Row(start, end, is_cosine, per_step, *values)


def _row_at(columns: Tree, index: int) -> Tree:
    return jax.tree.map(lambda column: column[index], columns)


def _gather_known(column: np.ndarray, index: Array) -> Numbers:
    # A column that is one number stays known.
    return column[0] if (column == column[0]).all() else _gather(column, index)


def _gather_row(table: Table, index: Array) -> Row:
    packed = _gather(table.integers, index), _gather(table.floats, index)
    return _to_row(_table.unpack(*packed, axis=-1))


def _gather(packed: Numbers, index: Array) -> Array:
    """`packed[..., index]`, without the equations that check and wrap an index."""
    last_axis = packed.ndim - 1
    dims = lax.GatherDimensionNumbers(
        offset_dims=tuple(range(last_axis)),
        collapsed_slice_dims=(last_axis,),
        start_index_map=(last_axis,),
    )
    sizes = (*packed.shape[:-1], 1)
    return lax.gather(packed, index[None], dims, sizes, mode=_IN_BOUNDS)


# --- The index of the row ---


def _find_row(table: Table, now: Time, num_counts: object) -> Array:
    num_rows = table.integers.shape[-1]
    # A known table has no empty rows. The last end is not compared, so the last row is
    # found for every time past the end.
    if is_known(table) and num_rows <= _MAX_KNOWN_ADDITIONS:
        return _count_rows_over(table, now)
    # A row is over once `now` reaches its end. Past the last end every row would be
    # over, and an empty last row might play. Before step 0, where a lap that begins
    # early may be read, an empty first row would play. So `now` stays from 0 to just
    # before the end.
    total = _table.last_end(table.ends)
    # This is the smallest number whose subtraction changes every fraction below 1, and
    # stored fractions are multiples of it. So no end of a row is skipped.
    gap = np.finfo(total.frac.dtype).epsneg
    now = minimum(now, Time(total.whole, total.frac - gap))
    now = maximum(now, Time(np.array(0, np.int32), np.zeros((), total.frac.dtype)))
    if num_rows <= _MAX_ADDITIONS:
        return _count_rows_over(table, now)
    if isinstance(num_counts, int):
        if max(num_counts, _LEAST_COUNTS) * num_rows <= _MAX_COMPARISONS:
            # `argmin` finds the first `False` in a single kernel. A sum takes several.
            return lax.argmin(now >= table.ends, 0, np.int32)
    return _bisect(table.ends, now)


def _count_rows_over(table: Table, now: Time) -> Array:
    """How many rows are over. The last row is never over."""
    index = jnp.int32(0)
    for i in range(table.integers.shape[-1] - 1):
        # The ends, column 0 of both packed arrays, are cut entry by entry: a column
        # that several comparisons share would be a kernel of its own.
        end = Time(_end_entry(table.integers, i), _end_entry(table.floats, i))
        index = index + (now >= end).astype(np.int32)
    return index


def _end_entry(packed: Numbers, row: int) -> Numbers:
    if is_known(packed):
        return packed[0, row]
    return lax.squeeze(lax.slice(packed, (0, row), (1, row + 1)), [0, 1])


def _bisect(ends: Time, now: Time) -> Array:
    """The first row whose end is after `now`, or the last row."""
    last_row = ends.whole.shape[0] - 1

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = lax.div(low + high, np.int32(2))
        is_over = now >= ends.map(lambda column: _gather(column, middle))
        return select(is_over, (middle + np.int32(1), high), (low, middle))

    bounds = np.int32(0), np.int32(last_row)
    low, _ = lax.fori_loop(0, last_row.bit_length(), halve, bounds)
    # A loader may have filled a table with zeros. Then every row is over, and a gather
    # must stay within the rows.
    return lax.min(low, np.int32(last_row))
