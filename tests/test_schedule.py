"""A schedule as a function, a value and a pytree: counts, dtypes, scaling, equality."""

import copy
import dataclasses
import math
import operator
import pickle
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from cases import CASES, plain
from jax import export
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from programs import inject, padded, table_of
from sweeps import sweep

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


@sweep("dtype", [*COUNT_DTYPES, *FLOAT_DTYPES], ["uint32", "bfloat16"])
def test_counts_of_every_dtype_mean_the_same(schedule, dtype):
    counts = jnp.array([0, 1, 1, 0] if dtype == "bool" else [0, 7, 50, 101], dtype)
    values = schedule(counts)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, schedule(counts.astype(np.int32)))
    jitted = np.asarray(jax.jit(schedule)(counts[1]))
    np.testing.assert_array_max_ulp(np.asarray(values[1]), jitted, 2)


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
    for leaf in jax.tree.leaves(schedule):
        with pytest.raises(ValueError, match="read-only"):
            leaf[...] = 1


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3,), (2, 3), (2, 1, 3)])
def test_arrays_of_counts_are_evaluated_elementwise(schedule, shape):
    counts = np.arange(math.prod(shape)).reshape(shape) * 17
    values = schedule(counts)
    assert values.shape == shape
    np.testing.assert_array_equal(
        values, np.array([schedule(np.int32(c)) for c in counts.flat]).reshape(shape)
    )


def test_vmap_scan_and_eager_agree(schedule):
    counts = jnp.arange(-3, 110)
    expected = np.asarray(schedule(counts))
    _, scanned = jax.lax.scan(lambda c, x: (c, schedule(x)), None, counts)
    mapped = jax.vmap(schedule)(counts)
    np.testing.assert_array_max_ulp(np.asarray(mapped), expected, 2)
    np.testing.assert_array_max_ulp(np.asarray(scanned), expected, 2)


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


def test_a_table_has_three_leaves_with_names(schedule):
    leaves = jax.tree_util.tree_leaves_with_path({"rate": schedule})
    keys = [jax.tree_util.keystr(path) for path, _ in leaves]
    assert keys == [
        "['rate'].node.integers",
        "['rate'].node.floats",
        "['rate'].node.after",
    ]
    integers, floats, after = (leaf for _, leaf in leaves)
    assert (integers.dtype, floats.dtype, after.dtype) == ("int32", "float32", "int32")
    assert (integers.shape, floats.shape, after.shape) == ((4, 1), (7, 1), ())


@pytest.mark.parametrize("name", CASES)
def test_every_leaf_has_a_name_of_its_own(name):
    leaves = jax.tree_util.tree_leaves_with_path(plain(name))
    keys = [jax.tree_util.keystr(path) for path, _ in leaves]
    assert len(set(keys)) == len(keys)
    assert all(key.startswith(".node.") for key in keys)
    assert all("<flat index" not in key for key in keys)
    assert [leaf for _, leaf in leaves] == jax.tree.leaves(plain(name))


def test_whatever_is_done_to_a_table_it_has_three_leaves(schedule):
    edits = [
        oc.join(schedule, schedule),
        oc.splice(schedule, 30, schedule),
        oc.shift(schedule, 7.5),
        oc.shift(schedule, -7),
        oc.stretch(schedule, 1.1),
        oc.cooldown(schedule, at_step=30, steps=7),
        oc.extend(schedule, at_step=30, total_steps=700),
        oc.rewarm(schedule, at_step=30, peak_value=0.2, warmup_steps=0, decay_steps=9),
        schedule * 2,
        -schedule,
    ]
    structure = jax.tree.structure(schedule)
    assert structure.num_leaves == 3
    assert all(jax.tree.structure(edit) == structure for edit in edits)
    built = jax.eval_shape(
        lambda n: oc.extend(
            oc.splice(oc.shift(oc.stretch(schedule, n), n), n, schedule),
            at_step=n,
            total_steps=9 * n,
        ),
        7,
    )
    assert jax.tree.structure(built) == structure


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


def test_a_negated_schedule_has_negated_values(schedule):
    restarts = oc.shift(oc.cosine_restarts_schedule(1.0, 10), 3)
    for one in (schedule, restarts, schedule * restarts, oc.staircase(schedule, 7)):
        assert jax.tree.structure(-one) == jax.tree.structure(one)
        assert one == -1 * -one
        counts = np.arange(120, dtype=np.int32)
        np.testing.assert_array_equal((-one)(counts), -one(counts))
        assert [(-one)(count) for count in (0, 7, 99)] == [-one(k) for k in (0, 7, 99)]


