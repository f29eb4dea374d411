"""The three comparisons that say most, as pictures."""

import pathlib
from collections.abc import Callable
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STYLES: dict[str, Any] = {
    "ours": {"color": "C0", "lw": 2},
    "Optax": {"color": "C1", "lw": 2},
    "Keras": {"color": "C2", "lw": 2, "ls": (0, (3, 3))},  # may lie on Optax
}


def error_near_the_end(axis: Any, series: dict[str, Any]) -> None:
    for name, (left, errors) in series.items():
        axis.plot(left, errors, label=name, **STYLES[name])
    axis.set(
        title="Error of the rate near the end of 10,000 updates",
        xlabel="updates left",
        ylabel="relative error",
        xscale="log",
        yscale="log",
    )
    axis.invert_xaxis()
    axis.legend(frameon=False)


def compile_time(axis: Any, series: dict[str, Any]) -> None:
    for name, (restarts, seconds) in series.items():
        axis.plot(restarts, seconds, marker="o", label=name, **STYLES[name])
    axis.set(
        title="From nothing to the first rate of a jitted schedule",
        xlabel="restarts",
        ylabel="seconds",
        xscale="log",
        yscale="log",
    )
    axis.legend(frameon=False)


def python_call(axis: Any, series: dict[str, Any]) -> None:
    names = sorted(series, key=lambda name: -series[name])
    micros = [1e6 * series[name] for name in names]
    colors = ["C0" if name.startswith("ours") else "0.7" for name in names]
    bars = axis.barh(names, micros, color=colors)
    axis.bar_label(bars, [f"{x:.3g} µs" for x in micros], padding=4)
    axis.set(
        title="A rate asked from Python",
        xlabel="microseconds",
        xscale="log",
        xlim=(0.5 * min(micros), 4 * max(micros)),
    )
    axis.tick_params(axis="y", length=0)


PICTURES: dict[str, tuple[Callable, str]] = {
    "error-near-the-end": (error_near_the_end, "accuracy"),
    "compile-time": (compile_time, "compiling"),
    "python-call": (python_call, "calls"),
}


def draw(found: dict[str, Any], folder: pathlib.Path) -> None:
    for name, (drawn, comparison) in PICTURES.items():
        figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
        drawn(axis, found[comparison]["series"])
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
        figure.savefig(folder / f"{name}.png", dpi=150)
        plt.close(figure)
