"""Restarts: lengths, factors, and what is refused."""

import functools
import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sweeps import sweep

import optax_cosine as oc

LARGEST = 2**31 - 1


def lengths_of(schedule) -> list[int]:
    """The length of each cycle: of its warm-up and its cosine."""
    ends = np.asarray(schedule.node.ends.whole)[1::2]
    return np.diff(ends, prepend=0).tolist()


def phases_of(schedule) -> list[tuple[str, int | float]]:
    return [(phase.shape, phase.steps) for phase in schedule.phases]


@sweep("factor", [1, 1.0, 2, 1.5, 0.7, np.float32(1.5), 1.01], [1, 1.5, 0.7])
@pytest.mark.parametrize("first", [1, 100])
def test_lengths_are_those_of_the_rule(first, factor):
    expected = [max(1, round(first * float(factor) ** k)) for k in range(12)]
    schedule = oc.cosine_restarts_schedule(
        1.0, first, num_cycles=12, cycle_steps_factor=factor
    )
    assert lengths_of(schedule) == expected
    assert schedule.total_steps == sum(expected)
    traced = growing(factor)(first)
    assert lengths_of(jax.device_get(traced)) == expected


@functools.lru_cache(maxsize=None, typed=True)
def growing(factor):
    """One compiled function for all first lengths."""
    return jax.jit(
        lambda steps: oc.cosine_restarts_schedule(
            1.0, steps, num_cycles=12, cycle_steps_factor=factor
        )
    )


@pytest.mark.parametrize("factor", [2, 3, 1.5, 10.0])
def test_growing_cycles_fill_time(factor):
    schedule = oc.cosine_restarts_schedule(1.0, 1, cycle_steps_factor=factor)
    lengths = lengths_of(schedule)
    assert sum(lengths) <= LARGEST
    assert sum(lengths) + round(float(factor) ** len(lengths)) > LARGEST
    for start, length in zip(itertools.accumulate(lengths[:-1]), lengths, strict=False):
        assert schedule(start) == schedule(jnp.int32(start)) == 1
        assert schedule(start - 1) < 1 or length == 1


def test_the_steps_that_logarithms_miss_are_restarts():
    tripled = oc.cosine_restarts_schedule(1.0, 1, cycle_steps_factor=3)
    doubled = oc.cosine_restarts_schedule(1.0, 10, cycle_steps_factor=2)
    assert tripled(121) == tripled(jnp.int32(121)) == 1
    assert doubled(81_910) == doubled(jnp.int32(81_910)) == 1
    assert oc.cosine_restarts_schedule(1.0, 3, cycle_steps_factor=3)(363) == 1


def test_peaks_and_floors_scale_apart():
    schedule = oc.cosine_restarts_schedule(
        0.8, 4, num_cycles=3, peak_factor=0.5, end_value=0.1, end_factor=0.25
    )
    peaks = [schedule(count) for count in (0, 4, 8)]
    np.testing.assert_allclose(peaks, [0.8, 0.4, 0.2], rtol=1e-7)
    np.testing.assert_allclose(schedule(12), 0.1 * 0.25**2, rtol=1e-7)
    np.testing.assert_allclose(schedule(10**9), schedule(12))


def test_cycles_may_be_listed():
    schedule = oc.cosine_restarts_schedule(1.0, [5, 2, 9], cycle_warmup_steps=2)
    assert lengths_of(schedule) == [5, 2, 9]
    assert [schedule(count) for count in (0, 2, 5, 7, 9, 16, 99)] == [
        0,
        1,
        0,
        0,
        1,
        0,
        0,
    ]
    as_array = oc.cosine_restarts_schedule(
        1.0, np.array([5, 2, 9]), cycle_warmup_steps=2
    )
    assert as_array == schedule
    traced = jax.jit(
        lambda x: oc.cosine_restarts_schedule(1.0, x, cycle_warmup_steps=2)
    )(jnp.array([5, 2, 9]))
    assert lengths_of(jax.device_get(traced)) == [5, 2, 9]


def test_a_traced_warmup_is_cut_to_each_cycle():
    schedule = jax.jit(
        lambda w: oc.cosine_restarts_schedule(1.0, [5, 2, 9], cycle_warmup_steps=w)
    )(3)
    linear, cosine = "linear", "cosine"
    # The second cycle is too short for a decay, and its cosine takes no steps.
    expected = [(linear, 3), (cosine, 2), (linear, 2), (linear, 3), (cosine, 6)]
    assert phases_of(jax.device_get(schedule)) == expected
    assert lengths_of(jax.device_get(schedule)) == [5, 2, 9]


def test_traced_cycles_past_the_end_of_time_are_cut_off():
    schedule = jax.jit(lambda n: oc.cosine_restarts_schedule(1.0, n, num_cycles=5))(
        2**30
    )
    values = schedule(jnp.array([0, 2**29, 2**30, LARGEST]))
    np.testing.assert_allclose(values[:3], [1, 0.5, 1], rtol=1e-6)
    assert sum(lengths_of(jax.device_get(schedule))) == LARGEST


