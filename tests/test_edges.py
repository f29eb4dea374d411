"""Inputs that once failed, with their right values; and hostile input of every kind.

What is checked elsewhere at length is here once, as it was reported.
"""

import copy
import decimal
import json
import math
import pickle
from fractions import Fraction
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest
from programs import inject, through_json
from reference import cosine, joined, ulps
from sweeps import sweep

import optax_cosine as oc

LARGEST = 2**31 - 1
ENDLESS = oc.cosine_restarts_schedule(1.0, 10)
DECAY = oc.cosine_annealing_schedule(0.1, 100)


def on_both(schedule: Any, counts: Any) -> tuple[list[float], list[float]]:
    host = [float(schedule(count)) for count in counts]
    return host, schedule(np.array(counts, np.int32)).tolist()


# --- Numbers ---


@pytest.mark.parametrize("exponent", [0.1, 0.25, 0.3, 0.5])
@pytest.mark.parametrize("time_exponent", [2.0, 0.5, 3.0])
@pytest.mark.parametrize("steps", [100_000, 20_000_000])
def test_an_exponent_of_a_bent_clock_keeps_the_digits_near_the_end(
    exponent, time_exponent, steps
):
    bends = {"exponent": exponent, "time_exponent": time_exponent}
    schedule = oc.cosine(0.1, 0.0, steps=steps, **bends)
    exact = joined(cosine(0.1, 0.0, steps, exponent, time_exponent))
    counts = steps - np.arange(40, dtype=np.int32)
    for count, value in zip(counts.tolist(), schedule(counts), strict=True):
        assert ulps(value, exact(count), 0.1) <= 16
        assert ulps(schedule(count), exact(count), 0.1) <= 1


def test_a_rate_near_the_end_of_a_bent_clock_is_the_exact_one():
    schedule = oc.cosine(0.1, 0.0, steps=100_000, exponent=0.25, time_exponent=2.0)
    np.testing.assert_allclose(schedule(np.int32(99_999)), 5.6050e-4, rtol=1e-5)


def test_a_slow_speedup_restarts_at_its_steps():
    fast = oc.stretch(oc.cosine_restarts_schedule(1.0, 44, num_cycles=9), 0.1)
    host, device = on_both(oc.stretch(fast, 100), range(0, 9 * 440, 440))
    assert host == device == [1.0] * 9


def test_an_extension_of_a_schedule_that_ends_between_steps_ends_at_its_step():
    schedule = oc.stretch(oc.cosine_annealing_schedule(0.1, 997), 0.7)
    assert oc.extend(schedule, at_step=100, total_steps=1234).total_steps == 1234


@sweep("numbers", [(100, 200), (150, 200), (200, 100), (0, 0)], [(0, 0)])
def test_a_traced_extension_that_makes_no_sense_is_a_schedule(numbers):
    extended = jax.jit(lambda a, b: oc.extend(DECAY, at_step=a, total_steps=b))
    schedule = extended(*numbers)
    assert through_json(schedule) == schedule
    assert schedule.total_steps >= 1
    host, device = on_both(jax.device_get(schedule), range(0, 300, 7))
    # Near an end at 0 a device is off by some roundings of the other end.
    np.testing.assert_allclose(host, device, rtol=1e-6, atol=1e-9)


def test_an_extension_of_less_than_a_step_comes_back_through_json():
    rest = oc.extend(oc.linear(1.0, 0.0, steps=2.5), at_step=2, total_steps=30)
    assert rest.total_steps == 30
    assert through_json(rest) == rest


def test_under_x64_a_state_keeps_its_dtypes_and_a_stretch_comes_back(x64):
    number = oc.constant(np.float32(0.1), steps=1)
    state = inject(optax.sgd, learning_rate=number).init(jnp.ones(1))
    after = oc.set_schedules(state, learning_rate=DECAY)
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(state)]
    assert [leaf.dtype for leaf in jax.tree.leaves(after)] == dtypes
    stretched = jax.jit(lambda factor: oc.stretch(ENDLESS, factor))(1.1)
    assert through_json(stretched)(33) == stretched(33)


@sweep("factor", [2.0, 3.0, 7.0], [3.0])
@pytest.mark.parametrize("first", [1, 10, 977])
def test_cycles_of_a_traced_whole_factor_are_exact(first, factor):
    number = int(math.log(LARGEST / first / 2, factor))
    build = oc.cosine_restarts_schedule
    numbers = {"num_cycles": number, "cycle_steps_factor": factor}
    traced = jax.jit(lambda x: build(1.0, first, **numbers | {"cycle_steps_factor": x}))
    assert traced(factor) == build(1.0, first, **numbers)


def test_an_end_past_the_last_step_is_refused_by_every_combination():
    long = oc.linear(1.0, 0.0, steps=2**30)
    for build in (
        lambda: oc.stretch(long, 3.0),
        lambda: oc.join(long, long),
        lambda: oc.shift(long, -(2**30)),
        lambda: oc.splice(ENDLESS, 2**30, long),
    ):
        with pytest.raises(ValueError, match=r"must end by step 2\*\*31 - 1"):
            build()


