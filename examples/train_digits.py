"""Does annealing improve accuracy? 30 small networks, trained in one program.

Six learning-rate schedules, with five seeds each, train the same network on the 8x8
digits of scikit-learn. All images, those of the test too, are rolled by up to one pixel
and get noise, so that noisy gradients decide how good a network becomes. The schedules
are stacked into one, and `jax.vmap` trains all networks together: JAX compiles one
program. Prints test accuracies, best first, and draws one picture. Nothing is
downloaded. With the defaults it takes about half a minute on two cores.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from tqdm import tqdm

import optax_cosine as oc

PEAK = 0.1
SEEDS = 5
NOISE = 0.3  # standard deviation; pixels are from 0 to 1
PARTS = 30  # of a run: after each part, accuracy is measured and the bar moves


def schedules(steps, constants):
    warmup = {"warmup_steps": steps // 10}
    wsd = oc.warmup_stable_decay_schedule(PEAK, steps, **warmup, decay_steps=steps // 5)
    return {
        "cosine": oc.cosine_annealing_schedule(PEAK, steps),
        "warm-up + cosine": oc.warmup_cosine_annealing_schedule(PEAK, steps, **warmup),
        "linear": oc.linear(PEAK, 0.0, steps=steps),
        "warm-up, stable, decay": wsd,
    } | {f"constant {x:g}": oc.constant(x, steps=steps) for x in constants}


def disturb(key, images):
    """Each image rolled by up to one pixel in both directions, with noise."""
    shift_key, noise_key = jax.random.split(key)
    shifts = jax.random.randint(shift_key, (len(images), 2), -1, 2)
    moved = jax.vmap(lambda image, by: jnp.roll(image, by, (0, 1)))(images, shifts)
    return moved + NOISE * jax.random.normal(noise_key, images.shape)


def load_data():
    """Images and labels to train on, and a test set of four disturbed copies."""
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.float32) / 16
    is_test = np.random.default_rng(0).permutation(len(labels)) < len(labels) // 4
    test_images = np.tile(images[is_test], (4, 1, 1))
    test = disturb(jax.random.key(SEEDS), test_images), np.tile(labels[is_test], 4)
    return jax.device_put(((images[~is_test], labels[~is_test]), test))


def loss_and_accuracy(params, images, labels):
    hidden = jax.nn.relu(images.reshape(-1, 64) @ params[0])
    scores = hidden @ params[1]
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
    return losses.mean(), jnp.mean(scores.argmax(-1) == labels)


def start(schedule, key):
    he = jax.nn.initializers.he_normal()
    params = [*map(he, jax.random.split(key), ((64, 64), (64, 10)))]
    return params, optax.sgd(schedule, momentum=0.9).init(params)


def train_part(schedule, model, keys, train, test):
    """One update of one network for each key. The schedule is an argument."""
    optimizer = optax.sgd(schedule, momentum=0.9)
    value_and_grad = jax.value_and_grad(loss_and_accuracy, has_aux=True)

    def update(model, key):
        params, opt_state = model
        choose_key, disturb_key = jax.random.split(key)
        rows = jax.random.randint(choose_key, (32,), 0, len(train[1]))
        batch = disturb(disturb_key, train[0][rows]), train[1][rows]
        (loss, _), gradients = value_and_grad(params, *batch)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return (optax.apply_updates(params, updates), opt_state), loss

    model, losses = jax.lax.scan(update, model, keys)
    return model, losses.mean(), loss_and_accuracy(model[0], *test)[1]


def train_all(curves, steps):
    """Means and standard errors, by part, kind (losses, accuracies) and schedule."""
    data, population = load_data(), oc.stack(curves)
    # All schedules have the same seeds: the same initial weights, the same batches.
    seeds = jax.random.split(jax.random.key(0), SEEDS)
    models = jax.vmap(lambda x: jax.vmap(lambda key: start(x, key))(seeds))(population)
    keys = jax.vmap(lambda key: jax.random.split(key, (PARTS, steps // PARTS)))(seeds)
    over_seeds = jax.vmap(train_part, in_axes=(None, 0, 0, None, None))
    program = jax.jit(jax.vmap(over_seeds, in_axes=(0, 0, None, None, None)))
    courses = []
    layout = "{desc} {percentage:3.0f}%|{bar}| {n}/{total} {elapsed}"
    with tqdm(total=steps, bar_format=layout, desc="compiling") as bar:
        for part in range(PARTS):
            models, *course = program(population, models, keys[:, part], *data)
            courses.append(np.asarray(course))
            bar.update(steps // PARTS)
            rate, loss = curves[0](bar.n - 1), courses[-1][0, 0].mean()
            bar.set_description_str(f"rate {rate:.2e}, loss {loss:.3f}")
    return np.mean(courses, -1), np.std(courses, -1, ddof=1) / SEEDS**0.5


def draw(curves, steps, means, errors, folder):
    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    ends = np.arange(1, PARTS + 1) * steps // PARTS
    for index, (name, curve) in enumerate(curves.items()):
        axes[0].plot(curve(np.arange(steps)), label=name)
        for kind, axis in enumerate(axes[1:]):
            mean, error = means[:, kind, index], errors[:, kind, index]
            axis.plot(ends, mean)
            axis.fill_between(ends, mean - error, mean + error, alpha=0.3)
    titles = "learning rate", "training loss", "test accuracy"
    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xlabel="optimizer updates")
    figure.legend(loc="outside upper center", ncols=6, frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "train_digits.png", dpi=120)
    print(f"picture: {folder / 'train_digits.png'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    option = parser.add_argument
    option("--steps", type=int, default=3000, help=f"updates, a multiple of {PARTS}")
    option("--constants", type=float, nargs="*", default=[0.1, 0.01], help="rates")
    option("--out", type=pathlib.Path, default="outputs", help="folder of the picture")
    options = parser.parse_args()
    if options.steps < PARTS or options.steps % PARTS:
        parser.error(f"--steps must be a multiple of {PARTS}, got {options.steps}")
    curves = schedules(options.steps, options.constants)
    print(f"{len(curves)} schedules x {SEEDS} seeds in one program", flush=True)
    means, errors = train_all([*curves.values()], options.steps)
    print(f"{'schedule':<24}{'test accuracy':>14}{'std. error':>13}")
    rows = zip(means[-1, 1], errors[-1, 1], curves, strict=True)
    for mean, error, name in sorted(rows, reverse=True):
        print(f"{name:<24}{mean:>14.1%}{error:>13.1%}")
    draw(curves, options.steps, means, errors, options.out)


if __name__ == "__main__":
    main()
