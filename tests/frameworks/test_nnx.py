"""Schedules in the state of an `nnx.Optimizer`."""

from typing import Any

import contract
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract import CURVE, IMAGES, OTHER, TARGETS, applied, assert_rate, injected
from flax import nnx, serialization

import optax_cosine as oc

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.usefixtures("standard_promotion"),
]


class Network(nnx.Module):
    def __init__(self, dtype: Any):
        rngs = nnx.Rngs(0)
        self.hidden = nnx.Linear(4, 6, param_dtype=dtype, rngs=rngs)
        self.output = nnx.Linear(6, 3, param_dtype=dtype, rngs=rngs)

    def __call__(self, images):
        return self.output(nnx.tanh(self.hidden(images)))


def loss(model):
    return jnp.mean((model(IMAGES) - TARGETS) ** 2)


def step(model, optimizer):
    optimizer.update(model, nnx.grad(loss)(model))


class NnxRun(contract.Run):
    def start(self, tx, dtype):
        self.model = Network(dtype)
        self.holder = nnx.Optimizer(self.model, tx, wrt=nnx.Param)

        def counted(model, optimizer):
            self.traces += 1
            step(model, optimizer)

        self.compiled = nnx.jit(counted)

    def update(self):
        self.compiled(self.model, self.holder)

    @property
    def params(self):
        return nnx.to_pure_dict(nnx.state(self.model, nnx.Param))

    @property
    def opt_state(self):
        return self.holder.opt_state


class TestNnx(contract.Contract):
    Run = NnxRun


def trained(schedule: Any, updates: int, wrapper: str = "chain") -> NnxRun:
    run = NnxRun(contract.WRAPPERS[wrapper](injected(schedule)))
    for _ in range(updates):
        run.update()
    return run


def boxes(optimizer: Any) -> list[Any]:
    return jax.tree.leaves(
        optimizer.opt_state, is_leaf=lambda x: isinstance(x, nnx.Variable)
    )


@pytest.mark.parametrize("through", ["optimizer", "opt_state"])
def test_schedules_are_set_on_the_optimizer_or_on_its_state(through):
    run = trained(CURVE, 3)
    if through == "optimizer":
        run.holder = oc.set_schedules(run.holder, learning_rate=CURVE / 2)
    else:
        new = oc.set_schedules(run.opt_state, learning_rate=CURVE / 2)
        run.holder.opt_state = new
    assert isinstance(run.holder, nnx.Optimizer)
    assert all(isinstance(x, nnx.OptState) for x in boxes(run.holder))
    assert oc.get_schedules(run.holder) == oc.get_schedules(run.opt_state)
    run.update()
    assert_rate(run, CURVE / 2, 3)
    assert run.traces == 1


def test_an_edit_keeps_every_box_with_its_metadata():
    run = trained(CURVE, 3)
    for number, box in enumerate(boxes(run.holder)):
        box.set_metadata("number", number)
    before = [(type(box), box.get_metadata()) for box in boxes(run.holder)]
    assert len({metadata["number"] for _, metadata in before}) == len(before) > 10
    edited = oc.set_schedules(run.holder, learning_rate=OTHER, weight_decay=0.5)
    assert [(type(box), box.get_metadata()) for box in boxes(edited)] == before
    assert oc.get_schedules(edited)["learning_rate"] == OTHER


def test_a_branch_shares_no_variable_with_the_run_it_left():
    run = trained(CURVE, 3, "bare")
    trunk = run.holder
    branch = oc.set_schedules(trunk, learning_rate=CURVE / 2)
    assert not {id(x) for x in boxes(trunk)} & {id(x) for x in boxes(branch)}
    run.holder = branch
    run.update()
    assert_rate(run, CURVE / 2, 3)
    run.holder = trunk
    assert_rate(run, CURVE, 2)
    run.update()
    assert_rate(run, CURVE, 3)


def test_a_cooldown_begins_at_the_step_of_the_optimizer():
    run = trained(CURVE, 12)
    cooled = oc.cooldown(CURVE, at_step=run.holder.step[...], steps=5)
    assert cooled == oc.cooldown(CURVE, at_step=12, steps=5)


def test_split_and_merge_keep_curve_and_count():
    run = trained(OTHER, 5)
    run.model, run.holder = nnx.merge(*nnx.split((run.model, run.holder)))
    assert oc.get_schedules(run.holder)["learning_rate"] == OTHER
    run.update()
    assert_rate(run, OTHER, 5)
    assert run.traces == 1


def changed_course() -> NnxRun:
    """A run that was edited four times."""
    run = trained(CURVE, 5)
    contract.change_course(run)
    return run


def by_state(saved: Any, target: Any) -> None:
    nnx.update(target, nnx.state(saved))


def by_pure_dict(saved: Any, target: Any, carry: Any = lambda pure, _: pure) -> None:
    state = nnx.state(target)
    pure = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(saved)))
    nnx.replace_by_pure_dict(state, carry(pure, nnx.to_pure_dict(state)))
    nnx.update(target, state)


