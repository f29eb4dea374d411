"""Curves on a Matplotlib axis, of plain numbers. Matplotlib is optional."""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

_MARKED = 60  # starts of phases at most; more of them would hide the curve


class Curve(NamedTuple):
    """Values at counts, and where phases start."""

    counts: Sequence[int]
    values: Sequence[float]
    starts: Sequence[float]


def new_axis() -> Any:
    """Of pyplot's current figure, as Matplotlib's own functions use it."""
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'plot needs Matplotlib: python -m pip install "optax-cosine[plot]"'
        ) from error
    return plt.gca()


def draw(axis: Any, curve: Curve, label: str | None) -> None:
    """One curve, with a faint line wherever a phase starts."""
    (line,) = axis.plot(curve.counts, curve.values, label=label)
    starts = [x for x in curve.starts if 0 < x <= curve.counts[-1]]
    if len(starts) <= _MARKED:
        height = axis.get_xaxis_transform()
        style = {"colors": line.get_color(), "alpha": 0.3, "linewidths": 1}
        axis.vlines(starts, 0, 1, transform=height, zorder=0, **style)


def label_axis(axis: Any) -> None:
    """With the units of every schedule."""
    axis.set(xlabel="optimizer updates", ylabel="value of the schedule")
    # An axis may be logarithmic, or have ticks of the user's own: they stay.
    if type(locator := axis.xaxis.get_major_locator()).__name__ == "AutoLocator":
        locator.set_params(integer=True)
        axis.xaxis.set_major_formatter("{x:,.0f}")
    # 3e-04 and its like would need more room than a default figure leaves.
    if hasattr(formatter := axis.yaxis.get_major_formatter(), "set_powerlimits"):
        formatter.set_powerlimits((-3, 4))


def html_picture(curves: Iterable[Curve]) -> str:
    """An image for a notebook; nothing if Matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return ""
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axis = figure.add_subplot()
    for curve in curves:
        draw(axis, curve, None)
    label_axis(axis)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=160)
    data = base64.b64encode(image.getvalue()).decode()
    return f'<img alt="the curve" width="600" src="data:image/png;base64,{data}">'
