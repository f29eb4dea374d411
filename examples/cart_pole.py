"""Reinforcement learning: PPO with annealed and constant rates, on a cart-pole in JAX.

A pole stands on a cart that is pushed left or right, with the dynamics of Barto, Sutton
and Anderson (1983). An episode ends when the pole falls or the cart leaves the track,
or after 500 steps, the best return. Agents learn with proximal policy optimization and,
as is usual there, with a rate that falls along a line to 0 over the run; others anneal
it along half a cosine, or keep it constant. The bonus for entropy follows the same
curve on the same clock. All schedules and all seeds train in one compiled program, and
the rates that were applied come out of its scan. Prints a table of returns and writes
one picture; with the defaults it takes about a minute on two cores. On so easy a task
all of them end at the best return.
"""

import argparse
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from arguments import folder, rate_above_zero, whole_from
from tqdm import trange

import optax_cosine as oc

matplotlib.use("Agg")
import matplotlib.pyplot as plt

GRAVITY = 9.8  # m/s^2
CART, POLE = 1.0, 0.1  # kg
HALF_LENGTH = 0.5  # m, of the pole
FORCE = 10.0  # N
SECONDS = 0.02  # of a step
TRACK = 2.4  # m to either side
TILT = 12 * np.pi / 180  # to either side
LONGEST = 500  # steps of an episode

HIDDEN = 32
ENVIRONMENTS = 16  # of each agent
ROLLOUT = 64  # steps in each of them before the agent learns
EPOCHS = 8  # updates from each rollout
DISCOUNT = 0.99
TRACE = 0.95  # lambda of generalized advantage estimation
CLIP = 0.2
ENTROPY_BONUS = 0.01
TEST_EPISODES = 16
POINTS = 20  # of the run at which the agents are tested


class Physics(NamedTuple):
    position: jax.Array
    speed: jax.Array
    angle: jax.Array
    turning: jax.Array


class Environment(NamedTuple):
    physics: Physics
    steps: jax.Array  # of the episode so far


class Step(NamedTuple):
    """What happened in an environment; `after` is where the episode went or ended."""

    before: jax.Array
    action: jax.Array
    after: jax.Array
    fell: jax.Array
    over: jax.Array


class Course(NamedTuple):
    """What became of the runs of all schedules."""

    rates: np.ndarray  # by schedule, seed and update
    returns: np.ndarray  # by schedule, seed and point


class Agent(NamedTuple):
    params: Any
    opt_state: Any
    environments: Environment
    key: jax.Array


def pushed(physics: Physics, action: jax.Array) -> Physics:
    position, speed, angle, turning = physics
    force = jnp.where(action == 1, FORCE, -FORCE)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    mass, moment = CART + POLE, POLE * HALF_LENGTH
    push = (force + moment * turning**2 * sine) / mass
    inertia = HALF_LENGTH * (4 / 3 - POLE * cosine**2 / mass)
    angular = (GRAVITY * sine - cosine * push) / inertia
    linear = push - moment * angular * cosine / mass
    return Physics(
        position + SECONDS * speed,
        speed + SECONDS * linear,
        angle + SECONDS * turning,
        turning + SECONDS * angular,
    )


def is_down(physics: Physics) -> jax.Array:
    return (jnp.abs(physics.position) > TRACK) | (jnp.abs(physics.angle) > TILT)


def upright(key: jax.Array) -> Physics:
    return Physics(*jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05))


def stepped(
    environment: Environment, action: jax.Array, key: jax.Array
) -> tuple[Environment, Step]:
    """The environment one step on, or started again where its episode is over."""
    physics, steps = pushed(environment.physics, action), environment.steps + 1
    fell = is_down(physics)
    over = fell | (steps >= LONGEST)
    new = Environment(upright(key), jnp.zeros_like(steps))
    following = jax.tree.map(
        lambda x, y: jnp.where(over, x, y), new, Environment(physics, steps)
    )
    before, after = jnp.stack(environment.physics), jnp.stack(physics)
    return following, Step(before, action, after, fell, over)


def initial_params(key: jax.Array) -> dict[str, Any]:
    def network(key: jax.Array, outputs: int, scale: float) -> list[Any]:
        shapes = (4, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, outputs)
        return [
            (jax.nn.initializers.orthogonal(s)(k, shape), jnp.zeros(shape[-1]))
            for k, shape, s in zip(
                jax.random.split(key, 3), shapes, (2**0.5, 2**0.5, scale), strict=True
            )
        ]

    actor, critic = jax.random.split(key)
    return {"actor": network(actor, 2, 0.01), "critic": network(critic, 1, 1.0)}


def outputs(network: list[Any], x: jax.Array) -> jax.Array:
    *hidden, (weight, bias) = network
    for w, b in hidden:
        x = jnp.tanh(x @ w + b)
    return x @ weight + bias


def values(params: dict[str, Any], observed: jax.Array) -> jax.Array:
    return outputs(params["critic"], observed)[..., 0]


