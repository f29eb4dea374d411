"""How cost grows with phases and with members, as a power of their number."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import optax_cosine as oc
from benchmarks import race, tables, timing
from benchmarks.compiling import equations
from benchmarks.tables import Comparison, Spread, Table

PHASES = 1, 10, 100, 1_000, 10_000, 100_000
MEMBERS = 1, 4, 16, 64, 256, 1_024
HORIZON = 100


def exponent(numbers: Sequence[int], times: Sequence[Spread]) -> float:
    """Of the power that fits best, on a log scale."""
    medians = [time.median for time in times]
    return float(np.polyfit(np.log(numbers), np.log(medians), 1)[0])


def table_of(phases: int) -> Any:
    return oc.join(*[oc.cosine(1.0, 0.0, steps=3)] * phases)


def calls(rounds: int) -> dict[int, list[float]]:
    apply = jax.jit(lambda schedule, count: schedule(count))
    count = jnp.int32(2)
    functions = {
        str(phases): functools.partial(apply, jax.device_put(table_of(phases)), count)
        for phases in PHASES
    }
    samples = timing.alternating(functions, rounds)
    return {int(name): seconds for name, seconds in samples.items()}


def compiles(rounds: int) -> dict[int, list[float]]:
    schedules = {n: table_of(n) for n in PHASES}

    def seconds(schedule: Any) -> float:
        jax.clear_caches()
        apply = jax.jit(lambda schedule, count: schedule(count))
        return timing.seconds(lambda: apply.lower(schedule, 0).compile(), 1)

    samples = timing.in_turn(
        {str(n): lambda s=s: seconds(s) for n, s in schedules.items()}, rounds
    )
    return {int(name): seconds for name, seconds in samples.items()}


def settings_of(members: int) -> list[race.Setting]:
    peaks = np.geomspace(*race.PEAKS, members).tolist()
    return [race.Setting("cosine", 0.1, peak, HORIZON) for peak in peaks]


def trainings(rounds: int) -> dict[int, list[race.Times]]:
    work = race.work_of(0, HORIZON)
    found: dict[int, list[race.Times]] = {members: [] for members in MEMBERS}
    for _ in range(min(rounds, 5)):
        for members, times in found.items():
            jax.clear_caches()
            times.append(race.sweep(settings_of(members), work, race.mesh_of()).times)
    return found


def compared(rounds: int) -> Comparison:
    called, compiled = calls(rounds), compiles(rounds)
    trained = trainings(rounds)
    call_times = [tables.time(called[n]) for n in PHASES]
    compile_times = [tables.time(compiled[n]) for n in PHASES]
    running = [tables.time([x.running for x in trained[n]]) for n in MEMBERS]
    compiling = [tables.time([x.compiling for x in trained[n]]) for n in MEMBERS]
    sizes = [equations(table_of(n)) for n in PHASES]
    return Comparison(
        [
            Table(
                "More phases",
                "A table of so many, an argument of a jitted function. The last row is "
                "the exponent of the power of their number that fits best.",
                ["phases", "a call", "compiling", "equations"],
                [
                    *zip(PHASES, call_times, compile_times, sizes, strict=True),
                    [
                        "exponent",
                        exponent(PHASES, call_times),
                        exponent(PHASES, compile_times),
                        None,
                    ],
                ],
            ),
            Table(
                "More members",
                f"A population that trains for {HORIZON} updates in one program. The "
                "second exponent is that from 64 members on, where all cores are busy.",
                ["members", "compiling", "running"],
                [
                    *zip(MEMBERS, compiling, running, strict=True),
                    ["exponent", *(exponent(MEMBERS, x) for x in (compiling, running))],
                    [
                        "exponent from 64",
                        *(exponent(MEMBERS[3:], x[3:]) for x in (compiling, running)),
                    ],
                ],
            ),
        ],
        [],
    )
