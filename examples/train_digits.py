"""Train a small convolutional network on handwritten digits with cosine annealing.

The same network is trained three times on the 8x8 digits that ship inside scikit-learn:
with the rate annealed along half a cosine, held constant at the same peak, and decayed
exponentially to the same floor. Prints a table of test accuracies and writes one
picture. Nothing is downloaded; with the defaults it takes a minute or two on two cores.
"""

import argparse
import functools
import math
import pathlib
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from arguments import folder, rate_above_zero, whole_from
from sklearn.datasets import load_digits
from tqdm import tqdm

import optax_cosine as oc

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BATCH_SIZE = 64
FLOOR = 0.01  # of the peak, where cosine and exponential decay end
WEIGHT_DECAY = 1e-3
CURVE_POINTS = 60  # test accuracies measured in each run


class Data(NamedTuple):
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


class Run(NamedTuple):
    rates: list[float]
    losses: list[float]
    accuracies: list[tuple[int, float]]


def load_data() -> Data:
    images, labels = load_digits(return_X_y=True)
    images = np.asarray(images, np.float32).reshape(-1, 8, 8, 1) / 16
    test = np.random.default_rng(0).permutation(len(images)) < len(images) // 4
    labels = np.asarray(labels)
    return Data(images[~test], labels[~test], images[test], labels[test])


def schedules(peak: float, steps: int) -> dict[str, Callable]:
    return {
        "cosine annealing": oc.cosine_annealing_schedule(
            peak, steps, end_value=FLOOR * peak
        ),
        "constant": optax.constant_schedule(peak),
        "exponential decay": optax.exponential_decay(peak, steps, FLOOR),
    }


def initial_params(key: jax.Array) -> dict[str, jax.Array]:
    shapes = {
        "conv1": (3, 3, 1, 16),
        "conv2": (3, 3, 16, 32),
        "dense1": (4 * 4 * 32, 64),
        "dense2": (64, 10),
    }
    keys = jax.random.split(key, len(shapes))
    he = jax.nn.initializers.he_normal()
    weights = {
        name: he(k, shape)
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    biases = {f"{name}_bias": jnp.zeros(shape[-1]) for name, shape in shapes.items()}
    return weights | biases


def logits(params: dict[str, jax.Array], images: jax.Array) -> jax.Array:
    x = images
    for layer in ("conv1", "conv2"):
        x = jax.lax.conv_general_dilated(
            x, params[layer], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x + params[f"{layer}_bias"])
    x = jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"
    )
    x = x.reshape(len(x), -1)
    x = jax.nn.relu(x @ params["dense1"] + params["dense1_bias"])
    return x @ params["dense2"] + params["dense2_bias"]


def loss(params: dict[str, jax.Array], images: jax.Array, labels: jax.Array):
    return optax.softmax_cross_entropy_with_integer_labels(
        logits(params, images), labels
    ).mean()


@jax.jit
def accuracy(params: dict[str, jax.Array], images: jax.Array, labels: jax.Array):
    return jnp.mean(jnp.argmax(logits(params, images), -1) == labels)


def optimizer(schedule: Callable) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(),
        optax.add_decayed_weights(WEIGHT_DECAY),
        optax.scale_by_learning_rate(schedule),
    )


def update_with(schedule: Callable) -> Callable:
    tx = optimizer(schedule)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, images: jax.Array, labels: jax.Array):
        value, gradients = jax.value_and_grad(loss)(params, images, labels)
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, value

    return update


def train(
    schedule: Callable, update: Callable, data: Data, steps: int, seed: int, bar: tqdm
) -> Run:
    params = initial_params(jax.random.key(seed))
    state = optimizer(schedule).init(params)
    rng = np.random.default_rng(seed)
    run = Run([], [], [])
    every = math.ceil(steps / CURVE_POINTS)
    for step in range(steps):
        batch = rng.integers(len(data.train_labels), size=BATCH_SIZE)
        params, state, value = update(
            params, state, data.train_images[batch], data.train_labels[batch]
        )
        run.rates.append(float(schedule(step)))
        run.losses.append(float(value))
        if (step + 1) % every == 0 or step + 1 == steps:
            correct = accuracy(params, data.test_images, data.test_labels)
            run.accuracies.append((step + 1, float(correct)))
        bar.set_postfix(loss=f"{value:.4f}", rate=f"{run.rates[-1]:.2e}", refresh=False)
        bar.update()
    return run


def draw(runs: dict[str, Run], path: pathlib.Path) -> None:
    figure, axes = plt.subplots(3, 1, figsize=(8, 9), sharex=True, layout="constrained")
    window = max(1, len(next(iter(runs.values())).losses) // 50)
    for name, run in runs.items():
        updates = np.arange(1, len(run.losses) + 1)
        axes[0].plot(updates, run.rates, label=name)
        smooth = np.convolve(run.losses, np.ones(window) / window, "valid")
        axes[1].plot(updates[window - 1 :], smooth, label=name)
        axes[2].plot(*np.transpose(run.accuracies), label=name)
    axes[0].set(
        title="The rate each update used", ylabel="learning rate", ylim=(0, None)
    )
    axes[1].set(title=f"Training loss, mean of {window}", ylabel="loss", yscale="log")
    axes[2].set(title="Test accuracy", ylabel="accuracy", xlabel="optimizer updates")
    axes[2].set_ylim(max(0.0, min(0.94, axes[2].get_ylim()[0])), 1.0)
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def table(accuracies: dict[str, list[float]]) -> str:
    lines = [f"{'schedule':<20}{'test accuracy':>14}"]
    for name, values in accuracies.items():
        lines.append(f"{name:<20}{statistics.mean(values):>14.2%}")
    if min(map(len, accuracies.values())) > 1:
        lines[0] += f"{'std. dev.':>12}"
        for row, values in enumerate(accuracies.values(), start=1):
            lines[row] += f"{statistics.stdev(values):>12.2%}"
    return "\n".join(lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option = parser.add_argument
    option("--steps", type=whole_from(1), default=1500, help="updates in each run")
    option("--peak", type=rate_above_zero, default=5e-3, help="peak learning rate")
    option("--seed", type=whole_from(0), default=0, help="seed of the first run")
    option(
        "--seeds",
        type=whole_from(1),
        default=1,
        help="runs of each schedule, their seeds counting up from --seed; above 1, the "
        "table gives mean and standard deviation",
    )
    option(
        "--out",
        type=folder,
        default="outputs",
        help="folder for the picture; made if it is not there",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    data = load_data()
    print(
        f"{len(data.train_labels)} digits to train on, "
        f"{len(data.test_labels)} to test; "
        f"{options.steps} updates with batches of {BATCH_SIZE}, peak {options.peak:g}",
        flush=True,
    )
    chosen = schedules(options.peak, options.steps)
    seeds = range(options.seed, options.seed + options.seeds)
    accuracies: dict[str, list[float]] = {}
    runs: dict[str, Run] = {}
    total = len(chosen) * len(seeds) * options.steps
    with tqdm(total=total, unit="update", dynamic_ncols=True) as bar:
        for name, schedule in chosen.items():
            update = update_with(schedule)
            for seed in seeds:
                bar.set_postfix(refresh=False)
                bar.set_description(f"{name:<17}")
                run = train(schedule, update, data, options.steps, seed, bar)
                accuracies.setdefault(name, []).append(run.accuracies[-1][1])
                runs.setdefault(name, run)
    path = options.out / "train_digits.png"
    draw(runs, path)
    print(table(accuracies))
    print(f"picture: {path}")


if __name__ == "__main__":
    main()
