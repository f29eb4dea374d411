"""Train through kills: checkpoints that hold the learning-rate schedule, with Orbax.

A small network learns the 8x8 digits that ship inside scikit-learn, in a child process
that is killed with SIGKILL at random moments, also in the middle of a save. Each time
it is started again and goes on from the newest complete checkpoint. Then another child
trains without a kill, and every number of the two runs is compared to the bit: the
parameters, the optimizer state, the rates that were applied. Nothing is downloaded;
with the defaults it takes a minute or two on two cores.

With --kills 0 nothing is killed: the run is trained in this process and goes on from
the newest checkpoint in --out, as a job under a scheduler would. It stays on the curve
that was saved, whatever --total-steps and --peak say now, unless --keep says otherwise;
--cooldown-at and --extend-to edit the curve of a run that is under way.
"""

import argparse
import contextlib
import functools
import math
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from arguments import folder, rate_above_zero, whole_from
from sklearn.datasets import load_digits
from tqdm import tqdm

import optax_cosine as oc

BATCH_SIZE = 64
WARMUP = 0.1  # of --total-steps
COOLDOWN_STEPS = 60
WEIGHT_DECAY = 1e-3
LONGEST_DELAY = 0.1  # seconds before a kill; a save takes about as long
KILLS_UNTIL = 0.9  # of the run, so that the last one comes before its end


class Data(NamedTuple):
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


class Run(NamedTuple):
    """All that a checkpoint holds; there is a rate for every update so far."""

    params: Any
    opt_state: Any
    rates: list[float]


class Kill(NamedTuple):
    newest: int  # complete checkpoint
    in_a_save: bool


def load_data() -> Data:
    images, labels = load_digits(return_X_y=True)
    images = np.asarray(images, np.float32) / 16
    test = np.random.default_rng(0).permutation(len(images)) < len(images) // 4
    labels = np.asarray(labels)
    return Data(images[~test], labels[~test], images[test], labels[test])


