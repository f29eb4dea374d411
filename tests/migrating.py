"""The page on coming from elsewhere: its blocks, its tables, and what they claim.

test_migrating.py runs it with formulas that stand in for libraries, and
conformance/test_migrating.py with the libraries themselves.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "migrating.md").read_text()

Names = dict[str, Any]

RUN_AS_THEMSELVES = ("Optax", "PyTorch", "timm", "transformers", "Keras")


# The page.


class Row(NamedTuple):
    """A block of the page, with the paragraph above it."""

    library: str
    title: str
    claim: str
    clock: str
    there: str
    here: str

    def __str__(self) -> str:
        return f"{self.library}: {self.title}"


ROW = re.compile(
    r"^\*\*(?P<title>[^*]+)\.\*\* (?P<claim>[^\n]+(?:\n[^\n]+)*)\n\n"
    r"```python\n# there(?:, (?P<clock>[^\n]+))?\n(?P<there>.*?)"
    r"# here\n(?P<here>.*?)```$",
    re.MULTILINE | re.DOTALL,
)
FACTS = ("length", "warm-up starts", "floor reached", "after the end", "floor given as")


def sections() -> dict[str, str]:
    titles_and_texts = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)[1:]
    return dict(zip(titles_and_texts[::2], titles_and_texts[1::2], strict=True))


def rows(libraries: Iterable[str]) -> list[Row]:
    return [
        Row(library, **{key: text or "" for key, text in match.groupdict().items()})
        for library in libraries
        for match in ROW.finditer(sections().get(library, ""))
    ]


def facts(library: str) -> dict[str, str]:
    lines = re.findall(r"^\| (.+?) \| (.+) \|$", sections()[library], re.MULTILINE)
    return {label: fact for label, fact in lines if label != "---"}


# Numbers for its names: whole and fractional knots, no floor and a high one, an epoch
# of a single update.


def setting(**numbers: Any) -> Names:
    updates = {"n": numbers["e"] * numbers["u"], "w": numbers["v"] * numbers["u"]}
    return numbers | updates


SETTINGS = [
    setting(
        lr=1e-3, floor=1e-4, start=1e-5, e=20, u=5, v=2, d=30, c=12, q=0.3, p=2, r=2
    ),
    setting(
        lr=0.3, floor=0.0, start=0.05, e=19, u=3, v=2, d=17, c=7, q=0.25, p=1.5, r=1.5
    ),
    setting(
        lr=2e-4, floor=3e-5, start=1e-7, e=12, u=8, v=1, d=40, c=10, q=0.4, p=3, r=0.5
    ),
    setting(
        lr=1.0, floor=0.2, start=0.5, e=80, u=1, v=5, d=20, c=9, q=0.5, p=1, r=0.25
    ),
]


def value_of(code: str, names: Names) -> Any:
    """The last line's, after the others."""
    *statements, last = re.split(r"\n(?=\w)", code.strip())
    exec("\n".join(statements), names)
    return eval(last, names)


# What it claims.

TOLERANCE = 5e-7  # of the peak; ours are float32


def check(
    row: Row,
    theirs: Sequence[float],
    ours: Sequence[float],
    names: Names,
    tolerance: float = TOLERANCE,
) -> None:
    """The curves differ where the page says so, and nowhere else."""
    claim = " ".join(row.claim.split())
    stop = re.search(r"stops before `([^`]+)`", claim)
    assert len(theirs) == (eval(stop[1], names) if stop else len(ours)), (
        "where it stops"
    )
    distance = np.abs(np.subtract(ours[: len(theirs)], theirs, dtype=np.float64))
    near = tolerance * np.abs(theirs).max()
    (kind,) = re.findall(r"Nothing differs|Differs from|Differs by up to", claim)
    number = re.search(kind + r" `([^`]+)`", claim)
    expected = eval(number[1], names) if number else distance.size
    if kind == "Differs by up to":
        assert number
        assert 0.8 * expected - near <= distance.max() <= expected + near
        return
    whole = re.search(r"where `([^`]+)` is whole", claim)
    agrees = not whole or float(eval(whole[1], names)).is_integer()
    assert (distance[:expected].max() <= near) == agrees
    if kind == "Differs from":
        assert number
        assert distance[expected] > near


def check_facts(row: Row, theirs: Sequence[float], names: Names) -> None:
    """How the table says that the first curve of a library ends, and goes on."""
    told, n, lr = facts(row.library), names["n"], names["lr"]
    if len(theirs) <= n:
        fate = "stops"
    elif theirs[n] == pytest.approx(lr):
        fate = "restarts"
    else:
        climbs = theirs[n + 1] > theirs[n] + TOLERANCE * lr
        fate = "climbs" if climbs else "holds"
    assert re.findall(r"\w+", told["after the end"])[0] == fate
    floor = names["floor"] if "floor" in row.there else 0.0
    at_floor = np.abs(np.asarray(theirs) - floor) <= TOLERANCE * lr
    at_floor[: names["w"] + 1] = False
    if (end := re.match(r"at count `([^`]+)`", told["floor reached"])) is None:
        assert told["floor reached"].startswith("never")
        assert not at_floor.any()
    elif fate != "stops":
        assert at_floor.argmax() == eval(end[1], names)
