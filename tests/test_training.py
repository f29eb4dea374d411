"""A schedule in the hands of Optax: chained, jitted, scanned, resumed."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_cosine as oc

pytestmark = pytest.mark.usefixtures("standard_promotion")

all_variants: Any = chex.all_variants  # chex gives it no type

STEPS = 20
TARGET = np.array([1.0, -2.0, 0.5], np.float32)


def chained(schedule) -> Any:
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(),
        optax.add_decayed_weights(1e-4),
        optax.scale_by_learning_rate(schedule),
    )


def loss(params):
    return jnp.sum((params["w"] - TARGET) ** 2)


def start(tx) -> tuple[Any, Any]:
    params = {"w": jnp.zeros(3)}
    return params, tx.init(params)


def update_with(tx):
    def update(params, state):
        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, value

    return update


class TrainingStepVariants(chex.TestCase):
    @all_variants
    def test_a_training_step_is_the_same_however_it_is_run(self):
        with jax.numpy_dtype_promotion("standard"):
            tx = chained(oc.cosine_annealing_schedule(0.3, STEPS, end_value=0.01))
            update = self.variant(update_with(tx))
            params, state = start(tx)
            updated, _, value = jax.tree.map(np.asarray, update(params, state))
        # Adam's first update is the sign of the gradient times the rate.
        expected = np.broadcast_to(
            np.sign(TARGET) * np.float32(0.3), updated["w"].shape
        )
        np.testing.assert_allclose(updated["w"], expected, rtol=1e-5)
        np.testing.assert_allclose(value, np.sum(TARGET**2), rtol=1e-6)


def test_the_chain_applies_the_rate_of_the_schedule_at_every_update():
    schedule = oc.cosine_annealing_schedule(0.3, STEPS, end_value=0.01)
    tx = optax.sgd(schedule)
    state = tx.init(jnp.float32(0))
    update = jax.jit(lambda state: tx.update(jnp.float32(-1), state))
    for count in range(STEPS + 5):
        applied, state = update(state)
        np.testing.assert_array_max_ulp(applied, schedule(count), maxulp=8)


def test_training_lowers_the_loss_and_compiles_once():
    tx = chained(oc.cosine_annealing_schedule(0.3, STEPS, end_value=0.01))
    update = jax.jit(chex.assert_max_traces(n=1)(update_with(tx)))
    params, state = start(tx)
    losses = []
    for _ in range(STEPS):
        params, state, value = update(params, state)
        losses.append(float(value))
    assert losses[-1] < losses[0] / 20


def test_a_scanned_run_equals_a_loop_to_the_bit():
    tx = chained(oc.cosine_annealing_schedule(0.3, STEPS))
    update = update_with(tx)

    def body(carry, _):
        params, state, value = update(*carry)
        return (params, state), value

    (scanned, _), _ = jax.jit(lambda c: jax.lax.scan(body, c, length=STEPS))(start(tx))
    params, state = start(tx)
    one = jax.jit(lambda c: jax.lax.scan(body, c, length=1))
    for _ in range(STEPS):
        (params, state), _ = one((params, state))
    chex.assert_trees_all_equal(scanned, params)


@pytest.mark.parametrize(
    "optimizer", [optax.adamw, optax.sgd, optax.lion, optax.lamb, optax.rmsprop]
)
def test_optimizers_take_the_schedule_as_a_learning_rate(optimizer):
    constant = oc.cosine_annealing_schedule(0.1, STEPS, end_value=0.1)
    results = []
    for rate in (constant, 0.1):
        tx = optimizer(rate)
        params, state = start(tx)
        for _ in range(5):
            params, state, _ = update_with(tx)(params, state)
        results.append(params)
    chex.assert_trees_all_close(*results, rtol=1e-6)


@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_it_agrees_with_optax_to_the_rounding_of_the_peak(exponent):
    ours = oc.cosine_annealing_schedule(0.1, 1_000, end_value=0.01, exponent=exponent)
    theirs = optax.cosine_decay_schedule(0.1, 1_000, alpha=0.1, exponent=exponent)
    counts = np.arange(1_100)
    np.testing.assert_allclose(
        ours(counts),
        jax.vmap(theirs)(counts),
        rtol=0,
        atol=1e-7 * 0.1 * 3,  # three roundings of the peak, their error and not ours
    )


def test_optax_may_join_and_inject_it():
    first = oc.cosine_annealing_schedule(0.1, 10, end_value=0.05)
    second = oc.cosine_annealing_schedule(0.05, 10)
    joined = optax.join_schedules([first, second], [10])
    np.testing.assert_array_max_ulp(np.asarray(joined(15)), second(5), maxulp=8)
    tx: Any = optax.inject_hyperparams(optax.adamw)(learning_rate=first)
    params, state = start(tx)
    _, state, _ = update_with(tx)(params, state)
    assert state.hyperparams["learning_rate"] == np.float32(0.1)


def test_half_precision_parameters_move_by_the_rate_and_keep_their_dtype():
    tx = chained(oc.cosine_annealing_schedule(0.25, STEPS))
    params = {"w": jnp.zeros(3, jnp.bfloat16)}
    gradients = {"w": jnp.ones(3, jnp.bfloat16)}
    updates, _ = tx.update(gradients, tx.init(params), params)
    updated: Any = optax.apply_updates(params, updates)
    assert updated["w"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(updated["w"].astype(jnp.float32), -0.25)
