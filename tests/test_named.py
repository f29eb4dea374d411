"""The named curves: values against exact arithmetic, and what JAX can do with them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from sweeps import sweep

import optax_cosine as oc

LARGEST = 2**31 - 1
LENGTHS = (
    *range(1, 20),
    *(100, 1_000, 4_095, 4_096, 4_097, 10_000, 123_457, 1_000_000),
    *(2**24 - 1, 2**24, 2**24 + 1, 2**24 + 3, 100_000_007, 2**30 + 1),
    *(LARGEST - 64, LARGEST - 1, LARGEST),
)
ENDS = ((1.0, 0.0), (0.1, 0.001), (3e-4, 3e-5), (0.7, 0.699999), (2.5e-20, 1e-22))


def curve_at(init_value, decay_steps, end_value, exponent, counts):
    schedule = oc.cosine_annealing_schedule(
        init_value, decay_steps, end_value=end_value, exponent=exponent
    )
    return schedule(counts)


at = jax.jit(curve_at)


def telling_counts(steps: int, size: int = 24) -> np.ndarray:
    """Both ends, the middle, the tail on every scale, and seeded others."""
    rng = np.random.default_rng(steps)
    halvings = steps >> np.arange(1, 31)
    edges = [0, 1, 2, 3, steps // 2 - 1, steps // 2, steps // 2 + 1, steps - 1, steps]
    counts = [
        *edges,
        *halvings,
        *(steps - halvings),
        *rng.integers(steps + 1, size=size),
    ]
    return np.clip(counts, 0, steps).astype(np.int32)


def test_gives_the_values_of_the_specification():
    schedule = oc.cosine_annealing_schedule(0.1, 10, end_value=0.001)
    assert [schedule(count) for count in (0, 5, 10)] == [
        np.float32(0.1),
        np.float32(0.0505),
        np.float32(0.001),
    ]
    np.testing.assert_array_max_ulp(
        np.asarray(schedule(np.array([0, 5, 10]))),
        np.array([0.1, 0.0505, 0.001], np.float32),
        maxulp=1,
    )


@sweep("ends", ENDS, ENDS[:2])
def test_jitted_values_are_within_eight_ulp_of_the_exact_values(ends):
    worst = 0.0
    for steps in LENGTHS:
        counts = telling_counts(steps)
        for count, value in zip(
            counts.tolist(), at(ends[0], steps, ends[1], 1.0, counts), strict=True
        ):
            truth = reference.cosine_annealing(ends[0], steps, count, ends[1])
            worst = max(worst, reference.ulps(value, truth))
    assert worst <= 8


def test_a_schedule_known_to_the_compiler_is_as_exact():
    worst = 0.0
    for steps in (10, 4_097, 2**24 + 3, LARGEST):
        schedule = oc.cosine_annealing_schedule(0.1, steps)
        counts = telling_counts(steps)
        values = jax.jit(lambda c, schedule=schedule: schedule(c))(counts)
        for count, value in zip(counts.tolist(), values, strict=True):
            truth = reference.cosine_annealing(0.1, steps, count)
            worst = max(worst, reference.ulps(value, truth))
    assert worst <= 8


@pytest.mark.parametrize("exponent", [0.1, 0.5, 1.0, 1.5, 2.0, 7.0, 30.0])
@pytest.mark.parametrize("ends", [(0.1, 0.001), (0.7, -0.7), (0.0, -1.0), (0.1, -0.3)])
def test_other_values_are_within_sixteen_ulp_of_the_larger_end(ends, exponent):
    worst = 0.0
    for steps in LENGTHS[::3]:
        counts = telling_counts(steps, size=4)
        for count, value in zip(
            counts.tolist(), at(ends[0], steps, ends[1], exponent, counts), strict=True
        ):
            truth = reference.cosine_annealing(ends[0], steps, count, ends[1], exponent)
            scale = max(map(abs, ends))
            worst = max(worst, reference.ulps(value, truth, scale=scale))
    assert worst <= (8 if exponent == 1 else 16)


@pytest.mark.parametrize("exponent", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("ends", ENDS)
def test_host_values_are_within_one_ulp_of_the_exact_values(ends, exponent):
    for steps in LENGTHS:
        schedule = oc.cosine_annealing_schedule(
            ends[0], steps, end_value=ends[1], exponent=exponent
        )
        for count in telling_counts(steps, size=4).tolist():
            truth = reference.cosine_annealing(ends[0], steps, count, ends[1], exponent)
            assert reference.ulps(schedule(count), truth) <= 1


@pytest.mark.parametrize("exponent", [1.0, 0.3, 2.0])
@pytest.mark.parametrize("ends", ENDS)
def test_both_ends_are_exact_and_kept(ends, exponent):
    init_value, end_value = map(np.float32, ends)
    for steps in LENGTHS:
        schedule = oc.cosine_annealing_schedule(
            ends[0], steps, end_value=ends[1], exponent=exponent
        )
        before = np.array([-LARGEST - 1, -1, 0], np.int32)
        after = np.array([steps, min(steps + 1, LARGEST), LARGEST], np.int32)
        assert (schedule(before) == init_value).all()
        assert (schedule(after) == end_value).all()
        assert [schedule(c) for c in (-(10**30), -1, 0)] == [init_value] * 3
        assert [schedule(c) for c in (steps, steps + 1, 10**30)] == [end_value] * 3


@pytest.mark.parametrize("exponent", [1.0, 0.3, 2.0, 9.0])
@pytest.mark.parametrize("ends", [*ENDS, (1.0, -0.9999999), (0.1, 0.1)])
def test_no_step_rises_or_leaves_the_range(ends, exponent):
    init_value, end_value = map(np.float32, ends)
    for steps in LENGTHS:
        around = [steps * part // 20 + np.arange(-300, 300) for part in range(21)]
        counts = np.clip(np.sort(around, axis=None), 0, steps).astype(np.int32)
        values = at(ends[0], steps, ends[1], exponent, counts)
        assert (jnp.diff(values) <= 0).all()
        assert (values <= init_value).all()
        assert (values >= end_value).all()
        assert (values[0], values[-1]) == (init_value, end_value)


rates = st.floats(0, float(np.float32(1e3)), width=32)


@given(
    high=rates,
    low=rates,
    steps=st.integers(1, LARGEST),
    exponent=st.floats(0.125, 8, width=32),
    where=st.floats(0, 1),
)
def test_every_schedule_falls_within_its_range(high, low, steps, exponent, where):
    low, high = sorted((low, high))
    first = min(int(where * steps), steps - 1)
    counts = np.array([first, first + 1], np.int32)
    value, following = at(high, steps, low, exponent, counts)
    assert high >= value >= following >= low


@given(high=rates, low=rates, steps=st.integers(1, LARGEST), where=st.floats(0, 1))
def test_host_and_device_agree(high, low, steps, where):
    low, high = sorted((low, high))
    schedule = oc.cosine_annealing_schedule(high, steps, end_value=low)
    count = int(where * steps)
    np.testing.assert_allclose(schedule(np.int32(count)), schedule(count), rtol=1e-6)


def test_extreme_rates_neither_overflow_nor_vanish():
    # The largest rate that is not refused.
    huge = float(np.finfo(np.float32).max) / 2
    tiny = float(np.finfo(np.float32).tiny)
    values = at(huge, 10, -huge, 1.0, jnp.arange(-1, 12))
    chex.assert_tree_all_finite(values)
    assert values[1] == np.float32(huge)
    assert values[-1] == np.float32(-huge)
    assert (at(tiny, 10, tiny, 1.0, jnp.arange(-1, 12)) == np.float32(tiny)).all()


def test_a_run_of_one_step_has_its_first_and_its_last_value():
    schedule = oc.cosine_annealing_schedule(0.1, 1, end_value=0.01)
    assert [schedule(0), schedule(1)] == [np.float32(0.1), np.float32(0.01)]


def test_a_length_written_as_a_float_is_the_same_length():
    floating, whole = (oc.cosine_annealing_schedule(0.1, n) for n in (1e4, 10_000))
    chex.assert_trees_all_equal(floating, whole)


def test_a_floor_is_compared_as_it_is_stored():
    same = oc.cosine_annealing_schedule(np.float64(0.1), 10, end_value=np.float32(0.1))
    assert same(0) == same(10)
    with pytest.raises(ValueError, match=r"end_value=0\.1 is above init_value=0\.0999"):
        oc.cosine_annealing_schedule(np.float16(0.1), 10, end_value=0.1)


def test_a_jitted_builder_returns_a_working_schedule():
    schedule = jax.jit(oc.cosine_annealing_schedule)(0.1, 100)
    counts = jnp.arange(-3, 105)
    plain = oc.cosine_annealing_schedule(0.1, 100)
    np.testing.assert_array_equal(schedule(counts), plain(counts))
    assert schedule(0) == np.float32(0.1)
    assert schedule(100) == 0


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32])
def test_traced_lengths_of_every_integer_dtype_work(dtype):
    value = jax.jit(lambda n: oc.cosine_annealing_schedule(1.0, n)(60))(dtype(120))
    np.testing.assert_allclose(value, 0.5, rtol=1e-6)


def test_every_argument_may_be_traced_and_one_program_serves_all():
    traces = chex.assert_max_traces(n=1)(curve_at)
    jitted = jax.jit(traces)
    for steps in (1, 10, 1_000, LARGEST):
        for high in (0.1, 0.2):
            jitted(high, steps, 0.01, 1.0, jnp.arange(3))


@pytest.mark.parametrize("steps", [0, -1, -(2**31), 0.0, -0.5, np.nan, np.inf, 0.25])
@pytest.mark.parametrize("count", [-1, 0, 1, 5])
def test_traced_lengths_out_of_range_never_give_nan(steps, count):
    value, slope = jax.value_and_grad(
        lambda high: at(high, steps, 0.01, 1.0, jnp.float32(count))
    )(0.1)
    chex.assert_tree_all_finite((value, slope))
    assert np.float32(0.01) <= value <= np.float32(0.1)


@pytest.mark.parametrize("exponent", [0.0, -1.0, -np.inf, np.inf, np.nan, 1e30, 1e-30])
def test_traced_exponents_out_of_range_never_give_nan(exponent):
    values = at(0.1, 10, 0.01, exponent, jnp.arange(-1, 12))
    chex.assert_tree_all_finite(values)
    assert (values[0], values[-1]) == (np.float32(0.1), np.float32(0.01))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bfloat16", "float16", "float32"])
@pytest.mark.parametrize("exponent", [0, 2])
def test_traced_exponents_of_every_dtype_work(dtype, exponent):
    values = at(1.0, 10, 0.0, jnp.array(exponent, dtype), jnp.arange(-1, 12))
    chex.assert_tree_all_finite(values)
    if exponent == 2:
        np.testing.assert_array_equal(values, at(1.0, 10, 0.0, 2.0, jnp.arange(-1, 12)))


def test_a_traced_length_past_the_largest_is_the_largest():
    long = at(1.0, jnp.uint32(2**32 - 1), 0.0, 1.0, jnp.int32(2**30))
    np.testing.assert_allclose(long, 0.5, rtol=1e-6)


def test_vmap_builds_a_population_in_one_program():
    peaks, lengths = jnp.linspace(0.1, 0.8, 64), jnp.arange(1, 65)
    population = jax.vmap(oc.cosine_annealing_schedule)(peaks, lengths)
    values = jax.vmap(lambda schedule: schedule(7))(population)
    single = [
        oc.cosine_annealing_schedule(float(peak), int(length))(np.int32(7))
        for peak, length in zip(peaks, lengths, strict=True)
    ]
    np.testing.assert_array_max_ulp(np.asarray(values), np.array(single), maxulp=2)


def formula(init_value, decay_steps, end_value, exponent, count):
    weight = (1 + jnp.cos(jnp.pi * count / decay_steps)) / 2
    return end_value + (init_value - end_value) * weight**exponent


@pytest.mark.parametrize("exponent", [1.0, 0.5, 2.5])
@sweep("count", [0.25, 3.0, 4.75, 5.0, 5.25, 6.0, 9.5], [0.25, 5.0])
def test_derivatives_are_those_of_the_formula(count, exponent, x64):
    point = 0.1, 10.0, 0.01, exponent, count
    everything = (0, 1, 2, 3, 4)
    np.testing.assert_allclose(
        jax.grad(at, everything)(*point),
        jax.grad(formula, everything)(*point),
        rtol=1e-9,
    )
    single = jax.tree.map(np.float32, point)
    np.testing.assert_allclose(
        jax.grad(at, everything)(*single),
        jax.grad(formula, everything)(*point),
        rtol=1e-5,
        # Half an ulp of 1, which two of the derivatives add up to.
        atol=6e-8,
    )


@pytest.mark.parametrize("exponent", [1.0, 0.5, 2.5])
@pytest.mark.parametrize("count", [-3.0, 0.0, 10.0, 12.0, 1e30])
def test_derivatives_at_and_outside_the_ends_are_finite(count, exponent):
    slopes = jax.grad(at, (0, 1, 2, 3, 4))(0.1, 10.0, 0.01, exponent, count)
    by_init, by_steps, by_end, by_exponent, by_count = slopes
    assert (by_init, by_end) == ((1, 0) if count <= 0 else (0, 1))
    assert (by_steps, by_exponent, by_count) == (0, 0, 0)


def test_nothing_leaks_out_of_a_trace():
    with jax.check_tracer_leaks():
        jax.jit(curve_at)(0.1, 100, 0.01, 1.0, jnp.arange(5))