def test_schedules_are_neither_added_nor_subtracted(schedule):
    message = (
        r"schedules are not added or subtracted: scale them with \*, .*lambda count"
    )
    for operation in (operator.add, operator.sub):
        for first, second in [(schedule, schedule), (schedule, 1.0), (1, schedule)]:
            with pytest.raises(TypeError, match=message):
                operation(first, second)


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
    (float("nan"), ValueError, r"factor must be finite and at most .* got nan"),
    (float("inf"), ValueError, r"factor must be finite and at most .* got inf"),
    (1e-39, ValueError, r"factor must be 0 or at least 1\.2e-38 .* got 1e-39"),
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
    assert schedule == oc.shift(schedule, 0)
    assert schedule != oc.shift(schedule, 1)
    assert oc.join(schedule, after="repeat") != schedule
    assert len({schedule, schedule / 1, schedule * 2}) == 2
    seen = []
    jax.eval_shape(lambda s: seen.extend([s == s, s == schedule]), schedule)
    assert seen == [True, False]


def test_a_derived_cache_is_not_pickled(schedule):
    schedule(3)
    hash(schedule)
    jax.jit(schedule)(3)
    for cache in (b"_hash", b"_host", b"_program"):
        assert cache not in pickle.dumps(schedule)


def test_lost_buffers_and_traced_numbers_are_still_shown(schedule):
    gone = jax.device_put(schedule)
    jax.tree.map(lambda leaf: leaf.delete(), gone)
    assert (
        repr(gone)
        == "Schedule(integers=int32[4, 1], floats=float32[7, 1], after=int32[])"
    )
    assert gone != schedule
    message = r"it is traced by JAX, or its buffers were deleted or donated: Schedule\("
    with pytest.raises(ValueError, match=message):
        gone.to_dict()
    with pytest.raises(ValueError, match=message):
        _ = gone.phases


def test_total_steps_is_exact_where_it_is_known(schedule):
    assert schedule.total_steps == 100
    assert type(schedule.total_steps) is int
    assert oc.linear(0.0, 1.0, steps=7.3).total_steps == 7.3
    assert oc.cosine_restarts_schedule(1.0, 10).total_steps == math.inf
    assert oc.staircase(schedule, 7).total_steps == 700
    assert oc.stretch(schedule, 1.1).total_steps == 110
    assert oc.shift(schedule, -5).total_steps == 105
    assert oc.splice(schedule, 30, schedule).total_steps == 130
    assert (schedule * oc.linear(1.0, 0.0, steps=150)).total_steps == 150
    assert jax.device_put(schedule).total_steps == 100
    everything = [
        schedule,
        oc.cosine_restarts_schedule(1.0, 10),
        oc.staircase(schedule, 7),
        oc.stretch(schedule, 1.1),
        oc.splice(schedule, 30, schedule),
        schedule * oc.linear(1.0, 0.0, steps=150),
    ]
    traced = jax.jit(lambda s: [each.total_steps for each in s])(everything)
    known = [each.total_steps for each in everything]
    np.testing.assert_allclose(traced, known, rtol=1e-6)


def test_no_tree_of_a_schedule_fails_to_be_shown(schedule):
    slopes = jax.grad(lambda s: s(5.0), allow_int=True)(schedule)
    strange = [lambda x: x * 3, lambda x: x * math.nan, lambda x: x.astype(str)]
    trees = [slopes, *(jax.tree.map(change, schedule) for change in strange)]
    trees += [jax.tree.map(lambda x: x * 0, oc.staircase(schedule, 2))]
    assert all(isinstance(repr(tree), str) for tree in trees)


@pytest.mark.parametrize("steps", [0, -3, 0.0, -math.inf, math.nan])
def test_a_traced_part_of_no_length_is_over_at_once(steps):
    short = jax.device_get(jax.jit(lambda n: oc.cosine(1.0, 0.5, steps=n))(steps))
    assert short(0) == short(jnp.int32(0)) == 1.0
    assert short(3) == short(jnp.int32(3)) == 0.5
    assert short.total_steps == (1 if isinstance(steps, int) else 1e-6)


def test_products_of_two_dtypes_know_their_total(x64):
    wide, narrow = (
        oc.cosine(x, x, steps=n) for x, n in ((1.0, 10), (np.float32(1), 7.5))
    )
    assert jax.jit(lambda s: s.total_steps)(wide * narrow) == 10


# --- A value ---


