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
    return _curve.ratio(*sums, 1 / sum(sums[1]))


@pytest.mark.parametrize("whole", [3, 1_000, 2**24 + 1, 2**30 + 1, LARGEST])
def test_a_ratio_of_integers_is_rounded_once_and_knows_its_error(whole):
    for part in np.random.default_rng(whole).integers(whole // 2 + 1, size=50):
        quotient, error = ratio(np.int32(part), np.int32(whole))
        truth = mpmath.mpf(int(part)) / whole
        assert reference.ulps(quotient, truth) <= 0.501
        together = mpmath.mpf(float(quotient)) + mpmath.mpf(float(error))
        assert abs(together - truth) <= truth * mpmath.mpf(2) ** -33


def test_a_sum_holds_every_int32():
    for number in (0, 1, 255, 2**24 + 1, LARGEST - 64, LARGEST - 63, LARGEST):
        main, rest = _curve.as_sum(jnp.int32(number), jnp.float32(0.5))
        assert float(main) + float(rest) == number + 0.5


def test_an_exponent_of_one_changes_no_bit():
    base = np.random.default_rng(0).random(1_000, np.float32)
    raised, complement = _curve.power(base, 1 - base, np.ones_like(base))
    np.testing.assert_array_equal(raised, base)
    np.testing.assert_array_equal(complement, 1 - base)


@pytest.mark.parametrize("exponent", [0.25, 2.0, 11.0])
def test_powers_fall_with_their_base(exponent):
    steps = np.arange(0, 2**24 + 1, 8_191, dtype=np.float32) / 2**24
    base, rest = 1 - steps, steps
    raised, complement = _curve.power(base, rest, np.full_like(base, exponent))
    assert (np.diff(raised) <= 0).all()
    assert (np.diff(complement) >= 0).all()
    truth = base.astype(float) ** exponent
    assert (
        np.abs(raised - truth).max() <= 16 * 2**-24
    )  # 16 units of the last place of 1


def test_the_slope_of_a_power_is_finite_everywhere():
    def raised(base, exponent):
        return _curve.power(base, 1 - base, exponent)[0]

    for base in (0.0, 1e-30, 0.5, 1.0):
        for exponent in (0.5, 1.0, 2.0):
            slopes = jax.grad(raised, (0, 1))(jnp.float32(base), jnp.float32(exponent))
            assert np.isfinite(slopes).all()


def test_the_weights_of_half_a_cosine_add_up_and_meet_their_ends():
    gone = jnp.linspace(0, 1, 1_001)
    weights = _curve.half_cosine(gone, 1 - gone, gone < 0.5, jnp.zeros_like(gone))
    np.testing.assert_allclose(sum(weights), 1, rtol=1e-6)
    assert [float(w) for w in (weights[0][0], weights[1][0])] == [0, 1]
    assert [float(w) for w in (weights[0][-1], weights[1][-1])] == [1, 0]
