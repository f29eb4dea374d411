"""What annealing does to a language model: the loss with and without a cooldown.

A small transformer learns, character by character, the English of Python's own help
pages. The rate warms up and then holds, as for a model whose length of training is not
decided. Then two runs go on from there with the same data: one holds the rate, one
cools down to 0. Prints both validation losses, and draws them. The edit is one
`set_schedules` on the optimizer state. Nothing is downloaded; with the defaults it
takes about two minutes on two cores.
"""

import argparse
import pathlib
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from tqdm import tqdm

import optax_cosine as oc

PEAK, BATCH_SIZE, CONTEXT = 5e-3, 32, 64
CHARACTERS, WIDTH, HEADS, LAYERS = 128, 96, 4, 2

# Some pages repeat each other: a paragraph is learned or held out, never both.
paragraphs = list(dict.fromkeys("\n\n".join(topics.values()).split("\n\n")))
held_out = paragraphs[::10]
del paragraphs[::10]
TRAIN, VALIDATION = (
    np.frombuffer("\n\n".join(text).encode("ascii", "replace"), np.uint8)
    for text in (paragraphs, held_out)
)


def windows(text, starts):
    return text[starts[:, None] + np.arange(CONTEXT + 1)].astype(np.int32)


TEST = windows(VALIDATION, np.linspace(0, len(VALIDATION) - 65, 256).astype(int))


def initial_params(key):
    keys = iter(jax.random.split(key, 2 + 4 * LAYERS))

    def normal(*shape, scale=WIDTH**-0.5):
        return scale * jax.random.normal(next(keys), shape)

    def block():
        small = WIDTH**-0.5 / (2 * LAYERS) ** 0.5
        return {
            "attend": normal(WIDTH, 3, HEADS, WIDTH // HEADS),
            "mix": normal(WIDTH, WIDTH, scale=small),
            "hidden": normal(WIDTH, 4 * WIDTH),
            "output": normal(4 * WIDTH, WIDTH, scale=small),
        }

    characters, positions = normal(CHARACTERS, WIDTH), normal(CONTEXT, WIDTH)
    blocks = [block() for _ in range(LAYERS)]
    return {"characters": characters, "positions": positions, "blocks": blocks}


def normalize(x):
    return x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)


def logits(params, text):
    x = params["characters"][text] + params["positions"]
    for block in params["blocks"]:
        q, k, v = jnp.einsum("btw,wnhd->nbthd", normalize(x), block["attend"])
        attended = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        x += attended.reshape(x.shape) @ block["mix"]
        x += jax.nn.gelu(normalize(x) @ block["hidden"]) @ block["output"]
    return normalize(x) @ params["characters"].T


@jax.jit
def loss(params, text):
    return optax.softmax_cross_entropy_with_integer_labels(
        logits(params, text[:, :-1]), text[:, 1:]
    ).mean()


# After the end of a schedule its last value holds, for as long as the run goes on.
held = oc.join(oc.linear(0.0, PEAK, steps=60), oc.constant(PEAK, steps=1))
optimizer = optax.chain(
    optax.clip_by_global_norm(1.0),
    oc.inject_schedules(optax.adamw)(learning_rate=held, b2=0.95, weight_decay=0.1),
)


@jax.jit
def update(params, opt_state, text):
    gradients = jax.grad(loss)(params, text)
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def train(run, counts, bar):
    """The run after the updates of `counts`, and its validation losses."""
    losses = []
    for count in counts:
        # The batch depends on the count alone: both branches see the same text.
        starts = np.random.default_rng(count).integers(len(TRAIN) - 65, size=BATCH_SIZE)
        run = update(*run, windows(TRAIN, starts))
        if (count + 1) % max(1, counts.stop // 30) == 0 or count + 1 == counts.stop:
            losses.append((count + 1, float(loss(run[0], TEST))))
            rate = optax.tree.get(run[1], "learning_rate")
            bar.set_postfix_str(f"rate {rate:.1e}, loss {losses[-1][1]:.3f}")
        bar.update()
    return run, losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument("--steps", type=int, default=400, help="updates that hold")
    parser.add_argument("--out", type=pathlib.Path, default="outputs")
    options = parser.parse_args()
    steps, more = options.steps, max(1, options.steps // 4)
    params = initial_params(jax.random.key(0))
    with tqdm(total=steps + 2 * more, unit="update", dynamic_ncols=True) as bar:
        run, losses = train((params, optimizer.init(params)), range(steps), bar)
        params, opt_state = run
        running = oc.get_schedules(opt_state)["learning_rate"]
        cooled = oc.cooldown(running, at_step=oc.get_count(opt_state), steps=more)
        branches = {
            "held": run,
            "cooled": (params, oc.set_schedules(opt_state, learning_rate=cooled)),
        }
        axis = Figure(layout="constrained").subplots()
        axis.plot(*np.transpose(losses), color="gray", label="warm-up and hold")
        for name, branch in branches.items():
            branch, then = train(branch, range(steps, steps + more), bar)
            axis.plot(*np.transpose([losses[-1], *then]), label=name)
            rate = optax.tree.get(branch[1], "learning_rate")
            bar.write(
                f"{name:<8} validation loss {then[-1][1]:.3f}, last rate {rate:.1e}"
            )
    axis.set(xlabel="optimizer updates", ylabel="validation loss, nats per character")
    axis.legend(frameon=False)
    options.out.mkdir(parents=True, exist_ok=True)
    axis.figure.savefig(options.out / "language.png", dpi=120)
    print(f"picture: {options.out / 'language.png'}")


if __name__ == "__main__":
    main()
