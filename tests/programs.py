"""Schedules and optimizers under test, and what a training step is made of."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import optax

import optax_cosine as oc
from optax_cosine._schedule import to_schedule
from optax_cosine._table import Table, pad_table


def table_of(schedule: oc.Schedule) -> Table:
    """The table that a schedule is."""
    assert isinstance(schedule.node, Table)
    return schedule.node


def through_json(schedule: oc.Schedule) -> oc.Schedule:
    return oc.Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))


def padded(schedule: oc.Schedule, rows: int) -> oc.Schedule:
    """The same schedule with empty rows at its end."""
    return to_schedule(pad_table(table_of(schedule), rows))


def inject(factory: Any, **hyperparams: Any) -> Any:
    """As a user writes it, without the types that Optax gives to states."""
    return oc.inject_schedules(factory)(**hyperparams)


def kernels(tx: optax.GradientTransformation) -> int:
    """Fusions of a step with four parameters; a loop would hide some and is refused."""
    params = {name: jnp.ones((64, 64)) for name in "abcd"}

    def step(params, opt_state, gradients):
        updates, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    compiled: Any = jax.jit(step).lower(params, tx.init(params), params).compile()
    program = str(compiled.as_text())
    assert " while(" not in program
    return program.partition("ENTRY")[2].count(" fusion(")
