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

from optax_cosine import _table
from optax_cosine._clock import HostClock, Steps, host_clock
from optax_cosine._host import Value, host_function, multiply, row_function
from optax_cosine._json import to_dict
from optax_cosine._node import Clocked, Node, Product, Spliced, end_of, is_endless
from optax_cosine._picture import Curve, html_picture
from optax_cosine._table import AFTER, HOLD, SHAPES, HostRow, Table, host_rows
from optax_cosine._time import LARGEST, Time, to_number, to_ratio, to_time

_COLUMNS = ("from step", "to", "shape", "init_value", "end_value")
_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARKLINE_WIDTH = 60
# A longer list shows its first and its last rows.
_FIRST_ROWS, _LAST_ROWS = 12, 4
_MAX_CODE_ROWS, _MAX_CODE = 64, 2_000
_MAX_CURVES = 100
# How many laps of an endless schedule are drawn.
_LAPS = 3
# If a schedule has more sections than are listed, the first sections are drawn, as long
# as each of them takes at least this part of the width.
_NARROWEST = 1 / 20


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

    def phase(row: HostRow) -> Phase:
        times = row.end - row.start, row.clock_start, row.clock_end
        steps, *clock = (shorten(time, dtype) for time in times)
        values = (_shortest(value, dtype) for value in row[5:])
        return Phase(steps, SHAPES[row.shape], *values, *clock)

    return [phase(row) for row in host_rows(table)]


def shorten(steps: Steps, dtype: np.dtype) -> int | float:
    """An int if the steps are whole, else the shortest float that is stored alike."""
    if steps == int(steps):
        return int(steps)
    stored = _stored(steps, dtype)
    short = float(to_number(stored))
    candidates = round(short, 7), short
    alike = (x for x in candidates if _stored(x, dtype) == stored)
    return next(alike, float(steps))


def shorten_time(time: Time) -> int | float:
    return shorten(to_number(time), time.frac.dtype)


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
            return _table_expression(_table.drop_empty_rows(node))
        case Product(first, second):
            factor = expression(second)
            factor = f"({factor})" if isinstance(second, Product) else factor
            return f"{expression(first)} * {factor}"
        case Spliced(before, at_step, then):
            if (step := _code_of_time(at_step)) is None:
                return _code_of_dict(node)
            return f"splice({expression(before)}, {step}, {expression(then)})"
        case Clocked(inner, clock):
            every, at_count, at_step, speed = host_clock(clock)
            code = expression(inner)
            if at_count:
                total = to_number(end_of(node))
                # A factor of an extended product may end between two steps, or before
                # `at_step`: `extend` takes neither.
                if total.denominator != 1 or total <= at_count:
                    return _code_of_dict(node)
                return f"extend({code}, at_step={at_count}, total_steps={total})"
            if at_step:
                if (steps := _code_of_time(clock.at_step)) is None:
                    return _code_of_dict(node)
                code = f"shift({code}, {steps})"
            if speed != 1:
                factor = 1 / Fraction(speed)
                if Fraction(*to_ratio(float(factor))) != factor:
                    return _code_of_dict(node)
                code = f"stretch({code}, {float(factor)!r})"
            return f"staircase({code}, {every})" if every > 1 else code


def _code_of_time(time: Time) -> str | None:
    """A literal that is stored as the time, if there is one."""
    steps = shorten_time(time)
    return repr(steps) if _stored(steps, time.frac.dtype) == time else None


def _code_of_dict(node: Node) -> str:
    return f"Schedule.from_dict({to_dict(node)!r})"


def _table_expression(table: Table) -> str:
    rows, dtype, after = host_rows(table), table.floats.dtype, int(table.after)
    if len(rows) <= _MAX_CODE_ROWS:
        code = _code_of_rows(rows, dtype, after)
        text = code.text
        if not all(map(np.array_equal, code.table[:2], table[:2])):
            text = _code_of_dict(table)
        if len(text) <= _MAX_CODE or len(rows) < 7:
            return text
    shown = [_code_of_part(row, dtype).text for row in (*rows[:4], *rows[-2:])]
    shown.insert(4, f"... {len(rows) - 6:,} phases left out ...")
    return f"join({', '.join(shown)}{_after(after)})"


