"""The floating-point building blocks: each function is as exact as it says."""

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import reference
from sweeps import sweep

from optax_cosine import _curve
from optax_cosine._time import Time

LARGEST = 2**31 - 1
FLOAT32 = np.dtype(np.float32)


def time(whole: int, frac: float) -> Time:
    return Time(np.array([whole], np.int32), np.array([frac], np.float32))


def positions(start: Time, end: Time, *, is_cosine: bool) -> list:
    """The position after a step if the clock is known, and if it is traced."""
    flag = np.array([is_cosine])
    known = _curve.position_per_step(start, end, flag)
    traced = jax.jit(_curve.position_per_step)(start, end, flag)
    return [known[0], traced[0]]


LENGTHS = [
    *(time(whole, frac) for whole in (1, 2, 3, 1_000) for frac in (0, 0.1, 0.75)),
    *(time(12_345, 1 - 2**-24), time(2**24 - 1, 0.5), time(2**24 + 1, 0)),
    *(time(2**30 + 1, 0), time(LARGEST - 1, 0.5), time(LARGEST, 0)),
]


@pytest.mark.parametrize("is_cosine", [False, True])
@pytest.mark.parametrize("begin", [0, -1, -7, -(2**24) - 1, -LARGEST])
def test_the_position_after_a_step_is_rounded_once(begin, is_cosine):
    for end in LENGTHS:
        length = int(end.whole[0]) + mpmath.mpf(float(end.frac[0])) - begin
        truth = (mpmath.pi / 2 if is_cosine else 1) / length
        known, traced = positions(time(begin, 0), end, is_cosine=is_cosine)
        assert reference.ulps(known, truth) <= 0.5001
        # A traced length is corrected for what its rounding lost.
        assert reference.ulps(traced, truth) <= 1.01


def test_a_length_of_no_steps_has_a_finite_position():
    for is_cosine in (False, True):
        values = np.array(positions(time(5, 0), time(5, 0), is_cosine=is_cosine))
        assert np.isfinite(values * np.float32(LARGEST)).all()
        assert (values > 1e18).all()


def weights() -> np.ndarray:
    return np.random.default_rng(0).random(1_000, np.float32) / 2


raise_to_power = jax.jit(_curve.raise_to_power, static_argnums=3)
ROUGHLY, PRECISELY = _curve.one_minus_power, _curve.one_minus_power_precisely
both_ways = pytest.mark.parametrize("one_minus", [ROUGHLY, PRECISELY])


@both_ways
@pytest.mark.parametrize("is_base", [True, False])
def test_an_exponent_of_one_changes_no_bit(is_base, one_minus):
    weight = weights()
    flags = np.full(weight.shape, is_base)
    ones = np.ones_like(weight)
    bent, is_power = raise_to_power(weight, flags, ones, one_minus)
    np.testing.assert_array_equal(bent, weight)
    np.testing.assert_array_equal(is_power, flags)


@both_ways
@pytest.mark.parametrize("exponent", [0.003, 0.25, 2.0, 11.0])
def test_powers_fall_with_their_base(exponent, one_minus):
    steps = np.arange(0, 2**24 + 1, 8_191, dtype=np.float32) / 2**24
    base, exponents = 1 - steps, np.full_like(steps, exponent)
    is_base = base < steps
    bent, is_power = raise_to_power(
        np.minimum(base, steps), is_base, exponents, one_minus
    )
    raised = np.where(is_power, bent, 1 - bent)
    rest = np.where(is_power, 1 - bent, bent)
    assert (np.diff(raised) <= 0).all()
    assert (np.diff(rest) >= 0).all()
    assert (bent <= 0.5).all()
    truth = base.astype(float) ** exponent
    # 16 ulp of 1.
    assert np.abs(raised - truth).max() <= 16 * 2**-24


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("exponent", [0.003, 0.25, 1.5, 11.0])
def test_what_a_power_lacks_to_1_keeps_its_digits(exponent, dtype, x64):
    rest = np.geomspace(2.0**-40, 0.5, 5_000).astype(dtype)
    flags = np.zeros(rest.shape, np.bool_)
    exponents = np.full_like(rest, exponent)
    bent, is_power = map(np.asarray, raise_to_power(rest, flags, exponents, PRECISELY))
    exponent = float(dtype(exponent))
    truth = -np.expm1(exponent * np.log1p(-rest.astype(np.longdouble)))
    # The difference of 1 and the power would have no digit of the smallest of them.
    error = np.abs(bent / truth - 1)[~is_power]
    most, unit = (2.0**-5, 2.0**-24) if dtype == np.float32 else (2.0**-11, 2.0**-53)
    assert error.max() < 3 * unit / most
    assert error[truth[~is_power] < 0.9 * most].max() < 6 * unit
    assert (np.diff(bent[~is_power]) >= 0).all()


