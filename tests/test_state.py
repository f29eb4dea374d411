"""Schedules read and edited in the state: wherever it lies, and with what errors."""

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from programs import inject
from sweeps import sweep

import optax_cosine as oc

pytestmark = pytest.mark.usefixtures("standard_promotion")

CURVE = oc.cosine_annealing_schedule(0.1, 100)
PARAMS = {"a": jnp.ones(2), "b": jnp.ones(3)}


def sgd(rate: Any = CURVE, **more: Any) -> Any:
    return inject(optax.sgd, learning_rate=rate, **more)


def partition(transforms: dict[Any, Any], labels: Any) -> Any:
    return optax.partition(transforms, labels)


def by_label(a: Any, b: Any) -> Any:
    return partition({"a": a, "b": b}, {"a": "a", "b": "b"})


def test_what_was_written_is_read_back_equal():
    state = sgd(oc.cosine_restarts_schedule(0.1, 9), momentum=0.9).init(PARAMS)
    read = oc.get_schedules(state)
    assert read == {
        "learning_rate": oc.cosine_restarts_schedule(0.1, 9),
        "momentum": oc.constant(0.9, steps=1),
    }
    assert hash(read["learning_rate"]) == hash(oc.cosine_restarts_schedule(0.1, 9))


def test_what_is_read_is_on_the_host_and_read_only():
    (schedule,) = oc.get_schedules(sgd().init(PARAMS)).values()
    assert {type(leaf) for leaf in jax.tree.leaves(schedule)} == {np.ndarray}
    assert not any(leaf.flags.writeable for leaf in jax.tree.leaves(schedule))


def test_different_names_are_read_from_different_places():
    clip = oc.inject_schedules(optax.clip_by_global_norm)(max_norm=1.0)
    state = optax.chain(clip, sgd()).init(PARAMS)
    assert set(oc.get_schedules(state)) == {"max_norm", "learning_rate"}
    state = oc.set_schedules(state, max_norm=2.0, learning_rate=0.5)
    assert oc.get_schedules(state) == {
        "max_norm": oc.constant(2.0, steps=1),
        "learning_rate": oc.constant(0.5, steps=1),
    }


def test_a_state_within_another_is_found():
    def outer(weight_decay) -> Any:
        return optax.chain(optax.add_decayed_weights(weight_decay), sgd())

    tx = inject(outer, weight_decay=0.1)
    state = oc.set_schedules(tx.init(PARAMS), learning_rate=0.5, weight_decay=0.25)
    updates, state = tx.update(PARAMS, state, PARAMS)
    np.testing.assert_array_equal(updates["a"], [-0.625, -0.625])
    assert optax.tree.get(state, "learning_rate") == 0.5
    assert optax.tree.get(state, "weight_decay") == 0.25


def test_an_edit_leaves_the_old_state_and_what_was_not_named():
    state = sgd(momentum=0.9).init(PARAMS)
    edited = oc.set_schedules(state, learning_rate=CURVE * 2)
    assert oc.get_schedules(state)["learning_rate"] == CURVE
    assert oc.get_schedules(edited)["learning_rate"] == CURVE * 2
    for before, after in [
        (state.count, edited.count),
        (state.applied, edited.applied),
        (state.schedules["momentum"], edited.schedules["momentum"]),
        (state.inner_state, edited.inner_state),
    ]:
        leaves = map(jax.tree.leaves, (before, after))
        assert all(map(operator.is_, *leaves))


def test_an_edit_keeps_dtypes_under_x64(x64):
    state = sgd(np.float32(0.1)).init(PARAMS)
    edited = oc.set_schedules(state, learning_rate=oc.cosine(0.1, 0.0, steps=9))
    leaves, before = jax.tree.leaves(edited), jax.tree.leaves(state)
    assert [x.dtype for x in leaves] == [x.dtype for x in before]
    jax.lax.cond(jnp.array([True])[0], lambda: state, lambda: edited)


