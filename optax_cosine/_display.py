"""What is shown of a schedule: the code that builds it, its curve, its phases.

Functions of a node with NumPy's leaves, for a terminal and for a notebook.
"""

import html
import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from optax_cosine._clock import HostClock, Steps, host_clock
from optax_cosine._host import host_function, row_function
from optax_cosine._json import to_dict
from optax_cosine._node import (
    Clocked,
    Node,
    Product,
    Spliced,
    end_of,
    is_endless,
)
from optax_cosine._picture import Curve, html_picture
from optax_cosine._table import (
    AFTER,
    HOLD,
    LINEAR,
    MIRROR,
    SHAPES,
    HostRow,
    Table,
    concatenate,
    drop_empty_rows,
    host_row_at,
    host_rows,
    shift_table,
    single_row,
    splice_tables,
)
from optax_cosine._time import LARGEST, to_exact, to_time

_COLUMNS = ("from step", "to", "shape", "init_value", "end_value")
_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARKLINE_WIDTH = 60
# A picture has at most this many points.
_MAX_POINTS = 10_000
# A longer list shows its first and its last rows.
_FIRST_ROWS, _LAST_ROWS = 12, 4
_MAX_CODE_ROWS, _MAX_CODE = 64, 2_000
_FLOAT32 = np.dtype(np.float32)


class Phase(NamedTuple):
    """One row of a table, as Python's numbers.

    The phase plays for `steps` steps. Its value goes from `init_value` to `end_value`
    while the count goes from `clock_start` to `clock_end`; in an edited schedule these
    may lie before the phase starts or after it ends.
    """

    steps: int | float
    shape: str
    init_value: float
    end_value: float
    exponent: float
    time_exponent: float
    clock_start: int | float
    clock_end: int | float


def phases_of(table: Table) -> list[Phase]:
    """The rows that have steps."""
    dtype = table.floats.dtype
    return [
        Phase._make(
            [
                shorten(row.end - row.start, dtype),
                SHAPES[row.shape],
                *(_shortest(value, dtype) for value in row[5:]),
                shorten(row.clock_start, dtype),
                shorten(row.clock_end, dtype),
            ]
        )
        for row in host_rows(table)
    ]


def shorten(steps: Steps, dtype: np.dtype = _FLOAT32) -> int | float:
    """An int if the steps are whole, else the shortest float that is stored alike."""
    if steps == int(steps):
        return int(steps)
    stored = to_time(Fraction(steps), dtype)
    short = float(to_exact(stored).item())
    candidates = round(short, 7), short
    alike = (x for x in candidates if to_time(Fraction(x), dtype) == stored)
    return next(alike, float(steps))


def _shortest(value: float, dtype: np.dtype) -> float:
    """The float of fewest digits that is stored as the value."""
    return float(str(dtype.type(value)))


# --- Code ---


class _Code(NamedTuple):
    """An expression, and the table that it builds."""

    text: str
    table: Table


def expression(node: Node) -> str:
    """An expression that builds the schedule."""
    match node:
        case Table():
            return _table_expression(drop_empty_rows(node))
        case Product(first, second):
            factor = expression(second)
            factor = f"({factor})" if isinstance(second, Product) else factor
            return f"{expression(first)} * {factor}"
        case Spliced(before, at_step, then):
            step = shorten(to_exact(at_step).item())
            return f"splice({expression(before)}, {step!r}, {expression(then)})"
        case Clocked(inner, clock):
            return _clock_expression(node, expression(inner), host_clock(clock))


def _clock_expression(node: Clocked, inner: str, clock: HostClock) -> str:
    every, at_count, at_step, speed = clock
    if at_count:
        total = shorten(to_exact(end_of(node)).item())
        return f"extend({inner}, at_step={shorten(at_count)!r}, total_steps={total!r})"
    code = _stretched(_shifted(inner, at_step), speed)
    return f"staircase({code}, {every})" if every > 1 else code


def _shifted(inner: str, steps: Steps) -> str:
    return f"shift({inner}, {shorten(steps)!r})" if steps else inner


def _stretched(inner: str, speed: Steps) -> str:
    return inner if speed == 1 else f"stretch({inner}, {float(1 / Fraction(speed))!r})"


def _table_expression(table: Table) -> str:
    rows, dtype, after = host_rows(table), table.floats.dtype, int(table.after)
    if len(rows) <= _MAX_CODE_ROWS:
        code = _code_of_rows(rows, dtype, after)
        text = code.text
        if not all(map(np.array_equal, code.table[:2], table[:2])):
            text = f"Schedule.from_dict({to_dict(table)!r})"
        if len(text) <= _MAX_CODE or len(rows) < 7:
            return text
    shown = [_code_of_part(row, dtype).text for row in (*rows[:4], *rows[-2:])]
    shown.insert(4, f"... {len(rows) - 6:,} phases left out ...")
    return f"join({', '.join(shown)}{_after(after)})"