def rollout(
    params: dict[str, Any], environments: Environment, key: jax.Array
) -> tuple[Environment, Step]:
    def step(environments: Environment, key: jax.Array) -> tuple[Environment, Step]:
        act, *again = jax.random.split(key, 1 + ENVIRONMENTS)
        logits = outputs(params["actor"], jnp.stack(environments.physics, -1))
        actions = jax.random.categorical(act, logits)
        return jax.vmap(stepped)(environments, actions, jnp.stack(again))

    return jax.lax.scan(step, environments, jax.random.split(key, ROLLOUT))


def advantages(params: dict[str, Any], steps: Step) -> jax.Array:
    """Generalized advantage estimates; out of time is not as bad as fallen."""
    ahead = jnp.where(steps.fell, 0.0, values(params, steps.after))
    surprises = 1 - DISCOUNT + DISCOUNT * ahead - values(params, steps.before)

    def earlier(later: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
        surprise, over = now
        advantage = surprise + DISCOUNT * TRACE * jnp.where(over, 0.0, later)
        return advantage, advantage

    none = jnp.zeros(ENVIRONMENTS)
    return jax.lax.scan(earlier, none, (surprises, steps.over), reverse=True)[1]


def log_policy(params: dict[str, Any], steps: Step) -> tuple[jax.Array, jax.Array]:
    """Of the actions that were taken, and of all."""
    every = jax.nn.log_softmax(outputs(params["actor"], steps.before))
    taken = jnp.take_along_axis(every, steps.action[..., None], -1)[..., 0]
    return taken, every


def loss(
    params: dict[str, Any],
    steps: Step,
    before: jax.Array,
    advantage: jax.Array,
    targets: jax.Array,
    entropy_bonus: jax.Array,
) -> jax.Array:
    taken, every = log_policy(params, steps)
    ratio = jnp.exp(taken - before)
    clipped = jnp.clip(ratio, 1 - CLIP, 1 + CLIP)
    gain = jnp.minimum(ratio * advantage, clipped * advantage).mean()
    entropy = -(jnp.exp(every) * every).sum(-1).mean()
    error = jnp.square(values(params, steps.before) - targets).mean()
    return -gain - entropy_bonus * entropy + 0.5 * error


def optimizer(learning_rate: oc.Schedule) -> optax.GradientTransformation:
    adam = oc.inject_schedules(optax.adam)(learning_rate, eps=1e-5)
    return optax.chain(optax.clip_by_global_norm(0.5), adam)


def begun(key: jax.Array, learning_rate: oc.Schedule) -> Agent:
    key, weights, starts = jax.random.split(key, 3)
    params = initial_params(weights)
    physics = jax.vmap(upright)(jax.random.split(starts, ENVIRONMENTS))
    environments = Environment(physics, jnp.zeros(ENVIRONMENTS, jnp.int32))
    return Agent(params, optimizer(learning_rate).init(params), environments, key)


def learned(agent: Agent, curve: oc.Schedule, peak: float) -> tuple[Agent, jax.Array]:
    """The agent after one rollout, and the rates of the updates that it led to."""
    tx = optimizer(curve * peak)
    key, acting = jax.random.split(agent.key)
    environments, steps = rollout(agent.params, agent.environments, acting)
    before, _ = log_policy(agent.params, steps)
    advantage = advantages(agent.params, steps)
    targets = advantage + values(agent.params, steps.before)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)

    def update(carry: Any, _: None) -> tuple[Any, jax.Array]:
        params, opt_state = carry
        count = optax.tree.get(opt_state, "InjectSchedulesState").count
        bonus = (curve * ENTROPY_BONUS)(count)
        gradients = jax.grad(loss)(params, steps, before, advantage, targets, bonus)
        updates, opt_state = tx.update(gradients, opt_state, params)
        rate = optax.tree.get(opt_state, "learning_rate")
        return (optax.apply_updates(params, updates), opt_state), rate

    (params, opt_state), rates = jax.lax.scan(
        update, (agent.params, agent.opt_state), length=EPOCHS
    )
    return Agent(params, opt_state, environments, key), rates


def mean_return(params: dict[str, Any], key: jax.Array) -> jax.Array:
    """Of whole episodes, in which actions are drawn as in training."""

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        physics, stands = carry
        logits = outputs(params["actor"], jnp.stack(physics, -1))
        physics = pushed(physics, jax.random.categorical(key, logits))
        return (physics, stands & ~is_down(physics)), stands

    start, act = jax.random.split(key)
    physics = jax.vmap(upright)(jax.random.split(start, TEST_EPISODES))
    carry = physics, jnp.ones(TEST_EPISODES, bool)
    return jax.lax.scan(step, carry, jax.random.split(act, LONGEST))[1].sum(0).mean()


