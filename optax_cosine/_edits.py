"""Another future for a schedule that is under way: its past stays as it was."""

from typing import Any

import numpy as np
from jax.typing import ArrayLike

from optax_cosine._checks import is_traced, no_rise, one_of, rate, whole_steps
from optax_cosine._combine import Retimed, Spliced, on_device, splice
from optax_cosine._instant import (
    Instant,
    exact,
    is_numpy,
    length,
    negative,
    number,
    plus,
    reached,
    select,
)
from optax_cosine._schedule import Schedule, checked, fetched, plain
from optax_cosine._table import COSINE, DECAYS, LINEAR, melted, phase, value_dtype

_FLOAT = np.dtype(np.float32)
_ONE = exact(1, _FLOAT)


def cooldown(
    schedule: Schedule,
    *,
    at_step: ArrayLike,
    steps: ArrayLike,
    end_value: ArrayLike = 0.0,
    shape: str = "cosine",
) -> Spliced:
    """From the value that a schedule has at a step down to `end_value`.

    Use it to end a run early, or to branch a finished model off a run that goes on. A
    step in the future holds the course until then.

    With `value = schedule(at_step)`, it is::

        splice(schedule, at_step, cosine(value, end_value, steps=steps))

    with `linear` in place of `cosine` for the other shapes.

    Args:
        schedule: A schedule of this library; it may have no end.
        at_step: Count at which the next update goes on along the decay, the `count` of
            the optimizer state. A whole number, 0 or more; at or past the end too.
        steps: Optimizer updates of the decay, a whole number from 1.
        end_value: Rate at their end: a rate, not a ratio; at most the value there.
        shape: `"cosine"`, `"linear"`, or `"sqrt"`: one minus the square root of the
            fraction gone by.

    Every number may be traced.

    Returns:
        A schedule that ends at `at_step + steps`.

    Raises:
        TypeError: The schedule is none of this library, or an argument is no number.
        ValueError: An argument is out of range, `end_value` is above the value there,
            the shape is unknown, or the end is beyond 2**31 - 1.

    Examples:
        >>> import optax_cosine as oc
        >>> schedule = oc.constant(0.1, steps=10_000)
        >>> shorter = oc.cooldown(schedule, at_step=4_000, steps=1_000)
        >>> print(shorter(3_999), shorter(4_000), shorter(4_500), shorter(5_000))
        0.1 0.1 0.05 0.0

    References:
        Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
        Durations", 2024, arXiv:2405.18392.
    """
    at_step = whole_steps("at_step", at_step, least=0)
    value = _fetched(checked("schedule", schedule))(at_step)
    end_value = rate("end_value", end_value)
    dtype = value_dtype([value, end_value])
    no_rise("schedule(at_step)", value, "end_value", end_value, dtype)
    kind, time_exponent = DECAYS[one_of("shape", shape, tuple(DECAYS))]
    steps = whole_steps("steps", steps)
    decay = phase(steps, kind, value, end_value, 1.0, time_exponent)
    return splice(schedule, at_step, decay)


def extend(
    schedule: Schedule, *, at_step: ArrayLike, total_steps: ArrayLike
) -> Spliced:
    """The rest of a schedule, stretched so that it ends at `total_steps`.

    Use it to give a run that is under way more time, or less.

    With `stretch = (total_steps - at_step) / (schedule.total_steps - at_step)`, it is::

        rest = retime(schedule, offset=at_step)
        splice(schedule, at_step, retime(rest, stretch=stretch))

    Args:
        schedule: A schedule of this library that has an end.
        at_step: Count at which the stretch begins, the `count` of the optimizer state.
            A whole number from 0, before the end of the schedule.
        total_steps: Optimizer updates in all, those before `at_step` included. A whole
            number above `at_step`.

    Every number may be traced. Traced numbers cannot be refused: where nothing is left
    to stretch, the value at `at_step` holds.

    Returns:
        A schedule that ends at `total_steps`.

    Raises:
        TypeError: The schedule is none of this library, or an argument is no number.
        ValueError: A number is out of range, or the schedule has no end, or is over at
            `at_step`: `rewarm` is for such a run.

    Examples:
        >>> import optax_cosine as oc
        >>> schedule = oc.cosine_annealing_schedule(0.1, 100)
        >>> longer = oc.extend(schedule, at_step=50, total_steps=200)
        >>> print(longer(49) == schedule(49), longer(50), longer(125) == schedule(75))
        True 0.05 True

    References:
        Composer, `scale_schedule_ratio` (of a whole run).
    """
    at_step = whole_steps("at_step", at_step, least=0)
    total_steps = whole_steps("total_steps", total_steps)
    schedule = _fetched(checked("schedule", schedule))
    _refuse_without_rest(schedule, at_step, total_steps)
    start = length(at_step, _FLOAT)
    counts = _time_left(length(total_steps, _FLOAT), start)
    steps = _time_left(schedule._total, start)
    if not is_numpy(counts):
        counts = select(reached(counts, _ONE), counts, on_device(_ONE))
    rest = Retimed(schedule, np.asarray(1, np.int32), counts, steps, start)
    return splice(schedule, at_step, rest)


