"""Optimizers under test, and what a compiled training step is made of."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

import optax_cosine as oc


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
