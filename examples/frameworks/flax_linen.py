"""A schedule in the optimizer state, with Flax Linen and its `TrainState`.

`get_schedules` and `set_schedules` take the whole train state, and so does
`flax.serialization`: a run that is saved on a halved curve continues along that curve,
although the program that restores it is configured with the original curve. From there
the rate is cooled down.
"""

import digits
import jax
import jax.numpy as jnp
import optax
from flax import linen, serialization
from flax.training.train_state import TrainState

import optax_cosine as oc


class Network(linen.Module):
    @linen.compact
    def __call__(self, images):
        hidden = linen.relu(linen.Dense(64)(images))
        return linen.Dense(10)(hidden)


def initial_state(schedule):
    model = Network()
    variables = model.init(jax.random.key(0), digits.TEST_IMAGES)
    optimizer = oc.inject_schedules(optax.adamw)(schedule, weight_decay=1e-3)
    return TrainState.create(
        apply_fn=model.apply, params=variables["params"], tx=optimizer
    )


@jax.jit
def step(state, images, labels):
    def loss(params):
        logits = state.apply_fn({"params": params}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return state.apply_gradients(grads=jax.grad(loss)(state.params))


def report(state):
    rate = optax.tree.get(state.opt_state, "learning_rate")
    print(f"update {state.step} had the rate {rate:.2e}")


def main():
    steps = digits.steps_of(__doc__)
    planned = oc.warmup_cosine_annealing_schedule(
        peak_value=4e-3, total_steps=4 * steps, warmup_steps=steps // 4
    )
    state = initial_state(planned)
    for images, labels in digits.batches("as planned", steps):
        state = step(state, images, labels)
    report(state)

    halved = oc.get_schedules(state)["learning_rate"] / 2
    state = oc.set_schedules(state, learning_rate=halved)
    for images, labels in digits.batches("halved", steps):
        state = step(state, images, labels)
    report(state)

    saved = serialization.to_bytes(state)
    state = serialization.from_bytes(initial_state(planned), saved)
    restored = oc.get_schedules(state)["learning_rate"]
    print(f"{len(saved)} bytes hold it, on the curve {restored}")

    shorter = oc.cooldown(restored, at_step=state.step, steps=steps)
    state = oc.set_schedules(state, learning_rate=shorter)
    for images, labels in digits.batches("cooling down", steps):
        state = step(state, images, labels)
    report(state)

    logits = state.apply_fn({"params": state.params}, digits.TEST_IMAGES)
    guesses = jnp.argmax(logits, -1)
    print(f"test accuracy: {jnp.mean(guesses == digits.TEST_LABELS):.1%}")


if __name__ == "__main__":
    main()
