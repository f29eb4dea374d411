"""Other clocks and splices: exact where counts are whole, and nested at will."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optax_cosine as oc

LARGEST = 2**31 - 1
RESTARTS = oc.cosine_restarts_schedule(1.0, [7, 4, 9], end_value=0.25)
ENDLESS = oc.cosine_restarts_schedule(1.0, 6, end_value=0.25)
evaluate = jax.jit(lambda schedule, count: schedule(count))


@given(count=st.integers(0, 200), every=st.integers(1, 9))
def test_stairs_hold_each_value_for_as_many_counts(count, every):
    schedule = oc.staircase(RESTARTS, every)
    assert schedule(count) == RESTARTS(count // every)
    assert evaluate(schedule, count) == evaluate(RESTARTS, count // every)


@given(count=st.integers(0, LARGEST), offset=st.integers(-LARGEST, LARGEST))
def test_an_offset_reads_ahead_or_waits(count, offset):
    moved = min(max(count + offset, 0), LARGEST)
    assert oc.shift(ENDLESS, offset)(count) == ENDLESS(moved)
    moved_schedule = oc.shift(ENDLESS, offset)
    assert evaluate(moved_schedule, count) == evaluate(ENDLESS, moved)


@given(
    count=st.one_of(st.integers(0, 100), st.integers(0, LARGEST)),
    stretch=st.one_of(
        st.sampled_from([1.1, 2 / 3, 7, 1e-3, 0.5, 1 / 3]), st.floats(0.01, 100)
    ),
)
def test_a_stretched_clock_is_exact(count, stretch):
    # As the fraction of small numbers that is nearest, or the float itself.
    fraction = (
        (1 / (1 / Fraction(stretch)).limit_denominator(LARGEST))
        if (stretch > 1)
        else Fraction(stretch).limit_denominator(LARGEST)
    )
    time = count / fraction
    if time > LARGEST:
        return
    schedule = oc.stretch(ENDLESS, stretch)
    lap = time % 6
    truth = 0.25 + 0.75 * math.cos(math.pi * float(lap) / 12) ** 2
    assert abs(schedule(count) - truth) <= 1e-7
    assert abs(evaluate(schedule, count) - truth) <= 1e-6


@pytest.mark.parametrize("stretch", [2, 3, 1.5, 1.1, 7, 0.5])
def test_restarts_stay_exact_on_a_stretched_clock(stretch):
    schedule = oc.stretch(ENDLESS, stretch)
    fraction = Fraction(stretch).limit_denominator(1_000)
    period = (6 * fraction).numerator  # counts after which whole laps are over
    starts = period * np.array([0, 1, 2, 1_000, LARGEST // (4 * period)])
    assert (np.asarray(schedule(starts)) == 1).all()
    assert {schedule(int(start)) for start in starts} == {np.float32(1)}
    traced = jax.jit(lambda s: oc.stretch(ENDLESS, s))(np.float32(stretch))
    if stretch != 1.1:  # which float32 cannot hold
        assert (np.asarray(traced(starts)) == 1).all()


@given(at_step=st.integers(0, 30), count=st.integers(0, 60))
def test_a_splice_changes_over_at_its_step(at_step, count):
    schedule = oc.splice(ENDLESS, at_step, RESTARTS)
    inner = RESTARTS, count - at_step
    expected = ENDLESS(count) if count < at_step else inner[0](inner[1])
    assert schedule(count) == expected
    np.testing.assert_allclose(evaluate(schedule, count), expected, rtol=1e-6)


def nested(draw_from):
    numbers = st.integers(1, 12)
    return st.one_of(
        st.tuples(draw_from, numbers).map(lambda x: oc.staircase(x[0], x[1])),
        st.tuples(draw_from, numbers).map(lambda x: oc.shift(x[0], x[1] - 6)),
        st.tuples(draw_from, numbers).map(lambda x: oc.stretch(x[0], x[1] / 5)),
        st.tuples(draw_from, numbers, draw_from).map(lambda x: oc.splice(*x)),
        st.tuples(draw_from, draw_from).map(lambda x: x[0] * x[1]),
        st.tuples(draw_from, numbers).map(lambda x: x[0] * (x[1] / 8)),
        draw_from.map(lambda x: oc.join(oc.linear(0.0, 1.0, steps=3), x)),
    )


schedules = st.recursive(st.sampled_from([RESTARTS, ENDLESS]), nested, max_leaves=4)


@settings(max_examples=8)
@given(schedule=schedules)
def test_combinations_nest_and_agree_on_host_and_device(schedule):
    counts = np.arange(60)
    on_host = np.array([schedule(int(count)) for count in counts])
    with jax.disable_jit():
        some = [schedule(jnp.int32(count)) for count in (0, 7, 31)]
    np.testing.assert_allclose(some, on_host[[0, 7, 31]], rtol=2e-6, atol=1e-7)
    assert oc.Schedule.from_dict(schedule.to_dict()) == schedule
    again = eval(repr(schedule), dict(vars(oc)))
    assert [again(int(count)) for count in counts] == on_host.tolist()


def test_what_is_built_of_traced_numbers_may_be_differentiated():
    def value(stretch, at_step):
        decay = oc.stretch(oc.cosine(1.0, 0.0, steps=10), stretch)
        return oc.splice(decay, at_step, oc.linear(0.5, 0.0, steps=8))(jnp.float32(5))

    by_stretch = jax.grad(value, 0)(2.0, 7)
    angle = math.pi / 4 * 0.5
    truth = math.sin(2 * angle) * math.pi / 2 * 5 / (10 * 2**2)
    np.testing.assert_allclose(by_stretch, truth, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(value, 1)(2.0, 2.0), 0.5 / 8, rtol=1e-5)


@pytest.mark.parametrize("stretch", [3e-10, 0.0, -1.0, math.nan, math.inf, 1e30])
def test_traced_stretches_out_of_range_never_give_nan(stretch):
    value = jax.jit(lambda x, c: oc.stretch(RESTARTS, x)(c))
    for count in (0, 1, 5, 1_000):
        assert 0.25 <= value(stretch, count) <= 1


@pytest.mark.parametrize(
    "offset", [np.int8(-128), np.int16(-(2**15)), np.int32(-(2**31)), math.nan]
)
def test_traced_offsets_out_of_range_wait_or_are_none(offset):
    value = jax.jit(lambda x: oc.shift(RESTARTS, x)(jnp.int32(3)))(offset)
    np.testing.assert_allclose(value, RESTARTS(0 if offset < 0 else 3), rtol=1e-6)


def test_the_last_steps_of_time_are_steps_too():
    waiting = oc.shift(oc.cosine_restarts_schedule(1.0, 10), -7)
    counts = np.arange(LARGEST - 500, LARGEST - 480)
    on_host = [waiting(int(count)) for count in counts]
    np.testing.assert_allclose(waiting(counts), on_host, rtol=1e-6, atol=1e-7)


def test_a_traced_total_of_stairs_is_rounded_up_and_saturates():
    for steps, every in ((2.5, 4), (10_000, 2**20)):
        schedule = oc.staircase(oc.cosine(1.0, 0.0, steps=steps), every)
        total = jax.jit(lambda s: s.total_steps)(schedule)
        expected = min(schedule.total_steps, LARGEST)
        np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_a_clock_with_several_changes_shows_each_of_them():
    values = oc.shift(RESTARTS, 3).to_dict()
    values |= {"every": 4, "counts": [3, 0.0], "steps": [2, 0.0]}
    schedule = oc.Schedule.from_dict(values)
    names = {name: getattr(oc, name) for name in oc.__all__}
    built = eval(repr(schedule), names)
    assert [built(count) for count in range(90)] == [
        schedule(count) for count in range(90)
    ]
