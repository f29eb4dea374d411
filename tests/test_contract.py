"""What every schedule must do, one table of schedules driving all tests."""

import copy
import functools
import pickle
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from cases import CASES, FEW, plain
from programs import through_json
from sweeps import sweep

import optax_cosine as oc

LARGEST = 2**31 - 1
# Rounded for the peak.
WHOLE_BY_NATURE = {
    "one cycle": ["total_steps"],
}
COUNTS = np.concatenate([np.arange(-3, 130), [999, 1_000, 1_001, 10_000_005, LARGEST]])

names = pytest.mark.parametrize("name", CASES)
# Where each case compiles programs of its own.
most = sweep("name", CASES, FEW[::2])
# One of each way to be evaluated, for what does not depend on the numbers.
KINDS = ["cosine", "mirrored", "warm-up once", "stretched", "product"]
kinds = sweep("name", KINDS, ["mirrored", "warm-up once"])
few_kinds = sweep("name", KINDS, ["mirrored"])


@functools.cache
def truths(name: str) -> list[Any]:
    return [CASES[name].exact(int(count)) for count in COUNTS]


def assert_exact(name: str, values, units: int) -> None:
    case = CASES[name]
    for count, value, truth in zip(COUNTS, values, truths(name), strict=True):
        if units > 16 and count > 1_000_000:
            continue
        scale = None if case.units == 8 else case.largest
        assert reference.ulps(value, truth, scale) <= units, (count, value)


@names
def test_on_the_host_a_schedule_is_within_a_unit(name):
    values = [plain(name)(int(count)) for count in COUNTS]
    assert {type(value) for value in values} == {np.float32}
    assert_exact(name, values, 1)


@most
def test_an_array_of_counts_is_within_the_units_of_the_contract(name):
    values = plain(name)(COUNTS)
    assert values.dtype == np.float32
    assert not values.weak_type
    assert_exact(name, values, CASES[name].units)


@most
def test_a_schedule_that_the_compiler_knows_is_as_exact(name):
    values = jax.jit(plain(name))(COUNTS.astype(np.int32))
    assert_exact(name, values, CASES[name].units)


@kinds
def test_vmap_scan_cond_and_checkpoint_agree(name):
    schedule, counts = plain(name), jnp.asarray(COUNTS[:60], np.int32)
    expected = np.asarray(schedule(counts))
    _, scanned = jax.lax.scan(lambda carry, c: (carry, schedule(c)), None, counts)
    # These are three programs, and each may round in its own way.
    mapped = np.asarray(jax.vmap(schedule)(counts))
    np.testing.assert_array_max_ulp(mapped, expected, 2)
    np.testing.assert_array_max_ulp(np.asarray(scanned), expected, 2)
    branch = jax.lax.cond(jnp.bool(1), schedule, lambda _: jnp.float32(9), counts[7])
    again = jax.jit(jax.checkpoint(schedule))(counts[7])
    np.testing.assert_array_max_ulp(np.array([branch, again]), expected[[7, 7]], 8)


@most
def test_a_schedule_built_of_traced_numbers_is_as_exact(name):
    with jax.check_tracer_leaks():
        schedule = jax.jit(CASES[name].build)(**CASES[name].numbers)
    assert_exact(name, schedule(COUNTS), CASES[name].units)
    assert jax.tree.structure(schedule) == jax.tree.structure(plain(name))


@few_kinds
def test_one_trace_serves_all_numbers_and_vmap_builds_many(name):
    case = CASES[name]
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def value(numbers, count):
        return case.build(**numbers)(count)

    floats = {key: float(number) for key, number in case.numbers.items()}
    more = {key: number * 2 for key, number in floats.items()}
    both = jax.tree.map(lambda *x: jnp.array(x), floats, more)
    many = jax.vmap(lambda numbers: case.build(**numbers)(jnp.int32(5)))(both)
    single = [value(numbers, jnp.int32(5)) for numbers in (floats, more)]
    np.testing.assert_allclose(many, single, rtol=1e-6)


@kinds
@sweep("dtype", ["int8", "uint8", "uint32", "bfloat16", "float32"], ["bfloat16"])
def test_counts_of_every_dtype_mean_the_same(name, dtype):
    counts = jnp.arange(0, 64, 7, np.int32)
    values = plain(name)(counts.astype(dtype))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, plain(name)(counts))


@kinds
def test_a_count_beyond_int32_is_the_largest(name):
    schedule, largest = plain(name), plain(name)(np.int32(LARGEST))
    np.testing.assert_array_equal(schedule(np.uint32(2**32 - 1)), largest)
    np.testing.assert_array_equal(schedule(np.array([2**40])), [largest])
    np.testing.assert_allclose(schedule(10**30), largest, rtol=1e-6)


@most
def test_a_phase_starts_with_its_value_to_the_bit(name):
    schedule, case = plain(name), CASES[name]
    stored = [np.float32(float(case.exact(start))) for start in case.starts]
    assert [schedule(start) for start in case.starts] == stored
    starts = np.resize(np.array(case.starts, np.int32), 8)  # one program for all
    np.testing.assert_array_equal(schedule(starts), np.resize(stored, 8))


