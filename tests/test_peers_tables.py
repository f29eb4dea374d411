"""What the suites of ten peers ask of a cosine schedule, asked of this package.

The settings and the numbers are theirs: literal ones where their tests have them, else
from a few lines of plain Python below, which share nothing with the package. Values are
at steps, which a peer may call epochs or batches.
"""

import functools
import json
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pytest

import optax_cosine as oc


class Table(NamedTuple):
    schedule: Callable[[], oc.Schedule]
    values: dict[int, float]  # by step
    tolerance: float = 0.0  # of numbers that are known to a few digits only


def listed(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def half_cosine(init_value: float, end_value: float, part: float) -> float:
    return end_value + (init_value - end_value) * (1 + math.cos(math.pi * part)) / 2


def in_cycle(step: float, steps: float, factor: float) -> tuple[float, float, int]:
    """How far into its cycle a step is, the cycle's length, and its index."""
    index = 0
    while step >= steps:
        step, steps, index = step - steps, steps * factor, index + 1
    return step, steps, index


# 1. AllenNLP, CosineWithRestarts: a few epochs each, by t_initial, t_mul and eta_mul.

LAST_OF_30 = 0.0027390523158632996

ALLENNLP = {
    "one cycle": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 30, num_cycles=1),
        {0: 1.0, 15: 0.5, 29: LAST_OF_30},
    ),
    "from one epoch, doubled": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 1, cycle_steps_factor=2.0),
        {0: 1.0, 1: 1.0, 2: 0.5, 3: 1.0},
    ),
    "one epoch each": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 1), {0: 1.0, 15: 1.0, 29: 1.0}
    ),
    "two cycles": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 30),
        {0: 1.0, 15: 0.5, 29: LAST_OF_30, 30: 1.0, 45: 0.5, 59: LAST_OF_30},
    ),
    "halved": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 30, num_cycles=2, peak_factor=0.5),
        {0: 1.0, 15: 0.5, 29: LAST_OF_30, 30: 0.5},
    ),
    "half as long again": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 30, cycle_steps_factor=1.5),
        {0: 1.0, 29: LAST_OF_30, 30: 1.0, 74: 0.0012179748700879012},
    ),
    "doubled": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 30, cycle_steps_factor=2),
        {
            **{0: 1.0, 29: LAST_OF_30, 30: 1.0, 89: 0.0006852326227130834},
            **{90: 1.0, 209: 0.00017133751222137006},
        },
    ),
    "doubled and halved": Table(
        lambda: oc.cosine_restarts_schedule(
            1.0, 30, num_cycles=3, cycle_steps_factor=2, peak_factor=0.5
        ),
        {0: 1.0, 30: 0.5, 90: 0.25},
    ),
    "many cycles": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 30),
        {
            **{0: 1.0, 29: LAST_OF_30, 30: 1.0, 59: LAST_OF_30},
            **{60: 1.0, 89: LAST_OF_30, 90: 1.0},
        },
    ),
    "one epoch each, halved": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 1, num_cycles=3, peak_factor=0.5),
        {0: 1.0, 1: 0.5, 2: 0.25},
    ),
}
# Where its suite saves the scheduler and goes on from what it saved.
ALLENNLP_CHECKPOINTS = {
    "one cycle": [10, 14],
    "from one epoch, doubled": [1, 3],
    "two cycles": [30, 35],
    "doubled and halved": [29, 90],
}


# 2. Composer: 1000 epochs of 1000 batches, counted in batches; the scale schedule ratio
# (SSR) stretches all of it. Steps rounded to whole batches move the values a little.

