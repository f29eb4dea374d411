"""A schedule as a function and a value: counts of every kind, dtypes, scaling."""

import math
import operator
import pickle
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import optax_cosine as oc

LARGEST = 2**31 - 1

all_variants: Any = chex.all_variants  # chex gives it no type


@pytest.fixture
def schedule():
    return oc.cosine_annealing_schedule(0.1, 100, end_value=0.001)


class ScheduleVariants(chex.TestCase):
    @all_variants
    def test_all_ways_of_calling_agree(self):
        schedule = oc.cosine_annealing_schedule(0.1, 100, end_value=0.001)
        called = self.variant(lambda count: schedule(count))
        for count in (0, 1, 33, 50, 99, 100, 101):
            exact = reference.cosine_annealing(0.1, 100, count, 0.001)
            value = np.unique(called(jnp.int32(count)))
            assert value.shape == (1,)
            assert reference.ulps(value[0], exact) <= 8

    @all_variants
    def test_a_schedule_may_be_an_argument(self):
        schedule = oc.cosine_annealing_schedule(0.1, 100, end_value=0.001)
        called = self.variant(lambda schedule, count: schedule(count))
        np.testing.assert_allclose(
            np.unique(called(schedule, jnp.int32(50))), 0.0505, rtol=1e-6
        )


def test_two_devices_exist_wherever_the_platform_is_cpu():
    assert jax.default_backend() != "cpu" or jax.device_count() >= 2


COUNT_DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32"]
FLOAT_DTYPES = ["float16", "bfloat16", "float32"]


@pytest.mark.parametrize("dtype", [*COUNT_DTYPES, *FLOAT_DTYPES])
def test_counts_of_every_dtype_mean_the_same(schedule, dtype):
    counts = jnp.array([0, 1, 1, 0] if dtype == "bool" else [0, 7, 50, 101], dtype)
    values = schedule(counts)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, schedule(counts.astype(np.int32)))
    np.testing.assert_array_equal(values[1], jax.jit(schedule)(counts[1]))


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float64"])
def test_wide_counts_mean_the_same(schedule, dtype, x64):
    counts = jnp.array([0, 7, 50, 101], dtype)
    np.testing.assert_array_equal(schedule(counts), schedule(counts.astype(np.int32)))


@pytest.mark.parametrize(
    "count",
    [
        np.int64(2**31),
        np.int64(2**40),
        np.uint32(2**31),
        np.uint32(2**32 - 1),
        np.uint64(2**64 - 1),
        np.array([2**31, 2**62]),
        jnp.uint32(2**32 - 1),
        jnp.float32(3e9),
        jnp.float32(jnp.inf),
        np.float64(1e300),
        2**31,
        10**100,
        1e30,
    ],
)
@pytest.mark.parametrize("steps", [100, LARGEST])
def test_a_count_beyond_int32_is_past_the_end(count, steps):
    schedule = oc.cosine_annealing_schedule(0.1, steps, end_value=0.001)
    assert np.all(schedule(count) == np.float32(0.001))
    traced_schedule = jax.jit(lambda: schedule)()
    assert np.all(traced_schedule(count) == np.float32(0.001))


@pytest.mark.parametrize("count", [2**31, 2**33, 2**62])
def test_a_wide_count_beyond_int32_is_past_the_end_under_x64(schedule, count, x64):
    for dtype in ("int64", "uint64", "float64"):
        assert jax.jit(schedule)(jnp.array(count, dtype)) == np.float32(0.001)


@pytest.mark.parametrize("count", [np.int64(-(2**40)), -1, -(10**30), -0.5, -jnp.inf])
def test_a_negative_count_is_before_the_start(schedule, count):
    assert schedule(count) == np.float32(0.1)


def test_a_count_that_is_no_number_gives_no_number(schedule):
    assert jnp.isnan(schedule(jnp.nan))
    assert jnp.isnan(jax.jit(schedule)(jnp.bfloat16(jnp.nan)))


