"""What a rate costs: asked from Python, in a jitted function, for a whole curve."""

import functools
import statistics
from typing import Any

import jax
import jax.numpy as jnp
import optax

import optax_cosine as oc
from benchmarks import peers, timing
from benchmarks.tables import Comparison, Table

STEPS = 10_000
COUNTS = 1_000_000
COLUMNS = ["", "time", "of ours"]


def schedules() -> dict[str, Any]:
    return {
        "ours": oc.cosine_annealing_schedule(1.0, STEPS),
        "ours, warm-up": oc.warmup_cosine_annealing_schedule(
            1.0, STEPS, warmup_steps=500
        ),
        "ours, 1,000 restarts": oc.cosine_restarts_schedule(
            1.0, [10 + i % 3 for i in range(1_000)]
        ),
        "Optax": optax.cosine_decay_schedule(1.0, STEPS),
        "Optax, warm-up": optax.warmup_cosine_decay_schedule(0.0, 1.0, 500, STEPS),
        "Keras": peers.keras_cosine(STEPS),
    }


def from_python(rounds: int) -> dict[str, list[float]]:
    """Each with a count that moves on, as in a loop that logs its rate."""
    stepped, timm = peers.torch_step(STEPS), peers.timm_cosine(STEPS)
    counts = iter(range(10**12))
    calls = {
        name: lambda schedule=schedule: schedule(next(counts) % STEPS)
        for name, schedule in schedules().items()
    }
    calls["PyTorch, step()"] = stepped.step
    calls["timm, step_update()"] = lambda: timm.step_update(next(counts) % STEPS)
    return timing.alternating(calls, rounds)


def jitted(rounds: int) -> dict[str, list[float]]:
    count = jnp.int32(STEPS // 3)
    calls = closed_over(count)
    apply = jax.jit(lambda schedule, count: schedule(count))
    for name in ("ours", "ours, warm-up", "ours, 1,000 restarts"):
        schedule = jax.device_put(schedules()[name])
        calls[f"{name}, an argument"] = functools.partial(apply, schedule, count)
    return timing.alternating(calls, rounds)


def closed_over(counts: jax.Array) -> dict[str, Any]:
    return {
        name: functools.partial(jax.jit(schedule), counts)
        for name, schedule in schedules().items()
    }


def curves(rounds: int) -> dict[str, list[float]]:
    counts = jnp.arange(COUNTS, dtype=jnp.int32)
    return timing.alternating(closed_over(counts), rounds)


def compared(rounds: int) -> Comparison:
    python, compiled, curve = from_python(rounds), jitted(rounds), curves(rounds)
    return Comparison(
        [
            Table(
                "A call from Python",
                "`schedule(count)` with a Python int, until the value is there.",
                COLUMNS,
                timing.rows(python, "ours"),
            ),
            Table(
                "A call of the jitted function",
                "The count is on the device. Most of the time is that of starting any "
                "program at all.",
                COLUMNS,
                timing.rows(compiled, "ours"),
            ),
            Table(
                f"A curve of {COUNTS:,} counts",
                "One call of the jitted function.",
                COLUMNS,
                timing.rows(curve, "ours"),
            ),
        ],
        [
            timing.pair("a call from Python", python, "ours", "Optax"),
            timing.pair("a call from Python", python, "ours", "Keras"),
            timing.pair("a call from Python", python, "ours", "PyTorch, step()"),
            timing.pair("a call from Python", python, "ours", "timm, step_update()"),
            timing.pair(
                "a call from Python", python, "ours, warm-up", "Optax, warm-up"
            ),
            timing.pair("a call of the jitted function", compiled, "ours", "Optax"),
            timing.pair(f"a curve of {COUNTS:,} counts", curve, "ours", "Optax"),
            timing.pair("the same, warm-up", curve, "ours, warm-up", "Optax, warm-up"),
        ],
        {name: statistics.median(times) for name, times in python.items()},
    )
