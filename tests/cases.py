"""One table of schedules, each with its exact curve, that drives the contract tests."""

import functools
from typing import Any, NamedTuple

import reference
from reference import cosine, joined, linear

import optax_cosine as oc

WARMED = joined(linear(0.0, 0.1, 10), cosine(0.1, 0.0, 50))
REPEATED = joined(cosine(0.1, 0.0, 40), after="repeat")


class Case(NamedTuple):
    build: Any
    numbers: dict[str, Any]  # arguments, all of which may be traced
    exact: Any  # a function of the count
    starts: tuple[int, ...]  # counts at which a phase begins, and the end
    largest: float  # the largest value: errors are in units of its last place
    units: int = 16  # 8 of the value itself where 8


CASES = {
    "cosine": Case(
        oc.cosine,
        {"init_value": 0.3, "end_value": 0.003, "steps": 1_000},
        joined(cosine(0.3, 0.003, 1_000)),
        (0, 1_000),
        0.3,
        8,
    ),
    "rising": Case(
        oc.cosine,
        {"init_value": 0.996, "end_value": 1.0, "steps": 777},
        joined(cosine(0.996, 1.0, 777)),
        (0, 777),
        1.0,
        8,
    ),
    "bent": Case(
        oc.cosine,
        {"init_value": 0.3, "end_value": 0.1, "steps": 50, "exponent": 3.0}
        | {"time_exponent": 1.5},
        joined(cosine(0.3, 0.1, 50, 3.0, 1.5)),
        (0, 50),
        0.3,
    ),
    "linear": Case(
        oc.linear,
        {"init_value": -0.1, "end_value": 0.3, "steps": 12.5, "time_exponent": 0.5},
        joined(linear(-0.1, 0.3, 12.5, 0.5)),
        (0,),
        0.3,
    ),
    "constant": Case(
        oc.constant,
        {"value": 0.3, "steps": 5},
        joined(linear(0.3, 0.3, 5)),
        (0, 5),
        0.3,
        8,
    ),
    "annealing": Case(
        functools.partial(oc.cosine_annealing_schedule),
        {"init_value": 0.1, "decay_steps": 100, "end_value": 0.001},
        joined(cosine(0.1, 0.001, 100)),
        (0, 100),
        0.1,
        8,
    ),
    "warm-up": Case(
        oc.warmup_cosine_annealing_schedule,
        {"peak_value": 3e-4, "total_steps": 100, "warmup_steps": 7}
        | {"init_value": 1e-6, "hold_steps": 11, "end_value": 3e-5},
        joined(linear(1e-6, 3e-4, 7), linear(3e-4, 3e-4, 11), cosine(3e-4, 3e-5, 82)),
        (0, 7, 18, 100),
        3e-4,
        8,
    ),
    "no warm-up": Case(
        oc.warmup_cosine_annealing_schedule,
        {"peak_value": 3e-4, "total_steps": 100, "warmup_steps": 0},
        joined(cosine(3e-4, 0.0, 100)),
        (0, 100),
        3e-4,
        8,
    ),
    "nothing but warm-up": Case(
        oc.warmup_cosine_annealing_schedule,
        {"peak_value": 3e-4, "total_steps": 100, "warmup_steps": 100},
        joined(linear(0.0, 3e-4, 100)),
        (0, 100),
        3e-4,
        8,
    ),
    "stable": Case(
        functools.partial(oc.warmup_stable_decay_schedule, shape="1-sqrt"),
        {"peak_value": 0.1, "total_steps": 60, "warmup_steps": 5, "decay_steps": 20},
        joined(linear(0.0, 0.1, 5), linear(0.1, 0.1, 35), linear(0.1, 0.0, 20, 0.5)),
        (0, 5, 40, 60),
        0.1,
    ),
    "one cycle": Case(
        oc.cosine_one_cycle_schedule,
        {"peak_value": 1.0, "total_steps": 101, "div_factor": 16.0}
        | {"final_div_factor": 64.0},
        joined(cosine(0.0625, 1.0, 30), cosine(1.0, 2.0**-10, 71)),
        (0, 30, 101),
        1.0,
        8,
    ),
    "restarts for ever": Case(
        oc.cosine_restarts_schedule,
        {"peak_value": 0.1, "cycle_steps": 30, "end_value": 0.01}
        | {"cycle_warmup_steps": 4},
        joined(linear(0.0, 0.1, 4), cosine(0.1, 0.01, 26), after="repeat"),
        (0, 4, 30, 34, 60, 30_000_000, 30_000_004),
        0.1,
        8,
    ),
    "growing restarts": Case(
        functools.partial(
            oc.cosine_restarts_schedule,
            num_cycles=4,
            cycle_steps_factor=1.5,
            peak_factor=0.5,
        ),
        {"peak_value": 0.5, "cycle_steps": 7},
        joined(*(cosine(0.5**k, 0.0, n) for k, n in enumerate((7, 10, 16, 24), 1))),
        (0, 7, 17, 33, 57),
        0.5,
        8,
    ),
    "listed cycles": Case(
        lambda peak_value, steps: oc.cosine_restarts_schedule(
            peak_value, [steps, 3, steps, 2]
        ),
        {"peak_value": 0.5, "steps": 9},
        joined(*(cosine(0.5, 0.0, n) for n in (9, 3, 9, 2))),
        (0, 9, 12, 21, 23),
        0.5,
        8,
    ),
    "mirrored": Case(
        lambda peak, rise, steps: oc.join(
            oc.linear(0.1, peak, steps=rise),
            oc.cosine(peak, 0.1, steps=steps),
            after="mirror",
        ),
        {"peak": 0.4, "rise": 3, "steps": 9},
        joined(linear(0.1, 0.4, 3), cosine(0.4, 0.1, 9), after="mirror"),
        (0, 3, 12, 21, 24, 24_000_003),
        0.4,
        8,
    ),
    "mirrored at a fraction": Case(
        lambda peak, steps: oc.join(oc.cosine(peak, 0.0, steps=steps), after="mirror"),
        {"peak": 0.4, "steps": 11.375},
        joined(cosine(0.4, 0.0, 11.375), after="mirror"),
        (0, 91),
        0.4,
        64,  # laps of a fraction are not counted in integers
    ),
    "warm-up once": Case(
        lambda peak, steps: oc.join(
            oc.linear(0.0, peak, steps=5), oc.cosine_restarts_schedule(peak, steps)
        ),
        {"peak": 0.1, "steps": 10},
        lambda count: (
            joined(linear(0.0, 0.1, 5))(count)
            if count < 5
            else joined(cosine(0.1, 0.0, 10), after="repeat")(count - 5)
        ),
        (0, 5, 15, 10_000_005),
        0.1,
        8,
    ),
    "spliced": Case(
        lambda peak, at_step: oc.splice(
            oc.cosine_annealing_schedule(peak, 40),
            at_step,
            oc.linear(peak, 0.05, steps=8),
        ),
        {"peak": 0.1, "at_step": 13},
        lambda count: (
            joined(cosine(0.1, 0.0, 40))(count)
            if count < 13
            else joined(linear(0.1, 0.05, 8))(count - 13)
        ),
        (0, 13, 21),
        0.1,
        8,
    ),
    "read ahead": Case(
        lambda offset: oc.shift(
            oc.warmup_cosine_annealing_schedule(0.1, 40, warmup_steps=10), offset
        ),
        {"offset": 1},
        lambda count: joined(linear(0.0, 0.1, 10), cosine(0.1, 0.0, 30))(
            max(count, 0) + 1
        ),
        (9, 39),
        0.1,
        8,
    ),
    "waiting": Case(
        lambda offset: oc.shift(oc.cosine_restarts_schedule(0.1, 40), offset),
        {"offset": -7},
        lambda count: joined(cosine(0.1, 0.0, 40), after="repeat")(max(count - 7, 0)),
        (0, 7, 47),
        0.1,
        8,
    ),
    "stairs": Case(
        lambda every: oc.staircase(
            oc.cosine_annealing_schedule(0.1, 10, end_value=0.02), every
        ),
        {"every": 7},
        lambda count: joined(cosine(0.1, 0.02, 10))(max(count, 0) // 7),
        (0, 70),
        0.1,
        8,
    ),
    "stretched": Case(
        lambda stretch: oc.stretch(
            oc.cosine_restarts_schedule(0.1, 10, num_cycles=3), stretch
        ),
        {"stretch": 1.5},
        lambda count: joined(*[cosine(0.1, 0.0, 10)] * 3)(
            reference.mpmath.mpf(count) / 1.5
        ),
        (0, 15, 30, 45),
        0.1,
    ),
    "cooled down": Case(
        lambda peak, at_step, steps: oc.cooldown(
            oc.warmup_cosine_annealing_schedule(peak, 60, warmup_steps=10),
            at_step=at_step,
            steps=steps,
            end_value=0.001,
            shape="1-sqrt",
        ),
        {"peak": 0.1, "at_step": 25, "steps": 20},
        lambda count: (
            WARMED(count)
            if count < 25
            else joined(linear(WARMED(25), 0.001, 20, 0.5))(count - 25)
        ),
        (0, 10, 25, 45),
        0.1,
    ),
    "extended": Case(
        lambda peak, at_step, total_steps: oc.extend(
            oc.warmup_cosine_annealing_schedule(peak, 60, warmup_steps=10),
            at_step=at_step,
            total_steps=total_steps,
        ),
        {"peak": 0.1, "at_step": 5, "total_steps": 126},
        lambda count: WARMED(
            count if count < 5 else 5 + reference.mpmath.mpf(count - 5) * 55 / 121
        ),
        (0, 16, 126),
        0.1,
    ),
    "rewarmed": Case(
        lambda peak, at_step, steps: oc.rewarm(
            oc.cosine_restarts_schedule(0.1, 40),
            at_step=at_step,
            peak_value=peak,
            warmup_steps=6,
            decay_steps=steps,
        ),
        {"peak": 0.09, "at_step": 50, "steps": 30},
        lambda count: (
            REPEATED(count)
            if count < 50
            else joined(linear(REPEATED(50), 0.09, 6), cosine(0.09, 0.0, 30))(
                count - 50
            )
        ),
        (0, 40, 50, 56, 86),
        0.1,
    ),
    "product": Case(
        lambda peak, steps: (
            0.5
            * oc.cosine_restarts_schedule(peak, 25)
            * oc.linear(1.0, 0.25, steps=steps)
        ),
        {"peak": 0.5, "steps": 60},
        lambda count: (
            joined(cosine(0.25, 0.0, 25), after="repeat")(count)
            * joined(linear(1.0, 0.25, 60))(count)
        ),
        (0,),
        0.25,
        16,
    ),
}

# One of each way to be built and evaluated: the default of sweeps over the cases.
FEW = (
    *("bent", "warm-up", "restarts for ever", "mirrored"),
    *("stairs", "stretched", "extended", "product"),
)

# Built before any test turns x64 on.
PLAIN: dict[str, Any] = {
    name: case.build(**case.numbers) for name, case in CASES.items()
}


def plain(name: str) -> Any:
    return PLAIN[name]