COMPOSER = {
    "cosine": Table(
        lambda: oc.cosine_annealing_schedule(1.0, 1_000_000),
        {0: 1.0, 333_333: 0.75, 500_000: 0.5, 666_667: 0.25, 1_000_000: 0.0},
        tolerance=1e-6,
    ),
    "cosine, t_max": Table(
        lambda: oc.cosine_annealing_schedule(1.0, 30, end_value=0.5),
        {0: 1.0, 10: 0.875, 15: 0.75, 20: 0.625, 30: 0.5, 50: 0.5},
    ),
    "cosine, SSR 0.2": Table(
        lambda: oc.stretch(oc.cosine_annealing_schedule(1.0, 30, end_value=0.5), 0.2),
        {0: 1.0, 2: 0.875, 3: 0.75, 4: 0.625, 6: 0.5, 10: 0.5},
    ),
    "restarts": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 30),
        {0: 1.0, 10: 0.75, 15: 0.5, 20: 0.25, 30: 1.0, 40: 0.75},
    ),
    "restarts, t_mult 1.5": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 3_000, cycle_steps_factor=1.5),
        {0: 1.0, 1_000: 0.75, 3_000: 1.0, 4_500: 0.75, 7_500: 1.0, 14_250: 1.0},
    ),
    "restarts, SSR 0.5": Table(
        lambda: oc.stretch(
            oc.cosine_restarts_schedule(
                1.0, 30_000, end_value=0.5, cycle_steps_factor=2, num_cycles=4
            ),
            0.5,
        ),
        {0: 1.0, 5_000: 0.875, 15_000: 1.0, 25_000: 0.875},
    ),
    "warm-up": Table(
        lambda: oc.warmup_cosine_annealing_schedule(
            1.0, 1_000_000, warmup_steps=900_000
        ),
        {
            **{0: 0.0, 450_000: 0.5, 900_000: 1.0},
            **{933_333: 0.75, 950_000: 0.5, 1_000_000: 0.0},
        },
        tolerance=1e-5,
    ),
    # A warm-up that is a share of the run scales with it, whatever scale_warmup says.
    "warm-up, SSR 0.01": Table(
        lambda: oc.stretch(
            oc.warmup_cosine_annealing_schedule(
                1.0, 1_000_000, warmup_steps=900_000, end_value=0.5
            ),
            0.01,
        ),
        {0: 0.0, 4_500: 0.5, 9_000: 1.0, 9_333: 0.875, 9_500: 0.75, 10_000: 0.5},
        tolerance=3e-4,
    ),
    "warm-up alone": Table(
        lambda: oc.warmup_cosine_annealing_schedule(
            1.0, 1_000_000, warmup_steps=1_000_000
        ),
        {0: 0.0, 100_000: 0.1, 1_000_000: 1.0},
    ),
}


# 3. PyTorch: two parameter groups, of 0.05 and 0.5; the floor is 1e-10 in both.

TORCH_FLOOR = 1e-10


def torch_restarts(rate: float, factor: int) -> oc.Schedule:
    # A few cycles, since all that fit into 2**31 - 1 steps cannot be stretched.
    return oc.cosine_restarts_schedule(
        rate, 10, num_cycles=10, end_value=TORCH_FLOOR, cycle_steps_factor=factor
    )


def torch_tenths(rate: float, factor: int) -> oc.Schedule:
    return oc.stretch(torch_restarts(rate, factor), 10)


def torch_cycles(rate: float, factor: int, steps: Iterable[float]) -> list[float]:
    cycles = (in_cycle(step, 10, factor) for step in steps)
    return [half_cosine(rate, TORCH_FLOOR, gone / length) for gone, length, _ in cycles]


# Tenths of an epoch, in the order in which step(epoch) is called; how far into its
# cycle that is, in epochs; the cycle's length.
TORCH_JUMPS = {
    1: [
        *[(10 * epoch, epoch, 10) for epoch in (0, 1, 2, 3, 4, 5)],
        *[(120, 2, 10), (270, 7, 10), (30, 3, 10), (60, 6, 10), (130, 3, 10)],
    ],
    2: [
        *[(10 * epoch, epoch, 10) for epoch in (0, 1, 2, 3, 4, 5)],
        *[(250, 15, 20), (320, 2, 40), (330, 3, 40), (340, 4, 40)],
        *[(800, 10, 80), (810, 11, 80), (30, 3, 10)],
    ],
    3: [
        *[(tenths, tenths / 10, 10) for tenths in (0, 1, 2, 3, 13, 23)],
        *[(175, 7.5, 30), (185, 8.5, 30), (195, 9.5, 30)],
        *[(295, 19.5, 30), (305, 20.5, 30), (315, 21.5, 30), (500, 10, 90)],
    ],
}


