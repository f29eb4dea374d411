"""Which peak, and how long? 32 models, one compiled program.

Eight peak learning rates and four lengths of the run make 32 schedules. They are
stacked into one schedule with a leading axis, and `jax.vmap` trains a small network on
the digits of scikit-learn with each of them. One program is compiled, and it compiles
no slower for 1,000 models. A loop over optimizers would compile 32 programs. Prints the
test accuracy of every model, and the best schedule as a line of code.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import optax_cosine as oc

PEAKS = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
LENGTHS = [50, 100, 200, 400]
BATCH_SIZE = 64

IMAGES, LABELS = map(np.asarray, load_digits(return_X_y=True))
IMAGES = (IMAGES / 16).astype(np.float32)
TRAIN, TEST = slice(0, 1_400), slice(1_400, None)


def loss(params, images, labels):
    logits = jax.nn.relu(images @ params["hidden"]) @ params["output"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def accuracy(params, images, labels):
    logits = jax.nn.relu(images @ params["hidden"]) @ params["output"]
    return jnp.mean(logits.argmax(-1) == labels)


def initial_params(key):
    first, second = jax.random.split(key)
    he = jax.nn.initializers.he_normal()
    return {"hidden": he(first, (64, 32)), "output": he(second, (32, 10))}


def train(schedule, batches):
    """One model. `schedule` is an argument: it may be traced, or one of a stack."""
    optimizer = optax.adamw(schedule)
    params = initial_params(jax.random.key(0))

    def update(carry, batch):
        params, opt_state = carry
        gradients = jax.grad(loss)(params, *batch)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    (params, _), _ = jax.lax.scan(update, (params, optimizer.init(params)), batches)
    return accuracy(params, IMAGES[TEST], LABELS[TEST])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument("--scale", type=float, default=1.0, help="of all lengths")
    scale = parser.parse_args().scale
    lengths = [max(10, round(scale * length)) for length in LENGTHS]
    schedules = [
        oc.warmup_cosine_annealing_schedule(peak, length, warmup_steps=length // 10)
        for peak in PEAKS
        for length in lengths
    ]
    population = oc.stack(schedules)
    # All models see `max(lengths)` batches. A schedule that is over stays at 0, and a
    # rate of 0 leaves the model as it is.
    size = (max(lengths), BATCH_SIZE)
    rows = np.random.default_rng(0).integers(1_400, size=size)
    batches = IMAGES[rows], LABELS[rows]
    program = jax.jit(jax.vmap(train, in_axes=(0, None)))
    accuracies = np.asarray(program(population, batches))

    print(f"{'peak':>8}" + "".join(f"{x:>7} updates" for x in lengths))
    for peak, row in zip(PEAKS, accuracies.reshape(-1, len(lengths)), strict=True):
        print(f"{peak:>8}" + "".join(f"{x:>15.1%}" for x in row))
    print(f"best: {schedules[accuracies.argmax()]!r}")


if __name__ == "__main__":
    main()
