"""Schedules in `flax.serialization`, for programs that use it.

Flax is no dependency, and saves no class that it was not told of. A program that has
imported it tells it here, when a state that holds schedules is made.
"""

import sys
from collections.abc import Mapping, Set
from typing import Any

from optax_cosine._combine import Retimed, Spliced
from optax_cosine._schedule import Product
from optax_cosine._state import Schedules
from optax_cosine._table import Table


def register_with_flax() -> None:
    serialization: Any = sys.modules.get("flax.serialization")
    if serialization is None or serialization.is_serializable(Schedules):
        return

    def to_state(node: Any) -> dict[str, Any]:
        return {k: serialization.to_state_dict(x) for k, x in _children(node).items()}

    def from_state(node: Any, state: dict[str, Any]) -> Any:
        children = _children(node)
        _refuse_another_structure(children.keys(), state.keys())
        restored = {
            name: serialization.from_state_dict(child, state[name], name=name)
            for name, child in children.items()
        }
        return type(node)(**restored)

    for kind in (Table, Retimed, Spliced, Product, Schedules):
        serialization.register_serialization_state(kind, to_state, from_state)


def _refuse_another_structure(names: Set[str], saved: Set[str]) -> None:
    if names != saved:
        raise ValueError(
            f"what was saved has {', '.join(sorted(saved))}, where the target has "
            f"{', '.join(sorted(names))}: give the target the saved schedules first, "
            "with set_schedules."
        )


def _children(node: Any) -> dict[str, Any]:
    if isinstance(node, Mapping):
        return dict(node)
    return {name: getattr(node, name) for name in node.__dataclass_fields__}
