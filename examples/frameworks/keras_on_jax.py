"""A schedule as the learning rate of a Keras model that runs on JAX.

`Rate` passes any schedule of this library to any optimizer of Keras, and is saved and
loaded with the model. Keras keeps a schedule in the compiled step, not in a state: to
change the schedule during a run, compile the model again. The optimizer keeps its
iterations and its moments.
"""

import os
import pathlib
import tempfile

os.environ["KERAS_BACKEND"] = "jax"

import digits
import keras

import optax_cosine as oc


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
    batches = digits.batches(stretch, steps)
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
    rate = float(model.optimizer.learning_rate)  # that of the next update
    print(f"update {int(model.optimizer.iterations) + 1} has the rate {rate:.2e}")


def saved_and_loaded(model):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "digits.keras"
        model.save(path)
        return keras.saving.load_model(path)


def main():
    steps = digits.steps_of(__doc__)
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

    _, accuracy = model.evaluate(digits.TEST_IMAGES, digits.TEST_LABELS, verbose=0)
    print(f"test accuracy: {accuracy:.1%}")


if __name__ == "__main__":
    main()
