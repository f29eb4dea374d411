"""A schedule in the optimizer state, with Flax Linen and its `TrainState`.

`get_schedules` and `set_schedules` take the whole train state, and so does
`flax.serialization`: a run that is saved on a halved curve continues along that curve,
although the program that restores it is configured with the original curve. From there
the rate is cooled down.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen, serialization
from flax.training.train_state import TrainState
from sklearn.datasets import load_digits
from tqdm import trange

import optax_cosine as oc

IMAGES, LABELS = map(np.asarray, load_digits(return_X_y=True))
IMAGES, LABELS = (IMAGES / 16).astype(np.float32), LABELS.astype(np.int32)
TEST_IMAGES, TEST_LABELS = IMAGES[1_400:], LABELS[1_400:]
rng = np.random.default_rng(0)


def batches(stretch, steps):
    """Random images and labels, under a progress bar with the name of the stretch."""
    for _ in trange(steps, desc=f"{stretch:12}", unit="batch"):
        rows = rng.integers(1_400, size=64)
        yield IMAGES[rows], LABELS[rows]


class Network(linen.Module):
    @linen.compact
    def __call__(self, images):
        hidden = linen.relu(linen.Dense(64)(images))
        return linen.Dense(10)(hidden)


def initial_state(schedule):
    model = Network()
    variables = model.init(jax.random.key(0), TEST_IMAGES)
    optimizer = oc.inject_schedules(optax.adamw)(schedule, weight_decay=1e-3)
    return TrainState.create(
        apply_fn=model.apply, params=variables["params"], tx=optimizer
    )


@jax.jit
def step(state, images, labels):
    def loss(params):
        logits = state.apply_fn({"params": params}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return state.apply_gradients(grads=jax.grad(loss)(state.params))


def report(state):
    rate = optax.tree.get(state.opt_state, "learning_rate")
    print(f"update {state.step} had the rate {rate:.2e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument("--steps", type=int, default=250, help="in each stretch")
    steps = parser.parse_args().steps
    planned = oc.warmup_cosine_annealing_schedule(
        peak_value=4e-3, total_steps=4 * steps, warmup_steps=steps // 4
    )
    state = initial_state(planned)
    for images, labels in batches("as planned", steps):
        state = step(state, images, labels)
    report(state)

    halved = oc.get_schedules(state)["learning_rate"] / 2
    state = oc.set_schedules(state, learning_rate=halved)
    for images, labels in batches("halved", steps):
        state = step(state, images, labels)
    report(state)

    saved = serialization.to_bytes(state)
    state = serialization.from_bytes(initial_state(planned), saved)
    restored = oc.get_schedules(state)["learning_rate"]
    print(f"{len(saved)} bytes hold it, on the curve {restored!r}")

    shorter = oc.cooldown(restored, at_step=state.step, steps=steps)
    state = oc.set_schedules(state, learning_rate=shorter)
    for images, labels in batches("cooling down", steps):
        state = step(state, images, labels)
    report(state)

    logits = state.apply_fn({"params": state.params}, TEST_IMAGES)
    guesses = jnp.argmax(logits, -1)
    print(f"test accuracy: {jnp.mean(guesses == TEST_LABELS):.1%}")


if __name__ == "__main__":
    main()