@pytest.mark.thorough
def test_every_traced_factor_gives_the_same_curve():
    plain = dict(cycle_steps_factor=1.5, peak_factor=0.9, end_factor=0.8)
    plain |= dict(end_value=0.01, cycle_warmup_steps=1, init_value=0.001)
    counts = jnp.arange(60)
    expected = oc.cosine_restarts_schedule(0.3, 8, num_cycles=4, **plain)(counts)
    for name, number in plain.items():
        values = jax.jit(
            lambda x, name=name: oc.cosine_restarts_schedule(
                0.3, 8, num_cycles=4, **(plain | {name: x})
            )(counts)
        )(number)
        np.testing.assert_allclose(values, expected, rtol=2e-6, atol=1e-8)


def test_the_program_of_traced_cycles_does_not_grow():
    def program(cycles):
        return jax.make_jaxpr(
            lambda n: oc.cosine_restarts_schedule(
                n, 5, num_cycles=cycles, cycle_steps_factor=1.001
            )(3)
        )(0.1)

    assert len(program(10).eqns) == len(program(1_000).eqns)


@pytest.mark.parametrize(("first", "factor"), [(50, 1.1), (10, 1.05), (5, 2.5)])
def test_a_tie_is_a_step_apart_at_most_traced_or_not(first, factor):
    def build(first):
        return oc.cosine_restarts_schedule(
            1.0, first, num_cycles=9, cycle_steps_factor=factor
        )

    traced = jax.device_get(jax.jit(build)(first))
    apart = np.subtract(lengths_of(traced), lengths_of(build(first)))
    assert np.abs(apart).max() <= 1


@sweep("pct", [0.575, 0.35, 0.285, 0.145, 0.3], [0.575, 0.3])
def test_the_peak_of_one_cycle_is_a_step_apart_at_most_traced_or_not(pct):
    build = functools.partial(oc.cosine_one_cycle_schedule, 1.0, pct_start=pct)
    for total in (20, 100, 200, 1_000):
        traced = jax.device_get(jax.jit(build)(total_steps=total))
        apart = traced.phases[0].steps - build(total_steps=total).phases[0].steps
        assert abs(apart) <= (0 if pct == 0.3 else 1)


@pytest.mark.parametrize("name", ["peak_factor", "end_factor"])
@sweep("factor", [10.0, 1e30, math.inf], [math.inf])
def test_traced_factors_that_overflow_never_give_nan(name, factor):
    def values(factor):
        schedule = oc.cosine_restarts_schedule(1.0, 10, num_cycles=50, **{name: factor})
        return schedule(jnp.arange(510))

    assert np.isfinite(jax.jit(values)(factor)).all()
    huge = oc.cosine_restarts_schedule(0.0, 10, num_cycles=400, peak_factor=10.0)
    assert huge(3_999) == 0


FACTORS = [0.1, 1 / 3, 0.5, 2 / 3, 1.1, 1.5, 3, 7, 10, 100]


@sweep("num_cycles", [9, None], [None])
def test_nested_stretches_keep_restarts_exact(num_cycles):
    schedule = oc.cosine_restarts_schedule(1.0, 44, num_cycles=num_cycles)
    stretched = oc.stretch(oc.stretch(schedule, 0.1), 100)
    starts = 440 * np.arange(9)
    assert [stretched(int(start)) for start in starts] == [1] * 9
    assert (np.asarray(stretched(starts)) == 1).all()
    before = starts[1:] - 1
    assert all(stretched(int(count)) < 0.1 for count in before)
    assert (np.asarray(stretched(before)) < 0.1).all()
    known = jax.jit(lambda counts: stretched(counts))(starts)
    assert (np.asarray(known) == 1).all()
    if num_cycles:
        assert stretched.total_steps == 440 * 9
        assert stretched(440 * 9) == stretched(jnp.int32(440 * 9)) == 0


@pytest.mark.parametrize("num_cycles", [9, None])
@pytest.mark.parametrize("first", FACTORS)
@pytest.mark.parametrize("second", FACTORS)
def test_a_restart_at_a_whole_step_stays_there_on_two_stretched_clocks(
    first, second, num_cycles
):
    factor = Fraction(first).limit_denominator(100)
    factor *= Fraction(second).limit_denominator(100)
    schedule = oc.cosine_restarts_schedule(1.0, 44, num_cycles=num_cycles)
    stretched = oc.stretch(oc.stretch(schedule, first), second)
    starts = [44 * k * factor for k in range(9)]
    whole = [int(start) for start in starts if start.denominator == 1]
    assert [stretched(start) for start in whole] == [1] * len(whole)
    counts = np.array(whole + [0] * (9 - len(whole)))
    assert (np.asarray(stretched(counts)) == 1).all()


@pytest.mark.parametrize("num_cycles", [None, 9])
def test_a_shift_by_a_fraction_and_back_keeps_restarts_exact(num_cycles):
    schedule = oc.cosine_restarts_schedule(1.0, 10, num_cycles=num_cycles)
    moved = oc.shift(oc.shift(schedule, 0.25), 9.75)
    starts = np.array([0, 10, 20, 70])
    assert [moved(int(start)) for start in starts] == [1] * 4
    assert (np.asarray(moved(starts)) == 1).all()
