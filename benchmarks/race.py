"""A model for every setting of a learning rate: one program, or a loop over programs.

A grid of peaks and horizons, and if you like of warm-ups and of kinds of schedule, is
stacked into one schedule with a leading axis. A small network on the 8x8 digits of
scikit-learn is trained once for each setting: one compiled program, `vmap` over the
settings, `scan` over the updates, the settings shared out among all devices. The same
work can be done as it usually is, in a Python loop with Optax's schedules and a
compiled step for each setting. Both count the programs that XLA compiles, and the
seconds.
"""

import contextlib
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits
from tqdm import tqdm

import optax_cosine as oc

BATCH_SIZE = 64
HIDDEN = 32
PEAKS = 2e-3, 0.2  # the first and the last of the grid
HORIZONS = 30, 300
UPDATES_PER_CALL = 20  # the progress bar moves, and test accuracy is measured, as often
GROUP = 64  # members of a device at a time: beyond that, they outgrow its caches
KINDS = "cosine", "wsd", "restarts"


class Data(NamedTuple):
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


class Setting(NamedTuple):
    kind: str
    warmup: float  # as a part of the horizon
    peak: float
    horizon: int

    @property
    def warmup_steps(self) -> int:
        return int(self.warmup * self.horizon)


class Work(NamedTuple):
    """What all settings share, so that nothing but the schedule tells them apart."""

    data: Data
    chosen: np.ndarray  # for each step, the digits in its batch
    model: Any  # that all start from: parameters and the state of the optimizer

    @property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        return self.data.test_images, self.data.test_labels

    def batches(self, steps: Any) -> tuple[np.ndarray, np.ndarray]:
        digits = self.chosen[steps]
        return self.data.train_images[digits], self.data.train_labels[digits]


class Times(NamedTuple):
    programs: int  # that XLA compiled
    compiling: float  # seconds, with tracing
    running: float

    @property
    def total(self) -> float:
        return self.compiling + self.running


class Outcome(NamedTuple):
    accuracies: np.ndarray  # of each setting, after its last update
    times: Times


COMPILED: list[float] = []  # one entry for each program of this process


def note_compile(event: str, seconds: float, **_: Any) -> None:
    if event.endswith("/backend_compile_duration"):
        COMPILED.append(seconds)


jax.monitoring.register_event_duration_secs_listener(note_compile)


class Clock:
    """Seconds of compiling and of running; programs are counted as XLA reports them."""

    def __init__(self) -> None:
        self.seconds = {"compiling": 0.0, "running": 0.0}
        self.programs = 0

    @contextlib.contextmanager
    def measured(self, what: str) -> Iterator[None]:
        before, start = len(COMPILED), time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - start
        self.programs += len(COMPILED) - before

    def compiling(self) -> Any:
        return self.measured("compiling")

    def running(self) -> Any:
        return self.measured("running")

    def times(self) -> Times:
        return Times(self.programs, **self.seconds)


# --- Schedules: ours as a call, which is also printed, and Optax's ---


def call(setting: Setting) -> functools.partial:
    """What builds the schedule, not yet called."""
    _, _, peak, horizon = setting
    warmup_steps = setting.warmup_steps
    if setting.kind == "cosine":
        return functools.partial(
            oc.warmup_cosine_annealing_schedule,
            peak,
            horizon,
            warmup_steps=warmup_steps,
        )
    if setting.kind == "wsd":
        return functools.partial(
            oc.warmup_stable_decay_schedule,
            peak,
            horizon,
            warmup_steps=warmup_steps,
            decay_steps=math.ceil(horizon / 5),
        )
    return functools.partial(
        oc.cosine_restarts_schedule,
        peak,
        halves(horizon),
        cycle_warmup_steps=warmup_steps // 2,
    )


def halves(horizon: int) -> list[int]:
    return [horizon // 2, horizon - horizon // 2]


def code(setting: Setting) -> str:
    """The same call as a line of Python."""
    function, named = call(setting).func, call(setting).keywords
    arguments = [repr(value) for value in call(setting).args]
    arguments += [f"{name}={value!r}" for name, value in named.items()]
    return f"oc.{function.__name__}({', '.join(arguments)})"


def optax_schedule(setting: Setting) -> optax.Schedule:
    _, _, peak, horizon = setting
    warmup_steps = setting.warmup_steps
    if setting.kind == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, horizon)
    if setting.kind == "wsd":
        decay_steps = math.ceil(horizon / 5)
        parts = [
            optax.linear_schedule(0.0, peak, warmup_steps),
            optax.constant_schedule(peak),
            optax.cosine_decay_schedule(peak, decay_steps),
        ]
        return optax.join_schedules(parts, [warmup_steps, horizon - decay_steps])
    cycles = [
        {
            "init_value": 0.0,
            "peak_value": peak,
            "warmup_steps": warmup_steps // 2,
            "decay_steps": steps,
        }
        for steps in halves(horizon)
    ]
    return optax.sgdr_schedule(cycles)


