"""Parts, joined, scaled and stacked."""

from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest
import reference
from sweeps import sweep

import optax_cosine as oc

RISE, FALL = oc.linear(0.0, 1.0, steps=4), oc.cosine(1.0, 0.0, steps=6)


def test_parts_become_one_table_however_they_are_grouped():
    flat: Any = oc.join(RISE, FALL, RISE)
    assert oc.join(oc.join(RISE, FALL), RISE) == flat
    assert oc.join(RISE, oc.join(FALL, RISE)) == flat
    assert [phase.steps for phase in flat.phases] == [4, 6, 4]
    assert oc.join(FALL) == FALL


def test_a_named_curve_is_the_join_of_its_parts():
    schedule = oc.warmup_cosine_annealing_schedule(
        3e-4, 1_000, warmup_steps=100, hold_steps=50, end_value=3e-5
    )
    assert schedule == oc.join(
        oc.linear(0.0, 3e-4, steps=100),
        oc.constant(3e-4, steps=50),
        oc.cosine(3e-4, 3e-5, steps=850),
    )


def test_an_endless_schedule_may_stand_last():
    schedule = oc.join(RISE, oc.cosine_restarts_schedule(1.0, 6), after="hold")
    counts = np.arange(40)
    again = [FALL((count - 4) % 6) for count in range(4, 40)]
    expected = [*[RISE(count) for count in range(4)], *again]
    np.testing.assert_allclose(schedule(counts), expected, rtol=1e-6, atol=1e-7)
    assert [schedule(int(count)) for count in counts] == expected


def test_what_is_not_a_table_joins_too():
    product = FALL * FALL
    schedule = oc.join(RISE, product, FALL)
    assert [schedule(count) for count in (0, 4, 10, 16)] == [0, 1, 1, 0]
    assert schedule.total_steps == 16


def test_fractional_lengths_add_up_exactly():
    thirds = oc.join(*[oc.linear(0.0, 1.0, steps=1 / 3)] * 3)
    assert thirds.total_steps == 1
    assert thirds(1) == thirds(jnp.int32(1)) == 1


@pytest.mark.parametrize("after", ["hold", "repeat", "mirror"])
def test_what_follows_the_end_is_a_number_of_the_schedule(after):
    held, folded = oc.join(RISE, FALL), oc.join(RISE, FALL, after=after)
    assert jax.tree.structure(held) == jax.tree.structure(folded)
    past = {"hold": 0.0, "repeat": 0.25, "mirror": FALL(5)}
    assert folded(11) == past[after]
    np.testing.assert_allclose(folded(jnp.int32(11)), past[after], rtol=1e-6)


def test_a_schedule_that_is_an_argument_may_be_joined_and_repeated():
    joined = jax.jit(lambda s: oc.join(RISE, s)(jnp.arange(12)))(FALL)
    np.testing.assert_allclose(joined, oc.join(RISE, FALL)(np.arange(12)), rtol=1e-6)
    endless = jax.jit(lambda s: oc.join(RISE, s)(jnp.arange(30)))(
        oc.join(FALL, after="repeat")
    )
    expected = oc.join(RISE, oc.join(FALL, after="repeat"))(np.arange(30))
    np.testing.assert_allclose(endless, expected, rtol=1e-6, atol=1e-7)


def test_schedules_of_all_kinds_of_table_are_one_population():
    kinds = [
        oc.cosine_annealing_schedule(0.1, 50),
        oc.warmup_stable_decay_schedule(0.2, 50, warmup_steps=5, decay_steps=10),
        oc.cosine_restarts_schedule(0.3, [9, 11, 7, 20]),
        oc.cosine_restarts_schedule(0.4, 10),
        oc.join(RISE, FALL, after="mirror"),
    ]
    kinds = [kinds[i % 5] * (1 + i) for i in range(64)]
    population = oc.stack(kinds)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(population))
    counts = jnp.arange(-2, 70)
    values = jax.jit(jax.vmap(lambda schedule: schedule(counts)))(population)
    for kind, row in zip(kinds, values, strict=True):
        np.testing.assert_array_max_ulp(np.asarray(row), np.asarray(kind(counts)), 2)
    first = jax.tree.map(lambda leaf: leaf[1], population)
    assert [first(count) for count in (0, 5, 50)] == [0, np.float32(0.4), 0]


