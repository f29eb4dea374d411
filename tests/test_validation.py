"""Every bad call is refused where it is made, by name, rule and value."""

import fractions
import inspect
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_cosine as oc

NAN, INF = math.nan, math.inf
RANGE = r"decay_steps must be from 1 to 2\*\*31 - 1 steps, got "
WHOLE = "decay_steps must be a whole number of steps, got "
FINITE = r" must be finite and at most 1\.7e38 in size, half the .*float32, got "
NORMAL = r" must be 0 or at least 1\.2e-38 in size, .*float32.*, got "
POSITIVE = r"exponent must be from 1\.2e-38 to 3\.4e38, .*float32 above 0, got "
NUMBER = " must be a number, got "

BAD_CALLS = [
    (ValueError, {"decay_steps": 0}, RANGE + r"0\."),
    (ValueError, {"decay_steps": -3}, RANGE + r"-3\."),
    (ValueError, {"decay_steps": -0.5}, RANGE + r"-0\.5\."),
    (ValueError, {"decay_steps": 2**31}, RANGE + r"2147483648\."),
    (ValueError, {"decay_steps": 10**5000}, RANGE + r"an int of 16610 bits"),
    (ValueError, {"decay_steps": NAN}, RANGE + r"nan\."),
    (ValueError, {"decay_steps": INF}, RANGE + r"inf\."),
    (ValueError, {"decay_steps": -INF}, RANGE + r"-inf\."),
    (ValueError, {"decay_steps": 10.5}, WHOLE + r"10\.5: write round\(10\.5\)\."),
    (
        ValueError,
        {"decay_steps": fractions.Fraction(7, 2)},
        WHOLE + r"Fraction\(7, 2\)",
    ),
    (
        ValueError,
        {"decay_steps": 0.03},
        WHOLE + r"0\.03: .*round\(0\.03 \* total_steps\)",
    ),
    (ValueError, {"decay_steps": np.float32(0.5)}, WHOLE + r"0\.5: .*round\(0\.5 \* "),
    (ValueError, {"decay_steps": jnp.float32(2.5)}, WHOLE + r"2\.5: write round"),
    (ValueError, {"decay_steps": np.int64(2**40)}, RANGE + "1099511627776"),
    (ValueError, {"decay_steps": np.array([5])}, r"decay_steps .*\(1,\).*jax\.vmap"),
    (ValueError, {"decay_steps": jnp.arange(3)}, r"decay_steps .*\(3,\).*jax\.vmap"),
    (TypeError, {"decay_steps": True}, "decay_steps" + NUMBER + r"True\."),
    (TypeError, {"decay_steps": np.True_}, "decay_steps" + NUMBER + "one of bool"),
    (TypeError, {"decay_steps": jnp.bool(1)}, "decay_steps" + NUMBER + "one of bool"),
    (
        TypeError,
        {"decay_steps": jax.random.key(0)},
        "decay_steps" + NUMBER + "one of key",
    ),
    (TypeError, {"decay_steps": "100"}, "decay_steps" + NUMBER + r"'100'"),
    (TypeError, {"decay_steps": None}, "decay_steps" + NUMBER + r"None\."),
    (TypeError, {"decay_steps": [100]}, "decay_steps" + NUMBER + r"\[100\]"),
    (TypeError, {"decay_steps": 5j}, "decay_steps" + NUMBER + "5j"),
    (ValueError, {"init_value": NAN}, "init_value" + FINITE + r"nan\."),
    (ValueError, {"init_value": INF}, "init_value" + FINITE + r"inf\."),
    (ValueError, {"init_value": 1e39}, "init_value" + FINITE + r"1e\+39\."),
    (ValueError, {"init_value": jnp.float32(NAN)}, "init_value" + FINITE + "nan"),
    (ValueError, {"init_value": jnp.bfloat16(INF)}, "init_value" + FINITE + "inf"),
    (ValueError, {"init_value": jnp.ones(2)}, r"init_value .*\(2,\).*jax\.vmap"),
    (ValueError, {"init_value": 1e-40}, "init_value" + NORMAL + "1e-40"),
    (
        ValueError,
        {"init_value": 10**5000},
        "init_value" + FINITE + "an int of 16610 bits",
    ),
    (TypeError, {"init_value": False}, "init_value" + NUMBER + r"False\."),
    (TypeError, {"init_value": "0.1"}, "init_value" + NUMBER + r"'0\.1'"),
    (TypeError, {"init_value": np.complex64(1)}, "init_value" + NUMBER),
    (ValueError, {"end_value": NAN}, "end_value" + FINITE + r"nan\."),
    (ValueError, {"end_value": -INF}, "end_value" + FINITE + r"-inf\."),
    (TypeError, {"end_value": None}, "end_value" + NUMBER + r"None\."),
    (
        ValueError,
        {"end_value": 0.2},
        r"end_value=0\.2 is above init_value=0\.1; end_value",
    ),
    (
        ValueError,
        {"end_value": 0.1000001},
        "is a rate, not a ratio: .*0.1 . init_value",
    ),
    (ValueError, {"exponent": 0}, POSITIVE + r"0\."),
    (ValueError, {"exponent": -1.5}, POSITIVE + r"-1\.5\."),
    (ValueError, {"exponent": NAN}, POSITIVE + r"nan\."),
    (ValueError, {"exponent": INF}, POSITIVE + r"inf\."),
    (ValueError, {"exponent": 1e-60}, POSITIVE + r"1e-60\."),
    (TypeError, {"exponent": True}, "exponent" + NUMBER + r"True\."),
    (TypeError, {"exponent": "2"}, "exponent" + NUMBER + r"'2'"),
]


