"""The pictures of the site, drawn from the code: `python docs/pictures.py`."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import optax

import optax_cosine as oc

PEAK, TOTAL = 3e-4, 1_000
WARM = oc.warmup_cosine_annealing_schedule(PEAK, TOTAL, warmup_steps=100)

# Small, so that they can be read on a phone.
NAMED = {
    "cosine_annealing_schedule": oc.cosine_annealing_schedule(PEAK, TOTAL),
    "warmup_cosine_annealing_schedule": WARM,
    "warmup_stable_decay_schedule": oc.warmup_stable_decay_schedule(
        PEAK, TOTAL, warmup_steps=100, decay_steps=200
    ),
    "cosine_one_cycle_schedule": oc.cosine_one_cycle_schedule(PEAK, TOTAL),
    "cosine_restarts_schedule": oc.cosine_restarts_schedule(
        PEAK, 125, num_cycles=3, cycle_steps_factor=2
    ),
    "cosine": oc.cosine(PEAK, 0.0, steps=TOTAL),
    "linear": oc.linear(PEAK, 0.0, steps=TOTAL),
    "mirror": oc.join(oc.cosine(PEAK, 0.0, steps=300), after="mirror"),
}


def decorate(axis: Any) -> None:
    axis.set(ylabel="learning rate", ylim=(0, None))
    axis.spines[["top", "right"]].set_visible(False)


def shapes() -> None:
    lengths = {"warmup_steps": 100, "decay_steps": 400}
    curves = {
        shape: oc.warmup_stable_decay_schedule(PEAK, TOTAL, **lengths, shape=shape)
        for shape in ("cosine", "linear", "1-sqrt")
    }
    _, axis = plt.subplots(figsize=(5.5, 3), layout="constrained")
    decorate(oc.plot(curves, ax=axis))


def edits() -> None:
    again = {"peak_value": PEAK / 2, "warmup_steps": 100, "decay_steps": 600}
    curves = {
        "as planned": WARM,
        "cooled down at 500": oc.cooldown(WARM, at_step=500, steps=200),
        "extended at 500": oc.extend(WARM, at_step=500, total_steps=1_600),
        "rewarmed at 900": oc.rewarm(WARM, at_step=900, **again),
    }
    _, axis = plt.subplots(figsize=(5.5, 3), layout="constrained")
    decorate(oc.plot(curves, ax=axis))


def near_the_end() -> None:
    counts = range(999_600, 1_000_001)
    curves = {
        "0.5 * (1 + cos(pi * x)) in float32": optax.cosine_decay_schedule(1.0, 10**6),
        "here": oc.cosine_annealing_schedule(1.0, 10**6),
    }
    _, axis = plt.subplots(figsize=(5.5, 3), layout="constrained")
    for name, curve in curves.items():
        axis.plot(counts, [float(curve(count)) for count in counts], label=name)
    decorate(axis)
    axis.set(xlabel="optimizer updates", xticks=(999_600, 999_800, 1_000_000))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.legend(fontsize="small")


def draw_named(name: str) -> None:
    _, axis = plt.subplots(figsize=(5, 2), layout="constrained")
    decorate(oc.plot(NAMED[name], ax=axis))


PICTURES: dict[str, Callable[[], None]] = {
    "shapes": shapes,
    "edits": edits,
    "near-the-end": near_the_end,
    **{name: functools.partial(draw_named, name) for name in NAMED},
}


def draw_all(folder: pathlib.Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, drawn in PICTURES.items():
        drawn()
        plt.savefig(folder / f"{name}.svg")
        plt.close()


if __name__ == "__main__":
    draw_all(pathlib.Path(__file__).parent / "_pictures")