@most
def test_no_value_leaves_the_range_of_the_exact_ones(name):
    exact = [np.float32(float(truth)) for truth in truths(name)]
    values = np.asarray(plain(name)(COUNTS))
    chex.assert_tree_all_finite(values)
    assert values.min() >= min(exact) - 1e-7 * CASES[name].largest
    assert values.max() <= CASES[name].largest * (1 + 1e-7)


@kinds
def test_derivatives_by_the_count_are_those_of_the_exact_curve(name, x64):
    slope = jax.jit(jax.grad(plain(name)))
    exact, small = CASES[name].exact, reference.mpmath.mpf("1e-20")
    for count in (0.25, 2.5, 8.4, 19.75, 33.375, 61.2):
        if name == "stairs":
            assert slope(count) == 0
            continue
        truth = (exact(count + small) - exact(count - small)) / (2 * small)
        single = slope(jnp.float32(count))
        np.testing.assert_allclose(single, float(truth), rtol=2e-5, atol=1e-7)


@sweep(
    "name",
    [
        *("bent", "warm-up", "stable", "one cycle", "restarts for ever", "mirrored"),
        *("spliced", "read ahead", "stretched", "product"),
    ],
    ["bent"],
)
def test_derivatives_by_the_arguments_are_those_of_a_difference(name, x64):
    case = CASES[name]
    numbers = {key: float(number) for key, number in case.numbers.items()}

    @jax.jit
    def value(numbers):
        return case.build(**numbers)(jnp.float64(8.4))

    slopes = jax.jit(jax.grad(value))(numbers)
    chex.assert_tree_all_finite(slopes)
    for key, number in numbers.items():
        if key in WHOLE_BY_NATURE.get(name, ()):
            continue
        step = 1e-6 * max(abs(number), 1e-3)
        above, below = (value(numbers | {key: number + s}) for s in (step, -step))
        difference = (above - below) / (2 * step)
        np.testing.assert_allclose(slopes[key], difference, rtol=1e-4, atol=1e-9)


@few_kinds
def test_derivatives_by_a_whole_schedule_are_finite_everywhere(name):
    slope = jax.jit(jax.grad(lambda s, c: s(c), allow_int=True))
    for count in (-1, 0, 4, 5, 13, 30, 100, LARGEST):
        floats = [
            leaf
            for leaf in jax.tree.leaves(slope(plain(name), jnp.int32(count)))
            if leaf.dtype == np.float32
        ]
        chex.assert_tree_all_finite(floats)


@few_kinds
def test_values_are_float64_under_x64(name, x64):
    schedule = CASES[name].build(**CASES[name].numbers)
    assert schedule(jnp.int64(5)).dtype == schedule(5).dtype == np.float64
    np.testing.assert_allclose(schedule(COUNTS)[:100], plain(name)(COUNTS)[:100], 1e-5)
    np.testing.assert_allclose(
        schedule(COUNTS), [schedule(int(c)) for c in COUNTS], rtol=1e-13, atol=1e-16
    )


@names
def test_a_schedule_is_a_value(name):
    schedule, twin = plain(name), CASES[name].build(**CASES[name].numbers)
    copies = [
        twin,
        copy.deepcopy(schedule),
        pickle.loads(pickle.dumps(schedule)),
        through_json(schedule),
        jax.device_get(jax.device_put(schedule)),
    ]
    for other in copies:
        assert other == schedule
        assert hash(other) == hash(schedule)
        assert other(5) == schedule(5)
    assert schedule * 2 != schedule
    assert schedule != 1
    on_device = jax.device_put(schedule)
    assert on_device == schedule
    assert isinstance(hash(on_device), int)


@names
def test_every_schedule_shows_itself_with_and_without_values(name):
    schedule = plain(name)
    assert "Table" not in repr(schedule)
    assert repr(jax.device_put(schedule)) == repr(schedule)
    assert "int32[" in repr(jax.eval_shape(lambda: schedule))
    shown = []
    jax.eval_shape(lambda s: shown.append(repr(s)), schedule)
    assert "int32[" in shown[0]
    stacked = oc.stack([schedule, schedule])
    assert "batch_shape=(2,)" in repr(stacked)
    with pytest.raises(
        ValueError, match=r"batch shape \(2,\): call it under jax\.vmap"
    ):
        stacked(3)
    repr(jax.tree.map(lambda _: "anything", schedule))
    repr(jax.tree.map(np.sum, schedule))


@few_kinds
def test_a_stack_gives_the_values_of_its_members(name):
    schedules = [plain(name), plain(name) * 0.5]
    counts = jnp.arange(50)
    values = jax.vmap(lambda schedule: schedule(counts))(oc.stack(schedules))
    expected = [schedule(counts) for schedule in schedules]
    np.testing.assert_array_max_ulp(np.asarray(values), np.array(expected), 2)


@pytest.mark.thorough
def test_the_derivative_by_a_length_of_whole_steps_is_that_of_the_curve():
    slope = jax.grad(lambda n: oc.linear(0.0, 1.0, steps=n)(jnp.float32(2.0)))(8.0)
    np.testing.assert_allclose(slope, -2 / 64, rtol=1e-6)
