"""Functions that build the schedules whose cost has a limit."""

from typing import Any

import optax

import optax_cosine as oc

PEAK, STEPS, WARMUP_STEPS = 1e-3, 10_000, 500


def cosine() -> Any:
    return oc.cosine_annealing_schedule(PEAK, STEPS)


def warmup() -> Any:
    return oc.warmup_cosine_annealing_schedule(PEAK, STEPS, warmup_steps=WARMUP_STEPS)


def stable() -> Any:
    return oc.warmup_stable_decay_schedule(
        PEAK, STEPS, warmup_steps=WARMUP_STEPS, decay_steps=2_000
    )


def one_cycle() -> Any:
    return oc.cosine_one_cycle_schedule(PEAK, STEPS)


def eight_rows() -> Any:
    return oc.cosine_restarts_schedule(
        PEAK, [200, 400, 800, 1600], cycle_warmup_steps=10
    )


def endless() -> Any:
    return oc.cosine_restarts_schedule(PEAK, 100)


def many_restarts() -> Any:
    return oc.cosine_restarts_schedule(PEAK, [10 + i % 3 for i in range(500)])


def shifted() -> Any:
    return oc.shift(cosine(), 1)


def extended() -> Any:
    return oc.extend(warmup(), at_step=6_000, total_steps=15_000)


def product() -> Any:
    return warmup() * oc.cosine(1.0, 0.1, steps=STEPS)


def edited(edits: int) -> Any:
    """The warmup cosine after so many edits, of three kinds in turn."""
    schedule = warmup()
    for number in range(edits):
        at_step = 100 * (number + 1)
        total_steps = STEPS + at_step
        match number % 3:
            case 0:
                schedule = oc.extend(schedule, at_step=at_step, total_steps=total_steps)
            case 1:
                schedule = oc.rewarm(
                    schedule,
                    at_step=at_step,
                    peak_value=PEAK,
                    warmup_steps=WARMUP_STEPS,
                    decay_steps=STEPS,
                )
            case 2:
                schedule = oc.cooldown(schedule, at_step=at_step, steps=STEPS)
    return schedule


def optax_cosine() -> Any:
    return optax.cosine_decay_schedule(PEAK, STEPS)


def optax_warmup() -> Any:
    return optax.warmup_cosine_decay_schedule(0.0, PEAK, WARMUP_STEPS, STEPS)


OURS = {
    "cosine": cosine,
    "warm-up": warmup,
    "WSD": stable,
    "one cycle": one_cycle,
    "8 rows": eight_rows,
    "endless": endless,
    "500 restarts": many_restarts,
    "shifted": shifted,
    "extended": extended,
    "product": product,
}
OPTAX = {"Optax's cosine": optax_cosine, "Optax's warm-up": optax_warmup}