@sweep("dtype", [np.float16, jnp.bfloat16], [jnp.bfloat16])
def test_a_state_saved_in_half_precision_is_computed_in_float32_and_repaired(dtype):
    curve = oc.warmup_cosine_annealing_schedule(0.1, 100_000, warmup_steps=1_000)
    tx = sgd(curve, momentum=0.9)
    half = jax.tree.map(
        lambda x: x.astype(dtype) if x.dtype == np.float32 else x, tx.init(PARAMS)
    )
    read = oc.get_schedules(half)["learning_rate"]
    assert {leaf.dtype for leaf in jax.tree.leaves(read)} == {
        np.dtype(np.float32),
        np.dtype(np.int32),
    }
    np.testing.assert_allclose(read(1_000), 0.1, rtol=0.004)
    assert oc.Schedule.from_dict(read.to_dict()) == read
    inside = half.schedules["learning_rate"]
    assert oc.Schedule.from_dict(inside.to_dict()) == read
    # The curve has as many values as steps, though its ends were rounded.
    rates = jax.vmap(
        lambda state, count: tx.update(PARAMS, state._replace(count=count))[0]["a"][0],
        (None, 0),
    )(half, jnp.arange(40_000, 41_000))
    assert len(np.unique(rates)) > 900
    assert np.isfinite(rates).all()
    # The record keeps its dtype, so that a scan goes on.
    _, updated = tx.update(PARAMS, half)
    assert optax.tree.get(updated, "learning_rate").dtype == dtype

    repaired = oc.set_schedules(half, learning_rate=curve)
    assert oc.get_schedules(repaired)["learning_rate"] == curve
    leaves = jax.tree.leaves(repaired.schedules["learning_rate"])
    assert {leaf.dtype for leaf in leaves} == {np.dtype("float32"), np.dtype("int32")}
    assert optax.tree.get(repaired, "learning_rate").dtype == np.float32
    _, updated = tx.update(PARAMS, repaired._replace(count=jnp.int32(1_000)))
    assert optax.tree.get(updated, "learning_rate") == np.float32(0.1)


def test_a_schedule_made_of_two_is_refused_on_the_host_and_finite_on_the_device():
    # As a lenient loader leaves it: zeros, or the rows of another state, at the end.
    state = sgd(oc.join(CURVE, oc.linear(0.0, 0.2, steps=50))).init(PARAMS)
    table = state.schedules.nodes["learning_rate"]
    mixed = table._replace(
        integers=table.integers.at[:, 4:].set(0), floats=table.floats.at[:, 4:].set(0)
    )
    nodes = {"learning_rate": mixed}
    broken = state._replace(schedules=type(state.schedules)(nodes))
    message = (
        r"learning_rate is not a schedule, as its phases end at \[100.* which falls"
    )
    with pytest.raises(ValueError, match=message):
        oc.get_schedules(broken)
    host = jax.tree.map(np.asarray, broken.schedules["learning_rate"])
    with pytest.raises(ValueError, match=r"not a schedule, as its phases end at"):
        host(5)
    for count in (0, 5, 99, 100, 101, 149, 150, 151, 10_000):
        _, after = sgd().update(PARAMS, broken._replace(count=jnp.int32(count)))
        assert np.isfinite(optax.tree.get(after, "learning_rate")), count
    repaired = oc.set_schedules(broken, learning_rate=CURVE)
    assert oc.get_schedules(repaired)["learning_rate"] == CURVE