@pytest.mark.parametrize(("error", "change", "message"), BAD_CALLS)
def test_a_bad_argument_is_refused_by_name_and_value(error, change, message):
    arguments = {"init_value": 0.1, "decay_steps": 10} | change
    with pytest.raises(error, match=message):
        oc.cosine_annealing_schedule(**arguments)


@pytest.mark.parametrize(("error", "change", "message"), BAD_CALLS[:5])
def test_concrete_arguments_are_checked_inside_jit_too(error, change, message):
    with pytest.raises(error, match=message):
        jax.jit(lambda rate: oc.cosine_annealing_schedule(rate, **change)(0))(0.1)


@pytest.mark.parametrize("value", [1j, True, np.complex64(1), np.True_])
@pytest.mark.parametrize("name", ["init_value", "decay_steps", "end_value", "exponent"])
def test_what_is_not_a_real_number_is_refused_even_when_traced(name, value):
    def build(value):
        arguments = {"init_value": 0.1, "decay_steps": 10} | {name: value}
        return oc.cosine_annealing_schedule(**arguments)(0)

    with pytest.raises(TypeError, match=f"{name} must be a number, got one of "):
        jax.jit(build)(value)


@pytest.mark.parametrize(
    "number", [10, 10.0, np.int8(10), np.float64(10), jnp.int32(10), jnp.bfloat16(10)]
)
def test_every_kind_of_real_number_is_welcome(number):
    schedule = oc.cosine_annealing_schedule(number, number, exponent=number)
    assert schedule(0) == 10
    assert schedule(10) == 0


@pytest.mark.parametrize("value", [0.1, 0.0, -0.1])
def test_a_constant_schedule_is_not_a_mistake(value):
    schedule = oc.cosine_annealing_schedule(value, 10, end_value=value)
    assert (schedule(jnp.arange(12)) == np.float32(value)).all()


COSINE = oc.cosine(1.0, 0.0, steps=10)
ENDLESS = oc.cosine_restarts_schedule(1.0, 10)
WARMUP = {"peak_value": 0.1, "total_steps": 100, "warmup_steps": 10}
STABLE = WARMUP | {"decay_steps": 20}
CYCLES = {"peak_value": 0.1, "cycle_steps": 10}
ONE_CYCLE = {"peak_value": 0.1, "total_steps": 100}
warmup, stable = oc.warmup_cosine_annealing_schedule, oc.warmup_stable_decay_schedule
restarts, one_cycle = oc.cosine_restarts_schedule, oc.cosine_one_cycle_schedule
LENGTH = r" must be from 1e-6 to 2\*\*31 - 1 steps, got "

