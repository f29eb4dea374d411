"""The value of a known schedule at a Python int, without JAX.

The value is computed in double precision and rounded once. Each row becomes a function
with its constants. The formula is written differently from that in `_evaluate`, so that
each path checks the other.
"""

import bisect
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

from optax_cosine import _table
from optax_cosine._clock import Steps, host_clock
from optax_cosine._node import Clocked, Node, Product, Spliced
from optax_cosine._table import COSINE, MIRROR, HostRow, Table, is_held_table
from optax_cosine._time import LARGEST, to_number
from optax_cosine._validation import LARGEST_RATE

# A count is an int, but a stretched clock reads a schedule between two counts.
Value: TypeAlias = Callable[[Steps], float]
# `float`, or the dtype of the schedule.
Rounding: TypeAlias = Callable[[float], Any]

# A lap of a fraction of a step was rounded when it was stored. A remainder this close
# to a lap counts as a complete lap.
_LAP_TOLERANCE = 1e-6


def host_call(node: Node, rounded: Rounding) -> Callable[[int], Any]:
    """The value at any int, rounded to the dtype of the node."""
    if is_held_table(node):
        # Each row rounds its own values, which saves a call. The first row clamps
        # counts before step 0, and the last row counts past the end.
        return _function_of_table(node, rounded)
    value = host_function(node)
    return lambda count: rounded(value(min(max(count, 0), LARGEST)))


def host_function(node: Node) -> Value:
    """The value in double precision at a count of 0 or more."""
    match node:
        case Table():
            return _function_of_table(node, float)
        case Product(first, second):
            return multiply(host_function(first), host_function(second))
        case Spliced(before, at_step, then):
            step = to_number(at_step)
            return _splice(host_function(before), step, host_function(then))
        case Clocked(inner, clock):
            step_at, value = host_clock(clock).step_at, host_function(inner)
            return lambda count: value(step_at(count))


def multiply(first: Value, second: Value) -> Value:
    def product(count: Steps) -> float:
        return max(-LARGEST_RATE, min(first(count) * second(count), LARGEST_RATE))

    return product


def _splice(before: Value, at_step: Steps, then: Value) -> Value:
    return lambda count: before(count) if count < at_step else then(count - at_step)


def _function_of_table(table: Table, rounded: Rounding) -> Value:
    rows = _table.host_rows(table)
    ends = [row.end for row in rows[:-1]]
    value = _choose([row_function(row, rounded) for row in rows], ends)
    if is_held_table(table):
        return value
    # A lap may be a ratio, such as 10 / 3, that a float does not hold.
    lap = to_number(_table.last_end(table.ends))
    return _repeat(value, lap, is_mirrored=bool(table.after == MIRROR))


def _choose(values: list[Value], ends: list[int | Fraction]) -> Value:
    if not ends:
        return values[0]
    if len(ends) > 3:
        find = bisect.bisect_right
        return lambda count: values[find(ends, count)](count)
    # Of few rows, nested comparisons are faster than a search.
    middle = len(values) // 2
    end = ends[middle - 1]
    before = _choose(values[:middle], ends[: middle - 1])
    then = _choose(values[middle:], ends[middle:])
    return lambda count: before(count) if count < end else then(count)


def _repeat(value: Value, lap: int | Fraction, *, is_mirrored: bool) -> Value:
    def repeated(count: Steps) -> float:
        laps, since = divmod(count, lap)
        if since and lap - since < _LAP_TOLERANCE:
            laps, since = laps + 1, 0
        return value(lap - since if is_mirrored and laps % 2 else since)

    return repeated


def row_function(row: HostRow, rounded: Rounding = float) -> Value:
    """The value of a row at a count, also before it plays and after."""
    value = _row_function(row, rounded, row.clock_start, rounded(row.init_value))
    if row.start <= row.clock_start:
        return value
    # A clock that starts early: the value at the start of the row holds before.
    return _row_function(row, rounded, row.start, value(row.start))


def _row_function(
    row: HostRow, rounded: Rounding, earliest: Steps, first: float
) -> Value:
    _, _, *clock, shape, init_value, end_value, _, _ = row
    # Boundaries are exact ratios. Values are computed of doubles, which are faster.
    clock_start, clock_end = map(_whole_or_double, clock)
    # The length of an empty clock is a divisor, and must not be 0.
    duration = max(clock_end - clock_start, 2.0**-60)
    if (row.exponent, row.time_exponent) != (1, 1):
        bent = _bent_row_function(row, clock_start, clock_end, duration)
        return lambda count: rounded(bent(max(count, earliest)))
    last, rise = rounded(end_value), end_value - init_value
    # Whole, so that Python compares two ints. Both formulas hold in the middle.
    middle = math.floor((clock_start + clock_end) / 2)
    if shape == COSINE:
        per_step, sin = math.pi / 2 / duration, math.sin

        def cosine(count: Steps) -> float:
            if count <= earliest:
                return first
            if count <= middle:
                weight = sin((count - clock_start) * per_step) ** 2
                return rounded(init_value + rise * weight)
            if count >= clock_end:
                return last
            return rounded(end_value - rise * sin((clock_end - count) * per_step) ** 2)

        return cosine
    slope = rise / duration

    def linear(count: Steps) -> float:
        if count <= earliest:
            return first
        if count <= middle:
            return rounded(init_value + slope * (count - clock_start))
        if count >= clock_end:
            return last
        return rounded(end_value - slope * (clock_end - count))

    return linear


def _whole_or_double(time: Steps) -> int | float:
    return time if isinstance(time, int) else float(time)


def _bent_row_function(
    row: HostRow, clock_start: float, clock_end: float, duration: float
) -> Value:
    rise = row.end_value - row.init_value

    def bent(count: Steps) -> float:
        from_start = min(max((count - clock_start) / duration, 0.0), 1.0)
        from_end = min(max((clock_end - count) / duration, 0.0), 1.0)
        if row.time_exponent != 1:
            power = from_start**row.time_exponent
            # Late in a row the difference `1 - power` would cancel.
            if from_end < from_start:
                from_end = -math.expm1(row.time_exponent * math.log1p(-from_end))
            else:
                from_end = 1 - power
            from_start = power
        if row.shape == COSINE:
            small = math.sin(math.pi / 2 * min(from_start, from_end)) ** 2
            is_start_nearer = from_start < from_end
            from_end = 1 - small if is_start_nearer else small
            from_start = small if is_start_nearer else 1 - small
        if row.exponent != 1:
            from_end **= row.exponent
            from_start = 1 - from_end
        if from_start < from_end:
            return row.init_value + rise * from_start
        return row.end_value - rise * from_end

    return bent
