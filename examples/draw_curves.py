"""Draw the picture of the README: the five named curves, and what `extend` does."""

import argparse
import pathlib

import numpy as np
from matplotlib.figure import Figure

import optax_cosine as oc

PEAK, TOTAL = 0.1, 10_000
PLANNED = oc.warmup_cosine_annealing_schedule(PEAK, TOTAL, warmup_steps=1_000)
CURVES = {
    "cosine_annealing_schedule": oc.cosine_annealing_schedule(PEAK, TOTAL),
    "warmup_cosine_annealing_schedule": PLANNED,
    "warmup_stable_decay_schedule": oc.warmup_stable_decay_schedule(
        PEAK, TOTAL, warmup_steps=1_000, decay_steps=3_000
    ),
    "cosine_one_cycle_schedule": oc.cosine_one_cycle_schedule(PEAK, TOTAL),
    "cosine_restarts_schedule": oc.cosine_restarts_schedule(
        PEAK, 1_500, num_cycles=3, cycle_steps_factor=2
    ),
    "extend (dashed: as planned)": oc.extend(
        PLANNED, at_step=5_000, total_steps=12_000
    ),
}


def draw(path: pathlib.Path) -> None:
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    counts = np.arange(0, 12_501, 20)
    for axis, (name, schedule) in zip(axes.flat, CURVES.items(), strict=True):
        axis.plot(counts, schedule(counts), linewidth=2)
        axis.set_title(name, family="monospace", size=9)
        axis.set(ylim=(0, None), xlim=(0, 12_500), xticks=(0, 5_000, 10_000))
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.set_major_formatter("{x:,.0f}")
    axes[1, 2].plot(counts, PLANNED(counts), "--", color="gray", linewidth=1)
    for axis in axes[1]:
        axis.set_xlabel("optimizer updates")
    for axis in axes[:, 0]:
        axis.set_ylabel("learning rate")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default="outputs/curves.png")
    path = parser.parse_args().out
    draw(path)
    print(f"picture: {path}")
