"""A rule that shards every axis it can divide also shards the tables in the state."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from programs import inject
from sweeps import sweep

import optax_cosine as oc

pytestmark = pytest.mark.usefixtures("standard_promotion")

DEVICES = 8
START = oc.warmup_cosine_annealing_schedule(0.1, 200, warmup_steps=10)
ENDLESS = oc.cosine_restarts_schedule(0.1, 7)
SCHEDULES = {
    "table": START,
    "endless": ENDLESS,
    "product": START * ENDLESS,
    "staircase": oc.staircase(START, 2),
    "spliced": oc.splice(ENDLESS, 9, START),
}
needs_auto_axes = pytest.mark.skipif(
    not hasattr(jax.sharding, "auto_axes"), reason="JAX is too old"
)
# tests/test_devices.py is about both by default.
explicit = pytest.param(
    AxisType.Explicit, marks=[needs_auto_axes, pytest.mark.thorough]
)
axis_types = pytest.mark.parametrize("axis_type", [AxisType.Auto, explicit])


def adamw(schedule: Any = START) -> Any:
    return inject(optax.adamw, learning_rate=schedule, weight_decay=0.01)


def start_of(schedule: Any, tx_of: Any = adamw) -> Any:
    params = {"w": jnp.full((8, 4), 0.5, np.float32), "b": jnp.ones(3)}
    return params, tx_of(schedule).init(params)


def sharded(tree: Any, axis_type: AxisType) -> Any:
    """The first axis that the number of devices divides, and no other, is sharded."""
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(axis_type,))

    def put(leaf: jax.Array) -> jax.Array:
        axes = [i for i, size in enumerate(leaf.shape) if size % DEVICES == 0]
        spec = PartitionSpec(*[None] * axes[0], "data") if axes else PartitionSpec()
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    return jax.tree.map(put, tree)


def specs(opt_state: Any) -> list[Any]:
    return [leaf.sharding.spec for leaf in jax.tree.leaves(opt_state.schedules)]


def step_of(tx: Any) -> Any:
    def step(params: Any, opt_state: Any) -> Any:
        gradients = jax.tree.map(lambda p: p * p + p, params)
        updates, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return step


def advanced(step: Any, updates: int, params: Any, opt_state: Any) -> Any:
    """After the updates, with the rate of each."""
    rates = []
    for _ in range(updates):
        params, opt_state = step(params, opt_state)
        rates.append(np.asarray(optax.tree.get(opt_state, "learning_rate")))
    return params, opt_state, np.array(rates)


def edits(schedule: oc.Schedule) -> list[oc.Schedule]:
    """Other schedules of the same structure."""
    if schedule != START:
        return [schedule * 0.5, schedule * 0.25]
    short = oc.cooldown(START, at_step=12, steps=30)
    return [
        short,
        oc.rewarm(short, at_step=20, peak_value=0.1, warmup_steps=0, decay_steps=50),
    ]


@axis_types
@sweep("name", SCHEDULES, ["table", "product"])
def test_a_run_with_sharded_tables_trains_and_is_edited_without_a_compile(
    name, axis_type
):
    schedule = SCHEDULES[name]
    params, opt_state = sharded(start_of(schedule), axis_type)
    assert PartitionSpec(None, "data") in specs(opt_state)
    step: Any = jax.jit(step_of(adamw(schedule)), donate_argnums=(0, 1))
    params, opt_state, rates = advanced(step, 12, params, opt_state)
    expected = [schedule(count) for count in range(12)]
    np.testing.assert_allclose(rates, expected, rtol=2e-6)
    before, programs = specs(opt_state), step._cache_size()
    for first, edited in zip((12, 20), edits(schedule), strict=True):
        opt_state = oc.set_schedules(opt_state, learning_rate=edited)
        assert oc.get_schedules(opt_state)["learning_rate"] == edited
        assert specs(opt_state) == before
        params, opt_state, rates = advanced(step, 8, params, opt_state)
        expected = [edited(count) for count in range(first, first + 8)]
        np.testing.assert_allclose(rates, expected, rtol=2e-6)
        assert step._cache_size() == programs


@axis_types
def test_sharded_parameters_follow_the_plain_optimizer(axis_type):
    params, opt_state = sharded(start_of(START), axis_type)
    ours, *_ = advanced(jax.jit(step_of(adamw())), 12, params, opt_state)
    plain: Any = optax.adamw(START, weight_decay=0.01)
    params, opt_state = start_of(START, lambda _: plain)
    theirs = jax.jit(step_of(plain))
    for _ in range(12):
        params, opt_state = theirs(params, opt_state)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


@axis_types
@sweep("name", SCHEDULES, ["table"])
def test_a_sharded_population_trains_and_is_edited_without_a_compile(name, axis_type):
    members = [SCHEDULES[name] / (1 + member) for member in range(DEVICES)]
    start = jax.vmap(lambda schedule: start_of(schedule))(oc.stack(members))
    params, opt_state = sharded(start, axis_type)
    assert set(specs(opt_state)) == {PartitionSpec("data")}
    step: Any = jax.jit(jax.vmap(step_of(adamw())))
    params, opt_state, rates = advanced(step, 12, params, opt_state)
    expected = [[member(count) for member in members] for count in range(12)]
    np.testing.assert_allclose(rates, expected, rtol=2e-6)
    before, programs = specs(opt_state), step._cache_size()
    members = [edits(SCHEDULES[name])[0] / (1 + member) for member in range(DEVICES)]
    opt_state = oc.set_schedules(opt_state, learning_rate=oc.stack(members))
    assert specs(opt_state) == before
    params, opt_state, rates = advanced(step, 8, params, opt_state)
    expected = [[member(count) for member in members] for count in range(12, 20)]
    np.testing.assert_allclose(rates, expected, rtol=2e-6)
    assert step._cache_size() == programs