def test_a_schedule_is_not_a_dataclass(schedule):
    assert not dataclasses.is_dataclass(schedule)
    assert not dataclasses.is_dataclass(oc.Schedule)
    assert type(schedule) is type(schedule * schedule) is oc.Schedule
    with pytest.raises(TypeError, match="dataclass instances"):
        dataclasses.asdict(schedule)
    held = dataclasses.make_dataclass("Settings", ["rate"])(schedule)
    assert dataclasses.asdict(held) == {"rate": schedule}


def test_schedules_are_built_by_functions_alone(schedule):
    for arguments in ((), (schedule,), (schedule.node,)):
        with pytest.raises(TypeError, match=r"a schedule is built by a function, such"):
            oc.Schedule(*arguments)


RESTARTS = oc.cosine_restarts_schedule(1.0, 10)
WARM = oc.warmup_cosine_annealing_schedule(0.1, 60, warmup_steps=7, hold_steps=5)
COMBINATIONS = {
    "table": WARM,
    "product": WARM * RESTARTS,
    "spliced": oc.splice(RESTARTS, 5, WARM),
    "staircase": oc.staircase(WARM, 3),
    "shifted endless": oc.shift(RESTARTS, 2.5),
    "extended staircase": oc.extend(oc.staircase(WARM, 3), at_step=5, total_steps=400),
    "nested": oc.splice(
        oc.staircase(WARM * oc.shift(RESTARTS, 3), 2), 9, oc.stretch(RESTARTS, 1.1)
    ),
    "stack": oc.stack([WARM, RESTARTS]),
    "stack of combinations": oc.stack([oc.shift(RESTARTS, 1), oc.shift(RESTARTS, -2)]),
}
combinations = pytest.mark.parametrize("name", COMBINATIONS)


def test_padding_does_not_matter():
    for rows in (4, 8, 100):
        longer = padded(WARM, rows)
        assert table_of(longer).integers.shape == (4, rows)
        assert longer == WARM
        assert hash(longer) == hash(WARM)
        assert longer.total_steps == WARM.total_steps
        assert oc.shift(longer, 9) == oc.shift(WARM, 9)
        combined = oc.splice(RESTARTS, 5, longer * RESTARTS)
        assert combined == oc.splice(RESTARTS, 5, WARM * RESTARTS)
        assert hash(combined) == hash(oc.splice(RESTARTS, 5, WARM * RESTARTS))
        assert [longer(k) for k in range(70)] == [WARM(k) for k in range(70)]


def test_empty_phases_do_not_matter():
    at_once = oc.warmup_cosine_annealing_schedule(0.1, 60, warmup_steps=0)
    assert at_once == oc.cosine_annealing_schedule(0.1, 60)
    assert hash(at_once) == hash(oc.cosine_annealing_schedule(0.1, 60))


def test_what_follows_the_end_matters():
    part = oc.cosine(0.1, 0.0, steps=9)
    held, repeated, mirrored = (
        oc.join(part, after=after) for after in ("hold", "repeat", "mirror")
    )
    assert part == held
    assert len({part, held, repeated, mirrored}) == 3


def test_where_a_phase_is_cut_matters():
    assert oc.splice(WARM, 30, WARM) != WARM
    cut = oc.splice(WARM, 30, oc.shift(WARM, 30))
    assert [cut(k) for k in range(70)] == [WARM(k) for k in range(70)]
    assert cut != WARM


def test_dtypes_matter(x64):
    wide = oc.cosine(0.5, 0.25, steps=9)
    narrow = oc.cosine(np.float32(0.5), np.float32(0.25), steps=9)
    assert wide != narrow
    assert narrow == oc.cosine(np.float32(0.5), np.float32(0.25), steps=9)


@pytest.mark.parametrize("name", CASES)
def test_a_schedule_is_equal_to_itself_on_a_device(name):
    schedule = plain(name)
    on_device = jax.device_put(schedule)
    given_back = jax.jit(lambda x: x)(schedule)
    assert on_device == schedule == given_back
    assert hash(on_device) == hash(schedule) == hash(given_back)
    assert len({schedule, on_device, given_back}) == 1


@pytest.mark.parametrize("name", CASES)
def test_schedules_that_differ_in_one_number_are_not_equal(name):
    leaves, treedef = jax.tree.flatten(plain(name))
    for index, leaf in enumerate(leaves):
        if leaf.size and leaf.dtype.kind == "f":
            other = [*leaves]
            other[index] = np.nextafter(leaf, np.float32(9))
            assert jax.tree.unflatten(treedef, other) != plain(name)


def test_a_schedule_is_equal_to_nothing_else(schedule):
    for other in (None, 0.1, "cosine", lambda count: count, schedule.to_dict()):
        assert schedule != other
        assert other != schedule


