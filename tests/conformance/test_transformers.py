"""The schedules of transformers, stepped once after each update."""

import numpy as np
import pytest
from agreement import TOLERANCE, distance, peak_and_floor, settings, steps
from torch_rates import sgd, used
from transformers.optimization import (
    get_cosine_schedule_with_warmup,
    get_cosine_with_hard_restarts_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup_lr_rate,
    get_wsd_schedule,
)

import optax_cosine as oc

pytestmark = pytest.mark.conformance


def lengths(rng, least=1):
    """A warm-up, and the total that it is part of."""
    warmup = steps(rng, least, 100)
    return warmup, warmup + steps(rng, 1, 250)


# A stretched clock may be off by 16 units in the last place of the peak.
STRETCHED = 1e-6


def waves(peak, floor, length, number):
    """So many whole waves within a length, and on after it.

    Half waves of a whole length, sped up: half waves of `length / (2 * number)` steps
    say the same, but float32 rounds that length, and hundreds of them add it up.
    """
    half_wave = oc.cosine(peak, floor, steps=length)
    return oc.stretch(oc.join(half_wave, after="mirror"), 1 / (2 * number))


def test_cosine_agrees_until_its_end():
    for rng in settings(1):
        peak, _ = peak_and_floor(rng)
        warmup, total = lengths(rng, least=0)
        scheduler = get_cosine_schedule_with_warmup(sgd(peak), warmup, total)
        theirs = used(scheduler, total + 1)
        schedule = oc.warmup_cosine_annealing_schedule(peak, total, warmup_steps=warmup)
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_cosine_of_any_number_of_waves_agrees_until_its_end():
    for rng in settings(9):
        peak, _ = peak_and_floor(rng)
        warmup, length = steps(rng, 1, 100), steps(rng, 8, 250)
        total, number = warmup + length, rng.uniform(0.1, 4)
        scheduler = get_cosine_schedule_with_warmup(sgd(peak), warmup, total, number)
        theirs = used(scheduler, total + 1)
        half_wave = oc.cosine(peak, 0.0, steps=length / (2 * number))
        ramp = oc.linear(0.0, peak, steps=warmup)
        schedule = oc.join(ramp, oc.join(half_wave, after="mirror"))
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_cosine_of_any_number_of_waves_agrees_and_goes_on_after_its_end():
    for rng in settings(2):
        peak, _ = peak_and_floor(rng)
        (warmup, total), number = lengths(rng), rng.uniform(0.1, 4)
        theirs = used(get_cosine_schedule_with_warmup(sgd(peak), warmup, total, number))
        ramp = oc.linear(0.0, peak, steps=warmup)
        schedule = oc.join(ramp, waves(peak, 0.0, total - warmup, number))
        assert distance(schedule, theirs, peak) <= STRETCHED, schedule


@pytest.mark.parametrize("by_rate", [False, True])
def test_cosine_with_a_minimum_agrees(by_rate):
    for rng in settings(3 + by_rate):
        peak, floor = peak_and_floor(rng)
        (warmup, total), number = lengths(rng), rng.uniform(0.1, 4)
        least = {"min_lr_rate": floor / peak} if by_rate else {"min_lr": floor}
        theirs = used(
            get_cosine_with_min_lr_schedule_with_warmup(
                sgd(peak), warmup, total, number, **least
            )
        )
        ramp = oc.linear(0.0, peak, steps=warmup)
        schedule = oc.join(ramp, waves(peak, floor, total - warmup, number))
        assert distance(schedule, theirs, peak) <= STRETCHED, schedule


@pytest.mark.parametrize("by_rate", [False, True])
def test_the_variant_that_starts_above_0_reads_one_step_ahead(by_rate):
    for rng in settings(5 + by_rate):
        peak, floor = peak_and_floor(rng)
        (warmup, total), number = lengths(rng), rng.uniform(0.1, 4)
        least = {"min_lr_rate": floor / peak} if by_rate else {"min_lr": floor}
        theirs = used(
            get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
                sgd(peak), warmup, total, number, **least
            )
        )
        ramp = oc.linear(0.0, peak, steps=warmup)
        curve = oc.join(ramp, waves(peak, floor, total - warmup, number))
        schedule = oc.shift(curve, 1)
        assert distance(schedule, theirs, peak) <= STRETCHED, schedule


def test_the_variant_with_a_warm_up_rate_is_at_its_peak_a_step_early():
    for rng in settings(7):
        peak, floor = peak_and_floor(rng)
        # With a warm-up of one step there is no ramp, as for us.
        (warmup, total), number = lengths(rng, least=2), rng.uniform(0.1, 4)
        rate = rng.uniform(0, 1)
        theirs = used(
            get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
                sgd(peak), warmup, total, number, min_lr=floor, warmup_lr_rate=rate
            )
        )
        ramp = oc.linear(rate * peak, peak, steps=warmup - 1)
        schedule = oc.join(ramp, waves(peak, floor, total - warmup, number))
        assert distance(schedule, theirs, peak) <= STRETCHED, schedule