def torch_tables(rate: float) -> dict[str, Table]:
    tables = {
        "cosine": Table(
            lambda: oc.cosine_annealing_schedule(rate, 10, end_value=TORCH_FLOOR),
            listed(*(half_cosine(rate, TORCH_FLOOR, i / 10) for i in range(10))),
        ),
        # The closed form knows no end: its cosine goes up again, and down.
        "closed form": Table(
            lambda: oc.join(oc.cosine(rate, TORCH_FLOOR, steps=5), after="mirror"),
            listed(*(half_cosine(rate, TORCH_FLOOR, i / 5) for i in range(20))),
        ),
    }
    for factor in (1, 2, 4):
        tables[f"restarts, T_mult {factor}"] = Table(
            functools.partial(torch_restarts, rate, factor),
            listed(*torch_cycles(rate, factor, range(100))),
        )
        tables[f"restarts in tenths, T_mult {factor}"] = Table(
            functools.partial(torch_tenths, rate, factor),
            listed(*torch_cycles(rate, factor, (i / 10 for i in range(300)))),
        )
    for factor, jumps in TORCH_JUMPS.items():
        tables[f"restarts with jumps, T_mult {factor}"] = Table(
            functools.partial(torch_tenths, rate, factor),
            {
                tenths: half_cosine(rate, TORCH_FLOOR, gone / steps)
                for tenths, gone, steps in jumps
            },
        )
    return {f"{name}, rate {rate}": table for name, table in tables.items()}


# The peak is at step 0.3 * 10 - 1, the end at step 10 - 1.
TORCH_ONE_CYCLE = {
    "rate of one cycle": Table(
        lambda: oc.join(oc.cosine(1, 25, steps=2), oc.cosine(25, 0.5, steps=7)),
        listed(1, 13, *(half_cosine(25, 0.5, i / 7) for i in range(7)), 0.5),
    ),
    "momentum of one cycle": Table(
        lambda: oc.join(oc.cosine(22, 1, steps=2), oc.cosine(1, 22, steps=7)),
        listed(22, 11.5, *(half_cosine(1, 22, i / 7) for i in range(7)), 22),
    ),
    "rate of three phases": Table(
        lambda: oc.join(
            oc.linear(1, 25, steps=3),
            oc.linear(25, 1, steps=3),
            oc.linear(1, 0.25, steps=3),
        ),
        listed(1, 9, 17, 25, 17, 9, 1, 0.75, 0.5, 0.25),
    ),
    "momentum of three phases": Table(
        lambda: oc.join(
            oc.linear(22, 1, steps=3),
            oc.linear(1, 22, steps=3),
            oc.constant(22, steps=3),
        ),
        listed(22, 15, 8, 1, 8, 15, 22, 22, 22, 22),
    ),
}


# 4. Keras: the reference counts its way through the cycles, one after the other.

KERAS_STEPS = range(0, 1500, 250)


def keras_restarts(
    steps: Iterable[int],
    first: float,
    t_mul: float = 2.0,
    m_mul: float = 1.0,
    alpha: float = 0.0,
) -> dict[int, float]:
    values = {}
    for step in steps:
        gone, length, cycle = in_cycle(step, first, t_mul)
        peak = (1 - alpha) * m_mul**cycle + alpha
        values[step] = half_cosine(peak, alpha, gone / length)
    return values


def keras_cycles(
    first: float, t_mul: float, m_mul: float, alpha: float, cycles: int = 5
) -> oc.Schedule:
    """`m_mul` scales the height above the floor; the lengths are not whole."""
    peaks = ((1 - alpha) * m_mul**cycle + alpha for cycle in range(cycles))
    lengths = (first * t_mul**cycle for cycle in range(cycles))
    return oc.join(
        *(
            oc.cosine(peak, alpha, steps=length)
            for peak, length in zip(peaks, lengths, strict=True)
        )
    )


