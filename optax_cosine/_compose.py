"""Schedules from schedules: in sequence, on another clock, many at once."""

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_cosine import _node, _table, _time
from optax_cosine._arrays import Scalar, is_known, is_traced, read_only
from optax_cosine._arrays import stack as stack_arrays
from optax_cosine._clock import Clock, Steps
from optax_cosine._keywords import answer_wrong_keywords
from optax_cosine._node import Clocked, Node, Product
from optax_cosine._schedule import (
    Schedule,
    check_schedule,
    checked_schedule,
    to_schedule,
)
from optax_cosine._table import AFTER, Table, is_held_table
from optax_cosine._time import LARGEST, Time
from optax_cosine._validation import (
    SHORTEST,
    check_choice,
    check_positive,
    check_steps,
    check_time,
)

After: TypeAlias = Literal["hold", "repeat", "mirror"]


@answer_wrong_keywords
def join(*schedules: Schedule, after: After = "hold") -> Schedule:
    """Schedules one after the other, each from its own step 0.

    Use it to build any curve from parts. From count T on, the total length of the
    schedules before it, the value is `schedules[k](count - T)`.

    Args:
        *schedules: Schedules of this library. The last may be endless.
        after: What follows the last: `"hold"` its last value, `"repeat"` everything
            from the start, or `"mirror"` everything backward and forward again, as
            PyTorch's CosineAnnealingLR does. Repetition is exact if the length is a
            whole number; otherwise restarts drift beyond 2**24 steps. For a period of
            10 / 3 steps, build one of 10 steps and write `stretch(schedule, 1 / 3)`.

    Returns:
        A schedule: one table if all are tables that end.

    Raises:
        TypeError: An argument is not a schedule of this library.
        ValueError: There is no schedule, one before the last is endless, `after` is
            unknown or needs a table, or the total is beyond 2**31 - 1.

    Examples:
        >>> import optax_cosine as oc
        >>> warmup, decay = oc.linear(0.0, 1.0, steps=2), oc.cosine(1.0, 0.0, steps=2)
        >>> schedule = oc.join(warmup, decay)
        >>> print(*[schedule(count) for count in range(6)])
        0.0 0.5 1.0 0.5 0.0 0.0
        >>> waves = oc.join(oc.cosine(1.0, 0.0, steps=2), after="mirror")
        >>> print(*[waves(count) for count in range(6)])
        1.0 0.5 0.0 0.5 1.0 0.5
    """
    check_choice("after", after, AFTER)
    if not schedules:
        raise ValueError("join needs at least one schedule, got none.")
    nodes = [check_schedule(f"schedules[{i}]", x) for i, x in enumerate(schedules)]
    for index, node in enumerate(nodes):
        if is_known_endless(node) and (index + 1 < len(nodes) or after != "hold"):
            raise ValueError(
                f"schedules[{index}] must have an end: only the last of a join that "
                f"holds may go on for ever, got {schedules[index]!r}."
            )
    _check_end(sum(map(_exact_end, nodes)), "the joined schedules")
    if after == "hold":
        return checked_schedule(_node.join_nodes(nodes))
    tables = [*filter(is_held_table, nodes)]
    if len(tables) < len(nodes):
        raise ValueError(
            f"after={after!r} needs tables that end, as cosine, linear, constant, join "
            "and edits of them are: not a product, a staircase, or a traced schedule."
        )
    table = _table.join_tables(tables)
    code = read_only(np.array(AFTER.index(after), np.int32))
    return to_schedule(table._replace(after=code))


def is_known_endless(node: Node) -> bool:
    endless = _node.is_endless(node)
    return not is_traced(endless) and bool(np.any(endless))


def _exact_end(node: Node) -> Steps:
    """When a schedule ends; 0 if that is not known, or if it never ends."""
    known = is_known(node) and not is_known_endless(node)
    return _time.to_number(_node.end_of(node)) if known else 0


def _check_end(total: Steps, what: str) -> None:
    # A fraction of a step beyond is a rounding of decimals, and is cut.
    if 0 < total < SHORTEST:
        raise ValueError(f"{what} must take 1e-6 steps or more, got {float(total)!r}.")
    if math.floor(total) > LARGEST:
        raise ValueError(
            f"{what} must end by step 2**31 - 1, and would end at {math.ceil(total)}."
        )


