"""What a schedule costs: compiling it, editing it, calling it."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import cases, peers, timing
from benchmarks.tables import Cell

COUNT = jax.ShapeDtypeStruct((), jnp.int32)
COUNTS = 1_000_000
EDITS = 20

Rows = list[list[Cell]]
Samples = dict[str, list[float]]

# Each limit is our CPU time divided by the peer's.
COMPILING = {"cosine": ("Optax's cosine", 1.3), "warm-up": ("Optax's warm-up", 1.3)}
CALLED = {"cosine": 1.05, "warm-up": 1.05, "extended": 1.05}
CURVES = {"cosine": 1.0, "warm-up": 1.0, "extended": 1.7}
EDITED = {"closed over": 1.5, "an argument": 1.5}
FROM_PYTHON = {"cosine": 0.3, "warm-up": 0.3, "shifted": 0.3, "extended": 0.3}


def from_nothing(build: Callable[[], Any]) -> float:
    """Seconds to build a schedule and to compile a jitted function of it."""
    jax.clear_caches()

    def compiled() -> Any:
        schedule = build()
        return jax.jit(lambda count: schedule(count)).lower(COUNT).compile()

    return timing.seconds(compiled, 1, timing.CPU)


def compiling(rounds: int) -> Rows:
    builders = {name: cases.OURS[name] for name in COMPILING} | cases.OPTAX
    for build in builders.values():
        from_nothing(build)  # imports
    samples = timing.in_turn(
        {name: functools.partial(from_nothing, x) for name, x in builders.items()},
        rounds,
    )
    return [
        timing.limited(f"compiling: {name}", samples, name, peer, limit)
        for name, (peer, limit) in COMPILING.items()
    ]


def in_a_program(counts: jax.Array, names: Any, rounds: int) -> Samples:
    """Times of jitted functions that close over their schedule."""
    builders = {name: cases.OURS[name] for name in names} | cases.OPTAX
    return timing.alternating(
        {
            name: functools.partial(jax.jit(build()), counts)
            for name, build in builders.items()
        },
        rounds,
        timing.CPU,
    )


def called(rounds: int) -> Rows:
    samples = in_a_program(jnp.int32(cases.STEPS // 3), CALLED, rounds)
    return [
        timing.limited(f"a jitted call: {name}", samples, name, "Optax's cosine", limit)
        for name, limit in CALLED.items()
    ]


def curves(rounds: int) -> Rows:
    samples = in_a_program(jnp.arange(COUNTS, dtype=jnp.int32), CURVES, rounds)
    return [
        timing.limited(
            f"{COUNTS:,} counts: {name}", samples, name, "Optax's cosine", limit
        )
        for name, limit in CURVES.items()
    ]


def closed_over(schedule: Any) -> Any:
    return jax.jit(lambda count: schedule(count)).lower(COUNT).compile()


def argument(schedule: Any) -> Any:
    apply = jax.jit(lambda schedule, count: schedule(count))
    return apply.lower(schedule, COUNT).compile()


def edited(rounds: int) -> Rows:
    """Edits are made before the clock starts, so only their program is measured."""

    def seconds(program: Callable[[Any], Any], edits: int) -> float:
        jax.clear_caches()
        schedule = cases.edited(edits)
        return timing.seconds(lambda: program(schedule), 1, timing.CPU)

    rows: Rows = []
    programs = {"closed over": closed_over, "an argument": argument}
    for name, limit in EDITED.items():
        measured = functools.partial(seconds, programs[name])
        samples = timing.in_turn(
            {
                "edited": functools.partial(measured, EDITS),
                "not edited": functools.partial(measured, 0),
            },
            rounds,
        )
        what = f"compiling {EDITS} edits: {name}"
        rows.append(timing.limited(what, samples, "edited", "not edited", limit))
    return rows


def from_python(rounds: int) -> Rows:
    """The counts are spread, so that every sample meets all phases."""
    counts = itertools.cycle(range(0, cases.STEPS, 97))
    schedules = {name: cases.OURS[name]() for name in FROM_PYTHON}
    calls: dict[str, Callable[[], Any]] = {
        name: lambda schedule=schedule: schedule(next(counts))
        for name, schedule in schedules.items()
    }
    step = peers.torch_step(cases.STEPS).step
    # Both sides draw a count, and both are called through a lambda.
    calls["PyTorch's step()"] = lambda: step() or next(counts)
    samples = timing.alternating(calls, rounds, timing.CPU)
    return [
        timing.limited(
            f"a call from Python: {name}", samples, name, "PyTorch's step()", limit
        )
        for name, limit in FROM_PYTHON.items()
    ]


def rows(rounds: int) -> Rows:
    measured = compiling, edited, called, curves, from_python
    return [row for measure in measured for row in measure(rounds)]