KERAS = {
    "cosine": Table(
        lambda: oc.cosine_annealing_schedule(1.0, 1000),
        {i: half_cosine(1.0, 0.0, min(i / 1000, 1)) for i in KERAS_STEPS},
    ),
    "cosine, alpha": Table(
        lambda: oc.cosine_annealing_schedule(1.0, 1000, end_value=0.1),
        {i: half_cosine(1.0, 0.1, min(i / 1000, 1)) for i in KERAS_STEPS},
    ),
    "warm-up": Table(
        lambda: oc.warmup_cosine_annealing_schedule(10.0, 1510, warmup_steps=1500),
        {i: i / 150 for i in KERAS_STEPS},
    ),
    "warm-up and decay": Table(
        lambda: oc.warmup_cosine_annealing_schedule(10.0, 3000, warmup_steps=2000),
        {
            **{i: i / 200 for i in range(0, 2000, 250)},
            **{i: half_cosine(10, 0, i / 1000 - 2) for i in range(2000, 3000, 250)},
        },
    ),
    "restarts": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 1000, cycle_steps_factor=2),
        keras_restarts(KERAS_STEPS, 1000),
    ),
    "restarts, alpha": Table(
        lambda: oc.cosine_restarts_schedule(
            1.0, 1000, end_value=0.1, cycle_steps_factor=2
        ),
        keras_restarts(KERAS_STEPS, 1000, alpha=0.1),
    ),
    "restarts, m_mul": Table(
        lambda: oc.cosine_restarts_schedule(
            1.0, 1000, num_cycles=4, cycle_steps_factor=2, peak_factor=0.9
        ),
        keras_restarts(KERAS_STEPS, 1000, m_mul=0.9),
    ),
    "restarts, t_mul": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 1000),
        keras_restarts(KERAS_STEPS, 1000, t_mul=1.0),
    ),
    # Not in its suite: every step, and all parameters at once.
    "restarts at each step": Table(
        lambda: oc.cosine_restarts_schedule(1.0, 10, cycle_steps_factor=3),
        keras_restarts(range(1210), 10, t_mul=3.0),
    ),
    "restarts, all parameters": Table(
        lambda: keras_cycles(10, 1.5, 0.7, 0.3),
        keras_restarts(range(100), 10, t_mul=1.5, m_mul=0.7, alpha=0.3),
    ),
}
# The step whose rate Keras itself, in float32, takes for the end of the cycle before.
KERAS["restart after eleven"] = Table(
    lambda: oc.cosine_restarts_schedule(1.0, 10, cycle_steps_factor=2),
    {10 * (2**13 - 1): 1.0},
)


# 5. Optax.

