"""Exact time, against Python's integers and fractions."""

import itertools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from optax_cosine import _time
from optax_cosine._time import Time
from optax_cosine._validation import check_counts

LARGEST = 2**31 - 1
FLOAT32 = np.dtype(np.float32)

# Jitted, each function takes the path of traced times.
add, cumulative = jax.jit(_time.add), jax.jit(_time.cumulative)
is_reached = jax.jit(lambda now, boundary: now >= boundary)
least, most = jax.jit(_time.minimum), jax.jit(_time.maximum)
scale = jax.jit(_time.scale)
subtract = jax.jit(lambda a, b: a - b)
whole_numbers = st.one_of(st.integers(0, 1_000), st.integers(0, LARGEST))
# The difference of two of them fits in an int32.
signed_numbers = st.one_of(st.integers(-1_000, 1_000), st.integers(-(2**30), 2**30 - 1))
lengths = st.one_of(st.integers(1, 1_000), st.integers(1, LARGEST))
quarters = st.sampled_from([0.0, 0.25, 0.5, 0.75])


def at(whole: int, frac: float) -> Time:
    return Time(np.array(whole, np.int32), np.array(frac, np.float32))


def whole(number: int) -> Time:
    return at(number, 0)


def stored(steps: object) -> Time:
    return _time.to_time(steps, FLOAT32)


def exact(time: Time) -> Fraction:
    """What is stored, whether or not it is normalized."""
    return int(time.whole) + Fraction(float(time.frac))


@given(now=whole_numbers, numerator=lengths, denominator=lengths)
def test_whole_numbers_are_scaled_exactly(now, numerator, denominator):
    truth = Fraction(now * numerator, denominator)
    times = whole(now), whole(numerator), whole(denominator)
    for result in (scale(*times), _time.scale(*times)):
        if truth > LARGEST:
            assert result.whole == LARGEST
            assert result.frac == 0
        else:
            # A fraction within 2**-20 of a whole number is stored as that number.
            assert abs(exact(result) - truth) <= Fraction(1, 2**20)
            assert 0 <= result.frac < 1
        if truth.denominator == 1 and truth <= LARGEST:
            assert exact(result) == truth


@given(now=whole_numbers, numerator=lengths, denominator=lengths)
def test_a_negative_time_is_scaled_as_a_positive_one(now, numerator, denominator):
    ratio = whole(numerator), whole(denominator)
    positive, negative = scale(whole(now), *ratio), scale(whole(-now), *ratio)
    assert abs(exact(negative) + exact(positive)) <= Fraction(1, 2**20)
    assert 0 <= negative.frac < 1


@given(now=st.integers(0, 10_000), steps=st.integers(1, 99), counts=st.integers(1, 99))
def test_fractions_of_steps_are_scaled_too(now, steps, counts):
    times = ((now, 0.25), (steps, 0.5), (counts, 0.125))
    result = scale(*(at(*time) for time in times))
    truth = (now + 0.25) * (steps + 0.5) / (counts + 0.125)
    total = float(result.whole) + float(result.frac)
    # Fractions are rounded to the grid of stored times, which gives `atol`.
    np.testing.assert_allclose(total, truth, rtol=1e-6, atol=2.0**-24)
    assert float(result.frac) * 2**24 % 1 == 0


def test_a_scaled_time_has_the_derivative_of_the_ratio():
    def scaled(count, steps):
        ratio = _time.from_array(steps, FLOAT32), whole(3)
        return _time.scale(_time.from_array(count, FLOAT32), *ratio).to_float()

    slopes = jax.jit(jax.grad(scaled, (0, 1)))(jnp.float32(10.25), jnp.float32(2))
    np.testing.assert_allclose(slopes, (2 / 3, 10.25 / 3), rtol=1e-6)