@pytest.mark.parametrize("every", [3, 2**20])
def test_a_staircase_may_outlast_the_counts(every):
    long = oc.cosine_restarts_schedule(1.0, 10, cycle_steps_factor=2)
    stairs = oc.staircase(long, every)
    assert stairs.total_steps == LARGEST
    for count in (0, every - 1, every, 10 * every, LARGEST - 1, LARGEST):
        assert stairs(count) == long(count // every)
        assert stairs(np.int32(count)) == long(np.int32(count // every))


def test_products_of_large_values_are_refused():
    large = oc.constant(1e30, steps=5)
    for build in (
        lambda: large * large,
        lambda: ENDLESS * large * 1e20,
        lambda: oc.Schedule.from_dict(
            (ENDLESS * large).to_dict() | {"first": large.to_dict()}
        ),
    ):
        with pytest.raises(ValueError, match=r"at most 1\.7e38 in size.*scale its fac"):
            build()


@pytest.mark.parametrize("combine", [lambda x: x * DECAY, lambda x: DECAY * x])
def test_combinations_are_nested_as_deep_as_python_copies_them(combine):
    schedule = ENDLESS
    for _ in range(64):
        schedule = combine(schedule)
    assert pickle.loads(pickle.dumps(schedule)) == copy.deepcopy(schedule) == schedule
    assert through_json(schedule) == schedule
    assert eval(repr(schedule), dict(vars(oc))) == schedule
    assert schedule(5) == ENDLESS(5) * 0.0 or np.isfinite(schedule(5))
    with pytest.raises(ValueError, match=r"more than 64 combinations .* too deeply"):
        combine(schedule)
    too_deep = (ENDLESS * DECAY).to_dict() | {"first": schedule.to_dict()}
    with pytest.raises(ValueError, match="nested too deeply"):
        oc.Schedule.from_dict(too_deep)


KINDS = [
    *(DECAY, oc.shift(ENDLESS, -3), oc.staircase(oc.stretch(ENDLESS, 3.0), 2)),
    *(ENDLESS, oc.staircase(ENDLESS, 3), oc.shift(ENDLESS, 0.25), ENDLESS * DECAY),
    *(oc.stretch(ENDLESS, 0.3), oc.splice(ENDLESS, 5, ENDLESS)),
    oc.extend(oc.staircase(DECAY, 2), at_step=5, total_steps=300),
]


@sweep("schedule", KINDS, KINDS[1:2])
def test_counts_that_are_not_finite_have_the_obvious_value(schedule):
    for count in (math.nan, np.float16("nan"), np.array([1.0, math.nan])[1]):
        assert np.isnan(schedule(count))
    assert np.isnan(jax.jit(schedule)(jnp.nan))
    assert np.isnan(jax.jit(lambda s: s(jnp.nan))(schedule))
    some = np.asarray(schedule(np.array([math.nan, 4.0, math.inf, -math.inf])))
    assert np.isnan(some[0])
    expected = [schedule(4), schedule(LARGEST), schedule(0)]
    # Stretched clocks are off by some roundings of the largest value, 1.
    np.testing.assert_allclose(some[1:], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("steps", [0, 0.0])
def test_all_lengths_traced_to_0_give_one_schedule_on_host_and_device(steps):
    @jax.jit
    def build(steps):
        return oc.join(
            oc.linear(1.0, 0.5, steps=steps), oc.linear(0.25, 0.0, steps=steps)
        )

    schedule = jax.device_get(build(steps))
    host, device = on_both(schedule, [0, 1, 2, 3, LARGEST])
    assert host == device
    assert through_json(schedule) == schedule


def test_a_traced_wait_between_two_steps_agrees_at_the_last_step():
    traced = jax.jit(lambda steps: oc.shift(ENDLESS, steps))
    for steps in (0.25, 2.25, -2.75, 7.0):
        known, schedule = oc.shift(ENDLESS, steps), jax.device_get(traced(steps))
        for count in (0, 5, LARGEST - 9, LARGEST):
            device = np.int32(count)
            values = [known(device), schedule(count), schedule(device)]
            # Traced clocks are off by some roundings of the largest value, 1.
            np.testing.assert_allclose(values, known(count), rtol=1e-5, atol=1e-6)


# --- Counts ---


COUNTS: list[Any] = [
    *(3, True, np.bool_(1), 3.0, np.float16(3), np.float64(3), np.longdouble(3)),
    *(np.int8(3), np.uint64(3), jnp.bfloat16(3), jnp.int8(3), Fraction(3), [3]),
    *(
        (3, 4),
        [3, 2**40],
        [3, 10**30, -(10**30)],
        [[1.5, 2], [3, 2**40]],
        [Fraction(7)],
    ),
    *(np.array(3), np.array([3, 4], np.uint32), np.array([3], ">i8"), np.zeros(0)),
    *(np.array([3, 10**30], object), [jnp.int32(3), 4], [1.5, 2**31], -5, 2**100, []),
    *(np.uint64(2**64 - 1), np.longdouble(3.5), [True, 3]),
]


@pytest.mark.parametrize("count", COUNTS, ids=repr)
def test_a_count_of_any_type_is_read(count):
    values = np.asarray(DECAY(count))
    numbers: Any = jax.tree.map(float, count) if isinstance(count, list) else count
    exact = np.clip(np.asarray(numbers, np.float64), 0, LARGEST)
    expected = 0.1 * (1 + np.cos(np.pi * np.minimum(exact, 100) / 100)) / 2
    assert values.shape == expected.shape
    assert values.dtype == np.float32
    # The formula of the textbook cancels near its end, by a rounding of 0.1.
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "count",
    [
        *("5", b"5", None, decimal.Decimal(5), 1j, np.complex64(1), {}, {1}, ...),
        *(np.timedelta64(3, "s"), np.datetime64("2020"), ["5"], [1, None]),
        [[1, 2], [3]],
        *(np.array(["a"]), np.array([1, None]), np.array([1j]), len, DECAY, range),
        *(jnp.complex64(1), [jnp.complex64(1)]),
    ],
    ids=repr,
)
def test_what_is_not_a_count_is_refused_by_name(count):
    with pytest.raises(TypeError, match=r"^count must be a real number"):
        DECAY(count)


def test_a_key_is_not_a_count():
    with pytest.raises(TypeError, match="count must be a real number, got one of key"):
        DECAY(jax.random.key(0))


def test_a_fraction_beside_a_large_count_costs_it_no_digit():
    ramp = oc.linear(0.0, 1.0, steps=2**26)
    counts = [2**24 + 3, 0.5, 2.0**25 + 1.5]
    values = ramp(np.array(counts))
    assert values.tolist() == [np.float32(count / 2**26) for count in counts]
    assert float(ENDLESS(np.array([16_777_220, 0.5]))[0]) == 1.0
    assert float(ENDLESS(16_777_220.0)) == 1.0


def test_counts_that_a_map_hides_are_searched_for_as_an_array_is():
    # Comparing each count with each row would take 400 MB.
    many = jax.device_put(oc.cosine_restarts_schedule(1.0, [3] * 10_000))
    counts = np.arange(20_000, dtype=np.int32)
    mapped = jax.jit(lambda schedule, counts: jax.vmap(schedule)(counts))
    text = mapped.lower(many, counts).as_text()
    assert "while" in text
    np.testing.assert_array_equal(mapped(many, counts), many(counts))


def test_a_hyperparameter_may_be_named_self():
    named: Any = oc.inject_schedules(lambda self: optax.sgd(self))
    state = named(self=DECAY).init(jnp.ones(2))
    assert oc.get_schedules(oc.set_schedules(state, self=ENDLESS)) == {"self": ENDLESS}


# --- Traced numbers ---


class Traced:
    """Every argument of every public function that may be traced."""

    def __init__(self, build: Any, **numbers: Any) -> None:
        self.build, self.numbers = build, numbers


SHAPED = {"exponent": 2.0, "time_exponent": 0.5}
TRACED = {
    "cosine": Traced(oc.cosine, init_value=1.0, end_value=0.1, steps=7.5, **SHAPED),
    "linear": Traced(oc.linear, init_value=1.0, end_value=0.1, steps=7.5, **SHAPED),
    "constant": Traced(oc.constant, value=0.3, steps=5),
    "annealing": Traced(
        oc.cosine_annealing_schedule,
        **{"init_value": 1.0, "decay_steps": 9, "end_value": 0.1, "exponent": 0.5},
    ),
    "warmup": Traced(
        oc.warmup_cosine_annealing_schedule,
        **{"peak_value": 1.0, "total_steps": 30, "warmup_steps": 4, "hold_steps": 3},
        **{"init_value": 0.1, "end_value": 0.1, "exponent": 2.0},
    ),
    "one cycle": Traced(
        oc.cosine_one_cycle_schedule,
        **{"peak_value": 1.0, "total_steps": 30, "pct_start": 0.3},
        **{"div_factor": 8.0, "final_div_factor": 64.0},
    ),
    "stable": Traced(
        oc.warmup_stable_decay_schedule,
        **{"peak_value": 1.0, "total_steps": 30, "warmup_steps": 4, "decay_steps": 9},
        **{"init_value": 0.1, "end_value": 0.1},
    ),
    "restarts": Traced(
        lambda **x: oc.cosine_restarts_schedule(num_cycles=3, **x),
        **{"peak_value": 1.0, "cycle_steps": 9, "end_value": 0.1},
        **{"cycle_warmup_steps": 2, "init_value": 0.1, "cycle_steps_factor": 1.5},
        **{"peak_factor": 0.5, "end_factor": 0.5},
    ),
    "endless": Traced(
        oc.cosine_restarts_schedule,
        **{"peak_value": 1.0, "cycle_steps": 9, "end_value": 0.1},
        **{"cycle_warmup_steps": 2, "init_value": 0.1},
    ),
    "listed": Traced(
        lambda a, b: oc.cosine_restarts_schedule(1.0, [a, 3, b]), a=5, b=6
    ),
    "mirrored": Traced(
        lambda a, b: oc.join(
            oc.linear(1.0, 0.1, steps=a), oc.cosine(0.1, 1.0, steps=b), after="mirror"
        ),
        **{"a": 5.5, "b": 6},
    ),
    "splice": Traced(
        lambda at, a: oc.splice(DECAY, at, oc.linear(1.0, 0.1, steps=a)), at=7, a=9
    ),
    "endless splice": Traced(lambda at: oc.splice(ENDLESS, at, ENDLESS), at=7.5),
    "shift": Traced(lambda by: oc.shift(DECAY, by), by=7),
    "endless shift": Traced(lambda by: oc.shift(ENDLESS, by), by=-7.25),
    "stretch": Traced(lambda by: oc.stretch(DECAY, by), by=1.3),
    "endless stretch": Traced(lambda by: oc.stretch(ENDLESS, by), by=0.7),
    "product stretch": Traced(lambda by: oc.stretch(ENDLESS * DECAY, by), by=0.7),
    "staircase": Traced(lambda every: oc.staircase(DECAY, every), every=3),
    "times": Traced(lambda by: DECAY * by, by=3.0),
    "over": Traced(lambda by: DECAY / by, by=3.0),
    "cooldown": Traced(
        lambda **x: oc.cooldown(DECAY, **x), at_step=9, steps=8, end_value=0.01
    ),
    "endless cooldown": Traced(
        lambda **x: oc.cooldown(ENDLESS, **x), at_step=9, steps=8, end_value=0.01
    ),
    "extend": Traced(lambda **x: oc.extend(DECAY, **x), at_step=9, total_steps=80),
    "stairs extend": Traced(
        lambda **x: oc.extend(oc.staircase(DECAY, 3), **x), at_step=9, total_steps=80
    ),
    "rewarm": Traced(
        lambda **x: oc.rewarm(DECAY, **x),
        **{"at_step": 9, "peak_value": 1.0, "warmup_steps": 3, "decay_steps": 9},
        **{"end_value": 0.1},
    ),
}
HOSTILE = [
    *(0.0, -0.0, -1.0, -1e-30, 1e-30, 0.5, 1e-45, 3.4e38, -3.4e38, 2.0**31, 2.0**-31),
    *(math.inf, -math.inf, math.nan, LARGEST, -LARGEST, 16_777_217.0),
]


def whole_of(name):
    """The arguments that are numbers of steps."""
    return [key for key, x in TRACED[name].numbers.items() if isinstance(x, int)]


# A rate that is not finite has no finite values.
RATES = ("init_value", "end_value", "peak_value", "value")
SOME = np.array([-1, 0, 1, 2, 5, 9, 10, 17, 100, 2**24 + 1, LARGEST], np.int32)


@sweep("name", TRACED, [*TRACED][::9])
def test_no_traced_number_gives_nan_and_host_and_device_agree(name):
    traced = TRACED[name]

    @jax.jit
    def built(numbers):
        schedule = traced.build(**numbers)
        return schedule, schedule(SOME)

    plain = {name: np.float32(number) for name, number in traced.numbers.items()}
    for argument in traced.numbers:
        for value in HOSTILE:
            is_rate = argument in RATES or name in ("times", "over")
            if is_rate and math.isnan(value):
                continue
            numbers = plain | {argument: np.float32(value)}
            schedule, values = jax.device_get(built(numbers))
            case = f"{argument}={value}"
            assert np.isfinite(values).all(), case
            # Laps of a fraction of a step drift beyond 2**24.
            kept = len(SOME) - 2 * (name == "mirrored")
            values = values[:kept]
            host = np.array([schedule(count) for count in SOME[:kept].tolist()])
            scale = float(max(np.abs(values).max(), np.abs(host).max()))
            # 16 roundings of the largest value.
            np.testing.assert_allclose(
                host, values, rtol=2e-6, atol=1e-6 * scale, err_msg=case
            )
            assert through_json(schedule) == schedule, case
            assert 0 <= schedule.total_steps, case
            assert repr(schedule)
            assert str(schedule)


@sweep("name", [name for name in TRACED if whole_of(name)], ["shift"])
@sweep("dtype", ["uint32", "uint8", "int8"], ["uint32"])
def test_a_traced_integer_of_any_type_means_the_same(name, dtype):
    """An unsigned number wraps if it is negated or subtracted."""
    traced, whole = TRACED[name], whole_of(name)

    @jax.jit
    def values(numbers):
        return traced.build(**numbers)(SOME)

    expected = values(dict(traced.numbers))
    narrow = {key: np.dtype(dtype).type(traced.numbers[key]) for key in whole}
    np.testing.assert_array_equal(values(dict(traced.numbers) | narrow), expected)


@sweep("name", TRACED, [*TRACED][1::8])
def test_a_traced_integer_out_of_range_is_moved_into_it(name):
    traced = TRACED[name]
    built = jax.jit(lambda numbers: traced.build(**numbers)(SOME))
    for argument in whole_of(name):
        for value in (0, -1, -LARGEST, LARGEST):
            numbers = dict(traced.numbers) | {argument: np.int32(value)}
            assert np.isfinite(built(numbers)).all(), f"{argument}={value}"


# --- JSON ---


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["hold", "repeat", "linear", "cosine", "table", "product"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["whole", "frac", "kind", "x"]), inner)
    ),
    max_leaves=6,
)
WRITTEN = [
    oc.join(oc.linear(0.0, 1.0, steps=3), oc.cosine(1.0, 0.0, steps=7.5)).to_dict(),
    (oc.shift(ENDLESS, -3) * oc.splice(ENDLESS, 2.5, DECAY)).to_dict(),
    oc.extend(oc.staircase(DECAY, 3), at_step=5, total_steps=400).to_dict(),
]