def test_a_sharded_population_keeps_its_sharding_and_its_program():
    mesh = Mesh(np.array(jax.devices()[:4]), ("m",))
    split = NamedSharding(mesh, PartitionSpec("m"))
    population = oc.stack([CURVE, CURVE * 0.5, CURVE * 0.25, CURVE * 0.1])
    states = jax.jit(jax.vmap(lambda schedule: sgd(schedule).init(PARAMS)))(
        jax.device_put(population, split)
    )
    states = jax.device_put(states, split)
    update: Any = jax.jit(jax.vmap(sgd().update, (None, 0)))
    _, states = update(PARAMS, states)
    _, states = update(PARAMS, states)
    programs = update._cache_size()
    edited = [oc.cooldown(CURVE * f, at_step=2, steps=5) for f in (1, 0.5, 0.25, 0.1)]
    states = oc.set_schedules(states, learning_rate=oc.stack(edited))
    for leaf in jax.tree.leaves(states.schedules):
        assert leaf.sharding.is_equivalent_to(split, leaf.ndim)
    _, states = update(PARAMS, states)
    assert update._cache_size() == programs
    expected = np.array([schedule(2) for schedule in edited])
    rates = np.asarray(states.applied["learning_rate"])
    np.testing.assert_array_max_ulp(rates, expected, 8)


def test_the_count_is_read_wherever_the_state_lies():
    tx = optax.chain(
        optax.clip(1.0), optax.masked(sgd(momentum=0.9), {"a": True, "b": False})
    )
    state = tx.init(PARAMS)
    for updates in range(3):
        assert oc.get_count(state) == updates
        assert type(oc.get_count(state)) is int
        _, state = tx.update(PARAMS, state)
    counts = jax.vmap(lambda rate: sgd(rate).init(PARAMS))(jnp.ones(3))
    np.testing.assert_array_equal(np.asarray(oc.get_count(counts)), [0, 0, 0])
    assert jax.jit(lambda state: oc.get_count(state) + 1)(state) == 4


@pytest.mark.parametrize("read", [oc.get_schedules, oc.set_schedules])
def test_a_tree_without_a_state_is_refused(read):
    state = optax.adam(0.1).init(PARAMS)
    with pytest.raises(ValueError, match=r"no state of inject_schedules.*init it"):
        read(state, **({} if read is oc.get_schedules else {"learning_rate": 0.1}))


def test_one_name_in_several_places_is_refused_with_their_paths():
    state = by_label(a=sgd(), b=sgd()).init(PARAMS)
    paths = r"learning_rate is scheduled in several places of this tree, at .*'a'.*'b'"
    with pytest.raises(ValueError, match=paths):
        oc.get_schedules(state)
    with pytest.raises(ValueError, match=paths):
        oc.set_schedules(state, learning_rate=0.1)
    with pytest.raises(KeyError, match="multiple values"):
        optax.tree.get(state, "learning_rate")
    found = optax.tree.get_all_with_path(state, "learning_rate")
    assert [value for _, value in found] == [np.float32(0.1)] * 2


def test_one_state_among_several_is_named_by_its_label_or_its_path():
    tx = by_label(a=sgd(momentum=0.9), b=sgd(0.2))
    state = tx.init(PARAMS)
    assert oc.get_schedules(state, "a")["learning_rate"] == CURVE
    assert oc.get_schedules(state, "b") == {"learning_rate": oc.constant(0.2, steps=1)}
    path = ".inner_states['b'].inner_state"
    assert oc.get_schedules(state, path) == oc.get_schedules(state, "b")
    # A name that is scheduled in one place needs no label.
    state = oc.set_schedules(state, momentum=0.0)
    state = oc.set_schedules(state, "a", learning_rate=0.7)
    state = oc.set_schedules(state, path, learning_rate=0.3)
    updates, state = tx.update(PARAMS, state, PARAMS)
    np.testing.assert_allclose(updates["a"], -0.7)
    np.testing.assert_allclose(updates["b"], -0.3)
    # Both were updated once.
    assert oc.get_count(state) == oc.get_count(state, "b") == 1
    for read in (oc.get_schedules, oc.get_count):
        with pytest.raises(
            ValueError, match=r"'c' is neither a label nor a path .*'a'"
        ):
            read(state, "c")
    with pytest.raises(ValueError, match=r"momentum is not scheduled in this state"):
        oc.set_schedules(state, "b", momentum=0.1)