def rewarm(
    schedule: Schedule,
    *,
    at_step: ArrayLike,
    peak_value: ArrayLike,
    warmup_steps: ArrayLike,
    decay_steps: ArrayLike,
    end_value: ArrayLike = 0.0,
) -> Spliced:
    """Up again from the value that a schedule has at a step, then down.

    Use it to train on: on new data, or past the end of the plan.

    With `value = schedule(at_step)`, it is::

        again = join(linear(value, peak_value, steps=warmup_steps),
                     cosine(peak_value, end_value, steps=decay_steps))
        splice(schedule, at_step, again)

    Args:
        schedule: A schedule of this library; it may have no end.
        at_step: Count at which the next update goes on along the warm-up, the `count`
            of the optimizer state. A whole number, 0 or more.
        peak_value: Highest rate from there on, at least the value there.
        warmup_steps: Optimizer updates until it is reached, a whole number from 1.
        decay_steps: Optimizer updates from there to `end_value`, from 1.
        end_value: Rate at the end: a rate, not a ratio; at most the peak.

    Every number may be traced.

    Returns:
        A schedule that ends at `at_step + warmup_steps + decay_steps`.

    Raises:
        TypeError: The schedule is none of this library, or an argument is no number.
        ValueError: An argument is out of range, the peak is below the value there or
            the floor above the peak, or the end is beyond 2**31 - 1.

    Examples:
        >>> import optax_cosine as oc
        >>> schedule = oc.cosine_annealing_schedule(0.1, 100, end_value=0.01)
        >>> again = oc.rewarm(
        ...     schedule, at_step=100, peak_value=0.05, warmup_steps=10, decay_steps=90)
        >>> print(again(100), again(105), again(110), again(200))
        0.01 0.03 0.05 0.0

    References:
        Ibrahim et al., "Simple and Scalable Strategies to Continually Pre-train Large
        Language Models", 2024, arXiv:2403.08763.
    """
    at_step = whole_steps("at_step", at_step, least=0)
    value = _fetched(checked("schedule", schedule))(at_step)
    peak_value = rate("peak_value", peak_value)
    end_value = rate("end_value", end_value)
    dtype = value_dtype([value, peak_value, end_value])
    _refuse_fall(value, peak_value, dtype)
    no_rise("peak_value", peak_value, "end_value", end_value, dtype)
    warmup = whole_steps("warmup_steps", warmup_steps)
    decay = whole_steps("decay_steps", decay_steps)
    again = melted(
        [
            phase(warmup, LINEAR, value, peak_value),
            phase(decay, COSINE, peak_value, end_value),
        ]
    )
    return splice(schedule, at_step, again)


def _fetched(schedule: Schedule) -> Schedule:
    """With its numbers on the host, where they are known: values there are nearest."""
    values = fetched(schedule)
    return schedule if values is None else values


def _time_left(end: Instant, start: Instant) -> Instant:
    if is_numpy(end, start):
        return exact(number(*end) - number(*start), _FLOAT)
    return plus(on_device(end), negative(on_device(start)))


def _refuse_fall(value: Any, peak_value: Any, dtype: Any) -> None:
    known = not is_traced(value) and not is_traced(peak_value)
    if known and dtype.type(peak_value) < dtype.type(value):
        raise ValueError(
            f"peak_value={peak_value!r} is below the value of the schedule at at_step, "
            f"{float(value)!r}: to go down from there use cooldown."
        )


def _refuse_without_rest(schedule: Schedule, at_step: Any, total_steps: Any) -> None:
    if is_numpy(schedule) and schedule._endless:
        raise ValueError(
            f"a schedule without end cannot be extended, got {schedule!r}: to change "
            "its course use rewarm or cooldown."
        )
    if is_traced(at_step):
        return
    if is_numpy(schedule) and at_step >= (end := schedule._exact_total()):
        raise ValueError(
            f"at_step={at_step} must be before the end of the schedule, step "
            f"{plain(end)}: nothing is left to stretch. To go on from there use rewarm."
        )
    if not is_traced(total_steps) and total_steps <= at_step:
        raise ValueError(
            f"total_steps={total_steps} must be above at_step={at_step}: it counts the "
            "updates before that step too."
        )
