"""Train on many hosts: every process applies the same rate, with `jax.distributed`.

A small network learns the digits of scikit-learn. Parameters and optimizer state are
replicated, and each process feeds its share of every batch. Start one command for each
process. On one machine, in two terminals:

    python multi_host.py --coordinator 127.0.0.1:9876 --processes 2 --process 0
    python multi_host.py --coordinator 127.0.0.1:9876 --processes 2 --process 1

On several machines, `--coordinator` is the host of process 0 and a free port there, the
same in every command. A schedule needs nothing special: its count is a number in the
replicated state. Each process prints the last rate and a digest of its parameters.
"""

import argparse
import functools
import hashlib

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits
from tqdm import trange

import optax_cosine as oc

BATCH_SIZE = 64  # of all processes together
IMAGES, LABELS = map(np.asarray, load_digits(return_X_y=True))
IMAGES, LABELS = (IMAGES / 16).astype(np.float32), LABELS.astype(np.int32)


def connect(options):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        coordinator_address=options.coordinator,
        num_processes=options.processes,
        process_id=options.process,
    )


def initial_params():
    first, second = jax.random.split(jax.random.key(0))
    he = jax.nn.initializers.he_normal()
    return {"hidden": he(first, (64, 64)), "output": he(second, (64, 10))}


def loss(params, images, labels):
    logits = jax.nn.relu(images @ params["hidden"]) @ params["output"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def batch(step, sharding):
    """This process's share of the batch; the whole batch depends on the step alone."""
    rows = np.random.default_rng(step).integers(len(LABELS), size=BATCH_SIZE)
    mine = np.split(rows, jax.process_count())[jax.process_index()]
    return [
        jax.make_array_from_process_local_data(sharding, array[mine])
        for array in (IMAGES, LABELS)
    ]


def train(steps, is_first):
    mesh = Mesh(np.array(jax.devices()), ("data",))
    replicated = NamedSharding(mesh, PartitionSpec())
    by_rows = NamedSharding(mesh, PartitionSpec("data"))
    # Optimizer updates: the number is the same however many hosts share a batch.
    schedule = oc.warmup_cosine_annealing_schedule(
        5e-3, steps, warmup_steps=steps // 10
    )
    optimizer = oc.inject_schedules(optax.adamw)(schedule, weight_decay=1e-3)

    @functools.partial(jax.jit, out_shardings=replicated)
    def start():
        params = initial_params()
        return params, optimizer.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1), out_shardings=replicated)
    def update(params, opt_state, images, labels):
        # The mean over the rows of all processes makes JAX add up their gradients.
        value, gradients = jax.value_and_grad(loss)(params, images, labels)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    params, opt_state = start()
    for step in (bar := trange(steps, unit="update", disable=not is_first)):
        params, opt_state, value = update(params, opt_state, *batch(step, by_rows))
        rate = optax.tree.get(opt_state, "learning_rate")
        bar.set_postfix_str(f"rate {rate:.2e}, loss {value:.4f}", refresh=False)
    return params, rate


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--coordinator", required=True, help="host:port of process 0")
    parser.add_argument("--processes", type=int, required=True, help="how many")
    parser.add_argument("--process", type=int, required=True, help="which one, from 0")
    parser.add_argument("--steps", type=int, default=400, help="optimizer updates")
    options = parser.parse_args()
    connect(options)
    params, rate = train(options.steps, options.process == 0)
    leaves = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params))
    digest = hashlib.sha256(leaves).hexdigest()[:16]
    print(f"process {options.process}: last rate {rate:.6e}, parameters {digest}")


if __name__ == "__main__":
    main()