def test_labels_may_be_numbers_and_a_label_may_hold_several_states():
    several = optax.chain(inject(optax.clip_by_global_norm, max_norm=9.0), sgd())
    tx = partition({0: several, 1: sgd(0.2)}, {"a": 0, "b": 1})
    state = oc.set_schedules(tx.init(PARAMS), 0, learning_rate=0.5, max_norm=1.0)
    assert set(oc.get_schedules(state, 0)) == {"max_norm", "learning_rate"}
    assert oc.get_schedules(state, 1)["learning_rate"](0) == np.float32(0.2)
    updates, _ = tx.update(PARAMS, state)
    np.testing.assert_allclose(updates["b"], -0.2)


def test_counts_that_differ_are_refused_with_their_places():
    state = by_label(a=sgd(), b=sgd()).init(PARAMS)
    part = state.inner_states["a"]
    later = part._replace(inner_state=part.inner_state._replace(count=jnp.int32(7)))
    state = state._replace(inner_states=state.inner_states | {"a": later})
    with pytest.raises(ValueError, match=r"7 at .*'a'.*, 0 at .*'b'.*get_count\("):
        oc.get_count(state)
    assert (oc.get_count(state, "a"), oc.get_count(state, "b")) == (7, 0)


def test_a_hyperparameter_may_have_any_name():
    def make(self, opt_state, where) -> Any:
        return optax.chain(optax.trace(self), optax.sgd(opt_state * where))

    tx: Any = oc.inject_schedules(make)(self=0.5, opt_state=CURVE, where=1.0)
    state = oc.set_schedules(tx.init(PARAMS), self=0.25, opt_state=0.1, where=2.0)
    assert set(oc.get_schedules(state)) == {"self", "opt_state", "where"}
    updates, _ = tx.update(PARAMS, state)
    np.testing.assert_allclose(updates["a"], -0.2, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        (
            "weight_decay",
            0.1,
            ValueError,
            "weight_decay is not scheduled .*, which kno",
        ),
        (
            "learning_rate",
            math.nan,
            ValueError,
            "learning_rate must be finite and at most .*, got nan",
        ),
        (
            "learning_rate",
            "fast",
            TypeError,
            "learning_rate must be a number, got 'fast",
        ),
        ("learning_rate", None, TypeError, "learning_rate must be a number, got None"),
        (
            "learning_rate",
            optax.constant_schedule(0.1),
            TypeError,
            "learning_rate must be a number or a schedule of optax_cosine, as no other",
        ),
        (
            "learning_rate",
            oc.stack([CURVE, CURVE]),
            ValueError,
            r"learning_rate must have the batch shape of the state, \(\), got \(2,\)",
        ),
        (
            "learning_rate",
            jnp.ones(2),
            ValueError,
            r"learning_rate .*\(2,\).*jax\.vmap",
        ),
    ],
)
def test_a_bad_edit_is_refused_by_name(name, value, error, message):
    state = optax.chain(sgd()).init(PARAMS)
    with pytest.raises(error, match=message):
        oc.set_schedules(state, **{name: value})


def test_one_schedule_for_a_population_is_refused_with_what_to_do():
    states = jax.vmap(lambda rate: sgd(rate).init(PARAMS))(jnp.array([0.1, 0.2]))
    message = r"batch shape of the state, \(2,\), got \(\): use stack, or .*jax\.vmap"
    with pytest.raises(ValueError, match=message):
        oc.set_schedules(states, learning_rate=CURVE)


def test_the_state_shows_its_schedules():
    state = sgd(momentum=0.9).init(PARAMS)
    shown = "ScheduleMap(learning_rate=cosine(0.1, 0.0, steps=100), momentum=constant("
    assert repr(state.schedules).startswith(shown)


def test_names_are_keys_of_the_tree():
    state = sgd().init(PARAMS)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state)]
    assert [path for path in paths if path.startswith(".schedules")] == [
        ".schedules['learning_rate'].integers",
        ".schedules['learning_rate'].floats",
        ".schedules['learning_rate'].after",
    ]
    assert ".applied['learning_rate']" in paths
