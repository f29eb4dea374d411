"""PyTorch's schedulers, stepped once after each update."""

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
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    LinearLR,
    OneCycleLR,
    SequentialLR,
)
from torch.optim.swa_utils import SWALR
from torch_rates import sgd, used

import optax_cosine as oc

pytestmark = pytest.mark.conformance


def swinging(peak, floor, length):
    """CosineAnnealingLR, which climbs back past T_max."""
    return oc.join(oc.cosine(peak, floor, steps=length), after="mirror")


def test_cosine_annealing_lr_agrees_until_t_max():
    for rng in settings(1):
        peak, floor = peak_and_floor(rng)
        length = steps(rng, 1, 500)
        theirs = used(CosineAnnealingLR(sgd(peak), length, floor), length + 1)
        schedule = oc.cosine_annealing_schedule(peak, length, end_value=floor)
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_cosine_annealing_lr_swings_back_and_forth_past_t_max():
    for rng in settings(2):
        peak, floor = peak_and_floor(rng)
        length = steps(rng, 1, 150)
        theirs = used(CosineAnnealingLR(sgd(peak), length, floor))
        schedule = swinging(peak, floor, length)
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_cosine_annealing_lr_may_rise():
    for rng in settings(3):
        top, bottom = peak_and_floor(rng)
        length = steps(rng, 1, 150)
        theirs = used(CosineAnnealingLR(sgd(bottom), length, top))
        schedule = swinging(bottom, top, length)
        assert distance(schedule, theirs, top) <= TOLERANCE, schedule


def test_cosine_annealing_lr_stepped_once_an_epoch_is_a_staircase():
    for rng in settings(4):
        peak, floor = peak_and_floor(rng)
        epochs, updates = steps(rng, 1, 40), steps(rng, 1, 20)
        by_epoch = used(CosineAnnealingLR(sgd(peak), epochs, floor))
        theirs = by_epoch.repeat(updates)[: COUNTS.size]
        schedule = oc.staircase(swinging(peak, floor, epochs), updates)
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def warm_restarts(peak, floor, first, factor):
    # With a factor above 1, 10 cycles outlast the counts.
    return oc.cosine_restarts_schedule(
        peak,
        first,
        end_value=floor,
        cycle_steps_factor=factor,
        num_cycles=10 if factor > 1 else None,
    )


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_warm_restarts_agree_when_stepped(factor):
    for rng in settings(10 + factor):
        peak, floor = peak_and_floor(rng)
        first = steps(rng, 1, 60)
        scheduler = CosineAnnealingWarmRestarts(sgd(peak), first, factor, floor)
        schedule = warm_restarts(peak, floor, first, factor)
        assert distance(schedule, used(scheduler), peak) <= TOLERANCE, schedule


def used_at(scheduler, epochs):
    (group,) = scheduler.optimizer.param_groups
    values = []
    for epoch in epochs:
        scheduler.step(epoch)
        values.append(group["lr"])
    return np.array(values)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_warm_restarts_agree_at_whole_epochs_but_for_restarts_that_they_miss(factor):
    for rng in settings(20 + factor):
        peak, floor = peak_and_floor(rng)
        first = steps(rng, 1, 60)
        scheduler = CosineAnnealingWarmRestarts(sgd(peak), first, factor, floor)
        theirs = used_at(scheduler, COUNTS.tolist())
        schedule = warm_restarts(peak, floor, first, factor)
        apart = differences(schedule, theirs) > TOLERANCE * peak
        assert set(COUNTS[apart]) <= set(restarts(first, factor)), schedule
        assert (schedule(COUNTS)[apart] == np.float32(peak)).all(), schedule
        assert theirs[apart] == pytest.approx(floor), schedule


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_warm_restarts_agree_at_fractional_epochs(factor):
    # Between whole epochs, where restarts do not lie. Eighths are exact in float32.
    epochs = np.arange(COUNTS.size) / 8 + 1 / 16
    for rng in settings(30 + factor):
        peak, floor = peak_and_floor(rng)
        first = steps(rng, 2, 20)
        scheduler = CosineAnnealingWarmRestarts(sgd(peak), first, factor, floor)
        theirs = used_at(scheduler, epochs.tolist())
        schedule = warm_restarts(peak, floor, first, factor)
        ours = np.asarray(schedule(epochs), np.float64)
        assert np.abs(ours - theirs).max() <= TOLERANCE * peak, schedule


