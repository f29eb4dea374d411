"""The value of a schedule at a step count, on a device.

For a table:

1. Clamp the count to [0, 2**31 - 1] in its own dtype: a cast to int32 would wrap
   (`from_array`).
2. Wrap the count into one lap, if the table repeats or mirrors itself.
3. Find the row that plays, by comparing the count with the ends of the rows.
4. A row moves on a clock. The clock may start before or after the row does, and end
   before or after the row does. Before and after the clock, the value of the nearer end
   holds. Count the steps since the clock started, and the steps until the clock ends,
   in integers. Both numbers become floats, and the smaller one is used. Without
   fractions of a step, the conversion is the first rounding.
5. Multiply that number by `position_per_step`. The product is the position on the row,
   seen from the nearer end. Between the two ends lies the angle pi / 2 on a cosine, and
   1 on a line. On a cosine the square of the sine of the position is the weight of the
   farther end: `sin(a)**2` is `(1 - cos(2 * a)) / 2`, and nothing cancels. On a line
   the position is the weight. A `time_exponent` bends the position, an `exponent` bends
   the weight. Without exponents the weight is small near an end, and so is its error.
6. Start at the value of the nearer end, and add the weighted difference. Stop at the
   middle of the two values.

At either end the weight is 0, so a schedule meets its values to the bit. Rounded sums
and products are monotone, and so is the square of XLA's sine up to pi / 4, as
tests/test_curve.py checks in float32. So from one whole count to the next, neither half
of a decaying row rises. In the middle of the row, at which the halves meet, their
roundings might pass each other, and step 6 stops both halves at the middle value. With
an exponent, the halves in time meet away from the middle value, and step 6 does not act
there. A step back there, or from a logarithm or an exponential, is not excluded by
proof; tests/test_curve.py and tests/test_edges.py look for one.

The same lines serve two kinds of tables. A traced table is an argument of the program
or part of an optimizer state, and the program does not depend on the numbers in the
table. A known table is closed over: the numbers are written into the program, and
operations that they make unnecessary are left out. `always(numbers, value)` decides
that while JAX traces the program.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from optax_cosine import _table
from optax_cosine._arrays import Numbers, always, is_known, select
from optax_cosine._clock import step_at
from optax_cosine._curve import (
    clip_value,
    far_weight,
    one_minus_power,
    one_minus_power_precisely,
    raise_to_power,
    span_of_row,
    value_with_slope_of,
)
from optax_cosine._laps import completed_laps, time_in_lap
from optax_cosine._lookup import Row, read_row
from optax_cosine._mesh import with_automatic_axes
from optax_cosine._node import Clocked, Node, Product, Spliced, dtype_of
from optax_cosine._table import Table
from optax_cosine._time import LARGEST, Time, add, from_array

# Takes the lowest value, the value and the highest value, as `lax.clamp` does.
Clip: TypeAlias = Callable[[Numbers, Numbers, Numbers], Array]


def evaluate(node: Node, counts: Array | Time) -> Array:
    """The values at counts of any real dtype, shape and sharding."""
    return with_automatic_axes(_evaluate, node, counts)


def _evaluate(node: Node, counts: Array | Time) -> Array:
    dtype, first = dtype_of(node), jax.tree.leaves(counts)[0]

    def value_at(count: Array | Time) -> Array:
        is_time = isinstance(count, Time)
        now = count.astype(dtype) if is_time else from_array(count, dtype)
        return _value_of_node(node, now, first.size)

    # `read_row` gathers one row, so the functions below take one count.
    values_at = value_at
    for _ in range(first.ndim):
        values_at = jax.vmap(values_at)
    return values_at(counts)


def _value_of_node(node: Node, now: Time, num_counts: object) -> Array:
    """The value at `now`. `num_counts`, maybe symbolic, are evaluated at once."""
    match node:
        case Table():
            return _value_of_table(node, now, num_counts)
        case Product(first, second):
            dtype = dtype_of(node)
            factor = _value_of_node(first, now, num_counts).astype(dtype)
            return factor * _value_of_node(second, now, num_counts).astype(dtype)
        case Spliced(before, at_step, then):
            dtype, at_step = dtype_of(node), at_step.astype(now.frac.dtype)
            # Laps of whole steps are counted by `whole` alone, so `frac` must be from 0
            # to 1. `add` ensures that, and `-` does not. Below 0 the difference may be
            # anything, as `later` is not selected there.
            since = add(now, -at_step)
            earlier = _value_of_node(before, now, num_counts).astype(dtype)
            later = _value_of_node(then, since, num_counts).astype(dtype)
            return lax.select(now >= at_step, later, earlier)
        case Clocked(inner, clock):
            return _value_of_node(inner, step_at(clock, now), num_counts)


# --- A table ---


def _value_of_table(table: Table, now: Time, num_counts: object) -> Array:
    dtype = dtype_of(table)
    # A checkpoint may hold narrower floats than `dtype`, which is at least float32.
    table, now = _table.widen_numbers(table), now.astype(dtype)
    if is_known(table):
        table = _table.drop_empty_rows(table)
    total = _table.last_end(table.ends)
    laps = completed_laps(now, total, table.after)
    in_lap = time_to_find = time_in_lap(now, total, laps, table.after)
    if not is_known(table):
        # The time in the lap is computed twice. Without the barrier XLA would share the
        # time, and on a GPU a value that two kernels share is a kernel of its own.
        laps = lax.optimization_barrier(laps)
        time_to_find = time_in_lap(now, total, laps, table.after)
    row = read_row(table, time_to_find, num_counts)
    # The fraction of a whole count is a known 0, although `whole` is traced. With a
    # known table nothing has a derivative then, and `lax.clamp` compiles faster than
    # `clip_value`, which keeps derivatives.
    is_plain = is_known(table) and always(in_lap.frac, 0)
    clip = lax.clamp if is_plain else clip_value
    # Without fractions the time in a lap is 0 or more; with fractions a lap may begin
    # early (see `_laps`). So a known clock that starts at step 0 or later is less than
    # 2**31 steps away.
    may_wrap = not is_plain or bool((table.rows.clock_start.whole < 0).any())
    elapsed, remaining = _distances(row, in_lap, may_wrap=may_wrap)
    weight, is_from_start = _weight_of_farther_end(row, elapsed, remaining, clip)
    return _interpolate(row, weight, is_from_start, clip)


# --- From a row to a value ---


def _distances(row: Row, now: Time, *, may_wrap: bool) -> tuple[Numbers, Numbers]:
    """The steps since the clock of the row started, and until the clock ends."""
    start, end = row.clock_start, row.clock_end
    if may_wrap:
        # `now`, the start and the end are less than 2**31 steps from step 0, but may be
        # on two sides of step 0. Then their difference may wrap. Only a start or an end
        # that is 2**31 steps from `now` or more is moved. Then step 0 lies between
        # that end and `now`, so the other end of the clock is nearer, or `now` is
        # outside the clock, and no value changes. The maximum and the minimum keep the
        # two bounds from wrapping.
        zero = lax.full_like(now.whole, 0)
        lowest = lax.max(now.whole, zero) - np.int32(LARGEST)
        highest = lax.min(now.whole, zero) + np.int32(LARGEST)
        start = Time(lax.clamp(lowest, start.whole, highest), start.frac)
        end = Time(lax.clamp(lowest, end.whole, highest), end.frac)
    return (now - start).to_float(), (end - now).to_float()


def _weight_of_farther_end(
    row: Row, elapsed: Numbers, remaining: Numbers, clip: Clip
) -> tuple[Array, Numbers]:
    """The weight, one half at most but for a rounding, and whether the start is nearer.

    At first the nearer end is nearer in time. An exponent may move the value past the
    middle value. Then the other end is returned as the nearer end.
    """
    is_from_start = elapsed <= remaining
    steps = select(is_from_start, elapsed, remaining)
    # The distance is below 0 before the clock starts and after the clock ends.
    # `lax.clamp` makes the derivative 0 there and at the ends. At the ends `lax.max`
    # would make the derivative one half.
    steps = lax.clamp(lax.full_like(steps, 0), steps, lax.full_like(steps, jnp.inf))
    # A long distance may be rounded past the middle of the row. Beyond the float of
    # pi / 4 the sine of XLA has another formula, and may step back.
    middle = span_of_row(row.is_cosine, steps.dtype) / 2
    position = clip(lax.full_like(steps, 0), steps * row.position_per_step, middle)
    if not always(row.time_exponent, 1):
        position, is_from_start = _bend_time(row, position, is_from_start)
    weight = position
    if not always(row.is_cosine, 0):
        weight = select(row.is_cosine, far_weight(position), position)
    if always(row.exponent, 1):
        return weight, is_from_start
    # The base is the weight of `init_value`. `raise_to_power` takes and returns a
    # weight of one half at most, and a flag. A true flag says that the weight is the
    # base, or the power. A false flag says that the weight is 1 minus that. The base is
    # `weight` if the end is nearer, so the flag is `~is_from_start`.
    weight, is_power = raise_to_power(
        weight, ~is_from_start, row.exponent, one_minus_power
    )
    return weight, ~is_power


def _bend_time(
    row: Row, position: Array, is_from_start: Numbers
) -> tuple[Array, Numbers]:
    """The position after the fraction of time is raised to `time_exponent`."""
    span = span_of_row(row.is_cosine, position.dtype)
    # The minimum changes nothing, but is the only user of the quotient: XLA gives a
    # quotient with several users a kernel of its own.
    fraction = lax.min(position / span, lax.full_like(position, 1))
    # The base is the fraction of time since the start. The square of the sine and
    # `exponent` magnify relative errors, so small fractions must keep all their digits.
    bent, is_from_start = raise_to_power(
        fraction, is_from_start, row.time_exponent, one_minus_power_precisely
    )
    # To divide and multiply by the span may change the last bit. So at an exponent of 1
    # the position is returned, with the derivative of the bent position.
    bent_position = bent * span
    unchanged = value_with_slope_of(position, bent_position)
    return select(row.time_exponent == 1, unchanged, bent_position), is_from_start


def _interpolate(row: Row, weight: Array, is_from_start: Numbers, clip: Clip) -> Array:
    """The value of the nearer end plus the weighted difference to the farther end."""
    near = select(is_from_start, row.init_value, row.end_value)
    far = select(is_from_start, row.end_value, row.init_value)
    # At a weight of 0 this is the value of the nearer end, to the bit.
    value = near + (far - near) * weight
    # In the middle of a row the roundings of its halves may pass each other, which
    # would be a step back. Both halves compute the same middle, and neither passes it.
    middle = (row.init_value + row.end_value) / 2
    return clip(lax.min(near, middle), value, lax.max(near, middle))