def places_in(values: Any) -> list[tuple[Any, Any]]:
    """Every container in a dict, with each of its keys."""
    keys = [*values] if isinstance(values, dict) else range(len(values))
    inside = [values[key] for key in keys if isinstance(values[key], dict | list)]
    return [
        *((values, key) for key in keys),
        *(x for y in inside for x in places_in(y)),
    ]


@hypothesis.settings(max_examples=150)
@hypothesis.given(
    written=st.sampled_from(WRITTEN), place=st.integers(0, 10**6), value=json_values
)
def test_whatever_json_holds_is_a_schedule_or_refused_by_name(written, place, value):
    changed = copy.deepcopy(written)
    places = places_in(changed)
    container, key = places[place % len(places)]
    container[key] = value
    try:
        schedule = oc.Schedule.from_dict(json.loads(json.dumps(changed)))
    except (TypeError, ValueError) as error:
        message = str(error)
        hypothesis.event("refused")
    else:
        message = "x" * 30
        hypothesis.event("read")
        assert np.isfinite([schedule(count) for count in SOME.tolist()]).all()
        assert through_json(schedule) == schedule
    assert len(message) > 20


@pytest.mark.parametrize("depth", [70, 300, 1_000, 20_000])
def test_json_of_any_depth_is_refused_by_name(depth):
    values: Any = DECAY.to_dict()
    ends: Any = 1
    for _ in range(depth):
        values = {"kind": "product", "first": values, "second": DECAY.to_dict()}
        ends = [ends]
    with pytest.raises(ValueError, match="nested too deeply"):
        oc.Schedule.from_dict(values)
    with pytest.raises(ValueError, match=r"ends cannot be read|nested too deeply"):
        oc.Schedule.from_dict(DECAY.to_dict() | {"ends": ends})


