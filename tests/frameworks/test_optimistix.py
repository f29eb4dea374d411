"""Optimizers with schedules in their state as minimisers of Optimistix."""

from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
import pytest

import optax_cosine as oc

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.usefixtures("standard_promotion"),
]

CURVE = oc.cosine(0.2, 0.01, steps=200)
HYPERPARAMS: dict[str, dict[str, Any]] = {
    "a number": {"learning_rate": 0.1},
    "schedules": {"learning_rate": CURVE, "b1": oc.linear(0.9, 0.8, steps=50)},
    "a function of Optax": {"learning_rate": optax.cosine_decay_schedule(0.1, 100)},
}
hyperparams = pytest.mark.parametrize("name", HYPERPARAMS)


def adam(name: str) -> Any:
    return oc.inject_schedules(optax.adam)(**HYPERPARAMS[name])


def squares(x: Any, _: Any) -> Any:
    return jnp.sum((x - 3) ** 2)


@hyperparams
def test_optimistix_minimises_with_it(name):
    solver = optx.OptaxMinimiser(adam(name), 1e-3, 1e-3)
    solution = optx.minimise(squares, solver, jnp.array([0.0, 1.0]), max_steps=2_000)
    # The tolerance of the solver is one of its steps, not of the distance to 3.
    np.testing.assert_allclose(solution.value, 3.0, atol=0.1)


@hyperparams
def test_its_functions_become_trees_that_a_jitted_function_takes(name):
    traces = []

    @eqx.filter_jit
    def first_update(functions, params):
        traces.append(functions)
        init, update = functions
        return update(params, init(params), params)[0]

    for _ in range(2):  # The trees of two equal optimizers are equal.
        tx = adam(name)
        functions = eqxi.closure_to_pytree((tx.init, tx.update))
        updates = first_update(functions, jnp.ones(2))
        rate = HYPERPARAMS[name]["learning_rate"]
        rate = rate(0) if callable(rate) else rate
        np.testing.assert_allclose(updates, -rate, rtol=1e-5)
    assert name == "a function of Optax" or len(traces) == 1