OPTAX = {
    "cosine": Table(
        lambda: oc.cosine_annealing_schedule(0.1, 10),
        listed(*(half_cosine(0.1, 0, i / 10) for i in range(10))),
    ),
    "cosine, past its end": Table(
        lambda: oc.cosine_annealing_schedule(0.1, 5),
        listed(*(half_cosine(0.1, 0, min(i / 5, 1)) for i in range(12))),
    ),
    "cosine, alpha": Table(
        lambda: oc.cosine_annealing_schedule(0.1, 5, end_value=0.01),
        listed(*(half_cosine(0.1, 0.01, min(i / 5, 1)) for i in range(12))),
    ),
    "cosine, exponent": Table(
        lambda: oc.cosine_annealing_schedule(0.1, 100, exponent=2),
        {
            **{0: 0.1, 10: 0.09516553580760956, 50: 0.025},
            **{75: 0.0021446612663567066, 100: 0.0},
        },
    ),
    # Five times shorter than there: 10**10 steps are more than an int32 can count.
    "cosine, giant": Table(
        lambda: oc.cosine_annealing_schedule(1000.0, 2e9), {200_000_000: 975.52826}
    ),
    "warm-up down to an end": Table(
        lambda: oc.warmup_cosine_annealing_schedule(
            0.5, 1000, warmup_steps=100, init_value=10, end_value=1e-4
        ),
        {0: 10, 100: 0.5, 1000: 1e-4},
    ),
    "warm-up down": Table(
        lambda: oc.warmup_cosine_annealing_schedule(
            3, 1000, warmup_steps=100, init_value=5
        ),
        {0: 5, 100: 3, 1000: 0},
    ),
    "warm-up, exponent": Table(
        lambda: oc.warmup_cosine_annealing_schedule(
            1.21, 100, warmup_steps=50, init_value=0.2, end_value=-3.0, exponent=2
        ),
        {0: 0.2, 10: 0.402, 50: 1.21, 75: -1.9475, 100: -3.0},
    ),
    # A peak of 0 makes Optax, which divides by it, forget the end.
    "warm-up to 0": Table(
        lambda: oc.warmup_cosine_annealing_schedule(
            0.0, 100, warmup_steps=50, init_value=0.2, end_value=-3.0, exponent=2
        ),
        {0: 0.2, 10: 0.16, 50: 0.0, 75: -2.25, 100: -3.0},
    ),
    "SGDR": Table(
        lambda: oc.join(
            *(
                oc.warmup_cosine_annealing_schedule(peak, steps, warmup_steps=500)
                for peak, steps in ((1.6, 2000), (0.8, 3000), (0.4, 5000))
            )
        ),
        {500: 1.6, 2500: 0.8, 5500: 0.4},
    ),
    "SGDR without decay": Table(
        lambda: oc.cosine_restarts_schedule(
            1.6, [2000, 3000, 5000], cycle_warmup_steps=500
        ),
        {500: 1.6, 2500: 1.6, 5500: 1.6},
    ),
    "piecewise cosine": Table(
        lambda: oc.join(
            oc.cosine(400.0, 240.0, steps=3), oc.cosine(240.0, 288.0, steps=2)
        ),
        listed(400, 360, 280, 240, 264, 288, 288, 288, 288),
    ),
    "one cycle": Table(
        lambda: oc.cosine_one_cycle_schedule(
            1000.0, 5, pct_start=0.4, div_factor=10.0, final_div_factor=100.0
        ),
        listed(100, 550, 1000, 750.25, 250.75, 1, 1),
    ),
}


# 6. OLMo-core. Its inverse square root is no shape of ours, so the sequence is compared
# from the end of that part on.


def olmo_base() -> oc.Schedule:
    return oc.join(
        oc.linear(0.0, 10.0, steps=1000),
        oc.constant(10.0, steps=4000),
        oc.cosine(10.0, 1.0, steps=15_000),
    )


def olmo_sequence() -> oc.Schedule:
    start = 5 + 5 * math.sqrt(1000 / 2500)
    return oc.join(
        oc.constant(start, steps=2500),
        oc.cosine(start, 0.1 * start, steps=4000),
        oc.linear(0.1 * start, 0.01 * start, steps=3000),
    )


def olmo_half_cosine() -> oc.Schedule:
    whole = oc.cosine(10.0, 1.0, steps=14)
    return oc.join(oc.linear(0.0, 5.5, steps=3), oc.shift(whole, 7))


