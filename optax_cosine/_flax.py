"""Schedules in `flax.serialization`, for programs that use it.

Flax is an optional dependency, and its serialization saves only classes that were
registered. So the classes are registered if the program has imported Flax.
"""

import sys
from typing import Any

from optax_cosine._arrays import Pytree
from optax_cosine._schedule import Schedule, to_schedule
from optax_cosine._state import ScheduleMap
from optax_cosine._time import Time


def register_with_flax_if_imported() -> None:
    serialization: Any = sys.modules.get("flax.serialization")
    if serialization is None or serialization.is_serializable(ScheduleMap):
        return

    def to_state(node: Pytree) -> dict[str, Any]:
        return {k: serialization.to_state_dict(x) for k, x in _children(node).items()}

    def restore(node: Pytree, state: dict[str, Any]) -> dict[str, Any]:
        children = _children(node)
        try:
            return {
                name: serialization.from_state_dict(child, state[name], name=name)
                for name, child in children.items()
            }
        except (KeyError, ValueError) as error:
            raise ValueError(
                "the saved schedules have another structure than those of the target, "
                "as a product, a staircase or an endless schedule that was edited is "
                "not one table of phases. Put a schedule of the saved structure into "
                "the target with set_schedules, then restore."
            ) from error

    makers = {
        ScheduleMap: lambda nodes: ScheduleMap.tree_unflatten(
            tuple(nodes), nodes.values()
        ),
        Schedule: lambda children: to_schedule(**children),
        Time: lambda children: Time(**children),
    }
    for kind, make in makers.items():
        serialization.register_serialization_state(
            kind, to_state, lambda node, state, make=make: make(restore(node, state))
        )


def _children(node: Pytree) -> dict[str, Any]:
    match node:
        case ScheduleMap():
            nodes, names = node.tree_flatten()
            return dict(zip(names, nodes, strict=True))
        case Schedule():
            return {"node": node.node}
        case _:
            return {"whole": node.whole, "frac": node.frac}
