"""timm's CosineLRScheduler, told the next count after each update."""

import numpy as np
import pytest
from agreement import (
    COUNTS,
    TOLERANCE,
    differences,
    distance,
    peak_and_floor,
    restarts,
    settings,
    steps,
)
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch_rates import sgd

import optax_cosine as oc

pytestmark = pytest.mark.conformance


def used(peak, length, floor, **options):
    optimizer = sgd(peak)
    scheduler = CosineLRScheduler(optimizer, length, floor, **options)
    (group,) = optimizer.param_groups
    values = [group["lr"]]
    for count in COUNTS[1:].tolist():
        scheduler.step(count)
        values.append(group["lr"])
    return np.array(values)


def warmup_setting(rng):
    peak, floor = peak_and_floor(rng)
    start = peak * rng.uniform(0, 1)
    return peak, floor, start, steps(rng, 1, 100)


def test_a_single_cycle_agrees():
    for rng in settings(1):
        peak, floor = peak_and_floor(rng)
        length = steps(rng, 1, 450)
        theirs = used(peak, length, floor)
        schedule = oc.cosine_annealing_schedule(peak, length, end_value=floor)
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_a_warm_up_before_the_cosine_agrees():
    for rng in settings(2):
        peak, floor, start, warmup = warmup_setting(rng)
        length = steps(rng, 1, 350)
        theirs = used(
            peak,
            length,
            floor,
            warmup_t=warmup,
            warmup_lr_init=start,
            warmup_prefix=True,
        )
        schedule = oc.warmup_cosine_annealing_schedule(
            peak,
            warmup + length,
            warmup_steps=warmup,
            init_value=start,
            end_value=floor,
        )
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_a_warm_up_over_the_cosine_agrees():
    for rng in settings(3):
        peak, floor, start, warmup = warmup_setting(rng)
        length = steps(rng, 1, 350)
        theirs = used(peak, length, floor, warmup_t=warmup, warmup_lr_init=start)
        ramp = oc.linear(start, peak, steps=warmup)
        body = oc.cosine_annealing_schedule(peak, length, end_value=floor)
        schedule = oc.join(ramp, oc.shift(body, warmup))
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_k_decay_is_the_exponent_of_time():
    for rng in settings(4):
        peak, floor = peak_and_floor(rng)
        length, k = steps(rng, 1, 450), rng.uniform(0.3, 3)
        theirs = used(peak, length, floor, k_decay=k)
        schedule = oc.cosine(peak, floor, steps=length, time_exponent=k)
        # The contract for exponents: 16 units in the last place of the peak.
        assert distance(schedule, theirs, peak) <= 1e-6, schedule


def cycle_setting(rng):
    """A floor above the peak of a cycle would turn timm's cosine upside down."""
    peak, _ = peak_and_floor(rng)
    decay = rng.uniform(0.5, 1)
    floor = peak * decay**5 * max(0, rng.uniform(-0.25, 0.75))
    return peak, floor, decay


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_six_cycles_agree_but_for_restarts_that_timm_misses(factor):
    for rng in settings(10 + factor):
        peak, floor, decay = cycle_setting(rng)
        first = steps(rng, 1, 30)
        theirs = used(
            peak, first, floor, cycle_mul=factor, cycle_decay=decay, cycle_limit=6
        )
        schedule = oc.cosine_restarts_schedule(
            peak,
            first,
            num_cycles=6,
            end_value=floor,
            cycle_steps_factor=factor,
            peak_factor=decay,
        )
        check_but_for_missed_restarts(schedule, theirs, peak, floor, first, factor)


def check_but_for_missed_restarts(schedule, theirs, peak, floor, first, factor):
    apart = differences(schedule, theirs) > TOLERANCE * peak
    assert set(COUNTS[apart]) <= set(restarts(first, factor)), schedule
    assert theirs[apart] == pytest.approx(floor), schedule
    ours = np.asarray(schedule(COUNTS))
    assert (ours[apart] > ours[COUNTS[apart] - 1]).all(), schedule


