"""How a peer's curve is compared with ours: step by step, relative to the peak."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.random import Generator

# The same for all settings, so that one compiled program serves them all. Runs are
# shorter, so that most of the counts lie past their ends.
COUNTS = np.arange(512)

# Of the peak, where the peer computes in double precision: ours has the few units in
# the last place of float32, 6e-8 each, that its contract allows.
TOLERANCE = 5e-7


def settings(seed: int) -> Iterator[Generator]:
    """One generator, 200 times: each turn draws one setting from it."""
    rng = np.random.default_rng(seed)
    for _ in range(200):
        yield rng


def steps(rng: Generator, least: int, most: int) -> int:
    return int(rng.integers(least, most, endpoint=True))


def peak_and_floor(rng: Generator) -> tuple[float, float]:
    """A rate from 1e-5 to 1, and one below it, which is 0 every fourth time."""
    peak = 10 ** rng.uniform(-5, 0)
    return peak, peak * max(0, rng.uniform(-0.25, 0.75))


def distance(schedule: Any, theirs: Any, peak: float) -> float:
    """The largest difference at the first `len(theirs)` counts, over the peak."""
    return float(differences(schedule, theirs).max() / peak)


def differences(schedule: Any, theirs: Any) -> np.ndarray:
    ours = np.asarray(schedule(COUNTS), np.float64)
    return np.abs(ours[: len(theirs)] - np.asarray(theirs, np.float64))


def restarts(first: int, factor: float) -> np.ndarray:
    """The times, whole or not, at which the first 50 cycles end."""
    lengths = first * float(factor) ** np.arange(50)
    return np.cumsum(lengths)
