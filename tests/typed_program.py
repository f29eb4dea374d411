"""A user's program, checked by `mypy --strict` and by pyright, and not run.

A line that a checker must refuse has a comment to ignore the error. Both checkers
report a comment that ignores nothing.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from typing import Any

import jax
import jax.numpy as jnp

# Optax has no types.
import optax  # type: ignore[import-untyped]

import optax_cosine as oc


def rate(schedule: oc.Schedule, count: jax.Array) -> jax.Array:
    return schedule(count)


def built(peak: float, steps: int) -> oc.Schedule:
    parts = oc.join(oc.linear(0.0, peak, steps=10), oc.cosine(peak, 0.0, steps=steps))
    return 0.5 * parts * 2.0 / 2


def shown(schedule: oc.Schedule) -> list[str]:
    at_zero: float = float(schedule(0))
    phases = oc.join(schedule, oc.constant(at_zero, steps=1)).phases
    return [phase.shape for phase in phases]


def optimizer(schedule: oc.Schedule) -> optax.GradientTransformationExtraArgs:
    return oc.inject_schedules(optax.adamw)(learning_rate=schedule)


def longer(opt_state: optax.OptState, total_steps: int) -> optax.OptState:
    schedule = oc.get_schedules(opt_state)["learning_rate"]
    end: int | float = schedule.total_steps
    count = oc.get_count(opt_state)
    assert end > 0
    edited = oc.extend(schedule, at_step=count, total_steps=total_steps)
    return oc.set_schedules(opt_state, learning_rate=edited, weight_decay=0.1)


def population(schedules: list[oc.Schedule]) -> jax.Array:
    stacked: oc.Schedule = oc.stack(schedules)

    def at_three(schedule: oc.Schedule) -> jax.Array:
        return schedule(jnp.asarray(3))

    values: jax.Array = jax.vmap(at_three)(stacked)
    assert len(stacked) == len(schedules)
    return values if len(stacked) > 1 else at_three(stacked[0])


def read(values: dict[str, Any]) -> oc.Schedule:
    return oc.Schedule.from_dict(values)


def refused(schedule: oc.Schedule) -> None:
    oc.join(schedule, after="hodl")  # type: ignore[arg-type]
    oc.cooldown(schedule, at_step=5, steps=5, shape="sqrt")  # type: ignore[arg-type]