def by_msgpack(saved: Any, target: Any) -> None:
    def carry(pure: Any, target: Any) -> Any:
        return serialization.from_bytes(target, serialization.to_bytes(pure))

    by_pure_dict(saved, target, carry)


@pytest.mark.parametrize("restore", [by_state, by_pure_dict, by_msgpack])
def test_an_edited_run_is_restored_into_the_unedited_program(restore):
    saved, run = changed_course(), trained(CURVE, 1)
    restore(saved.holder, run.holder)
    restore(saved.model, run.model)
    assert oc.get_schedules(run.holder) == oc.get_schedules(saved.holder)
    assert oc.get_count(run.holder) == 9
    for _ in range(4):
        run.update()
        saved.update()
        assert applied(run) == applied(saved)
    assert run.traces == saved.traces == 1
    contract.assert_close(run.params, saved.params, 0)


def test_more_phases_than_the_target_has_room_for_are_restored_too():
    saved, run = trained(oc.join(*[CURVE] * 4), 5), trained(CURVE, 1)
    by_state(saved.holder, run.holder)
    assert oc.get_schedules(run.holder) == oc.get_schedules(saved.holder)
    run.update()
    assert_rate(run, CURVE, 5)
    assert run.traces == 2


def test_a_cached_step_takes_an_edit_through_nnx_update():
    # It keeps the variables it was made with: others in their place it never sees.
    run = trained(CURVE, 0)
    cached = nnx.cached_partial(run.compiled, run.model, run.holder)
    for count in range(8):
        if count == 4:
            edited = oc.set_schedules(run.holder, learning_rate=OTHER)
            nnx.update(run.holder, nnx.state(edited))
        cached()
        assert_rate(run, CURVE if count < 4 else OTHER, count)
    assert run.traces == 1


@pytest.mark.parametrize("graph", [True, False])
def test_graph_mode_and_tree_mode_apply_the_same_rates(graph):
    run = trained(CURVE, 0)

    @nnx.jit(graph=graph)
    def jitted(model, optimizer):
        optimizer.update(model, nnx.grad(loss, graph=graph)(model))

    for count in range(8):
        jitted(run.model, run.holder)
        assert_rate(run, CURVE, count)


def test_model_and_optimizer_are_pytrees_for_plain_jit():
    run = trained(CURVE, 0)

    @jax.jit
    def jitted(model, optimizer):
        step(model, optimizer)
        return model, optimizer

    for count in range(8):
        run.model, run.holder = jitted(run.model, run.holder)
        assert_rate(run, CURVE, count)


def test_a_scanned_run_ends_where_a_loop_does():
    run, scanned = trained(OTHER, 9), trained(OTHER, 0)

    @nnx.scan(in_axes=nnx.Carry, out_axes=(nnx.Carry, 0), length=9)
    def scan(carry):
        model, optimizer = carry
        step(model, optimizer)
        rate = optax.tree.get(optimizer.opt_state, "learning_rate")
        return carry, rate[...]

    _, rates = scan((scanned.model, scanned.holder))
    np.testing.assert_array_max_ulp(rates, OTHER(np.arange(9)), 8)
    assert applied(scanned) == rates[-1]
    contract.assert_close(scanned.params, run.params, 2e-6)


def test_a_rate_of_their_own_for_some_parameters_on_one_clock():
    def layers(learning_rate):
        slow = optax.sgd(learning_rate * 0.1)
        return optax.partition(
            {"matrix": optax.sgd(learning_rate), "vector": slow}, contract.kinds
        )

    run = NnxRun(oc.inject_schedules(layers)(learning_rate=CURVE))
    before = run.params
    gradients = nnx.to_pure_dict(nnx.grad(loss)(run.model))
    run.holder = oc.set_schedules(run.holder, learning_rate=0.5)
    run.update()
    moved = jax.tree.map(jnp.subtract, before, run.params)
    rates = {1: 0.05, 2: 0.5}  # by the number of dimensions
    expected = jax.tree.map(lambda x: rates[x.ndim] * x, gradients)
    contract.assert_close(moved, expected, 1e-6)


def test_two_schedules_of_one_name_are_told_apart_by_their_paths():
    kinds = {"matrix": injected(CURVE), "vector": injected(OTHER)}
    run = NnxRun(optax.partition(kinds, contract.kinds))
    with pytest.raises(ValueError, match="learning_rate is scheduled in several"):
        oc.set_schedules(run.holder, learning_rate=0.1)
    run.update()
    states = run.opt_state.inner_states
    for kind, curve in (("matrix", CURVE), ("vector", OTHER)):
        assert oc.get_schedules(states[kind])["learning_rate"] == curve
        rate = optax.tree.get(states[kind], "learning_rate")
        np.testing.assert_array_max_ulp(rate[...], curve(0), 8)