OTHER_BAD_CALLS = [
    (oc.cosine, {"steps": 0}, r"steps must be from 1e-6 .* got 0\."),
    (oc.cosine, {"steps": -2.5}, "steps" + LENGTH + r"-2\.5\."),
    (oc.cosine, {"steps": NAN}, "steps" + LENGTH + r"nan\."),
    (oc.cosine, {"steps": INF}, "steps" + LENGTH + r"inf\."),
    (oc.cosine, {"steps": 2**31}, "steps" + LENGTH + r"2147483648\."),
    (oc.cosine, {"steps": True}, "steps must be a number, got True"),
    (oc.cosine, {"steps": "10"}, "steps must be a number, got '10'"),
    (oc.cosine, {"steps": np.arange(3)}, r"steps must be one .*\(3,\).*jax\.vmap"),
    (oc.cosine, {"init_value": NAN}, "init_value must be .* got nan"),
    (oc.cosine, {"end_value": [1.0]}, r"end_value must be a number, got \[1\.0\]"),
    (oc.cosine, {"exponent": 0}, r"exponent must be .* got 0\."),
    (oc.cosine, {"time_exponent": -1}, r"time_exponent must be .* got -1\."),
    (oc.linear, {"steps": 0.0}, "steps" + LENGTH + r"0\.0\."),
    (oc.linear, {"end_value": INF}, "end_value must be .* got inf"),
    (oc.linear, {"time_exponent": None}, "time_exponent must be a number, got None"),
    (warmup, WARMUP | {"total_steps": 0}, "total_steps must be from 1 .* got 0"),
    (warmup, WARMUP | {"total_steps": 0.5}, r"total_steps .*round\(0\.5 \* total"),
    (warmup, WARMUP | {"warmup_steps": -1}, "warmup_steps must be from 0 .* got -1"),
    (warmup, WARMUP | {"warmup_steps": 0.03}, r"warmup_steps .*round\(0\.03 \* total"),
    (warmup, WARMUP | {"warmup_steps": 2.5}, r"warmup_steps .* whole .* got 2\.5"),
    (
        warmup,
        WARMUP | {"warmup_steps": 101},
        r"warmup_steps=101 is more than total_steps=100",
    ),
    (
        warmup,
        WARMUP | {"warmup_steps": 60, "hold_steps": 41},
        r"warmup_steps=60 \+ hold_steps=41 is more than total_steps=100",
    ),
    (warmup, WARMUP | {"hold_steps": NAN}, "hold_steps must be from 0 .* got nan"),
    (
        warmup,
        WARMUP | {"end_value": 0.2},
        r"end_value=0\.2 is above peak_value=0\.1; end_value is a rate, not a ratio",
    ),
    (warmup, WARMUP | {"peak_value": INF}, "peak_value must be .* got inf"),
    (warmup, WARMUP | {"init_value": "0"}, "init_value must be a number, got '0'"),
    (warmup, WARMUP | {"exponent": -2}, r"exponent must be .* got -2\."),
    (
        stable,
        STABLE | {"decay_steps": 91},
        r"warmup_steps=10 \+ decay_steps=91 is more than total_steps=100",
    ),
    (
        stable,
        STABLE | {"shape": "exp"},
        "shape must be one of cosine, linear, 1-sqrt, got 'exp'",
    ),
    (stable, STABLE | {"shape": None}, "shape must be .* got None"),
    (stable, STABLE | {"decay_steps": -1}, "decay_steps must be from 0 .* got -1"),
    (stable, STABLE | {"end_value": 1.0}, r"end_value=1\.0 is above peak_value=0\.1"),
    (one_cycle, ONE_CYCLE | {"pct_start": 1.5}, r"pct_start .* 0 to 1, got 1\.5"),
    (one_cycle, ONE_CYCLE | {"pct_start": NAN}, r"pct_start .* 0 to 1, got nan"),
    (one_cycle, ONE_CYCLE | {"div_factor": 0}, r"div_factor must be .* got 0\."),
    (
        one_cycle,
        ONE_CYCLE | {"final_div_factor": -1},
        r"final_div_factor must be .* got -1\.",
    ),
    (restarts, CYCLES | {"cycle_steps": 0}, "cycle_steps must be from 1 .* got 0"),
    (restarts, CYCLES | {"cycle_steps": []}, r"cycle_steps must name .* got \[\]"),
    (
        restarts,
        CYCLES | {"cycle_steps": [5, 0]},
        r"cycle_steps\[1\] must be from 1 .* got 0",
    ),
    (
        restarts,
        CYCLES | {"cycle_steps": [2**31 - 1, 1]},
        "cycle_steps must add up to at most .* got 2147483648",
    ),
    (
        restarts,
        CYCLES | {"cycle_steps": [5, 6], "num_cycles": 2},
        "num_cycles must be left out .* got num_cycles=2",
    ),
    (
        restarts,
        CYCLES | {"cycle_steps": [5, 6], "cycle_steps_factor": 2},
        "cycle_steps_factor must be left out .* got cycle_steps_factor=2",
    ),
    (restarts, CYCLES | {"num_cycles": 0}, "num_cycles must be from 1 .* got 0"),
    (
        restarts,
        CYCLES | {"num_cycles": 10**7},
        "num_cycles must be from 1 to 1_000_000, got 10000000",
    ),
    (restarts, CYCLES | {"num_cycles": 2.0}, r"num_cycles must be an int, got 2\.0"),
    (restarts, CYCLES | {"num_cycles": True}, "num_cycles must be an int, got True"),
    (
        restarts,
        CYCLES | {"peak_factor": 0.5},
        r"pass num_cycles=\.\.\.: with the factors given the cycles differ",
    ),
    (
        restarts,
        CYCLES | {"cycle_steps_factor": 0.5},
        r"pass num_cycles=\.\.\.: with cycle_steps_factor=0\.5 the cycles differ",
    ),
    (
        restarts,
        CYCLES | {"cycle_steps_factor": 2, "num_cycles": 40},
        "num_cycles=40 cycles do not fit in .* the first 27 take 1342177270",
    ),
    (
        restarts,
        CYCLES | {"cycle_steps_factor": 1.0000000001},
        r"pass num_cycles=\.\.\.: .* got cycle_steps=10 and cycle_steps_factor=1\.0000",
    ),
    (
        restarts,
        CYCLES | {"cycle_steps_factor": 0},
        r"cycle_steps_factor must be .* got 0\.",
    ),
    (restarts, CYCLES | {"end_factor": NAN}, "end_factor must be .* got nan"),
    (
        restarts,
        CYCLES | {"peak_factor": 10, "num_cycles": 50},
        "peak_factor=10 takes peak_value to .*e.48 in cycle 50",
    ),
    (
        restarts,
        CYCLES | {"cycle_warmup_steps": 11},
        "cycle_warmup_steps=11 is more than the shortest cycle, 10 steps",
    ),
    (restarts, CYCLES | {"end_value": 0.2}, r"end_value=0\.2 is above peak_value=0\.1"),
    (
        restarts,
        CYCLES | {"end_value": 0.06, "peak_factor": 0.5, "num_cycles": 2},
        r"end_factor\*\*1=0\.06 is above peak_value \* peak_factor\*\*1=0\.05",
    ),
    (oc.staircase, {"schedule": COSINE, "every": 0}, "every must be from 1 .* got 0"),
    (oc.staircase, {"schedule": COSINE, "every": 1.5}, r"every .* whole .* got 1\.5"),
    (oc.staircase, {"schedule": abs, "every": 1}, "schedule must be a schedule of"),
    (oc.stretch, {"schedule": COSINE, "factor": 0}, r"factor must be .* got 0\."),
    (oc.stretch, {"schedule": COSINE, "factor": -2}, r"factor must be .* got -2\."),
    (oc.stretch, {"schedule": COSINE, "factor": NAN}, r"factor must be .* got nan\."),
    (oc.stretch, {"schedule": COSINE, "factor": 1e-12}, "factor .* got 1e-12"),
    (oc.stretch, {"schedule": COSINE, "factor": "2"}, "factor must be a number"),
    (
        oc.stretch,
        {"schedule": COSINE, "factor": 2**30},
        r"stretched by 1073741824 must end by step 2\*\*31 - 1, .* at 10737418240\.",
    ),
    (
        oc.stretch,
        {"schedule": oc.cooldown(COSINE, at_step=1, steps=1), "factor": 2**29},
        r"steps away from step 0: at most 2\*\*31 - 1 are possible",
    ),
    (oc.stretch, {"schedule": abs, "factor": 1}, "schedule must be a schedule of"),
    (oc.shift, {"schedule": COSINE, "steps": NAN}, r"steps must be from .* got nan\."),
    (oc.shift, {"schedule": COSINE, "steps": 2**31}, "steps .* got 2147483648"),
    (oc.shift, {"schedule": COSINE, "steps": -(2**31)}, "steps .* got -2147483648"),
    (oc.shift, {"schedule": COSINE, "steps": None}, "steps must be a number, got None"),
    (
        oc.shift,
        {"schedule": COSINE, "steps": -(2**31 - 1)},
        r"shifted by -2147483647 must end by step 2\*\*31 - 1, .* at 2147483657\.",
    ),
    (oc.shift, {"schedule": abs, "steps": 1}, "schedule must be a schedule of"),
    (
        oc.splice,
        {"before": COSINE, "at_step": -1, "then": COSINE},
        r"at_step must be from 0 to .* steps, got -1\.",
    ),
    (
        oc.splice,
        {"before": COSINE, "at_step": NAN, "then": COSINE},
        r"at_step must be .* got nan\.",
    ),
    (
        oc.splice,
        {"before": COSINE, "at_step": 1, "then": None},
        "then must be a schedule of optax_cosine, got None",
    ),
    (
        oc.splice,
        {"before": COSINE, "at_step": 2**31 - 1, "then": COSINE},
        r"spliced schedule must end by step 2\*\*31 - 1, .* end at 2147483657",
    ),
    (oc.stack, {"schedules": []}, "stack needs at least one schedule"),
    (oc.stack, {"schedules": [COSINE, abs]}, r"schedules\[1\] must be a schedule"),
    (
        oc.stack,
        {"schedules": [COSINE, COSINE * COSINE]},
        r"schedules\[1\] must be combined as schedules\[0\] is, cosine",
    ),
]


