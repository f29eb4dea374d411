"""Optax's schedules."""

import jax
import numpy as np
import optax
import pytest
from agreement import COUNTS, distance, peak_and_floor, settings, steps

import optax_cosine as oc

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.usefixtures("standard_promotion"),
]

# Optax computes in float32: `1 + cos(pi * x)` is off by a few roundings of numbers up
# to pi, and a rate on the way to another by a rounding of the larger.
FLOAT32 = 1e-6


def test_cosine_decay_agrees():
    for rng in settings(1):
        peak, floor = peak_and_floor(rng)
        length = steps(rng, 1, 500)
        theirs = optax.cosine_decay_schedule(peak, length, floor / peak)(COUNTS)
        schedule = oc.cosine_annealing_schedule(peak, length, end_value=floor)
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule


@pytest.mark.parametrize(
    ("least", "most", "tolerance"),
    [
        (1, 4, FLOAT32),
        # The root of a weight near 0 makes its error larger: within 500 steps of the
        # end it is at least 3e-3, so that a rounding of 1 grows to 1e-5.
        (0.5, 1, 1e-5),
    ],
)
def test_cosine_decay_with_an_exponent_agrees(least, most, tolerance):
    for rng in settings(2):
        peak, floor = peak_and_floor(rng)
        length, exponent = steps(rng, 1, 500), rng.uniform(least, most)
        theirs = optax.cosine_decay_schedule(peak, length, floor / peak, exponent)(
            COUNTS
        )
        schedule = oc.cosine_annealing_schedule(
            peak, length, end_value=floor, exponent=exponent
        )
        assert distance(schedule, theirs, peak) <= tolerance, schedule


def test_cosine_decay_agrees_where_it_rises():
    for rng in settings(3):
        top, bottom = peak_and_floor(rng)
        bottom += top / 8  # Optax reaches its end by a ratio, which 0 has not.
        length = steps(rng, 1, 500)
        theirs = optax.cosine_decay_schedule(bottom, length, top / bottom)(COUNTS)
        schedule = oc.cosine(bottom, top, steps=length)
        assert distance(schedule, theirs, top) <= FLOAT32, schedule


def warmup_setting(rng):
    peak, floor = peak_and_floor(rng)
    warmup = steps(rng, 0, 100)
    return {
        "init_value": peak * max(0, rng.uniform(-0.25, 1)),
        "peak_value": peak,
        "warmup_steps": warmup,
        "decay_steps": warmup + steps(rng, 1, 400),
        "end_value": floor,
    }


def test_warmup_cosine_decay_agrees():
    for rng in settings(4):
        options = warmup_setting(rng)
        theirs = optax.warmup_cosine_decay_schedule(**options)(COUNTS)
        total = options.pop("decay_steps")
        schedule = oc.warmup_cosine_annealing_schedule(total_steps=total, **options)
        assert distance(schedule, theirs, options["peak_value"]) <= FLOAT32, schedule


def test_warmup_cosine_decay_with_an_exponent_agrees():
    for rng in settings(5):
        options = warmup_setting(rng) | {"exponent": rng.uniform(1, 4)}
        theirs = optax.warmup_cosine_decay_schedule(**options)(COUNTS)
        total = options.pop("decay_steps")
        schedule = oc.warmup_cosine_annealing_schedule(total_steps=total, **options)
        assert distance(schedule, theirs, options["peak_value"]) <= FLOAT32, schedule


def test_sgdr_agrees_with_any_four_cycles():
    for rng in settings(6):
        cycles = [warmup_setting(rng) for _ in range(4)]
        for cycle in cycles:
            cycle["decay_steps"] = cycle["warmup_steps"] + steps(rng, 1, 60)
        theirs = optax.sgdr_schedule(cycles)(COUNTS)
        parts = []
        for cycle in cycles:
            cycle = dict(cycle)
            total = cycle.pop("decay_steps")
            parts.append(
                oc.warmup_cosine_annealing_schedule(total_steps=total, **cycle)
            )
        schedule = oc.join(*parts)
        peak = max(cycle["peak_value"] for cycle in cycles)
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule


