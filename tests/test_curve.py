"""The arithmetic beneath: each function is as exact as it says."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import reference

from optax_cosine import _curve

LARGEST = 2**31 - 1


@jax.jit
def ratio(part, whole):
    sums = [_curve.as_sum(n, jnp.float32(0)) for n in (part, whole)]
    part, whole = sums
    return _curve.ratio(part, whole, 1 / whole.main)


@pytest.mark.parametrize("whole", [3, 1_000, 2**24 + 1, 2**30 + 1, LARGEST])
def test_a_ratio_of_integers_is_rounded_once(whole):
    for part in np.random.default_rng(whole).integers(whole // 2 + 1, size=50):
        quotient = ratio(np.int32(part), np.int32(whole))
        assert reference.ulps(quotient, mpmath.mpf(int(part)) / whole) <= 0.51


@pytest.mark.parametrize("steps", [2.5, 10.1, 12345.678])
def test_a_ratio_of_fractional_lengths_is_rounded_once_too(steps):
    whole, part = int(steps), np.float32(steps % 1)
    total = _curve.as_sum(jnp.int32(whole), jnp.float32(part))
    for count in range(0, whole // 2 + 1, max(1, whole // 40)):
        near = _curve.as_sum(jnp.int32(count), jnp.float32(0.25))
        quotient = jax.jit(_curve.ratio)(near, total, 1 / total.main)
        truth = (count + mpmath.mpf(0.25)) / (whole + mpmath.mpf(float(part)))
        assert reference.ulps(quotient, truth) <= 0.501


def test_a_sum_holds_every_int32_but_for_a_step_beside_the_largest():
    for number in (0, 1, 255, 2**24 + 1, LARGEST - 64, LARGEST - 63, LARGEST):
        main, rest = _curve.as_sum(jnp.int32(number), jnp.float32(0.5))
        lost = abs(float(main) + float(rest) - (number + 0.5))
        assert lost <= (1 if number > LARGEST - 64 else 0)


def test_an_exponent_of_one_changes_no_bit():
    base = np.random.default_rng(0).random(1_000, np.float32)
    raised, complement = _curve.power(base, 1 - base, base < 0.5, np.ones_like(base))
    np.testing.assert_array_equal(raised, base)
    np.testing.assert_array_equal(complement, 1 - base)


@pytest.mark.parametrize("exponent", [0.25, 2.0, 11.0])
def test_powers_fall_with_their_base(exponent):
    steps = np.arange(0, 2**24 + 1, 8_191, dtype=np.float32) / 2**24
    base, rest = 1 - steps, steps
    raised, complement = _curve.power(
        base, rest, base < 0.5, np.full_like(base, exponent)
    )
    assert (np.diff(raised) <= 0).all()
    assert (np.diff(complement) >= 0).all()
    truth = base.astype(float) ** exponent
    assert (
        np.abs(raised - truth).max() <= 16 * 2**-24
    )  # 16 units of the last place of 1


def test_the_slope_of_a_power_is_finite_everywhere():
    def raised(base, exponent):
        return _curve.power(base, 1 - base, base < 0.5, exponent)[0]

    for base in (0.0, 1e-30, 0.5, 1.0):
        for exponent in (0.5, 1.0, 2.0):
            slopes = jax.grad(raised, (0, 1))(jnp.float32(base), jnp.float32(exponent))
            assert np.isfinite(slopes).all()


def test_the_weights_of_half_a_cosine_add_up_and_are_exact_at_the_end():
    near = jnp.linspace(0, 0.5, 1_001)
    small, large = _curve.half_cosine(near)
    np.testing.assert_allclose(small + large, 1, rtol=1e-6)
    assert (small[0], large[0]) == (0, 1)
    np.testing.assert_allclose([small[-1], large[-1]], 0.5, rtol=1e-6)