@pytest.mark.parametrize(
    ("key", "number"),
    [
        *(("init_values", 3.3999999521443642e38), ("init_values", 1e-40)),
        *(
            ("exponents", 1.401298464324817e-45),
            ("exponents", 0.0),
            ("exponents", -1.0),
        ),
        *(("time_exponents", math.inf), ("end_values", math.nan), ("ends", 2**31)),
        *(("ends", 0), ("end_fracs", 1.0), ("clock_ends", -5), ("ends", -1)),
    ],
)
def test_a_number_that_no_builder_stores_is_refused_by_name(key, number):
    number = float(np.float32(number)) if isinstance(number, float) else number
    values = oc.linear(1.0, 0.0, steps=5).to_dict() | {key: [number]}
    with pytest.raises(ValueError, match=f"^{key}"):
        oc.Schedule.from_dict(values)


# --- Curves, arguments, edits ---


def test_a_bent_line_is_shown_as_the_code_that_builds_it():
    schedule = oc.linear(1.0, 0.0, steps=10, exponent=2.0)
    assert repr(schedule) == "linear(1.0, 0.0, steps=10, exponent=2.0)"
    assert eval(repr(schedule), dict(vars(oc))) == schedule


def test_a_warmup_of_half_a_step_is_answered_with_round():
    with pytest.raises(ValueError, match=r"got 19\.5: write round\(19\.5\)"):
        oc.warmup_cosine_annealing_schedule(1.0, 390, warmup_steps=19.5)


