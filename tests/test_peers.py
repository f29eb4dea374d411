"""The curves that peers draw, rebuilt from the public parts.

data/curves.json holds what 37 peers answered when they were run, with a peak of 1, a
floor of 0.1, a warm-up of 3 steps and 10 steps in total unless a curve's name says
otherwise. The table below therefore also tells how to come from each of them.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import optax_cosine as oc

Builder = Callable[[], oc.Schedule]

CURVES: dict[str, list[float]] = json.loads(
    (Path(__file__).parent / "data" / "curves.json").read_text()
)["curves"]


def rise(init_value: float = 0.0, *, steps: int = 3) -> oc.Schedule:
    return oc.linear(init_value, 1.0, steps=steps)


def top(steps: int = 1) -> oc.Schedule:
    return oc.constant(1.0, steps=steps)


def fall(end_value: float = 0.1, *, steps: int = 7) -> oc.Schedule:
    return oc.cosine(1.0, end_value, steps=steps)


def climbing(schedule: oc.Schedule) -> oc.Schedule:
    """A cosine that nobody stopped at its end goes up again."""
    return oc.join(schedule, after="mirror")


def endless(schedule: oc.Schedule) -> oc.Schedule:
    return oc.join(schedule, after="repeat")


def usual() -> oc.Schedule:
    return oc.warmup_cosine_annealing_schedule(1.0, 10, warmup_steps=3, end_value=0.1)


def rise_from_one_third() -> oc.Schedule:
    """The warm-up of those who count from 1: the peak at step 2 and at step 3."""
    return oc.join(rise(1 / 3, steps=2), top())


def composer_warmup(total_steps: int, *, ratio: float) -> oc.Schedule:
    """Composer's `scale_warmup` scales the ramp, but not the step at which it ends."""
    ramp = oc.stretch(rise(steps=4), ratio)
    return oc.splice(ramp, 4, fall(steps=total_steps - 4))