OLMO_CORE = {
    "warm-up and cosine": Table(
        lambda: oc.warmup_cosine_annealing_schedule(
            10.0, 10_000, warmup_steps=3000, init_value=4.0, end_value=2.0
        ),
        {0: 4, 1000: 6, 3000: 10, 5000: half_cosine(10, 2, 2 / 7), 10_000: 2},
    ),
    "sequence": Table(
        olmo_sequence,
        {
            4000: half_cosine(1, 0.1, 1500 / 4000) * (5 + 5 * math.sqrt(1000 / 2500)),
            7500: (0.1 - 0.09 / 3) * (5 + 5 * math.sqrt(1000 / 2500)),
        },
    ),
    "linear override": Table(
        lambda: oc.splice(olmo_base(), 10_000, oc.linear(7.75, 1.0, steps=2000)),
        {500: 5, 4999: 10, 10_000: 7.75, 11_000: 4.375, 12_000: 1, 15_000: 1},
    ),
    "cosine override": Table(
        lambda: oc.splice(olmo_base(), 10_000, oc.cosine(7.75, 0.5, steps=2000)),
        {
            9999: half_cosine(10, 1, 4999 / 15_000),
            11_000: 4.125,
            12_000: 0.5,
            15_000: 0.5,
        },
    ),
    "override in the first part": Table(
        lambda: oc.splice(olmo_base(), 2000, oc.linear(10.0, 2.0, steps=1000)),
        {2000: 10, 2500: 6, 3000: 2, 10_000: 2},
    ),
    "stages, linear override": Table(
        lambda: oc.splice(
            oc.join(oc.linear(0.0, 10.0, steps=100), oc.linear(10.0, 1.0, steps=900)),
            200,
            oc.linear(9.0, 3.0, steps=100),
        ),
        {150: 9.5, 200: 9, 250: 6, 300: 3, 800: 3},
    ),
    "stage, cosine override": Table(
        lambda: oc.splice(
            oc.constant(10.0, steps=1000), 100, oc.cosine(10.0, 2.0, steps=100)
        ),
        {99: 10, 100: 10, 150: 6, 200: 2, 500: 2},
    ),
    "stable and linear": Table(
        lambda: oc.warmup_stable_decay_schedule(
            1.0, 1000, warmup_steps=100, decay_steps=200, shape="linear"
        ),
        {0: 0, 50: 0.5, 100: 1, 200: 1, 500: 1, 799: 1, 900: 0.5, 1000: 0, 5000: 0},
    ),
    # Not in its suite: the second half of a cosine, from its formula.
    "half a cosine": Table(
        olmo_half_cosine,
        {
            **{i: 5.5 * i / 3 for i in range(3)},
            **{i: half_cosine(10, 1, (i + 4) / 14) for i in range(3, 11)},
            **{11: 1, 20: 1},
        },
    ),
}


# 7. Praxis: a rise, a plateau, a decay to 1 % of the peak.


def praxis(
    warmup_steps: int, decay_steps: int, total_steps: int, end_value: float = 0.01
) -> oc.Schedule:
    return oc.warmup_stable_decay_schedule(
        1.0,
        total_steps,
        warmup_steps=warmup_steps,
        decay_steps=decay_steps,
        end_value=end_value,
    )


PRAXIS_RISE = {0: 0.0, 10: 0.1, 20: 0.2, 100: 1.0}
PRAXIS = {
    "plateau": Table(
        lambda: praxis(100, 100, 300),
        {**PRAXIS_RISE, 120: 1, 150: 1, 200: 1, 250: 0.505, 300: 0.01, 350: 0.01},
    ),
    "no plateau": Table(
        lambda: praxis(150, 100, 250),
        {0: 0, 15: 0.1, 30: 0.2, 150: 1, 200: 0.505, 250: 0.01, 300: 0.01, 350: 0.01},
    ),
    "no warm-up": Table(
        lambda: praxis(0, 100, 100), {0: 1, 50: 0.505, 100: 0.01, 150: 0.01, 200: 0.01}
    ),
    "line": Table(
        lambda: oc.warmup_stable_decay_schedule(
            1.0, 300, warmup_steps=100, decay_steps=100, shape="linear"
        ),
        {**PRAXIS_RISE, 120: 1, 150: 1, 200: 1, 250: 0.5, 300: 0, 350: 0},
    ),
}


# 8. Transformers: a rate of 10, a warm-up of 2 steps, 10 steps in total.

TRANSFORMERS = {
    "constant": Table(
        lambda: oc.join(oc.linear(0.0, 10.0, steps=4), oc.constant(10.0, steps=6)),
        listed(0, 2.5, 5, 7.5, 10, 10, 10, 10, 10, 10),
    ),
    "linear": Table(
        lambda: oc.join(oc.linear(0.0, 10.0, steps=2), oc.linear(10.0, 0.0, steps=8)),
        listed(0, 5, 10, 8.75, 7.5, 6.25, 5, 3.75, 2.5, 1.25),
    ),
    "cosine": Table(
        lambda: oc.warmup_cosine_annealing_schedule(10.0, 10, warmup_steps=2),
        listed(0, 5, 10, 9.61, 8.53, 6.91, 5, 3.08, 1.46, 0.38),
        tolerance=1e-2,
    ),
    "hard restarts": Table(
        lambda: oc.join(
            oc.linear(0.0, 10.0, steps=2),
            oc.cosine_restarts_schedule(10.0, 4, num_cycles=2),
        ),
        listed(0, 5, 10, 8.53, 5, 1.46, 10, 8.53, 5, 1.46),
        tolerance=1e-2,
    ),
    # No list was found for the next two: from the formulas.
    "stable and decay": Table(
        lambda: oc.warmup_stable_decay_schedule(
            10.0, 10, warmup_steps=2, decay_steps=2
        ),
        listed(0, 5, 10, 10, 10, 10, 10, 10, 10, 5),
    ),
    "waves": Table(
        lambda: oc.join(
            oc.linear(0.0, 10.0, steps=2),
            oc.join(oc.cosine(10.0, 0.0, steps=2), after="mirror"),
        ),
        listed(0, 5, *(half_cosine(10, 0, i / 2) for i in range(9))),
    ),
}


