"""The pictures of the site, drawn from the code: `python docs/pictures.py`."""

import pathlib
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import optax

import optax_cosine as oc

PEAK, TOTAL = 3e-4, 1_000
WARM = oc.warmup_cosine_annealing_schedule(PEAK, TOTAL, warmup_steps=100)
HELD = oc.warmup_stable_decay_schedule(PEAK, TOTAL, warmup_steps=100, decay_steps=200)

PICTURES: dict[str, Any] = {
    "cosine": oc.cosine_annealing_schedule(PEAK, TOTAL),
    "warm-up": WARM,
    "restarts": oc.cosine_restarts_schedule(
        PEAK, 125, num_cycles=3, cycle_steps_factor=2
    ),
    "one-cycle": oc.cosine_one_cycle_schedule(PEAK, TOTAL),
    "stable": HELD,
    "mirror": oc.join(oc.cosine(PEAK, 0.0, steps=300), after="mirror"),
    "cooldown": {
        "as planned": WARM,
        "cooled down": oc.cooldown(WARM, at_step=500, steps=200),
        "extended": oc.extend(WARM, at_step=500, total_steps=1_600),
        "rewarmed": oc.rewarm(
            WARM, at_step=900, peak_value=PEAK / 2, warmup_steps=100, decay_steps=600
        ),
    },
    "shapes": {
        shape: oc.warmup_stable_decay_schedule(
            PEAK, TOTAL, warmup_steps=100, decay_steps=400, decay_shape=shape
        )
        for shape in ("cosine", "linear", "sqrt")
    },
}
NEAR_THE_END = "near-the-end"


def draw(name: str, folder: pathlib.Path) -> None:
    several = isinstance(PICTURES[name], dict)
    size = (6.4, 3.2) if several else (3.6, 2.0)
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    oc.plot(PICTURES[name], ax=axis)
    axis.set(ylabel="learning rate", ylim=(0, None))
    axis.ticklabel_format(axis="y", scilimits=(0, 0))
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / f"{name}.svg")
    plt.close(figure)


def draw_near_the_end(folder: pathlib.Path) -> None:
    """The last 400 of a million updates: every value that a float32 can say."""
    counts = range(999_600, 1_000_001)
    rates = {
        "here": oc.cosine_annealing_schedule(1.0, 1_000_000),
        "0.5 * (1 + cos(pi * x))": optax.cosine_decay_schedule(1.0, 1_000_000),
    }
    figure, axis = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    for name, rate in rates.items():
        axis.plot(counts, [float(rate(count)) for count in counts], label=name)
    axis.set(xlabel="optimizer updates", ylabel="learning rate")
    axis.ticklabel_format(axis="x", useOffset=False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend()
    figure.savefig(folder / f"{NEAR_THE_END}.svg")
    plt.close(figure)


def draw_all(folder: pathlib.Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in PICTURES:
        draw(name, folder)
    draw_near_the_end(folder)


if __name__ == "__main__":
    draw_all(pathlib.Path(__file__).parent / "_pictures")
