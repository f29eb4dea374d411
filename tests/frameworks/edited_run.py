"""A run that changes course four times, and goes on from its newest checkpoint.

The program is always the same: it builds the optimizer from the original schedule, and
it restores into the abstract fresh state. An edit belongs to one count. The checkpoint
of this count is taken before the edit, so a restart neither makes an edit twice nor
misses it.
"""

import json
import os
import pathlib
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

import optax_cosine as oc

UPDATES = 240
SAVE_EVERY = 4
ORIGINAL = oc.warmup_cosine_annealing_schedule(
    0.05, 150, warmup_steps=15, end_value=0.001
)
# The first and the last are at counts that are saved before the edit.
EDITS: dict[int, Callable[[oc.Schedule, int], oc.Schedule]] = {
    40: lambda s, count: oc.cooldown(s, at_step=count, steps=90),
    81: lambda s, count: oc.extend(s, at_step=count, total_steps=200),
    122: lambda s, count: oc.rewarm(
        s, at_step=count + 2, peak_value=0.04, warmup_steps=6, decay_steps=60
    ),
    160: lambda _, count: oc.shift(
        oc.warmup_stable_decay_schedule(0.03, 75, warmup_steps=5, decay_steps=40),
        -count,
    ),
}


def schedule_at(count: int) -> oc.Schedule:
    """The schedule in a state of this count, in which earlier edits were made."""
    schedule = ORIGINAL
    for at, edit in EDITS.items():
        if at < count:
            schedule = edit(schedule, at)
    return schedule


def optimizer() -> Any:
    return oc.inject_schedules(optax.adamw)(ORIGINAL, weight_decay=1e-2)


def start() -> dict[str, Any]:
    """All that a checkpoint holds, with the rate of every update."""
    params = {"w": jnp.linspace(-1, 1, 64).reshape(8, 8), "b": jnp.zeros(8)}
    rates = jnp.full(UPDATES, jnp.nan)
    return {"params": params, "opt_state": optimizer().init(params), "rates": rates}


@jax.jit
def update(run: dict[str, Any]) -> dict[str, Any]:
    params, opt_state, rates = run["params"], run["opt_state"], run["rates"]
    count = opt_state.count
    gradients = jax.tree.map(lambda x: jnp.sin(3 * x) + 0.1, params)
    updates, opt_state = optimizer().update(gradients, opt_state, params)
    rates = rates.at[count].set(optax.tree.get(opt_state, "learning_rate"))
    params = optax.apply_updates(params, updates)
    return {"params": params, "opt_state": opt_state, "rates": rates}


def checkpoints(folder: pathlib.Path) -> ocp.CheckpointManager:
    """The two newest are kept; saving is asynchronous, as is Orbax's default."""
    options = ocp.CheckpointManagerOptions(
        preservation_policy=ocp.checkpoint_managers.LatestN(2),
        cleanup_tmp_directories=True,
    )
    return ocp.CheckpointManager(folder, options=options)


def resumed(manager: ocp.CheckpointManager) -> dict[str, Any]:
    if (newest := manager.latest_step()) is None:
        return start()
    target = jax.eval_shape(start)
    return manager.restore(newest, args=ocp.args.StandardRestore(target))


def edited(run: dict[str, Any], count: int) -> dict[str, Any]:
    """The run with the edit that belongs to the count."""
    opt_state = run["opt_state"]
    schedule = EDITS[count](oc.get_schedules(opt_state)["learning_rate"], count)
    opt_state = oc.set_schedules(opt_state, learning_rate=schedule)
    return run | {"opt_state": opt_state}


def train(folder: pathlib.Path, record: pathlib.Path, events: list[Any]) -> None:
    """Until the end, or until the process is killed."""
    sys.addaudithook(kill_at([*events]))
    with checkpoints(folder) as manager:
        run = resumed(manager)
        first = oc.get_count(run["opt_state"])
        curves = oc.get_schedules(run["opt_state"])
        note = {"count": first, "curve": curves["learning_rate"].to_dict()}
        record.write_text(json.dumps(note))
        for count in range(first, UPDATES):
            if count in EDITS:
                run = edited(run, count)
            run = update(run)
            if (count + 1) % SAVE_EVERY == 0:
                manager.save(count + 1, args=ocp.args.StandardSave(run))
    assert update._cache_size() <= 1


def kill_at(events: list[tuple[str, str]]) -> Callable[[str, tuple], None]:
    """Kills this process at the last of the events, after the others were seen."""

    def at(event: str, arguments: tuple) -> None:
        if events and event == events[0][0]:
            path = os.fsdecode(arguments[0]) if arguments else ""
            if re.search(events[0][1], path):
                del events[0]
                if not events:
                    os.kill(os.getpid(), signal.SIGKILL)

    return at


def newest(folder: pathlib.Path) -> int:
    """The newest complete checkpoint, 0 for none: incomplete ones have longer names."""
    return max((int(x.name) for x in folder.iterdir() if x.name.isdecimal()), default=0)


def read(folder: pathlib.Path) -> dict[str, Any]:
    """The newest checkpoint, as the program restores it."""
    with checkpoints(folder) as manager:
        return jax.tree.map(np.asarray, resumed(manager))
