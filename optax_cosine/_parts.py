"""The parts of a schedule, one phase each, and how they are put together."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_cosine._checks import LARGEST, any_steps, is_traced, one_of, positive, rate
from optax_cosine._combine import spliced
from optax_cosine._instant import is_numpy
from optax_cosine._schedule import Schedule, checked, frozen
from optax_cosine._table import (
    AFTER,
    COSINE,
    HOLD,
    LINEAR,
    Table,
    melted,
    padded,
    phase,
)


def cosine(
    init_value: ArrayLike,
    end_value: ArrayLike,
    *,
    steps: ArrayLike,
    exponent: ArrayLike = 1.0,
    time_exponent: ArrayLike = 1.0,
) -> Table:
    """Half a cosine from `init_value` to `end_value`, down or up.

    Use it for annealing, and for what rises to the end of a run, such as the decay of a
    moving average or weight decay: `cosine(0.99, 1.0, steps=total_steps)`.

    With `x = count / steps`, clamped to [0, 1]::

        weight = ((1 + cos(pi * x**time_exponent)) / 2) ** exponent
        value = end_value + (init_value - end_value) * weight

    Args:
        init_value: Value at count 0. A scalar, as all arguments here.
        end_value: Value from count `steps` on.
        steps: Length in optimizer updates, 1e-6 or more; a fraction is allowed.
        exponent: Power of the weight, above 0; Optax's `exponent`.
        time_exponent: Power of the fraction gone by, above 0; timm's `k_decay`.

    Returns:
        A schedule of one phase.

    Raises:
        TypeError: An argument is not a real number.
        ValueError: An argument is out of range; the message names it.

    Examples:
        >>> import optax_cosine as oc
        >>> weight_decay = oc.cosine(0.04, 0.4, steps=100)
        >>> print(weight_decay(0), weight_decay(50), weight_decay(100))
        0.04 0.22 0.4

    References:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
        2017, arXiv:1608.03983.
    """
    return phase(
        any_steps("steps", steps),
        COSINE,
        rate("init_value", init_value),
        rate("end_value", end_value),
        positive("exponent", exponent),
        positive("time_exponent", time_exponent),
    )


def linear(
    init_value: ArrayLike,
    end_value: ArrayLike,
    *,
    steps: ArrayLike,
    time_exponent: ArrayLike = 1.0,
) -> Table:
    """A straight line from `init_value` to `end_value`, or a power of time.

    Use it for warm-ups, and with `time_exponent=0.5` for the 1-sqrt cool-down; 2.0 is a
    quadratic warm-up.

    With `x = count / steps`, clamped to [0, 1]::

        value = init_value + (end_value - init_value) * x**time_exponent

    Args:
        init_value: Value at count 0. A scalar, as all arguments here.
        end_value: Value from count `steps` on.
        steps: Length in optimizer updates, 1e-6 or more; a fraction is allowed.
        time_exponent: Power of the fraction gone by, above 0.

    Returns:
        A schedule of one phase.

    Raises:
        TypeError: An argument is not a real number.
        ValueError: An argument is out of range; the message names it.

    Examples:
        >>> import optax_cosine as oc
        >>> warmup = oc.linear(0.0, 0.1, steps=4)
        >>> print(*[warmup(count) for count in range(6)])
        0.0 0.025 0.05 0.075 0.1 0.1

    References:
        Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
        Durations", 2024, arXiv:2405.18392 (the 1-sqrt cool-down).
    """
    return phase(
        any_steps("steps", steps),
        LINEAR,
        rate("init_value", init_value),
        rate("end_value", end_value),
        time_exponent=positive("time_exponent", time_exponent),
    )


def constant(value: ArrayLike, *, steps: ArrayLike) -> Table:
    """One value, for some steps.

    Use it for the stable stretch between a warm-up and a decay.

    The formula is `value`, at every count.

    Args:
        value: The value. A scalar.
        steps: Length in optimizer updates, 1e-6 or more; a fraction is allowed. What
            follows in a `join` begins after it.

    Returns:
        A schedule of one phase.

    Raises:
        TypeError: An argument is not a real number.
        ValueError: An argument is out of range; the message names it.

    Examples:
        >>> import optax_cosine as oc
        >>> print(oc.constant(3e-4, steps=100)(7))
        0.0003

    References:
        Hu et al., "MiniCPM: Unveiling the Potential of Small Language Models", 2024,
        arXiv:2404.06395 (stable stretches).
    """
    value = rate("value", value)
    return phase(any_steps("steps", steps), LINEAR, value, value)


def join(*schedules: Schedule, after: str = "hold") -> Schedule:
    """Schedules one after the other, each on its own clock.

    Use it to build any curve from parts. Parts melt into one table, which costs the
    same to evaluate however many they are.

    The formula is `schedules[k](count - T)` from count T on, the sum of the lengths so
    far. At a boundary the new one counts.

    Args:
        *schedules: Schedules of this library. The last may have no end.
        after: What follows the last: `"hold"` its last value, `"repeat"` everything
            from the start, or `"mirror"` everything backward and forward again, as
            PyTorch's CosineAnnealingLR does. Laps are exact where their length is
            whole; for one of 10 / 3 steps, `retime` a lap of 10 with `stretch=1 / 3`.

    Returns:
        A schedule: a table if all are tables that end.

    Raises:
        TypeError: Something is no schedule of this library.
        ValueError: There is none, one before the last has no end, `after` is unknown or
            asks to fold what is no table, or the total is beyond 2**31 - 1.

    Examples:
        >>> import optax_cosine as oc
        >>> warmup, decay = oc.linear(0.0, 1.0, steps=2), oc.cosine(1.0, 0.0, steps=2)
        >>> schedule = oc.join(warmup, decay)
        >>> print(*[schedule(count) for count in range(6)])
        0.0 0.5 1.0 0.5 0.0 0.0
        >>> waves = oc.join(oc.cosine(1.0, 0.0, steps=2), after="mirror")
        >>> print(*[waves(count) for count in range(6)])
        1.0 0.5 0.0 0.5 1.0 0.5

    References:
        Optax, `optax.join_schedules`.
    """
    one_of("after", after, AFTER)
    if not schedules:
        raise ValueError("join needs at least one schedule, got none.")
    for index, schedule in enumerate(schedules):
        checked(f"schedules[{index}]", schedule)
        if _is_endless(schedule) and (index + 1 < len(schedules) or after != "hold"):
            raise ValueError(
                f"schedules[{index}] must have an end: only the last of a join that "
                f"holds may go on for ever, got {schedule!r}."
            )
    _check_total(schedules)
    if after == "hold":
        return _in_sequence(schedules)
    if not all(isinstance(schedule, Table) for schedule in schedules):
        raise ValueError(
            f"after={after!r} needs parts, or what join made of parts: a product, a "
            "spliced or a retimed schedule cannot be folded."
        )
    folded = np.asarray(AFTER.index(after), np.int32)
    return dataclasses.replace(melted(schedules), after=folded)


def _is_endless(schedule: Schedule) -> bool:
    return not is_traced(schedule._endless) and bool(schedule._endless)


def _check_total(schedules: Sequence[Schedule]) -> None:
    known = [x for x in schedules if is_numpy(x) and not _is_endless(x)]
    total = sum(schedule._exact_total() for schedule in known)
    if total > LARGEST:
        raise ValueError(
            "schedules must end by step 2**31 - 1 when joined, end at "
            f"{math.ceil(total)}."
        )


def _in_sequence(schedules: Sequence[Schedule]) -> Schedule:
    """Neighboring tables melt; what is no table, or may have no end, is spliced on."""
    runs: list[list[Any]] = [[schedules[0]]]
    for schedule in schedules[1:]:
        if _is_held_table(runs[-1][0]) and _is_held_table(schedule):
            runs[-1].append(schedule)
        else:
            runs.append([schedule])
    pieces = [melted(run) if len(run) > 1 else run[0] for run in runs]
    return functools.reduce(lambda a, b: spliced(a, a._total, b), pieces)


def _is_held_table(schedule: Schedule) -> bool:
    if not isinstance(schedule, Table) or is_traced(schedule.after):
        return False
    return bool(schedule.after == HOLD)


def stack(schedules: Iterable[Schedule]) -> Any:
    """A population: schedules as one, with a leading axis, for `jax.vmap`.

    Use it to train models with different schedules, of different kinds too, in one
    program. Tables are padded with empty phases, which are never found.

    The formula is `member(count) == schedules[k](count)`, for member k of the stack,
    `jax.tree.map(lambda leaf: leaf[k], stacked)`.

    Args:
        schedules: Schedules of this library: tables, or all combined alike.

    Returns:
        A stack of schedules; call it under `jax.vmap`.

    Raises:
        TypeError: Something is no schedule of this library.
        ValueError: There is none, or one is combined unlike the first.

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

    References:
        JAX, `jax.vmap`.
    """
    if not isinstance(schedules, Iterable):
        raise TypeError(f"schedules must be a list of schedules, got {schedules!r}.")
    schedules = [checked(f"schedules[{i}]", x) for i, x in enumerate(schedules)]
    if not schedules:
        raise ValueError("stack needs at least one schedule, got none.")
    for index, schedule in enumerate(schedules):
        if jax.tree.structure(schedule) != jax.tree.structure(schedules[0]):
            raise ValueError(
                f"schedules[{index}] must be combined as schedules[0] is, "
                f"{schedules[0]!r}, to be stacked with it, got {schedule!r}."
            )
    return jax.tree.map(_stacked, *schedules, is_leaf=lambda x: isinstance(x, Table))


def _stacked(*nodes: Any) -> Any:
    """Tables, padded to equally many phases, or single numbers, as one."""
    if isinstance(nodes[0], Table):
        most = max(table.shapes.size for table in nodes)
        return jax.tree.map(_stacked, *(padded(table, most) for table in nodes))
    if is_numpy(nodes):
        return frozen(np.stack(nodes))
    dtype = np.result_type(*(node.dtype for node in nodes))
    return jnp.stack([jnp.asarray(node, dtype) for node in nodes])
