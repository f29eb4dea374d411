"""A schedule in the optimizer state, with JAX and Optax alone.

The rate that was applied is read from the state. During the run the curve is halved,
and then cooled down from the current rate. An edit compiles nothing: the state has the
same shapes for all three curves.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
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


def initial_params(key):
    first, second = jax.random.split(key)
    he = jax.nn.initializers.he_normal()
    return {"hidden": he(first, (64, 64)), "output": he(second, (64, 10))}


def logits(params, images):
    return jax.nn.relu(images @ params["hidden"]) @ params["output"]


def loss(params, images, labels):
    return optax.softmax_cross_entropy_with_integer_labels(
        logits(params, images), labels
    ).mean()


def step_of(optimizer):
    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, opt_state, images, labels):
        # Python runs this line only while JAX traces the step, before it compiles it.
        tqdm.write("the step is compiled")
        gradients = jax.grad(loss)(params, images, labels)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return step


def report(opt_state):
    rate = optax.tree.get(opt_state, "learning_rate")
    print(f"update {oc.get_count(opt_state)} had the rate {rate:.2e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument("--steps", type=int, default=250, help="in each stretch")
    steps = parser.parse_args().steps
    planned = oc.warmup_cosine_annealing_schedule(
        peak_value=4e-3, total_steps=4 * steps, warmup_steps=steps // 4
    )
    optimizer = oc.inject_schedules(optax.adamw)(planned, weight_decay=1e-3)
    step = step_of(optimizer)
    params = initial_params(jax.random.key(0))
    opt_state = optimizer.init(params)
    for images, labels in batches("as planned", steps):
        params, opt_state = step(params, opt_state, images, labels)
    report(opt_state)

    halved = oc.get_schedules(opt_state)["learning_rate"] / 2
    opt_state = oc.set_schedules(opt_state, learning_rate=halved)
    for images, labels in batches("halved", steps):
        params, opt_state = step(params, opt_state, images, labels)
    report(opt_state)

    shorter = oc.cooldown(halved, at_step=oc.get_count(opt_state), steps=steps)
    opt_state = oc.set_schedules(opt_state, learning_rate=shorter)
    for images, labels in batches("cooling down", steps):
        params, opt_state = step(params, opt_state, images, labels)
    report(opt_state)

    guesses = jnp.argmax(logits(params, TEST_IMAGES), -1)
    print(f"test accuracy: {jnp.mean(guesses == TEST_LABELS):.1%}")


if __name__ == "__main__":
    main()
