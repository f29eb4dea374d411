"""Schedules in the optimizer state of an Equinox module."""

import io
from typing import Any

import contract
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract import CURVE, IMAGES, OTHER, TARGETS, injected

import optax_cosine as oc

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.usefixtures("standard_promotion"),
]


def network(dtype: Any = np.float32) -> eqx.nn.MLP:
    # Its activation is no array: to the optimizer that leaf is None.
    return eqx.nn.MLP(
        4, 3, 6, 1, activation=jnp.tanh, dtype=dtype, key=jax.random.key(0)
    )


def params_of(model: Any) -> Any:
    return eqx.filter(model, eqx.is_inexact_array)


def loss(model):
    return jnp.mean((jax.vmap(model)(IMAGES) - TARGETS) ** 2)


def updated(tx: Any, model: Any, opt_state: Any) -> tuple[Any, Any]:
    gradients = eqx.filter_grad(loss)(model)
    updates, opt_state = tx.update(gradients, opt_state, params_of(model))
    return eqx.apply_updates(model, updates), opt_state


class EquinoxRun(contract.Run):
    def start(self, tx, dtype):
        self.model = network(dtype)
        self.holder = tx.init(params_of(self.model))

        def counted(model, opt_state):
            self.traces += 1
            return updated(tx, model, opt_state)

        self.compiled = eqx.filter_jit(counted)

    def update(self):
        self.model, self.holder = self.compiled(self.model, self.holder)

    @property
    def params(self):
        return params_of(self.model)

    @property
    def opt_state(self):
        return self.holder


class TestEquinox(contract.Contract):
    Run = EquinoxRun


def trained(schedule: Any, updates: int) -> EquinoxRun:
    run = EquinoxRun(contract.WRAPPERS["chain"](injected(schedule)))
    for _ in range(updates):
        run.update()
    return run


def test_model_and_state_in_one_tree_are_edited_together():
    run = trained(CURVE, 3)
    both = oc.set_schedules((run.model, run.opt_state), learning_rate=OTHER)
    assert oc.get_schedules(both)["learning_rate"] == OTHER
    assert eqx.tree_equal(both[0], run.model)
    assert not eqx.tree_equal(both[1], run.opt_state)


def test_all_of_a_state_may_be_donated_and_no_schedule_goes_with_it():
    curves = [jax.tree.map(jnp.asarray, curve) for curve in (CURVE, OTHER)]
    tx = injected(curves[0])
    model = network()
    opt_state = tx.init(params_of(model))
    step = eqx.filter_jit(lambda model, state: updated(tx, model, state), donate="all")
    for count in range(6):
        if count == 3:
            opt_state = oc.set_schedules(opt_state, learning_rate=curves[1])
        before = opt_state
        model, opt_state = step(model, opt_state)
        rate = np.asarray(optax.tree.get(opt_state, "learning_rate"))
        np.testing.assert_array_max_ulp(rate, (CURVE, OTHER)[count // 3](count), 8)
        assert all(x.is_deleted() for x in jax.tree.leaves(before.schedules))
    assert curves == [CURVE, OTHER]


def written(run: EquinoxRun) -> io.BytesIO:
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, (run.model, run.opt_state))
    file.seek(0)
    return file


def test_an_edited_run_is_restored_into_the_unedited_program():
    saved = trained(CURVE, 5)
    contract.change_course(saved)
    run = trained(CURVE, 1)
    like = eqx.filter_eval_shape(lambda: (run.model, run.holder))
    run.model, run.holder = eqx.tree_deserialise_leaves(written(saved), like)
    assert eqx.tree_equal((run.model, run.holder), (saved.model, saved.holder))
    assert oc.get_schedules(run.holder) == oc.get_schedules(saved.holder)
    for _ in range(4):
        run.update()
        saved.update()
    assert eqx.tree_equal((run.model, run.holder), (saved.model, saved.holder))
    assert run.traces == saved.traces == 1


def test_more_phases_need_a_target_that_has_room_for_them():
    saved = trained(CURVE, 0)
    long = oc.join(*[CURVE] * 4)
    saved.holder = oc.set_schedules(saved.holder, learning_rate=long)
    run = trained(CURVE, 0)
    with pytest.raises(RuntimeError, match=r"from \(4, 8\) in `like` to \(4, 16\) on"):
        eqx.tree_deserialise_leaves(written(saved), (run.model, run.holder))
    roomy = oc.join(*[oc.constant(1.0, steps=1)] * 12)
    like = (run.model, oc.set_schedules(run.holder, learning_rate=roomy))
    restored = eqx.tree_deserialise_leaves(written(saved), like)
    assert oc.get_schedules(restored)["learning_rate"] == long


def test_a_schedule_is_a_traced_argument_of_a_filtered_function():
    traces = []

    @eqx.filter_jit
    def rate(schedule, count):
        traces.append(schedule)
        return schedule(count)

    for curve in (CURVE, OTHER):
        value = rate(curve, jnp.int32(3))
        np.testing.assert_array_max_ulp(np.asarray(value), curve(3), 8)
    assert len(traces) == 1


def test_a_filtered_gradient_reaches_the_rates_and_leaves_the_lengths():
    schedule = jax.tree.map(jnp.asarray, oc.linear(0.3, 0.1, steps=4))
    gradient = eqx.filter_grad(lambda schedule: schedule(jnp.int32(1)))(schedule)
    assert gradient.node.integers is gradient.node.after is None
    rows = schedule.node._replace(floats=gradient.node.floats).rows
    np.testing.assert_allclose(rows.init_value, [0.75], rtol=1e-6)
    np.testing.assert_allclose(rows.end_value, [0.25], rtol=1e-6)


def test_a_population_trains_along_a_schedule_for_each_member():
    curves = [CURVE, OTHER, CURVE / 2]
    stack = oc.stack(curves)

    def optimizer(schedule):
        return oc.inject_schedules(optax.adamw)(schedule, weight_decay=1e-2)

    model = network()
    states = eqx.filter_vmap(lambda s: optimizer(s).init(params_of(model)))(stack)
    models = eqx.filter_vmap(lambda _: model, axis_size=3)(None)
    step = eqx.filter_jit(eqx.filter_vmap(lambda m, s: updated(optimizer(0.1), m, s)))
    assert oc.get_schedules(states)["learning_rate"] == stack
    for count in range(8):
        if count == 4:
            stack = oc.stack(curves := curves[::-1])
            states = oc.set_schedules(states, learning_rate=stack)
        models, states = step(models, states)
        rates = optax.tree.get(states, "learning_rate")
        expected = np.array([curve(count) for curve in curves])
        np.testing.assert_array_max_ulp(rates, expected, 8)
