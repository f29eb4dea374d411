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
    return phase(
        any_steps("steps", steps),
        LINEAR,
        rate("init_value", init_value),
        rate("end_value", end_value),
        time_exponent=positive("time_exponent", time_exponent),
    )


def constant(value: ArrayLike, *, steps: ArrayLike) -> Table:
    value = rate("value", value)
    return phase(any_steps("steps", steps), LINEAR, value, value)


def join(*schedules: Schedule, after: str = "hold") -> Schedule:
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