def error_of(message: str) -> type[Exception]:
    kinds = ("must be a number", "must be a schedule", "must be an int")
    return TypeError if any(kind in message for kind in kinds) else ValueError


@pytest.mark.parametrize(("build", "arguments", "message"), OTHER_BAD_CALLS)
def test_every_bad_call_is_refused_by_name_and_value(build, arguments, message):
    if build in (oc.cosine, oc.linear):
        arguments = {"init_value": 0.1, "end_value": 0.2, "steps": 10} | arguments
    with pytest.raises(error_of(message), match=message):
        build(**arguments)


def test_there_are_enough_bad_calls():
    assert len(OTHER_BAD_CALLS) >= 60


@pytest.mark.parametrize(
    ("schedules", "after", "message"),
    [
        ((), "hold", "join needs at least one schedule"),
        ((COSINE,), "stop", "after must be one of hold, mirror, repeat, got 'stop'"),
        ((COSINE,), None, "after must be one of hold, mirror, repeat, got None"),
        ((COSINE, 0.1), "hold", r"schedules\[1\] must be a schedule .* got 0\.1"),
        ((ENDLESS, COSINE), "hold", r"schedules\[0\] must have an end: .* got join"),
        ((COSINE, ENDLESS), "repeat", r"schedules\[1\] must have an end"),
        (
            (COSINE * COSINE,),
            "mirror",
            "after='mirror' needs tables that end, .* not a product",
        ),
        (
            (oc.constant(1.0, steps=2**31 - 1), COSINE),
            "hold",
            r"the joined .* must end by step 2\*\*31 - 1, .* end at 2147483657",
        ),
        ((oc.stack([COSINE]),), "hold", r"schedules\[0\] must be one .*\(1,\)"),
    ],
)
def test_a_bad_join_is_refused(schedules, after, message):
    with pytest.raises(error_of(message), match=message):
        oc.join(*schedules, after=after)