# 9. Lightning Bolts: the warm-up is a linspace, so that the peak is met twice.

BOLTS_SETTINGS = (
    # start, rate, floor, warm-up, total, factor of the second group
    (0.0, 0.4, 0.0, 6, 15, 10),
    (0.2, 0.8, 0.0, 9, 28, 10),
    (0.0, 0.04, 0.0001, 15, 47, 17),
    (0.009, 0.07, 0.003, 15, 115, 32),
)


def bolts(start: float, rate: float, floor: float, warmup: int, total: int) -> Table:
    rise = [start + (rate - start) * i / (warmup - 1) for i in range(warmup)]
    decay = total - warmup
    fall = [half_cosine(rate, floor, i / decay) for i in range(decay)]
    return Table(
        lambda: oc.join(
            oc.linear(start, rate, steps=warmup - 1),
            oc.constant(rate, steps=1),
            oc.cosine(rate, floor, steps=decay),
        ),
        listed(*rise, *fall),
    )


BOLTS = {
    f"rate {rate * factor:g}, warm-up {warmup}": bolts(
        start, rate * factor, floor, warmup, total
    )
    for start, rate, floor, warmup, total, last in BOLTS_SETTINGS
    for factor in (1, last)
}


# 10. Torchtitan: factors of a rate of 0.1. Step 0 has one share of the warm-up already,
# and one more step at the peak keeps the last one above the floor.


def torchtitan(
    warmup_steps: int, stable_steps: int, decay_steps: int, floor: float = 0.0
) -> oc.Schedule:
    factors = oc.join(
        oc.linear(1 / warmup_steps, 1.0, steps=warmup_steps - 1),
        oc.constant(1.0, steps=stable_steps),
        *([oc.linear(1.0, floor, steps=decay_steps)] if decay_steps else []),
    )
    return 0.1 * factors


def tenths(*factors: float) -> dict[int, float]:
    return listed(*(factor / 10 for factor in factors))


TORCHTITAN = {
    "decay": Table(
        lambda: torchtitan(2, 1, 8),
        tenths(0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8),
    ),
    "stable and decay": Table(
        lambda: torchtitan(2, 4, 5), tenths(0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2)
    ),
    "floor": Table(lambda: torchtitan(2, 1, 8, 0.2), {10: 0.02}),
    # A warm-up of 10 steps in a run of 5 is cut to 5.
    "warm-up alone": Table(lambda: torchtitan(5, 1, 0), tenths(0.2, 0.4, 0.6, 0.8, 1)),
    "no decay": Table(
        lambda: torchtitan(2, 9, 0), tenths(0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1)
    ),
    # A decay of 8 steps after a warm-up of 5 in a run of 10 is cut to 5.
    "warm-up and decay": Table(
        lambda: torchtitan(5, 1, 5),
        tenths(0.2, 0.4, 0.6, 0.8, 1, 1, 0.8, 0.6, 0.4, 0.2),
    ),
}


PEERS = {
    "AllenNLP": ALLENNLP,
    "Composer": COMPOSER,
    "PyTorch": {**torch_tables(0.05), **torch_tables(0.5), **TORCH_ONE_CYCLE},
    "Keras": KERAS,
    "Optax": OPTAX,
    "OLMo-core": OLMO_CORE,
    "Praxis": PRAXIS,
    "Transformers": TRANSFORMERS,
    "Bolts": BOLTS,
    "Torchtitan": TORCHTITAN,
}
TABLES = {
    f"{peer}: {name}": table
    for peer, tables in PEERS.items()
    for name, table in tables.items()
}

