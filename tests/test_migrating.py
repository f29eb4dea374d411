"""The page on coming from elsewhere is run: both halves of each of its blocks.

Where a library is no dependency of the tests, a formula stands in for its half. The
formulas are plain Python, share nothing with the package, and are compared with what
the libraries answered, data/curves.json, where that is known. The libraries that can
be installed take their own half in conformance/test_migrating.py.
"""

import json
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from migrating import (
    FACTS,
    PAGE,
    RUN_AS_THEMSELVES,
    SETTINGS,
    Names,
    Row,
    check,
    check_facts,
    facts,
    rows,
    sections,
    value_of,
)

import optax_cosine as oc

DATA = Path(__file__).parent / "data"
CURVES: dict[str, list[float]] = json.loads((DATA / "curves.json").read_text())[
    "curves"
]

Curve = Callable[[int], float]


# Formulas that stand in for libraries. A curve that stops raises an IndexError.


def bow(init: float, end: float, x: float) -> float:
    return end + (init - end) * (1 + math.cos(math.pi * x)) / 2


def slope(init: float, end: float, x: float) -> float:
    return init + (end - init) * x


def until(total: int, curve: Curve) -> Curve:
    def stopping(count: int) -> float:
        if count >= total:
            raise IndexError
        return curve(count)

    return stopping


def fastai(names: Names) -> Names:
    n, u = names["n"], names["u"]

    def combined(shares: list[float], ends: list[tuple[float, float]]) -> Callable:
        edges = [sum(shares[:i]) for i in range(len(shares))]

        def at(x: float) -> float:
            i = max(i for i, edge in enumerate(edges) if x >= edge)
            return bow(*ends[i], (x - edges[i]) / shares[i])

        return at

    def combined_cos(share: float, start: float, top: float, end: float) -> Callable:
        return combined([share, 1 - share], [(start, top), (top, end)])

    def fit_one_cycle(epochs, peak, div=25.0, div_final=1e5, pct_start=0.25) -> Any:
        total = epochs * u
        rate = combined_cos(pct_start, peak / div, peak, peak / div_final)
        momentum = combined_cos(pct_start, 0.95, 0.85, 0.95)
        return {
            "": until(total, lambda t: rate(t / total)),
            "the momentum": until(total, lambda t: momentum(t / total)),
        }

    def fit_flat_cos(epochs, peak, div_final=1e5, pct_start=0.75) -> Curve:
        total = epochs * u
        rate = combined_cos(pct_start, peak, peak, peak / div_final)
        return until(total, lambda t: rate(t / total))

    def fit_sgdr(cycles, epochs, lr_max, cycle_mult=2) -> Curve:
        lengths = [epochs * cycle_mult**i for i in range(cycles)]
        shares = [length / sum(lengths) for length in lengths]
        rate = combined(shares, [(lr_max, 0.0)] * cycles)
        total = sum(lengths) * u
        return until(total, lambda t: rate(t / total))

    return {
        "learn": SimpleNamespace(
            fit_one_cycle=fit_one_cycle, fit_flat_cos=fit_flat_cos, fit_sgdr=fit_sgdr
        ),
        "SchedCos": lambda a, b: lambda t: bow(a, b, t / n),
        "combined_cos": lambda *args: lambda t: combined_cos(*args)(t / n),
    }


def composer(names: Names) -> Names:
    lr = names["lr"]

    def batches(time: str, ratio: float = 1.0) -> int:
        return int(int(time.removesuffix("ba")) * ratio)

    def annealing(t_max, alpha_f=0.0) -> Callable:
        def at(t: int, ratio: float = 1.0) -> float:
            return bow(lr, lr * alpha_f, min(1.0, t / batches(t_max, ratio)))

        return at

    def with_warmup(t_warmup, t_max, alpha_f=0.0, *, scale_warmup=False) -> Callable:
        warmup = batches(t_warmup)

        def at(t: int, ratio: float = 1.0) -> float:
            if t < warmup:
                ramp = batches(t_warmup, ratio if scale_warmup else 1.0)
                return lr * min(1.0, t / ramp)
            x = (t - warmup) / (batches(t_max, ratio) - warmup)
            return bow(lr, lr * alpha_f, min(1.0, x))

        return at

    def warm_restarts(t_0, t_mult=1.0, alpha_f=0.0) -> Callable:
        def at(t: int, ratio: float = 1.0) -> float:
            length = batches(t_0, ratio)
            while t >= length:
                t, length = t - length, int(length * t_mult)
            return bow(lr, lr * alpha_f, t / length)

        return at

    def trainer(schedulers, scale_schedule_ratio) -> Curve:
        return partial(schedulers, ratio=scale_schedule_ratio)

    return {
        "CosineAnnealingScheduler": annealing,
        "CosineAnnealingWithWarmupScheduler": with_warmup,
        "CosineAnnealingWarmRestartsScheduler": warm_restarts,
        "Trainer": trainer,
    }


