"""Save, stop, resume, and change the schedule of a run: one command, with Orbax.

A small network learns the digits of scikit-learn. The optimizer state holds the
schedule, so a checkpoint of the state is all there is to save. Each command goes on
from the newest checkpoint of the one before, also if that was stopped with Ctrl-C. To
edit the schedule, say so once; later commands need not say it again:

    python resume.py --stop-at 600
    python resume.py --extend-to 3000 --stop-at 1500
    python resume.py --cooldown-in 100
"""

import argparse
import pathlib

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from sklearn.datasets import load_digits
from tqdm import trange

import optax_cosine as oc

SAVE_EVERY = 100
IMAGES, LABELS = map(np.asarray, load_digits(return_X_y=True))
IMAGES = (IMAGES / 16).astype(np.float32)

schedule = oc.warmup_cosine_annealing_schedule(5e-3, 2_000, warmup_steps=200)
optimizer = oc.inject_schedules(optax.adamw)(schedule, weight_decay=1e-3)


def loss(params, images, labels):
    logits = jax.nn.relu(images @ params["hidden"]) @ params["output"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@jax.jit
def update(run, images, labels):
    value, gradients = jax.value_and_grad(loss)(run["params"], images, labels)
    updates, opt_state = optimizer.update(gradients, run["opt_state"], run["params"])
    params = optax.apply_updates(run["params"], updates)
    return {"params": params, "opt_state": opt_state}, value


def new_run():
    first, second = jax.random.split(jax.random.key(0))
    he = jax.nn.initializers.he_normal()
    params = {"hidden": he(first, (64, 64)), "output": he(second, (64, 10))}
    return {"params": params, "opt_state": optimizer.init(params)}


def edit(opt_state, options):
    """The state with the schedule that the command asks for."""
    count = oc.get_count(opt_state)
    running = oc.get_schedules(opt_state)["learning_rate"]
    if count >= running.total_steps:
        raise SystemExit(f"The run is over: {count} of {running.total_steps} updates.")
    if options.cooldown_in:
        running = oc.cooldown(running, at_step=count, steps=options.cooldown_in)
    if options.extend_to:
        running = oc.extend(running, at_step=count, total_steps=options.extend_to)
    return oc.set_schedules(opt_state, learning_rate=running)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument(
        "--cooldown-in", type=int, help="updates from now to a rate of 0"
    )
    parser.add_argument("--extend-to", type=int, help="updates of the run in all")
    parser.add_argument("--stop-at", type=int, help="updates, then stop as if killed")
    parser.add_argument("--out", type=pathlib.Path, default="outputs/resume")
    options = parser.parse_args()
    run = new_run()
    with ocp.CheckpointManager(options.out.absolute()) as manager:
        newest = manager.latest_step()
        if newest is not None:
            run = manager.restore(newest, args=ocp.args.StandardRestore(run))
        if options.cooldown_in or options.extend_to:
            if newest is None:
                parser.error(f"there is no run to edit in {options.out}")
            run["opt_state"] = edit(run["opt_state"], options)
        running = oc.get_schedules(run["opt_state"])["learning_rate"]
        first, total = int(oc.get_count(run["opt_state"])), running.total_steps
        print(f"from update {first} to {total} on {running!r}")
        last = min(total, options.stop_at or total)
        for step in (bar := trange(first, last, initial=first, total=total)):
            rows = np.random.default_rng(step).integers(len(LABELS), size=64)
            run, value = update(run, IMAGES[rows], LABELS[rows])
            rate = optax.tree.get(run["opt_state"], "learning_rate")
            bar.set_postfix_str(f"rate {rate:.2e}, loss {value:.4f}", refresh=False)
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == last:
                manager.save(step + 1, args=ocp.args.StandardSave(run))


if __name__ == "__main__":
    main()
