"""Keras's schedules, called with the count of the update."""

import jax
import numpy as np
import pytest
from agreement import (
    COUNTS,
    distance,
    peak_and_floor,
    restarts,
    settings,
    steps,
)
from keras.optimizers.schedules import CosineDecay, CosineDecayRestarts

import optax_cosine as oc

# Rates are floats in all settings: Keras takes the dtype of its results from the
# initial one, so that from an int 0 its warm-up stays at 0.
pytestmark = [
    pytest.mark.conformance,
    pytest.mark.usefixtures("standard_promotion"),
]

# Keras computes in float32, and its `1 + cos(pi * x)` is off by a few roundings of
# numbers up to pi.
FLOAT32 = 1e-6


def ratio(rng):
    """`alpha`, which is 0 every fourth time."""
    return max(0, rng.uniform(-0.25, 0.75))


def test_cosine_decay_agrees():
    for rng in settings(1):
        peak, _ = peak_and_floor(rng)
        alpha, length = ratio(rng), steps(rng, 1, 450)
        theirs = CosineDecay(peak, length, alpha)(COUNTS)
        schedule = oc.cosine_annealing_schedule(peak, length, end_value=alpha * peak)
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule


def test_cosine_decay_agrees_after_a_warm_up():
    for rng in settings(2):
        peak, start = peak_and_floor(rng)
        alpha, warmup, length = ratio(rng), steps(rng, 1, 100), steps(rng, 1, 350)
        decay = CosineDecay(
            start, length, alpha, warmup_target=peak, warmup_steps=warmup
        )
        # It compares the count with the warm-up, so that it takes one at a time.
        theirs = jax.vmap(decay)(COUNTS)
        schedule = oc.warmup_cosine_annealing_schedule(
            peak,
            warmup + length,
            warmup_steps=warmup,
            init_value=start,
            end_value=alpha * peak,
        )
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule


def every_step(schedule, first, factor):
    # Its condition on `t_mul` would be compiled anew for each setting.
    with jax.disable_jit():
        values = np.array(schedule(COUNTS))
        # For many counts at once XLA divides by way of the reciprocal, so that the
        # floor of a whole quotient may be one less. Where that matters Keras is asked
        # for a single count, as optimizers ask.
        for count in np.intersect1d(restarts(first, factor), COUNTS).astype(int):
            values[count] = schedule(int(count))
    return values


def test_restarts_after_equal_cycles_agree():
    for rng in settings(3):
        peak, _ = peak_and_floor(rng)
        alpha, first = ratio(rng), steps(rng, 12, 100)
        restarting = CosineDecayRestarts(peak, first, t_mul=1.0, alpha=alpha)
        schedule = oc.cosine_restarts_schedule(peak, first, end_value=alpha * peak)
        theirs = every_step(restarting, first, 1)
        # The fraction of a cycle is what is left of the count over its length, up to
        # 43, when its floor is taken from it: a rounding of 43 is 2e-6.
        assert distance(schedule, theirs, peak) <= 1e-5, schedule


@pytest.mark.parametrize("factor", [2, 3])
def test_restarts_after_longer_cycles_agree(factor):
    for rng in settings(10 + factor):
        peak, _ = peak_and_floor(rng)
        alpha, first = ratio(rng), steps(rng, 12, 60)
        restarting = CosineDecayRestarts(peak, first, t_mul=factor, alpha=alpha)
        schedule = oc.cosine_restarts_schedule(
            peak,
            first,
            num_cycles=9,
            end_value=alpha * peak,
            cycle_steps_factor=factor,
        )
        theirs = every_step(restarting, first, factor)
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule


def test_restarts_to_lower_peaks_over_no_floor_agree():
    for rng in settings(14):
        peak, _ = peak_and_floor(rng)
        decay, first = rng.uniform(0.5, 1), steps(rng, 12, 60)
        restarting = CosineDecayRestarts(peak, first, t_mul=2, m_mul=decay)
        schedule = oc.cosine_restarts_schedule(
            peak, first, num_cycles=9, cycle_steps_factor=2, peak_factor=decay
        )
        theirs = every_step(restarting, first, 2)
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule


def eight_cycles(peak, alpha, decay, first, factor):
    """`m_mul` shrinks the height over the floor, not the peak."""
    floor = alpha * peak
    return oc.join(
        *(
            oc.cosine(
                floor + (peak - floor) * decay**cycle,
                floor,
                steps=first * factor**cycle,
            )
            for cycle in range(8)
        )
    )


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3])
def test_restarts_to_lower_peaks_over_a_floor_agree(factor):
    for rng in settings(int(20 * factor)):
        peak, _ = peak_and_floor(rng)
        alpha, decay = ratio(rng), rng.uniform(0.5, 1)
        # Keras goes on for ever: eight cycles outlast the counts.
        first = steps(rng, 64, 100) if factor == 1 else steps(rng, 12, 60)
        restarting = CosineDecayRestarts(
            peak, first, t_mul=float(factor), m_mul=decay, alpha=alpha
        )
        schedule = eight_cycles(peak, alpha, decay, first, factor)
        theirs = every_step(restarting, first, factor)
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule


def test_restarts_after_cycles_of_any_length_agree():
    for rng in settings(15):
        peak, _ = peak_and_floor(rng)
        alpha, decay = ratio(rng), rng.uniform(0.5, 1)
        first, factor = steps(rng, 20, 60), rng.uniform(1.4, 3)
        restarting = CosineDecayRestarts(
            peak, first, t_mul=factor, m_mul=decay, alpha=alpha
        )
        schedule = eight_cycles(peak, alpha, decay, first, factor)
        theirs = every_step(restarting, first, factor)
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule


def test_the_restart_at_81910_is_missed():
    theirs = CosineDecayRestarts(1.0, 10, t_mul=2.0)(81_910)
    schedule = oc.cosine_restarts_schedule(1.0, 10, cycle_steps_factor=2)
    assert float(theirs) == 0.0
    assert schedule(np.array([81_910])).tolist() == [1.0]