WSD_DECAYS: dict[str, Callable[[float], float]] = {
    "cosine": lambda x: bow(1.0, 0.0, x),
    "minus_sqrt": lambda x: 1 - math.sqrt(x),
    "exponential": lambda x: 2 * 0.5**x - 1,
}


def megatron(names: Names) -> Names:
    def scheduler(
        optimizer,
        *,
        init_lr,
        max_lr,
        min_lr,
        lr_warmup_steps,
        lr_decay_steps,
        lr_decay_style,
        start_wd=0.0,
        end_wd=0.0,
        wd_incr_steps=1,
        wd_incr_style="constant",
        wsd_decay_steps=0,
        lr_wsd_decay_style="",
    ) -> Any:
        def rate(t: int) -> float:
            if t <= lr_warmup_steps > 0:
                return slope(init_lr, max_lr, t / lr_warmup_steps)
            if t > lr_decay_steps:
                return min_lr
            if lr_decay_style == "cosine":
                decay = lr_decay_steps - lr_warmup_steps
                return bow(max_lr, min_lr, (t - lr_warmup_steps) / decay)
            x = max(0, t - lr_decay_steps + wsd_decay_steps) / wsd_decay_steps
            return slope(min_lr, max_lr, WSD_DECAYS[lr_wsd_decay_style](x))

        def weight_decay(t: int) -> float:
            assert wd_incr_style == "cosine"
            return bow(start_wd, end_wd, min(1.0, t / wd_incr_steps))

        assert lr_decay_style in ("cosine", "WSD")
        return {"": rate, "the weight decay": weight_decay}

    return {"OptimizerParamScheduler": scheduler}


def torchtitan(names: Names) -> Names:
    def config(
        *,
        warmup_steps,
        total_steps,
        decay_ratio=None,
        decay_type="linear",
        min_lr_factor=0.0,
    ) -> Curve:
        decay = total_steps - warmup_steps
        if decay_ratio is not None:
            decay = round(total_steps * decay_ratio)
        before = total_steps + 1 - decay

        def rate(t: int) -> float:
            if t < warmup_steps:
                return names["lr"] * (t + 1) / warmup_steps
            x = max(0, t + 1 - before) / decay
            weight = bow(1, 0, x) if decay_type == "cosine" else 1 - math.sqrt(x)
            return names["lr"] * slope(min_lr_factor, 1, weight)

        assert decay_type in ("cosine", "sqrt")
        return rate

    return {"LRSchedulersContainer": SimpleNamespace(Config=config)}


def nemo(names: Names) -> Names:
    lr = names["lr"]

    def annealing(
        optimizer, *, max_steps, warmup_steps, min_lr=0.0, constant_steps=0
    ) -> Curve:
        def rate(t: int) -> float:
            if constant_steps and t < warmup_steps:
                return lr * t / warmup_steps
            if not constant_steps and t <= warmup_steps:
                return lr * (t + 1) / (warmup_steps + 1)
            decay = max_steps - constant_steps - warmup_steps
            return bow(lr, min_lr, min(1.0, (t - warmup_steps) / decay))

        return rate

    return {"CosineAnnealing": annealing}


