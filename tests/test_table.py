"""The table: rows in order, boundaries, laps, and a program that does not grow."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from programs import kernels, padded, table_of
from sweeps import sweep

import optax_cosine as oc
from optax_cosine import _lookup, _schedule

LARGEST = 2**31 - 1
WARMUP = oc.warmup_cosine_annealing_schedule(1e-3, 1_000, warmup_steps=10)


def listed(cycles: int):
    return oc.cosine_restarts_schedule(1e-3, [100 + i for i in range(cycles)])


CLOSED_OVER = {
    "cosine": (oc.cosine_annealing_schedule(1e-3, 1_000), 0),
    "warm-up": (WARMUP, 0),
    "stable": (
        oc.warmup_stable_decay_schedule(1e-3, 1_000, warmup_steps=9, decay_steps=99),
        0,
    ),
    "one cycle": (oc.cosine_one_cycle_schedule(1e-3, 1_000), 0),
    "8 rows": (listed(8), 0),
    "read ahead": (oc.shift(WARMUP, 1), 0),
    "extended": (oc.extend(WARMUP, at_step=50, total_steps=2_000), 0),
    "cooled down": (oc.cooldown(WARMUP, at_step=500, steps=100), 0),
    "product": (WARMUP * oc.cosine_annealing_schedule(1.0, 500), 0),
    "repeat": (oc.cosine_restarts_schedule(1e-3, 1_000), 1),
    "mirror": (oc.join(oc.linear(0.0, 1e-3, steps=9), after="mirror"), 1),
    "17 cycles": (listed(17), 1),
    "1,000 cycles": (listed(1_000), 1),
    "bent": (oc.cosine(1e-3, 0.0, steps=1_000, exponent=2.0), 1),
}


@pytest.mark.usefixtures("standard_promotion")
@sweep("name", CLOSED_OVER, [*CLOSED_OVER][::4])
def test_a_training_step_has_as_many_kernels_as_with_optax_or_one_more(name):
    schedule, more = CLOSED_OVER[name]
    theirs = optax.adamw(optax.cosine_decay_schedule(1e-3, 1_000))
    assert kernels(optax.adamw(schedule)) <= kernels(theirs) + more


def equations(jaxpr: Any) -> int:
    """All equations but calls of programs, whose equations count instead."""
    return sum(sum(map(equations, inner(one))) or 1 for one in jaxpr.eqns)


def inner(equation: Any) -> list[Any]:
    values = jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")
    )
    programs = (getattr(value, "jaxpr", value) for value in values)
    return [program for program in programs if hasattr(program, "eqns")]


def size(schedule: oc.Schedule, *, argument: bool) -> int:
    count = jnp.int32(0)
    if argument:
        return equations(jax.make_jaxpr(lambda s, c: s(c))(schedule, count).jaxpr)
    return equations(jax.make_jaxpr(schedule)(count).jaxpr)


def test_a_program_does_not_grow_with_its_rows():
    # Up to 1,000 cycles the row is found by comparisons, beyond in a loop.
    sizes = {size(listed(cycles), argument=True) for cycles in (9, 100, 1_000)}
    assert len(sizes) == 1
    assert len({size(listed(n), argument=True) for n in (3_000, 10_000)}) == 1
    # Up to 8 rows, each row adds the same comparison.
    few = [size(padded(WARMUP, rows), argument=True) for rows in range(4, 9)]
    assert len(set(np.diff(few).tolist())) == 1
    assert few[-1] <= 2 * sizes.pop()
    # Few known rows are chosen by selects; from 33 on they are searched.
    known = {size(listed(cycles), argument=False) for cycles in (33, 100, 1_000)}
    assert len(known) == 1


@pytest.mark.usefixtures("standard_promotion")
def test_a_known_schedule_is_a_program_of_the_size_of_optaxs():
    theirs: Any = optax.cosine_decay_schedule(1e-3, 1_000)
    peer = equations(jax.make_jaxpr(theirs)(jnp.int32(0)).jaxpr)
    ours = size(oc.cosine_annealing_schedule(1e-3, 1_000), argument=False)
    assert ours <= 3 * peer
    assert 3 * ours <= size(oc.cosine_annealing_schedule(1e-3, 1_000), argument=True)


def test_what_is_known_is_not_computed():
    text = str(jax.make_jaxpr(oc.cosine_annealing_schedule(1e-3, 9))(jnp.int32(0)))
    for absent in ("exp", "log", "gather", "div", "cos "):
        assert f"= {absent}" not in text
    assert text.count("= sin") == 1


def test_an_edit_of_an_argument_adds_no_equations():
    edited = WARMUP
    for k in range(1, 21):
        edited = oc.extend(edited, at_step=k, total_steps=1_000 + k)
    rows = len(edited.phases)
    assert size(edited, argument=True) == size(padded(WARMUP, rows), argument=True)
    assert len(jax.tree.leaves(edited)) == 3


def ulps_of_a_million(values: np.ndarray) -> np.ndarray:
    """Errors of a cosine from 1 to 0, in units of the last place, against 64 bits.

    From the nearer end double precision is exact far below the last place of float32.
    """
    counts = np.arange(1_000_000)
    near = np.minimum(counts, 1_000_000 - counts)
    weight = np.sin(near * (np.pi / 2 / 1_000_000)) ** 2
    truth = np.where(counts <= 500_000, 1 - weight, weight)
    return np.abs(values[:-1] - truth) / np.spacing(truth.astype(np.float32))


def test_all_counts_of_a_million_steps_are_within_five_units():
    schedule = oc.cosine_annealing_schedule(1.0, 1_000_000)
    counts = jnp.arange(1_000_001, dtype=jnp.int32)
    for program in (jax.jit(schedule), lambda counts: schedule(counts)):
        values = np.asarray(program(counts))
        assert ulps_of_a_million(values).max() <= 5
        assert (np.diff(values) <= 0).all()
        assert (values[0], values[-1]) == (1, 0)


@sweep(
    "steps",
    [LARGEST - 64, LARGEST, 2**30 + 1, 389_094_753, 1_323_219_590, 2**24 + 1],
    [LARGEST, 389_094_753],
)
@pytest.mark.parametrize("ends", [(1.0, 0.1), (0.1, 1.0)])
def test_the_halves_of_a_long_row_meet_without_a_step_back(steps, ends):
    # Integers round to other floats on the two sides of the middle.
    counts = np.arange(steps // 2 - 400, steps // 2 + 400, dtype=np.int32)
    schedule = oc.cosine(*ends, steps=steps)
    apply = jax.jit(lambda schedule, counts: schedule(counts))
    for values in (jax.jit(schedule)(counts), apply(schedule, counts)):
        rises: Any = np.diff(np.asarray(values))
        assert ((rises >= 0) if ends[0] < ends[1] else (rises <= 0)).all()


@pytest.mark.parametrize("schedule", [oc.cosine, oc.linear])
def test_the_derivative_in_the_very_middle_is_that_of_the_curve(schedule):
    slope = jax.grad(schedule(0.0, 1.0, steps=10))(5.0)
    expected = np.pi / 2 if schedule is oc.cosine else 1
    np.testing.assert_allclose(slope, expected / 10, rtol=1e-6)


def test_stretches_not_in_lowest_terms_are_exact():
    schedule = oc.cosine_restarts_schedule(1.0, 121, num_cycles=4)
    shorter = oc.stretch(schedule, 55 / 121)
    counts = np.arange(0, 221)
    expected = [shorter(int(count)) for count in counts]
    assert [shorter(count) for count in (0, 55, 110, 165, 220)] == [1, 1, 1, 1, 0]
    for values in (shorter(counts), jax.jit(shorter)(counts)):
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-7)


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
    evaluate: Any = _schedule._evaluate_jitted
    evaluate.clear_cache()
    for steps in (10, 100):
        for after in ("hold", "repeat", "mirror"):
            oc.join(
                oc.linear(0.0, 0.2, steps=steps),
                oc.cosine(0.1, 0.0, steps=steps),
                after=after,
            )(jnp.int32(3))
    assert evaluate._cache_size() == 1


@sweep("cycles", [1_000, 100_000], [1_000])
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
    assert counts.size * 600 > _lookup._MAX_COMPARISONS
    np.testing.assert_array_equal(schedule(counts), jax.vmap(schedule)(counts))


@pytest.mark.thorough
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
    assert table_of(schedule).integers.shape == (4, 3)
    assert len(schedule.phases) == 1
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


@functools.partial(jax.jit, static_argnames="after")
@functools.partial(jax.value_and_grad, argnums=(0, 1))
def value_and_slopes(steps, count, after):
    parts = oc.cosine(1.0, 0.5, steps=steps), oc.linear(0.5, 1.0, steps=steps)
    return oc.join(*parts, after=after)(count)


@pytest.mark.parametrize("steps", [0.0, -1.0, math.nan, math.inf])
@sweep("after", ["hold", "repeat", "mirror"], ["mirror"])
def test_traced_lengths_out_of_range_never_give_nan(steps, after):
    for count in (-1, 0, 1, 5, 100):
        value, slopes = value_and_slopes(steps, jnp.float32(count), after=after)
        assert 0.5 <= value <= 1
        assert np.isfinite(slopes).all()


def test_a_part_of_almost_no_length_leaves_the_rest_in_order():
    warm = oc.warmup_cosine_annealing_schedule(1.0, 100, warmup_steps=0)
    schedule: Any = oc.join(oc.linear(0.0, 1.0, steps=1e-6), warm)
    assert min(phase.steps for phase in schedule.phases) == 1e-6
    np.testing.assert_allclose(schedule.total_steps, 100.000001, rtol=1e-9)
    mirrored = oc.join(oc.cosine(0.25, 0.5, steps=1e-6), after="mirror")
    assert mirrored(0) == mirrored(jnp.int32(0)) == 0.25


def test_rows_are_plain_numbers():
    schedule = oc.warmup_cosine_annealing_schedule(3e-4, 100, warmup_steps=10)
    assert [tuple(row) for row in schedule.phases] == [
        (10, "linear", 0.0, 3e-4, 1.0, 1.0, 0, 10),
        (90, "cosine", 3e-4, 0.0, 1.0, 1.0, 10, 100),
    ]


def test_an_edited_row_keeps_its_clock():
    schedule = oc.extend(oc.cosine(0.1, 0.0, steps=100), at_step=50, total_steps=200)
    assert [tuple(row) for row in schedule.phases] == [
        (50, "cosine", 0.1, 0.0, 1.0, 1.0, 0, 100),
        (150, "cosine", 0.1, 0.0, 1.0, 1.0, -100, 200),
    ]


def test_a_stack_has_no_phases():
    stacked = oc.stack([oc.linear(0.0, 1.0, steps=3), oc.linear(0.0, 1.0, steps=4)])
    with pytest.raises(AttributeError, match=r"stack .* batch shape \(2,\): take one"):
        _ = stacked.phases


def test_many_phases_are_shown_at_once():
    schedule = oc.cosine_restarts_schedule(1.0, 10, num_cycles=4_000)
    assert "(3,985 more)" in str(schedule)


def test_empty_phases_at_the_end_are_not_found_past_the_end():
    risen = oc.warmup_cosine_annealing_schedule(1.0, 10, warmup_steps=10)
    assert risen(jnp.int32(99)) == jax.jit(risen)(jnp.int32(99)) == 1


def test_a_schedule_that_is_cut_drops_the_phases_behind_the_cut():
    cycles = oc.cosine_restarts_schedule(0.1, 10, num_cycles=8)
    spliced = oc.splice(cycles, 15, oc.linear(0.1, 0.0, steps=5))
    assert table_of(spliced).integers.shape[-1] == 3


def test_a_clock_that_starts_early_in_one_row_of_two_is_exact():
    schedule = oc.extend(
        oc.cosine(1.0, 0.0, steps=2**30), at_step=2**29, total_steps=LARGEST
    )
    count = LARGEST - 2**29
    value = jax.jit(schedule)(jnp.int32(count))
    np.testing.assert_allclose(value, schedule(count), rtol=1e-6)
