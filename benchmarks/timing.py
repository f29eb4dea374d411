"""Times that can be compared: everything in turn, round after round, medians."""

import itertools
import random
import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks import tables
from benchmarks.tables import Spread

SHORTEST = 5e-3  # seconds: below that the clock and the loop would be measured

# CPU seconds of the process count the work of all its threads. Unlike the time on the
# wall, they hardly change if other processes share the machine.
WALL, CPU = time.perf_counter, time.process_time
Clock = Callable[[], float]


def seconds(function: Callable[[], Any], times: int, clock: Clock = WALL) -> float:
    start = clock()
    for _ in itertools.repeat(None, times):
        result = function()
    jax.block_until_ready(result)
    return (clock() - start) / times


def often_enough(function: Callable[[], Any]) -> int:
    times = 1
    while seconds(function, times) * times < SHORTEST:
        times *= 2
    return times


def alternating(
    functions: dict[str, Callable[[], Any]], rounds: int, clock: Clock = WALL
) -> dict[str, list[float]]:
    """Seconds of a call of each, once a round, in an order that changes."""
    for function in functions.values():
        jax.block_until_ready(function())  # compiled before the clock starts
    times = {name: often_enough(function) for name, function in functions.items()}
    return in_turn(
        {
            name: lambda f=f, n=times[name]: seconds(f, n, clock)
            for name, f in functions.items()
        },
        rounds,
    )


def in_turn(
    measurements: dict[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {name: [] for name in measurements}
    names, order = list(measurements), random.Random(0)
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            samples[name].append(measurements[name]())
    return samples


def rows(samples: dict[str, list[float]], ours: str) -> list[list[str | Spread]]:
    """The name of each, its time, and how many times as long as ours it takes."""
    return [
        [name, tables.time(theirs), tables.ratio(theirs, samples[ours])]
        for name, theirs in samples.items()
    ]


def pair(
    what: str, samples: dict[str, list[float]], ours: str, peer: str
) -> list[str | Spread]:
    """A row of the summary."""
    mine, theirs = samples[ours], samples[peer]
    row = tables.time(mine), peer, tables.time(theirs), tables.ratio(theirs, mine)
    return [what, *row]


def limited(
    what: str, samples: dict[str, list[float]], ours: str, peer: str, limit: float
) -> list[str | float | Spread]:
    """A row of a table of limits: here the ratio is ours over the peer's."""
    mine, theirs = samples[ours], samples[peer]
    row = tables.time(mine), peer, tables.time(theirs), tables.ratio(mine, theirs)
    return [what, *row, limit]
