"""The value of a schedule at a step count, on a device.

For a table:

1. Clamp the count to [0, 2**31 - 1] in its own dtype: a cast to int32 would wrap
   (`from_array`).
2. Wrap the count into one lap, if the table repeats or mirrors itself.
3. Find the row that plays, by comparing the count with the ends of the rows.
4. A row moves on a clock, which may start before the row does and end after the row.
   Count the steps since the clock started, and the steps until the clock ends, in
   integers. Both numbers become floats, and the smaller one is used. Without fractions
   of a step, this is the first rounding.
5. On a cosine, multiply that number by the angle of one step. The square of the sine is
   the weight of the farther end: `sin(a)**2` is `(1 - cos(2 * a)) / 2`, and nothing
   cancels. On a line the product is the weight. A `time_exponent` bends the product, an
   `exponent` bends the weight.
6. Start at the value of the nearer end, and add the weighted difference. Stop at the
   middle of the two values.

At either end the weight is 0, so a schedule meets its values to the bit. Near an end of
a row without exponents the weight is small, and so is its error. Rounded sums and
products are monotone. Sine, logarithm and exponential are monotone in the ranges that
are used here, as tests/test_curve.py checks. So a decaying row never rises from one
step to the next. Only in the middle of a row, at which its two halves meet, might their
roundings pass each other. Step 6 stops both halves at the middle value. An exponent
moves the meeting point away from that value; tests/test_edges.py looks there.

The same lines serve two kinds of tables. A traced table (an argument of the program,
part of an optimizer state) is read with gathers, and the program does not depend on
what is in it. A known table (closed over) is written into the program, and operations
that its numbers make unnecessary are left out; `always(column, value)` decides that at
trace time.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import NamedSharding

from optax_cosine import _table
from optax_cosine._arrays import Numbers, Pytree, Tree, always, is_known, select
from optax_cosine._clock import step_at
from optax_cosine._curve import (
    bend,
    clip_value,
    far_weight,
    one_minus_power,
    one_minus_power_precisely,
    turn_per_step,
    value_with_slope_of,
    whole_turn,
)
from optax_cosine._node import Clocked, Node, Product, Spliced, dtype_of
from optax_cosine._table import COSINE, HOLD, MIRROR, REPEAT, Rows, Table
from optax_cosine._time import LARGEST, Time, add, from_array, maximum, minimum

# Takes the lowest value, the value and the highest value, as `lax.clamp` does.
Clip: TypeAlias = Callable[[Numbers, Numbers, Numbers], Array]

# To compare a count with every end takes a single kernel, but memory too. A binary
# search is a loop of kernels. So a table that needs more comparisons is searched.
_MAX_COMPARISONS = 2**18
# A `jax.vmap` of the caller hides the number of counts, so at least this number is
# assumed.
_LEAST_COUNTS = 128
# Up to this many known rows are chosen with selects. On a CPU, XLA vectorizes selects
# and does not vectorize gathers.
_MAX_SELECTS = 8
# Up to this many rows, the index of a row is a sum of comparisons, which XLA fuses into
# the kernel that uses the index. Known ends are constants and make a smaller program,
# so more rows are allowed.
_MAX_ADDITIONS = 8
_MAX_KNOWN_ADDITIONS = 32
# JAX has this function from 0.7 on. Without it, explicit axes are not supported.
_auto_axes: Any = getattr(jax.sharding, "auto_axes", None)
# Row indices are computed in this file and never out of bounds, so JAX need not check.
_IN_BOUNDS = lax.GatherScatterMode.PROMISE_IN_BOUNDS


def evaluate(node: Node, counts: Array | Time) -> Array:
    """The values at counts of any real dtype, shape and sharding."""
    mesh = _explicit_mesh((node, counts))
    if mesh is None:
        return _evaluate(node, counts)
    # On a mesh with explicit axes JAX derives the sharding of each result, and cannot
    # do so for a gather. So the axes are automatic in here, and the values get the
    # sharding of the counts.
    first: Any = jax.tree.leaves(counts)[0]
    sharding = NamedSharding(mesh, first.aval.sharding.spec)
    if is_known(node):
        # As an argument of the function, the node would be traced. A traced node must
        # be an argument, so that its axes become automatic too.
        known = functools.partial(_evaluate, node)
        return _auto_axes(known, out_sharding=sharding)(counts)
    return _auto_axes(_evaluate, out_sharding=sharding)(node, counts)


def _explicit_mesh(tree: Pytree) -> Any:
    """The mesh with explicit axes on which an array of the tree lies, or None."""
    if _auto_axes is None:
        return None
    # A NumPy leaf has no `aval`, and lies on no mesh.
    for leaf in jax.tree.leaves(tree):
        sharding = getattr(getattr(leaf, "aval", None), "sharding", None)
        mesh = getattr(sharding, "mesh", None)
        if mesh is not None and mesh.explicit_axes:
            return mesh
    return None


def _evaluate(node: Node, counts: Array | Time) -> Array:
    """The values at all counts, by a function of a single count."""
    dtype, first = dtype_of(node), jax.tree.leaves(counts)[0]
    # For `jax.export` the number of counts may be symbolic. This number makes every
    # long table be searched, as a large number of counts would.
    num_counts = _MAX_COMPARISONS
    if isinstance(first.size, int):
        num_counts = max(first.size, _LEAST_COUNTS)

    def value_at(count: Array | Time) -> Array:
        is_time = isinstance(count, Time)
        now = count.astype(dtype) if is_time else from_array(count, dtype)
        return _value_of_node(node, now, num_counts)

    # The functions below evaluate one count: a gather takes one index.
    values_at = value_at
    for _ in range(first.ndim):
        values_at = jax.vmap(values_at)
    return values_at(counts)


def _value_of_node(node: Node, now: Time, num_counts: int) -> Array:
    """The value at `now`, one of `num_counts` counts that are evaluated at once.

    The number of counts decides how the row that plays is found.
    """
    match node:
        case Table():
            return _value_of_table(node, now, num_counts)
        case Product(first, second):
            dtype = dtype_of(node)
            factor = _value_of_node(first, now, num_counts).astype(dtype)
            return factor * _value_of_node(second, now, num_counts).astype(dtype)
        case Spliced(before, at_step, then):
            dtype, at_step = dtype_of(node), at_step.astype(now.frac.dtype)
            # `add` normalizes the difference, as laps are counted in whole steps. Below
            # 0 the difference may be anything, as `later` is not selected there.
            since = add(now, -at_step)
            earlier = _value_of_node(before, now, num_counts).astype(dtype)
            later = _value_of_node(then, since, num_counts).astype(dtype)
            return lax.select(now >= at_step, later, earlier)
        case Clocked(inner, clock):
            return _value_of_node(inner, step_at(clock, now), num_counts)


# --- A table ---


class _Row(NamedTuple):
    """What evaluation reads of a row."""

    clock_start: Time
    clock_end: Time
    is_cosine: Numbers
    # A turn is a position on the row: from 0 to 1 on a line, and from 0 to the angle
    # pi / 2 on a cosine (not pi, because the sine is squared).
    turn_per_step: Numbers
    init_value: Numbers
    end_value: Numbers
    exponent: Numbers
    time_exponent: Numbers


def _value_of_table(table: Table, now: Time, num_counts: int) -> Array:
    """The value of a table at a time that is normalized."""
    dtype = dtype_of(table)
    # A checkpoint may hold narrower floats than `dtype`, which is at least float32.
    table = _table.widen_numbers(table)
    now, total = now.astype(dtype), _table.last_end(table.ends)
    laps = _completed_laps(now, total, table.after)
    in_lap = _time_in_lap(now, total, laps, table.after)
    # After a shift a clock may start before step 0, also that of a traced table.
    starts_early = True
    if is_known(table):
        table = _table.drop_empty_rows(table)
        starts_early = bool((table.rows.clock_start.whole < 0).any())
        row = _read_known_row(table, in_lap, num_counts)
    else:
        # The time in the lap is computed twice. Without the barrier XLA would share the
        # time, and on a GPU a value that two kernels share is a kernel of its own.
        laps = lax.optimization_barrier(laps)
        time_to_find = _time_in_lap(now, total, laps, table.after)
        row = _gather_row(table, _find_row(table, time_to_find, num_counts))
    # `clip_value` keeps the derivative of what it clips. If all numbers are known and
    # the count is whole, there is no derivative, and `lax.clamp` compiles faster.
    has_slope = not (is_known(table) and always(now.frac, 0))
    clip = clip_value if has_slope else lax.clamp
    distances = _distances(row, in_lap, starts_early=starts_early)
    weight, is_from_start = _weight_of_farther_end(row, *distances, clip)
    return _interpolate(row, weight, is_from_start, clip)


def _completed_laps(now: Time, total: Time, after: Numbers) -> Numbers:
    """How many laps are over. There are no laps if the last value holds."""
    no_laps = np.array(0, np.int32)
    if always(after, HOLD):
        return no_laps
    # Laps of a whole number of steps are counted in integers: every restart is exact up
    # to step 2**31 - 1. Laps with a fraction of a step are counted in floats. Length
    # and quotient are rounded, and the margin covers both roundings. So no lap begins
    # late, and a restart at a whole step is at its step. A lap may begin early, by at
    # most 5 * 2**-24 of the count up to step 2**24. Beyond, float32 rounds counts too.
    # `total.whole` may be 0 if the lap has a fraction. Then `laps` is not selected.
    laps = lax.div(now.whole, total.whole)
    if not always(total.frac, 0):
        margin = 1 + np.finfo(now.frac.dtype).eps
        estimate = (now.to_float() / total.to_float() * margin).astype(np.int32)
        laps = select(total.frac == 0, laps, estimate)
    return select(after == HOLD, no_laps, laps)


def _time_in_lap(now: Time, total: Time, laps: Numbers, after: Numbers) -> Time:
    """The steps since the lap started, or, if the lap runs backward, until it ends."""
    if always(after, HOLD):
        return now
    if always(after, REPEAT):
        return now - _times(total, laps)
    # MIRROR is 1 and REPEAT is 2. So `laps & after` is 1 only in the odd laps of a
    # mirrored table, and these laps run backward.
    is_backward = (laps & after) == MIRROR
    # Near 2**31 - 1 the end of a lap may wrap, and the difference wraps back.
    since = now - _times(total, laps + is_backward.astype(np.int32))
    return select(is_backward, -since, since)


def _times(time: Time, number: Numbers) -> Time:
    """The time multiplied by a whole number, with a fraction from 0 to 1."""
    whole = number * time.whole
    if always(time.frac, 0):
        return Time(whole, time.frac)
    frac = number.astype(time.frac.dtype) * time.frac
    carry = lax.floor(frac)
    return Time(whole + carry.astype(np.int32), frac - carry)


# --- The row that plays ---


def _find_row(table: Table, now: Time, num_counts: int) -> Array:
    """The first row that is not over. Past the end, the last row that has steps."""
    num_rows = table.integers.shape[-1]
    # A known table has no empty rows here. The last end is not compared, so the last
    # row is found for every time past the end.
    if is_known(table) and num_rows <= _MAX_KNOWN_ADDITIONS:
        return _count_rows_over(table, now)
    # A row is over once `now` reaches its end. Past the last end every row would be
    # over, and an empty last row might play. Before step 0, where a lap that begins
    # early may be read, an empty first row would play. So `now` stays from 0 to just
    # before the end.
    total = _table.last_end(table.ends)
    # The subtraction changes every fraction below 1.
    gap = np.finfo(total.frac.dtype).epsneg
    now = minimum(now, Time(total.whole, total.frac - gap))
    now = maximum(now, Time(np.array(0, np.int32), np.zeros((), total.frac.dtype)))
    if num_rows <= _MAX_ADDITIONS:
        return _count_rows_over(table, now)
    if num_counts * num_rows <= _MAX_COMPARISONS:
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
    last = ends.whole.shape[0] - 1

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = lax.div(low + high, np.int32(2))
        is_over = now >= ends.map(lambda column: _gather(column, middle))
        return select(is_over, (middle + np.int32(1), high), (low, middle))

    bounds = np.int32(0), np.int32(last)
    low, _ = lax.fori_loop(0, last.bit_length(), halve, bounds)
    # A loader may have filled a table with zeros. Then every row is over, and a gather
    # must stay within the rows.
    return lax.min(low, np.int32(last))


def _gather(packed: Numbers, index: Array) -> Array:
    """`packed[..., index]`, without the equations that check and wrap an index."""
    last = packed.ndim - 1
    dims = lax.GatherDimensionNumbers(tuple(range(last)), (last,), (last,))
    sizes = (*packed.shape[:-1], 1)
    return lax.gather(packed, index[None], dims, sizes, mode=_IN_BOUNDS)


def _gather_row(table: Table, index: Array) -> _Row:
    """One row of a traced table, by two gathers for all columns."""
    packed = _gather(table.integers, index), _gather(table.floats, index)
    return _to_row(_table.unpack(*packed, axis=-1))


def _read_known_row(table: Table, now: Time, num_counts: int) -> _Row:
    """One row of a known table without empty rows.

    A number that all rows share stays known: later steps may leave operations out.
    """
    columns, ends = _to_row(table.rows), table.ends
    num_rows = len(ends.whole)
    if num_rows > _MAX_SELECTS:
        index = _find_row(table, now, num_counts)
        return jax.tree.map(lambda column: _gather_known(column, index), columns)
    row = _take(columns, 0)
    for i in range(1, num_rows):
        row = select(now >= _take(ends, i - 1), _take(columns, i), row)
    return row


def _take(columns: Tree, index: int) -> Tree:
    return jax.tree.map(lambda column: column[index], columns)


def _gather_known(column: np.ndarray, index: Array) -> Numbers:
    # A column that is one number stays known.
    return column[0] if (column == column[0]).all() else _gather(column, index)


def _to_row(rows: Rows) -> _Row:
    """What evaluation reads of a single row, or of all rows of a known table."""
    start, end, is_cosine = rows.clock_start, rows.clock_end, rows.shape == COSINE
    values = rows.init_value, rows.end_value, rows.exponent, rows.time_exponent
    return _Row(start, end, is_cosine, turn_per_step(start, end, is_cosine), *values)


# --- From a row to a value ---


def _distances(row: _Row, now: Time, *, starts_early: bool) -> tuple[Numbers, Numbers]:
    """The steps since the clock of the row started, and until the clock ends."""
    start, end = row.clock_start, row.clock_end
    if starts_early:
        # A clock that starts before step 0 may be more than 2**31 - 1 steps away, which
        # an int32 does not hold. Then the end is nearer, so the start is moved to
        # 2**31 - 1 steps before `now`. Here `now` counts as -1 or more, as `earliest`
        # would wrap below. A clock that ended before step 0 is over, so its end is
        # moved to step -1.
        earliest = lax.max(now.whole, lax.full_like(now.whole, -1)) - np.int32(LARGEST)
        start = Time(lax.max(start.whole, earliest), start.frac)
        end = Time(lax.max(end.whole, lax.full_like(earliest, -1)), end.frac)
    if not always(now.frac, 0):
        # A lap with a fraction of a step may begin early, so `now` may be below 0. Then
        # the end of a clock may be 2**31 steps away, which an int32 does not hold. The
        # start is nearer then, so the end is moved.
        latest = lax.min(now.whole, lax.full_like(now.whole, 0)) + np.int32(LARGEST)
        end = Time(lax.min(end.whole, latest), end.frac)
    return (now - start).to_float(), (end - now).to_float()


def _weight_of_farther_end(
    row: _Row, elapsed: Numbers, remaining: Numbers, clip: Clip
) -> tuple[Array, Numbers]:
    """The weight, about one half at most, and whether the start is the nearer end.

    First the nearer end is the end that is nearer in time. Exponents may move the value
    past the middle. The nearer end that is returned is nearer in value.
    """
    is_from_start = elapsed <= remaining
    steps = select(is_from_start, elapsed, remaining)
    # The distance is below 0 before the clock starts and after the clock ends.
    # `lax.clamp` makes the derivative 0 there and at the ends. At the ends `lax.max`
    # would make the derivative one half.
    steps = lax.clamp(lax.full_like(steps, 0), steps, lax.full_like(steps, jnp.inf))
    # A long distance may be rounded past the middle of the row. Beyond the float of
    # pi / 4 the sine of XLA has another formula, and may step back.
    half = whole_turn(row.is_cosine, steps.dtype) / 2
    turn = clip(lax.full_like(steps, 0), steps * row.turn_per_step, half)
    if not always(row.time_exponent, 1):
        turn, is_from_start = _bend_time(row, turn, is_from_start)
    # On a line the weight is the turn, a fraction of at most one half. On a cosine the
    # weight is the square of the sine of the turn: there is no difference to cancel.
    weight = turn
    if not always(row.is_cosine, 0):
        weight = select(row.is_cosine, far_weight(turn), turn)
    if always(row.exponent, 1):
        return weight, is_from_start
    # The weight of `init_value` is raised to `exponent`. That is `weight` if the end is
    # nearer, and `1 - weight` if the start is nearer. If the result is the power, the
    # end is nearer in value.
    weight, is_power = bend(weight, ~is_from_start, row.exponent, one_minus_power)
    return weight, ~is_power


def _bend_time(row: _Row, turn: Array, is_from_start: Numbers) -> tuple[Array, Numbers]:
    """The turn and its end after the elapsed fraction is raised to `time_exponent`."""
    whole = whole_turn(row.is_cosine, turn.dtype)
    # The minimum changes nothing, but is the only user of the quotient: XLA gives a
    # quotient with several users a kernel of its own.
    fraction = lax.min(turn / whole, lax.full_like(turn, 1))
    bent, is_from_start = bend(
        fraction, is_from_start, row.time_exponent, one_minus_power_precisely
    )
    # To divide and multiply by the whole turn may change the last bit. So the turn is
    # returned at an exponent of 1. The bent turn gives the derivative by the exponent.
    bent_turn = bent * whole
    unchanged = value_with_slope_of(turn, bent_turn)
    return select(row.time_exponent == 1, unchanged, bent_turn), is_from_start


def _interpolate(row: _Row, weight: Array, is_from_start: Numbers, clip: Clip) -> Array:
    """The value of the nearer end plus the weighted difference to the farther end."""
    near = select(is_from_start, row.init_value, row.end_value)
    far = select(is_from_start, row.end_value, row.init_value)
    # At a weight of 0 this is the value of the nearer end, to the bit.
    value = near + (far - near) * weight
    # In the middle of a row the roundings of its halves may pass each other, which
    # would be a step back. Both halves compute the same middle, and neither passes it.
    middle = (row.init_value + row.end_value) / 2
    return clip(lax.min(near, middle), value, lax.max(near, middle))
