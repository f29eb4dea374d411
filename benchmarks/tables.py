"""What a comparison returns, and how it is written."""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

SECONDS = {1.0: "s", 1e-3: "ms", 1e-6: "µs", 1e-9: "ns"}


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median with its quartiles, of seconds or of ratios."""

    median: float
    low: float
    high: float
    unit: str

    def __str__(self) -> str:
        scale, unit = 1.0, ""
        if self.unit == "s":
            scale = next((x for x in SECONDS if x <= self.median), min(SECONDS))
            unit = " " + SECONDS[scale]
        median, low, high = (
            figures(x / scale) for x in (self.median, self.low, self.high)
        )
        return f"{median}{unit} ({low} to {high})"


def time(samples: Sequence[float]) -> Spread:
    return spread(samples, "s")


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Spread:
    """Round by round: what slows a round down slows both."""
    return spread([x / y for x, y in zip(theirs, ours, strict=True)], "")


def spread(samples: Sequence[float], unit: str) -> Spread:
    if len(samples) == 1:
        return Spread(*samples, *samples, *samples, unit)
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(median, low, high, unit)


Cell = str | int | float | Spread | None


@dataclasses.dataclass(frozen=True)
class Table:
    title: str
    text: str  # what was measured, and what to read out of it
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    tables: Sequence[Table]
    summary: Sequence[Sequence[Cell]]  # question, ours, peer, its figure, ratio
    series: dict[str, Any] = dataclasses.field(default_factory=dict)  # of a picture


def figures(number: float) -> str:
    """Three digits that count."""
    if number == 0 or abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}" if abs(number) >= 1e-3 else f"{number:.1e}"


def shown(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return figures(cell)
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def read(cell: Any) -> Cell:
    """As it was before JSON."""
    return Spread(**cell) if isinstance(cell, dict) else cell


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)]]
    lines += [[shown(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
