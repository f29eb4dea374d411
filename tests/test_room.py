"""Room in the tables of a state: who has how much, and what is dropped when."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from programs import inject

import optax_cosine as oc

pytestmark = pytest.mark.usefixtures("standard_promotion")

CURVE = oc.warmup_cosine_annealing_schedule(0.1, 100, warmup_steps=10)


def start(rate: Any) -> Any:
    return inject(optax.sgd, learning_rate=rate).init(jnp.ones(2))


def capacity(state: Any) -> int:
    return state.schedules.nodes["learning_rate"].integers.shape[-1]


def set_rate(state: Any, rate: Any, count: int = 0) -> Any:
    state = state._replace(count=jnp.full_like(state.count, count))
    return oc.set_schedules(state, learning_rate=rate)


def rate_of(state: Any) -> oc.Schedule:
    return oc.get_schedules(state)["learning_rate"]


def steps_up(rows: int) -> oc.Schedule:
    """Rows that differ, of one step each."""
    return oc.join(*(oc.linear(i, i + 0.5, steps=1) for i in range(rows)))


@pytest.mark.parametrize(
    ("rows", "expected"), [(1, 8), (4, 8), (5, 16), (12, 16), (13, 24), (100, 104)]
)
def test_a_capacity_is_a_multiple_of_eight_that_leaves_four_rows_free(rows, expected):
    state = start(steps_up(rows))
    assert capacity(state) == expected
    assert rate_of(state) == steps_up(rows)


def test_a_hyperparameter_takes_at_most_512_bytes():
    with_one = inject(optax.sgd, learning_rate=CURVE).init(jnp.ones(2))
    more = inject(optax.sgd, learning_rate=CURVE, momentum=0.9).init(jnp.ones(2))
    sizes = [
        sum(leaf.nbytes for leaf in jax.tree.leaves((x.applied, x.schedules)))
        for x in (with_one, more)
    ]
    assert sizes[0] <= 512
    assert sizes[1] - sizes[0] <= 512


def test_rows_that_are_over_make_room_oldest_first():
    state = set_rate(start(0.1), steps_up(10), count=3)
    assert capacity(state) == 8
    read = rate_of(state)
    # Two rows had to go: from row 2 on, which starts earlier now, nothing has changed.
    assert read.phases[0].steps == 3
    assert read.phases[1:] == steps_up(10).phases[3:]
    assert [read(i) for i in range(2, 12)] == [steps_up(10)(i) for i in range(2, 12)]
    # What was dropped is over: before, the first value of row 2 holds.
    assert read(0) == read(2) == 2.0


def test_the_row_that_plays_is_kept_and_the_capacity_doubles():
    # At count 1 row 0 is over, but two rows would have to go.
    state = set_rate(start(0.1), steps_up(10), count=1)
    assert capacity(state) == 16
    assert rate_of(state).phases[1:] == steps_up(10).phases[2:]
    assert capacity(set_rate(start(0.1), steps_up(20), count=0)) == 32
    # The capacity never shrinks, so that the step is not compiled again.
    assert capacity(set_rate(state, 0.1)) == 16


def test_the_last_row_of_a_run_that_is_over_is_kept():
    state = set_rate(start(0.1), steps_up(10), count=1_000)
    assert capacity(state) == 8
    assert rate_of(state)(1_000) == steps_up(10)(1_000) == 9.5


def test_no_row_of_an_endless_schedule_is_dropped():
    endless = oc.join(*(oc.linear(i, 0.0, steps=1) for i in range(10)), after="repeat")
    state = set_rate(start(0.1), endless, count=1_003)
    assert capacity(state) == 16
    assert rate_of(state) == endless


@pytest.mark.thorough
def test_hundreds_of_edits_keep_the_shape():
    state: Any = start(CURVE)
    for count in range(0, 3_000, 10):
        state = state._replace(count=jnp.int32(count))
        longer = oc.extend(rate_of(state), at_step=count, total_steps=count + 90)
        state = oc.set_schedules(state, learning_rate=longer)
        if count % 50 == 0:
            edited = oc.rewarm(
                longer,
                at_step=count + 5,
                peak_value=0.1,
                warmup_steps=3,
                decay_steps=60,
            )
            state = oc.set_schedules(state, learning_rate=edited)
        assert rate_of(state)(count) == longer(count)
    assert capacity(state) == 8


def test_each_member_of_a_population_drops_rows_of_its_own():
    members = [steps_up(10), steps_up(3), oc.constant(0.5, steps=1), CURVE]
    state = jax.vmap(start)(jnp.full(4, 0.1))
    state = state._replace(count=jnp.array([3, 1, 0, 0]))
    state = oc.set_schedules(state, learning_rate=oc.stack(members))
    assert capacity(state) == 8
    stacked = rate_of(state)
    read = [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(4)]
    assert read[0].phases[1:] == steps_up(10).phases[3:]
    assert read[1:] == members[1:]
    assert stacked == oc.stack(read)


def test_stacks_are_equal_whatever_their_room():
    members = oc.stack([CURVE, CURVE * 2])
    state = jax.vmap(start)(members)
    inside = state.schedules["learning_rate"]
    assert inside.node.integers.shape[-1] == 8
    assert inside == members
    assert hash(inside) == hash(members)
    assert inside != oc.stack([CURVE, CURVE * 3])


def test_within_jit_an_edit_changes_the_tree():
    # JAX traces what follows the last row, so nobody knows that the table ends.
    @jax.jit
    def edited(state, count):
        return oc.set_schedules(
            state, learning_rate=oc.cooldown(rate_of(state), at_step=count, steps=5)
        )

    state = edited(start(CURVE), 50)
    expected = oc.cooldown(CURVE, at_step=50, steps=5)
    for count in (0, 10, 49, 50, 52, 55, 90):
        np.testing.assert_array_max_ulp(rate_of(state)(count), expected(count), 8)
    assert jax.tree.structure(state) != jax.tree.structure(start(CURVE))


def test_what_is_not_a_table_has_no_room():
    stairs = oc.staircase(CURVE, 5)
    state = set_rate(start(0.1), stairs)
    assert rate_of(state) == stairs
    assert capacity(set_rate(state, CURVE)) == 8
    np.testing.assert_array_equal(rate_of(set_rate(state, CURVE))(7), CURVE(7))