def test_combinations_of_one_kind_stack():
    schedules = [oc.splice(RISE, 2, FALL * x) for x in (1.0, 0.5)]
    schedules[1] = oc.splice(oc.join(RISE, FALL), 3, FALL)
    values = jax.vmap(lambda schedule: schedule(3))(oc.stack(schedules))
    np.testing.assert_allclose(values, [s(3) for s in schedules], rtol=1e-6)


def test_traced_schedules_stack():
    def build(peaks):
        return oc.stack([oc.linear(0.0, peak, steps=4) for peak in peaks])

    population = jax.jit(build)([1.0, 2.0])
    values = jax.vmap(lambda schedule: schedule(2))(population)
    np.testing.assert_allclose(values, [0.5, 1.0])


def test_schedules_of_two_dtypes_meet_under_x64(x64):
    narrow = oc.cosine(np.float32(0.1), np.float32(0.0), steps=10)
    wide = oc.cosine(0.1, 0.0, steps=10)
    for schedule in (narrow * wide, oc.join(narrow, wide), oc.splice(wide, 3, narrow)):
        assert schedule(jnp.int32(4)).dtype == schedule(4).dtype == np.float64
    leaves = jax.tree.leaves(oc.stack([narrow, wide]))
    assert [leaf.dtype for leaf in leaves] == [np.int32, np.float64, np.int32]


LINE = {"init_value": 0.7, "end_value": -0.2, "steps": 1_000}
EXPONENTS = [0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 9.0]


def line_at(count, exponent, time_exponent=1.0) -> mpmath.mpf:
    """The formula of the docstring, with 50 digits."""
    first, last = reference.exact(0.7), reference.exact(-0.2)
    part = mpmath.mpf(min(max(count, 0), 1_000)) / 1_000
    bent = 1 - part ** reference.exact(time_exponent)
    return last + (first - last) * bent ** reference.exact(exponent)