# --- The grid ---


def grid(
    kinds: Sequence[str],
    warmups: Sequence[float],
    peaks: Sequence[float],
    horizons: Sequence[int],
) -> list[Setting]:
    """Every combination; the last axis runs fastest."""
    refuse(kinds=kinds, warmups=warmups, peaks=peaks, horizons=horizons)
    ordered = kinds, sorted(warmups), sorted(peaks), sorted(horizons)
    return [Setting(*values) for values in itertools.product(*ordered)]


def refuse(**axes: Sequence) -> None:
    for name, values in axes.items():
        if not values:
            raise ValueError(f"{name} must hold at least one value, got none")
        for index, value in enumerate(values):
            if value in values[:index]:
                raise ValueError(
                    f"{name} must differ from each other, got {value} more than once"
                )


def spread(ends: tuple[float, float], number: int) -> list[float]:
    """Evenly on a log scale, to three digits: short to print, exact to copy."""
    return [float(f"{value:.3g}") for value in np.geomspace(*ends, number)]


def square(number: int) -> list[Setting]:
    """A warm-up and a cosine, for the same number of peaks and of horizons."""
    length = math.isqrt(number)
    horizons = [round(steps) for steps in spread(HORIZONS, length)]
    return grid(["cosine"], [0.1], spread(PEAKS, length), horizons)


def longest_of(settings: Sequence[Setting]) -> int:
    return max(setting.horizon for setting in settings)


# --- The model, the same for the sweep and for the loop ---


def initial_params(seed: int) -> dict[str, jax.Array]:
    keys = jax.random.split(jax.random.key(seed))
    he = jax.nn.initializers.he_normal()
    return {
        "hidden": he(keys[0], (64, HIDDEN)),
        "hidden_bias": jnp.zeros(HIDDEN),
        "output": he(keys[1], (HIDDEN, 10)),
        "output_bias": jnp.zeros(10),
    }


def logits(params: dict[str, jax.Array], images: jax.Array) -> jax.Array:
    hidden = jax.nn.relu(images @ params["hidden"] + params["hidden_bias"])
    return hidden @ params["output"] + params["output_bias"]


def loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(
        logits(params, images), labels
    ).mean()


def accuracy(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.mean(jnp.argmax(logits(params, images), -1) == labels)


def optimizer(schedule: Callable) -> optax.GradientTransformation:
    return optax.adamw(schedule)


def updated(schedule: Callable, model: Any, images: jax.Array, labels: jax.Array):
    params, opt_state = model
    gradients = jax.grad(loss)(params, images, labels)
    updates, opt_state = optimizer(schedule).update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def initial_model(seed: int) -> Any:
    params = initial_params(seed)
    opt_state = optimizer(optax.constant_schedule(0.0)).init(params)
    return jax.tree.map(np.asarray, (params, opt_state))


def load_data() -> Data:
    images, labels = load_digits(return_X_y=True)
    images = np.asarray(images, np.float32) / 16
    labels = np.asarray(labels, np.int32)
    test = np.random.default_rng(0).permutation(len(images)) < len(images) // 4
    return Data(images[~test], labels[~test], images[test], labels[test])


def work_of(seed: int, longest: int) -> Work:
    """A longer one begins with the same batches."""
    data = load_data()
    steps = math.ceil(longest / UPDATES_PER_CALL) * UPDATES_PER_CALL
    size = steps, BATCH_SIZE
    chosen = np.random.default_rng(seed).integers(len(data.train_labels), size=size)
    return Work(data, chosen, initial_model(seed))


# --- The sweep: one program ---


def advanced(schedule: Any, horizon: Any, model: Any, batches: Any, test: Any):
    """One member of the population some updates later, and its test accuracy."""

    def step(model: Any, batch: Any) -> Any:
        count, images, labels = batch
        new = updated(schedule, model, images, labels)
        # All members are computed up to the longest horizon; each stops at its own.
        kept = functools.partial(jnp.where, count < horizon)
        return jax.tree.map(kept, new, model), None

    model, _ = jax.lax.scan(step, model, batches)
    return model, accuracy(model[0], *test)


def mesh_of(data_shards: int = 1) -> Mesh:
    """All devices: the population is cut along one axis, each batch along the other."""
    devices = np.asarray(jax.devices())
    if len(devices) % data_shards or BATCH_SIZE % data_shards:
        raise ValueError(
            f"data-shards must divide the number of devices, {len(devices)}, and the "
            f"batch size, {BATCH_SIZE}; got {data_shards}"
        )
    return Mesh(devices.reshape(-1, data_shards), ("population", "data"))


def program(mesh: Mesh) -> Any:
    """Groups in turn, within a group all members together, on all devices."""

    def everyone(schedules: Any, horizons: Any, models: Any, *shared: Any) -> Any:
        together = jax.vmap(advanced, in_axes=(0, 0, 0, None, None))
        members = schedules, horizons, models
        return jax.lax.map(lambda group: together(*group, *shared), members)

    whole, batch = (
        NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), (None, "data"))
    )
    members = members_of(mesh)
    return jax.jit(
        everyone,
        in_shardings=(members, members, members, (whole, batch, batch), whole),
        out_shardings=members,
        donate_argnums=2,
    )