@pytest.mark.parametrize("exponent", [0.25, 1.5, 3.0])
def test_the_two_formulas_of_a_small_difference_meet_without_a_step_back(exponent, x64):
    middle = -np.expm1(-(2.0**-11) / exponent)
    rest = middle + np.arange(-2_000, 2_000) * np.spacing(middle)
    flags, exponents = np.zeros(rest.shape, np.bool_), np.full_like(rest, exponent)
    bent, _ = raise_to_power(rest, flags, exponents, PRECISELY)
    assert (np.diff(bent) >= 0).all()


def test_the_slope_of_a_power_is_finite_everywhere():
    def raised(base, exponent):
        is_base = base < 0.5
        weight = jnp.where(is_base, base, 1 - base)
        bent, is_power = _curve.raise_to_power(weight, is_base, exponent, ROUGHLY)
        return jnp.where(is_power, bent, 1 - bent)

    for base in (0.0, 1e-30, 0.5, 1.0):
        for exponent in (0.5, 1.0, 2.0):
            slopes = jax.grad(raised, (0, 1))(jnp.float32(base), jnp.float32(exponent))
            assert np.isfinite(slopes).all()
            if base in (0.5, 1.0):
                truth = (
                    exponent * base ** (exponent - 1),
                    base**exponent * math.log(base),
                )
                np.testing.assert_allclose(slopes, truth, rtol=1e-6)


def test_the_weight_of_the_farther_end_is_half_a_cosine_and_exact_at_the_nearer_end():
    span = _curve.span_of_row(np.array(1), FLOAT32)
    assert span == np.float32(math.pi / 2)
    assert _curve.span_of_row(np.array(0), FLOAT32) == 1
    angles = jnp.linspace(0, span / 2, 1_001)
    weight = _curve.far_weight(angles)
    truth = (1 - np.cos(2 * np.asarray(angles, np.float64))) / 2
    np.testing.assert_allclose(weight, truth, rtol=5e-7)
    assert weight[0] == 0
    np.testing.assert_allclose(weight[-1], 0.5, rtol=1e-6)


@sweep("binade", range(-31, 0), [-2, -1])
def test_the_weight_of_the_farther_end_never_falls_along_half_a_row(binade):
    """For every float32 of a binade: from a step of 2**31 - 1 steps to the middle."""
    middle = np.float32(math.pi / 4)
    bounds = np.array([2.0**binade, 2.0 ** (binade + 1)], np.float32)
    first, last = bounds.view(np.int32)
    angles = np.arange(first, last, dtype=np.int32).view(np.float32)
    weight = jax.jit(_curve.far_weight)(np.minimum(angles, middle))
    assert (np.diff(weight) >= 0).all()


def test_a_clipped_value_keeps_its_derivative():
    values = [-1.0, 0.0, 0.5, 1.0, 2.0]
    clipped = [jax.jit(_curve.clip_value)(0.0, value, 1.0) for value in values]
    np.testing.assert_array_equal(clipped, [0, 0, 0.5, 1, 1])
    for value in values:
        assert jax.grad(_curve.clip_value, 1)(0.0, value, 1.0) == 1