@pytest.mark.parametrize(
    ("first", "factor", "restart"), [(1, 3, 121), (1, 3, 29524), (10, 10, 1110)]
)
def test_warm_restarts_at_an_epoch_miss_this_restart(first, factor, restart):
    scheduler = CosineAnnealingWarmRestarts(sgd(1.0), first, factor)
    schedule = oc.cosine_restarts_schedule(1.0, first, cycle_steps_factor=factor)
    assert used_at(scheduler, [restart]).tolist() == [0.0]
    assert schedule(np.array([restart])).tolist() == [1.0]


def one_cycle_setting(rng, most=0.9):
    """Knots may lie between steps, but not before the first one."""
    peak, _ = peak_and_floor(rng)
    total = steps(rng, 20, 500)
    return peak, {
        "total_steps": total,
        "pct_start": rng.uniform(0.1, most),
        "div_factor": rng.uniform(2, 50),
        "final_div_factor": 10 ** rng.uniform(0, 5),
    }


def one_cycle(shape, values, options, after="hold"):
    """Through the values, each knot where OneCycleLR has it."""
    up = options["pct_start"] * options["total_steps"] - 1
    lengths = [up] * (len(values) - 2)
    lengths.append(options["total_steps"] - 1 - sum(lengths))
    parts = zip(values, values[1:], lengths, strict=False)
    return oc.join(*(shape(a, b, steps=n) for a, b, n in parts), after=after)


def rates_of(peak, options, *, three_phase):
    low = peak / options["div_factor"]
    lowest = low / options["final_div_factor"]
    return [low, peak, low, lowest] if three_phase else [low, peak, lowest]


@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_agrees_and_turns_back_after_its_end(three_phase):
    for rng in settings(40 + three_phase):
        peak, options = one_cycle_setting(rng, most=0.5 if three_phase else 0.9)
        scheduler = OneCycleLR(
            sgd(peak, momentum=0.9), peak, **options, three_phase=three_phase
        )
        # One step past the last is as far as it goes: the one after raises.
        theirs = used(scheduler, options["total_steps"] + 1)
        values = rates_of(peak, options, three_phase=three_phase)
        schedule = one_cycle(oc.cosine, values, options, after="mirror")
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_agrees_along_straight_lines(three_phase):
    for rng in settings(42 + three_phase):
        peak, options = one_cycle_setting(rng, most=0.5 if three_phase else 0.9)
        scheduler = OneCycleLR(
            sgd(peak, momentum=0.9),
            peak,
            **options,
            three_phase=three_phase,
            anneal_strategy="linear",
        )
        # A step past the last it extrapolates to below its own minimum.
        theirs = used(scheduler, options["total_steps"])
        values = rates_of(peak, options, three_phase=three_phase)
        schedule = one_cycle(oc.linear, values, options)
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_swings_the_momentum_the_other_way(three_phase):
    for rng in settings(44 + three_phase):
        peak, options = one_cycle_setting(rng, most=0.5 if three_phase else 0.9)
        high, low = rng.uniform(0.9, 1), rng.uniform(0.5, 0.9)
        scheduler = OneCycleLR(
            sgd(peak, momentum=0.9),
            peak,
            **options,
            three_phase=three_phase,
            max_momentum=high,
            base_momentum=low,
        )
        theirs = used(scheduler, options["total_steps"] + 1, "momentum")
        values = [high, low, high, high] if three_phase else [high, low, high]
        schedule = one_cycle(oc.cosine, values, options, after="mirror")
        assert distance(schedule, theirs, high) <= TOLERANCE, schedule