def _code_of_rows(rows: list[HostRow], dtype: np.dtype, after: int) -> _Code:
    segments = _segments(rows)
    # Rows whose clock starts early are shifted before they are joined: a shift of a
    # table that repeats is not a table.
    if len(segments) == 1 and rows[0].start == rows[0].clock_start:
        return _code_of_segment(rows, dtype, after)
    code = _code_of_segment(segments[0], dtype, HOLD)
    for segment in segments[1:]:
        start = shorten(segment[0].start, dtype)
        then, step = _code_of_segment(segment, dtype, HOLD), _stored(start, dtype)
        table = _table.splice_tables(code.table, step, then.table)
        text = f"splice({code.text}, {start!r}, {then.text})"
        code = _Code(text, table)
    is_held = after == HOLD
    return code if is_held else _Code(f"join({code.text}{_after(after)})", code.table)


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
        table = _table.join_tables([part.table for part in parts])
    if offset := rows[0].start - rows[0].clock_start:
        offset = shorten(offset, dtype)
        text = f"shift({text}, {offset!r})"
        table = _table.shift_table(table, _stored(offset, dtype))
    return _Code(text, table)


def _after(after: int) -> str:
    return "" if after == HOLD else f", after={AFTER[after]!r}"


def _stored(steps: Steps, dtype: np.dtype) -> Time:
    """What the number in the code stands for. Few digits of float64 may be lost."""
    return to_time(Fraction(steps), dtype)


def _code_of_part(row: HostRow, dtype: np.dtype) -> _Code:
    steps = shorten(row.clock_end - row.clock_start, dtype)
    part = _table.Segment(row.shape, *map(dtype.type, row[5:]))
    table = _table.single_row(Fraction(steps), part)
    first, last, *bends = (_shortest(value, dtype) for value in row[5:])
    if row.shape == _table.LINEAR and first == last and bends == [1, 1]:
        return _Code(f"constant({first!r}, steps={steps!r})", table)
    names = zip(("exponent", "time_exponent"), bends, strict=True)
    more = "".join(f", {name}={value!r}" for name, value in names if value != 1)
    text = f"({first!r}, {last!r}, steps={steps!r}{more})"
    return _Code(SHAPES[row.shape] + text, table)


# --- Sections ---


class Piece(NamedTuple):
    """What a schedule does from a count on, until its next piece."""

    shape: str
    # At a count; at infinity, what the last piece approaches.
    value: Value


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
    pieces = _pieces_of(node)
    pairs = [*itertools.pairwise([*pieces, math.inf])]
    hidden = max(0, len(pairs) - _FIRST_ROWS - _LAST_ROWS)
    if hidden > 1:
        del pairs[_FIRST_ROWS:-_LAST_ROWS]
    sections = []
    for start, stop in pairs:
        shape, value = pieces[start]
        sections.append(Section(start, stop, shape, value(start), value(stop)))
    return sections, hidden if hidden > 1 else 0


def _pieces_of(node: Node) -> dict[Steps, Piece]:
    """The pieces by the counts at which they start, in order, from 0 on."""
    match node:
        case Table():
            return _pieces_of_table(node)
        case Product():
            first, second = map(_pieces_of, node)
            pieces, one, other = {}, first[0], second[0]
            for start in sorted({*first, *second}):
                one, other = first.get(start, one), second.get(start, other)
                shape = f"{one.shape} * {other.shape}"
                pieces[start] = Piece(shape, multiply(one.value, other.value))
            return pieces
        case Spliced(before, at_step, then):
            first, step = _pieces_of(before), to_number(at_step)
            kept = {start: piece for start, piece in first.items() if start < step}
            return kept | _on_clock(_pieces_of(then), HostClock(1, 0, -step, 1))
        case Clocked(inner, clock):
            pieces = _pieces_of(inner)
            first = pieces[0].value(0)
            waiting = {0: Piece("hold", lambda _: first)}
            return waiting | _on_clock(pieces, host_clock(clock))


