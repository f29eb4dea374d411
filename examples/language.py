"""Pretrain a small transformer, and branch two models off one checkpoint, with Orbax.

A character-level transformer learns the English of Python's own help pages, as a
language model is pretrained where the length of the run is not settled: the rate warms
up and then holds, with no end in sight. Half-way the run is saved. That one checkpoint
is restored twice, and each time the schedule in the optimizer state is edited. One
branch cools down at once, which gives a finished model early; the other goes on holding
and cools down later. Prints the validation losses and the rates that were applied, a
line of generated text, and writes one picture. Nothing is downloaded; with the defaults
it takes about two minutes on two cores.
"""

import argparse
import functools
import math
import pathlib
from collections.abc import Callable
from pydoc_data.topics import topics
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
import orbax.checkpoint as ocp
from arguments import folder, rate_above_zero, whole_from
from tqdm import tqdm

import optax_cosine as oc

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CHARACTERS = 128  # of ASCII, whatever the text has: it differs between Pythons
CONTEXT = 64
WIDTH = 96
HEADS = 4
LAYERS = 2
BATCH_SIZE = 32
VALIDATION_WINDOWS = 256
WARMUP = 0.05  # of --steps
COOLDOWN = 0.15  # of --steps
HELD, BRANCH, LONGER = "checkpoint", "cooled at once", "longer run"
WEIGHT_DECAY = 0.1
CURVE_POINTS = 32  # validation losses measured in a run of --steps
PROMPT = "If the object is a class, the "
SAMPLE_LENGTH = 160
TEMPERATURE = 0.5


class Text(NamedTuple):
    train: np.ndarray
    validation: np.ndarray  # windows


class Run(NamedTuple):
    """All that a checkpoint holds."""

    params: Any
    opt_state: Any


class Course(NamedTuple):
    """What became of a run: a rate for each update, and now and then a loss."""

    updates: list[int]
    rates: list[float]
    losses: list[tuple[int, float]]


def load_text() -> Text:
    # Some pages repeat each other: a paragraph is learned or held out, never both.
    paragraphs = list(dict.fromkeys("\n\n".join(topics.values()).split("\n\n")))
    held_out = "\n\n".join(paragraphs[::10])
    del paragraphs[::10]
    train, validation = (
        np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int32)
        for text in ("\n\n".join(paragraphs), held_out)
    )
    starts = np.linspace(0, len(validation) - CONTEXT - 1, VALIDATION_WINDOWS)
    return Text(train, windows(validation, starts.astype(int)))