def test_fractional_counts_lie_on_the_curve():
    schedule = oc.cosine_annealing_schedule(0.1, 100)
    near_the_end = [100 - 2.0**-k for k in range(1, 18)]
    for count in (1e-9, 0.25, 33.5, 49.999, 50.001, 99.75, *near_the_end):
        exact = reference.cosine_annealing(0.1, 100, float(np.float32(count)))
        assert reference.ulps(schedule(count), exact) <= 8


@pytest.mark.parametrize("steps", [2**24 + 3, 10**9, LARGEST])
def test_whole_host_counts_mean_the_same_whatever_their_type(steps):
    schedule = oc.cosine_annealing_schedule(1.0, steps)
    counts = np.array([1, steps // 3, steps - 20, steps - 1])
    expected = schedule(counts.astype(np.int32))
    for dtype in (np.float64, np.int64, ">i4", ">i8", ">f8"):
        np.testing.assert_array_equal(schedule(counts.astype(dtype)), expected)
    np.testing.assert_array_equal([schedule(float(c)) for c in counts], expected)


def test_a_schedule_works_with_jit_disabled(schedule):
    counts = np.arange(5)
    expected = schedule(counts)
    with jax.disable_jit():
        np.testing.assert_allclose(schedule(counts), expected, rtol=1e-6)
        np.testing.assert_allclose(schedule(jnp.int32(3)), expected[3], rtol=1e-6)


def test_an_array_of_counts_keeps_its_sharding(schedule):
    devices = np.array(jax.devices()[:2])
    mesh = jax.sharding.Mesh(devices, ("x",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "x"))
    counts = jax.device_put(jnp.arange(16).reshape(2, 8), sharding)
    values = schedule(counts)
    assert values.sharding.is_equivalent_to(sharding, 2)
    np.testing.assert_array_equal(values, schedule(np.arange(16).reshape(2, 8)))


def test_the_numbers_of_a_schedule_cannot_be_overwritten(schedule):
    with pytest.raises(ValueError, match="read-only"):
        schedule.init_values[0] = 1.0


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3,), (2, 3), (2, 1, 3)])
def test_arrays_of_counts_are_evaluated_elementwise(schedule, shape):
    counts = np.arange(math.prod(shape)).reshape(shape) * 17
    values = schedule(counts)
    assert values.shape == shape
    np.testing.assert_array_equal(
        values, np.array([schedule(np.int32(c)) for c in counts.flat]).reshape(shape)
    )


def test_vmap_scan_and_eager_agree_to_the_bit(schedule):
    counts = jnp.arange(-3, 110)
    expected = schedule(counts)
    _, scanned = jax.lax.scan(lambda c, x: (c, schedule(x)), None, counts)
    np.testing.assert_array_equal(jax.vmap(schedule)(counts), expected)
    np.testing.assert_array_equal(scanned, expected)


def test_a_schedule_works_under_cond_and_checkpoint(schedule):
    branch = jax.lax.cond(jnp.bool(1), schedule, lambda _: jnp.float32(0), 50)
    np.testing.assert_allclose(branch, 0.0505, rtol=1e-6)
    slope = jax.grad(jax.checkpoint(schedule))(25.0)
    np.testing.assert_allclose(slope, jax.grad(schedule)(25.0), rtol=1e-6)


def test_a_python_int_is_answered_without_jax(schedule):
    with jax.disable_jit(), jax.transfer_guard("disallow"):
        assert type(schedule(7)) is np.float32


def test_values_are_strong_float32_whatever_goes_in(schedule):
    assert schedule(jnp.int32(7)).dtype == np.float32
    assert not schedule(jnp.int32(7)).weak_type
    for dtype in ("bfloat16", "float16"):
        traced = jax.jit(oc.cosine_annealing_schedule)(jnp.array(0.1, dtype), 100)
        assert traced(jnp.int32(7)).dtype == np.float32
        assert not traced(jnp.int32(7)).weak_type