def part_of_training(rollouts: int, peak: float) -> Callable:
    """Compiled once: one of the equal parts of all runs, and a test at its end."""

    def part(agent: Agent, curve: oc.Schedule) -> tuple[Agent, jax.Array, jax.Array]:
        agent, rates = jax.lax.scan(
            lambda agent, _: learned(agent, curve, peak), agent, length=rollouts
        )
        key, testing = jax.random.split(agent.key)
        tested = mean_return(agent.params, testing)
        return agent._replace(key=key), rates.ravel(), tested

    return jax.jit(over_population(part), donate_argnums=0)


def over_population(function: Callable) -> Callable:
    """Of what there is for each schedule and seed, and of a curve for each schedule."""
    return jax.vmap(jax.vmap(function, in_axes=(0, None)))


def curves(updates: int) -> dict[str, oc.Schedule]:
    return {
        "line to 0": oc.linear(1.0, 0.0, steps=updates),
        "cosine to 0": oc.cosine_annealing_schedule(1.0, updates),
        "constant": oc.constant(1.0, steps=updates),
    }


def trained(options: argparse.Namespace) -> Course:
    chosen = curves(options.rollouts * EPOCHS)
    population = oc.stack(list(chosen.values()))
    # Each schedule begins with the same weights and environments, seed by seed.
    keys = jax.random.split(jax.random.key(options.seed), options.seeds)
    keys = jnp.tile(keys, (len(chosen), 1))
    agents = jax.jit(over_population(begun))(keys, population * options.peak)
    part = part_of_training(options.rollouts // POINTS, options.peak)
    rates, returns = [], []
    for _ in (bar := trange(POINTS, unit="part", dynamic_ncols=True)):
        agents, applied, tested = part(agents, population)
        rates.append(np.asarray(applied))
        returns.append(np.asarray(tested))
        bar.set_postfix_str(f"mean return {returns[-1].mean():.0f}")
    return Course(np.concatenate(rates, -1), np.stack(returns, -1))


def draw(course: Course, names: list[str], path: pathlib.Path) -> None:
    figure, axes = plt.subplots(
        2, 1, figsize=(8, 7), sharex=True, layout="constrained", height_ratios=(3, 2)
    )
    _, seeds, updates = course.rates.shape
    points = np.linspace(0, updates, POINTS + 1)[1:]
    for name, rates, returns in zip(names, course.rates, course.returns, strict=True):
        (line,) = axes[0].plot(points, returns.mean(0), label=name, linewidth=2.5)
        axes[0].plot(
            points, returns.T, color=line.get_color(), alpha=0.3, linewidth=0.8
        )
        axes[1].plot(np.arange(1, updates + 1), rates[0], label=name, linewidth=2)
    axes[0].set(
        title=f"Returns: each of {seeds} seeds, and their mean",
        ylabel="steps before the pole falls",
        ylim=(0, 1.04 * LONGEST),
        xlim=(0, None),
    )
    axes[1].set(
        title="The rate that each update applied",
        ylabel="learning rate",
        xlabel="optimizer updates",
        ylim=(0, None),
    )
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def table(course: Course, names: list[str]) -> str:
    """Mean returns and their standard deviations over seeds, and the last rates."""
    per_point = course.rates.shape[-1] // POINTS
    head = f"{'updates':>9}" + f"{'return':>10}{'s. d.':>7}{'rate':>9}" * len(names)
    lines = [" " * 9 + "".join(f"{name:>26}" for name in names), head]
    for point in range(POINTS // 5 - 1, POINTS, POINTS // 5):
        line = f"{(point + 1) * per_point:>9}"
        for rates, returns in zip(course.rates, course.returns, strict=True):
            rate, tested = rates[0, (point + 1) * per_point - 1], returns[:, point]
            line += f"{tested.mean():>10.1f}{tested.std():>7.1f}{rate:>9.1e}"
        lines.append(line)
    return "\n".join(lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option = parser.add_argument
    option(
        "--rollouts",
        type=whole_from(POINTS),
        default=160,
        help=f"in each run, a multiple of {POINTS}; each is {ROLLOUT} steps in "
        f"{ENVIRONMENTS} environments, and leads to {EPOCHS} updates",
    )
    option("--peak", type=rate_above_zero, default=1e-2, help="rate at the start")
    option("--seed", type=whole_from(0), default=0, help="that the seeds come from")
    option("--seeds", type=whole_from(1), default=8, help="runs of each schedule")
    option(
        "--out",
        type=folder,
        default="outputs",
        help="folder for the picture; made if it is not there",
    )
    options = parser.parse_args(arguments)
    if options.rollouts % POINTS:
        parser.error(
            f"argument --rollouts: must be a multiple of {POINTS}, as the runs are "
            f"tested at so many points, got {options.rollouts}"
        )
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    names = list(curves(1))
    print(
        f"{len(names)} schedules x {options.seeds} seeds; each run is "
        f"{options.rollouts * EPOCHS:,} updates from "
        f"{options.rollouts * ROLLOUT * ENVIRONMENTS:,} steps, peak {options.peak:g}",
        flush=True,
    )
    course = trained(options)
    path = options.out / "cart_pole.png"
    draw(course, names, path)
    print(table(course, names))
    print(f"picture: {path}")


if __name__ == "__main__":
    main()
