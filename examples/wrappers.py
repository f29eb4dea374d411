"""A schedule within the wrappers of Optax: one clock, which counts updates alone.

A line is fitted to noisy points. The optimizer skips batches whose gradients are not
finite, adds up those of four others for each update, clips, and keeps weight decay away
from the bias. The schedule lies within all of that, in the optimizer state. Prints,
batch by batch, the updates that were made and the rate that the last one used: neither
the batches in between nor one that is skipped moves it.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import trange

import optax_cosine as oc

ACCUMULATION = 4
BROKEN = 9  # the number of a batch that overflows


def optimizer(schedule: oc.Schedule) -> optax.GradientTransformation:
    adamw = oc.inject_schedules(optax.adamw)(schedule, weight_decay=0.01)
    slope_alone = optax.masked(adamw, {"slope": True, "bias": False})
    bias_alone = optax.masked(optax.sgd(0.1), {"slope": False, "bias": True})
    chained = optax.chain(optax.clip_by_global_norm(1.0), slope_alone, bias_alone)
    accumulated = optax.MultiSteps(chained, ACCUMULATION).gradient_transformation()
    # Outside, as what is not finite would stay in the sum of the gradients.
    return optax.apply_if_finite(accumulated, max_consecutive_errors=3)


def batch(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    x = rng.normal(size=16).astype(np.float32)
    y = 3 * x + 1 + rng.normal(scale=0.1, size=16)
    return x, np.float32(np.inf if number == BROKEN else 1) * y.astype(np.float32)


def loss(params: dict[str, jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean((params["slope"] * x + params["bias"] - y) ** 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--batches", type=int, default=800, help="of 16 points each")
    batches = parser.parse_args().batches

    updates = oc.count_updates(
        batches_per_epoch=batches, accumulation_steps=ACCUMULATION
    )
    tx = optimizer(oc.cosine_annealing_schedule(0.1, updates, end_value=0.001))
    params = {"slope": jnp.zeros(()), "bias": jnp.zeros(())}
    opt_state = tx.init(params)

    @jax.jit
    def step(params, opt_state, x, y):
        gradients = jax.grad(loss)(params, x, y)
        changes, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, changes), opt_state

    for number in (bar := trange(batches, unit="batch")):
        params, opt_state = step(params, opt_state, *batch(number))
        count = oc.get_count(opt_state)
        rate = optax.tree.get(opt_state, "learning_rate")
        if number < 20:
            bar.write(f"batch {number + 1:2}, updates {count}, last rate {rate:.6f}")
    print(f"updates {count} of {updates}, last rate {rate:.6f}")
    print(f"y = {params['slope']:.2f} x + {params['bias']:.2f}")


if __name__ == "__main__":
    main()