# Ties of the last stored digit, which are rounded to even.
@example(now=2**24 + 1, steps=1, counts=2**25)
@example(now=2**24 + 3, steps=1, counts=2**25)
# What is nearly whole is whole. Less than half a step is not 0: a row would be empty.
@example(now=1, steps=1, counts=2**21)
@example(now=2**21 - 1, steps=1, counts=2**21)
@example(now=2**21 + 1, steps=1, counts=2**21)
@given(now=whole_numbers, steps=lengths, counts=lengths)
def test_a_scaled_time_is_stored_as_the_known_one_is(now, steps, counts):
    # A fraction that differs in its last digit puts a boundary at another count.
    known = _time.scale(*(whole(n) for n in (now, steps, counts)))
    traced = scale(*(whole(n) for n in (now, steps, counts)))
    assert traced.whole == known.whole
    assert traced.frac == known.frac


@given(start=whole_numbers, steps=st.integers(-LARGEST, LARGEST))
def test_sums_stay_within_time(start, steps):
    for total in (
        add(whole(start), whole(steps)),
        _time.add(whole(start), whole(steps)),
    ):
        assert total.whole == min(max(start + steps, -LARGEST), LARGEST)
        assert total.frac == 0


@given(a=signed_numbers, b=signed_numbers, fracs=st.tuples(quarters, quarters))
def test_a_sum_of_fractions_is_exact_and_normalized(a, b, fracs):
    times = [
        stored(Fraction(n) + Fraction(f)) for n, f in zip((a, b), fracs, strict=True)
    ]
    truth = sum(map(exact, times))
    for total in (add(*times), _time.add(*times)):
        assert exact(total) == truth
        assert 0 <= total.frac < 1
    assert exact(subtract(*times)) == exact(times[0]) - exact(times[1])


@given(a=whole_numbers, b=whole_numbers, fracs=st.tuples(quarters, quarters))
def test_a_time_is_reached_when_it_is_not_later(a, b, fracs):
    now, boundary = (at(n, f) for n, f in zip((a, b), fracs, strict=True))
    truth = exact(now) >= exact(boundary)
    assert is_reached(now, boundary) == truth
    assert (now >= boundary) == truth
    assert exact(least(now, boundary)) == min(exact(now), exact(boundary))
    assert exact(most(now, boundary)) == max(exact(now), exact(boundary))


@given(
    steps=st.lists(st.tuples(st.integers(0, LARGEST), quarters), min_size=1, max_size=8)
)
def test_lengths_add_up_exactly_until_time_ends(steps):
    column = _time.stack_times([at(n, f) for n, f in steps])
    sums = itertools.accumulate(Fraction(n) + Fraction(f) for n, f in steps)
    known, traced = _time.cumulative(column), cumulative(column)
    for index, truth in enumerate(sums):
        if truth > LARGEST:
            assert known.whole[index] == traced.whole[index] == LARGEST
        else:
            for result in (known, traced):
                assert exact(result.map(lambda x, i=index: x[i])) == truth


@pytest.mark.parametrize("steps", [0, 7, 7.3, LARGEST, Fraction(35, 3), 1 - 2**-30])
def test_a_python_number_is_stored_to_its_nearest(steps):
    time = stored(steps)
    assert abs(exact(time) - Fraction(steps)) <= 2**-25
    assert 0 <= time.frac < 1


@given(
    whole=st.integers(0, LARGEST - 1),
    numerator=st.integers(0, 2**12),
    denominator=st.integers(1, 2**12),
)
@example(whole=2**29, numerator=1, denominator=3)
def test_a_simple_ratio_is_read_back_as_it_was_meant(whole, numerator, denominator):
    ratio = whole + Fraction(numerator % denominator, denominator)
    assert _time.to_exact(stored(ratio)).item() == ratio


@pytest.mark.parametrize(
    ("value", "ratio"),
    [
        (1.1, (11, 10)),
        (2 / 3, (2, 3)),
        (3, (3, 1)),
        (1e-3, (1, 1000)),
        (2.0**31 - 1, (LARGEST, 1)),
    ],
)
def test_a_float_means_the_ratio_beside_it(value, ratio):
    assert _time.to_ratio(value) == ratio