def batch(data: Data, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the step alone, so that a resumed run sees what it would have seen."""
    rng = np.random.default_rng((seed, step))
    rows = rng.integers(len(data.train_labels), size=BATCH_SIZE)
    return data.train_images[rows], data.train_labels[rows]


def initial_params(seed: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    shapes = {"hidden": (64, 64), "output": (64, 10)}
    weights = {
        name: jnp.asarray(rng.normal(0, math.sqrt(2 / shape[0]), shape), np.float32)
        for name, shape in shapes.items()
    }
    biases = {f"{name}_bias": jnp.zeros(shape[-1]) for name, shape in shapes.items()}
    return weights | biases


def logits(params: dict[str, jax.Array], images: jax.Array) -> jax.Array:
    hidden = jax.nn.relu(images @ params["hidden"] + params["hidden_bias"])
    return hidden @ params["output"] + params["output_bias"]


def loss(params: dict[str, jax.Array], images: jax.Array, labels: jax.Array):
    return optax.softmax_cross_entropy_with_integer_labels(
        logits(params, images), labels
    ).mean()


@jax.jit
def accuracy(params: dict[str, jax.Array], images: jax.Array, labels: jax.Array):
    return jnp.mean(jnp.argmax(logits(params, images), -1) == labels)


def configured_schedule(options: argparse.Namespace) -> oc.Schedule:
    return oc.warmup_cosine_annealing_schedule(
        options.peak,
        options.total_steps,
        warmup_steps=round(WARMUP * options.total_steps),
    )


def optimizer(schedule: oc.Schedule) -> optax.GradientTransformation:
    return oc.inject_schedules(optax.adamw)(
        learning_rate=schedule, weight_decay=WEIGHT_DECAY
    )


def update_with(tx: optax.GradientTransformation) -> Callable:
    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, images: jax.Array, labels: jax.Array):
        value, gradients = jax.value_and_grad(loss)(params, images, labels)
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, value

    return update


def start(options: argparse.Namespace) -> Run:
    params = initial_params(options.seed)
    return Run(params, optimizer(configured_schedule(options)).init(params), [])


def checkpoints(folder: pathlib.Path) -> ocp.CheckpointManager:
    """Where the two newest are kept.

    Orbax writes under a temporary name and renames what is complete. So a killed save
    leaves the one before it the newest; what is half written is never read, and removed
    when the folder is opened again.
    """
    return ocp.CheckpointManager(
        folder.absolute(),
        options=ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(2),
            cleanup_tmp_directories=True,
        ),
    )


def save(manager: ocp.CheckpointManager, run: Run) -> None:
    state = run._replace(rates=np.array(run.rates, np.float32))._asdict()
    curves = {name: x.to_dict() for name, x in oc.get_schedules(run.opt_state).items()}
    manager.save(
        len(run.rates),
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(state), curves=ocp.args.JsonSave(curves)
        ),
    )


def restored(manager: ocp.CheckpointManager, run: Run) -> Run:
    """The run from the newest complete checkpoint, or `run` if there is none.

    A curve that was extended or cooled down may have more or fewer rows than the
    configured one, and Orbax compares shapes. So the curves are read first, and the
    state is read into a state that holds them.
    """
    if (step := manager.latest_step()) is None:
        return run
    wanted = ocp.args.Composite(curves=ocp.args.JsonRestore())
    saved = manager.restore(step, args=wanted).curves
    curves = {name: oc.Schedule.from_dict(values) for name, values in saved.items()}
    target = run._replace(
        opt_state=oc.set_schedules(run.opt_state, **curves),
        rates=np.zeros(step, np.float32),
    )
    wanted = ocp.args.Composite(state=ocp.args.StandardRestore(target._asdict()))
    run = Run(**manager.restore(step, args=wanted).state)
    return run._replace(rates=run.rates.tolist())


def reconciled(opt_state: Any, schedule: oc.Schedule, keep: str) -> Any:
    """The state on the curve that was saved, or on the configured one.

    The pattern for a program of your own: where they differ, print both and choose.
    """
    if (saved := oc.get_schedules(opt_state)["learning_rate"]) != schedule:
        print(f"saved curve:      {saved!r}\nconfigured curve: {schedule!r}")
        print(f"kept: {keep}")
        chosen = schedule if keep == "configured" else saved
        opt_state = oc.set_schedules(opt_state, learning_rate=chosen)
    return opt_state


def curve(run: Run) -> oc.Schedule:
    return oc.get_schedules(run.opt_state)["learning_rate"]


def on_curve(run: Run, schedule: oc.Schedule) -> Run:
    opt_state = oc.set_schedules(run.opt_state, learning_rate=schedule)
    return run._replace(opt_state=opt_state)


def extended(run: Run, total_steps: int) -> Run:
    """Stretched to `total_steps`, from here; once, as a curve that ends there stays."""
    if curve(run).total_steps == total_steps:
        return run
    try:
        longer = oc.extend(curve(run), at_step=len(run.rates), total_steps=total_steps)
    except ValueError as error:
        sys.exit(f"--extend-to {total_steps}: {error}")
    return on_curve(run, longer)


def cooled_down(run: Run) -> Run:
    here = len(run.rates)
    return on_curve(run, oc.cooldown(curve(run), at_step=here, steps=COOLDOWN_STEPS))


def is_cooled_down(schedule: oc.Schedule, at_step: int) -> bool:
    """Whether the last phase is the cooldown that begins at `at_step`."""
    last = schedule.phases[-1]
    return (last.clock_start, last.steps) == (at_step, COOLDOWN_STEPS)


def refuse_missed_cooldown(run: Run, at_step: int) -> None:
    done, total = len(run.rates), curve(run).total_steps
    if not is_cooled_down(curve(run), at_step) and not done <= at_step < total:
        sys.exit(
            f"--cooldown-at {at_step}: the run is at update {done} of {total} and will "
            "not come to that one."
        )


def resumed(manager: ocp.CheckpointManager, options: argparse.Namespace) -> Run:
    run = restored(manager, start(options))
    schedule = configured_schedule(options)
    run = run._replace(opt_state=reconciled(run.opt_state, schedule, options.keep))
    if options.extend_to is not None:
        run = extended(run, options.extend_to)
    if options.cooldown_at is not None:
        refuse_missed_cooldown(run, options.cooldown_at)
    return run


def updated(run: Run, update: Callable, data: Data, seed: int) -> tuple[Run, float]:
    params, opt_state, value = update(
        run.params, run.opt_state, *batch(data, seed, len(run.rates))
    )
    rate = float(optax.tree.get(opt_state, "learning_rate"))
    return Run(params, opt_state, [*run.rates, rate]), float(value)


def train(options: argparse.Namespace) -> None:
    data = load_data()
    update = update_with(optimizer(configured_schedule(options)))
    with checkpoints(options.out) as manager:
        run = resumed(manager, options)
        done, total = len(run.rates), curve(run).total_steps
        print(f"from update {done} to {total}", flush=True)
        with tqdm(total=total, initial=done, unit="update", dynamic_ncols=True) as bar:
            while len(run.rates) < bar.total:
                # This edit belongs to one count, and the checkpoint of that count was
                # taken before it: a restart neither makes it twice nor misses it.
                if len(run.rates) == options.cooldown_at:
                    run = cooled_down(run)
                    bar.total = curve(run).total_steps
                run, value = updated(run, update, data, options.seed)
                done = len(run.rates)
                if done % options.save_every == 0 or done == bar.total:
                    save(manager, run)
                bar.set_postfix(
                    loss=f"{value:.4f}", rate=f"{run.rates[-1]:.2e}", refresh=False
                )
                bar.update()
    correct = accuracy(run.params, data.test_images, data.test_labels)
    print(f"test accuracy after {len(run.rates)} updates: {correct:.2%}")


def planned_steps(options: argparse.Namespace) -> int:
    if options.cooldown_at is not None:
        return options.cooldown_at + COOLDOWN_STEPS
    return options.extend_to or options.total_steps


def newest(folder: pathlib.Path) -> int:
    """The newest complete checkpoint, 0 for none: others have longer names."""
    return max((int(x.name) for x in folder.iterdir() if x.name.isdecimal()), default=0)


@contextlib.contextmanager
def child(
    options: argparse.Namespace, folder: pathlib.Path
) -> Iterator[subprocess.Popen]:
    """This program, training in `folder`; what lives at the end of it is killed."""
    settings = vars(options) | {"kills": 0, "out": folder}
    arguments = [
        f"--{name.replace('_', '-')}={value}"
        for name, value in settings.items()
        if value is not None
    ]
    with folder.with_suffix(".log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, *arguments], stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_for(
    updates: float, process: subprocess.Popen, folder: pathlib.Path, bar: tqdm
) -> None:
    """Until so many updates are in a new checkpoint, or the child has ended."""
    first = newest(folder)
    while process.poll() is None and not first < newest(folder) >= updates:
        bar.update(newest(folder) - bar.n)
        time.sleep(0.005)
    bar.update(newest(folder) - bar.n)


def refuse_status(process: subprocess.Popen, wanted: int, log: pathlib.Path) -> None:
    if process.returncode != wanted:
        sys.exit(
            f"a child ended with status {process.returncode}, where {wanted} was to "
            f"come; its output is in {log}"
        )


def kill_moments(options: argparse.Namespace) -> list[tuple[float, float]]:
    """After how many updates, and how many seconds later: one in each part of the run.

    The updates are known by a save that is complete; the seconds end before the next
    save, in it, or after it.
    """
    rng = np.random.default_rng(options.seed)
    part = KILLS_UNTIL * planned_steps(options) / options.kills
    return [
        (part * (kill + rng.random()), LONGEST_DELAY * rng.random())
        for kill in range(options.kills)
    ]


def train_in_a_child(
    options: argparse.Namespace,
    folder: pathlib.Path,
    bar: tqdm,
    moment: tuple[float, float] | None = None,
) -> None:
    """Until it is killed at the moment, or to the end of the run."""
    updates, seconds = moment or (math.inf, 0.0)
    with child(options, folder) as process:
        wait_for(updates, process, folder, bar)
        time.sleep(seconds)
    refuse_status(process, -signal.SIGKILL if moment else 0, folder.with_suffix(".log"))


def trained_in_children(
    options: argparse.Namespace,
    folder: pathlib.Path,
    moments: list[tuple[float, float]],
) -> list[Kill]:
    """The kills before the child that came to the end of the run."""
    folder.mkdir()
    kills: list[Kill] = []
    with tqdm(total=planned_steps(options), unit="update", dynamic_ncols=True) as bar:
        for moment in moments:
            bar.set_description(f"{folder.name}, {len(moments) - len(kills)} to come")
            train_in_a_child(options, folder, bar, moment)
            names = [path.name for path in folder.iterdir()]
            half_written = any(ocp.utils.TMP_DIR_SUFFIX in name for name in names)
            kills.append(Kill(newest(folder), in_a_save=half_written))
        bar.set_description(f"{folder.name}, to the end")
        train_in_a_child(options, folder, bar)
    return kills


def finished(options: argparse.Namespace, folder: pathlib.Path) -> Run:
    with checkpoints(folder) as manager:
        return restored(manager, start(options))


def equal_bits(one: Any, other: Any) -> tuple[int, int]:
    """How many numbers of two trees are equal to the bit, and how many there are."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    equal = [
        np.ravel(x).view(np.uint32) == np.ravel(y).view(np.uint32) for x, y in pairs
    ]
    return sum(int(x.sum()) for x in equal), sum(x.size for x in equal)