def test_sgdr_agrees_with_the_named_curve():
    for rng in settings(7):
        peak, floor = peak_and_floor(rng)
        start, warmup = peak * rng.uniform(0, 1), steps(rng, 0, 50)
        decay = rng.uniform(0.9, 1)
        lengths = [warmup + steps(rng, 1, 100) for _ in range(4)]
        cycles = [
            {
                "init_value": start,
                "peak_value": peak * decay**k,
                "warmup_steps": warmup,
                "decay_steps": length,
                "end_value": floor * decay**k,
            }
            for k, length in enumerate(lengths)
        ]
        theirs = optax.sgdr_schedule(cycles)(COUNTS)
        schedule = oc.cosine_restarts_schedule(
            peak,
            lengths,
            end_value=floor,
            cycle_warmup_steps=warmup,
            init_value=start,
            peak_factor=decay,
            end_factor=decay,
        )
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule


def one_cycle_setting(rng, knots):
    """Knots at whole steps, none at step 0 nor two at one step."""
    peak, _ = peak_and_floor(rng)
    total = steps(rng, 20, 500)
    inner = np.sort(rng.choice(np.arange(1, total), knots, replace=False))
    # A quarter of a step past each knot, as Optax rounds down, and floats do not meet
    # every whole number exactly.
    portions = ((inner + 0.25) / total).tolist()
    factors = {
        "div_factor": rng.uniform(2, 50),
        "final_div_factor": 10 ** rng.uniform(0, 5),
    }
    return peak, total, inner.tolist(), portions, factors


def each(schedule):
    """One count at a time: Optax's one-cycle curves take no array."""
    return jax.vmap(schedule)(COUNTS)


def test_cosine_onecycle_agrees_with_the_named_curve():
    for rng in settings(8):
        peak, total, _, (portion,), factors = one_cycle_setting(rng, 1)
        options = {"pct_start": portion, **factors}
        theirs = each(optax.cosine_onecycle_schedule(total, peak, **options))
        schedule = oc.cosine_one_cycle_schedule(peak, total, **options)
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule


def test_cosine_onecycle_agrees_where_it_rounds_down_and_the_named_curve_up():
    for rng in settings(9):
        peak, total, (knot,), _, factors = one_cycle_setting(rng, 1)
        portion = min((knot + 0.75) / total, 1.0)
        theirs = each(
            optax.cosine_onecycle_schedule(total, peak, pct_start=portion, **factors)
        )
        low = peak / factors["div_factor"]
        schedule = oc.join(
            oc.cosine(low, peak, steps=knot),
            oc.cosine(peak, low / factors["final_div_factor"], steps=total - knot),
        )
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule


def test_linear_onecycle_agrees():
    for rng in settings(10):
        peak, total, (top, foot), (start, final), factors = one_cycle_setting(rng, 2)
        theirs = each(
            optax.linear_onecycle_schedule(
                total, peak, pct_start=start, pct_final=final, **factors
            )
        )
        low = peak / factors["div_factor"]
        schedule = oc.join(
            oc.linear(low, peak, steps=top),
            oc.linear(peak, low, steps=foot - top),
            oc.linear(low, low / factors["final_div_factor"], steps=total - foot),
        )
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule


def three_parts(rng):
    (high, low), (flat, _) = peak_and_floor(rng), peak_and_floor(rng)
    lengths = [steps(rng, 1, 150) for _ in range(3)]
    theirs = [
        optax.linear_schedule(low, high, lengths[0]),
        optax.constant_schedule(flat),
        optax.cosine_decay_schedule(high, lengths[2], low / high),
    ]
    ours = [
        oc.linear(low, high, steps=lengths[0]),
        oc.constant(flat, steps=lengths[1]),
        oc.cosine(high, low, steps=lengths[2]),
    ]
    return max(high, flat), lengths, theirs, ours


def test_join_schedules_agrees_where_each_part_ends():
    for rng in settings(11):
        peak, lengths, theirs, ours = three_parts(rng)
        boundaries = np.cumsum(lengths[:2]).tolist()
        theirs = optax.join_schedules(theirs, boundaries)(COUNTS)
        schedule = oc.join(*ours)
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule


def test_join_schedules_agrees_at_any_boundaries():
    for rng in settings(12):
        peak, _, theirs, (ramp, flat, fall) = three_parts(rng)
        first, second = sorted([steps(rng, 0, 300), steps(rng, 0, 300)])
        theirs = optax.join_schedules(theirs, [first, second])(COUNTS)
        schedule = oc.splice(oc.splice(ramp, first, flat), second, fall)
        assert distance(schedule, theirs, peak) <= FLOAT32, schedule
