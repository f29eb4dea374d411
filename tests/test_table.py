"""The table: phases in order, boundaries, laps, and a program that does not grow."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from programs import kernels

import optax_cosine as oc
from optax_cosine import _schedule, _table

LARGEST = 2**31 - 1


def listed(cycles: int):
    return oc.cosine_restarts_schedule(1e-3, [100 + i for i in range(cycles)])


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    ("schedule", "more"),
    [
        (oc.cosine_annealing_schedule(1e-3, 1_000), 0),
        (oc.warmup_cosine_annealing_schedule(1e-3, 1_000, warmup_steps=10), 2),
        (oc.cosine_restarts_schedule(1e-3, 1_000), 3),
        (oc.join(oc.linear(0.0, 1e-3, steps=9), after="mirror"), 2),
        (listed(17), 2),
        (listed(1_000), 2),
    ],
    ids=["one", "warm-up", "repeat", "mirror", "17 cycles", "1000 cycles"],
)
def test_a_training_step_has_few_more_kernels_than_with_optax(schedule, more):
    theirs = optax.adamw(optax.cosine_decay_schedule(1e-3, 1_000))
    assert kernels(optax.adamw(schedule)) <= kernels(theirs) + more


def equations(jaxpr) -> int:
    nested = [
        getattr(value, "jaxpr", value)
        for equation in jaxpr.eqns
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")
        )
    ]
    inner = (equations(value) for value in nested if hasattr(value, "eqns"))
    return len(jaxpr.eqns) + sum(inner)


@pytest.mark.parametrize("cycles", [2, 3, 100, 100_000])
def test_a_program_of_restarts_has_at_most_150_equations(cycles):
    schedule = oc.cosine_restarts_schedule(1.0, 10, num_cycles=cycles)
    for count in (0, jnp.int32(0)):
        assert equations(jax.make_jaxpr(schedule)(count).jaxpr) <= 150


def test_a_program_of_one_phase_has_fewer():
    one, two = oc.linear(0.0, 1.0, steps=9), oc.cosine(1.0, 0.0, steps=9)
    sizes = [
        equations(jax.make_jaxpr(schedule)(jnp.int32(0)).jaxpr)
        for schedule in (one, two, oc.join(one, two))
    ]
    assert sizes[0] == sizes[1] < sizes[2] <= 150


def test_the_equations_of_repeats_and_mirrors_are_as_few():
    for after in ("repeat", "mirror"):
        schedule = oc.join(
            oc.linear(0.0, 1.0, steps=3), oc.cosine(1.0, 0.0, steps=9), after=after
        )
        assert equations(jax.make_jaxpr(schedule)(jnp.int32(0)).jaxpr) <= 150


def test_sixty_four_horizons_compile_once():
    compiled: Any = jax.jit(
        lambda steps: oc.warmup_cosine_annealing_schedule(
            1.0, steps, warmup_steps=steps // 8
        )(jnp.int32(9))
    )
    for steps in range(100, 164):
        compiled(steps)
    assert compiled._cache_size() == 1


def test_one_program_evaluates_every_table_of_as_many_phases():
    evaluate: Any = _schedule._evaluate
    evaluate.clear_cache()
    for steps in (10, 100):
        for after in ("hold", "repeat", "mirror"):
            oc.join(
                oc.linear(0.0, 0.2, steps=steps),
                oc.cosine(0.1, 0.0, steps=steps),
                after=after,
            )(jnp.int32(3))
    assert evaluate._cache_size() == 1


@pytest.mark.parametrize("cycles", [1_000, 100_000])
def test_every_restart_of_many_cycles_is_exact(cycles):
    schedule = oc.cosine_restarts_schedule(
        0.5, 3, num_cycles=cycles, cycle_steps_factor=1.00001, end_value=0.1
    )
    lengths = [max(1, round(3 * 1.00001**k)) for k in range(cycles)]
    starts = np.cumsum(lengths) - lengths
    assert (schedule(starts) == np.float32(0.5)).all()
    before = np.asarray(schedule(starts[1:] - 1))
    assert (before < 0.5).all()
    some = starts[:: cycles // 100]
    assert {schedule(int(start)) for start in some} == {np.float32(0.5)}
    assert (
        schedule(sum(lengths)) == schedule(jnp.int32(sum(lengths))) == np.float32(0.1)
    )


def test_searching_and_comparing_find_the_same_phases():
    lengths = np.random.default_rng(0).integers(1, 9, 300).tolist()
    schedule = oc.cosine_restarts_schedule(0.5, lengths, cycle_warmup_steps=1)
    counts = np.arange(sum(lengths) + 5)
    assert counts.size * 600 > _table._COMPARISONS
    np.testing.assert_array_equal(schedule(counts), jax.vmap(schedule)(counts))


def test_ten_thousand_phases_at_a_million_counts_need_little_memory():
    schedule = oc.cosine_restarts_schedule(0.5, 100, num_cycles=5_000)
    counts = jnp.arange(1_000_000)
    compiled: Any = jax.jit(schedule).lower(counts).compile()
    analysis: Any = compiled.memory_analysis()
    used = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    assert used + analysis.argument_size_in_bytes < 200_000_000
    assert (compiled(counts)[:500_000:100] == 0.5).all()


@pytest.mark.parametrize("steps", [7, 2**30 + 1, LARGEST])
def test_laps_are_counted_in_integers(steps):
    counts = np.array([0, 1, steps - 1, LARGEST - 1, LARGEST])
    repeated = oc.join(oc.linear(0.0, 1.0, steps=steps), after="repeat")
    truth = counts % steps / steps
    np.testing.assert_allclose(repeated(counts), truth, rtol=1e-6, atol=1e-30)
    mirrored = oc.join(oc.linear(0.0, 1.0, steps=steps), after="mirror")
    laps, gone = np.divmod(counts, steps)
    truth = np.where(laps % 2, steps - gone, gone) / steps
    np.testing.assert_allclose(mirrored(counts), truth, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose([mirrored(int(c)) for c in counts], truth, rtol=1e-7)


def test_empty_phases_are_never_found():
    schedule = oc.warmup_cosine_annealing_schedule(
        1.0, 10, warmup_steps=0, end_value=0.5
    )
    assert len(schedule.phases) == 3
    assert schedule(0) == schedule(jnp.int32(0)) == 1
    risen = oc.warmup_cosine_annealing_schedule(1.0, 10, warmup_steps=10)
    assert risen(10) == risen(jnp.int32(10)) == risen(99) == 1
    assert repr(risen) == "linear(0.0, 1.0, steps=10)"


def test_traced_lengths_past_the_largest_saturate():
    def build(steps):
        first, second = (
            oc.linear(0.0, 1.0, steps=steps),
            oc.linear(1.0, 2.0, steps=steps),
        )
        return oc.join(first, second)

    schedule = jax.jit(build)(2_000_000_000)
    assert schedule(jnp.int32(2_000_000_000)) == 1
    assert schedule(jnp.int32(LARGEST)) == 2


@pytest.mark.parametrize("steps", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("after", ["hold", "repeat", "mirror"])
def test_traced_lengths_out_of_range_never_give_nan(steps, after):
    @jax.jit
    def values(steps, count):
        parts = oc.cosine(1.0, 0.5, steps=steps), oc.linear(0.5, 1.0, steps=steps)
        return oc.join(*parts, after=after)(count)

    for count in (-1, 0, 1, 5, 100):
        assert 0.5 <= values(steps, jnp.float32(count)) <= 1
        slopes = jax.grad(values, (0, 1))(steps, jnp.float32(count))
        assert np.isfinite(slopes).all()


def test_a_part_of_almost_no_length_leaves_the_rest_in_order():
    warm = oc.warmup_cosine_annealing_schedule(1.0, 100, warmup_steps=0)
    schedule: Any = oc.join(oc.linear(0.0, 1.0, steps=1e-6), warm)
    assert min(phase.steps for phase in schedule.phases) == 0
    assert schedule.total_steps == 100
    mirrored = oc.join(oc.cosine(0.25, 0.5, steps=1e-6), after="mirror")
    assert mirrored(0) == mirrored(jnp.int32(0)) == 0.25


def test_rows_are_plain_numbers():
    schedule = oc.warmup_cosine_annealing_schedule(3e-4, 100, warmup_steps=10)
    assert [tuple(row) for row in schedule.phases] == [
        (10, "linear", 0.0, 3e-4, 1.0, 1.0),
        (0, "linear", 3e-4, 3e-4, 1.0, 1.0),
        (90, "cosine", 3e-4, 0.0, 1.0, 1.0),
    ]