def test_a_traced_number_of_cycles_is_refused():
    with pytest.raises(TypeError, match=r"num_cycles must be a Python int, .* traced"):
        jax.jit(lambda n: oc.cosine_restarts_schedule(0.1, 10, num_cycles=n)(0))(3)


def test_the_edges_of_what_is_legal_have_the_obvious_value():
    assert oc.cosine_annealing_schedule(0.1, 1)(0) == np.float32(0.1)
    risen = warmup(**(WARMUP | {"warmup_steps": 100}))
    assert [risen(0), risen(100)] == [0, np.float32(0.1)]
    held = warmup(**(WARMUP | {"warmup_steps": 0, "hold_steps": 100}))
    assert [held(0), held(100)] == [np.float32(0.1)] * 2
    for share, first in ((0.0, 0.1), (1.0, 0.004)):
        schedule = one_cycle(**(ONE_CYCLE | {"pct_start": share}))
        assert schedule(0) == np.float32(first)
    assert oc.cosine(0.1, 0.3, steps=4)(4) == np.float32(0.3)
    assert oc.splice(COSINE, 0, ENDLESS)(0) == 1
    between = oc.splice(COSINE, 2.5, oc.constant(0.5, steps=1))
    assert [between(2), between(3)] == [COSINE(2), 0.5]
    assert warmup(0.1, 1, warmup_steps=0)(0) == np.float32(0.1)
    assert warmup(0.1, 1e4, warmup_steps=1e3).total_steps == 10_000