ABSTRACT = {
    "shapes": jnp.shape,
    "numbers of axes": jnp.ndim,
    "dtypes": lambda x: x.dtype,
    "structs": lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
    "masks": lambda x: x.ndim > 0,
    "nothing": lambda _: None,
    "masked nodes": lambda _: optax.MaskedNode(),
    "labels": lambda _: "trainable",
    "partitions": lambda x: PartitionSpec("x") if x.ndim else PartitionSpec(),
    "partitions along two axes": lambda _: PartitionSpec(("x", "y"), None),
    "shardings": lambda x: NamedSharding(
        Mesh(np.array(jax.devices()[:2]), ("x",)), PartitionSpec(*["x"] * (x.ndim > 0))
    ),
    **(
        {"formats": lambda x: jax.device_put(x).format}
        if hasattr(jnp.zeros(()), "format")  # from JAX 0.7 on
        else {}
    ),
    "keys": lambda _: jax.random.key(0),
    "text": lambda x: x.astype(str),
}


@combinations
@pytest.mark.parametrize("mapped", ABSTRACT)
def test_what_is_mapped_from_a_schedule_is_equal_if_its_leaves_are(name, mapped):
    schedule, function = COMBINATIONS[name], ABSTRACT[mapped]
    once, again = (jax.tree.map(function, schedule) for _ in range(2))
    assert once == again
    assert hash(once) == hash(again)
    assert once != schedule
    assert schedule != once
    assert isinstance(repr(once), str)


def test_what_is_mapped_is_not_equal_if_a_leaf_differs():
    shapes = jax.tree.map(jnp.shape, WARM)
    assert shapes != jax.tree.map(jnp.shape, oc.cosine_annealing_schedule(0.1, 60))
    masks = jax.tree.map(lambda x: x.ndim > 0, WARM)
    assert masks != jax.tree.map(lambda _: True, WARM)
    specs = jax.tree.map(lambda _: PartitionSpec("x"), WARM)
    assert specs != jax.tree.map(lambda _: PartitionSpec("y"), WARM)
    assert specs != jax.tree.map(lambda _: PartitionSpec("x", None, None), WARM)
    assert specs != jax.tree.map(lambda _: PartitionSpec(("x", "y")), WARM)


def test_equal_trees_have_equal_hashes_whatever_their_numbers_are():
    arrays = jax.tree.map(np.sum, WARM)
    python = jax.tree.map(lambda x: x.sum().item(), WARM)
    assert arrays != python or hash(arrays) == hash(python)


@combinations
def test_abstract_evaluation_of_one_schedule_gives_equal_trees(name):
    schedule = COMBINATIONS[name]
    once, again = (jax.eval_shape(lambda: schedule) for _ in range(2))
    assert once == again
    assert hash(once) == hash(again)
    assert jax.tree.structure(once) == jax.tree.structure(schedule)