def test_a_schedule_is_negated_but_not_added():
    assert (-ENDLESS)(3) == -ENDLESS(3)
    for add in (lambda: 1 - ENDLESS, lambda: ENDLESS + 1, lambda: ENDLESS - ENDLESS):
        with pytest.raises(TypeError, match="not added or subtracted"):
            add()


@pytest.mark.parametrize("after", ["repeat", "mirror"])
@pytest.mark.parametrize(
    "parts",
    [
        [oc.cooldown(oc.linear(1.0, 0.1, steps=9), at_step=2, steps=5)],
        [oc.shift(oc.linear(1.0, 0.1, steps=9), -0.25), oc.constant(0.5, steps=3)],
        [oc.stretch(oc.splice(DECAY, 5, DECAY), 1 / 3), oc.linear(0.0, 1.0, steps=2)],
    ],
)
def test_the_code_of_repeated_edits_repeats(parts, after):
    schedule = oc.join(*parts, after=after)
    assert eval(repr(schedule), dict(vars(oc))) == schedule


def test_the_code_of_a_splice_between_two_steps_can_be_run():
    for step in (2.5, 2.7, 1 / 3):
        schedule = oc.splice(ENDLESS, step, ENDLESS)
        assert eval(repr(schedule), dict(vars(oc))) == schedule


def as_argument_and_closed_over(schedule, counts):
    yield schedule(counts)
    yield jax.jit(lambda schedule, counts: schedule(counts))(schedule, counts)
    yield jax.jit(schedule)(counts)
    state = inject(optax.sgd, learning_rate=schedule).init(jnp.ones(1))
    yield state.schedules["learning_rate"](counts)


@pytest.mark.parametrize("after", ["repeat", "mirror"])
@sweep("lap", [10.1, 33.7, 10.3, 1.7, 12.5, 1000.1], [10.1])
def test_laps_with_a_fraction_of_a_step_begin_at_their_steps(lap, after):
    """The quotient of two floats may be just below the number of laps."""
    schedule = oc.join(oc.linear(0.0, 1.0, steps=lap), after=after)
    exact = Fraction(str(lap))
    starts = (exact * k for k in range(1, 200_000) if exact * k < 2**20)
    counts = np.array([int(x) for x in starts if x.denominator == 1], np.int32)
    on_the_host = [schedule(int(count)) for count in counts]
    for values in as_argument_and_closed_over(schedule, counts):
        np.testing.assert_array_equal(values, on_the_host)