def windows(text: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return text[starts[:, None] + np.arange(CONTEXT + 1)]


def batch(text: Text, seed: int, count: int) -> np.ndarray:
    """Of the count alone, so that both branches go on with the same data."""
    rng = np.random.default_rng((seed, count))
    return windows(text.train, rng.integers(len(text.train) - CONTEXT, size=BATCH_SIZE))


def initial_params(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = WIDTH**-0.5) -> jax.Array:
        return jnp.asarray(rng.normal(0, scale, shape), np.float32)

    def block() -> dict[str, jax.Array]:
        narrow = WIDTH**-0.5 / math.sqrt(2 * LAYERS)
        return {
            "attention_norm": jnp.ones(WIDTH),
            "query_key_value": normal(WIDTH, 3, HEADS, WIDTH // HEADS),
            "mixed": normal(WIDTH, WIDTH, scale=narrow),
            "hidden_norm": jnp.ones(WIDTH),
            "hidden": normal(WIDTH, 4 * WIDTH),
            "output": normal(4 * WIDTH, WIDTH, scale=narrow),
        }

    return {
        "characters": normal(CHARACTERS, WIDTH),
        "positions": normal(CONTEXT, WIDTH),
        "blocks": [block() for _ in range(LAYERS)],
        "norm": jnp.ones(WIDTH),
    }


def normalized(x: jax.Array, scale: jax.Array) -> jax.Array:
    return scale * x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)


def attended(block: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    q, k, v = jnp.einsum("btw,wnhd->nbthd", x, block["query_key_value"])
    mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return mixed.reshape(x.shape) @ block["mixed"]


def logits(params: dict[str, Any], text: jax.Array) -> jax.Array:
    x = params["characters"][text] + params["positions"]
    for block in params["blocks"]:
        x += attended(block, normalized(x, block["attention_norm"]))
        hidden = normalized(x, block["hidden_norm"]) @ block["hidden"]
        x += jax.nn.gelu(hidden) @ block["output"]
    return normalized(x, params["norm"]) @ params["characters"].T


@jax.jit
def loss(params: dict[str, Any], text: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(
        logits(params, text[:, :-1]), text[:, 1:]
    ).mean()


@jax.jit
def sample(params: dict[str, Any], text: jax.Array, key: jax.Array) -> jax.Array:
    """The characters that come after the text, one after the other."""

    def next_one(text: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        last = logits(params, text[None])[0, -1]
        character = jax.random.categorical(key, last / TEMPERATURE)
        return jnp.append(text[1:], character), character

    return jax.lax.scan(next_one, text, jax.random.split(key, SAMPLE_LENGTH))[1]


def line_of_text(params: dict[str, Any], seed: int) -> str:
    prompt = np.frombuffer(PROMPT.rjust(CONTEXT, "\n").encode(), np.uint8)
    characters = sample(params, prompt.astype(np.int32), jax.random.key(seed))
    return " ".join((PROMPT + "".join(map(chr, characters.tolist()))).split())


def warmed_up_and_held(peak: float, steps: int) -> oc.Schedule:
    """After its end the last value holds, for as long as the run goes on."""
    warmup_steps = max(1, round(WARMUP * steps))
    return oc.join(oc.linear(0.0, peak, steps=warmup_steps), oc.constant(peak, steps=1))


def optimizer(schedule: oc.Schedule) -> optax.GradientTransformation:
    adamw = oc.inject_schedules(optax.adamw)(
        learning_rate=schedule, b2=0.95, weight_decay=WEIGHT_DECAY
    )
    return optax.chain(optax.clip_by_global_norm(1.0), adamw)


def update_with(tx: optax.GradientTransformation) -> Callable:
    @functools.partial(jax.jit, donate_argnums=0)
    def update(run: Run, text: jax.Array) -> Run:
        gradients = jax.grad(loss)(run.params, text)
        updates, opt_state = tx.update(gradients, run.opt_state, run.params)
        return Run(optax.apply_updates(run.params, updates), opt_state)

    return update


def start(options: argparse.Namespace) -> Run:
    schedule = warmed_up_and_held(options.peak, options.steps)
    params = initial_params(options.seed)
    return Run(params, optimizer(schedule).init(params))


def count(run: Run) -> int:
    return int(optax.tree.get(run.opt_state, "InjectSchedulesState").count)


def curve(run: Run) -> oc.Schedule:
    return oc.get_schedules(run.opt_state)["learning_rate"]


def save(run: Run, path: pathlib.Path) -> None:
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), run._asdict(), force=True)


def restored(path: pathlib.Path, options: argparse.Namespace) -> Run:
    with ocp.StandardCheckpointer() as checkpointer:
        return Run(**checkpointer.restore(path.absolute(), start(options)._asdict()))


def to_cool_down(run: Run, *, at_step: int, steps: int) -> Run:
    """The run that holds until that step, now or later, and then comes to 0."""
    schedule = oc.cooldown(curve(run), at_step=at_step, steps=steps)
    opt_state = oc.set_schedules(run.opt_state, learning_rate=schedule)
    return run._replace(opt_state=opt_state)


def trained(
    run: Run,
    until: int,
    update: Callable,
    text: Text,
    options: argparse.Namespace,
    bar: tqdm,
) -> tuple[Run, Course]:
    course = Course([], [], [])
    every = math.ceil(options.steps / CURVE_POINTS)
    for done in range(count(run) + 1, until + 1):
        run = update(run, batch(text, options.seed, done - 1))
        rate = float(optax.tree.get(run.opt_state, "learning_rate"))
        course.updates.append(done)
        course.rates.append(rate)
        if done % every == 0 or done == until:
            course.losses.append((done, float(loss(run.params, text.validation))))
            bar.set_postfix(
                loss=f"{course.losses[-1][1]:.3f}", rate=f"{rate:.2e}", refresh=False
            )
        bar.update()
    return run, course


def draw(courses: dict[str, Course], path: pathlib.Path) -> None:
    figure, axes = plt.subplots(
        2, 1, figsize=(8, 7), sharex=True, layout="constrained", height_ratios=(2, 3)
    )
    held, *branches = courses.values()
    seam = held.updates[-1], held.rates[-1], held.losses[-1]
    for name, course in courses.items():
        updates, rates, losses = course
        if course in branches:
            # From the checkpoint, so that no gap is drawn where there is none.
            updates, rates = [seam[0], *updates], [seam[1], *rates]
            losses = [seam[2], *losses]
        label = name if course in branches else "warm-up and hold"
        axes[0].plot(updates, rates, label=label, linewidth=2)
        axes[1].plot(*np.transpose(losses), label=label, linewidth=2)
    for axis, value in zip(axes, (seam[1], seam[2][1]), strict=True):
        axis.plot(seam[0], value, "o", color="black", label="checkpoint", zorder=3)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set(
        title="The rate that each update applied",
        ylabel="learning rate",
        ylim=(0, None),
        xlim=(0, None),
    )
    axes[0].ticklabel_format(axis="y", scilimits=(-3, 3), useMathText=True)
    axes[1].set(
        title="Validation loss",
        ylabel="nats per character",
        xlabel="optimizer updates",
    )
    axes[1].legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def table(courses: dict[str, Course]) -> str:
    lines = [f"{'':<24}{'updates':>9}{'rate applied':>15}{'validation loss':>18}"]
    for name, (updates, rates, losses) in courses.items():
        lines.append(
            f"{name:<24}{updates[-1]:>9}{rates[-1]:>15.3e}{losses[-1][1]:>18.3f}"
        )
    return "\n".join(lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option = parser.add_argument
    option(
        "--steps",
        type=whole_from(20),
        default=1200,
        help="updates of the longer run; the checkpoint is taken at half of them",
    )
    option("--peak", type=rate_above_zero, default=5e-3, help="rate that is held")
    option("--seed", type=whole_from(0), default=0, help="of weights, batches, sample")
    option(
        "--out",
        type=folder,
        default="outputs",
        help="folder for the picture and the checkpoint; made if it is not there",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    text = load_text()
    half, cooldown_steps = options.steps // 2, round(COOLDOWN * options.steps)
    later = options.steps - cooldown_steps
    print(
        f"{len(text.train):,} characters to learn from; a checkpoint after {half} "
        f"updates with batches of {BATCH_SIZE} x {CONTEXT}, peak {options.peak:g}",
        flush=True,
    )
    update = update_with(optimizer(warmed_up_and_held(options.peak, options.steps)))
    courses: dict[str, Course] = {}
    total = options.steps + cooldown_steps
    with tqdm(total=total, unit="update", dynamic_ncols=True) as bar:

        def carried_on(name: str, run: Run, until: int) -> Run:
            bar.set_description(f"{name:<14}")
            run, courses[name] = trained(run, until, update, text, options, bar)
            return run

        checkpoint = options.out / "language_checkpoint"
        save(carried_on(HELD, start(options), half), checkpoint)
        early, late = (
            to_cool_down(
                restored(checkpoint, options), at_step=at_step, steps=cooldown_steps
            )
            for at_step in (half, later)
        )
        runs = {
            BRANCH: carried_on(BRANCH, early, half + cooldown_steps),
            LONGER: carried_on(LONGER, late, options.steps),
        }
    path = options.out / "language.png"
    draw(courses, path)
    for name, run in runs.items():
        print(f"{name:<14} {curve(run)!r}")
    print(table(courses))
    print(f"sample: {line_of_text(runs[LONGER].params, options.seed)}")
    print(f"picture: {path}")


if __name__ == "__main__":
    main()
