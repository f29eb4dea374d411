"""Edits: the past stays, the seam has no jump, the future is as promised."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, plain
from programs import inject
from sweeps import sweep

import optax_cosine as oc

LARGEST = 2**31 - 1
CURVE = oc.warmup_cosine_annealing_schedule(
    0.1, 60, warmup_steps=10, hold_steps=15, end_value=0.01
)
# In the warm-up, at its end, in the hold, in the decay, at the end, and past it.
STEPS = (0, 3, 10, 17, 40, 60, 75)
# Always the same number of counts, for one program of each structure.
COUNTS = np.arange(120)
SCHEDULES: dict[str, Any] = {
    "warm-up": CURVE,
    "one phase": oc.cosine_annealing_schedule(0.1, 60, end_value=0.01),
    "endless": oc.cosine_restarts_schedule(0.1, 20, cycle_warmup_steps=4),
    "mirrored": oc.join(oc.cosine(0.1, 0.01, steps=20), after="mirror"),
    "growing": oc.cosine_restarts_schedule(
        0.1, 7, cycle_steps_factor=1.5, num_cycles=4
    ),
    "product": CURVE * oc.linear(1.0, 0.5, steps=60),
    "read ahead": oc.shift(CURVE, 1),
    "staircase": oc.staircase(CURVE, 7),
    "cooled down": oc.cooldown(CURVE, at_step=30, steps=10),
    "extended": oc.extend(CURVE, at_step=30, total_steps=100),
}
schedules = pytest.mark.parametrize("name", SCHEDULES)
# For what compiles a program for each.
few_schedules = sweep("name", SCHEDULES, ["warm-up", "product"])
steps = pytest.mark.parametrize("at_step", STEPS)
some_steps = sweep("at_step", STEPS, [17])


def cooled(schedule, at_step) -> Any:
    return oc.cooldown(schedule, at_step=at_step, steps=20)


def rewarmed(schedule, at_step) -> Any:
    return oc.rewarm(
        schedule, at_step=at_step, peak_value=0.2, warmup_steps=5, decay_steps=15
    )


def extended(schedule, at_step) -> Any:
    return oc.extend(schedule, at_step=at_step, total_steps=at_step + 400)


def may_be_extended(schedule, at_step) -> bool:
    return at_step < schedule.total_steps < math.inf


def assert_seam(schedule, edited, at_step) -> None:
    """On the host, where values are exact: rounded once, and the same each time."""
    past = range(at_step)
    assert [edited(count) for count in past] == [schedule(count) for count in past]
    assert edited(at_step) == schedule(at_step)


def assert_seam_on_device(schedule, edited, at_step) -> None:
    before, after = np.asarray(schedule(COUNTS)), np.asarray(edited(COUNTS))
    np.testing.assert_array_equal(after[:at_step], before[:at_step])
    jump = abs(after[at_step] - before[at_step])
    assert jump <= 8 * np.spacing(np.float32(0.1))


@few_schedules
@some_steps
@pytest.mark.parametrize("edit", [cooled, rewarmed, extended])
def test_the_past_is_unchanged_and_the_seam_has_no_jump(name, at_step, edit):
    schedule = SCHEDULES[name]
    if edit is extended and not may_be_extended(schedule, at_step):
        with pytest.raises(ValueError, match=r"(train on with|course use) rewarm"):
            edit(schedule, at_step)
    else:
        assert_seam(schedule, edit(schedule, at_step), at_step)
        assert_seam_on_device(schedule, edit(schedule, at_step), at_step)


@schedules
@steps
def test_the_future_is_that_of_the_formula(name, at_step):
    schedule, value = SCHEDULES[name], SCHEDULES[name](at_step)
    futures = {
        cooled: oc.cosine(value, 0.0, steps=20),
        rewarmed: oc.join(
            oc.linear(value, 0.2, steps=5), oc.cosine(0.2, 0.0, steps=15)
        ),
    }
    for edit, future in futures.items():
        edited = edit(schedule, at_step)
        assert edited == oc.splice(schedule, at_step, future)
        assert edited.total_steps == at_step + 20


@few_schedules
@sweep("at_step", [0, 3, 17, 40], [3, 40])
@sweep("total_steps", [41, 59, 133, 1_000_000, 2**29 - 1], [59, 2**29 - 1])
def test_the_rest_is_stretched_to_the_new_end(name, at_step, total_steps):
    schedule = SCHEDULES[name]
    if not may_be_extended(schedule, at_step):
        return
    edited = oc.extend(schedule, at_step=at_step, total_steps=total_steps)
    assert edited.total_steps in (total_steps, at_step + (total_steps - at_step))
    old = schedule.total_steps
    assert edited(total_steps) == edited(jnp.int32(total_steps)) == schedule(old)
    for part in (0.25, 0.5, 0.9):
        count = at_step + round(part * (total_steps - at_step))
        then = at_step + (count - at_step) * (old - at_step) / (total_steps - at_step)
        expected = float(schedule(jnp.float32(then)))
        if name == "staircase":
            continue  # Between two stairs, a rounding of the time above decides.
        assert float(edited(count)) == pytest.approx(expected, abs=3e-7)
        assert float(edited(jnp.int32(count))) == pytest.approx(expected, abs=3e-7)


@schedules
@sweep("at_step", [0, 3, 17, 40], [0, 17])
def test_a_rest_as_long_as_time_is_stretched_or_refused(name, at_step):
    schedule = SCHEDULES[name]
    if not may_be_extended(schedule, at_step):
        return
    arguments = {"at_step": at_step, "total_steps": LARGEST}
    if name == "cooled down" or (at_step == 40 and name in ("one phase", "product")):
        # The clock of a row that was cut, or that began long ago, does not fit.
        message = r"steps away from step 0: at most 2\*\*31 - 1 are possible"
        with pytest.raises(ValueError, match=message):
            oc.extend(schedule, **arguments)
        return
    edited = oc.extend(schedule, **arguments)
    assert edited.total_steps == LARGEST
    last = schedule(schedule.total_steps)
    assert edited(LARGEST) == edited(jnp.int32(LARGEST)) == last


def test_the_extension_of_a_schedule_that_ends_between_steps_ends_at_its_step():
    schedule = oc.stretch(oc.cosine_annealing_schedule(0.1, 997), 0.7)
    assert schedule.total_steps == 697.9
    edited = oc.extend(schedule, at_step=100, total_steps=1_234)
    assert edited.total_steps == 1_234
    assert sum(phase.steps for phase in edited.phases) == 1_234
    assert edited(1_233) > edited(1_234) == edited(jnp.int32(1_234)) == 0
    assert_seam(schedule, edited, 100)
    again = oc.extend(edited, at_step=500, total_steps=700)
    assert again.total_steps == 700
    assert again(699) > again(700) == again(jnp.int32(700)) == 0

    def build(at_step, total_steps):
        return oc.extend(schedule, at_step=at_step, total_steps=total_steps)

    traced = jax.jit(build)(100, 1_234)
    assert traced.total_steps == 1_234
    assert traced(jnp.int32(1_234)) == 0
    np.testing.assert_allclose(
        traced(COUNTS * 10), edited(COUNTS * 10), rtol=0, atol=1e-7
    )


@few_schedules
@sweep("at_step", STEPS, [17])
def test_a_schedule_may_be_rewarmed_without_a_warmup(name, at_step):
    schedule = SCHEDULES[name]
    edited = oc.rewarm(
        schedule, at_step=at_step, peak_value=0.2, warmup_steps=0, decay_steps=15
    )
    assert edited == oc.splice(schedule, at_step, oc.cosine(0.2, 0.0, steps=15))
    past = range(at_step)
    assert [edited(count) for count in past] == [schedule(count) for count in past]
    assert edited(at_step) == np.float32(0.2)
    assert edited.total_steps == at_step + 15
    values = np.asarray(edited(COUNTS))
    assert values[at_step] == np.float32(0.2)
    assert (np.diff(values[at_step:]) <= 0).all()
    traced = jax.jit(
        lambda steps: oc.rewarm(
            schedule,
            at_step=at_step,
            peak_value=0.2,
            warmup_steps=steps,
            decay_steps=15,
        )
    )(0)
    np.testing.assert_allclose(traced(COUNTS), values, rtol=0, atol=1e-7)
    assert traced(jnp.int32(at_step)) == np.float32(0.2)


@pytest.mark.parametrize("at_step", [60, 61, 1_000, LARGEST])
def test_an_extension_at_or_past_the_end_is_refused_in_one_sentence(at_step):
    with pytest.raises(ValueError, match="must be before the end") as caught:
        oc.extend(CURVE, at_step=at_step, total_steps=LARGEST)
    assert str(caught.value) == (
        f"at_step={at_step} must be before the end of the schedule, step 60, as "
        "nothing is left to stretch: extend before the end, or train on with rewarm."
    )


@pytest.mark.parametrize("shape", ["cosine", "linear", "1-sqrt"])
def test_a_cooldown_has_the_shape_of_the_decay_of_its_name(shape):
    edited = oc.cooldown(CURVE, at_step=25, steps=100, end_value=0.02, shape=shape)
    named = oc.warmup_stable_decay_schedule(
        0.1, 100, warmup_steps=0, decay_steps=100, end_value=0.02, shape=shape
    )
    np.testing.assert_array_equal(edited(COUNTS + 25), named(COUNTS))


@pytest.mark.parametrize("name", CASES)
def test_a_schedule_of_every_kind_can_be_edited(name):
    schedule = plain(name)
    for at_step in (0, 4, 29):
        value = float(schedule(at_step))
        edited = oc.cooldown(
            schedule, at_step=at_step, steps=9, end_value=min(value, value / 2)
        )
        again = oc.rewarm(
            edited, at_step=at_step + 5, peak_value=1.0, warmup_steps=4, decay_steps=8
        )
        assert_seam(schedule, edited, at_step)
        assert_seam(edited, again, at_step + 5)
        assert again.total_steps == at_step + 17
        if again.total_steps > 13:
            longer = oc.extend(again, at_step=13, total_steps=90)
            assert_seam(again, longer, 13)
            assert longer.total_steps == 90


@sweep("name", ["warm-up", "endless", "product", "extended"], ["endless"])
@pytest.mark.parametrize("edit", [cooled, rewarmed, extended])
def test_at_step_and_the_schedule_may_be_traced(name, edit):
    schedule = SCHEDULES[name]
    values: Any = jax.jit(lambda s, at_step, c: edit(s, at_step)(c))
    for at_step in STEPS:
        traced = np.asarray(values(schedule, at_step, COUNTS))
        assert np.isfinite(traced).all()
        if edit is not extended or may_be_extended(schedule, at_step):
            expected = np.asarray(edit(schedule, at_step)(COUNTS))
            # Roundings of the largest value, 0.1 or 0.2, also where the value is 0.
            np.testing.assert_allclose(traced, expected, rtol=0, atol=1e-7)
        else:
            # What cannot be refused keeps the past.
            assert (traced[:at_step] == np.asarray(schedule(COUNTS))[:at_step]).all()
    assert values._cache_size() == 1


def test_traced_numbers_that_make_no_sense_never_give_nan():
    def values(at_step, total_steps):
        return oc.extend(CURVE, at_step=at_step, total_steps=total_steps)(COUNTS)

    jitted = jax.jit(values)
    for at_step, total_steps in [(50, 40), (50, 50), (60, 80), (-3, 80), (0, -5)]:
        assert np.isfinite(np.asarray(jitted(at_step, total_steps))).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_an_edited_schedule_is_a_value(name):
    for edit in (cooled, rewarmed):
        edited = edit(SCHEDULES[name], 17)
        assert oc.Schedule.from_dict(edited.to_dict()) == edited
        assert edited == edit(jax.device_put(SCHEDULES[name]), 17)
        # An edit at the end of a cycle is a join.
        assert repr(edited).startswith(("splice(", "join("))


def test_the_code_of_an_extended_schedule_builds_it():
    edited = oc.extend(CURVE, at_step=30, total_steps=100)
    names = {name: getattr(oc, name) for name in oc.__all__}
    built = eval(repr(edited), names)
    np.testing.assert_allclose(built(COUNTS), edited(COUNTS), rtol=1e-6)


@pytest.mark.usefixtures("standard_promotion")
@sweep("at_step", [3, 17, 60], [17])
@pytest.mark.parametrize("edit", [cooled, rewarmed, extended])
def test_the_schedule_of_a_live_state_is_edited_at_its_count(at_step, edit):
    tx = inject(optax.sgd, learning_rate=CURVE)
    opt_state = tx.init(jnp.zeros(()))
    update = jax.jit(tx.update)
    for _ in range(at_step):
        _, opt_state = update(jnp.ones(()), opt_state)
    (schedule,) = oc.get_schedules(opt_state).values()
    if edit is extended and at_step >= 60:
        with pytest.raises(ValueError, match="rewarm"):
            edit(schedule, opt_state.count)
        return
    edited = edit(schedule, opt_state.count)
    opt_state = oc.set_schedules(opt_state, learning_rate=edited)
    assert oc.get_schedules(opt_state)["learning_rate"] == edited
    for count in range(at_step, at_step + 25):
        _, opt_state = update(jnp.ones(()), opt_state)
        applied = np.asarray(optax.tree.get(opt_state, "learning_rate"))
        # A hundredth of a rounding of 0.1, for values near 0.
        np.testing.assert_allclose(applied, edited(count), rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("standard_promotion")
def test_a_live_state_is_edited_within_a_compiled_program():
    tx = inject(optax.sgd, learning_rate=CURVE)

    @jax.jit
    def cooled_down(opt_state):
        (schedule,) = oc.get_schedules(opt_state).values()
        schedule = oc.cooldown(schedule, at_step=opt_state.count, steps=10)
        return oc.set_schedules(opt_state, learning_rate=schedule)

    opt_state = tx.init(jnp.zeros(()))._replace(count=jnp.int32(40))
    (edited,) = oc.get_schedules(cooled_down(opt_state)).values()
    expected = oc.cooldown(CURVE, at_step=40, steps=10)(COUNTS)
    # A hundredth of a rounding of 0.1, for values near 0.
    np.testing.assert_allclose(edited(COUNTS), expected, rtol=1e-6, atol=1e-9)


REWARM = {"peak_value": 0.2, "warmup_steps": 5, "decay_steps": 5}
BAD_CALLS: list[tuple[Any, dict[str, Any], Any, str]] = [
    (oc.cooldown, {"at_step": -1, "steps": 5}, ValueError, "at_step .* 0 to .*got -1"),
    (oc.cooldown, {"at_step": 2.5, "steps": 5}, ValueError, "at_step must be a whole"),
    (oc.cooldown, {"at_step": 5, "steps": 0}, ValueError, "steps must be from 1 .* 0"),
    (oc.cooldown, {"at_step": None, "steps": 5}, TypeError, "at_step must be a number"),
    (
        oc.cooldown,
        {"at_step": 40, "steps": 5, "end_value": 0.09},
        ValueError,
        r"end_value=0\.09 is above schedule\(at_step\)=0\.0\d+; end_value is a rate",
    ),
    (
        oc.cooldown,
        {"at_step": 40, "steps": 5, "shape": "round"},
        ValueError,
        "shape must be one of cosine, linear, 1-sqrt, got 'round'",
    ),
    (
        oc.cooldown,
        {"at_step": 40, "steps": LARGEST},
        ValueError,
        r"must end by step 2\*\*31 - 1, .* end at 2147483687",
    ),
    (oc.extend, {"at_step": -5, "total_steps": 9}, ValueError, "at_step .* got -5"),
    (
        oc.extend,
        {"at_step": 60, "total_steps": 90},
        ValueError,
        "at_step=60 must be before the end of the schedule, step 60, as nothing is "
        "left to stretch: extend before the end, or train on with rewarm",
    ),
    (
        oc.extend,
        {"at_step": 30, "total_steps": 30},
        ValueError,
        "total_steps=30 must be above at_step=30",
    ),
    (oc.extend, {"at_step": 3, "total_steps": 0.5}, ValueError, r"round\(0\.5 \* "),
    (oc.rewarm, REWARM | {"at_step": -1}, ValueError, "at_step .* got -1"),
    (
        oc.rewarm,
        REWARM | {"at_step": 10, "peak_value": 0.05},
        ValueError,
        r"peak_value=0\.05 is below the value of the schedule at at_step, 0\.1.*cool",
    ),
    (
        oc.rewarm,
        REWARM | {"at_step": 10, "end_value": 0.3},
        ValueError,
        r"end_value=0\.3 is above peak_value=0\.2",
    ),
    (
        oc.rewarm,
        REWARM | {"at_step": 10, "warmup_steps": -1},
        ValueError,
        "warmup_steps must be from 0 .* got -1",
    ),
]


@pytest.mark.parametrize(("edit", "arguments", "error", "message"), BAD_CALLS)
def test_a_bad_edit_is_refused_by_name(edit, arguments, error, message):
    with pytest.raises(error, match=message):
        edit(CURVE, **arguments)


@pytest.mark.parametrize("edit", [cooled, rewarmed, extended])
def test_what_is_not_one_schedule_is_refused(edit):
    with pytest.raises(TypeError, match="schedule must be a schedule of optax_cosine"):
        edit(optax.constant_schedule(0.1), 5)
    with pytest.raises(ValueError, match=r"a stack of batch shape \(2,\)"):
        edit(oc.stack([CURVE, CURVE]), 5)


def test_an_endless_schedule_cannot_be_extended():
    for name in ("endless", "mirrored"):
        with pytest.raises(ValueError, match=r"endless .* cannot be extended.* rewarm"):
            extended(SCHEDULES[name], 5)


def test_all_schedules_of_a_state_are_extended_in_a_loop():
    # A number has no end that somebody planned, so nothing is refused.
    make: Any = oc.inject_schedules(optax.adamw)
    state = make(learning_rate=CURVE, b2=0.95, weight_decay=0.1).init(jnp.ones(2))
    longer = {
        name: oc.extend(schedule, at_step=20, total_steps=500)
        for name, schedule in oc.get_schedules(state).items()
    }
    state = oc.set_schedules(state, **longer)
    read = oc.get_schedules(state)
    assert read["b2"] == oc.constant(0.95, steps=500)
    assert read["learning_rate"].total_steps == 500
    flat = oc.join(oc.cosine(0.1, 0.1, steps=20), oc.linear(0.1, 0.1, steps=30))
    longer = oc.extend(flat, at_step=60, total_steps=70)
    assert longer == oc.constant(0.1, steps=70)
    totals = jax.jit(lambda total: oc.extend(flat, at_step=60, total_steps=total))
    assert totals(70) == longer
    with pytest.raises(ValueError, match="total_steps=60 must be above at_step=60"):
        oc.extend(flat, at_step=60, total_steps=60)


def test_a_named_curve_of_one_value_is_extended_after_its_end():
    flat = oc.warmup_stable_decay_schedule(0.1, 10, warmup_steps=0, decay_steps=0)
    longer = oc.extend(flat, at_step=20, total_steps=50)
    assert longer == oc.constant(0.1, steps=50)
