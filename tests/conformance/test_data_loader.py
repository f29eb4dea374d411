"""Updates of a run, counted in real loops over PyTorch's data loader."""

import math
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer

import optax_cosine as oc

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.usefixtures("standard_promotion"),
]

RUNS = pytest.mark.parametrize(
    ("examples", "batch_size", "drop_last", "epochs", "accumulation"),
    [
        (100, 10, False, 3, 1),
        (103, 10, False, 3, 4),
        (103, 10, True, 3, 4),
        (7, 2, False, 5, 3),
        (64, 64, False, 9, 2),
        (65, 8, True, 1, 8),
    ],
)


def loader(examples: int, batch_size: int, *, drop_last: bool) -> DataLoader:
    data = TensorDataset(torch.arange(examples, dtype=torch.float32))
    return DataLoader(data, batch_size, shuffle=True, drop_last=drop_last)


@RUNS
def test_multi_steps_over_a_data_loader_ends_where_the_schedule_does(
    examples, batch_size, drop_last, epochs, accumulation
):
    batches = loader(examples, batch_size, drop_last=drop_last)
    total = oc.count_updates(
        batches_per_epoch=len(batches), epochs=epochs, accumulation_steps=accumulation
    )
    schedule = oc.cosine_annealing_schedule(0.1, total, end_value=0.01)
    sgd = oc.inject_schedules(optax.sgd)(learning_rate=schedule)
    tx: Any = optax.MultiSteps(sgd, accumulation)
    state, update = tx.init(jnp.zeros(())), jax.jit(tx.update)
    for _ in range(epochs):
        for (batch,) in batches:
            _, state = update(jnp.float32(batch.numpy().mean()), state)
    assert int(state.gradient_step) == int(state.inner_opt_state.count) == total
    last = np.asarray(optax.tree.get(state, "learning_rate"))
    np.testing.assert_array_max_ulp(last, schedule(total - 1), 8)
    # One more would be the first at the floor.
    assert schedule(total) == np.float32(0.01)


@RUNS
def test_a_pytorch_loop_drops_what_is_left_of_an_epoch(
    examples, batch_size, drop_last, epochs, accumulation
):
    batches = loader(examples, batch_size, drop_last=drop_last)
    updates = sum(
        (i + 1) % accumulation == 0
        for _ in range(epochs)
        for i, _ in enumerate(batches)
    )
    if len(batches) < accumulation:
        assert updates == 0
    else:
        of_one = oc.count_updates(
            batches_per_epoch=len(batches), accumulation_steps=accumulation
        )
        assert updates == epochs * of_one


@RUNS
def test_the_trainer_of_transformers_steps_at_the_end_of_an_epoch(
    examples, batch_size, drop_last, epochs, accumulation
):
    batches = loader(examples, batch_size, drop_last=drop_last)
    trainer: Any = SimpleNamespace(
        get_total_train_batch_size=lambda _: batch_size * accumulation,
        get_sp_size=lambda: 1,
        num_examples=lambda _: examples,
    )
    arguments: Any = SimpleNamespace(
        max_steps=-1,
        num_train_epochs=epochs,
        gradient_accumulation_steps=accumulation,
        include_num_input_tokens_seen="no",
    )
    *_, max_steps = Trainer.set_initial_training_values(trainer, arguments, batches)
    assert max_steps == epochs * math.ceil(len(batches) / accumulation)