def hard_restarts(peak, warmup, total, number):
    """Cycles of the whole length, sped up: so every restart is exact."""
    length = total - warmup
    cycles = oc.join(oc.cosine(peak, 0.0, steps=length), after="repeat")
    cycles = oc.stretch(cycles, 1 / number)
    ended = oc.splice(cycles, length, oc.constant(0.0, steps=1))
    return oc.join(oc.linear(0.0, peak, steps=warmup), ended)


def restarting(peak, warmup, total, number):
    return get_cosine_with_hard_restarts_schedule_with_warmup(
        sgd(peak), warmup, total, number
    )


def test_hard_restarts_agree():
    for rng in settings(8):
        peak, _ = peak_and_floor(rng)
        # Up to 21 cycles it misses no restart; with more, see below.
        (warmup, total), number = lengths(rng), steps(rng, 1, 21)
        theirs = used(restarting(peak, warmup, total, number))
        schedule = hard_restarts(peak, warmup, total, number)
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_hard_restarts_whose_last_cycle_is_cut_agree():
    for rng in settings(10):
        peak, _ = peak_and_floor(rng)
        # Halves, whose restarts neither of us misses.
        (warmup, total), number = lengths(rng), steps(rng, 1, 8) + 0.5
        theirs = used(restarting(peak, warmup, total, number))
        schedule = hard_restarts(peak, warmup, total, number)
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


@pytest.mark.parametrize(
    ("number", "total", "restart"), [(49, 490, 10), (22, 220, 150), (47, 470, 30)]
)
def test_of_many_hard_restarts_this_one_is_missed(number, total, restart):
    theirs = used(restarting(1.0, 0, total, number), total)
    assert theirs[restart] < 1e-12
    repeated = oc.cosine_restarts_schedule(1.0, total // number, num_cycles=number)
    assert repeated(np.array([restart])).tolist() == [1.0]
    # As above, sped up.
    after_warmup = hard_restarts(1.0, 1, 1 + total, number)
    assert after_warmup(np.array([1 + restart])).tolist() == [1.0]


def wsd_setting(rng):
    peak, floor = peak_and_floor(rng)
    warmup, stable, decay = (steps(rng, 1, 150) for _ in range(3))
    return peak, floor, warmup, stable, decay


@pytest.mark.parametrize("shape", ["cosine", "linear", "1-sqrt"])
@pytest.mark.parametrize("by_total", [False, True])
def test_warmup_stable_decay_agrees_with_the_named_curve(shape, by_total):
    for rng in settings(20 + by_total):
        peak, floor = peak_and_floor(rng)
        # A decay of no steps leaves ours at the peak and theirs at the floor.
        warmup, stable, decay = (steps(rng, least, 150) for least in (0, 0, 1))
        total = warmup + stable + decay
        length = (
            {"num_training_steps": total} if by_total else {"num_stable_steps": stable}
        )
        theirs = used(
            get_wsd_schedule(
                sgd(peak),
                warmup,
                decay,
                **length,
                decay_type=shape,
                min_lr_ratio=floor / peak,
            )
        )
        schedule = oc.warmup_stable_decay_schedule(
            peak,
            total,
            warmup_steps=warmup,
            decay_steps=decay,
            init_value=floor,
            end_value=floor,
            shape=shape,
        )
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def decaying(decay_type, peak, floor, length):
    if decay_type == "cosine":
        return oc.cosine(peak, floor, steps=length)
    power = 0.5 if decay_type == "1-sqrt" else 1.0
    return oc.linear(peak, floor, steps=length, time_exponent=power)


def warming_up(warmup_type, peak, floor, length):
    """The decay of that type, read backwards."""
    decay = decaying(warmup_type, peak, floor, length)
    return oc.shift(oc.join(decay, after="mirror"), length)


@pytest.mark.parametrize("decay_type", ["linear", "cosine", "1-sqrt"])
@pytest.mark.parametrize("warmup_type", ["linear", "cosine", "1-sqrt"])
def test_every_warm_up_and_every_decay_of_wsd_agree(warmup_type, decay_type):
    for rng in settings(22):
        peak, floor, warmup, stable, decay = wsd_setting(rng)
        theirs = used(
            get_wsd_schedule(
                sgd(peak),
                warmup,
                decay,
                num_stable_steps=stable,
                warmup_type=warmup_type,
                decay_type=decay_type,
                min_lr_ratio=floor / peak,
            )
        )
        schedule = oc.splice(
            warming_up(warmup_type, peak, floor, warmup),
            warmup,
            oc.join(
                oc.constant(peak, steps=stable),
                decaying(decay_type, peak, floor, decay),
            ),
        )
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_wsd_with_any_number_of_waves_agrees_and_ends_with_a_jump():
    for rng in settings(23):
        peak, floor, warmup, stable, decay = wsd_setting(rng)
        number = rng.uniform(0.1, 4)
        theirs = used(
            get_wsd_schedule(
                sgd(peak),
                warmup,
                decay,
                num_stable_steps=stable,
                min_lr_ratio=floor / peak,
                num_cycles=number,
            )
        )
        until_decay = oc.join(
            oc.linear(floor, peak, steps=warmup), oc.constant(peak, steps=stable)
        )
        swings = waves(peak, floor, decay, number)
        ended = oc.splice(swings, decay, oc.constant(floor, steps=1))
        schedule = oc.join(until_decay, ended)
        assert distance(schedule, theirs, peak) <= STRETCHED, schedule
