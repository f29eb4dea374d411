"""A population that two processes share, and one run that both replicate, are edited.

Usage: edited_hosts.py COORDINATOR PROCESS. Prints what the process saw, as JSON.
"""

import itertools
import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import optax_cosine as oc

MEMBERS = 8
UPDATES = 5  # Before each edit, and after the last one.
START = oc.warmup_cosine_annealing_schedule(0.1, 60, warmup_steps=3)


def schedules_of(member: int) -> list[oc.Schedule]:
    """The schedules that a member follows, one after the other."""
    schedule = START / (1 + member)
    short = oc.cooldown(schedule, at_step=UPDATES, steps=12 + member)
    return [schedule, short, short * 0.5]


def start(schedule: oc.Schedule) -> Any:
    params = {"w": jnp.full((4, 4), 0.5, np.float32)}
    return params, oc.inject_schedules(optax.adamw)(schedule).init(params)


def step(params: Any, opt_state: Any) -> Any:
    gradients = jax.tree.map(lambda x: x * x + x, params)
    tx = oc.inject_schedules(optax.adamw)(START)
    updates, opt_state = tx.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def advanced(step: Any, run: Any) -> tuple[Any, list[list[float]]]:
    """The run after some updates, and the rates that this process applied."""
    rates = []
    for _ in range(UPDATES):
        run = step(*run)
        shards = optax.tree.get(run[1], "learning_rate").addressable_shards
        rates.append([x for shard in shards for x in np.ravel(shard.data).tolist()])
    return run, rates


def shardings(opt_state: Any) -> list[Any]:
    return [leaf.sharding for leaf in jax.tree.leaves(opt_state)]


def shared_population(mesh: Mesh) -> dict[str, Any]:
    split = NamedSharding(mesh, PartitionSpec("m"))
    curves = [schedules_of(member) for member in range(MEMBERS)]
    first, second, _ = map(oc.stack, zip(*curves, strict=True))
    run = jax.jit(jax.vmap(start), out_shardings=split)(first)
    compiled: Any = jax.jit(jax.vmap(step))
    run, rates = advanced(compiled, run)
    before, programs = shardings(run[1]), compiled._cache_size()
    kept = []
    # The present schedules are not all here: they are scaled where they are.
    for edit in (lambda _: second, lambda present: present * 0.5):
        params, opt_state = run
        edited = edit(oc.get_schedules(opt_state)["learning_rate"])
        opt_state = oc.set_schedules(opt_state, learning_rate=edited)
        kept.append(shardings(opt_state) == before)
        run, more = advanced(compiled, (params, opt_state))
        rates += more
    return {
        "rates": rates,
        "is split": all(x.is_equivalent_to(split, 1) for x in before),
        "sharding kept": kept,
        "compiled again": compiled._cache_size() - programs,
    }


def replicated_run(mesh: Mesh) -> dict[str, Any]:
    everywhere = NamedSharding(mesh, PartitionSpec())
    curves = schedules_of(0)
    run = jax.jit(start, out_shardings=everywhere)(curves[0])
    compiled: Any = jax.jit(step)
    run, rates = advanced(compiled, run)
    before, programs = shardings(run[1]), compiled._cache_size()
    kept = []
    for old, new in itertools.pairwise(curves):
        params, opt_state = run
        assert oc.get_schedules(opt_state)["learning_rate"] == old
        opt_state = oc.set_schedules(opt_state, learning_rate=new)
        kept.append(shardings(opt_state) == before)
        run, more = advanced(compiled, (params, opt_state))
        rates += more
    return {
        "rates": rates,
        "count": oc.get_count(run[1]),
        "sharding kept": kept,
        "compiled again": compiled._cache_size() - programs,
    }


def main(coordinator: str, process: int) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(coordinator, num_processes=2, process_id=process)
    mesh = Mesh(np.array(jax.devices()), ("m",))
    seen = {"population": shared_population(mesh), "one run": replicated_run(mesh)}
    print(json.dumps(seen))
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
