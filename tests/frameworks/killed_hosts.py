"""Train on many hosts: every process applies the same rate, with `jax.distributed`.

A small network learns the 8x8 digits that ship inside scikit-learn. Its parameters and
its optimizer state are replicated, and each process feeds its share of every batch. A
process is started by hand, with one command. On one machine, in two terminals:

    python killed_hosts.py --processes 2 --process 0 --coordinator 127.0.0.1:9876
    python killed_hosts.py --processes 2 --process 1 --coordinator 127.0.0.1:9876

On several, --coordinator is a name of the host of process 0 and a free port there, the
same in every command, and --checkpoints a folder that all of them see. On CPUs, Gloo
moves the gradients.

Each process prints the last rate and a digest of its parameters, and leaves all rates
that it applied in --out. When one of them dies, the others end with an error: at once
where its connections break, after about --timeout seconds where it only falls silent.
Then it may be JAX that ends them, with SIGABRT and the words "another task died". Start
all of them again, as many as there are hosts now: they go on from the newest complete
checkpoint, on the curve that was saved with it. The batch of an update is the same for
any number of processes, so that their parameters differ only by the order in which the
gradients are added.
"""

import argparse
import contextlib
import functools
import hashlib
import inspect
import math
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from arguments import folder, whole_from
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits
from tqdm import tqdm

import optax_cosine as oc

BATCH_SIZE = 64  # of all processes together
PEAK = 5e-3
WARMUP = 0.1  # of --total-steps
WEIGHT_DECAY = 1e-3


class Places(NamedTuple):
    """Where arrays lie on the devices of all processes."""

    shared: NamedSharding  # by rows
    replicated: NamedSharding


class Run(NamedTuple):
    """All that a checkpoint holds."""

    params: Any
    opt_state: Any


def refuse_used_port(options: argparse.Namespace) -> None:
    """With a sentence, where JAX would end process 0 with a segmentation fault."""
    host, _, port = options.coordinator.rpartition(":")
    try:
        family, *_, place = socket.getaddrinfo(host.strip("[]"), port)[0]
        socket.create_server(place[:2], family=family).close()
    except OSError as error:
        sys.exit(
            f"--coordinator {options.coordinator}: process 0 cannot listen there "
            f"({error.strerror})"
        )


def connect(options: argparse.Namespace) -> None:
    if options.process == 0:
        refuse_used_port(options)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    limits = {
        "initialization_timeout": options.start_timeout,
        "heartbeat_timeout_seconds": options.timeout,
        "shutdown_timeout_seconds": options.timeout,
    }
    known = inspect.signature(jax.distributed.initialize).parameters
    jax.distributed.initialize(
        coordinator_address=options.coordinator,
        # Where nothing is said, process 0 listens on every network of its host.
        coordinator_bind_address=options.coordinator,
        num_processes=options.processes,
        process_id=options.process,
        **{name: limit for name, limit in limits.items() if name in known},
    )


def places() -> Places:
    devices = sorted(jax.devices(), key=lambda device: device.process_index)
    if BATCH_SIZE % len(devices):
        sys.exit(
            f"a batch of {BATCH_SIZE} cannot be shared equally by {len(devices)} "
            "devices: start another number of processes"
        )
    mesh = Mesh(np.array(devices), ("data",))
    return Places(
        shared=NamedSharding(mesh, PartitionSpec("data")),
        replicated=NamedSharding(mesh, PartitionSpec()),
    )


def load_data() -> tuple[np.ndarray, np.ndarray]:
    images, labels = load_digits(return_X_y=True)
    return np.asarray(images, np.float32) / 16, np.asarray(labels, np.int32)


def batch(data: tuple[np.ndarray, ...], step: int, places: Places) -> list[jax.Array]:
    """Of the step alone, so that any number of processes sees the same images."""
    rows = np.random.default_rng(step).integers(len(data[0]), size=BATCH_SIZE)
    mine = np.split(rows, jax.process_count())[jax.process_index()]
    return [
        jax.make_array_from_process_local_data(places.shared, array[mine])
        for array in data
    ]


def configured_schedule(total_steps: int) -> oc.Schedule:
    return oc.warmup_cosine_annealing_schedule(
        PEAK, total_steps, warmup_steps=round(WARMUP * total_steps)
    )


def optimizer(schedule: oc.Schedule) -> optax.GradientTransformation:
    return oc.inject_schedules(optax.adamw)(
        learning_rate=schedule, weight_decay=WEIGHT_DECAY
    )


def initial_params() -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    shapes = {"hidden": (64, 64), "output": (64, 10)}
    weights = {
        name: jnp.asarray(rng.normal(0, math.sqrt(2 / shape[0]), shape), np.float32)
        for name, shape in shapes.items()
    }
    biases = {f"{name}_bias": jnp.zeros(shape[-1]) for name, shape in shapes.items()}
    return weights | biases


def start(tx: optax.GradientTransformation, places: Places) -> Run:
    def run() -> Run:
        params = initial_params()
        return Run(params, tx.init(params))

    return jax.jit(run, out_shardings=places.replicated)()


def loss(params: dict[str, jax.Array], images: jax.Array, labels: jax.Array):
    hidden = jax.nn.relu(images @ params["hidden"] + params["hidden_bias"])
    return optax.softmax_cross_entropy_with_integer_labels(
        hidden @ params["output"] + params["output_bias"], labels
    ).mean()


