"""The page on coming from elsewhere, against the libraries themselves.

The page is parsed, and its claims are checked, in ../migrating.py.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import migrating
import numpy as np
import optax
import pytest
from agreement import COUNTS, TOLERANCE, restarts
from keras.optimizers.schedules import CosineDecay, CosineDecayRestarts
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR
from torch_rates import sgd, used
from transformers import optimization

import optax_cosine as oc

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.usefixtures("standard_promotion"),
]

LIBRARIES = {
    "Optax": {"optax": optax},
    "PyTorch": vars(lr_scheduler) | {"SWALR": SWALR},
    "timm": {"CosineLRScheduler": CosineLRScheduler},
    "transformers": vars(optimization),
    "Keras": {"CosineDecay": CosineDecay, "CosineDecayRestarts": CosineDecayRestarts},
}

# Optax and Keras compute in float32. So do we with exponents and on stretched clocks,
# to 16 units in the last place of the peak.
FLOAT32 = 1e-6
TOLERANCES = {
    "Optax": FLOAT32,
    "PyTorch": TOLERANCE,
    "timm": FLOAT32,
    "transformers": FLOAT32,
    "Keras": FLOAT32,
    # Keras takes the whole cycles from a number of them, up to 73.
    "Keras: `CosineDecayRestarts` with equal cycles": 2e-5,
}


def of_optax(schedule: Any) -> np.ndarray:
    """Of a function or, where SGD is made of one, what it takes from a weight."""
    if not isinstance(schedule, optax.GradientTransformation):
        return np.asarray(jax.vmap(schedule)(COUNTS))

    def update(state, _):
        updates, state = schedule.update(jnp.ones(()), state)
        return state, -updates

    return np.asarray(jax.lax.scan(update, schedule.init(jnp.ones(())), COUNTS)[1])


def of_pytorch(scheduler: Any, clock: str, updates: int) -> np.ndarray:
    (group,) = scheduler.optimizer.param_groups
    if clock == "stepped once an epoch":
        return used(scheduler).repeat(updates)[: COUNTS.size]
    if clock == "stepped with the epoch and its part":
        rates = [group["lr"]]
        for count in COUNTS[1:].tolist():
            scheduler.step(count / updates)
            rates.append(group["lr"])
        return np.array(rates)
    name = {"": "lr", "the momentum": "momentum"}[clock]
    rates = [group[name]]
    scheduler.optimizer.step()
    for _ in COUNTS[1:]:
        try:
            scheduler.step()
        except ValueError:  # OneCycleLR has no more
            break
        rates.append(group[name])
    return np.array(rates)


def of_timm(scheduler: Any, clock: str, updates: int) -> np.ndarray:
    assert scheduler.t_in_epochs == (clock == "stepped once an epoch")
    (group,) = scheduler.optimizer.param_groups
    rates = [group["lr"]]
    for count in COUNTS[1:].tolist():
        scheduler.step_update(count)
        if count % updates == 0:
            scheduler.step(count // updates)
        rates.append(group["lr"])
    return np.array(rates)


def of_keras(schedule: Any) -> np.ndarray:
    with jax.disable_jit():
        if isinstance(schedule, CosineDecay):
            return np.array([schedule(count) for count in COUNTS.tolist()])
        rates = np.array(schedule(COUNTS))
        # For many counts at once the floor of a whole quotient may be one less.
        options = schedule.get_config()
        ends = restarts(options["first_decay_steps"], options["t_mul"])
        for count in np.intersect1d(ends, COUNTS).astype(int).tolist():
            rates[count] = schedule(count)
    return rates


CURVES: dict[str, Callable[..., np.ndarray]] = {
    "Optax": lambda value, _clock, _names: of_optax(value),
    "PyTorch": lambda value, clock, names: of_pytorch(value, clock, names["u"]),
    "timm": lambda value, clock, names: of_timm(value, clock, names["u"]),
    "transformers": lambda value, clock, names: of_pytorch(value, clock, names["u"]),
    "Keras": lambda value, _clock, _names: of_keras(value),
}


def there(row: Any, names: dict[str, Any]) -> np.ndarray:
    optimizer = sgd(names["lr"], momentum=0.9)
    names = LIBRARIES[row.library] | names | {"optimizer": optimizer}
    value = migrating.value_of(row.there, names)
    return CURVES[row.library](value, row.clock, names)


def here(row: Any, names: dict[str, Any]) -> np.ndarray:
    value = migrating.value_of(row.here, {"oc": oc, "optax": optax} | names)
    is_optimizer = isinstance(value, optax.GradientTransformation)
    return of_optax(value) if is_optimizer else np.asarray(value(COUNTS))


WITH = pytest.mark.parametrize("names", migrating.SETTINGS, ids="ABCD")


def test_every_library_that_the_page_leaves_to_this_module_is_here():
    assert tuple(LIBRARIES) == migrating.RUN_AS_THEMSELVES
    assert all(migrating.rows([library]) for library in LIBRARIES)


@WITH
@pytest.mark.parametrize("row", migrating.rows(LIBRARIES), ids=str)
def test_a_block_draws_the_curve_of_the_library_but_where_it_says(row, names):
    tolerance = TOLERANCES.get(str(row), TOLERANCES[row.library])
    migrating.check(row, there(row, names), here(row, names), dict(names), tolerance)


@WITH
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_first_curve_of_a_library_ends_as_its_table_says(library, names):
    first = migrating.rows([library])[0]
    migrating.check_facts(first, there(first, names), dict(names))
