"""Other clocks and splices: exact if counts are whole, and nested at will."""

import math
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeps import sweep

import optax_cosine as oc

LARGEST = 2**31 - 1
RESTARTS = oc.cosine_restarts_schedule(1.0, [7, 4, 9], end_value=0.25)
ENDLESS = oc.cosine_restarts_schedule(1.0, 6, end_value=0.25)
evaluate = jax.jit(lambda schedule, count: schedule(count))


@given(count=st.integers(0, 200), every=st.integers(1, 9))
def test_a_staircase_holds_each_value_for_the_same_number_of_counts(count, every):
    schedule = oc.staircase(RESTARTS, every)
    assert schedule(count) == RESTARTS(count // every)
    assert evaluate(schedule, count) == evaluate(RESTARTS, count // every)


@given(count=st.integers(0, LARGEST), offset=st.integers(-LARGEST, LARGEST))
def test_a_shift_reads_ahead_or_waits(count, offset):
    moved = min(max(count + offset, 0), LARGEST)
    assert oc.shift(ENDLESS, offset)(count) == ENDLESS(moved)
    moved_schedule = oc.shift(ENDLESS, offset)
    assert evaluate(moved_schedule, count) == evaluate(ENDLESS, moved)


@given(
    count=st.integers(0, 60),
    offset=st.fractions(-30, 30, max_denominator=64),
    schedule=st.sampled_from([RESTARTS, ENDLESS, oc.linear(1.0, 0.25, steps=12.5)]),
)
def test_a_shift_by_a_fraction_reads_between_two_counts(count, offset, schedule):
    moved = oc.shift(schedule, offset)
    # The float is exact for a denominator of a power of two, and near for others.
    time = np.float32(max(count + offset, 0))
    expected = schedule(time)
    at_boundary = time in (7, 11, 20) or time % 6 == 0
    if not at_boundary:
        np.testing.assert_allclose(moved(count), expected, rtol=0, atol=2e-6)
        np.testing.assert_allclose(evaluate(moved, count), expected, atol=2e-6)
    left = schedule.total_steps - offset
    if left > 0:
        assert moved.total_steps == pytest.approx(float(left), abs=1e-6)
    else:
        assert moved.total_steps in (0, 1)


def test_a_shift_by_halves_is_exact_and_may_be_undone():
    schedule = oc.shift(RESTARTS, 2.5)
    assert schedule.total_steps == 17.5
    values = [schedule(count) for count in range(20)]
    expected = [RESTARTS(np.float32(count + 2.5)) for count in range(20)]
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert [oc.shift(schedule, 0.5)(count) for count in (4, 8, 17)] == [1, 1, 0.25]
    waiting = oc.shift(RESTARTS, -2.5)
    assert [waiting(count) for count in (0, 1, 2)] == [1, 1, 1]
    assert waiting.total_steps == 22.5
    assert oc.shift(waiting, 2.5) == RESTARTS


def test_a_schedule_shifted_past_its_end_is_its_end_value_held():
    for steps in (20, 20.5, 1_000, LARGEST):
        schedule = oc.shift(RESTARTS, steps)
        assert [schedule(count) for count in (-1, 0, 1, 100)] == [0.25] * 4
        assert (np.asarray(schedule(np.arange(4))) == 0.25).all()
        assert schedule.total_steps == 1
        assert len(schedule.phases) == 1


def test_what_was_read_ahead_does_not_come_back_while_a_schedule_waits():
    ahead = oc.shift(oc.shift(RESTARTS, 3), -5)
    expected = [RESTARTS(3)] * 5 + [RESTARTS(count + 3) for count in range(20)]
    assert [ahead(count) for count in range(25)] == expected
    endless = oc.shift(oc.shift(ENDLESS, 3), -5)
    expected = [ENDLESS(3)] * 5 + [ENDLESS(count + 3) for count in range(20)]
    assert [endless(count) for count in range(25)] == expected


@given(
    count=st.one_of(st.integers(0, 100), st.integers(0, LARGEST)),
    stretch=st.one_of(
        st.sampled_from([1.1, 2 / 3, 7, 1e-3, 0.5, 1 / 3]), st.floats(0.01, 100)
    ),
)
def test_a_stretched_clock_is_exact(count, stretch):
    # As the fraction of small numbers that is nearest, or the float itself.
    fraction = (
        (1 / (1 / Fraction(stretch)).limit_denominator(LARGEST))
        if (stretch > 1)
        else Fraction(stretch).limit_denominator(LARGEST)
    )
    time = count / fraction
    if time > LARGEST:
        return
    schedule = oc.stretch(ENDLESS, stretch)
    lap = time % 6
    truth = 0.25 + 0.75 * math.cos(math.pi * float(lap) / 12) ** 2
    assert abs(schedule(count) - truth) <= 1e-7
    assert abs(evaluate(schedule, count) - truth) <= 1e-6


@pytest.mark.parametrize("stretch", [2, 3, 1.5, 1.1, 7, 0.5])
def test_restarts_stay_exact_on_a_stretched_clock(stretch):
    schedule = oc.stretch(ENDLESS, stretch)
    fraction = Fraction(stretch).limit_denominator(1_000)
    period = (6 * fraction).numerator  # counts after which whole laps are over
    starts = period * np.array([0, 1, 2, 1_000, LARGEST // (4 * period)])
    assert (np.asarray(schedule(starts)) == 1).all()
    assert {schedule(int(start)) for start in starts} == {np.float32(1)}
    traced = jax.jit(lambda s: oc.stretch(ENDLESS, s))(np.float32(stretch))
    if stretch != 1.1:  # which float32 cannot hold
        assert (np.asarray(traced(starts)) == 1).all()


@given(at_step=st.integers(0, 30), count=st.integers(0, 60))
def test_a_splice_changes_over_at_its_step(at_step, count):
    schedule = oc.splice(ENDLESS, at_step, RESTARTS)
    inner = RESTARTS, count - at_step
    expected = ENDLESS(count) if count < at_step else inner[0](inner[1])
    assert schedule(count) == expected
    np.testing.assert_allclose(evaluate(schedule, count), expected, rtol=1e-6)


def test_a_splice_between_two_counts_changes_over_at_the_next_count():
    for before in (RESTARTS, ENDLESS):
        schedule = oc.splice(before, 2.5, oc.linear(1.0, 0.0, steps=4))
        assert [schedule(count) for count in (0, 1, 2)] == [
            before(count) for count in (0, 1, 2)
        ]
        assert [schedule(count) for count in (3, 4, 7)] == [0.875, 0.625, 0]
        np.testing.assert_allclose(schedule(np.array([3, 4, 7])), [0.875, 0.625, 0])
        assert schedule.total_steps == 6.5


# Every operation that leaves a table that ends a table.
OPERATIONS: dict[str, Any] = {
    "join": lambda s, x: oc.join(s, oc.linear(0.0, x, steps=3)),
    "join as the second": lambda s, x: oc.join(oc.linear(0.0, x, steps=3), s),
    "repeat": lambda s, x: oc.join(s * x, after="repeat"),
    "mirror": lambda s, x: oc.join(s * x, after="mirror"),
    "splice": lambda s, x: oc.splice(s, x, oc.linear(1.0, 0.0, steps=4)),
    "splice as the second": lambda s, x: oc.splice(oc.linear(1.0, 0.0, steps=9), x, s),
    "splice past the end": lambda s, x: oc.splice(s, x + 50, RESTARTS),
    "shift ahead": lambda s, x: oc.shift(s, x),
    "shift back": lambda s, x: oc.shift(s, -x),
    "shift past the end": lambda s, x: oc.shift(s, x + 50),
    "stretch": lambda s, x: oc.stretch(s, x),
    "stretch to less": lambda s, x: oc.stretch(s, x / 8),
    "cooldown": lambda s, x: oc.cooldown(s, at_step=x, steps=5),
    "extend": lambda s, x: oc.extend(s, at_step=x, total_steps=50),
    "rewarm": lambda s, x: oc.rewarm(
        s, at_step=x, peak_value=1.0, warmup_steps=0, decay_steps=5
    ),
    "scale": lambda s, x: s * x,
    "divide": lambda s, x: s / x,
    "negate": lambda s, x: -(s * x),
}


@pytest.mark.parametrize("second", OPERATIONS)
@pytest.mark.parametrize("first", OPERATIONS)
def test_a_table_stays_one_table_of_three_leaves_under_every_operation(first, second):
    if first in ("repeat", "mirror"):
        return  # What is endless is not a table any more if it is edited.
    schedule = OPERATIONS[first](RESTARTS, 3.0)
    if second in ("cooldown", "rewarm", "extend") and first == "shift past the end":
        return  # It is over at the step of the edit.
    if second in ("cooldown", "rewarm") and schedule(3) < 0:
        return  # These go down to 0 and up to 1.
    if second == "rewarm" and schedule(3) > 1:
        return
    if second == "extend" and schedule.total_steps <= 3:
        return
    schedule = OPERATIONS[second](schedule, 3.0)
    assert len(jax.tree.leaves(schedule)) == 3
    names = [jax.tree_util.keystr(k) for k, _ in jax.tree.leaves_with_path(schedule)]
    assert names == [".node.integers", ".node.floats", ".node.after"]
    phases = schedule.phases
    assert all(phase.steps > 0 for phase in phases)
    if second not in ("repeat", "mirror"):
        total = sum(phase.steps for phase in phases)
        assert total == pytest.approx(schedule.total_steps, abs=1e-5)


@sweep("name", OPERATIONS, ["extend"])
def test_a_table_stays_one_table_if_the_numbers_are_traced(name):
    operation = OPERATIONS[name]
    expected = operation(RESTARTS, 3.0)
    counts = np.arange(-1, 80)
    values = np.asarray(expected(counts))

    def check(schedule):
        assert len(jax.tree.leaves(schedule)) == 3
        # 16 ulp of the larger end.
        tolerance = 1e-6 * np.abs(values).max()
        np.testing.assert_allclose(schedule(counts), values, rtol=0, atol=tolerance)
        np.testing.assert_allclose(
            schedule.total_steps, expected.total_steps, rtol=1e-6
        )
        on_host = jax.device_get(schedule)
        assert len(on_host.phases) == len(expected.phases)
        np.testing.assert_allclose(
            [on_host(int(count)) for count in counts], values, rtol=0, atol=tolerance
        )

    check(jax.jit(lambda x: operation(RESTARTS, x))(3.0))
    if name not in ("repeat", "mirror"):
        # Whether an argument holds its last value is traced too, so it is not a table.
        inside = jax.jit(lambda s, x, c: operation(s, x)(c))(RESTARTS, 3.0, counts)
        np.testing.assert_allclose(inside, values, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["shift ahead", "stretch", "splice", "extend"])
def test_many_edits_of_one_table_have_as_many_rows_as_edits(name):
    schedule = oc.cosine(1.0, 0.0, steps=1_000)
    edits: dict[str, Any] = {
        "shift ahead": lambda s, k: oc.shift(s, 1),
        "stretch": lambda s, k: oc.stretch(s, 1.5 if k % 2 else 2 / 3),
        "splice": lambda s, k: oc.splice(s, 10 * k, oc.cosine(1.0, 0.0, steps=500)),
        "extend": lambda s, k: oc.extend(s, at_step=10 * k, total_steps=1_000 + k),
    }
    for k in range(1, 21):
        schedule = edits[name](schedule, k)
    integers, _, _ = jax.tree.leaves(schedule)
    assert integers.shape[-1] <= 21


def test_what_is_not_a_table_says_so():
    for schedule in (
        oc.staircase(RESTARTS, 2),
        RESTARTS * ENDLESS,
        oc.shift(ENDLESS, 1),
        oc.stretch(ENDLESS, 2),
        oc.splice(ENDLESS, 5, RESTARTS),
    ):
        with pytest.raises(AttributeError, match="is not one table of phases, and so"):
            _ = schedule.phases


def nested(draw_from):
    numbers = st.integers(1, 12)
    return st.one_of(
        st.tuples(draw_from, numbers).map(lambda x: oc.staircase(x[0], x[1])),
        st.tuples(draw_from, numbers).map(lambda x: oc.shift(x[0], x[1] - 6)),
        st.tuples(draw_from, numbers).map(lambda x: oc.stretch(x[0], x[1] / 5)),
        st.tuples(draw_from, numbers, draw_from).map(lambda x: oc.splice(*x)),
        st.tuples(draw_from, draw_from).map(lambda x: x[0] * x[1]),
        st.tuples(draw_from, numbers).map(lambda x: x[0] * (x[1] / 8)),
        draw_from.map(lambda x: oc.join(oc.linear(0.0, 1.0, steps=3), x)),
    )


schedules = st.recursive(st.sampled_from([RESTARTS, ENDLESS]), nested, max_leaves=4)


@settings(max_examples=8)
@given(schedule=schedules)
def test_combinations_nest_and_agree_on_host_and_device(schedule):
    counts = np.arange(60)
    on_host = np.array([schedule(int(count)) for count in counts])
    with jax.disable_jit():
        some = [schedule(jnp.int32(count)) for count in (0, 7, 31)]
    np.testing.assert_allclose(some, on_host[[0, 7, 31]], rtol=2e-6, atol=1e-7)
    assert oc.Schedule.from_dict(schedule.to_dict()) == schedule
    again = eval(repr(schedule), dict(vars(oc)))
    assert [again(int(count)) for count in counts] == on_host.tolist()


@pytest.mark.thorough
def test_what_is_built_of_traced_numbers_may_be_differentiated():
    def value(stretch, at_step):
        decay = oc.stretch(oc.cosine(1.0, 0.0, steps=10), stretch)
        return oc.splice(decay, at_step, oc.linear(0.5, 0.0, steps=8))(jnp.float32(5))

    by_stretch = jax.grad(value, 0)(2.0, 7)
    angle = math.pi / 4 * 0.5
    truth = math.sin(2 * angle) * math.pi / 2 * 5 / (10 * 2**2)
    np.testing.assert_allclose(by_stretch, truth, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(value, 1)(2.0, 2.0), 0.5 / 8, rtol=1e-5)


stretched = jax.jit(lambda factor, count: oc.stretch(RESTARTS, factor)(count))


@pytest.mark.parametrize("factor", [3e-10, 0.0, -1.0, math.nan, math.inf, 1e30])
def test_traced_stretches_out_of_range_never_give_nan(factor):
    for count in (0, 1, 5, 1_000):
        assert 0.25 <= stretched(factor, count) <= 1


@pytest.mark.parametrize(
    "offset", [np.int8(-128), np.int16(-(2**15)), np.int32(-(2**31)), math.nan]
)
def test_a_traced_shift_far_back_waits(offset):
    value = jax.jit(lambda x: oc.shift(RESTARTS, x)(jnp.int32(3)))(offset)
    np.testing.assert_allclose(value, RESTARTS(0), rtol=1e-6)


def test_the_last_steps_of_time_are_steps_too():
    waiting = oc.shift(oc.cosine_restarts_schedule(1.0, 10), -7)
    counts = np.arange(LARGEST - 500, LARGEST - 480)
    on_host = [waiting(int(count)) for count in counts]
    np.testing.assert_allclose(waiting(counts), on_host, rtol=1e-6, atol=1e-7)


def test_a_traced_end_of_a_staircase_is_rounded_up_and_saturates():
    @jax.jit
    def total_steps(steps, every):
        return oc.staircase(oc.cosine(1.0, 0.0, steps=steps), every).total_steps

    for steps, every in ((2.5, 4), (10_000, 2**20)):
        expected = min(math.ceil(steps) * every, LARGEST)
        np.testing.assert_allclose(total_steps(steps, every), expected, rtol=1e-6)


def test_clocks_on_clocks_show_each_of_them():
    clocks = [
        lambda s: oc.shift(s, 3),
        lambda s: oc.stretch(s, 1.5),
        lambda s: oc.staircase(s, 4),
        lambda s: oc.shift(s, -2),
    ]
    schedule = ENDLESS
    for clock in clocks:
        schedule = clock(schedule)
    code = "shift(staircase(stretch(shift(join(cosine(1.0, 0.25, steps=6), "
    assert repr(schedule) == code + "after='repeat'), 3), 1.5), 4), -2)"
    names = {name: getattr(oc, name) for name in oc.__all__}
    built = eval(repr(schedule), names)
    assert built == schedule
    assert [built(count) for count in range(90)] == [
        schedule(count) for count in range(90)
    ]
    assert oc.Schedule.from_dict(schedule.to_dict()) == schedule


def test_two_known_clocks_become_one_clock():
    """One clock keeps restarts exact, and the program does not grow."""
    schedule = ENDLESS
    for _ in range(10):
        schedule = oc.stretch(oc.shift(oc.stretch(schedule, 3), 3), 1 / 3)
    assert len(jax.tree.leaves(schedule)) == len(jax.tree.leaves(oc.shift(ENDLESS, 1)))
    assert repr(schedule) == f"shift({ENDLESS!r}, 10)"
    counts = np.arange(60)
    np.testing.assert_array_equal(schedule(counts), oc.shift(ENDLESS, 10)(counts))


def test_splices_of_an_endless_schedule_go_into_its_last_part():
    schedule = ENDLESS
    for k in range(1, 6):
        schedule = oc.splice(schedule, 10 * k, oc.linear(1.0, 0.0, steps=9))
    # The endless table, one step count, and one table with all that follows.
    assert len(jax.tree.leaves(schedule)) == 3 + 2 + 3
    values = [schedule(count) for count in range(60)]
    assert values[:10] == [ENDLESS(count) for count in range(10)]
    line = oc.linear(1.0, 0.0, steps=9)
    expected = [line(count % 10 if count < 60 else 9) for count in range(10, 60)]
    np.testing.assert_allclose(values[10:], expected, atol=1e-7)


STAIRS = oc.staircase(oc.cosine(1.0, 0.0, steps=10), 3)


def test_a_table_that_is_read_past_its_end_is_its_end_value_from_the_first_count():
    over = oc.shift(oc.cosine(1.0, 0.0, steps=5), 5.5)
    counts = np.arange(4)
    np.testing.assert_array_equal(over(counts), 0)
    np.testing.assert_array_equal(jax.jit(over)(counts.astype(np.int32)), 0)


@pytest.mark.parametrize(("by", "expected"), [(6, 24), (40, 0)])
def test_a_shifted_staircase_ends_as_much_earlier(by, expected):
    assert oc.shift(STAIRS, by).total_steps == expected
    assert jax.jit(lambda by: oc.shift(STAIRS, by).total_steps)(by) == expected


def test_a_traced_extension_past_the_end_of_a_staircase_keeps_the_end():
    @jax.jit
    def total_steps(at_step):
        return oc.extend(STAIRS, at_step=at_step, total_steps=50).total_steps

    assert total_steps(40) == 30


@pytest.mark.thorough
def test_a_stack_of_staircases_has_the_ends_of_its_members():
    stacked = oc.stack([STAIRS, oc.staircase(oc.cosine(1.0, 0.0, steps=10), 4)])
    np.testing.assert_array_equal(stacked.total_steps, [30, 40])
    stacked = oc.stack([oc.stretch(STAIRS, 1.5), oc.stretch(STAIRS, 2.5)])
    np.testing.assert_array_equal(stacked.total_steps, [45, 75])


def test_equal_speeds_are_equal_schedules():
    assert oc.extend(STAIRS, at_step=0, total_steps=60) == oc.stretch(STAIRS, 2)


def test_a_stretch_of_a_schedule_that_is_read_ahead_is_one_clock():
    schedule = oc.stretch(oc.shift(ENDLESS, 3), 2)
    assert len(jax.tree.leaves(schedule)) == len(jax.tree.leaves(oc.shift(ENDLESS, 1)))


def test_two_speeds_whose_product_does_not_fit_stay_two_clocks():
    schedule = oc.stretch(oc.stretch(ENDLESS, 65_539 / 65_537), 65_543 / 65_521)
    expected = [schedule(count) for count in range(30)]
    np.testing.assert_allclose(schedule(np.arange(30)), expected, rtol=1e-4)


def test_a_schedule_that_is_read_ahead_holds_at_the_last_step_of_time():
    ahead = oc.shift(ENDLESS, 7)
    np.testing.assert_allclose(ahead(LARGEST), ahead(jnp.int32(LARGEST)), rtol=1e-6)


def test_a_restart_between_two_steps_may_fall_on_a_step_after_a_splice():
    cycles = oc.join(oc.cosine(1.0, 0.0, steps=10 / 3), after="repeat")
    assert oc.splice(oc.linear(0.0, 1.0, steps=3), 5 / 3, cycles)(5) == 1


def test_a_schedule_of_a_traced_rate_is_stretched_by_a_known_factor():
    value = jax.jit(lambda rate: oc.stretch(oc.cosine(rate, 0.0, steps=10), 2)(5))
    assert value(1.0) == jax.jit(oc.cosine(1.0, 0.0, steps=20))(5)