def _code_of_rows(rows: list[HostRow], dtype: np.dtype, after: int) -> _Code:
    segments = _segments(rows)
    code = _code_of_segment(segments[0], dtype, after)
    for segment in segments[1:]:
        start, then = segment[0].start, _code_of_segment(segment, dtype, HOLD)
        table = splice_tables(code.table, to_time(Fraction(start), dtype), then.table)
        text = f"splice({code.text}, {shorten(start, dtype)!r}, {then.text})"
        code = _Code(text, table)
    return code


def _segments(rows: list[HostRow]) -> list[list[HostRow]]:
    """Runs of rows whose clocks are cut at most where the run starts or ends."""
    segments = [rows[:1]]
    for before, row in itertools.pairwise(rows):
        if before.end == before.clock_end and row.start == row.clock_start:
            segments[-1].append(row)
        else:
            segments.append([row])
    return segments


def _code_of_segment(rows: list[HostRow], dtype: np.dtype, after: int) -> _Code:
    parts = [_code_of_part(row, dtype) for row in rows]
    text, table = parts[0]
    if len(parts) > 1 or after != HOLD:
        joined = ", ".join(part.text for part in parts)
        text = f"join({joined}{_after(after)})"
        table = concatenate([part.table for part in parts])
    if offset := rows[0].start - rows[0].clock_start:
        text = f"shift({text}, {shorten(offset, dtype)!r})"
        table = shift_table(table, to_time(Fraction(offset), dtype))
    return _Code(text, table)


def _after(after: int) -> str:
    return "" if after == HOLD else f", after={AFTER[after]!r}"


def _code_of_part(row: HostRow, dtype: np.dtype) -> _Code:
    steps = row.clock_end - row.clock_start
    table = single_row(Fraction(steps), row.shape, *map(dtype.type, row[5:]))
    first, last, *bends = (_shortest(value, dtype) for value in row[5:])
    if row.shape == LINEAR and first == last and bends == [1, 1]:
        return _Code(f"constant({first!r}, steps={shorten(steps, dtype)!r})", table)
    names = zip(("exponent", "time_exponent"), bends, strict=True)
    more = "".join(f", {name}={value!r}" for name, value in names if value != 1)
    text = f"({first!r}, {last!r}, steps={shorten(steps, dtype)!r}{more})"
    return _Code(SHAPES[row.shape] + text, table)


# --- Sections ---


class Section(NamedTuple):
    """What a schedule does from one step to another."""

    start: Steps
    stop: Steps  # Infinite if nothing follows.
    shape: str
    init_value: float
    end_value: float  # The value that it approaches.


def sections_of(node: Node) -> tuple[list[Section], int]:
    """What a schedule does, from step 0 on, and how many sections are left out.

    Of many sections the first and the last are there.
    """
    starts, value = sorted({0, *_starts_of_sections(node)}), host_function(node)
    pairs = [*zip(starts, [*starts[1:], math.inf], strict=True)]
    hidden = max(0, len(pairs) - _FIRST_ROWS - _LAST_ROWS)
    if hidden > 1:
        del pairs[_FIRST_ROWS:-_LAST_ROWS]
    sections = [
        Section(a, b, _shape_at(node, a), value(a), _value_before(node, b))
        for a, b in pairs
    ]
    return sections, hidden if hidden > 1 else 0


def _starts_of_sections(node: Node) -> list[Steps]:
    """The counts at which something begins, the end included."""
    match node:
        case Table():
            # A row may wait for its clock, or hold after its clock has ended.
            rows = host_rows(node)
            inside = [
                time for row in rows for time in row[2:4] if row.start < time < row.end
            ]
            return [*(row.start for row in rows), *inside, rows[-1].end]
        case Product(first, second):
            return [*_starts_of_sections(first), *_starts_of_sections(second)]
        case Spliced(before, at_step, then):
            step = to_exact(at_step).item()
            kept = [start for start in _starts_of_sections(before) if start < step]
            return [*kept, *(step + start for start in _starts_of_sections(then))]
        case Clocked(inner, clock):
            count_at = host_clock(clock).count_at
            return [count_at(start) for start in _starts_of_sections(inner)]