STRETCHED_TWICE = [
    (oc.stretch(COSINE, 2**20), 2**20),
    (oc.constant(1.0, steps=2**31 - 1), 1.5),
    (oc.join(COSINE, oc.constant(0.0, steps=2**30)), 3),
]


@pytest.mark.parametrize(("schedule", "factor"), STRETCHED_TWICE)
def test_a_stretch_past_the_end_of_time_is_refused_by_name(schedule, factor):
    message = rf"stretched by {factor!r} must end by step 2\*\*31 - 1, .* end at \d+"
    with pytest.raises(ValueError, match=message):
        oc.stretch(schedule, factor)


def test_an_endless_schedule_may_be_stretched_by_any_factor_in_range():
    for factor in (2**31 - 1, 1 / (2**31 - 1)):
        assert oc.stretch(ENDLESS, factor)(0) == 1


WRONG_KEYWORDS = [
    # What a peer calls the argument, and what we call it.
    (
        oc.cosine_annealing_schedule,
        {"init_value": 0.1, "decay_steps": 10, "alpha": 0.1},
        "cosine_annealing_schedule has no argument alpha: write end_value, a rate and "
        "not a ratio: alpha times the rate at the start; it takes init_value, "
        r"decay_steps, end_value, exponent\.",
    ),
    (
        oc.cosine_annealing_schedule,
        {"init_value": 0.1, "T_max": 10},
        "cosine_annealing_schedule has no argument T_max: write decay_steps; it takes",
    ),
    (
        oc.cosine_annealing_schedule,
        {"init_value": 0.1, "T_max": 10, "eta_min": 0.0},
        "has no argument T_max: write decay_steps",
    ),
    (
        oc.cosine_annealing_schedule,
        {"init_value": 0.1, "decay_steps": 10, "eta_min": 0.0},
        "has no argument eta_min: write end_value; it takes",
    ),
    (
        warmup,
        {"peak_value": 0.1, "total_steps": 100, "warmup_ratio": 0.1},
        "warmup_cosine_annealing_schedule has no argument warmup_ratio: write "
        r"warmup_steps=round\(warmup_ratio \* total_steps\); it takes peak_value,",
    ),
    (
        warmup,
        {"peak_value": 0.1, "decay_steps": 100, "warmup_steps": 10},
        "warmup_cosine_annealing_schedule has no argument decay_steps: write "
        "total_steps, which counts the warm-?up too; it takes peak_value, total_steps",
    ),
    (
        warmup,
        {"lr": 0.1, "total_steps": 100},
        "warmup_cosine_annealing_schedule has no argument lr: write peak_value; it",
    ),
    (oc.linear, {"learning_rate": 0.1}, "no argument learning_rate: write init_value"),
    (
        one_cycle,
        {"max_lr": 0.1, "total_steps": 100},
        "cosine_one_cycle_schedule has no argument max_lr: write peak_value; it takes",
    ),
    (
        restarts,
        {"peak_value": 0.1, "T_0": 10, "T_mult": 2},
        "cosine_restarts_schedule has no argument T_0: write cycle_steps; it takes",
    ),
    (
        restarts,
        {"peak_value": 0.1, "first_decay_steps": 10},
        "has no argument first_decay_steps: write cycle_steps; it takes",
    ),
    (
        oc.linear,
        {"init_value": 0.1, "end_value": 0.0, "transition_steps": 10},
        "linear has no argument transition_steps: write steps; it takes init_value,",
    ),
    (
        oc.linear,
        {"init_value": 0.1, "end_value": 0.0, "steps": 10, "power": 2.0},
        "linear has no argument power: write exponent; it takes init_value, end_value,",
    ),
    (
        stable,
        STABLE | {"decay_shape": "linear"},
        "has no argument decay_shape: write shape; it takes peak_value, .*, shape",
    ),
    # A typo.
    (
        warmup,
        {"peak_value": 0.1, "total_steps": 100, "warmup_step": 10},
        r"no argument warmup_step \(did you mean warmup_steps\?\); it takes peak_value",
    ),
    (
        oc.rewarm,
        {"schedule": COSINE, "at_step": 5, "peek_value": 0.1},
        r"rewarm has no argument peek_value \(did you mean peak_value\?\); it takes",
    ),
    # Something that nobody knows.
    (
        oc.cosine,
        {"init_value": 0.1, "end_value": 0.0, "xyzzy": 10},
        r"cosine has no argument xyzzy; it takes init_value, end_value, steps, expo",
    ),
    (oc.join, {"then": "hold"}, r"join has no argument then.*; it takes .*after"),
    (oc.splice, {"before": COSINE, "step": 3, "then": COSINE}, "did you mean at_step"),
    (
        oc.shift,
        {"schedule": COSINE, "offset": 3},
        "no argument offset: write steps; it",
    ),
    (oc.stretch, {"schedule": COSINE, "stretch": 3}, "stretch has no argument stretch"),
    (oc.staircase, {"schedule": COSINE, "n": 3}, "staircase has no argument n; it"),
    (oc.extend, {"schedule": COSINE, "at_step": 3, "steps": 9}, "extend has no arg"),
    (oc.cooldown, {"schedule": COSINE, "at_step": 3, "decay_shape": "linear"}, "shape"),
]