def test_endless_cycles_agree():
    for rng in settings(20):
        peak, floor = peak_and_floor(rng)
        first = steps(rng, 2, 60)
        theirs = used(peak, first, floor, cycle_limit=1000)
        schedule = oc.cosine_restarts_schedule(peak, first, end_value=floor)
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def six_cycles(peak, floor, decay, first, factor, k=1.0):
    # timm's boundaries may lie between steps. With a factor below 1 it raises once
    # the cycles that it does not play have no length left.
    return oc.join(
        *(
            oc.cosine(
                peak * decay**cycle,
                floor,
                steps=first * factor**cycle,
                time_exponent=k,
            )
            for cycle in range(6)
        )
    )


def test_cycles_of_fractional_lengths_agree():
    for rng in settings(21):
        peak, floor, decay = cycle_setting(rng)
        first, factor = steps(rng, 1, 30), rng.uniform(1.01, 2.5)
        theirs = used(
            peak, first, floor, cycle_mul=factor, cycle_decay=decay, cycle_limit=6
        )
        schedule = six_cycles(peak, floor, decay, first, factor)
        check_but_for_missed_restarts(schedule, theirs, peak, floor, first, factor)


@pytest.mark.parametrize("factor", [1.25, 1.5, 2.5])
def test_cycles_whose_boundaries_may_be_whole_agree(factor):
    for rng in settings(int(100 * factor)):
        peak, floor, decay = cycle_setting(rng)
        first = steps(rng, 1, 30)
        theirs = used(
            peak, first, floor, cycle_mul=factor, cycle_decay=decay, cycle_limit=6
        )
        schedule = six_cycles(peak, floor, decay, first, factor)
        check_but_for_missed_restarts(schedule, theirs, peak, floor, first, factor)


def test_a_warm_up_before_cycles_with_k_decay_agrees():
    for rng in settings(22):
        peak, floor, decay = cycle_setting(rng)
        start, warmup = peak * rng.uniform(0, 1), steps(rng, 1, 100)
        first, k = steps(rng, 1, 30), rng.uniform(0.5, 2)
        theirs = used(
            peak,
            first,
            floor,
            cycle_mul=2,
            cycle_decay=decay,
            cycle_limit=6,
            warmup_t=warmup,
            warmup_lr_init=start,
            warmup_prefix=True,
            k_decay=k,
        )
        ramp = oc.linear(start, peak, steps=warmup)
        schedule = oc.join(ramp, six_cycles(peak, floor, decay, first, 2, k))
        assert distance(schedule, theirs, peak) <= 1e-6, schedule


def test_a_warm_up_over_cycles_agrees():
    for rng in settings(23):
        peak, floor, decay = cycle_setting(rng)
        start, warmup = peak * rng.uniform(0, 1), steps(rng, 1, 100)
        first = steps(rng, 1, 30)
        theirs = used(
            peak,
            first,
            floor,
            cycle_mul=2,
            cycle_decay=decay,
            cycle_limit=6,
            warmup_t=warmup,
            warmup_lr_init=start,
        )
        ramp = oc.linear(start, peak, steps=warmup)
        body = six_cycles(peak, floor, decay, first, 2)
        schedule = oc.splice(ramp, warmup, oc.shift(body, warmup))
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


@pytest.mark.parametrize(
    ("first", "factor", "restart"), [(1, 3, 121), (3, 3, 363), (3, 3, 88572)]
)
def test_this_restart_is_missed(first, factor, restart):
    optimizer = sgd(1.0)
    scheduler = CosineLRScheduler(
        optimizer, first, cycle_mul=factor, cycle_limit=100, cycle_decay=1.0
    )
    scheduler.step(restart)
    assert optimizer.param_groups[0]["lr"] == 0.0
    schedule = oc.cosine_restarts_schedule(1.0, first, cycle_steps_factor=factor)
    assert schedule(np.array([restart])).tolist() == [1.0]


def test_a_restart_is_missed_after_cycles_of_fractional_lengths():
    optimizer = sgd(1.0)
    scheduler = CosineLRScheduler(optimizer, 16, cycle_mul=1.5, cycle_limit=100)
    scheduler.step(211)
    assert optimizer.param_groups[0]["lr"] == 0.0
    cycles = (oc.cosine(1.0, 0.0, steps=16 * 1.5**cycle) for cycle in range(6))
    assert oc.join(*cycles)(np.array([211])).tolist() == [1.0]
