"""What this package does on the device that JAX finds, beside Optax.

`python -m benchmarks.accelerator` measures accuracy, calls, training steps, compiles,
and a sweep. Each table is written as soon as it is measured. The command needs the
extra `examples` and mpmath.
"""

import argparse
import functools
import pathlib
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_cosine as oc
from benchmarks import accuracy, compiling, conditions, population, tables, timing
from benchmarks import training_step as steps_of
from benchmarks.report import page_table, section
from benchmarks.tables import Cell, Table

HERE = pathlib.Path(__file__).parent
WARM_STEPS = 500
STEPS = 10_000
PROFILED = 20  # steps of a trace
PEERS = "ours", "Optax"
# Streams of a GPU and operations of a TPU: what a device did, one after another.
DEVICE_PLANES = "/device:GPU", "/device:TPU"
DEVICE_LINES = "Stream", "XLA Ops"
COPIES = "memcpy", "memset", "copy"


class Scale(NamedTuple):
    """How much is measured."""

    lengths: Sequence[int]
    counts: int
    rounds: int
    cycles: int
    sweeps: int


FULL = Scale(accuracy.LENGTHS, counts=100_000_000, rounds=9, cycles=1_000, sweeps=1)
SMALL = Scale(accuracy.LENGTHS[:3], counts=100_000, rounds=3, cycles=100, sweeps=0)


def schedules() -> dict[str, Any]:
    return {
        "ours": oc.cosine_annealing_schedule(1.0, STEPS),
        "Optax": optax.cosine_decay_schedule(1.0, STEPS),
        "ours, warm-up": oc.warmup_cosine_annealing_schedule(
            1.0, STEPS, warmup_steps=WARM_STEPS
        ),
        "Optax, warm-up": optax.warmup_cosine_decay_schedule(
            0.0, 1.0, WARM_STEPS, STEPS
        ),
        "ours, 1,000 restarts": compiling.ours(1_000),
    }


def errors(scale: Scale) -> Sequence[Table]:
    table = Table(
        "Accuracy",
        "A rate from 1 to 0 in a jitted function, in float32, against 50 digits: the "
        "worst error in units in the last place, rates of exactly 0 before the end, "
        "and steps to a higher rate.",
        [
            "length",
            *(f"{x}, {name}" for x in ("worst", "zeros", "rises") for name in PEERS),
        ],
        [errors_at(steps) for steps in scale.lengths],
    )
    return [table]


def errors_at(steps: int) -> list[Cell]:
    counts = accuracy.sampled(steps)
    truth = [accuracy.exact(int(count), steps) for count in counts]
    worst, zeros, rises = [], [], []
    for schedule in (
        oc.cosine_annealing_schedule(1.0, steps),
        optax.cosine_decay_schedule(1.0, steps),
    ):
        rates = accuracy.rates_of(schedule)
        worst.append(float(accuracy.units(rates(counts), truth).max()))
        seen = [rates(window) for window in accuracy.windows(steps)]
        zeros.append(int((seen[-1][:-1] == 0).sum()))
        rises.append(sum(int((np.diff(x) > 0).sum()) for x in seen))
    return [steps, *worst, *zeros, *rises]