@sweep("length", [2**31 - 1, 2**31 - 600], [2**31 - 1])
@pytest.mark.parametrize("after", ["repeat", "mirror"])
def test_the_clock_of_a_cut_phase_may_end_far_away_in_laps_with_a_fraction(
    length, after
):
    """The distance to the end of such a clock must not wrap in an int32."""
    cut = oc.splice(oc.linear(1.0, 0.0, steps=length), 10.3, oc.constant(1.0, steps=1))
    schedule = oc.join(cut, after=after)
    # The later laps begin early, and are read below their step 0.
    counts = np.concatenate([np.arange(5_000), np.arange(2**24 - 5_000, 2**24)])
    on_the_host = np.array([schedule(int(count)) for count in counts])
    np.testing.assert_allclose(on_the_host, np.ones(counts.size), rtol=1e-6)
    for values in as_argument_and_closed_over(schedule, counts):
        np.testing.assert_allclose(values, on_the_host, rtol=1e-6)


def boundary_at(count: int, stretched_by: int, kind: str) -> oc.Schedule:
    """1 before a count, and 0.5 from there on, of parts that are not one table."""
    step = count / stretched_by
    stairs = oc.staircase(oc.constant(1.0, steps=30), 2)
    half = oc.constant(0.5, steps=50)
    match kind:
        case "a factor ends":
            product = oc.join(oc.constant(1.0, steps=step), half) * stairs
            return oc.stretch(product, stretched_by)
        case "spliced":
            spliced = oc.splice(stairs * stairs, step, half)
            return oc.stretch(spliced, stretched_by)
        case _:
            line = oc.join(oc.constant(1.0, steps=4), half)
            slow = oc.stretch(oc.staircase(line, 2), stretched_by)
            return oc.shift(slow, 8 * stretched_by - count)


def check_boundaries(kind: str) -> None:
    for stretched_by in (3, 5, 7, 11, 48):
        for count in range(stretched_by + 1, 3 * stretched_by, 5):
            schedule = boundary_at(count, stretched_by, kind)
            counts = np.arange(count - 2, count + 2, dtype=np.int32)
            expected = [1, 1, 0.5, 0.5]
            assert [schedule(int(count)) for count in counts] == expected
            np.testing.assert_array_equal(schedule(counts), expected)


# What is stored of such a step is rounded, and so is the step that a clock computes.
@sweep("kind", ["a factor ends", "spliced", "shifted"], ["a factor ends"])
def test_a_boundary_between_two_steps_is_at_its_count_once_stretched(kind):
    check_boundaries(kind)


@sweep("kind", ["a factor ends", "spliced", "shifted"], ["spliced"])
def test_a_stretched_boundary_is_at_its_count_in_float64_too(x64, kind):
    check_boundaries(kind)


@pytest.mark.parametrize("after", ["repeat", "mirror"])
@sweep("lap", [2.5, 1000.5, 10.1], [10.1])
def test_a_late_lap_with_a_fraction_is_misplaced_by_a_part_of_the_count(lap, after):
    """At most 5 * 2**-24 of the count, and the same in each program."""
    schedule = oc.join(oc.linear(0.0, 1.0, steps=lap), after=after)
    late = np.array([9_999_998, 10_004_999, 2**23 + 1, 2**24 - 1])
    counts = np.concatenate([late + shift for shift in range(-40, 1)])
    lap = Fraction(str(lap))
    for values in as_argument_and_closed_over(schedule, counts):
        for count, value in zip(counts.tolist(), np.asarray(values), strict=True):
            nearby = 5 * count / 2**24
            moved = (Fraction(count + x * nearby / 64) for x in range(-64, 65))
            turns = (divmod(max(x, 0), lap) for x in moved)
            exact = [
                float(
                    1 - since / lap if after == "mirror" and turn % 2 else since / lap
                )
                for turn, since in turns
            ]
            # A 64th of what is allowed lies between two of these.
            near = min(abs(value - x) for x in exact)
            assert near <= nearby / 64 / lap + 1e-6, f"{count}: {value}"


def test_a_clock_that_ended_long_before_step_0_is_over_at_every_count():
    """The distance to the end of such a clock must not wrap in an int32."""
    rows = oc.join(oc.cosine(1.0, 0.2, steps=10), oc.linear(0.2, 0.5, steps=5))
    counts = np.array([0, 5, LARGEST - 3, LARGEST])
    traced = jax.jit(lambda steps: oc.shift(rows, steps))(LARGEST)
    for values in (
        *as_argument_and_closed_over(oc.shift(rows, LARGEST), counts),
        *as_argument_and_closed_over(traced, counts),
    ):
        np.testing.assert_array_equal(values, np.float32(0.5))


def test_an_empty_first_phase_is_not_found_in_a_lap_that_begins_early():
    def build(steps):
        once = oc.warmup_cosine_annealing_schedule(
            1.0, 10, warmup_steps=steps, end_value=0.5
        )
        return oc.join(oc.stretch(once, 1.03), after="repeat")

    counts = np.arange(2**24 - 5_000, 2**24, dtype=np.int32)
    assert np.min(jax.jit(build)(0)(counts)) >= 0.5