@answer_wrong_keywords
def splice(before: Schedule, at_step: ArrayLike, then: Schedule) -> Schedule:
    """`before` until `at_step`, from there `then` from its own step 0.

    Use it to let a running job continue on another curve. The value is `before(count)`
    below `at_step`, and `then(count - at_step)` from there.

    Args:
        before: A schedule of this library; it may be endless.
        at_step: Count at which `then` takes over: a number of steps, 0 or more.
        then: A schedule of this library; it may be endless.

    Returns:
        A schedule: one table if both are tables that end.

    Raises:
        TypeError: A schedule is not of this library, or `at_step` is not a number.
        ValueError: `at_step` is out of range, or the end is beyond 2**31 - 1.

    Examples:
        >>> import optax_cosine as oc
        >>> endless = oc.cosine_restarts_schedule(1.0, 10)
        >>> schedule = oc.splice(endless, 25, oc.linear(0.5, 0.0, steps=5))
        >>> print(schedule(20), schedule(25), schedule(30))
        1.0 0.5 0.0
    """
    nodes = check_schedule("before", before), check_schedule("then", then)
    return splice_checked(nodes[0], check_time("at_step", at_step, 0), nodes[1])


def splice_checked(before: Node, at_step: Scalar, then: Node) -> Schedule:
    """The spliced schedule, unless it ends too late."""
    if not is_traced(at_step):
        _check_end(at_step + _exact_end(then), "the spliced schedule")
    return checked_schedule(
        _node.splice_nodes(before, _time.to_free_time(at_step), then)
    )


@answer_wrong_keywords
def shift(schedule: Schedule, steps: ArrayLike) -> Schedule:
    """The schedule read `steps` ahead, or later if `steps` is negative.

    Use `shift(schedule, 1)` for a first update above 0 and a last update exactly at the
    end value. A negative shift waits at the first value.

    For counts of 0 and more, `shift(schedule, steps)(count)` is
    `schedule(max(0, count + steps))`.

    Args:
        schedule: A schedule of this library.
        steps: Steps to read ahead; if negative, steps to wait.

    Returns:
        A schedule: one table if `schedule` is a table that ends. If it is over after
        `steps`, its end value.

    Raises:
        TypeError: `schedule` is not of this library, or `steps` is not a number.
        ValueError: `steps` is out of range, or the end is beyond 2**31 - 1.

    Examples:
        >>> import optax_cosine as oc
        >>> schedule = oc.shift(oc.linear(0.0, 1.0, steps=4), 1)
        >>> print(*[schedule(count) for count in range(4)])
        0.25 0.5 0.75 1.0
    """
    node = check_schedule("schedule", schedule)
    by = check_time("steps", steps, -LARGEST)
    if is_traced(by):
        ahead, wait = (jnp.maximum(x, 0) for x in (by, -by))
    else:
        ahead, wait = max(by, 0), max(-by, 0)
        _check_end(_exact_end(node) + wait, f"a schedule shifted by {by}")
        if by == 0:
            return schedule
    if not _may_start_early(node):
        # The difference of the two is `steps`: at most one of them is not 0.
        by = _time.add(_time.to_free_time(ahead), -_time.to_free_time(wait))
        return checked_schedule(_node.put_on_clock(node, Clock(at_step=by)))
    # What was read ahead already must not come back while the schedule waits.
    first = schedule(0)
    held = _table.constant_row(1, first)
    clock = Clock(at_step=_time.to_free_time(ahead))
    return splice_checked(held, wait, _node.put_on_clock(node, clock))


def _may_start_early(node: Node) -> bool:
    """Whether a row of a table that ends may play before its clock is at step 0."""
    match node:
        case Table() if is_held_table(node):
            start = node.rows.clock_start.whole[..., 0]
            return not (is_known(start) and bool(start >= 0))
        case Product(first, second):
            return _may_start_early(first) or _may_start_early(second)
        case _:
            return False


@answer_wrong_keywords
def stretch(schedule: Schedule, factor: ArrayLike) -> Schedule:
    """The same curve, `factor` times as long.

    Use it to try a plan on a shorter run, or to give every phase more time. For a run
    that has begun, use `extend`.

    `stretch(schedule, factor)(count)` is `schedule(count / factor)`.

    Args:
        schedule: A schedule of this library.
        factor: Above 0. It is taken as a ratio of integers: 1.1 as 11 / 10.

    Returns:
        A schedule: one table if `schedule` is a table that ends.

    Raises:
        TypeError: `schedule` is not of this library, or `factor` is not a number.
        ValueError: `factor` is out of range, or the end is beyond 2**31 - 1.

    Examples:
        >>> import optax_cosine as oc
        >>> schedule = oc.stretch(oc.linear(0.0, 1.0, steps=2), 2.0)
        >>> print(*[schedule(count) for count in range(5)])
        0.0 0.25 0.5 0.75 1.0
    """
    node = check_schedule("schedule", schedule)
    counts, steps = _ratio_of_times(factor)
    if is_known(counts):
        ratio = Fraction(_time.to_number(counts)) / _time.to_number(steps)
        _check_end(_exact_end(node) * ratio, f"a schedule stretched by {factor!r}")
    return checked_schedule(_node.put_on_clock(node, Clock(steps=steps, counts=counts)))


