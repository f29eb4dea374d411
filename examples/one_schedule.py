"""One schedule, many uses: rates, weight decay, momentum and averaging on one clock.

A network learns handwritten digits. One warm-up-cosine curve, scaled, is the learning
rate, layer by layer, and the decoupled weight decay; a rising cosine is the momentum,
and another the decay of a moving average of the weights. All of them are stored in one
optimizer state and follow its one count. Prints what was applied, and how well the
weights and their average do.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from tqdm import trange

import optax_cosine as oc

# The rate of each layer, as a fraction of the schedule.
LAYERS = {"input": 0.3, "output": 1.0}
BATCH_SIZE = 64


def optimizer(
    learning_rate: Any, weight_decay: Any, momentum: Any, average: Any
) -> Any:
    """Of numbers, each of which may be scheduled from outside."""

    def layer(part: float) -> optax.GradientTransformation:
        return optax.chain(
            optax.trace(momentum),
            optax.scale_by_learning_rate(learning_rate * part),
            optax.add_decayed_weights(-weight_decay),  # decoupled: not times the rate
        )

    labels = {name: name for name in LAYERS}
    layers = optax.partition({name: layer(x) for name, x in LAYERS.items()}, labels)
    return optax.chain(layers, average_of_params(average))


def average_of_params(decay: Any) -> optax.GradientTransformation:
    """Leaves updates as they are, and keeps the average of what they lead to."""
    average = optax.ema(decay, debias=False)

    def init(params: Any) -> optax.EmaState:
        return optax.EmaState(count=jnp.zeros((), jnp.int32), ema=params)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        _, state = average.update(optax.apply_updates(params, updates), state)
        return updates, state

    return optax.GradientTransformation(init, update)


def schedules(peak: float, steps: int) -> dict[str, Any]:
    curve = oc.warmup_cosine_annealing_schedule(
        peak, steps, warmup_steps=steps // 10, end_value=0.01 * peak
    )
    return {
        "learning_rate": curve,
        "weight_decay": curve * 1e-3,
        "momentum": oc.cosine(0.5, 0.95, steps=steps),
        "average": oc.cosine(0.9, 0.995, steps=steps),
    }


def initial_params(key: jax.Array) -> dict[str, dict[str, jax.Array]]:
    keys = jax.random.split(key)
    he = jax.nn.initializers.he_normal()
    return {
        "input": {"weight": he(keys[0], (64, 128)), "bias": jnp.zeros(128)},
        "output": {"weight": he(keys[1], (128, 10)), "bias": jnp.zeros(10)},
    }


def logits(params: Any, images: jax.Array) -> jax.Array:
    hidden = images @ params["input"]["weight"] + params["input"]["bias"]
    return jax.nn.relu(hidden) @ params["output"]["weight"] + params["output"]["bias"]


def accuracy(params: Any, images: jax.Array, labels: jax.Array) -> float:
    return float(jnp.mean(jnp.argmax(logits(params, images), -1) == labels))


def update_with(tx: optax.GradientTransformation) -> Any:
    def loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(
            logits(params, images), labels
        ).mean()

    @jax.jit
    def update(
        params: Any, opt_state: Any, images: jax.Array, labels: jax.Array
    ) -> Any:
        gradients = jax.grad(loss)(params, images, labels)
        updates, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return update


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--steps", type=int, default=600, help="optimizer updates")
    steps = parser.parse_args().steps

    images, labels = load_digits(return_X_y=True)
    images, labels = np.asarray(images, np.float32) / 16, np.asarray(labels)
    chosen = schedules(0.2, steps)
    tx = oc.inject_schedules(optimizer)(**chosen)
    params = initial_params(jax.random.key(0))
    opt_state, update = tx.init(params), update_with(tx)
    rng = np.random.default_rng(0)

    print("".join(f"{name:>15}" for name in ("count", *chosen)))
    for count in (bar := trange(steps, unit="update")):
        batch = rng.integers(1400, size=BATCH_SIZE)
        params, opt_state = update(params, opt_state, images[batch], labels[batch])
        if count % max(1, steps // 5) == 0 or count + 1 == steps:
            applied = [optax.tree.get(opt_state, name) for name in chosen]
            bar.write(f"{count:>15}" + "".join(f"{float(x):>15.6f}" for x in applied))
    test = images[1400:], labels[1400:]
    print(f"test accuracy of the weights {accuracy(params, *test):.2%}")
    averaged = optax.tree.get(opt_state, "ema")
    print(f"test accuracy of their average {accuracy(averaged, *test):.2%}")


if __name__ == "__main__":
    main()