REBUILT: dict[str, Builder] = {
    # Up in a line, down in half a cosine, then the floor: the most common reading.
    "mxnet seq": usual,
    "megatron cosine": usual,
    "OLMo-core cos": usual,
    "nanotron W3 T10": usual,
    "composer warmup3": usual,
    "composer cos": lambda: oc.cosine_annealing_schedule(1.0, 10, end_value=0.1),
    # The warm-up starts elsewhere, or meets the peak a step sooner or later.
    "OLMo W3 T10": lambda: oc.join(rise(0.1), fall()),
    "NeMo W3 T10": lambda: oc.join(rise(1 / 4), fall()),
    "dino W==T": lambda: rise(steps=2),
    "dino W1": lambda: oc.join(oc.constant(0.0, steps=1), fall(steps=4)),
    "HF lr_rate warmup_lr_rate=.1": lambda: oc.join(
        rise(0.1, steps=2), climbing(fall())
    ),
    "composer warmup 4ba ssr .5, scale_warmup False": lambda: oc.join(
        rise(steps=4), fall(steps=6)
    ),
    "composer warmup 4ba ssr .5, scale_warmup True": lambda: composer_warmup(
        10, ratio=0.5
    ),
    "composer warmup 4ba ssr 2, scale_warmup True": lambda: composer_warmup(
        20, ratio=2.0
    ),
    "composer warmup>=max": lambda: oc.warmup_cosine_annealing_schedule(
        1.0, 10, warmup_steps=10
    ),
    # A step is left out: the first value of the decay is never used.
    "ijepa": lambda: oc.shift(oc.join(rise(), climbing(fall())), 1),
    "deepspeed linear": lambda: oc.join(
        oc.constant(0.0, steps=1),  # before its first call
        oc.splice(rise(steps=4), 4, oc.shift(climbing(fall(1e-4, steps=6)), 1)),
    ),
    # Past the end the formula goes on.
    "mae": lambda: oc.join(rise(), climbing(fall())),
    "maxtext cos piece len7": lambda: climbing(fall(steps=6)),
    "torchtitan W3 T10 cosine": lambda: oc.join(
        rise_from_one_third(), climbing(fall())
    ),
    "torchtitan W0": lambda: climbing(fall(steps=10)),
    "open_clip": lambda: oc.join(rise_from_one_third(), climbing(fall(0.0))),
    "bolts w=3 max=8": lambda: oc.join(
        rise(steps=2), top(), climbing(fall(0.0, steps=5))
    ),
    "HF cosine W2 T8": lambda: oc.join(rise(steps=2), climbing(fall(0.0, steps=6))),
    # Positions count half runs, and one of them lies before the start.
    "fvcore where": lambda: oc.shift(climbing(fall(steps=2)), 3),
    # Something stays flat, or is cut.
    "fvcore composite": lambda: oc.join(top(3), fall()),
    "dinov3 lwcd": lambda: oc.join(rise(), fall(steps=6)),
    "nanotron D=0": lambda: oc.join(rise(), top(), oc.constant(0.1, steps=1)),
    "HF wsd": lambda: oc.warmup_stable_decay_schedule(
        1.0, 10, warmup_steps=2, decay_steps=5, init_value=0.1, end_value=0.1
    ),
    # Of 5 steps in all, 2 and 5 leave -2: the decay starts 2 steps in.
    "HF wsd neg stable": lambda: oc.splice(
        rise(0.1, steps=2), 2, oc.shift(fall(steps=5), 2)
    ),
    # The warm-up is a factor of the whole.
    "big_vision": lambda: rise() * oc.shift(fall(0.0), -3),
    "big_vision warmup_percent": lambda: rise() * oc.shift(fall(0.0), -3),
    # Restarts.
    "t5x": lambda: oc.join(rise(1e-8), endless(fall(0.0))),
    "scenic W3 cycle10": lambda: oc.join(rise(), endless(fall(0.0))),
    "sgmcmcjax M3 K10": lambda: oc.shift(endless(fall(0.0, steps=4)), 3),
    "HF hard restarts W2 T10 c2": lambda: oc.join(
        rise(steps=2), oc.cosine_restarts_schedule(1.0, 4, num_cycles=2)
    ),
    "fairseq default max_update=10": lambda: oc.cosine_restarts_schedule(
        1.0, 10, num_cycles=2, peak_factor=0.1
    ),
    "katsura no warmup": lambda: oc.join(
        oc.constant(0.1, steps=1), oc.shift(endless(fall(steps=5)), 1)
    ),
    "katsura same but step(epoch)": lambda: oc.cosine_restarts_schedule(
        1.0,
        5,
        num_cycles=3,
        end_value=0.1,
        cycle_warmup_steps=2,
        init_value=0.1,
        cycle_steps_factor=2,
        peak_factor=0.5,
    ),
    # 1.5 times 5 is cut to 7, and 1.5 times 7 to 10.
    "ignite": lambda: oc.cosine_restarts_schedule(
        1.0, [5, 7, 10], end_value=0.1, peak_factor=0.5
    ),
    "ignite create_lr_scheduler_with_warmup(3)+cos6": lambda: oc.join(
        rise(steps=2), endless(fall(steps=6))
    ),
    # Three cycles of 300 leave 100 steps, which the last one takes.
    "levanter cycle_length=300/1000": lambda: oc.cosine_restarts_schedule(
        1.0, [300, 300, 400], end_value=0.1
    ),
}


def with_group_rates() -> list[oc.Schedule]:
    """The floor is a ratio of the first group's rate, also for a group with a tenth."""
    schedule = oc.warmup_cosine_annealing_schedule(
        1.0, 10, warmup_steps=3, end_value=0.05
    )
    return [schedule * rate for rate in (1.0, 0.1)]


GROUPS = {"HF min_lr=.05 with two groups ends at": with_group_rates}


class Flaw(NamedTuple):
    """What is not rebuilt: at which steps, why, and the curve that was meant."""

    steps: range
    reason: str
    meant: Builder