def update_with(tx: optax.GradientTransformation, places: Places) -> Callable:
    @functools.partial(jax.jit, donate_argnums=0, out_shardings=places.replicated)
    def update(run: Run, images: jax.Array, labels: jax.Array) -> tuple[Run, Any]:
        # The mean over the rows of all processes makes JAX add up their gradients.
        value, gradients = jax.value_and_grad(loss)(run.params, images, labels)
        updates, state = tx.update(gradients, run.opt_state, run.params)
        return Run(optax.apply_updates(run.params, updates), state), value

    return update


def checkpoints(options: argparse.Namespace) -> ocp.CheckpointManager:
    """In which all processes take part: each writes some of the arrays."""
    return ocp.CheckpointManager(
        options.checkpoints.absolute(),
        options=ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(2),
            cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(timeout_secs=options.timeout),
        ),
    )


def restored(manager: ocp.CheckpointManager, run: Run) -> Run:
    """From the newest complete checkpoint, onto the devices that there are now."""
    if (step := manager.latest_step()) is None:
        return run
    wanted = ocp.args.StandardRestore(run._asdict())
    return Run(**manager.restore(step, args=wanted))


def train(
    manager: ocp.CheckpointManager, options: argparse.Namespace
) -> tuple[Run, list[np.ndarray]]:
    """The run at its end, and the rates that were applied here."""
    here, data = places(), load_data()
    tx = optimizer(configured_schedule(options.total_steps))
    update, run = update_with(tx, here), restored(manager, start(tx, here))
    first, total = manager.latest_step() or 0, curve(run).total_steps
    rates = []
    with progress(first, total, options) as bar:
        for step in range(first, total):
            run, value = update(run, *batch(data, step, here))
            rates.append(np.asarray(optax.tree.get(run.opt_state, "learning_rate")))
            if (step + 1) % options.save_every == 0 or step + 1 == total:
                manager.save(step + 1, args=ocp.args.StandardSave(run._asdict()))
            bar.set_postfix(loss=f"{value:.4f}", rate=f"{rates[-1]:.2e}", refresh=False)
            bar.update()
    return run, rates


def curve(run: Run) -> oc.Schedule:
    return oc.get_schedules(run.opt_state)["learning_rate"]


def progress(first: int, total: int, options: argparse.Namespace) -> tqdm:
    return tqdm(
        initial=first,
        total=total,
        unit="update",
        dynamic_ncols=True,
        disable=options.process > 0,  # one bar for all
    )


def report(run: Run, rates: list[np.ndarray], options: argparse.Namespace) -> None:
    """One line, and a file of everything that must be the same in all processes."""
    params = {name: np.asarray(x) for name, x in run.params.items()}
    digest = hashlib.sha256(b"".join(x.tobytes() for x in params.values())).hexdigest()
    total = curve(run).total_steps
    file = options.out / f"process-{options.process}.npz"
    np.savez(
        file, first=total - len(rates), rates=np.array(rates, np.float32), **params
    )
    last = f"the last rate {rates[-1]:.6e}" if rates else "none left to do"
    print(
        f"process {options.process} of {options.processes}: updates "
        f"{total - len(rates)} to {total}, {last}, parameters {digest[:16]}, {file}",
        flush=True,
    )


@contextlib.contextmanager
def ended_at_once(options: argparse.Namespace) -> Iterator[None]:
    """Where an error ends the process without a word to the others.

    They may be dead, and an orderly end would wait for them: Orbax for their part of a
    save, JAX for all to shut down.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        # Of the loss of another one, JAX says in its message all that there is to say.
        if not isinstance(error, jax.errors.JaxRuntimeError) and "Gloo" not in reason:
            traceback.print_exc()
        print(
            f"process {options.process} of {options.processes} ends, and so must the "
            f"others: {reason}\nStart all of them again: they go on from the newest "
            f"complete checkpoint in {options.checkpoints}, if there is one.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)


def train_and_report(options: argparse.Namespace) -> None:
    with ended_at_once(options):
        connect(options)
        manager = checkpoints(options)
        run, rates = train(manager, options)
        manager.close()
        report(run, rates, options)
        jax.distributed.shutdown()  # not at exit, where nobody sees an error of it


def address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise argparse.ArgumentTypeError(
            f"must be a host and a port, as 127.0.0.1:9876, got {text!r}"
        )
    return text


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option(
        "--coordinator",
        type=address,
        required=True,
        help="host and port at which process 0 listens, the same in every command",
    )
    option("--processes", type=whole_from(1), required=True, help="how many there are")
    option(
        "--process", type=whole_from(0), required=True, help="which one of them, from 0"
    )
    option(
        "--total-steps",
        type=whole_from(10),
        default=400,
        help="updates of the curve: a warm-up, then half a cosine (default: 400)",
    )
    option(
        "--save-every",
        type=whole_from(1),
        default=50,
        help="updates between two checkpoints (default: 50)",
    )
    option(
        "--checkpoints",
        type=folder,
        default="outputs/killed_hosts/checkpoints",
        help="folder that all see (default: outputs/killed_hosts/checkpoints)",
    )
    option(
        "--out",
        type=folder,
        default="outputs/killed_hosts",
        help="folder for the rates and the parameters (default: outputs/killed_hosts)",
    )
    option(
        "--timeout",
        type=whole_from(5),
        default=30,
        help="seconds after which a silent process counts as dead (default: 30)",
    )
    option(
        "--start-timeout",
        type=whole_from(1),
        default=300,
        help="seconds to wait at the start until all are there (default: 300)",
    )
    options = parser.parse_args(arguments)
    if options.process >= options.processes:
        parser.error(
            f"argument --process: {options.processes} processes are numbered from 0 "
            f"to {options.processes - 1}, got {options.process}"
        )
    return options


def main(arguments: list[str] | None = None) -> None:
    train_and_report(parse(arguments))


if __name__ == "__main__":
    main()
