"""Schedules in a Flax `TrainState` around a Linen module."""

import functools
from typing import Any

import contract
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract import CURVE, IMAGES, OTHER, TARGETS, injected
from flax import jax_utils, linen, serialization
from flax.training.train_state import TrainState

import optax_cosine as oc

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.usefixtures("standard_promotion"),
]


class Network(linen.Module):
    dtype: Any

    @linen.compact
    def __call__(self, images):
        hidden = linen.Dense(6, param_dtype=self.dtype)(images)
        return linen.Dense(3, param_dtype=self.dtype)(linen.tanh(hidden))


def state_with(tx: Any, dtype: Any = np.float32) -> TrainState:
    model = Network(dtype)
    params = model.init(jax.random.key(0), IMAGES)["params"]
    return TrainState.create(apply_fn=model.apply, params=params, tx=tx)


def updated(state: TrainState) -> TrainState:
    def loss(params):
        return jnp.mean((state.apply_fn({"params": params}, IMAGES) - TARGETS) ** 2)

    return state.apply_gradients(grads=jax.grad(loss)(state.params))


class LinenRun(contract.Run):
    def start(self, tx, dtype):
        self.holder = state_with(tx, dtype)

        def counted(state):
            self.traces += 1
            return updated(state)

        self.compiled = jax.jit(counted, donate_argnums=0)

    def update(self):
        self.holder = self.compiled(self.holder)

    @property
    def params(self):
        return self.holder.params

    @property
    def opt_state(self):
        return self.holder.opt_state


class TestLinen(contract.Contract):
    Run = LinenRun


def trained(schedule: Any, updates: int) -> LinenRun:
    run = LinenRun(contract.WRAPPERS["chain"](injected(schedule)))
    for _ in range(updates):
        run.update()
    return run


def test_schedules_are_set_on_the_train_state_or_on_its_optimizer_state():
    state = trained(CURVE, 3).holder
    one = oc.set_schedules(state, learning_rate=OTHER)
    opt_state = oc.set_schedules(state.opt_state, learning_rate=OTHER)
    two = state.replace(opt_state=opt_state)
    assert isinstance(one, TrainState)
    assert jax.tree.structure(one) == jax.tree.structure(two)
    contract.assert_close(one, two, 0)
    assert oc.get_schedules(state)["learning_rate"] == CURVE


def test_a_cooldown_begins_at_the_step_of_the_train_state():
    state = trained(CURVE, 12).holder
    cooled = oc.cooldown(CURVE, at_step=state.step, steps=5)
    assert cooled == oc.cooldown(CURVE, at_step=12, steps=5)


def test_an_edited_run_is_restored_into_the_unedited_program_to_the_bit():
    saved = trained(CURVE, 8)
    contract.change_course(saved)
    data = serialization.to_bytes(saved.holder)
    run = trained(CURVE, 1)
    run.holder = serialization.from_bytes(run.holder, data)
    assert oc.get_schedules(run.holder) == oc.get_schedules(saved.holder)
    for _ in range(5):
        run.update()
        saved.update()
    contract.assert_close(run.params, saved.params, 0)
    contract.assert_close(run.opt_state, saved.opt_state, 0)
    assert saved.traces == 1


def test_a_scanned_run_is_read_and_edited_between_scans():
    state = trained(CURVE, 0).holder

    @jax.jit
    def scan(state):
        def body(state, _):
            state = updated(state)
            return state, optax.tree.get(state.opt_state, "learning_rate")

        return jax.lax.scan(body, state, length=4)

    state, first = scan(state)
    state, second = scan(oc.set_schedules(state, learning_rate=OTHER))
    np.testing.assert_array_max_ulp(first, CURVE(np.arange(4)), 8)
    np.testing.assert_array_max_ulp(second, OTHER(np.arange(4, 8)), 8)


# What Flax's `replicate` calls warns on some versions of JAX.
@pytest.mark.filterwarnings("ignore:jax.device_put_replicated:DeprecationWarning")
def test_a_replicated_state_is_trained_edited_and_saved_under_pmap():
    replicated = jax_utils.replicate(trained(CURVE, 0).holder)
    update = jax.pmap(updated)
    edit = jax.pmap(functools.partial(oc.set_schedules, learning_rate=OTHER))
    for count in range(6):
        if count == 3:
            replicated = edit(replicated)
        replicated = update(replicated)
        rates = optax.tree.get(replicated.opt_state, "learning_rate")
        rate = (CURVE if count < 3 else OTHER)(count)
        np.testing.assert_array_max_ulp(rates, np.full(len(rates), rate), 8)
    state = jax_utils.unreplicate(replicated)
    assert oc.get_schedules(state)["learning_rate"] == OTHER