def calls(scale: Scale) -> Sequence[Table]:
    return calls_of("A call of the jitted function", jnp.int32(STEPS // 3), scale)


def curve(scale: Scale) -> Sequence[Table]:
    counts = jnp.arange(scale.counts, dtype=jnp.int32) % (STEPS + STEPS // 5)
    return calls_of(f"A curve of {scale.counts:,} counts", counts, scale)


def calls_of(title: str, counts: jax.Array, scale: Scale) -> Sequence[Table]:
    functions = {
        name: functools.partial(jax.jit(schedule), counts)
        for name, schedule in schedules().items()
    }
    samples = timing.alternating(functions, scale.rounds)
    table = Table(
        title,
        "Until the values are there. The counts are on the device.",
        ["", "time", "of Optax's"],
        timing.rows(samples, "Optax"),
    )
    return [table]


def training_step(scale: Scale) -> Sequence[Table]:
    batch = jnp.ones((steps_of.BATCH_SIZE, steps_of.SIZE))
    steps = {
        name: steps_of.step_of(tx, batch) for name, tx in steps_of.OPTIMIZERS.items()
    }
    warm = steps_of.adamw(learning_rate=steps_of.WARM)
    steps["ours, cooled down while it runs"] = edited(steps_of.step_of(warm, batch))
    running = {name: steps_of.running(step, batch) for name, step in steps.items()}
    samples = timing.alternating(running, scale.rounds)
    times = timing.rows(samples, "Optax's schedule")
    rows = [
        [*row, *steps_of.sizes(steps[name])[:2], *launched(running[name])]
        for name, row in zip(steps, times, strict=True)
    ]
    table = Table(
        "A training step with AdamW",
        f"{steps_of.LAYERS} layers of {steps_of.SIZE} by {steps_of.SIZE}, a batch of "
        f"{steps_of.BATCH_SIZE}. Fusions and kernels are those of the compiled "
        "program. Launched kernels, copies and the time in them are those of a trace "
        f"of {PROFILED} steps, for each step; a CPU has no such trace.",
        [
            *("rate", "time", "of Optax's schedule", "fusions", "kernels"),
            *("launched", "copies", "microseconds on the device"),
        ],
        rows,
    )
    return [table]


def edited(step: steps_of.Step) -> steps_of.Step:
    """The compiled program stays the same: an edit changes numbers alone."""
    running = oc.get_schedules(step.opt_state)["learning_rate"]
    cooled = oc.cooldown(running, at_step=STEPS // 2, steps=WARM_STEPS)
    opt_state = oc.set_schedules(step.opt_state, learning_rate=cooled)
    return step._replace(opt_state=opt_state)


def launched(run: Callable[[], Any]) -> list[Cell]:
    """Kernels, copies, and microseconds in both, of a step, out of a profile."""
    events = device_events(run)
    if not events:
        return [None, None, None]
    copies = sum(name.startswith(COPIES) for name, _ in events)
    microseconds = sum(nanoseconds for _, nanoseconds in events) / 1e3
    found = len(events) - copies, copies, microseconds
    return [number / PROFILED for number in found]


def device_events(run: Callable[[], Any]) -> list[tuple[str, float]]:
    """Names and nanoseconds of what the device did; empty on a CPU."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready([run() for _ in range(PROFILED)][-1])
        (file,) = pathlib.Path(folder).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
    return [
        (event.name.lower(), event.duration_ns)
        for plane in planes
        if plane.name.startswith(DEVICE_PLANES)
        for line in plane.lines
        if line.name.startswith(DEVICE_LINES)
        for event in line.events
    ]


def restarts(scale: Scale) -> Sequence[Table]:
    builders = {"ours": compiling.ours, "Optax": compiling.optaxs}
    for build in builders.values():
        compiling.first_rate(build, 1)  # imports
    samples = {
        name: [compiling.first_rate(b, scale.cycles)] for name, b in builders.items()
    }
    table = Table(
        f"Building and compiling {scale.cycles:,} restarts",
        "From nothing to the first rate of a jitted function, all caches cleared.",
        ["", "time"],
        [[name, tables.time(times)] for name, times in samples.items()],
    )
    return [table]


def sweep(scale: Scale) -> Sequence[Table]:
    return population.compared(scale.sweeps).tables if scale.sweeps else []


SECTIONS = errors, calls, curve, training_step, restarts, sweep


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator")
    parser.add_argument(
        "--seconds",
        type=float,
        default=400,
        help="after which nothing more is begun (default: %(default)s)",
    )
    parser.add_argument(
        "--small", action="store_true", help="little of each, to try it on a CPU"
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=HERE / "ACCELERATOR.md",
        help="the page to write (default: benchmarks/ACCELERATOR.md)",
    )
    return parser.parse_args()


def main() -> None:
    chosen, start, failed = options(), time.monotonic(), False
    where = conditions.found() | {"command": " ".join(sys.orig_argv[1:])}
    parts = [
        "# Measured on an accelerator\n",
        page_table(["", "measured with"], list(where.items())),
    ]
    for measure in SECTIONS:
        name = measure.__name__.replace("_", " ")
        if time.monotonic() - start > chosen.seconds:
            parts.append(f"## {name.capitalize()}\n\nLeft out: no time was left.\n")
        else:
            try:
                found = measure(SMALL if chosen.small else FULL)
            except Exception:
                # What comes after it may work, and a machine is lent for minutes.
                failed = True
                found = []
                parts.append(f"## {name}\n\n```text\n{traceback.format_exc()}```\n")
            parts += [section(x.title, x.text, x.columns, x.rows) for x in found]
        chosen.out.write_text("\n".join(parts))
        print(f"{time.monotonic() - start:6.1f} s  {name}", file=sys.stderr)
    print("\n".join(parts))
    sys.exit(failed)


if __name__ == "__main__":
    main()
