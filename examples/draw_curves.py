"""Draw the picture in the README: three curves, each with the call that makes it."""

import argparse
import pathlib

import matplotlib
import numpy as np

import optax_cosine as oc

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CURVES = {
    "cosine_annealing_schedule(0.1, 10_000)": (
        oc.cosine_annealing_schedule(0.1, 10_000)
    ),
    "cosine_annealing_schedule(0.1, 10_000, end_value=0.02)": (
        oc.cosine_annealing_schedule(0.1, 10_000, end_value=0.02)
    ),
    "cosine_annealing_schedule(0.1, 10_000, exponent=2.0)": (
        oc.cosine_annealing_schedule(0.1, 10_000, exponent=2.0)
    ),
}


def draw(path: pathlib.Path) -> None:
    figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
    counts = np.arange(0, 12_001, 20)
    for call, schedule in CURVES.items():
        axis.plot(counts, schedule(counts), label=call, linewidth=2)
    axis.set(xlabel="count", ylabel="learning rate", ylim=(0, None), xlim=(0, 12_000))
    axis.axvline(10_000, ymax=0.75, color="gray", linestyle=":", linewidth=1)
    axis.annotate("decay_steps", (10_000, 0.045), (10_080, 0.045), color="gray")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, prop={"family": "monospace", "size": 9})
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    default = pathlib.Path(__file__).with_name("curves.png")
    parser.add_argument("--out", type=pathlib.Path, default=default, help="the picture")
    path = parser.parse_args().out
    draw(path)
    print(f"picture: {path}")
