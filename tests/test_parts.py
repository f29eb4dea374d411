"""Parts, joined and stacked."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_cosine as oc

RISE, FALL = oc.linear(0.0, 1.0, steps=4), oc.cosine(1.0, 0.0, steps=6)


def test_parts_melt_into_one_table_however_they_are_grouped():
    flat: Any = oc.join(RISE, FALL, RISE)
    assert oc.join(oc.join(RISE, FALL), RISE) == flat
    assert oc.join(RISE, oc.join(FALL, RISE)) == flat
    assert [phase.steps for phase in flat.phases] == [4, 6, 4]
    assert oc.join(FALL) == FALL


def test_a_named_curve_is_the_join_of_its_parts():
    schedule = oc.warmup_cosine_annealing_schedule(
        3e-4, 1_000, warmup_steps=100, hold_steps=50, end_value=3e-5
    )
    assert schedule == oc.join(
        oc.linear(0.0, 3e-4, steps=100),
        oc.constant(3e-4, steps=50),
        oc.cosine(3e-4, 3e-5, steps=850),
    )


def test_a_schedule_without_end_may_stand_last():
    schedule = oc.join(RISE, oc.cosine_restarts_schedule(1.0, 6), after="hold")
    counts = np.arange(40)
    again = [FALL((count - 4) % 6) for count in range(4, 40)]
    expected = [*[RISE(count) for count in range(4)], *again]
    np.testing.assert_allclose(schedule(counts), expected, rtol=1e-6, atol=1e-7)
    assert [schedule(int(count)) for count in counts] == expected


def test_what_is_no_table_joins_too():
    product = FALL * FALL
    schedule = oc.join(RISE, product, FALL)
    assert [schedule(count) for count in (0, 4, 10, 16)] == [0, 1, 1, 0]
    assert schedule.total_steps == 16


def test_fractional_lengths_add_up_exactly():
    thirds = oc.join(*[oc.linear(0.0, 1.0, steps=1 / 3)] * 3)
    assert thirds.total_steps == 1
    assert thirds(1) == thirds(jnp.int32(1)) == 1


@pytest.mark.parametrize("after", ["hold", "repeat", "mirror"])
def test_what_follows_the_end_is_a_number_of_the_schedule(after):
    held, folded = oc.join(RISE, FALL), oc.join(RISE, FALL, after=after)
    assert jax.tree.structure(held) == jax.tree.structure(folded)
    past = {"hold": 0.0, "repeat": 0.25, "mirror": FALL(5)}
    assert folded(11) == past[after]
    np.testing.assert_allclose(folded(jnp.int32(11)), past[after], rtol=1e-6)


def test_a_schedule_that_is_an_argument_may_be_joined_and_repeated():
    joined = jax.jit(lambda s: oc.join(RISE, s)(jnp.arange(12)))(FALL)
    np.testing.assert_allclose(joined, oc.join(RISE, FALL)(np.arange(12)), rtol=1e-6)
    endless = jax.jit(lambda s: oc.join(RISE, s)(jnp.arange(30)))(
        oc.join(FALL, after="repeat")
    )
    expected = oc.join(RISE, oc.join(FALL, after="repeat"))(np.arange(30))
    np.testing.assert_allclose(endless, expected, rtol=1e-6, atol=1e-7)


def test_schedules_of_all_kinds_of_table_are_one_population():
    kinds = [
        oc.cosine_annealing_schedule(0.1, 50),
        oc.warmup_stable_decay_schedule(0.2, 50, warmup_steps=5, decay_steps=10),
        oc.cosine_restarts_schedule(0.3, [9, 11, 7, 20]),
        oc.cosine_restarts_schedule(0.4, 10),
        oc.join(RISE, FALL, after="mirror"),
    ]
    kinds = [kinds[i % 5] * (1 + i) for i in range(64)]
    population = oc.stack(kinds)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(population))
    counts = jnp.arange(-2, 70)
    values = jax.jit(jax.vmap(lambda schedule: schedule(counts)))(population)
    for kind, row in zip(kinds, values, strict=True):
        np.testing.assert_array_max_ulp(np.asarray(row), np.asarray(kind(counts)), 2)
    first = jax.tree.map(lambda leaf: leaf[1], population)
    assert [first(count) for count in (0, 5, 50)] == [0, np.float32(0.4), 0]


def test_combinations_of_one_kind_stack():
    schedules = [oc.splice(RISE, 2, FALL * x) for x in (1.0, 0.5)]
    schedules[1] = oc.splice(oc.join(RISE, FALL), 3, FALL)
    values = jax.vmap(lambda schedule: schedule(3))(oc.stack(schedules))
    np.testing.assert_allclose(values, [s(3) for s in schedules], rtol=1e-6)


def test_traced_schedules_stack():
    def build(peaks):
        return oc.stack([oc.linear(0.0, peak, steps=4) for peak in peaks])

    population = jax.jit(build)([1.0, 2.0])
    values = jax.vmap(lambda schedule: schedule(2))(population)
    np.testing.assert_allclose(values, [0.5, 1.0])


def test_schedules_of_two_dtypes_meet_under_x64(x64):
    narrow = oc.cosine(np.float32(0.1), np.float32(0.0), steps=10)
    wide = oc.cosine(0.1, 0.0, steps=10)
    for schedule in (narrow * wide, oc.join(narrow, wide), oc.splice(wide, 3, narrow)):
        assert schedule(jnp.int32(4)).dtype == schedule(4).dtype == np.float64
    assert oc.stack([narrow, wide]).init_values.dtype == np.float64