def test_one_cycle_agrees_with_the_named_curve_where_its_knot_is_whole():
    for rng in settings(46):
        peak, options = one_cycle_setting(rng)
        total = options["total_steps"]
        up = steps(rng, 1, total - 2)
        options["pct_start"] = (up + 1) / total
        theirs = used(OneCycleLR(sgd(peak, momentum=0.9), peak, **options), total)
        # Its knots are at pct_start * total_steps - 1 and total_steps - 1.
        options |= {"total_steps": total - 1, "pct_start": up / (total - 1)}
        schedule = oc.cosine_one_cycle_schedule(peak, **options)
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_sequential_lr_agrees_after_a_linear_warm_up_cut_anywhere():
    for rng in settings(50):
        peak, floor = peak_and_floor(rng)
        # LinearLR cannot start at 0.
        start = rng.uniform(0.01, 1)
        warmup, milestone = steps(rng, 1, 100), steps(rng, 1, 150)
        length = steps(rng, 1, 150)
        optimizer = sgd(peak)
        parts = [
            LinearLR(optimizer, start, total_iters=warmup),
            CosineAnnealingLR(optimizer, length, floor),
        ]
        theirs = used(SequentialLR(optimizer, parts, [milestone]))
        ramp = oc.linear(start * peak, peak, steps=warmup)
        schedule = oc.splice(ramp, milestone, swinging(peak, floor, length))
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_sequential_lr_agrees_where_the_warm_up_ends_at_the_milestone():
    for rng in settings(51):
        peak, floor = peak_and_floor(rng)
        start = rng.uniform(0.01, 1)
        warmup, length = steps(rng, 1, 100), steps(rng, 1, 150)
        optimizer = sgd(peak)
        parts = [
            LinearLR(optimizer, start, total_iters=warmup),
            CosineAnnealingLR(optimizer, length, floor),
        ]
        theirs = used(SequentialLR(optimizer, parts, [warmup]))
        ramp = oc.linear(start * peak, peak, steps=warmup)
        schedule = oc.join(ramp, swinging(peak, floor, length))
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_sequential_lr_agrees_after_a_constant_warm_up():
    for rng in settings(52):
        peak, floor = peak_and_floor(rng)
        factor = rng.uniform(0.01, 1)
        warmup, milestone = steps(rng, 1, 100), steps(rng, 1, 150)
        length = steps(rng, 1, 150)
        optimizer = sgd(peak)
        parts = [
            ConstantLR(optimizer, factor, total_iters=warmup),
            CosineAnnealingLR(optimizer, length, floor),
        ]
        theirs = used(SequentialLR(optimizer, parts, [milestone]))
        before = oc.join(
            oc.constant(factor * peak, steps=warmup), oc.constant(peak, steps=1)
        )
        schedule = oc.splice(before, milestone, swinging(peak, floor, length))
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_chained_schedulers_are_a_product():
    for rng in settings(53):
        # With a floor, the chain is not the product of its links. Nor is it, past
        # T_max, while the warm-up goes on: CosineAnnealingLR then forgets it.
        peak, _ = peak_and_floor(rng)
        start, length = rng.uniform(0.01, 1), steps(rng, 1, 150)
        warmup = steps(rng, 1, length)
        optimizer = sgd(peak)
        links = [
            LinearLR(optimizer, start, total_iters=warmup),
            CosineAnnealingLR(optimizer, length),
        ]
        theirs = used(ChainedScheduler(links, optimizer))
        schedule = oc.linear(start, 1.0, steps=warmup) * swinging(peak, 0.0, length)
        assert distance(schedule, theirs, peak) <= TOLERANCE, schedule


def test_swa_lr_goes_to_its_rate_and_stays():
    for rng in settings(54):
        rate, _ = peak_and_floor(rng)
        swa_rate, _ = peak_and_floor(rng)
        length = steps(rng, 1, 500)
        theirs = used(SWALR(sgd(rate), swa_rate, length, "cos"))
        schedule = oc.cosine(rate, swa_rate, steps=length)
        assert distance(schedule, theirs, max(rate, swa_rate)) <= TOLERANCE, schedule