def dino(names: Names) -> Names:
    def values(base, final, total, warmup, start, freeze=0) -> list[float]:
        """The warm-up has both of its ends, the decay has not its last."""
        steps = max(warmup - 1, 1)
        decay = total - warmup - freeze
        return [
            *[0.0] * freeze,
            *(slope(start, base, i / steps) for i in range(warmup)),
            *(bow(base, final, i / decay) for i in range(decay)),
        ]

    def cosine_scheduler(
        base, final, epochs, updates, warmup_epochs=0, start_warmup_value=0
    ) -> Curve:
        warmup = warmup_epochs * updates
        listed = values(base, final, epochs * updates, warmup, start_warmup_value)
        return listed.__getitem__

    def of_v2(
        *,
        base_value,
        final_value,
        total_iters,
        warmup_iters=0,
        start_warmup_value=0,
        freeze_iters=0,
    ) -> Curve:
        listed = values(
            base_value,
            final_value,
            total_iters,
            warmup_iters,
            start_warmup_value,
            freeze_iters,
        )
        return lambda t: listed[t] if t < total_iters else final_value

    def of_v3(start, peak, end, warmup, total, cosine_iterations=None) -> Curve:
        decay = cosine_iterations or total - warmup

        def rate(t: int) -> float:
            if t < warmup:
                return slope(start, peak, t / warmup)
            return bow(peak, end, min(1.0, (t - warmup) / (decay - 1)))

        return until(total, rate)

    return {
        "cosine_scheduler": cosine_scheduler,
        "CosineScheduler": of_v2,
        "linear_warmup_cosine_decay": of_v3,
    }


def nanogpt(names: Names) -> Names:
    def get_lr(it: int) -> float:
        lr, floor, warmup, decay = (
            names[name]
            for name in ("learning_rate", "min_lr", "warmup_iters", "lr_decay_iters")
        )
        if it < warmup:
            return lr * (it + 1) / (warmup + 1)
        return bow(lr, floor, min(1.0, (it - warmup) / (decay - warmup)))

    return {"get_lr": get_lr}


def maxtext(names: Names) -> Names:
    def create(config: SimpleNamespace) -> Curve:
        lr, total = config.learning_rate, config.learning_rate_schedule_steps
        warmup = int(total * config.warmup_steps_fraction)
        decay = total - warmup
        if config.lr_schedule_type == "wsd":
            assert config.wsd_decay_style == "cosine"
            decay = int(total * config.wsd_decay_steps_fraction)
        floor = lr * config.learning_rate_final_fraction

        def rate(t: int) -> float:
            if t < warmup:
                return lr * t / warmup
            if t >= total and config.steps > total:
                return 0.0
            return bow(lr, floor, max(0, t - (total - decay)) / (decay - 1))

        return rate

    def initialize(arguments: list[str], **options: Any) -> SimpleNamespace:
        return SimpleNamespace(**{"lr_schedule_type": "cosine"} | options)

    return {
        "pyconfig": SimpleNamespace(initialize=initialize),
        "create_learning_rate_schedule": create,
    }


def t5x(names: Names) -> Names:
    def create(
        *,
        factors,
        base_learning_rate,
        warmup_steps,
        steps_per_cycle,
        min_learning_rate=1e-8,
    ) -> Curve:
        assert factors == "constant * linear_warmup * cosine_decay"

        def rate(t: int) -> float:
            since = max(0, t - warmup_steps) % steps_per_cycle
            rise = min(1.0, t / warmup_steps)
            fall = bow(1, 0, since / steps_per_cycle)
            return max(base_learning_rate * rise * fall, min_learning_rate)

        return rate

    return {"create_learning_rate_scheduler": create}


STAND_INS: dict[str, Callable[[Names], Names]] = {
    "fastai": fastai,
    "Composer": composer,
    "Megatron-LM": megatron,
    "torchtitan": torchtitan,
    "NeMo": nemo,
    "DINO": dino,
    "nanoGPT": nanogpt,
    "MaxText": maxtext,
    "T5X": t5x,
}
COUNTS = range(256)


def stand_in(row: Row, names: Names) -> list[float]:
    names = names | {"optimizer": None}
    names |= STAND_INS[row.library](names)
    # nanoGPT's function reads the names that the code before it sets.
    space = dict(names)
    space |= STAND_INS[row.library](space)
    curve = value_of(row.there, space)
    curve = curve[row.clock] if isinstance(curve, dict) else curve
    values = []
    for count in COUNTS:
        try:
            values.append(curve(count))
        except IndexError:
            break
    return values


def ours(row: Row, names: Names) -> list[float]:
    schedule = value_of(row.here, names | {"oc": oc})
    return [schedule(count) for count in COUNTS]


STOOD_IN_FOR = rows(STAND_INS)
WITH = pytest.mark.parametrize("names", SETTINGS, ids="ABCD")


@WITH
@pytest.mark.parametrize("row", STOOD_IN_FOR, ids=str)
def test_a_block_draws_the_curve_of_the_formula_but_where_it_says(row, names):
    check(row, stand_in(row, names), ours(row, names), dict(names))


