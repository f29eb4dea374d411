"""A schedule as the learning rate of a Keras model that runs on JAX.

`Rate` passes any schedule of this library to any optimizer of Keras, and is saved and
loaded with the model. Keras keeps a schedule in the compiled step, not in a state: to
change the schedule during a run, compile the model again. The optimizer keeps its
iterations and its moments.
"""

import argparse
import os
import pathlib
import tempfile

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from sklearn.datasets import load_digits
from tqdm import tqdm

import optax_cosine as oc

IMAGES, LABELS = map(np.asarray, load_digits(return_X_y=True))
IMAGES, LABELS = (IMAGES / 16).astype(np.float32), LABELS.astype(np.int32)
TEST_IMAGES, TEST_LABELS = IMAGES[1_400:], LABELS[1_400:]
rng = np.random.default_rng(0)


def batches(stretch, steps):
    """Random images and labels, under a progress bar with the name of the stretch."""
    with tqdm(total=steps, desc=f"{stretch:12}", unit="batch") as bar:
        for _ in range(steps):
            rows = rng.integers(1_400, size=64)
            bar.update()  # before the batch: Keras asks for no more than it needs
            yield IMAGES[rows], LABELS[rows]


@keras.saving.register_keras_serializable("optax_cosine")
class Rate(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, schedule):
        self.schedule = schedule

    def __call__(self, step):
        return self.schedule(keras.ops.convert_to_tensor(step))

    def get_config(self):
        return self.schedule.to_dict()

    @classmethod
    def from_config(cls, config):
        return cls(oc.Schedule.from_dict(config))


def compile_with(model, optimizer):
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])


def change_course(model, schedule):
    model.optimizer.learning_rate = Rate(schedule)
    compile_with(model, model.optimizer)


def train(model, stretch, steps):
    data = batches(stretch, steps)
    model.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0)
    rate = float(model.optimizer.learning_rate)  # that of the next update
    print(f"update {int(model.optimizer.iterations) + 1} has the rate {rate:.2e}")


def saved_and_loaded(model):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "digits.keras"
        model.save(path)
        return keras.saving.load_model(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument("--steps", type=int, default=250, help="in each stretch")
    steps = parser.parse_args().steps
    keras.utils.set_random_seed(0)
    planned = oc.warmup_cosine_annealing_schedule(
        peak_value=4e-3, total_steps=4 * steps, warmup_steps=steps // 4
    )
    dense = keras.layers.Dense
    model = keras.Sequential([dense(64, "relu"), dense(10, "softmax")])
    compile_with(model, keras.optimizers.AdamW(Rate(planned), weight_decay=1e-3))
    train(model, "as planned", steps)

    change_course(model, planned / 2)
    train(model, "halved", steps)

    model = saved_and_loaded(model)
    now = int(model.optimizer.iterations)
    change_course(model, oc.cooldown(planned / 2, at_step=now, steps=steps))
    train(model, "cooling down", steps)

    _, accuracy = model.evaluate(TEST_IMAGES, TEST_LABELS, verbose=0)
    print(f"test accuracy: {accuracy:.1%}")


if __name__ == "__main__":
    main()