def test_values_are_float64_under_x64_unless_the_numbers_are_float32(x64):
    count = jnp.int64(33)
    wide = oc.cosine_annealing_schedule(0.1, 100)
    narrow = oc.cosine_annealing_schedule(np.float32(0.1), 100)
    traced = jax.jit(oc.cosine_annealing_schedule)
    assert wide(count).dtype == wide(33).dtype == np.float64
    assert narrow(count).dtype == narrow(33).dtype == np.float32
    assert traced(jnp.float64(0.1), 100)(count).dtype == np.float64
    assert traced(jnp.float32(0.1), 100)(count).dtype == np.float32
    truth = 0.1 * math.cos(math.pi / 2 * 0.33) ** 2
    np.testing.assert_allclose(wide(count), truth, rtol=1e-15)
    np.testing.assert_allclose(wide(33), truth, rtol=1e-15)


def test_every_number_is_a_leaf_and_the_structure_holds_none(schedule):
    other = oc.cosine_annealing_schedule(3.0, 7, end_value=1.0, exponent=2.0)
    assert jax.tree.structure(schedule) == jax.tree.structure(other)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(schedule))
    doubled = jax.tree.map(jnp.asarray, schedule)
    np.testing.assert_array_equal(doubled(jnp.arange(9)), schedule(jnp.arange(9)))


def test_abstract_and_pickled_schedules_keep_their_structure(schedule):
    schedule(3)
    copied = pickle.loads(pickle.dumps(schedule))
    chex.assert_trees_all_equal(copied, schedule)
    assert copied(50) == schedule(50)
    abstract = jax.eval_shape(lambda: schedule)
    assert jax.tree.structure(abstract) == jax.tree.structure(schedule)


def test_a_stack_of_schedules_says_that_it_wants_vmap():
    stack = jax.vmap(oc.cosine_annealing_schedule, (0, None))(jnp.arange(3.0), 10)
    for count in (1, jnp.int32(1)):
        with pytest.raises(ValueError, match=r"batch shape \(3,\): .* jax\.vmap"):
            stack(count)


def test_scaling_keeps_the_table_and_its_structure(schedule):
    for scaled in (
        schedule * 0.5,
        0.5 * schedule,
        schedule / 2,
        np.float32(0.5) * schedule,
    ):
        assert scaled == oc.cosine_annealing_schedule(0.05, 100, end_value=0.0005)
        assert jax.tree.structure(scaled) == jax.tree.structure(schedule)
    assert (schedule * 0)(50) == 0
    assert (schedule * -1)(0) == np.float32(-0.1)


def test_a_schedule_may_be_scaled_by_a_traced_number(schedule):
    value, slope = jax.value_and_grad(lambda x: (schedule * x / 4)(jnp.int32(0)))(3.0)
    np.testing.assert_allclose([value, slope], [0.075, 0.025], rtol=1e-6)
    many = jax.vmap(lambda x: (x * schedule)(jnp.int32(0)))(jnp.bfloat16([1, 2]))
    np.testing.assert_allclose(many, [0.1, 0.2], rtol=1e-6)


@pytest.mark.parametrize("other", ["0.1", None, [1.0], lambda count: count])
def test_a_schedule_is_multiplied_by_numbers_and_schedules_alone(schedule, other):
    for operation in (operator.mul, operator.truediv):
        with pytest.raises(TypeError):
            operation(schedule, other)
    with pytest.raises(TypeError):
        operator.truediv(1, schedule)


BAD_FACTORS = [
    (float("nan"), ValueError, r"factor must be 0 or .* got nan"),
    (np.ones(2), ValueError, r"factor must be one number, .*\(2,\)"),
    (1e38, ValueError, r"factor=1e\+38 takes a rate of the schedule to .*e\+39"),
    (True, TypeError, "factor must be a number, got True"),
]