def _ratio_of_times(factor: Scalar) -> tuple[Time, Time]:
    if is_traced(factor := check_positive("factor", factor)):
        # A float is an integer of 24 bits times a power of two.
        factor, dtype = jnp.clip(factor, 2.0**-30, 2.0**30), factor.dtype
        _, exponent = jnp.frexp(factor)
        denominator = np.int32(1) << jnp.clip(24 - exponent, 0, 30)
        numerator = _time.from_array(factor * denominator.astype(dtype), dtype)
        return numerator, _time.from_array(denominator, dtype)
    if not 1 / LARGEST <= factor <= LARGEST:
        raise ValueError(
            f"factor must be from 1 / (2**31 - 1) to 2**31 - 1, got {factor!r}."
        )
    numerator, denominator = _time.to_ratio(factor)
    return _time.to_free_time(numerator), _time.to_free_time(denominator)


@answer_wrong_keywords
def staircase(schedule: Schedule, every: ArrayLike) -> Schedule:
    """The schedule that moves on by one step after every `every` counts.

    Use `every=updates_per_epoch` for a schedule that counts epochs.

    `staircase(schedule, every)(count)` is `schedule(floor(count / every))`.

    Args:
        schedule: A schedule of this library.
        every: Counts for each step of the schedule, a whole number from 1, which gives
            the schedule as it is.

    Returns:
        A schedule; it is not a table. If it ends beyond 2**31 - 1, the last count,
        `total_steps` is the last count.

    Raises:
        TypeError: `schedule` is not of this library, or `every` is not a number.
        ValueError: `every` is out of range.

    Examples:
        >>> import optax_cosine as oc
        >>> stairs = oc.staircase(oc.linear(0.0, 1.0, steps=4), 2)
        >>> print(*[stairs(count) for count in range(6)])
        0.0 0.0 0.25 0.25 0.5 0.5
    """
    node = check_schedule("schedule", schedule)
    counts = check_steps("every", every)
    if not is_traced(counts) and counts == 1:
        return schedule
    clock = Clock(every=_time.to_free_time(counts).whole)
    return checked_schedule(Clocked(node, clock))


def stack(schedules: Iterable[Schedule]) -> Schedule:
    """A population: schedules as one, with a leading axis, for `jax.vmap`.

    Use it to train models with different schedules, of different kinds too, in one
    program. Shorter tables are padded with phases of 0 steps.

    Member k of the stack, `jax.tree.map(lambda leaf: leaf[k], stacked)`, has the values
    of `schedules[k]`.

    Args:
        schedules: Schedules that have the same structure, as any schedules that are
            tables have.

    Returns:
        A stack of schedules; call it under `jax.vmap`.

    Raises:
        TypeError: An element is not a schedule of this library.
        ValueError: There is no schedule, or one has another structure than the first.

    Examples:
        >>> import jax
        >>> import optax_cosine as oc
        >>> population = oc.stack([
        ...     oc.cosine_annealing_schedule(1.0, 100),
        ...     oc.warmup_stable_decay_schedule(
        ...         1.0, 100, warmup_steps=10, decay_steps=20),
        ... ])
        >>> [f"{x:.2f}" for x in jax.vmap(lambda schedule: schedule(50))(population)]
        ['0.50', '1.00']
    """
    if not isinstance(schedules, Iterable):
        raise TypeError(f"schedules must be a list of schedules, got {schedules!r}.")
    members = list(schedules)
    nodes = [check_schedule(f"schedules[{i}]", x) for i, x in enumerate(members)]
    if not nodes:
        raise ValueError("stack needs at least one schedule, got none.")
    for index, node in enumerate(nodes):
        if jax.tree.structure(node) != jax.tree.structure(nodes[0]):
            raise ValueError(
                f"schedules[{index}] must be combined as schedules[0] is, "
                f"{members[0]!r}, to be stacked with it, got {members[index]!r}."
            )
    return to_schedule(jax.tree.map(_stack, *nodes, is_leaf=_is_table))


def _is_table(node: object) -> bool:
    return isinstance(node, Table)


def _stack(*parts: Any) -> Any:
    """Tables, padded to the same number of rows, or numbers, with a leading axis."""
    if not _is_table(parts[0]):
        return stack_arrays(parts)
    rows = max(table.integers.shape[-1] for table in parts)
    padded = [_table.pad_table(table, rows) for table in parts]
    return Table(*map(stack_arrays, zip(*padded, strict=True)))