def olmo_core_tail() -> oc.Schedule:
    return oc.splice(usual(), 7, oc.linear(usual()(7), 0.0, steps=3))


def big_vision_cooldown() -> oc.Schedule:
    body = oc.shift(oc.linear(1.0, 0.5, steps=7), -3)
    return rise() * body * oc.join(top(6), oc.linear(1.0, 0.0, steps=4))


NEGATIVE = "the line of the cool-down is not stopped at 0: the rate is negative"
FLAWS = {
    "OLMo-core cos+lin": Flaw(range(11, 13), NEGATIVE, olmo_core_tail),
    "OLMo-core past end linear tail": Flaw(range(11, 13), NEGATIVE, olmo_core_tail),
    "big_vision linear_end .5 cooldown past end": Flaw(
        range(11, 14), NEGATIVE, big_vision_cooldown
    ),
    "bolts w=0 max=5": Flaw(
        range(5),
        "without warm-up each rate is a multiple of the one before, and the first is 0:"
        " it stays 0 for the whole decay",
        lambda: climbing(fall(0.0, steps=5)),
    ),
    "lingua defaults warmup2 n10": Flaw(
        range(10, 11),
        "a sign that changes at the last step gives the peak for that step alone,"
        " between the end of the decay and the floor",
        lambda: oc.join(rise(steps=2), fall(steps=8)),
    ),
    "megatron WSD exponential end->": Flaw(
        range(7, 10),
        "an exponential decay, which is no phase of a table",
        lambda: oc.warmup_stable_decay_schedule(
            1.0, 10, warmup_steps=3, decay_steps=4, end_value=0.1
        ),
    ),
}

# Where a curve was not taken at each step from 0 on.
SAMPLED: dict[str, Sequence[int]] = {
    "OLMo-core past end linear tail": range(10, 13),
    "composer warmup>=max": [0, 5, 9, 10, 11],
    "fvcore where": [1, 2, 3, 4, 0],  # 0, 0.5, 1, 1.5 and -0.5 of a run
    "levanter cycle_length=300/1000": [0, 299, 300, 599, 600, 899, 900, 999],
}

TOLERANCE = 2e-7  # some peers answer in float32
ROUNDED = {"deepspeed linear": 6e-6}  # five digits are known

# One of each class, since each different structure is compiled anew.
AS_ARRAYS = (
    "megatron cosine",
    "sgmcmcjax M3 K10",
    "HF wsd neg stable",
    "big_vision",
    "katsura same but step(epoch)",
)


def counts_of(name: str) -> Sequence[int]:
    return SAMPLED.get(name, range(len(CURVES[name])))


def test_every_curve_is_rebuilt_or_has_a_flaw():
    names = [*REBUILT, *GROUPS, *FLAWS]
    assert sorted(names) == sorted(CURVES)


@pytest.mark.parametrize("name", REBUILT)
def test_a_schedule_from_parts_is_the_curve_of_the_peer(name):
    schedule = REBUILT[name]()
    values = [schedule(count) for count in counts_of(name)]
    tolerance = ROUNDED.get(name, TOLERANCE)
    np.testing.assert_allclose(values, CURVES[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", AS_ARRAYS)
def test_a_curve_of_a_peer_is_one_call_with_an_array(name):
    values = REBUILT[name]()(np.array(counts_of(name)))
    np.testing.assert_allclose(values, CURVES[name], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", GROUPS)
def test_a_schedule_times_a_rate_is_the_curve_of_a_parameter_group(name):
    values = [schedule(10) for schedule in GROUPS[name]()]
    np.testing.assert_allclose(values, CURVES[name], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", FLAWS)
def test_only_the_steps_of_a_flaw_differ_from_the_curve_that_was_meant(name):
    schedule = FLAWS[name].meant()
    for count, value in zip(counts_of(name), CURVES[name], strict=True):
        is_near = abs(schedule(count) - value) <= TOLERANCE
        assert is_near == (count not in FLAWS[name].steps), (count, FLAWS[name].reason)