@pytest.mark.parametrize(("factor", "error", "message"), BAD_FACTORS)
def test_factors_out_of_range_are_refused(factor, error, message):
    with pytest.raises(error, match=message):
        operator.mul(oc.constant(10.0, steps=1), factor)


def test_nothing_is_divided_by_zero(schedule):
    with pytest.raises(ValueError, match=r"divisor must not be 0, got 0\."):
        operator.truediv(schedule, 0)


def test_equal_schedules_hold_the_same_numbers(schedule):
    assert schedule == oc.cosine_annealing_schedule(
        np.float32(0.1), 1e2, end_value=1e-3
    )
    assert schedule != oc.cosine_annealing_schedule(0.1, 101, end_value=1e-3)
    assert schedule != oc.retime(schedule, offset=0)
    assert oc.join(schedule, after="repeat") != schedule
    assert len({schedule, schedule / 1, schedule * 2}) == 2
    seen = []
    jax.eval_shape(lambda s: seen.extend([s == s, s == schedule]), schedule)
    assert seen == [True, False]


def test_a_derived_cache_is_not_pickled(schedule):
    schedule(3)
    hash(schedule)
    assert b"_on_host" not in pickle.dumps(schedule)
    assert b"_hash" not in pickle.dumps(schedule)


def test_lost_buffers_and_traced_numbers_are_still_shown(schedule):
    gone = jax.device_put(schedule)
    jax.tree.map(lambda leaf: leaf.delete(), gone)
    assert "ends.whole=int32[1]" in repr(gone)
    assert gone != schedule
    with pytest.raises(ValueError, match="not known here"):
        gone.to_dict()


def test_total_steps_is_exact_where_it_is_known(schedule):
    assert schedule.total_steps == 100
    assert type(schedule.total_steps) is int
    assert oc.linear(0.0, 1.0, steps=7.3).total_steps == 7.3
    assert oc.cosine_restarts_schedule(1.0, 10).total_steps == math.inf
    assert oc.retime(schedule, every=7).total_steps == 700
    assert oc.retime(schedule, stretch=1.1).total_steps == 110
    assert oc.retime(schedule, offset=-5).total_steps == 105
    assert oc.splice(schedule, 30, schedule).total_steps == 130
    assert (schedule * oc.linear(1.0, 0.0, steps=150)).total_steps == 150
    assert jax.device_put(schedule).total_steps == 100
    everything = [
        schedule,
        oc.cosine_restarts_schedule(1.0, 10),
        oc.retime(schedule, every=7),
        oc.retime(schedule, stretch=1.1),
        oc.splice(schedule, 30, schedule),
        schedule * oc.linear(1.0, 0.0, steps=150),
    ]
    traced = jax.jit(lambda s: [one.total_steps for one in s])(everything)
    known = [one.total_steps for one in everything]
    np.testing.assert_allclose(traced, known, rtol=1e-6)


def test_no_tree_of_a_schedule_fails_to_be_shown(schedule):
    slopes = jax.grad(lambda s: s(5.0), allow_int=True)(schedule)
    strange = [lambda x: x * 3, lambda x: x * math.nan, lambda x: x.astype(str)]
    trees = [slopes, *(jax.tree.map(change, schedule) for change in strange)]
    trees += [jax.tree.map(lambda x: x * 0, oc.retime(schedule, every=2))]
    assert all(isinstance(repr(tree), str) for tree in trees)


def test_a_schedule_of_no_length_has_one_value():
    nothing = jax.device_get(jax.jit(lambda n: oc.cosine(1.0, 0.5, steps=n))(0))
    assert nothing(3) == nothing(jnp.int32(3)) == 0.5
    assert repr(nothing) == "cosine(1.0, 0.5, steps=0)"


def test_products_of_two_dtypes_know_their_total(x64):
    wide, narrow = (
        oc.cosine(x, x, steps=n) for x, n in ((1.0, 10), (np.float32(1), 7.5))
    )
    assert jax.jit(lambda s: s.total_steps)(wide * narrow) == 10
