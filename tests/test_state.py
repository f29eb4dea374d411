"""Schedules read and edited in the state: wherever it lies, and with what errors."""

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from programs import inject

import optax_cosine as oc

pytestmark = pytest.mark.usefixtures("standard_promotion")

CURVE = oc.cosine_annealing_schedule(0.1, 100)
PARAMS = {"a": jnp.ones(2), "b": jnp.ones(3)}


def sgd(rate: Any = CURVE, **more: Any) -> Any:
    return inject(optax.sgd, learning_rate=rate, **more)


def by_label(a: Any, b: Any) -> Any:
    return optax.partition({"a": a, "b": b}, {"a": "a", "b": "b"})


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

    # As the message says: a part of the tree at a time.
    part = oc.set_schedules(state.inner_states["a"], learning_rate=0.7)
    state = state._replace(inner_states=state.inner_states | {"a": part})
    tx = by_label(a=sgd(), b=sgd())
    updates, _ = tx.update(PARAMS, state, PARAMS)
    np.testing.assert_allclose(updates["a"], -0.7)
    np.testing.assert_allclose(updates["b"], -0.1)


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