def members_of(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(None, "population"))


def groups_of(number: int, devices: int) -> tuple[int, int]:
    """How many groups, and how many members in each: as many for every device."""
    groups = math.ceil(number / (GROUP * devices))
    return groups, math.ceil(number / (groups * devices)) * devices


def population(settings: Sequence[Setting], model: Any, mesh: Mesh) -> tuple:
    """Schedules, horizons and models, with two leading axes: groups and members."""
    shape = groups_of(len(settings), mesh.shape["population"])
    missing = math.prod(shape) - len(settings)
    settings = [*settings, *[settings[-1]] * missing]
    schedules = oc.stack(call(setting)() for setting in settings)
    horizons = np.asarray([setting.horizon for setting in settings], np.int32)
    grouped = jax.tree.map(
        lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), (schedules, horizons)
    )
    models = jax.tree.map(
        lambda leaf: np.broadcast_to(leaf, (*shape, *leaf.shape)), model
    )
    return jax.device_put((*grouped, models), members_of(mesh))


def portions(work: Work, longest: int) -> list[tuple[np.ndarray, ...]]:
    """What each call of the program trains on; the last may go beyond the end."""
    starts = range(0, longest, UPDATES_PER_CALL)
    counts = (np.arange(x, x + UPDATES_PER_CALL, dtype=np.int32) for x in starts)
    return [(steps, *work.batches(steps)) for steps in counts]


def compiled(members: tuple, work: Work, mesh: Mesh) -> Any:
    """For so many members; other shapes and shardings it would refuse."""
    return program(mesh).lower(*members, portions(work, 1)[0], work.test).compile()


def trained(run: Any, members: tuple, work: Work, bar: tqdm) -> np.ndarray:
    """The test accuracy of each member at its horizon."""
    schedules, horizons, models = members
    accuracies = np.zeros(horizons.size)
    for some_batches in portions(work, int(np.asarray(horizons).max())):
        models, found = run(schedules, horizons, models, some_batches, work.test)
        accuracies = np.ravel(found)
        bar.set_postfix(best=f"{accuracies.max():.2%}", refresh=False)
        bar.update(UPDATES_PER_CALL)
    return accuracies


def sweep(settings: Sequence[Setting], work: Work, mesh: Mesh) -> Outcome:
    total = len(portions(work, longest_of(settings))) * UPDATES_PER_CALL
    clock = Clock()
    with tqdm(total=total, unit="update", dynamic_ncols=True) as bar:
        bar.set_description("one program  ")
        with clock.running():
            members = population(settings, work.model, mesh)
        with clock.compiling():
            run = compiled(members, work, mesh)
        with clock.running():
            accuracies = trained(run, members, work, bar)
    return Outcome(accuracies[: len(settings)], clock.times())


# --- The loop: as it is usually done ---


def alone(schedule: Callable, steps: int, work: Work, clock: Any = None) -> Any:
    """One model, trained with a step that is compiled for its schedule."""
    clock = clock or Clock()
    step = jax.jit(functools.partial(updated, schedule), donate_argnums=0)
    model = jax.tree.map(jnp.array, work.model)
    with clock.compiling():
        model = jax.block_until_ready(step(model, *work.batches(0)))
    with clock.running():
        for count in range(1, steps):
            model = step(model, *work.batches(count))
        jax.block_until_ready(model)
    return model


def loop(settings: Sequence[Setting], work: Work) -> Outcome:
    accuracies, clock = [], Clock()
    measured = jax.jit(accuracy)
    with tqdm(settings, unit="setting", dynamic_ncols=True) as bar:
        bar.set_description("Optax, a loop")
        for setting in bar:
            model = alone(optax_schedule(setting), setting.horizon, work, clock)
            # Measuring is left out of the loop's time; in the sweep's it is included.
            accuracies.append(float(measured(model[0], *work.test)))
            bar.set_postfix(accuracy=f"{accuracies[-1]:.2%}", refresh=False)
    return Outcome(np.asarray(accuracies), clock.times())
