"""Programs for platforms that are not here, by way of `jax.export`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, FEW, plain
from jax import export
from programs import inject
from sweeps import sweep

import optax_cosine as oc

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
COUNTS = jnp.arange(-1, 47, dtype=jnp.int32)


def there_and_back(function: Any, *arguments: Any) -> Any:
    """Lowered for every platform, written, read, and ready to be called on this one."""
    exported = export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
    read = export.deserialize(exported.serialize())
    assert read.platforms == PLATFORMS
    return read.call


@sweep("name", CASES, FEW[:2])
def test_every_schedule_is_a_program_for_every_platform(name):
    schedule = plain(name)
    leaves, treedef = jax.tree.flatten(schedule)

    def value(leaves, counts):
        return jax.tree.unflatten(treedef, leaves)(counts)

    # As constants of the program, and as numbers that it is given.
    closed = there_and_back(schedule, COUNTS)(COUNTS)
    given = there_and_back(value, leaves, COUNTS)(leaves, COUNTS)
    expected = np.asarray(schedule(COUNTS))
    np.testing.assert_array_max_ulp(np.asarray(closed), expected, 4)
    np.testing.assert_array_max_ulp(np.asarray(given), expected, 4)


@sweep("name", CASES, FEW[:2])
def test_every_schedule_is_built_on_every_platform(name):
    case = CASES[name]
    numbers = {key: jnp.asarray(number) for key, number in case.numbers.items()}

    def value(numbers, counts):
        return case.build(**numbers)(counts)

    built = there_and_back(value, numbers, COUNTS)(numbers, COUNTS)
    # A rounding of 0.1, for values near 0.
    np.testing.assert_allclose(built, plain(name)(COUNTS), rtol=2e-6, atol=1e-8)


@pytest.mark.usefixtures("standard_promotion")
def test_a_training_step_with_its_schedules_is_a_program_for_every_platform():
    curve = oc.warmup_cosine_annealing_schedule(0.1, 40, warmup_steps=5)
    tx = inject(optax.adamw, learning_rate=curve, weight_decay=curve * 0.1)
    params = {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}
    leaves, treedef = jax.tree.flatten((params, tx.init(params)))

    def step(leaves):
        params, opt_state = jax.tree.unflatten(treedef, leaves)
        updates, opt_state = tx.update(params, opt_state, params)
        return jax.tree.leaves((optax.apply_updates(params, updates), opt_state))

    exported = there_and_back(step, leaves)
    ours, theirs = leaves, leaves
    for _ in range(12):
        ours, theirs = jax.jit(step)(ours), exported(theirs)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    _, opt_state = jax.tree.unflatten(treedef, theirs)
    rate = np.asarray(optax.tree.get(opt_state, "learning_rate"))
    np.testing.assert_array_max_ulp(rate, curve(11), 8)
    assert oc.get_schedules(opt_state)["learning_rate"] == curve


@sweep("rows", [1, 3, 20], [20])
def test_one_program_serves_every_number_of_counts_on_every_platform(rows):
    schedule = oc.join(*[oc.cosine(0.1, 0.01, steps=3)] * rows)
    leaves, treedef = jax.tree.flatten(schedule)
    (number,) = export.symbolic_shape("number")
    abstract = jax.ShapeDtypeStruct((number,), np.int32)

    def value(leaves, counts):
        return jax.tree.unflatten(treedef, leaves)(counts)

    closed = there_and_back(schedule, abstract)
    given = there_and_back(value, leaves, abstract)
    for counts in (COUNTS, COUNTS[:1]):
        expected = np.asarray(schedule(counts))
        np.testing.assert_array_max_ulp(np.asarray(closed(counts)), expected, 4)
        np.testing.assert_array_max_ulp(np.asarray(given(leaves, counts)), expected, 4)
