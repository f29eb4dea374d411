"""Schedules in `flax.serialization`, for programs that use it.

Flax is an optional dependency, and its serialization saves only classes that were
registered. So the classes are registered if the program has imported Flax.
"""

import sys

import jax

from optax_cosine._arrays import Pytree
from optax_cosine._schedule import Schedule
from optax_cosine._state import ScheduleMap
from optax_cosine._time import Time


def register_with_flax_if_imported() -> None:
    serialization = sys.modules.get("flax.serialization")
    if serialization is None or serialization.is_serializable(ScheduleMap):
        return

    def to_state(node: Pytree) -> dict[str, Pytree]:
        return {k: serialization.to_state_dict(x) for k, x in _children(node).items()}

    def restore(node: Pytree, state: dict[str, Pytree]) -> Pytree:
        try:
            children = [
                serialization.from_state_dict(child, state[name], name=name)
                for name, child in _children(node).items()
            ]
        except (KeyError, ValueError) as error:
            raise ValueError(
                "the saved schedules have another structure than those of the target, "
                "as a product, a staircase or an endless schedule that was edited is "
                "not one table of phases. Put a schedule of the saved structure into "
                "the target with set_schedules, then restore."
            ) from error
        structure = jax.tree.structure(node, is_leaf=lambda x: x is not node)
        return jax.tree.unflatten(structure, children)

    for kind in (ScheduleMap, Schedule, Time):
        serialization.register_serialization_state(kind, to_state, restore)


def _children(node: Pytree) -> dict[str, Pytree]:
    paths = jax.tree.leaves_with_path(node, is_leaf=lambda x: x is not node)
    return {jax.tree_util.keystr(path, simple=True): child for path, child in paths}
