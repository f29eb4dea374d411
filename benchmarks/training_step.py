"""An optimizer step with each kind of rate: its time and what it is compiled to."""

import functools
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import optax_cosine as oc
from benchmarks import timing
from benchmarks.tables import Comparison, Table

PEAK, STEPS = 1e-3, 10_000
SIZE, BATCH_SIZE, LAYERS = 128, 256, 3

THEIRS = optax.cosine_decay_schedule(PEAK, STEPS)
OURS = oc.cosine_annealing_schedule(PEAK, STEPS)
WARM = oc.warmup_cosine_annealing_schedule(PEAK, STEPS, warmup_steps=500)
CYCLES = oc.cosine_restarts_schedule(PEAK, [10 + i % 3 for i in range(500)])
adamw = oc.inject_schedules(optax.adamw)

OPTIMIZERS: dict[str, Any] = {
    "constant rate": optax.adamw(PEAK),
    "Optax's schedule": optax.adamw(THEIRS),
    "Optax's, inject_hyperparams": optax.inject_hyperparams(optax.adamw)(THEIRS),
    "ours": optax.adamw(OURS),
    "ours, inject_schedules": adamw(learning_rate=OURS),
    "ours, with a warm-up": optax.adamw(WARM),
    "ours, with a warm-up, inject_schedules": adamw(learning_rate=WARM),
    "ours, 500 restarts, inject_schedules": adamw(learning_rate=CYCLES),
}


class Step(NamedTuple):
    compiled: Any
    state_bytes: int
    params: Any
    opt_state: Any


def loss(params: Any, batch: jax.Array) -> jax.Array:
    for weights in params:
        batch = jax.nn.relu(batch @ weights)
    return jnp.mean(batch**2)


def step_of(tx: Any, batch: jax.Array) -> Step:
    params = [0.1 * jnp.ones((SIZE, SIZE)) for _ in range(LAYERS)]
    opt_state = jax.tree.map(jnp.array, tx.init(params))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, opt_state: Any, batch: jax.Array) -> Any:
        gradients = jax.grad(loss)(params, batch)
        updates, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(opt_state))
    compiled = step.lower(params, opt_state, batch).compile()
    return Step(compiled, state_bytes, params, opt_state)


def running(step: Step, batch: jax.Array) -> Any:
    model = [(step.params, step.opt_state)]

    def once() -> Any:
        model[0] = step.compiled(*model[0], batch)
        return model[0]

    return once


def entry(compiled: Any) -> str:
    """The text of the function that the program starts with."""
    return compiled.as_text().partition("ENTRY")[2]


def fusions(compiled: Any) -> int:
    return entry(compiled).count(" fusion(")


def kernels(compiled: Any) -> int:
    """What is executed one after another: all but what only names or moves a value."""
    line = r"^\s+(?:ROOT )?\S+ = .*?[\])}] ([\w-]+)\("
    found = re.findall(line, entry(compiled), re.MULTILINE)
    free = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
    return sum(name not in free for name in found)


def sizes(step: Step) -> list[int]:
    return [fusions(step.compiled), kernels(step.compiled), step.state_bytes]


def compared(rounds: int) -> Comparison:
    batch = jnp.ones((BATCH_SIZE, SIZE))
    steps = {name: step_of(tx, batch) for name, tx in OPTIMIZERS.items()}
    samples = timing.alternating(
        {name: running(step, batch) for name, step in steps.items()}, rounds
    )
    times = timing.rows(samples, "Optax's schedule")
    rows = [
        [*row, *sizes(step)] for row, step in zip(times, steps.values(), strict=True)
    ]
    return Comparison(
        [
            Table(
                "A training step with AdamW",
                f"{LAYERS} layers of {SIZE} by {SIZE}, a batch of {BATCH_SIZE}; "
                "parameters and state are donated. Kernels are what the compiled "
                "program runs one after another, fusions included.",
                [
                    "rate",
                    "time",
                    "of Optax's schedule",
                    "fusions",
                    "kernels",
                    "bytes of state",
                ],
                rows,
            )
        ],
        [
            timing.pair("a training step", samples, "ours", "Optax's schedule"),
            timing.pair(
                "a training step, injected",
                samples,
                "ours, inject_schedules",
                "Optax's, inject_hyperparams",
            ),
        ],
    )
