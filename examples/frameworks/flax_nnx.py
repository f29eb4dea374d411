"""A schedule in the optimizer state, with Flax NNX.

`get_schedules` and `set_schedules` take the `nnx.Optimizer` itself, or its `opt_state`.
The rate that was applied is read from there. During the run the curve is halved, and
then cooled down from the step that the optimizer has reached.
"""

import argparse

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from tqdm import tqdm, trange

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


class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.output = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images):
        return self.output(nnx.relu(self.hidden(images)))


def loss(model, images, labels):
    return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()


@nnx.jit
def step(model, optimizer, images, labels):
    # Python runs this line only while JAX traces the step, before it compiles it.
    tqdm.write("the step is compiled")
    optimizer.update(model, nnx.grad(loss)(model, images, labels))


def report(optimizer):
    rate = optax.tree.get(optimizer.opt_state, "learning_rate")
    print(f"update {optimizer.step[...]} had the rate {rate[...]:.2e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument("--steps", type=int, default=250, help="in each stretch")
    steps = parser.parse_args().steps
    planned = oc.warmup_cosine_annealing_schedule(
        peak_value=4e-3, total_steps=4 * steps, warmup_steps=steps // 4
    )
    model = Network(nnx.Rngs(0))
    adamw = oc.inject_schedules(optax.adamw)(planned, weight_decay=1e-3)
    clipped = optax.chain(optax.clip_by_global_norm(1.0), adamw)
    optimizer = nnx.Optimizer(model, clipped, wrt=nnx.Param)
    for images, labels in batches("as planned", steps):
        step(model, optimizer, images, labels)
    report(optimizer)

    halved = oc.get_schedules(optimizer)["learning_rate"] / 2
    optimizer = oc.set_schedules(optimizer, learning_rate=halved)
    for images, labels in batches("halved", steps):
        step(model, optimizer, images, labels)
    report(optimizer)

    shorter = oc.cooldown(halved, at_step=optimizer.step[...], steps=steps)
    optimizer.opt_state = oc.set_schedules(optimizer.opt_state, learning_rate=shorter)
    for images, labels in batches("cooling down", steps):
        step(model, optimizer, images, labels)
    report(optimizer)

    guesses = jnp.argmax(model(TEST_IMAGES), -1)
    print(f"test accuracy: {jnp.mean(guesses == TEST_LABELS):.1%}")


if __name__ == "__main__":
    main()