@sweep("name", COMBINATIONS, ["table", "spliced", "stack"])
def test_abstract_optimizer_states_are_equal(name):
    schedule = COMBINATIONS[name]

    def init(schedule: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            tx = inject(optax.adamw, learning_rate=schedule, weight_decay=0.1)
            return tx.init({"w": jnp.ones((3, 2))})

    init = jax.vmap(init) if name.startswith("stack") else init
    once, again = (jax.eval_shape(init, schedule) for _ in range(2))
    assert once == again
    state = init(schedule)
    structs = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    assert structs.schedules == once.schedules
    assert jax.tree.structure(structs) == jax.tree.structure(once)


@combinations
def test_traced_schedules_are_equal_if_they_are_the_same_object(name):
    seen = []

    def compare(first, second, known):
        copied = jax.tree.map(lambda x: x, first)
        seen.append([first == first, first == copied])
        seen.append([first == second, first == known, known == first, first != second])
        hashes = hash(first), hash(copied), hash(second)
        assert len(set(hashes)) == 1
        assert repr(first).startswith("Schedule(")
        return first

    schedule = COMBINATIONS[name]
    jax.eval_shape(lambda a, b: compare(a, b, schedule), schedule, schedule)
    jax.jit(lambda a, b: compare(a, b, schedule))(schedule, schedule)
    jax.make_jaxpr(lambda a, b: compare(a, b, a * 2))(schedule, schedule)
    assert seen == [[True, True], [False, False, False, True]] * 3


@combinations
@pytest.mark.parametrize("copied", ["pickle", "deepcopy", "copy"])
def test_a_copy_is_equal_and_cannot_be_overwritten(name, copied):
    schedule = COMBINATIONS[name]
    copies = {
        "pickle": lambda x: pickle.loads(pickle.dumps(x)),
        "deepcopy": copy.deepcopy,
        "copy": copy.copy,
    }
    again = copies[copied](schedule)
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert repr(again) == repr(schedule)
    for leaf in jax.tree.leaves(again):
        assert isinstance(leaf, np.ndarray | np.generic)
        assert not leaf.flags.writeable


@combinations
def test_every_builder_makes_leaves_that_cannot_be_overwritten(name):
    for leaf in jax.tree.leaves(COMBINATIONS[name]):
        assert isinstance(leaf, np.ndarray | np.generic)
        assert not leaf.flags.writeable


def test_schedules_on_a_device_and_abstract_ones_are_pickled(schedule):
    for one in (jax.device_put(schedule), jax.tree.map(jnp.shape, schedule)):
        assert pickle.loads(pickle.dumps(one)) == one
        assert copy.deepcopy(one) == one


# --- Numbers of a checkpoint ---


HALVED = ["bent", "warm-up", "mirrored at a fraction", "waiting", "stairs", "product"]


@sweep(
    ("name", "dtype"),
    [(name, dtype) for name in HALVED for dtype in ("bfloat16", "float16")],
    [("bent", "float16"), ("mirrored at a fraction", "bfloat16")],
)
def test_numbers_in_half_precision_are_evaluated_in_float32(name, dtype):
    def narrow(leaf):
        is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.asarray(leaf, dtype) if is_float else jnp.asarray(leaf)

    half = jax.tree.map(narrow, plain(name))
    widened = jax.tree.map(
        lambda x: x.astype(np.float32) if x.dtype == dtype else np.asarray(x), half
    )
    on_host = jax.tree.map(np.asarray, half)
    counts = np.arange(-1, 130, dtype=np.int32)
    expected = np.asarray(widened(counts))
    assert np.isfinite(expected).all()
    for values in (
        half(counts),
        on_host(counts),
        jax.jit(on_host)(counts),
        jax.jit(lambda schedule, counts: schedule(counts))(half, counts),
    ):
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected, rtol=2e-6, atol=1e-7)
    one_by_one = [on_host(int(count)) for count in counts]
    assert {type(value) for value in one_by_one} == {np.float32}
    np.testing.assert_allclose(one_by_one, expected, rtol=2e-6, atol=1e-7)


def test_a_long_run_in_half_precision_is_not_a_staircase():
    schedule = oc.linear(0.0, 1.0, steps=70_000)
    half = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.bfloat16) if x.dtype.kind == "f" else x, schedule
    )
    values = np.asarray(half(np.arange(60_000, 60_100)))
    assert (np.diff(values) > 0).all()


# --- Counts of symbolic shape ---


SYMBOLIC = {
    "1 row": oc.cosine(0.1, 0.0, steps=60),
    "3 rows": WARM,
    "20 rows": oc.join(*[oc.cosine(0.1, 0.01, steps=3)] * 20),
    "repeated": RESTARTS,
    "mirrored at a fraction": plain("mirrored at a fraction"),
    **{name: x for name, x in COMBINATIONS.items() if not name.startswith("stack")},
}


@sweep(
    ("name", "how"),
    [(name, how) for name in SYMBOLIC for how in ("closed over", "as an argument")],
    [("3 rows", "closed over"), ("mirrored at a fraction", "as an argument")],
)
def test_a_number_of_counts_may_be_symbolic(name, how):
    schedule = SYMBOLIC[name]
    leaves, treedef = jax.tree.flatten(schedule)

    def values(leaves, counts):
        given = jax.tree.unflatten(treedef, leaves)
        return (schedule if how == "closed over" else given)(counts)

    (rows, columns) = export.symbolic_shape("rows, columns")
    abstract = jax.ShapeDtypeStruct((rows, columns), np.int32)
    exported = export.export(jax.jit(values))(leaves, abstract)
    read = export.deserialize(exported.serialize())
    for shape in ((1, 1), (2, 40)):
        counts = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
        np.testing.assert_array_max_ulp(
            np.asarray(read.call(leaves, counts)), np.asarray(schedule(counts)), 2
        )


def test_a_stack_is_a_sequence_of_its_schedules():
    members = [oc.cosine(0.1 * k, 0.0, steps=10 * k) for k in (1, 2, 3)]
    population = oc.stack(members)
    assert len(population) == 3
    assert list(population) == members
    assert population[1] == population[-2] == population[int(np.int64(1))] == members[1]
    assert population[1](0) == members[1](0)
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"{index} is out of range for 3 schedul"):
            population[index]
    for use in (len, list, lambda schedule: schedule[0]):
        with pytest.raises(TypeError, match="one schedule has no length; it ends at"):
            use(members[0])
    assert bool(members[0])
