"""The public function that draws schedules."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from optax_cosine._display import curve_of, drawn_steps, evenly_spaced_counts
from optax_cosine._node import is_endless
from optax_cosine._picture import Curve, draw, label_axis, new_axis
from optax_cosine._schedule import Schedule, check_schedule, known_node, to_schedule
from optax_cosine._validation import check_count

_LONGEST_LABEL = 50


def plot(schedules: Any, total_steps: int | None = None, *, ax: Any = None) -> Any:
    """Draw one schedule, or several, on a Matplotlib axis.

    Use it to look at a curve before it is trusted, beside others or one of Optax's. In
    a notebook a schedule displays itself; `print(schedule)` draws it in a terminal.

    A faint line marks the start of a phase. For a logarithmic axis write
    `plot(...).set_yscale("log")`.

    Args:
        schedules: One schedule, a list of them, or a dict with names for the legend.
            Any function of a count will do if `total_steps` is given.
        total_steps: Optimizer updates to draw, a whole number from 1. By default the
            latest end among them; three laps if all are endless. Of a schedule of
            more than 16 phases, as many as can be told apart.
        ax: A Matplotlib axis. By default that of `matplotlib.pyplot.gca()`.

    Returns:
        The axis.

    Raises:
        ModuleNotFoundError: Matplotlib, the extra `plot`, is not installed.
        TypeError: An element is not a schedule.
        ValueError: There is no schedule, one is a stack or traced, or `total_steps` is
            out of range, or missing for a function that does not tell its end.

    Examples:
        >>> import matplotlib.figure
        >>> import optax_cosine as oc
        >>> ax = matplotlib.figure.Figure().add_subplot()
        >>> schedule = oc.cosine_annealing_schedule(0.1, 100)
        >>> ax = oc.plot({"as planned": schedule, "half": schedule * 0.5}, ax=ax)
        >>> [line.get_label() for line in ax.lines]
        ['as planned', 'half']
    """
    named = _named(schedules)
    total = _drawn_steps(named.values(), total_steps)
    axis = new_axis() if ax is None else ax
    for name, schedule in named.items():
        draw(axis, _curve(schedule, total), name)
    label_axis(axis)
    if len(named) > 1 or isinstance(schedules, Mapping):
        axis.legend(fontsize="small")
    return axis


def _named(schedules: object) -> Mapping[Any, Callable]:
    if callable(schedules) or not isinstance(schedules, Iterable):
        return {None: _known(schedules)}
    if isinstance(schedules, Mapping):
        named = {name: _known(schedule) for name, schedule in schedules.items()}
    else:
        several = enumerate(map(_known, schedules))
        named = {_label(i, schedule): schedule for i, schedule in several}
    if not named:
        raise ValueError("plot needs at least one schedule.")
    return named


def _label(index: int, schedule: Callable) -> str:
    text = f"{index}: {schedule!r}"
    short = len(text) <= _LONGEST_LABEL
    return text if short else text[: _LONGEST_LABEL - 3] + "..."


def _known(schedule: object) -> Callable:
    if isinstance(schedule, Schedule):
        check_schedule("schedules", schedule)
        return to_schedule(known_node(schedule))
    if not callable(schedule):
        raise TypeError(f"plot draws schedules, got {schedule!r}.")
    return schedule


def _drawn_steps(schedules: Iterable[Callable], total_steps: int | None) -> int:
    if callable(total_steps):
        raise TypeError("plot takes several schedules as a list: plot([first, second])")
    if total_steps is not None:
        return check_count("total_steps", total_steps, "steps")
    nodes = [schedule.node for schedule in schedules if isinstance(schedule, Schedule)]
    ends = [drawn_steps(node) for node in nodes if not is_endless(node)]
    if not nodes:
        raise ValueError(
            "total_steps is needed for a function that does not tell its end: "
            "plot(schedule, 10_000)."
        )
    return max(ends or map(drawn_steps, nodes))


def _curve(schedule: Callable, total: int) -> Curve:
    if isinstance(schedule, Schedule):
        return curve_of(schedule.node, total)
    counts = evenly_spaced_counts(total, 1_000)
    return Curve(counts, [float(schedule(count)) for count in counts], [])
