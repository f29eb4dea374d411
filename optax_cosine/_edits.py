"""Edits of a running schedule: values before `at_step` do not change."""

import numpy as np
from jax.typing import ArrayLike

from optax_cosine import _table, _time
from optax_cosine._arrays import Scalar, is_known, is_traced, select, to_numpy
from optax_cosine._compose import is_known_endless, splice_checked
from optax_cosine._display import shorten_time
from optax_cosine._keywords import answer_wrong_keywords
from optax_cosine._node import Node, end_of, extend_node
from optax_cosine._parts import Shape, decay_of
from optax_cosine._schedule import (
    Schedule,
    check_schedule,
    checked_schedule,
    to_schedule,
)
from optax_cosine._table import COSINE, LINEAR, Segment, is_held_table
from optax_cosine._time import Time
from optax_cosine._validation import check_not_above, check_rate, check_steps


@answer_wrong_keywords
def cooldown(
    schedule: Schedule,
    *,
    at_step: ArrayLike,
    steps: ArrayLike,
    end_value: ArrayLike = 0.0,
    shape: Shape = "cosine",
) -> Schedule:
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
        shape: `"cosine"`, `"linear"`, or `"1-sqrt"`: one minus the square root of the
            elapsed fraction.

    Every number may be traced.

    Returns:
        A schedule that ends at `at_step + steps`.

    Raises:
        TypeError: `schedule` is not of this library, or an argument is not a number.
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
    at_step = check_steps("at_step", at_step, least=0)
    node = _on_host_if_known(schedule)
    value = to_schedule(node)(at_step)
    end_value = check_rate("end_value", end_value)
    dtype = _table.value_dtype([value, end_value])
    check_not_above("schedule(at_step)", value, "end_value", end_value, dtype)
    decay = decay_of(shape, value, end_value)
    steps = check_steps("steps", steps)
    return splice_checked(node, at_step, _table.single_row(steps, decay))


@answer_wrong_keywords
def extend(
    schedule: Schedule, *, at_step: ArrayLike, total_steps: ArrayLike
) -> Schedule:
    """The rest of a schedule, stretched so that it ends at `total_steps`.

    Use it to give a run that is under way more time, or less.

    With `factor = (total_steps - at_step) / (schedule.total_steps - at_step)`, it is::

        rest = shift(schedule, at_step)
        splice(schedule, at_step, stretch(rest, factor))

    A schedule that has one value throughout keeps that value until `total_steps`, also
    if the schedule is over at `at_step`.

    Args:
        schedule: A schedule of this library that has an end.
        at_step: Count at which the stretch begins, the `count` of the optimizer state.
            A whole number from 0, before the end of the schedule.
        total_steps: Optimizer updates in all, those before `at_step` included. A whole
            number above `at_step`.

    Every number may be traced. Traced numbers cannot be refused: if nothing is left to
    stretch, the end value holds.

    Returns:
        A schedule that ends at `total_steps`.

    Raises:
        TypeError: `schedule` is not of this library, or an argument is not a number.
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
    at_step = check_steps("at_step", at_step, least=0)
    total_steps = check_steps("total_steps", total_steps)
    node = _on_host_if_known(schedule)
    has_one_value = is_held_table(node) and _table.is_constant(node)
    if not has_one_value:
        _check_rest(node, at_step)
    _check_total(at_step, total_steps)
    if has_one_value:
        value = to_schedule(node)(0)
        return to_schedule(_table.constant_row(total_steps, value))
    end = end_of(node)
    dtype = end.frac.dtype
    start, total = _time.to_time(at_step, dtype), _time.to_time(total_steps, dtype)
    steps, counts = (_time_left(x, start) for x in (end, total))
    return checked_schedule(extend_node(node, start, steps, counts))


@answer_wrong_keywords
def rewarm(
    schedule: Schedule,
    *,
    at_step: ArrayLike,
    peak_value: ArrayLike,
    warmup_steps: ArrayLike,
    decay_steps: ArrayLike,
    end_value: ArrayLike = 0.0,
) -> Schedule:
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
        warmup_steps: Optimizer updates until it is reached, a whole number from 0.
        decay_steps: Optimizer updates from there to `end_value`, from 1.
        end_value: Rate at the end: a rate, not a ratio; at most the peak.

    Every number may be traced.

    Returns:
        A schedule that ends at `at_step + warmup_steps + decay_steps`.

    Raises:
        TypeError: `schedule` is not of this library, or an argument is not a number.
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
    at_step = check_steps("at_step", at_step, least=0)
    node = _on_host_if_known(schedule)
    value = to_schedule(node)(at_step)
    peak = check_rate("peak_value", peak_value)
    end_value = check_rate("end_value", end_value)
    dtype = _table.value_dtype([value, peak, end_value])
    _check_not_below(value, peak, dtype)
    check_not_above("peak_value", peak, "end_value", end_value, dtype)
    warmup = check_steps("warmup_steps", warmup_steps, least=0)
    decay = check_steps("decay_steps", decay_steps)
    lengths = [_time.to_time(steps, dtype) for steps in (warmup, decay)]
    up, down = Segment(LINEAR, value, peak), Segment(COSINE, peak, end_value)
    again = _table.build_table(_time.cumulative(_time.stack_times(lengths)), [up, down])
    return splice_checked(node, at_step, again)


def _time_left(end: Time, start: Time) -> Time:
    # Traced numbers may leave nothing to stretch, which then takes one step.
    left, dtype = _time.add(end, -start), end.frac.dtype
    zero, one = (_time.from_exact(np.array(n), dtype) for n in (0, 1))
    return select(zero >= left, one, left)


def _on_host_if_known(schedule: Schedule) -> Node:
    """With NumPy's leaves if possible: values on the host are more precise."""
    node = check_schedule("schedule", schedule)
    values = to_numpy(node)
    return node if values is None else values


def _check_not_below(value: Scalar, peak: Scalar, dtype: np.dtype) -> None:
    known = not is_traced(value) and not is_traced(peak)
    if known and dtype.type(peak) < dtype.type(value):
        raise ValueError(
            f"peak_value={peak!r} is below the value of the schedule at at_step, "
            f"{float(value)!r}: to go down from there use cooldown."
        )


def _check_total(at_step: Scalar, total_steps: Scalar) -> None:
    traced = is_traced(at_step) or is_traced(total_steps)
    if not traced and total_steps <= at_step:
        raise ValueError(
            f"total_steps={total_steps} must be above at_step={at_step}: it counts the "
            "updates before that step too."
        )


def _check_rest(node: Node, at_step: Scalar) -> None:
    if is_known_endless(node):
        raise ValueError(
            f"an endless schedule cannot be extended, got {to_schedule(node)!r}: to "
            "change its course use rewarm or cooldown."
        )
    if is_traced(at_step) or not is_known(node):
        return
    end = end_of(node)
    if at_step >= _time.to_number(end):
        raise ValueError(
            f"at_step={at_step} must be before the end of the schedule, step "
            f"{shorten_time(end)}, as nothing is left to stretch: extend before the "
            "end, or train on with rewarm."
        )
