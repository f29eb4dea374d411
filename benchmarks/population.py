"""A sweep of 64 settings: one program, or a program for each, as usually done."""

import pathlib
import sys
from typing import Any

import jax

from benchmarks import tables, timing
from benchmarks.tables import Comparison, Table

sys.path.append(str(pathlib.Path(__file__).parent.parent / "examples"))

import sweep  # the example, which is this very comparison

NUMBER = 64
ONE, LOOP = "ours, one program", "Optax, a loop over programs"


def run(name: str, settings: Any, work: Any) -> sweep.Times:
    jax.clear_caches()
    if name == LOOP:
        return sweep.loop(settings, work).times
    return sweep.sweep(settings, work, sweep.mesh_of()).times


def times_of(rounds: int) -> dict[str, list[sweep.Times]]:
    settings = sweep.settings_of(sweep.parser_of_options().parse_args([]))
    work = sweep.work_of(0, sweep.longest_of(settings))
    found: dict[str, list[sweep.Times]] = {ONE: [], LOOP: []}
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
        "digits: what `examples/sweep.py` does. The loop calls a step that is compiled "
        "for each setting."
    )
    columns = ["", "programs", "compiling", "running", "total", "of ours"]
    return Comparison(
        [Table(f"A sweep of {NUMBER} settings", text, columns, rows)],
        [timing.pair(f"a sweep of {NUMBER}, compiled and run", totals, ONE, LOOP)],
    )