def _pieces_of_table(table: Table) -> dict[Steps, Piece]:
    pieces, rows = {}, host_rows(table)
    for row in rows:
        shape, value = SHAPES[row.shape], row_function(row)
        if row.init_value == row.end_value:
            shape = "constant"
        # A row may wait for its clock, or hold after its clock has ended.
        starts = row.start, row.clock_start, row.clock_end
        for start, what in zip(starts, ("hold", shape, "hold"), strict=True):
            if start < row.end:
                pieces[max(start, row.start)] = Piece(what, value)
    value = host_function(table)
    last = rows[0].init_value if table.after == _table.MIRROR else rows[-1].end_value
    pieces[rows[-1].end] = Piece(
        AFTER[table.after], lambda count: value(count) if count < math.inf else last
    )
    return pieces


def _on_clock(pieces: dict[Steps, Piece], clock: HostClock) -> dict[Steps, Piece]:
    """The pieces by the counts at which a clock reaches them."""

    def on_clock(value: Value) -> Value:
        return lambda count: value(clock.step_at(count) if count < math.inf else count)

    return {
        clock.count_at(start): Piece(shape, on_clock(value))
        for start, (shape, value) in pieces.items()
    }


# --- For a terminal and for a notebook ---


def lap_of(node: Node) -> int:
    """The whole number of steps to the end, or until an endless schedule repeats."""
    if isinstance(node, Clocked) and is_endless(node):
        clock = host_clock(node.clock)
        # A schedule that reads ahead is drawn until a lap has been seen whole.
        count = clock.count_at(lap_of(node.inner) + max(clock.at_step, 0))
    else:
        count = to_number(end_of(node))
    return max(1, min(math.ceil(count), LARGEST))


def drawn_steps(node: Node) -> int:
    """How many steps a picture shows: all, the first laps, or the first sections."""
    total = lap_of(node)
    # The step after the last one that is drawn starts another lap, or section.
    if is_endless(node):
        return max(1, min(_LAPS * total, LARGEST) - 1)
    starts = [*_pieces_of(node)]
    if len(starts) <= _FIRST_ROWS + _LAST_ROWS:
        return total
    shortest = math.inf
    for start, stop in itertools.pairwise(starts):
        shortest = min(shortest, stop - start)
        if shortest < stop * _NARROWEST and start:
            return max(1, math.ceil(start) - 1)
    return total


def evenly_spaced_counts(total: int, number: int) -> list[int]:
    """At most `number` counts from 0 to a total, both included."""
    number = min(number, total + 1)
    return [total * i // (number - 1) for i in range(number)]


def curve_of(node: Node, total: int, max_points: int = 10_000) -> Curve:
    counts, value = evenly_spaced_counts(total, max_points), host_function(node)
    return Curve(counts, [*map(value, counts)], [*map(float, _pieces_of(node))])


def as_text(node: Node) -> str:
    """The code, the curve on one line, and the phases."""
    counts, values, _ = curve_of(node, drawn_steps(node), _SPARKLINE_WIDTH)
    line = f"{sparkline(values)}  0 to {counts[-1]:,}"
    return "\n".join([expression(node), line, _as_text_table(node)])


def as_html(node: Node) -> str:
    """The code, the curve as a picture, and the phases."""
    code = f"<code>{html.escape(expression(node))}</code>"
    picture = html_picture([curve_of(node, drawn_steps(node))])
    return f"{code}<br>{picture}{_as_html_table(node)}"


def as_html_of_several(nodes: Sequence[Node]) -> str:
    """The curves of a population in one picture."""
    total = max(map(drawn_steps, nodes))
    picture = html_picture([curve_of(node, total) for node in nodes[:_MAX_CURVES]])
    hidden = max(0, len(nodes) - _MAX_CURVES)
    more = f", of which {hidden:,} are not drawn" if hidden else ""
    return f"a stack of {len(nodes):,} schedules{more}<br>{picture}"


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
    start, stop, shape, *values = section
    return _step(start), _step(stop), shape, *(f"{value:.6g}" for value in values)


def _step(step: Steps) -> str:
    if step == math.inf:
        return ""
    if step == int(step):
        return f"{int(step):,}"
    return f"{float(step):,.2f}" if step > 1 else f"{float(step):.3g}"
