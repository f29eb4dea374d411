"""A schedule in the optimizer state, with Equinox.

The rate that was applied is read from the state. During the run the curve is halved,
and then cooled down from the current rate. An edit compiles nothing: the state has the
same shapes for all three curves.
"""

import argparse

import equinox as eqx
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


def loss(model, images, labels):
    logits = jax.vmap(model)(images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def step_of(optimizer):
    @eqx.filter_jit
    def step(model, opt_state, images, labels):
        # Python runs this line only while JAX traces the step, before it compiles it.
        tqdm.write("the step is compiled")
        gradients = eqx.filter_grad(loss)(model, images, labels)
        params = eqx.filter(model, eqx.is_inexact_array)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return eqx.apply_updates(model, updates), opt_state

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
    model = eqx.nn.MLP(64, 10, width_size=64, depth=1, key=jax.random.key(0))
    opt_state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    for images, labels in batches("as planned", steps):
        model, opt_state = step(model, opt_state, images, labels)
    report(opt_state)

    halved = oc.get_schedules(opt_state)["learning_rate"] / 2
    opt_state = oc.set_schedules(opt_state, learning_rate=halved)
    for images, labels in batches("halved", steps):
        model, opt_state = step(model, opt_state, images, labels)
    report(opt_state)

    shorter = oc.cooldown(halved, at_step=oc.get_count(opt_state), steps=steps)
    opt_state = oc.set_schedules(opt_state, learning_rate=shorter)
    for images, labels in batches("cooling down", steps):
        model, opt_state = step(model, opt_state, images, labels)
    report(opt_state)

    guesses = jnp.argmax(jax.vmap(model)(TEST_IMAGES), -1)
    print(f"test accuracy: {jnp.mean(guesses == TEST_LABELS):.1%}")


if __name__ == "__main__":
    main()
