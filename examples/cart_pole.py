"""Reinforcement learning: PPO on a cart-pole, where one rollout gives many updates.

A schedule counts optimizer updates, so it is `rollouts * EPOCHS * MINIBATCHES` long.
Three schedules and four seeds train together in one compiled program. Prints the mean
lengths of episodes, at most 500, and the last applied rates, in less than a minute.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import trange

import optax_cosine as oc

PEAK, SEEDS = 0.01, 4
ENVIRONMENTS, ROLLOUT, LONGEST = 16, 128, 500  # steps of a rollout, of an episode
EPOCHS, MINIBATCHES, DISCOUNT, TRACE, CLIP = 4, 4, 0.99, 0.95, 0.2


def push(state, action):
    """The cart-pole of Barto, Sutton and Anderson (1983), 0.02 seconds later."""
    _, speed, angle, turning = state
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    pushed = (20.0 * action - 10.0 + 0.05 * turning**2 * sine) / 1.1
    angular = (9.8 * sine - cosine * pushed) / (2 / 3 - 0.05 * cosine**2 / 1.1)
    linear = pushed - 0.05 * angular * cosine / 1.1
    return state + 0.02 * jnp.stack([speed, linear, turning, angular])


def upright(key):
    return jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)


def network(params, state):
    """The log probabilities of both actions, and the value of the state."""
    for weight in params[:-1]:
        state = jnp.tanh(state @ weight)
    outputs = state @ params[-1]
    return jax.nn.log_softmax(outputs[..., :2]), outputs[..., 2]


def optimizer(schedule):
    return oc.inject_schedules(optax.adam)(schedule, eps=1e-5)


def start(schedule, key):
    *keys, start_key = jax.random.split(key, 4)
    shapes = (4, 64), (64, 64), (64, 3)
    params = [*map(jax.nn.initializers.orthogonal(1.0), keys, shapes)]
    states = jax.vmap(upright)(jax.random.split(start_key, ENVIRONMENTS))
    steps = jnp.zeros(ENVIRONMENTS, jnp.int32)
    return params, optimizer(schedule).init(params), (states, steps)


def act(params, environment, key):
    """One environment, one step on; an episode that is over starts again."""
    state, steps = environment
    act_key, start_key = jax.random.split(key)
    logs, _ = network(params, state)
    action = jax.random.categorical(act_key, logs)
    after = push(state, action)
    fell = (jnp.abs(after[0]) > 2.4) | (jnp.abs(after[2]) > 12 * np.pi / 180)
    over = fell | (steps + 1 >= LONGEST)
    new = jnp.where(over, upright(start_key), after), jnp.where(over, 0, steps + 1)
    return new, (state, action, logs[action], after, fell, over)


def advantages(values, values_after, fell, over):
    """Generalized advantage estimates, backward through the rollout."""
    ahead = jnp.where(fell, 0.0, values_after)
    surprises = 1 - DISCOUNT + DISCOUNT * ahead - values

    def earlier(later, now):
        advantage = now[0] + DISCOUNT * TRACE * jnp.where(now[1], 0.0, later)
        return advantage, advantage

    return jax.lax.scan(earlier, values[0] * 0, (surprises, over), reverse=True)[1]


def loss(params, state, action, log_before, advantage, target):
    logs, value = network(params, state)
    ratio = jnp.exp(jnp.take_along_axis(logs, action[:, None], 1)[:, 0] - log_before)
    clipped = jnp.clip(ratio, 1 - CLIP, 1 + CLIP)
    gain = jnp.minimum(ratio * advantage, clipped * advantage).mean()
    entropy = -(jnp.exp(logs) * logs).sum(-1).mean()
    return jnp.square(value - target).mean() / 2 - gain - 0.01 * entropy


def learn(schedule, agent, key):
    """One rollout, and the updates that it gives."""
    params, opt_state, environments = agent
    act_key, shuffle_key = jax.random.split(key)
    act_all = jax.vmap(lambda now, key: act(params, now, key))
    keys = jax.random.split(act_key, (ROLLOUT, ENVIRONMENTS))
    environments, steps = jax.lax.scan(act_all, environments, keys)
    state, action, log, after, fell, over = steps
    values, values_after = network(params, state)[1], network(params, after)[1]
    advantage = advantages(values, values_after, fell, over)
    target = advantage + values
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    columns = state, action, log, advantage, target
    data = [x.reshape(-1, *x.shape[2:]) for x in columns]

    def update(carry, rows):
        params, opt_state = carry
        gradients = jax.grad(loss)(params, *[x[rows] for x in data])
        updates, opt_state = optimizer(schedule).update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    split = jax.random.split(shuffle_key, EPOCHS)
    orders = [jax.random.permutation(key, ROLLOUT * ENVIRONMENTS) for key in split]
    rows = jnp.concatenate(orders).reshape(EPOCHS * MINIBATCHES, -1)
    (params, opt_state), _ = jax.lax.scan(update, (params, opt_state), rows)
    length = jnp.minimum(over.size / jnp.maximum(over.sum(), 1), LONGEST)
    agent = params, opt_state, environments
    return agent, length, optax.tree.get(opt_state, "learning_rate")


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
    keys = jax.vmap(lambda key: jax.random.split(key, rollouts), out_axes=1)(seeds)
    over_seeds = jax.vmap(learn, in_axes=(None, 0, 0))
    program = jax.jit(jax.vmap(over_seeds, in_axes=(0, 0, None)), donate_argnums=1)
    lengths = []
    for rollout in (bar := trange(rollouts, unit="rollout", dynamic_ncols=True)):
        agents, length, rates = program(population, agents, keys[rollout])
        lengths.append(np.asarray(length))
        bar.set_postfix_str(f"steps of an episode {length.mean():.0f}", refresh=False)
    print(f"{updates} updates; mean of {SEEDS} seeds and the last 10 rollouts:")
    last = np.mean(lengths[-10:], axis=(0, 2))
    for name, mean, rate in zip(curves, last, rates[:, 0], strict=True):
        print(f"{name:<12}{mean:>5.0f} steps of an episode, last rate {rate:.2e}")


if __name__ == "__main__":
    main()