@pytest.mark.parametrize(("build", "arguments", "message"), WRONG_KEYWORDS)
def test_a_keyword_of_another_library_is_answered_with_ours(build, arguments, message):
    with pytest.raises(TypeError, match=message):
        build(**arguments)


@pytest.mark.parametrize("steps", [np.int64(-7), np.int8(-7), np.array(-7)])
def test_an_integer_of_numpy_is_shown_as_an_integer(steps):
    with pytest.raises(ValueError, match=r"total_steps must be .* steps, got -7\.$"):
        warmup(0.1, steps, warmup_steps=1)


# As a user without a type checker would write.
BY_POSITION: list[tuple[Any, tuple, str]] = [
    (oc.linear, (0, 1, 5), "takes 2 arguments by position, got 3: write steps=5"),
    (warmup, (0.1, 100, 10, 0), "got 4: write warmup_steps=10, init_value=0"),
    (oc.extend, (COSINE, 5, 20), r"got 3: write at_step=5, total_steps=20\.$"),
    (oc.join, (0.1, COSINE), r"a part of one value is constant\(0\.1, steps=\.\.\.\)"),
    (oc.join, ([COSINE, COSINE],), r"one by one, as in join\(\*schedules\)"),
]


@pytest.mark.parametrize(("build", "arguments", "message"), BY_POSITION)
def test_what_is_wrong_by_position_is_answered_with_what_to_write(
    build, arguments, message
):
    with pytest.raises(TypeError, match=message):
        build(*arguments)


SUGGESTING = [
    oc.cosine_annealing_schedule,
    warmup,
    stable,
    restarts,
    one_cycle,
    oc.cosine,
    oc.linear,
    oc.cooldown,
    oc.rewarm,
]
FOREIGN = [
    *("alpha", "T_max", "eta_min", "T_0", "T_mult", "max_lr", "min_lr", "lr_min"),
    *("min_lr_ratio", "first_decay_steps", "initial_learning_rate", "m_mul", "t_mul"),
    *("num_training_steps", "num_warmup_steps", "power", "t_initial", "warmup_t"),
    *("transition_steps", "warmup_lr_init", "warmup_ratio", "decay_steps", "epochs"),
]


def suggestion(build, name: str) -> str | None:
    """The keyword that an error message tells to write instead."""
    with pytest.raises(TypeError, match=f"no argument {name}") as caught:
        build(**{name: 1})
    suggested = re.search(r": write (\w+)", str(caught.value))
    return suggested[1] if suggested else None


@pytest.mark.parametrize("build", SUGGESTING)
def test_what_is_suggested_is_an_argument_of_the_function(build):
    parameters = [*inspect.signature(build).parameters]
    foreign = [name for name in FOREIGN if name not in parameters]
    suggested = {name: suggestion(build, name) for name in foreign}
    wrong = {k: v for k, v in suggested.items() if v and v not in parameters}
    assert not wrong