# Each different structure is compiled anew.
AS_ARRAYS = (
    "AllenNLP: one cycle",
    "Composer: warm-up, SSR 0.01",
    "PyTorch: restarts with jumps, T_mult 3, rate 0.05",
    "Keras: restarts, all parameters",
    "OLMo-core: cosine override",
)

# Where a suite saves a scheduler and goes on from what it saved.
CHECKPOINTS = [
    *(
        (f"AllenNLP: {name}", at)
        for name, ats in ALLENNLP_CHECKPOINTS.items()
        for at in ats
    ),
    *((f"Transformers: {name}", 6) for name in TRANSFORMERS),
]


def assert_close(values: Iterable[Any], table: Table) -> None:
    np.testing.assert_allclose(
        list(values),
        list(table.values.values()),
        rtol=5e-7,
        atol=table.tolerance + 1e-9,
    )


@pytest.mark.parametrize("name", TABLES)
def test_the_table_of_a_peer_is_met(name):
    schedule = TABLES[name].schedule()
    assert_close((schedule(step) for step in TABLES[name].values), TABLES[name])


@pytest.mark.parametrize("name", AS_ARRAYS)
def test_the_table_of_a_peer_is_met_by_one_call_with_an_array(name):
    steps = np.array(list(TABLES[name].values))
    assert_close(np.asarray(TABLES[name].schedule()(steps)), TABLES[name])


@pytest.mark.parametrize(("name", "at_step"), CHECKPOINTS)
def test_what_was_saved_at_a_step_goes_on_from_there(name, at_step):
    schedule = TABLES[name].schedule()
    saved = json.dumps(schedule.to_dict())
    resumed = oc.shift(oc.Schedule.from_dict(json.loads(saved)), at_step)
    for step in range(at_step, max(TABLES[name].values) + 1):
        assert resumed(step - at_step) == schedule(step)


def test_epochs_may_be_counted_in_tenths():
    values = torch_cycles(0.05, 2, (tenth / 10 for tenth in range(300)))
    epochs = np.arange(300, dtype=np.float32) / np.float32(10)
    np.testing.assert_allclose(torch_restarts(0.05, 2)(epochs), values, atol=1e-7)


@pytest.mark.parametrize("shape", [oc.linear, oc.cosine])
@pytest.mark.parametrize("end_value", [0.0, 1.0])
def test_stages_and_a_sequence_of_schedules_are_the_same(shape, end_value):
    """OLMo-core has a class for each, and compares them at these steps."""
    rise = oc.linear(0.0, 10.0, steps=1000)
    fall = shape(10.0, end_value, steps=9000)
    sequence = oc.splice(rise, 1000, fall)
    stages = oc.join(rise, fall)
    steps = (0, 1, 100, 500, 999, 1000, 1001, 2500, 5500, 7500, 9999, 10_000)
    assert [stages(step) for step in steps] == [sequence(step) for step in steps]


def test_a_larger_exponent_is_nowhere_above_a_smaller_one():
    """Optax asks this of a peak of 1, a floor of 0.1, 5 steps up and 20 down."""
    regular, steep = (
        [
            oc.warmup_cosine_annealing_schedule(
                1.0, 25, warmup_steps=5, end_value=0.1, exponent=exponent
            )(step)
            for step in range(26)
        ]
        for exponent in (1.0, 2.0)
    )
    assert regular[:6] == sorted(regular[:6])
    assert regular[5:] == sorted(regular[5:], reverse=True)
    assert (regular[5], regular[25]) == (1.0, np.float32(0.1))
    assert all(low <= high for low, high in zip(steep[5:], regular[5:], strict=True))


@pytest.mark.parametrize("total_steps", [0, -1])
def test_a_cycle_without_steps_is_refused(total_steps):
    """As by Optax, in its tests of one cycle."""
    with pytest.raises(ValueError, match="total_steps"):
        oc.cosine_one_cycle_schedule(5.0, total_steps)
