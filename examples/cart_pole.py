"""Reinforcement learning: PPO on a cart-pole, where one rollout gives many updates.

A schedule counts optimizer updates. Each rollout of proximal policy optimization gives
`EPOCHS * MINIBATCHES` updates, so a run has `rollouts * EPOCHS * MINIBATCHES` of them,
and that is the length of its schedule. Three schedules and four seeds train together in
one compiled program. Prints mean returns and the last applied rates; 500 is the best
return. With the defaults it takes about a minute on two cores.
"""

import argparse
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import trange

import optax_cosine as oc

PEAK, SEEDS = 0.01, 4
ENVIRONMENTS, ROLLOUT, LONGEST = 16, 128, 500  # steps of a rollout, of an episode
EPOCHS, MINIBATCHES = 4, 4
DISCOUNT, TRACE, CLIP = 0.99, 0.95, 0.2


class Step(NamedTuple):
    state: jax.Array
    action: jax.Array
    log_probability: jax.Array
    after: jax.Array
    fell: jax.Array
    over: jax.Array


def push(state, action):
    """The cart-pole of Barto, Sutton and Anderson (1983), 0.02 seconds later."""
    position, speed, angle, turning = state
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    acceleration = (
        jnp.where(action == 1, 10.0, -10.0) + 0.05 * turning**2 * sine
    ) / 1.1
    angular = 9.8 * sine - cosine * acceleration
    angular /= 0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1)
    linear = acceleration - 0.05 * angular * cosine / 1.1
    return state + 0.02 * jnp.stack([speed, linear, turning, angular])


def upright(key):
    return jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)


def network(weights, x):
    for weight in weights[:-1]:
        x = jnp.tanh(x @ weight)
    return x @ weights[-1]


def policy(params, state):
    return jax.nn.log_softmax(network(params["actor"], state))


def value(params, state):
    return network(params["critic"], state)[..., 0]


def start(schedule, key):
    keys = jax.random.split(key, 7)
    init = jax.nn.initializers.orthogonal(2**0.5)

    def weights(keys, outputs):
        shapes = (4, 32), (32, 32), (32, outputs)
        return [init(k, shape) for k, shape in zip(keys, shapes, strict=True)]

    params = {"actor": weights(keys[:3], 2), "critic": weights(keys[3:6], 1)}
    states = jax.vmap(upright)(jax.random.split(keys[6], ENVIRONMENTS))
    steps = jnp.zeros(ENVIRONMENTS, jnp.int32)
    return params, optimizer(schedule).init(params), (states, steps)


def optimizer(schedule):
    adam = oc.inject_schedules(optax.adam)(schedule, eps=1e-5)
    return optax.chain(optax.clip_by_global_norm(0.5), adam)


def act(params, environment, key):
    """One environment, one step on; an episode that is over starts again."""
    state, steps = environment
    act_key, start_key = jax.random.split(key)
    action = jax.random.categorical(act_key, policy(params, state))
    after = push(state, action)
    fell = (jnp.abs(after[0]) > 2.4) | (jnp.abs(after[2]) > 12 * np.pi / 180)
    over = fell | (steps + 1 >= LONGEST)
    new = jnp.where(over, upright(start_key), after), jnp.where(over, 0, steps + 1)
    log_probability = policy(params, state)[action]
    return new, Step(state, action, log_probability, after, fell, over)


def advantages(params, steps):
    """Generalized advantage estimates, backward through the rollout."""
    ahead = jnp.where(steps.fell, 0.0, value(params, steps.after))
    surprise = 1 - DISCOUNT + DISCOUNT * ahead - value(params, steps.state)

    def earlier(later, now):
        advantage = now[0] + DISCOUNT * TRACE * jnp.where(now[1], 0.0, later)
        return advantage, advantage

    zeros = jnp.zeros(ENVIRONMENTS)
    return jax.lax.scan(earlier, zeros, (surprise, steps.over), reverse=True)[1]


def loss(params, steps, advantage, target):
    logs = policy(params, steps.state)
    taken = jnp.take_along_axis(logs, steps.action[..., None], -1)[..., 0]
    ratio = jnp.exp(taken - steps.log_probability)
    clipped = jnp.clip(ratio, 1 - CLIP, 1 + CLIP)
    gain = jnp.minimum(ratio * advantage, clipped * advantage).mean()
    entropy = -(jnp.exp(logs) * logs).sum(-1).mean()
    return (
        ((value(params, steps.state) - target) ** 2).mean() / 2 - gain - 0.01 * entropy
    )


def learn(schedule, agent, key):
    """One rollout, and the updates that it gives."""
    params, opt_state, environments = agent
    rollout_key, shuffle_key = jax.random.split(key)
    keys = jax.random.split(rollout_key, (ROLLOUT, ENVIRONMENTS))
    environments, steps = jax.lax.scan(
        lambda x, keys: jax.vmap(act, in_axes=(None, 0, 0))(params, x, keys),
        environments,
        keys,
    )
    advantage = advantages(params, steps)
    target = advantage + value(params, steps.state)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    data = jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:]), (steps, advantage, target)
    )

    def update(carry, rows):
        params, opt_state = carry
        batch = jax.tree.map(lambda x: x[rows], data)
        gradients = jax.grad(loss)(params, *batch)
        updates, opt_state = optimizer(schedule).update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    shuffled = [
        jax.random.permutation(k, ROLLOUT * ENVIRONMENTS).reshape(MINIBATCHES, -1)
        for k in jax.random.split(shuffle_key, EPOCHS)
    ]
    carry, _ = jax.lax.scan(update, (params, opt_state), jnp.concatenate(shuffled))
    # The mean length of an episode, as far as this rollout tells.
    length = ROLLOUT * ENVIRONMENTS / jnp.maximum(steps.over.sum(), 1)
    rate = optax.tree.get(carry[1], "learning_rate")
    return (*carry, environments), (jnp.minimum(length, LONGEST), rate)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument("--rollouts", type=int, default=60)
    rollouts = parser.parse_args().rollouts
    updates = rollouts * EPOCHS * MINIBATCHES
    curves = {
        "line to 0": oc.linear(PEAK, 0.0, steps=updates),
        "cosine to 0": oc.cosine_annealing_schedule(PEAK, updates),
        "constant": oc.constant(PEAK, steps=updates),
    }
    population = oc.stack(curves.values())
    seeds = jax.random.split(jax.random.key(0), SEEDS)
    agents = jax.vmap(lambda x: jax.vmap(lambda key: start(x, key))(seeds))(population)
    over_seeds = jax.vmap(learn, in_axes=(None, 0, 0))
    program = jax.jit(jax.vmap(over_seeds, in_axes=(0, 0, None)), donate_argnums=1)
    returns = []
    for rollout in (bar := trange(rollouts, unit="rollout")):
        keys = jax.vmap(lambda key: jax.random.fold_in(key, rollout))(seeds)  # noqa: B023
        agents, (found, rates) = program(population, agents, keys)
        returns.append(np.asarray(found))
        bar.set_postfix_str(f"return {returns[-1].mean():.0f}", refresh=False)
    last = np.mean(returns[-10:], 0)
    print(f"{updates} updates; mean return of the last 10 rollouts, {SEEDS} seeds")
    for name, row, rate in zip(curves, last, rates[:, 0], strict=True):
        print(f"{name:<14}{row.mean():>8.0f}   last rate {rate:.2e}")


if __name__ == "__main__":
    main()