@sweep("time_exponent", [1.0, 0.5, 2.0], [0.5])
@sweep("exponent", EXPONENTS, EXPONENTS[1:6:2])
def test_a_power_of_a_line_is_that_of_the_formula(exponent, time_exponent):
    if exponent < 0.5 and time_exponent != 1:
        # Beyond the contract: a power of time is known from the start of a phase, and
        # a small exponent enlarges what is lost at its end.
        exponent = 0.5
    exponents = {"exponent": exponent, "time_exponent": time_exponent}
    schedule = oc.linear(**LINE, **exponents)
    traced = jax.jit(lambda x: oc.linear(**LINE, **x))(exponents)
    counts = np.array(
        [-3, 0, 1, 2, 17, 250, 499, 500, 501, 750, 998, 999, 1_000, 2_000]
    )
    closed_over = jax.jit(lambda c: schedule(c))(counts)
    rows = zip(
        counts.tolist(), schedule(counts), closed_over, traced(counts), strict=True
    )
    is_straight = exponent == time_exponent == 1
    for count, *values in rows:
        truth = line_at(count, exponent, time_exponent)
        for value in values:
            assert reference.ulps(value, truth, 0.7) <= (8 if is_straight else 16)
        assert reference.ulps(schedule(count), truth, 0.7) <= 1
    for values in (schedule(counts), closed_over, traced(counts)):
        assert (np.diff(values) <= 0).all()
        assert (values[0], values[-1]) == (np.float32(0.7), np.float32(-0.2))


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_a_power_of_a_line_is_the_polynomial_schedule_of_optax(exponent):
    ours = oc.linear(**LINE, exponent=exponent)
    theirs = optax.polynomial_schedule(0.7, -0.2, exponent, 1_000)
    counts = np.arange(0, 1_100)
    # Optax subtracts the elapsed fraction from 1, which is off by a rounding of 1. The
    # root of a fraction near 0 makes this error larger.
    tolerance = 1e-6 if exponent >= 1 else 5e-6
    np.testing.assert_allclose(ours(counts), theirs(counts), rtol=0, atol=tolerance)
    later = optax.polynomial_schedule(0.7, -0.2, exponent, 900, transition_begin=100)
    waiting = oc.shift(oc.linear(0.7, -0.2, steps=900, exponent=exponent), -100)
    np.testing.assert_allclose(waiting(counts), later(counts), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", [oc.linear, oc.cosine])
@pytest.mark.parametrize("count", [1, 5, 13, 19])
@pytest.mark.parametrize("at", [1.0, 0.5, 2.0])
def test_the_derivative_by_an_exponent_of_time_is_that_of_a_difference(
    kind, count, at, x64
):
    def value(time_exponent, exponent):
        bends = {"exponent": exponent, "time_exponent": time_exponent}
        return kind(1.0, 0.0, steps=20, **bends)(jnp.int64(count))

    for exponent in (1.0, 1.5):
        slope = jax.grad(value)(at, exponent)
        step = 1e-5
        difference = value(at + step, exponent) - value(at - step, exponent)
        np.testing.assert_allclose(slope, difference / (2 * step), rtol=1e-6)


def test_the_derivative_by_the_exponent_of_a_line_is_that_of_the_formula(x64):
    def formula(exponent, count):
        return -0.2 + 0.9 * (1 - count / 1_000) ** exponent

    def ours(exponent, count):
        return oc.linear(**LINE, exponent=exponent)(count)

    for exponent in (0.5, 1.0, 2.0):
        for count in (3.0, 250.0, 700.0):
            slopes = jax.grad(ours, (0, 1))(exponent, count)
            expected = jax.grad(formula, (0, 1))(exponent, count)
            np.testing.assert_allclose(slopes, expected, rtol=1e-9)


KINDS: dict[str, Any] = {
    "table": oc.join(RISE, FALL),
    "endless": oc.cosine_restarts_schedule(0.3, 10, end_value=0.1),
    "product": FALL * oc.cosine_restarts_schedule(0.3, 10, end_value=0.1),
    "staircase": oc.staircase(FALL, 3),
    "spliced": oc.splice(oc.cosine_restarts_schedule(0.3, 10), 7, RISE),
}


@sweep("name", KINDS, ["table", "product"])
def test_a_negated_schedule_has_the_negated_values(name):
    schedule = KINDS[name]
    negated, counts = -schedule, np.arange(-1, 40)
    assert negated == -1 * schedule == schedule * -1.0 == schedule / -1
    assert -negated == schedule
    values = [schedule(int(count)) for count in counts]
    assert [negated(int(count)) for count in counts] == [-value for value in values]
    np.testing.assert_array_equal(negated(counts), -schedule(counts))
    assert negated.total_steps == schedule.total_steps
    traced = jax.jit(lambda s, c: (-s)(c))(schedule, counts)
    np.testing.assert_array_max_ulp(
        np.asarray(traced), np.asarray(-schedule(counts)), 2
    )


SUMS = {
    "schedule + schedule": lambda s: s + FALL,
    "schedule + number": lambda s: s + 0.1,
    "number + schedule": lambda s: 0.1 + s,
    "schedule - schedule": lambda s: s - FALL,
    "schedule - number": lambda s: s - 0.1,
    "number - schedule": lambda s: 1 - s,
    "NumPy's number + schedule": lambda s: np.float32(0.1) + s,
    "NumPy's number - schedule": lambda s: np.float32(0.1) - s,
    "schedule + JAX's number": lambda s: s + jnp.float32(0.1),
    "JAX's number - schedule": lambda s: jnp.float32(1) - s,
    "sum of schedules": lambda s: sum([s, s]),
}
SENTENCE = (
    r"schedules are not added or subtracted: scale them with \*, multiply two of them "
    r"with \*, or write a function of the count, "
    r"lambda count: first\(count\) \+ second\(count\)\."
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SUMS)
def test_a_sum_or_a_difference_is_refused_with_a_sentence(name, kind):
    with pytest.raises(TypeError, match=SENTENCE):
        SUMS[name](KINDS[kind])
    added = [0.1]
    with pytest.raises(TypeError, match=SENTENCE):
        added[0] += KINDS[kind]


def test_a_schedule_is_multiplied_by_numbers_and_schedules_alone():
    rise: Any = RISE
    for factor in ("2", None, [1.0], abs):
        with pytest.raises(TypeError, match=r"(unsupported operand|can't multiply)"):
            _ = rise * factor
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = rise / FALL
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = 1 / rise
    with pytest.raises(ValueError, match=r"divisor must not be 0, got 0\."):
        _ = rise / 0
    with pytest.raises(ValueError, match=r"factor must be finite .* got nan\."):
        _ = rise * np.nan
    with pytest.raises(ValueError, match=r"factor=1e\+38 takes a rate of .* to 1e\+39"):
        _ = oc.cosine(10.0, 0.0, steps=3) * 1e38