def test_laps_after_a_splice_between_two_steps_begin_after_their_step():
    restarts = oc.join(oc.linear(1.0, 0.0, steps=10), after="repeat")
    spliced = oc.splice(restarts, 5.5, restarts)
    for values in as_argument_and_closed_over(spliced, np.array([15, 16])):
        np.testing.assert_allclose(values, [0.05, 0.95], rtol=1e-6)


@pytest.mark.parametrize("frac", [0.25, 0.75, 1 - 2**-10])
def test_many_phases_that_end_between_two_steps_hold_the_last_value(frac):
    falls = [oc.linear(1.0 + i, 1.0 - i / 50, steps=2) for i in range(20)]
    schedule = oc.join(*falls, oc.linear(0.9, 0.5, steps=frac))
    for values in as_argument_and_closed_over(schedule, np.array([41, 99, LARGEST])):
        np.testing.assert_array_equal(values, np.float32(0.5))


def test_a_lap_that_begins_early_reads_its_clock_from_there():
    """Late in a run a lap is read below its step 0, but a cut clock began before."""
    row = oc.cosine(1.0, 0.0, steps=100.5)
    schedule = oc.join(oc.shift(row, 50), after="repeat")
    counts = np.arange(2**24 - 4_000, 2**24, dtype=np.int32)
    for values in as_argument_and_closed_over(schedule, counts):
        assert np.max(values) <= row(45)


def ends_between_two_steps(whole, *factors):
    """A splice at the end of a table, and a shift, of fractions of steps."""
    line = oc.linear(1.0, 0.5, steps=10)
    for factor in factors:
        line = oc.stretch(line, factor)
    endless = oc.cosine_restarts_schedule(1.0, 10)
    spliced = oc.join(oc.constant(1.0, steps=whole), line, endless)
    return spliced, oc.shift(oc.shift(endless, whole), 1 / 3)


@pytest.mark.parametrize("whole", [1, 22, 2**20, 2**30 + 1])
@pytest.mark.parametrize("factors", [(0.7, 1.1), (1 / 3,), (0.123,)])
def test_the_code_of_times_that_no_literal_names_builds_them(whole, factors):
    for schedule in ends_between_two_steps(whole, *factors):
        assert eval(repr(schedule), dict(vars(oc))) == schedule


@pytest.mark.parametrize("whole", [1, 22, 2**20])
@pytest.mark.parametrize("factors", [(0.7, 1.1), (1 / 3,), (0.123,)])
def test_fractions_of_steps_are_exact_in_float64_too(x64, whole, factors):
    for schedule in ends_between_two_steps(whole, *factors):
        assert eval(repr(schedule), dict(vars(oc))) == schedule
        # What a stretch by 3 and by 1 / 3 leaves is the same schedule, to the bit.
        assert oc.stretch(oc.stretch(schedule, 3), 1 / 3) == schedule
        assert oc.stretch(oc.stretch(schedule, 1 / 3), 3) == schedule


def test_a_count_below_the_grid_of_float32_counts_in_float64(x64):
    line = oc.linear(0.0, 1.0, steps=1)
    assert line(jnp.float64(2.0**-30)) == 2.0**-30
    assert jax.jit(line)(jnp.float64(2.0**-50)) == 0


def test_what_is_not_a_list_of_schedules_is_not_stacked():
    five: Any = 5
    with pytest.raises(TypeError, match=r"schedules must be a list .*, got 5\."):
        oc.stack(five)


def test_the_code_of_an_extended_product_builds_it():
    line = oc.linear(1.0, 0.5, steps=100)
    for stairs in (oc.staircase(line, 2), oc.staircase(line / 2, 7)):
        for at_step in (5, 50, 99):
            product = line * oc.shift(stairs, 30)
            edited = oc.extend(product, at_step=at_step, total_steps=2_000)
            assert eval(repr(edited), dict(vars(oc))) == edited


def test_the_code_of_a_speed_that_no_float_names_builds_it():
    stairs = oc.staircase(oc.constant(0.0, steps=500), 2_147_483)
    for total_steps in (357_913_833, 357_913_835, 1_073_741_825):
        product = stairs * oc.cosine_annealing_schedule(0.1, 8)
        edited = oc.extend(product, at_step=0, total_steps=total_steps)
        assert eval(repr(edited), dict(vars(oc))) == edited


def test_two_shifts_that_cancel_leave_the_schedule_as_it_is():
    for steps in (1, 0.5, 7):
        assert oc.shift(oc.shift(ENDLESS, -steps), steps) == ENDLESS
    assert oc.stretch(oc.stretch(ENDLESS, 7), 1 / 7) == ENDLESS


def test_an_extension_to_the_same_end_changes_nothing():
    for schedule in (DECAY, DECAY * DECAY, oc.cooldown(ENDLESS, at_step=2, steps=1)):
        total = schedule.total_steps
        assert oc.extend(schedule, at_step=1, total_steps=total) == schedule


@pytest.mark.parametrize("steps", [-0.25, 0.25, -7.75, 1 / 3])
def test_a_shift_by_a_fraction_comes_back_through_json(steps):
    schedule = oc.shift(ENDLESS, steps)
    assert through_json(schedule) == schedule
    assert eval(repr(schedule), dict(vars(oc))) == schedule


