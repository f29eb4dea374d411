"""How many updates a run has, against Optax's own count."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optax_cosine as oc

LARGEST = 2**31 - 1


@pytest.mark.usefixtures("standard_promotion")
@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 6))
def test_multi_steps_makes_as_many_updates(batches, epochs, accumulation):
    tx = optax.MultiSteps(optax.sgd(0.1), accumulation)

    def body(state, _):
        return tx.update(jnp.ones(()), state, jnp.ones(()))[1], None

    start = tx.init(jnp.ones(()))
    state, _ = jax.lax.scan(body, start, length=batches * epochs)
    made = int(np.asarray(state.gradient_step))
    run = {"epochs": epochs, "accumulation_steps": accumulation}
    if made:
        assert oc.count_updates(batches_per_epoch=batches, **run) == made
    else:
        with pytest.raises(ValueError, match=r"must be from 1 .* updates, is 0"):
            oc.count_updates(batches_per_epoch=batches, **run)


@given(st.integers(1, 10**6), st.integers(1, 100), st.integers(1, 64))
def test_the_roundings_of_others_are_on_either_side(batches, epochs, accumulation):
    if batches < accumulation:
        return
    run = {"batches_per_epoch": batches, "accumulation_steps": accumulation}
    updates = oc.count_updates(epochs=epochs, **run)
    assert epochs * oc.count_updates(**run) <= updates
    assert updates <= epochs * math.ceil(batches / accumulation)


def test_whole_floats_count_and_the_result_is_an_int():
    updates = oc.count_updates(batches_per_epoch=1e3, epochs=2, accumulation_steps=8)  # type: ignore[arg-type] # as `1e4` is a length elsewhere
    assert updates == 250
    assert type(updates) is int


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"batches_per_epoch": 0}, ValueError, "batches_per_epoch must be from 1 .* 0"),
        ({"epochs": -1}, ValueError, "epochs must be from 1 to .* epochs, got -1"),
        ({"epochs": 1.5}, ValueError, "epochs must be a whole number of epochs, got"),
        ({"accumulation_steps": 0}, ValueError, "accumulation_steps must be from 1"),
        (
            {"accumulation_steps": None},
            TypeError,
            "accumulation_steps must be a number",
        ),
        (
            {"accumulation_steps": 31},
            ValueError,
            r"batches_per_epoch=10 \* epochs=3 // accumulation_steps=31 must be from 1 "
            r"to 2\*\*31 - 1 updates, is 0\.",
        ),
        ({"epochs": LARGEST}, ValueError, r"2\*\*31 - 1 updates, is 21474836470\."),
    ],
)
def test_a_run_that_cannot_be_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        oc.count_updates(**({"batches_per_epoch": 10, "epochs": 3} | change))


def test_a_traced_number_is_refused():
    with pytest.raises(TypeError, match="epochs must be a plain number, got a traced"):
        jax.jit(lambda n: oc.count_updates(batches_per_epoch=10, epochs=n))(3)
