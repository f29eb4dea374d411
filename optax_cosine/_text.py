"""What is shown of a schedule: its phases as rows, its curve as a line of blocks.

Pure functions of plain numbers, for a terminal and for a notebook.
"""

import html
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

COLUMNS = ("from step", "to", "shape", "init_value", "end_value")
_BLOCKS = "▁▂▃▄▅▆▇█"
_FIRST, _LAST = 12, 4  # phases that are listed of very many


class Piece(NamedTuple):
    """What a schedule does from one step to another."""

    start: Any  # an exact Python number, as `stop`
    stop: Any  # `math.inf` where nothing follows
    shape: str
    init_value: float
    end_value: float  # that it heads for, or has where it is cut


def cut(
    pieces: Sequence[Piece], at_step: Any, value: Callable[[Any], float]
) -> list[Piece]:
    """Those before a step, at which the last of them is cut."""
    before = [piece for piece in pieces if piece.start < at_step]
    last = before[-1:]
    if last and last[0].stop > at_step:
        before[-1] = last[0]._replace(stop=at_step, end_value=value(at_step))
    return before


def split(
    pieces: Sequence[Piece], starts: Sequence[Any], value: Callable[[Any], float]
) -> list[Piece]:
    """The same pieces, with more starts."""
    stops = [*starts[1:], math.inf]
    inner = iter(pieces)
    found, now = [], next(inner)
    for start, stop in zip(starts, stops, strict=True):
        if start == now.stop:
            now = next(inner)
        first = now.init_value if start == now.start else value(start)
        last = now.end_value if stop == now.stop else value(stop)
        found.append(Piece(start, stop, now.shape, first, last))
    return found


def product(first: Piece, second: Piece) -> Piece:
    """Of two that start and stop together."""
    return Piece(
        first.start,
        first.stop,
        f"{first.shape} * {second.shape}",
        first.init_value * second.init_value,
        first.end_value * second.end_value,
    )


def curve(values: Sequence[float]) -> str:
    """Values side by side, from the lowest to the highest of them."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, rise = min(finite), max(finite) - min(finite)
    return "".join(_block((x - low) / rise if rise else x - low + 0.5) for x in values)


def _block(height: float) -> str:
    if not math.isfinite(height):
        return " "
    return _BLOCKS[round(height * (len(_BLOCKS) - 1))]


def table(pieces: Sequence[Piece]) -> str:
    """The rows, aligned."""
    rows = [COLUMNS, *_rows(pieces)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = (str.rjust, str.rjust, str.ljust, str.rjust, str.rjust)
    return "\n".join(
        "  ".join(side(x, n) for side, x, n in zip(sides, row, widths, strict=True))
        for row in rows
    )


def html_table(pieces: Sequence[Piece]) -> str:
    """The rows, for a notebook."""
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    rows = (
        "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        for row in _rows(pieces)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _rows(pieces: Sequence[Piece]) -> list[tuple[str, ...]]:
    if len(pieces) <= _FIRST + _LAST + 1:
        return [_row(piece) for piece in pieces]
    hidden = f"({len(pieces) - _FIRST - _LAST:,} more)"
    some = [_row(piece) for piece in (*pieces[:_FIRST], *pieces[-_LAST:])]
    return [*some[:_FIRST], ("...", "...", hidden, "...", "..."), *some[_FIRST:]]


def _row(piece: Piece) -> tuple[str, ...]:
    return (
        _step(piece.start),
        _step(piece.stop),
        piece.shape,
        f"{piece.init_value:.6g}",
        f"{piece.end_value:.6g}",
    )


def _step(step: Any) -> str:
    if step == math.inf:
        return ""
    if step == int(step):
        return f"{int(step):,}"
    return f"{float(step):,.2f}" if step > 1 else f"{float(step):.3g}"