def test_twelve_extensions_are_thirteen_phases():
    schedule = oc.cosine_annealing_schedule(0.1, 1_000)
    for k in range(1, 13):
        schedule = oc.extend(schedule, at_step=50 * k, total_steps=1_000 + 100 * k)
    assert len(schedule.phases) == 13
    assert len(json.dumps(schedule.to_dict())) < 3_000
    assert schedule.total_steps == 2_200


def test_a_run_that_is_over_is_rewarmed_and_not_extended():
    over = oc.cosine_annealing_schedule(0.1, 10_000)
    with pytest.raises(ValueError, match="train on with rewarm"):
        oc.extend(over, at_step=10_000, total_steps=20_000)
    again = {"peak_value": 0.1, "warmup_steps": 0, "decay_steps": 10}
    assert oc.rewarm(over, at_step=10_000, **again)(10_000) == np.float32(0.1)


def test_small_results_are_0_as_on_a_device():
    small = oc.constant(1e-30, steps=5) * 1e-20
    assert small == oc.constant(0.0, steps=5)
    assert through_json(small) == small
    rates = oc.cosine_restarts_schedule(1.0, 5, num_cycles=50, peak_factor=0.1)
    assert through_json(rates) == rates
    assert rates(5 * 45) == rates(np.int32(5 * 45)) == 0


def test_a_bent_phase_has_all_digits_at_both_ends_on_the_host():
    assert oc.linear(1e-12, 1.0, steps=10, exponent=2.0)(0) == np.float32(1e-12)
    steps = 2_000_000_011
    value = oc.cosine(1.0, 0.0, steps=steps, exponent=2.0)(steps - 1)
    np.testing.assert_allclose(value, np.sin(np.pi / 2 / steps) ** 4, rtol=1e-7)


@sweep("steps", [2**24 + 3, 50_000_001, 2**28, LARGEST], [50_000_001])
@sweep("exponents", [(2.0, 1.0), (0.5, 1.0), (1.0, 2.0), (0.3, 0.5)], [(2.0, 1.0)])
@pytest.mark.parametrize("shape", [oc.cosine, oc.linear])
def test_a_bent_phase_takes_no_step_back_where_its_halves_meet(shape, exponents, steps):
    exponent, time_exponent = exponents
    schedule = shape(
        *(1.0, 0.0), steps=steps, exponent=exponent, time_exponent=time_exponent
    )
    # The halves may meet at half of the time, before or after `time_exponent` bends the
    # time, and at half of the value.
    half = 0.5 ** (1 / exponent)
    is_cosine = shape is oc.cosine
    fraction = 2 / math.pi * math.acos(math.sqrt(half)) if is_cosine else 1 - half
    for middle in {0.5, 0.5 ** (1 / time_exponent), fraction ** (1 / time_exponent)}:
        first = min(int(middle * steps), LARGEST - 50_000) - 50_000
        counts = np.arange(first, first + 100_000, dtype=np.int32)
        for values in as_argument_and_closed_over(schedule, counts):
            assert (np.diff(values) <= 0).all()


def test_a_length_between_two_steps_is_read_as_it_was_stored_in_float64(x64):
    # float64 holds this length, and 49 / 3 is not this length.
    steps = 16.333333333333332
    with mpmath.workdps(50):
        angle = mpmath.pi / 2 * (mpmath.mpf(steps) - 16) / mpmath.mpf(steps)
        truth = float(mpmath.sin(angle) ** 2)
    value = oc.cosine(1.0, 0.0, steps=steps)(16)
    np.testing.assert_allclose(value, truth, rtol=1e-15)


def test_a_bent_time_has_all_digits_near_its_end_in_float64(x64):
    row = oc.cosine(1.0, 0.0, steps=988, exponent=0.1, time_exponent=0.1)
    with mpmath.workdps(50):
        bent = 1 - (mpmath.mpf(987) / 988) ** mpmath.mpf("0.1")
        truth = float(mpmath.sin(mpmath.pi / 2 * bent) ** mpmath.mpf("0.2"))
    np.testing.assert_allclose(row(987), truth, rtol=1e-15)


@pytest.mark.parametrize("rate", [1e30, -1e30])
def test_a_product_of_large_traced_rates_is_finite_on_the_host(rate):
    def product(x, y):
        return oc.constant(x, steps=5) * oc.constant(y, steps=5)

    assert np.isfinite(jax.device_get(jax.jit(product)(1e30, rate))(0))


def test_what_remains_of_a_traced_schedule_may_be_half_a_step():
    line = oc.linear(0.0, 1.0, steps=10.5)
    extend = jax.jit(lambda n: oc.extend(line, at_step=n, total_steps=20))
    np.testing.assert_allclose(extend(10)(jnp.int32(15)), 10.25 / 10.5, rtol=1e-6)


def test_under_x64_a_schedule_in_float32_is_spliced_at_a_traced_step(x64):
    one, zero = np.float32(1), np.float32(0)
    endless = oc.cosine_restarts_schedule(one, 10, end_value=zero)
    line = oc.linear(one, zero, steps=5)
    spliced = jax.jit(lambda n: oc.splice(endless, n, line))(3)
    assert spliced(jnp.int32(3)) == 1
    assert spliced(jnp.int32(3)).dtype == np.float32
