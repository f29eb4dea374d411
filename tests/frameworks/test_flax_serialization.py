"""Schedules in an optimizer state through `flax.serialization`, to the bit."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization

import optax_cosine as oc

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.usefixtures("standard_promotion"),
]

REPEATED = oc.cosine_restarts_schedule(0.3, 7, cycle_warmup_steps=2)
TWO = oc.join(oc.linear(0.1, 0.2, steps=3), oc.cosine(0.2, 0.05, steps=5))
MIRRORED = oc.join(TWO, after="mirror")
HELD = oc.warmup_cosine_annealing_schedule(
    0.1, 30, warmup_steps=4, hold_steps=3, end_value=0.01
)
# Of each kind a schedule that is saved, and a schedule of the same structure with other
# numbers and something else after its end, from which the other program was built.
KINDS: dict[str, tuple[Any, Any]] = {
    "one phase": (
        oc.cosine(0.3, 0.1, steps=9, exponent=3.0, time_exponent=1.5),
        oc.join(oc.linear(0.5, 0.7, steps=2), after="repeat"),
    ),
    "many phases": (
        oc.cosine_restarts_schedule(
            0.3, 3, num_cycles=50, cycle_steps_factor=1.1, peak_factor=0.9
        ),
        oc.join(*[oc.linear(0.1, 0.0, steps=2)] * 50, after="mirror"),
    ),
    "repeating": (REPEATED, TWO),
    "mirroring": (MIRRORED, oc.join(TWO / 3, after="repeat")),
    "read ahead": (oc.shift(HELD, 1), oc.stretch(HELD / 2, 0.7)),
    "stairs": (oc.staircase(HELD, 3), oc.staircase(REPEATED / 2, 7)),
    "restarts read ahead": (oc.shift(REPEATED, 1), oc.stretch(MIRRORED, 0.7)),
    "stretched": (oc.stretch(HELD, 2.75), oc.shift(HELD / 2, -4)),
    "spliced": (
        oc.splice(REPEATED, 5, oc.linear(0.1, 0.0, steps=9)),
        oc.splice(TWO, 9, oc.join(oc.cosine(1.0, 0.0, steps=2), after="repeat")),
    ),
    "cooled down": (
        oc.cooldown(HELD, at_step=11, steps=6, shape="1-sqrt"),
        oc.cooldown(HELD / 3, at_step=2, steps=1),
    ),
    "extended": (
        oc.extend(HELD, at_step=11, total_steps=71),
        oc.extend(HELD / 3, at_step=2, total_steps=32),
    ),
    "product": (
        REPEATED * oc.linear(1.0, 0.25, steps=60),
        MIRRORED * oc.join(oc.cosine(0.5, 0.25, steps=3), after="repeat"),
    ),
    "all of them": (
        oc.splice(oc.stretch(REPEATED * HELD, 1.5), 8, oc.staircase(HELD, 2)),
        oc.splice(oc.shift(MIRRORED * (HELD / 2), 2), 1, oc.staircase(TWO, 3)),
    ),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def params() -> dict[str, Any]:
    return {"w": jnp.ones((3, 2)), "b": jnp.zeros(2, jnp.bfloat16)}


def optimizer(schedule: Any) -> Any:
    adamw = oc.inject_schedules(optax.adamw)(schedule, weight_decay=schedule * 0.1)
    return optax.chain(optax.clip_by_global_norm(1.0), adamw)


def run(schedule: Any, opt_state: Any, updates: int) -> Any:
    gradients = jax.tree.map(jnp.ones_like, params())

    @jax.jit
    def update(opt_state):
        return optimizer(schedule).update(gradients, opt_state, params())[1]

    for _ in range(updates):
        opt_state = update(opt_state)
    return opt_state


def assert_same_bits(actual: Any, expected: Any) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@kinds
def test_the_two_of_a_kind_are_of_one_structure_and_not_alike(kind):
    saved, configured = KINDS[kind]
    assert jax.tree.structure(saved) == jax.tree.structure(configured)
    assert [saved(count) for count in range(40)] != [
        configured(count) for count in range(40)
    ]


@kinds
def test_the_saved_schedules_win_over_those_of_the_program_to_the_bit(kind):
    schedule, configured = KINDS[kind]
    saved = optimizer(schedule).init(params())
    target = optimizer(configured).init(params())
    restored = serialization.from_bytes(target, serialization.to_bytes(saved))
    assert_same_bits(restored, saved)
    curves = {"learning_rate": schedule, "weight_decay": schedule * 0.1}
    assert oc.get_schedules(restored) == curves


TABLES = [kind for kind, pair in KINDS.items() if hasattr(pair[0], "phases")]


@pytest.mark.parametrize("kind", TABLES)
def test_every_table_is_restored_into_the_program_of_another_one(kind):
    saved = optimizer(KINDS[kind][0]).init(params())
    target = jax.eval_shape(optimizer(HELD).init, params())
    restored = serialization.from_bytes(target, serialization.to_bytes(saved))
    assert_same_bits(restored, saved)


def test_a_restored_run_goes_on_as_if_it_had_never_stopped():
    schedule, configured = KINDS["product"]
    saved = run(schedule, optimizer(schedule).init(params()), 3)
    data = serialization.to_bytes(saved)
    restored = serialization.from_bytes(optimizer(configured).init(params()), data)
    assert_same_bits(run(configured, restored, 3), run(schedule, saved, 3))


def test_a_target_needs_shapes_alone():
    schedule, configured = KINDS["spliced"]
    saved = optimizer(schedule).init(params())
    target = jax.eval_shape(optimizer(configured).init, params())
    assert_same_bits(
        serialization.from_bytes(target, serialization.to_bytes(saved)), saved
    )


def test_wrappers_of_optax_are_saved_with_the_schedules_in_them():
    tx = optax.MultiSteps(optax.apply_if_finite(optimizer(REPEATED), 2), 2)
    saved = tx.init(params())
    edited = oc.set_schedules(saved, learning_rate=MIRRORED)
    restored = serialization.from_bytes(saved, serialization.to_bytes(edited))
    assert_same_bits(restored, edited)
    assert oc.get_schedules(restored)["learning_rate"] == MIRRORED


def test_a_state_dict_names_what_it_holds_and_restores_it():
    saved = optimizer(HELD * REPEATED).init(params())
    state_dict = serialization.to_state_dict(saved)
    schedules = state_dict["1"]["schedules"]
    assert set(schedules) == {"learning_rate", "weight_decay"}
    assert set(schedules["learning_rate"]) == {"first", "second"}
    table = schedules["learning_rate"]["first"]
    assert set(table) == {"integers", "floats", "after"}
    np.testing.assert_array_equal(table["integers"][0], [4, 7, 30])
    target = optimizer(MIRRORED * MIRRORED).init(params())
    assert_same_bits(serialization.from_state_dict(target, state_dict), saved)


def test_a_schedule_by_itself_is_saved_and_restored_once_an_optimizer_was_made():
    optimizer(HELD).init(params())
    for schedule, configured in KINDS.values():
        data = serialization.to_bytes(schedule)
        assert serialization.from_bytes(configured, data) == schedule


@pytest.mark.parametrize(
    ("saved", "configured"), [("spliced", "one phase"), ("one phase", "product")]
)
def test_schedules_of_another_structure_are_refused_and_then_restored(
    saved, configured
):
    state = optimizer(KINDS[saved][0]).init(params())
    target = optimizer(KINDS[configured][0]).init(params())
    with pytest.raises(
        ValueError, match=r"schedules have another structure .* with set_schedules"
    ):
        serialization.from_bytes(target, serialization.to_bytes(state))
    other = KINDS[saved][1]  # As the sentence says: of the saved structure.
    target = oc.set_schedules(target, learning_rate=other, weight_decay=other)
    restored = serialization.from_bytes(target, serialization.to_bytes(state))
    assert_same_bits(restored, state)


def test_hyperparameters_that_were_not_saved_are_refused():
    tx = oc.inject_schedules(optax.adamw)
    data = serialization.to_bytes(tx(HELD).init(params()))
    target = tx(HELD, weight_decay=0.1).init(params())
    with pytest.raises(ValueError, match="weight_decay"):
        serialization.from_bytes(target, data)


LATE = """
import jax, jax.numpy as jnp, optax, optax_cosine as oc
tx = oc.inject_schedules(optax.sgd)(oc.cosine(0.3, 0.1, steps=9))
opt_state = tx.init(jnp.ones(3))
from flax import serialization
target = jax.eval_shape(tx.init, jnp.ones(3))
restored = serialization.from_bytes(target, serialization.to_bytes(opt_state))
assert oc.get_schedules(restored) == oc.get_schedules(opt_state)
"""


def test_flax_hears_of_schedules_whenever_a_state_is_made_after_its_import():
    job = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, check=False
    )
    assert job.returncode == 0, job.stderr
