"""How far a rate is from the exact one."""

from collections.abc import Callable
from typing import Any

import jax
import mpmath
import numpy as np
import optax

import optax_cosine as oc
from benchmarks import peers
from benchmarks.tables import Cell, Comparison, Table

LENGTHS = 10, 100, 1_000, 10_000, 100_000, 10**6, 10**7, 10**8, 10**9, 2**31 - 1
SAMPLE = 6_000  # counts of each length that are compared with 50 digits
WINDOW = 1_000_000  # counts in a row, at either end and in the middle
LAST = 100  # counts before the end that are drawn
DRAWN = 10_000
NAMES = "ours", "Optax", "Keras"

Rates = Callable[[np.ndarray], np.ndarray]


def schedules(steps: int) -> dict[str, Rates]:
    """The seed formula from 1 to 0, in a jitted function, in float32."""
    schedules: dict[str, Any] = {
        "ours": oc.cosine_annealing_schedule(1.0, steps),
        "Optax": optax.cosine_decay_schedule(1.0, steps),
        "Keras": peers.keras_cosine(steps),
    }

    return {name: rates_of(schedule) for name, schedule in schedules.items()}


def rates_of(schedule: Any) -> Rates:
    compiled = jax.jit(schedule)
    return lambda counts: np.asarray(compiled(counts.astype(np.int32)))


def exact(count: int, steps: int) -> mpmath.mpf:
    with mpmath.workdps(50):
        return (1 + mpmath.cospi(mpmath.mpf(count) / steps)) / 2


def units(rates: np.ndarray, truth: list[mpmath.mpf]) -> np.ndarray:
    """Errors, in units in the last place of the exact rate as a float32 would be."""
    spacing = np.spacing(np.array([float(x) for x in truth], np.float32))
    errors = [abs(float(x) - y) for x, y in zip(rates, truth, strict=True)]
    return np.array([float(x) for x in errors]) / spacing


def sampled(steps: int) -> np.ndarray:
    """Counts before the end: all of them, or some anywhere and the last thousand."""
    if steps <= SAMPLE:
        return np.arange(steps)
    anywhere = np.random.default_rng(0).integers(steps, size=SAMPLE - 1_000)
    return np.union1d(anywhere, np.arange(steps - 1_000, steps))


def windows(steps: int) -> list[np.ndarray]:
    starts = {0, max(0, (steps - WINDOW) // 2), max(0, steps + 1 - WINDOW)}
    return [x + np.arange(min(WINDOW, steps + 1)) for x in sorted(starts)]


def errors_at(steps: int) -> list[Cell]:
    counts = sampled(steps)
    truth = [exact(int(count), steps) for count in counts]
    row: list[Cell] = [steps]
    for rates in schedules(steps).values():
        found = units(rates(counts), truth)
        row += [float(found.max()), float(found.mean())]
    return row


def faults_at(steps: int) -> list[Cell]:
    zeros, rises = [], []
    for rates in schedules(steps).values():
        seen = [rates(counts) for counts in windows(steps)]
        zeros.append(int((seen[-1][:-1] == 0).sum()))
        rises.append(sum(int((np.diff(x) > 0).sum()) for x in seen))
    return [steps, *zeros, *rises]


def from_python(steps: int) -> list[list[Cell]]:
    """Errors of the rates that each gives to Python, one count after another."""
    stepped, timm = peers.torch_step(steps), peers.timm_cosine(steps)
    optaxs, keras = schedules(steps)["Optax"], schedules(steps)["Keras"]
    ours = oc.cosine_annealing_schedule(1.0, steps)
    torch_rates = []
    for _ in range(steps):
        torch_rates.append(stepped.get_last_lr()[0])
        stepped.step()
    counts = range(steps)
    rates = {
        "ours": [ours(count) for count in counts],
        "PyTorch": torch_rates,
        "timm": [timm._get_lr(count)[0] for count in counts],
        "Optax": optaxs(np.arange(steps)),
        "Keras": keras(np.arange(steps)),
    }
    truth = [exact(count, steps) for count in counts]
    found = {name: units(np.asarray(x), truth) for name, x in rates.items()}
    return [[name, float(x.max()), float(x.mean())] for name, x in found.items()]


def near_the_end() -> dict[str, list[list[float]]]:
    """Relative errors at the last counts of a run, by the updates that are left."""
    counts = np.arange(DRAWN - LAST, DRAWN)
    truth = [exact(int(count), DRAWN) for count in counts]
    left = (DRAWN - counts).tolist()
    return {
        name: [left, [float(abs(x - y) / y) for x, y in zip(found, truth, strict=True)]]
        for name, found in (
            (name, rates(counts).tolist()) for name, rates in schedules(DRAWN).items()
        )
    }


def compared(rounds: int) -> Comparison:
    del rounds  # exact: once is enough
    errors = [errors_at(steps) for steps in LENGTHS]
    faults = [faults_at(steps) for steps in LENGTHS]
    worst = [max(row[column] for row in errors) for column in (1, 3, 5)]
    return Comparison(
        [
            Table(
                "Error in units in the last place",
                "A rate from 1 to 0 in a jitted function, float32, against 50 digits: "
                f"at all counts, or at {SAMPLE - 1_000:,} at random and the last 1,000 "
                "before the end.",
                [
                    "length",
                    *(f"{name}, {x}" for name in NAMES for x in ("worst", "mean")),
                ],
                errors,
            ),
            Table(
                "Rates of exactly 0 before the end, and steps that go up",
                f"Of the last {WINDOW:,} counts those with a rate of 0; and steps to a "
                f"higher rate within {WINDOW:,} counts at the start, in the middle and "
                "at the end.",
                [
                    "length",
                    *(f"{x}, {name}" for x in ("zeros", "rises") for name in NAMES),
                ],
                faults,
            ),
            Table(
                f"Error of what Python is given, {DRAWN:,} steps",
                "In the same units. PyTorch and timm compute in Python's double "
                "precision, as this package does for a Python int; Optax and Keras "
                "have float32 alone.",
                ["", "worst", "mean"],
                from_python(DRAWN),
            ),
        ],
        [
            ["worst error, units in the last place", worst[0], name, x, x / worst[0]]
            for name, x in (("Optax", worst[1]), ("Keras", worst[2]))
        ],
        near_the_end(),
    )
