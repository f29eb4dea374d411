"""A sweep of 64 settings: one program, or a program for each, as usually done."""

from typing import Any

import jax

from benchmarks import race, tables, timing
from benchmarks.tables import Comparison, Table

NUMBER = 64
ONE, LOOP = "ours, one program", "Optax, a loop over programs"


def run(name: str, settings: Any, work: Any) -> race.Times:
    jax.clear_caches()
    if name == LOOP:
        return race.loop(settings, work).times
    return race.sweep(settings, work, race.mesh_of()).times


def times_of(rounds: int) -> dict[str, list[race.Times]]:
    settings = race.square(NUMBER)
    work = race.work_of(0, race.longest_of(settings))
    found: dict[str, list[race.Times]] = {ONE: [], LOOP: []}
    for _ in range(min(rounds, 3)):
        for name, times in found.items():
            times.append(run(name, settings, work))
    return found


def compared(rounds: int) -> Comparison:
    found = times_of(rounds)
    totals = {name: [x.total for x in times] for name, times in found.items()}
    rows = [
        [
            name,
            times[0].programs,
            tables.time([x.compiling for x in times]),
            tables.time([x.running for x in times]),
            tables.time(totals[name]),
            tables.ratio(totals[name], totals[ONE]),
        ]
        for name, times in found.items()
    ]
    text = (
        "Eight peaks and eight horizons from 30 to 300 updates, a small network on the "
        "digits: `benchmarks/race.py`. The loop calls a step that is compiled for each "
        "setting."
    )
    columns = ["", "programs", "compiling", "running", "total", "of ours"]
    return Comparison(
        [Table(f"A sweep of {NUMBER} settings", text, columns, rows)],
        [timing.pair(f"a sweep of {NUMBER}, compiled and run", totals, ONE, LOOP)],
    )
