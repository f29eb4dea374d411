"""A schedule as the learning rate of a Keras model, by the adapter of the example."""

import importlib
import json
from typing import Any

import jax
import keras
import numpy as np
import pytest

import optax_cosine as oc

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.usefixtures("standard_promotion"),
    # Keras's variables under NumPy 2, wherever their weights are read.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

Rate: Any = importlib.import_module("keras_on_jax").Rate

HELD = oc.warmup_cosine_annealing_schedule(
    0.1, 20, warmup_steps=4, hold_steps=3, end_value=0.01
)
REPEATED = oc.cosine_restarts_schedule(0.3, 7, cycle_warmup_steps=2)
CURVES = {
    "held": HELD,
    "repeating": REPEATED,
    "read ahead": oc.shift(HELD, 1),
    "spliced": oc.cooldown(REPEATED, at_step=8, steps=6),
    "product": REPEATED * oc.linear(1.0, 0.25, steps=60),
}
curves = pytest.mark.parametrize("name", CURVES)


@keras.saving.register_keras_serializable()
def output(_, outputs):
    """A loss whose gradient for the one weight is 1: SGD moves it by the rate."""
    return outputs


def model_with(optimizer: Any) -> Any:
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.layers.Input((1,)), dense])
    model.compile(optimizer, output)
    return model


class Record(keras.callbacks.Callback):
    """What each batch finds and does, its weight starting from 0."""

    def __init__(self):
        super().__init__()
        self.counts: list[int] = []
        self.told: list[Any] = []
        self.applied: list[Any] = []

    def on_train_batch_begin(self, batch, logs=None):
        self.counts.append(int(self.model.optimizer.iterations))
        self.told.append(np.asarray(self.model.optimizer.learning_rate))
        self.model.set_weights([np.zeros((1, 1))])

    def on_train_batch_end(self, batch, logs=None):
        self.model.jax_state_sync()  # else weights are those of the epoch's begin
        self.applied.append(-self.model.get_weights()[0][0, 0])


def fit(model: Any, batches: int, **options: Any) -> Record:
    record, ones = Record(), np.ones((batches, 1))
    model.fit(ones, ones, 1, verbose=0, callbacks=[record], **options)
    return record


def assert_rates(rates: Any, schedule: Any, counts: Any) -> None:
    expected = np.array([schedule(count) for count in counts])
    np.testing.assert_array_max_ulp(np.array(rates), expected, 8)


@curves
def test_fit_applies_the_schedule_at_the_iteration_of_every_update(name):
    model = model_with(keras.optimizers.SGD(Rate(CURVES[name])))
    record = fit(model, 8, epochs=2)
    assert record.counts == list(range(16))
    assert_rates(record.told, CURVES[name], range(16))
    assert_rates(record.applied, CURVES[name], range(16))


@curves
def test_a_model_is_saved_and_loaded_with_its_schedule_and_goes_on(name, tmp_path):
    model = model_with(keras.optimizers.SGD(Rate(CURVES[name])))
    fit(model, 6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    config = loaded.optimizer.get_config()["learning_rate"]["config"]
    assert oc.Schedule.from_dict(config) == CURVES[name]
    record = fit(loaded, 6)
    assert record.counts == list(range(6, 12))
    assert_rates(record.applied, CURVES[name], range(6, 12))


@curves
def test_the_configuration_of_an_optimizer_goes_through_json(name):
    config = keras.optimizers.serialize(keras.optimizers.AdamW(Rate(CURVES[name])))
    optimizer = keras.optimizers.deserialize(json.loads(json.dumps(config)))
    rate = optimizer.get_config()["learning_rate"]["config"]
    assert oc.Schedule.from_dict(rate) == CURVES[name]


def test_one_trace_serves_a_whole_fit():
    traces = []

    def traced(step):
        traces.extend([step] if isinstance(step, jax.core.Tracer) else [])
        return HELD(step)

    fit(model_with(keras.optimizers.SGD(Rate(traced))), 8, epochs=2)
    assert len(traces) == 1


def test_another_course_begins_where_the_model_is_compiled_again():
    model = model_with(keras.optimizers.SGD(Rate(HELD)))
    fit(model, 6)
    cooled = oc.cooldown(HELD, at_step=int(model.optimizer.iterations), steps=5)
    model.optimizer.learning_rate = Rate(cooled)
    model.compile(model.optimizer, output)
    record = fit(model, 8)
    assert record.counts == list(range(6, 14))
    assert_rates(record.applied, cooled, range(6, 14))


def test_with_accumulation_keras_counts_batches_and_stairs_count_updates():
    schedule = oc.staircase(HELD, 2)
    optimizer = keras.optimizers.SGD(Rate(schedule), gradient_accumulation_steps=2)
    record = fit(model_with(optimizer), 12)
    assert record.applied[::2] == [0] * 6
    assert_rates(record.applied[1::2], HELD, range(6))