def compare(one: Run, other: Run) -> bool:
    """Whether two runs are the same, after a table of what is."""
    parts = {
        "parameters": (one.params, other.params),
        "optimizer state": (one.opt_state, other.opt_state),
        "applied rates": [np.array(run.rates, np.float32) for run in (one, other)],
    }
    counts = {name: equal_bits(*trees) for name, trees in parts.items()}
    print(f"{'':<16}{'numbers':>9}{'equal to the bit':>18}")
    for name, (equal, every) in counts.items():
        print(f"{name:<16}{every:>9,}{equal:>18,}")
    return all(equal == every for equal, every in counts.values())


def demonstrate(options: argparse.Namespace) -> None:
    folders = [options.out / name for name in ("killed", "uninterrupted")]
    for place in folders:
        if place.exists():
            sys.exit(
                f"{place} is of an earlier run: remove it, or choose another --out"
            )
    # As an exception, so that no child outlives a parent that is told to end.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    kills = trained_in_children(options, folders[0], kill_moments(options))
    trained_in_children(options, folders[1], [])
    in_a_save = sum(kill.in_a_save for kill in kills)
    print(f"{len(kills)} kills, {in_a_save} of them in the middle of a save")
    print(f"resumed from updates {', '.join(str(kill.newest) for kill in kills)}")
    if not compare(*(finished(options, folder) for folder in folders)):
        sys.exit("the runs differ")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option = parser.add_argument
    option(
        "--total-steps",
        type=whole_from(10),
        default=600,
        help="updates of the configured curve: a warm-up, then half a cosine",
    )
    option("--peak", type=rate_above_zero, default=5e-3, help="peak learning rate")
    option(
        "--seed", type=whole_from(0), default=0, help="of training, and of the kills"
    )
    option(
        "--kills",
        type=whole_from(0),
        default=20,
        help="how often the run is killed before it is compared with one that is not; "
        "0 trains here and now, going on from the newest checkpoint in --out",
    )
    option(
        "--save-every", type=whole_from(1), default=5, help="updates between two saves"
    )
    option(
        "--keep",
        choices=("saved", "configured"),
        default="saved",
        help="the curve to go on with where the saved one is not the configured one",
    )
    edits = parser.add_mutually_exclusive_group()
    edits.add_argument(
        "--cooldown-at",
        type=whole_from(1),
        help=f"update after which the rate goes to 0 within {COOLDOWN_STEPS} more",
    )
    edits.add_argument(
        "--extend-to",
        type=whole_from(1),
        help="updates to which the rest of the curve is stretched, from the newest "
        "checkpoint on",
    )
    option(
        "--out",
        type=folder,
        default="outputs/resume",
        help="folder for the checkpoints; made if it is not there",
    )
    options = parser.parse_args(arguments)
    refuse_contradictions(parser, options)
    return options


def refuse_contradictions(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> None:
    edited = options.cooldown_at is not None or options.extend_to is not None
    if edited and options.keep == "configured":
        parser.error(
            "argument --keep: configured would undo, at the next restart, what "
            "--cooldown-at or --extend-to did"
        )
    least = math.ceil(options.kills * 2 * options.save_every / KILLS_UNTIL)
    if planned_steps(options) < least:
        parser.error(
            f"argument --kills: {options.kills} need {least} updates or more, two "
            f"saves for each, got {planned_steps(options)}"
        )


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    if options.kills:
        demonstrate(options)
    else:
        train(options)


if __name__ == "__main__":
    main()