@WITH
@pytest.mark.parametrize("library", STAND_INS)
def test_the_first_curve_of_a_library_ends_as_its_table_says(library, names):
    first = rows([library])[0]
    check_facts(first, stand_in(first, names), dict(names))


# What the libraries answered, by the row that draws it.

STANDARD = {"lr": 1.0, "floor": 0.1, "start": 0.0, "n": 10, "w": 3}
RATIO, RAMP = "`scale_schedule_ratio` and a warm-up", "`scale_warmup=True`"
MEASURED: list[tuple[str, str, str, Names]] = [
    ("composer cos", "Composer", "`CosineAnnealingScheduler`", {}),
    ("composer warmup3", "Composer", "`CosineAnnealingWithWarmupScheduler`", {}),
    *(
        (f"composer warmup 4ba ssr {ssr}", "Composer", title, {"w": 4, "n": n, "r": r})
        for ssr, title, n, r in (
            (".5, scale_warmup False", RATIO, 20, 0.5),
            (".5, scale_warmup True", RAMP, 20, 0.5),
            ("2, scale_warmup True", RAMP, 10, 2),
        )
    ),
    ("megatron cosine", "Megatron-LM", "Cosine", {}),
    ("megatron WSD exponential end->", "Megatron-LM", "WSD, exponential", {"d": 4}),
    ("torchtitan W3 T10 cosine", "torchtitan", "Cosine", {}),
    ("torchtitan W0", "torchtitan", "Cosine", {"w": 0}),
    ("NeMo W3 T10", "NeMo", "`CosineAnnealing`", {}),
    ("dinov3 lwcd", "DINO", "`linear_warmup_cosine_decay` of DINOv3", {}),
    ("maxtext cos piece len7", "MaxText", "Cosine", {"w": 0, "n": 7}),
    ("t5x", "T5X", "Cosine cycles", {}),
]


@pytest.mark.parametrize(("curve", "library", "title", "numbers"), MEASURED)
def test_a_formula_and_a_block_draw_what_the_library_answered(
    curve, library, title, numbers
):
    (row,) = (row for row in rows([library]) if row.title == title)
    names, measured = STANDARD | numbers, CURVES[curve]
    formula = stand_in(row, names)[: len(measured)]
    # Some were measured in float32, of a peak of 1.
    np.testing.assert_allclose(formula, measured[: len(formula)], rtol=0, atol=2e-7)
    check(row, formula, ours(row, names)[: len(measured)], names)


@pytest.mark.parametrize(
    ("curve", "epochs", "warmup"), [("dino W==T", 3, 3), ("dino W1", 5, 1)]
)
def test_the_formula_of_dino_draws_what_it_answered(curve, epochs, warmup):
    rate = dino({})["cosine_scheduler"](1.0, 0.1, epochs, 1, warmup_epochs=warmup)
    measured = CURVES[curve]
    assert [rate(count) for count in range(epochs)] == pytest.approx(measured)


# Nothing of the page is left out.


def test_the_page_has_these_libraries_in_this_order():
    assert list(sections()) == [*RUN_AS_THEMSELVES, *STAND_INS]


def test_every_block_of_code_is_run_as_an_example_or_as_a_row():
    blocks = re.findall(r"^```python\n(.*)$", PAGE, re.MULTILINE)
    examples = [first for first in blocks if first.startswith(">>> ")]
    by_others = rows(RUN_AS_THEMSELVES)
    assert len(blocks) == len(examples) + len(STOOD_IN_FOR) + len(by_others)
    assert all(rows([library]) for library in sections())


def test_no_two_rows_of_a_library_have_one_title():
    names = [str(row) for row in rows(sections())]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("library", sections())
def test_the_table_of_a_library_answers_the_same_questions(library):
    assert tuple(facts(library)) == FACTS


def test_the_page_names_only_what_is_public():
    assert set(re.findall(r"\boc\.(\w+)", PAGE)) <= set(oc.__all__)


def test_the_page_explains_each_name_that_it_uses():
    table = PAGE.partition("## Optax")[0]
    explained = re.findall(
        r"`(\w+)`", "".join(re.findall(r"^\| (.+?) \|", table, re.M))
    )
    assert set(explained) == {*SETTINGS[0], "optimizer"}
