"""What a schedule adds to an AdamW step: fusions, and the time of a tiny step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

import optax_cosine as oc
from benchmarks import cases, timing
from benchmarks.tables import Cell
from benchmarks.training_step import fusions, kernels

Rows = list[list[Cell]]

# Each limit is the number of fusions beyond those of the step with Optax's cosine.
CLOSED_OVER = {
    "cosine": 0,
    "warm-up": 0,
    "WSD": 0,
    "one cycle": 0,
    "8 rows": 0,
    "endless": 1,
    "500 restarts": 1,
    "shifted": 0,
    "extended": 0,
    "product": 0,
}
IN_THE_STATE = {"cosine": 2, "warm-up": 2, "extended": 2, "endless": 2}

# Each limit is our CPU time divided by Optax's. The keys are numbers of hyperparameters
# that follow a schedule.
TINY_STEPS = {1: 1.0, 5: 1.4}
VALUES = {
    "learning_rate": 1e-3,
    "weight_decay": 1e-4,
    "b1": 0.9,
    "b2": 0.999,
    "eps": 1e-8,
}

ours = oc.inject_schedules(optax.adamw)
optaxs = optax.inject_hyperparams(optax.adamw)


def update(tx: Any) -> Any:
    """A jitted update, whose parameters and state are donated."""

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, opt_state: Any, gradients: Any) -> Any:
        updates, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return step


def sizes(tx: Any) -> tuple[int, int]:
    """The fusions and the kernels of an update of four parameters."""
    params = {name: jnp.ones((64, 64)) for name in "abcd"}
    compiled = update(tx).lower(params, tx.init(params), params).compile()
    return fusions(compiled), kernels(compiled)


def compared_sizes(place: str, factory: Any, peer: Any, limits: dict[str, int]) -> Rows:
    theirs = sizes(peer)
    rows: Rows = []
    for name, limit in limits.items():
        mine = sizes(factory(learning_rate=cases.OURS[name]()))
        more = mine[0] - theirs[0]
        rows.append([f"{place}: {name}", *mine, *theirs, more, limit])
    return rows


def more_fusions() -> Rows:
    theirs = cases.optax_cosine()
    return [
        *compared_sizes("closed over", optax.adamw, optax.adamw(theirs), CLOSED_OVER),
        *compared_sizes(
            "in the state", ours, optaxs(learning_rate=theirs), IN_THE_STATE
        ),
    ]


def running(tx: Any) -> Any:
    params = {"bias": jnp.ones(()), "weights": jnp.ones(3)}
    gradients = jax.tree.map(lambda x: 0.1 * x, params)
    # A buffer that the state shares with another one could not be donated.
    model = [(params, jax.tree.map(jnp.array, tx.init(params)))]
    step = update(tx)

    def once() -> Any:
        model[0] = step(*model[0], gradients)
        return model[0]

    return once


def tiny_steps(rounds: int) -> Rows:
    rows: Rows = []
    for number, limit in TINY_STEPS.items():
        values = dict(list(VALUES.items())[:number])
        mine = {
            name: oc.cosine(value, 0.5 * value, steps=cases.STEPS)
            for name, value in values.items()
        }
        theirs = {
            name: optax.cosine_decay_schedule(value, cases.STEPS, alpha=0.5)
            for name, value in values.items()
        }
        samples = timing.alternating(
            {
                "inject_schedules": running(ours(**mine)),
                "inject_hyperparams": running(optaxs(**theirs)),
            },
            rounds,
            timing.CPU,
        )
        what = f"a tiny step: {number} injected"
        names = "inject_schedules", "inject_hyperparams"
        rows.append(timing.limited(what, samples, *names, limit))
    return rows
