"""Exact time, against Python's integers and fractions."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optax_cosine import _instant
from optax_cosine._instant import Instant

LARGEST = 2**31 - 1

rescale = jax.jit(_instant.rescaled)
whole_numbers = st.one_of(st.integers(0, 1_000), st.integers(0, LARGEST))
lengths = st.one_of(st.integers(1, 1_000), st.integers(1, LARGEST))


def whole(number: int) -> Instant:
    return Instant(np.int32(number), np.float32(0))


@given(now=whole_numbers, steps=lengths, counts=lengths)
def test_whole_numbers_are_rescaled_exactly(now, steps, counts):
    truth = Fraction(now * steps, counts)
    result = rescale(whole(now), whole(steps), whole(counts))
    if truth > LARGEST:
        assert result.whole == LARGEST
    else:
        assert result.whole == truth.__floor__()
        np.testing.assert_allclose(result.part, float(truth % 1), atol=1e-7)


@given(now=st.integers(0, 10_000), steps=st.integers(1, 99), counts=st.integers(1, 99))
def test_parts_are_rescaled_too(now, steps, counts):
    times = ((now, 0.25), (steps, 0.5), (counts, 0.125))
    result = rescale(*(Instant(np.int32(n), np.float32(part)) for n, part in times))
    truth = (now + 0.25) * (steps + 0.5) / (counts + 0.125)
    total = float(result.whole) + float(result.part)
    np.testing.assert_allclose(total, truth, rtol=1e-6)


@given(start=whole_numbers, steps=st.integers(-LARGEST, LARGEST))
def test_sums_stay_within_time(start, steps):
    total = jax.jit(_instant.plus)(whole(start), whole(steps))
    assert total.whole == min(max(start + steps, 0), LARGEST)
    assert total.part == 0


@given(
    a=whole_numbers,
    b=whole_numbers,
    parts=st.lists(st.sampled_from([0, 0.25, 0.75]), min_size=2, max_size=2),
)
def test_an_instant_is_reached_when_it_is_not_later(a, b, parts):
    now, boundary = (
        Instant(np.int32(n), np.float32(p)) for n, p in zip((a, b), parts, strict=True)
    )
    reached = jax.jit(_instant.reached)(now, boundary)
    assert reached == (
        Fraction(a) + Fraction(parts[0]) >= Fraction(b) + Fraction(parts[1])
    )


@pytest.mark.parametrize("steps", [0, 7, 7.3, LARGEST, Fraction(35, 3), 1 - 2**-30])
def test_a_python_number_is_stored_to_its_nearest(steps):
    stored = _instant.exact(steps, np.dtype(np.float32))
    assert abs(_instant.number(*stored) - steps) <= 2**-25
    assert 0 <= stored.part < 1


@pytest.mark.parametrize(
    ("value", "fraction"),
    [
        (1.1, (11, 10)),
        (2 / 3, (2, 3)),
        (3, (3, 1)),
        (1e-3, (1, 1000)),
        (2.0**31 - 1, (LARGEST, 1)),
    ],
)
def test_a_float_means_the_fraction_beside_it(value, fraction):
    assert _instant.as_fraction(value) == fraction


def test_not_a_number_stays_none():
    assert jnp.isnan(_instant.as_instant(jnp.nan, np.float32).part)