def _shape_at(node: Node, step: Steps) -> str:
    match node:
        case Table():
            row = host_row_at(node, step, "right")
            if step >= row.end:
                return AFTER[node.after]
            if not row.clock_start <= step < row.clock_end:
                return "hold"
            is_constant = row.init_value == row.end_value
            return "constant" if is_constant else SHAPES[row.shape]
        case Product(first, second):
            return f"{_shape_at(first, step)} * {_shape_at(second, step)}"
        case Spliced(before, at_step, then):
            since = step - to_exact(at_step).item()
            return _shape_at(before, step) if since < 0 else _shape_at(then, since)
        case Clocked(inner, clock):
            clock = host_clock(clock)
            is_waiting = step < clock.count_at(0)
            return "hold" if is_waiting else _shape_at(inner, clock.step_at(step))


def _value_before(node: Node, stop: Steps) -> float:
    """The value that a schedule approaches; without a stop, at the end of a lap."""
    match node:
        case Table():
            if stop == math.inf and node.after == MIRROR:
                return host_row_at(node, 0, "right").init_value
            row = host_row_at(node, stop, "left")
            is_later_lap = row.end < stop < math.inf
            return (host_function(node) if is_later_lap else row_function(row))(stop)
        case Product(first, second):
            return _value_before(first, stop) * _value_before(second, stop)
        case Spliced(before, at_step, then):
            since = stop - to_exact(at_step).item()
            if since <= 0:
                return _value_before(before, stop)
            return _value_before(then, since)
        case Clocked(inner, clock):
            step = stop if stop == math.inf else host_clock(clock).step_at(stop)
            return _value_before(inner, step)


# --- For a terminal and for a notebook ---


def lap_of(node: Node) -> int:
    """The whole number of steps to the end, or until an endless schedule repeats."""
    if isinstance(node, Clocked) and is_endless(node):
        clock = host_clock(node.clock)
        # A schedule that reads ahead is drawn until a lap has been seen whole.
        count = clock.count_at(lap_of(node.inner) + max(clock.at_step, 0))
    else:
        count = to_exact(end_of(node)).item()
    return max(1, min(math.ceil(count), LARGEST))


def evenly_spaced_counts(total: int, number: int) -> list[int]:
    """At most `number` counts from 0 to a total, both included."""
    number = min(number, total + 1)
    return [total * i // (number - 1) for i in range(number)]


def curve_of(node: Node, total: int) -> Curve:
    counts, value = evenly_spaced_counts(total, _MAX_POINTS), host_function(node)
    starts = [float(start) for start in _starts_of_sections(node)]
    return Curve(counts, [value(count) for count in counts], starts)


def as_text(node: Node) -> str:
    """The code, the curve on one line, and the phases."""
    counts, value = (
        evenly_spaced_counts(lap_of(node), _SPARKLINE_WIDTH),
        host_function(node),
    )
    curve = sparkline([value(count) for count in counts])
    line = f"{curve}  0 to {counts[-1]:,}"
    return "\n".join([expression(node), line, _as_text_table(node)])


def as_html(node: Node) -> str:
    """The code, the curve as a picture, and the phases."""
    code = f"<code>{html.escape(expression(node))}</code>"
    picture = html_picture(curve_of(node, lap_of(node)))
    return f"{code}<br>{picture}{_as_html_table(node)}"


def sparkline(values: Sequence[float]) -> str:
    """Values side by side, from the lowest to the highest of them."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, rise = min(finite), max(finite) - min(finite)
    return "".join(_block((x - low) / rise if rise else x - low + 0.5) for x in values)


def _block(height: float) -> str:
    if not math.isfinite(height):
        return " "
    return _BLOCKS[round(height * (len(_BLOCKS) - 1))]


def _as_text_table(node: Node) -> str:
    """The sections, aligned."""
    rows = [_COLUMNS, *_rows(node)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = (str.rjust, str.rjust, str.ljust, str.rjust, str.rjust)
    return "\n".join(
        "  ".join(side(x, n) for side, x, n in zip(sides, row, widths, strict=True))
        for row in rows
    )


def _as_html_table(node: Node) -> str:
    """The sections, for a notebook."""
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    rows = ("".join(f"<td>{html.escape(x)}</td>" for x in row) for row in _rows(node))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _rows(node: Node) -> list[tuple[str, ...]]:
    sections, hidden = sections_of(node)
    rows = [_row(section) for section in sections]
    if hidden:
        rows.insert(_FIRST_ROWS, ("...", "...", f"({hidden:,} more)", "...", "..."))
    return rows


def _row(section: Section) -> tuple[str, ...]:
    return (
        _step(section.start),
        _step(section.stop),
        section.shape,
        f"{section.init_value:.6g}",
        f"{section.end_value:.6g}",
    )


def _step(step: Steps) -> str:
    if step == math.inf:
        return ""
    if step == int(step):
        return f"{int(step):,}"
    return f"{float(step):,.2f}" if step > 1 else f"{float(step):.3g}"