def test_what_is_not_a_number_stays_that():
    assert jnp.isnan(_time.from_array(jnp.nan, FLOAT32).frac)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (np.int8(-128), 0),
        (np.uint8(255), 255),
        (np.uint32(2**32 - 1), LARGEST),
        (np.float32(-0.5), 0),
        (np.float32(2.5), 2.5),
        (np.float32(2.0**31), LARGEST),
        (np.float32(np.inf), LARGEST),
        (np.float32(-np.inf), 0),
        (jnp.bfloat16(256), 256),
    ],
)
def test_a_count_of_any_dtype_is_clamped_to_time(count, expected):
    time = jax.jit(lambda x: _time.from_array(x, FLOAT32))(count)
    assert exact(time) == Fraction(expected)


@pytest.mark.parametrize("count", [10**30, -(10**30), 2**31, 7])
def test_a_count_of_the_host_is_clamped_to_time(count):
    expected = min(max(count, 0), LARGEST)
    for counts in (count, [count], np.array([count], object)):
        np.testing.assert_array_equal(check_counts(counts), expected)
    if abs(count) < 2**63:
        clamped = _time.clamp_counts(np.array([count]))
        np.testing.assert_array_equal(clamped, expected)


@pytest.mark.parametrize(
    ("count", "whole", "frac"),
    [
        (2.0**24 + 1.5, 2**24 + 1, 0.5),
        (LARGEST - 0.25, LARGEST - 1, 0.75),
        # A fraction that float32 rounds up to 1 is a step.
        (8 - 2.0**-40, 8, 0),
        (np.nan, 0, np.nan),
    ],
)
def test_a_count_with_a_fraction_keeps_its_digits(count, whole, frac):
    time = _time.clamp_counts(np.array([count, 0.5]))
    assert isinstance(time, Time)
    np.testing.assert_array_equal(time.whole, [whole, 0])
    np.testing.assert_array_equal(time.frac, np.array([frac, 0.5], np.float32))
    assert time.whole.dtype == np.int32
    assert time.frac.dtype == np.float32


@pytest.mark.parametrize(
    ("start", "steps"), [(0, LARGEST), (LARGEST, 1), (-1, -LARGEST), (-LARGEST, -1)]
)
def test_a_sum_past_the_ends_of_time_is_the_end(start, steps):
    expected = min(max(start + steps, -LARGEST), LARGEST)
    assert add(whole(start), whole(steps)).whole == expected
    assert _time.add(whole(start), whole(steps)).whole == expected


def test_a_count_in_half_precision_keeps_its_fraction():
    time = jax.jit(lambda x: _time.from_array(x, FLOAT32))(jnp.bfloat16(2.5))
    assert exact(time) == 2.5


def test_the_ratio_that_is_read_back_has_numbers_up_to_4096():
    ratio = 5 + Fraction(149, 4093)
    assert _time.to_exact(stored(ratio)).item() == ratio


def test_a_ratio_in_float64_has_numbers_up_to_two_to_the_26():
    ratio = Fraction(1, 5_001)
    assert _time.to_exact(_time.to_time(ratio, np.dtype(np.float64))).item() == ratio


@pytest.mark.parametrize("frac", [2.0**-23, 0.123456])
def test_a_fraction_that_is_not_a_simple_ratio_is_read_back_to_the_bit(frac):
    time = at(7, frac)
    assert _time.to_exact(time).item() == exact(time)


@pytest.mark.parametrize("number", [3, 5, 7, 9, 11, 13])
def test_a_traced_third_times_three_is_stored_as_whole(number):
    time = scale(stored(3 + Fraction(1, number)), whole(number), whole(1))
    assert exact(time) == 3 * number + 1
