"""States that a checkpoint tool changed: other numbers of rows, half precision."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from programs import inject, table_of
from sweeps import sweep

import optax_cosine as oc

pytestmark = pytest.mark.usefixtures("standard_promotion")

WARMED = oc.warmup_cosine_annealing_schedule(0.1, 60, warmup_steps=5, end_value=0.01)
ENDLESS = oc.cosine_restarts_schedule(0.1, 7, cycle_warmup_steps=2)
SCHEDULES = {
    "a number": oc.constant(0.1, steps=1),
    "held": WARMED,
    "repeated": ENDLESS,
    "mirrored": oc.join(oc.cosine(0.1, 0.01, steps=9), after="mirror"),
    "bent": oc.cosine(0.1, 0.01, steps=33, exponent=1.7, time_exponent=0.6),
    "bent repeated": oc.join(
        oc.linear(0.0, 0.1, steps=7.3), oc.cosine(0.1, 0.0, steps=20, exponent=0.5)
    ),
    "product": ENDLESS * WARMED,
    "staircase": oc.staircase(WARMED, 3),
    "spliced": oc.splice(ENDLESS, 5.9999, oc.linear(0.1, 0.0, steps=9.9999)),
    "edited": oc.rewarm(
        oc.cooldown(WARMED, at_step=30, steps=20),
        at_step=40,
        peak_value=0.2,
        warmup_steps=4,
        decay_steps=30,
    ),
}
COUNTS = np.array([*range(90), 1_000, 10**6, 2**31 - 1], np.int32)
PARAMS = {"w": jnp.ones(2)}
schedules = sweep("name", SCHEDULES, ["held", "mirrored", "repeated"])


def sgd(schedule: Any = WARMED) -> Any:
    return inject(optax.sgd, learning_rate=schedule)


def state_of(schedule: Any) -> Any:
    return sgd(schedule).init(PARAMS)


def rates(state: Any) -> np.ndarray:
    """What updates after `COUNTS` updates apply, computed on the device."""
    return np.asarray(state.schedules["learning_rate"](jnp.asarray(COUNTS)))


def learning_rate(state: Any) -> oc.Schedule:
    return oc.get_schedules(state)["learning_rate"]


def resized(tree: Any, rows: int) -> Any:
    """With `rows` rows in each table: filled up with zeros, or cut off."""

    def resize(leaf: Any) -> Any:
        if leaf.ndim < 2:
            return leaf
        filled = jnp.pad(leaf, [(0, 0), (0, max(rows - leaf.shape[-1], 0))])
        return filled[:, :rows]

    return jax.tree.map(resize, tree)


@schedules
def test_rows_of_zeros_give_no_nan_and_are_refused_where_they_are_read(name):
    state = state_of(SCHEDULES[name])
    state = state._replace(schedules=resized(state.schedules, 24))
    assert np.isfinite(rates(state)).all()
    with pytest.raises(
        ValueError,
        match=r"learning_rate is not a schedule, as its phases end at \[.*, 0.0\], "
        r"which falls.*write a schedule with set_schedules, or restore all",
    ):
        oc.get_schedules(state)


@schedules
def test_rows_that_were_cut_off_give_no_nan(name):
    state = state_of(SCHEDULES[name])
    cut = state._replace(schedules=resized(state.schedules, 2))
    assert np.isfinite(rates(cut)).all()


@schedules
@pytest.mark.parametrize("rows", [2, 24])
def test_set_schedules_repairs_a_state_with_other_numbers_of_rows(name, rows):
    schedule = SCHEDULES[name]
    state = state_of(schedule)
    state = state._replace(schedules=resized(state.schedules, rows))
    repaired = oc.set_schedules(state, learning_rate=schedule)
    assert learning_rate(repaired) == schedule
    # Another number of rows is another program: a rounding of the rate of 0.1.
    np.testing.assert_allclose(rates(repaired), rates(state_of(schedule)), atol=1e-9)


def halved(tree: Any, dtype: Any) -> Any:
    """As a tool writes it that saves every float in half precision."""
    return jax.tree.map(
        lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


dtypes = sweep("dtype", [jnp.float16, jnp.bfloat16], [jnp.bfloat16])
# Numbers that float16 does not hold.
LARGE = {
    "a large number": oc.constant(1e6, steps=1),
    "a large exponent": oc.cosine(0.1, 0.0, steps=50, exponent=1e6),
    "a large exponent of time": oc.linear(0.1, 0.0, steps=50, time_exponent=1e6),
    "a small exponent": oc.cosine(0.1, 0.0, steps=50, exponent=1e-9),
    "the largest number": oc.linear(1.7e38, -1.7e38, steps=50),
}


@dtypes
def test_updates_of_a_state_in_half_precision_are_computed_in_float32(dtype):
    state = halved(state_of(WARMED)._replace(count=jnp.int32(7)), dtype)
    updates, updated = jax.jit(sgd().update)(PARAMS, state)
    assert updates["w"].dtype == np.float32
    np.testing.assert_allclose(updates["w"], -learning_rate(state)(7), rtol=1e-6)
    before = [x.dtype for x in jax.tree.leaves(state)]
    assert [x.dtype for x in jax.tree.leaves(updated)] == before


@dtypes
@sweep("name", [*SCHEDULES, *LARGE], ["held", "a large exponent"])
def test_a_schedule_in_half_precision_is_read_in_float32(name, dtype):
    state = halved(state_of((SCHEDULES | LARGE)[name]), dtype)
    read = learning_rate(state)
    assert {x.dtype for x in jax.tree.leaves(read)} == {np.dtype("f4"), np.dtype("i4")}
    expected = np.array([read(count) for count in COUNTS.tolist()])
    assert np.isfinite(expected).all()
    # Values between two ends are exact to some roundings of the larger end, 0.1.
    np.testing.assert_allclose(rates(state), expected, rtol=2e-6, atol=2e-7)


@dtypes
@pytest.mark.parametrize("name", [*SCHEDULES, *LARGE])
def test_json_takes_a_schedule_in_half_precision(name, dtype):
    state = halved(state_of((SCHEDULES | LARGE)[name]), dtype)
    written = json.dumps(state.schedules["learning_rate"].to_dict())
    assert oc.Schedule.from_dict(json.loads(written)) == learning_rate(state)


@dtypes
@schedules
def test_set_schedules_writes_float32_into_a_state_in_half_precision(name, dtype):
    state = halved(state_of(WARMED), dtype)
    repaired = oc.set_schedules(state, learning_rate=SCHEDULES[name])
    assert learning_rate(repaired) == SCHEDULES[name]
    expected = rates(state_of(SCHEDULES[name]))
    np.testing.assert_array_equal(rates(repaired), expected)
    dtypes = [x.dtype for x in jax.tree.leaves(repaired)]
    assert dtypes == [x.dtype for x in jax.tree.leaves(state_of(SCHEDULES[name]))]


def test_an_infinite_number_in_half_precision_is_the_largest_on_the_host_too():
    with np.errstate(over="ignore"):
        half = jax.tree.map(
            lambda x: x.astype(np.float16) if x.dtype == np.float32 else x,
            oc.constant(1e5, steps=5),
        )
    assert half(0) == half(jnp.int32(0)) == 65_504


@pytest.mark.parametrize("column", [5, 6])
def test_an_exponent_of_zero_gives_no_nan(column):
    schedule = oc.cosine(0.1, 0.2, steps=5)
    table = table_of(schedule)
    floats = jnp.asarray(table.floats).at[column].set(0.0)
    leaves = [jnp.asarray(table.integers), floats, jnp.asarray(table.after)]
    zeroed: Any = jax.tree.unflatten(jax.tree.structure(schedule), leaves)
    for count in (-1, 0, 2, 5, 9):
        assert np.isfinite(zeroed(jnp.int32(count)))
