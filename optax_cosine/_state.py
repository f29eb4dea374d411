"""The optimizer state that holds its schedules, and how they are read and edited there.

A state may lie anywhere in a larger tree, and a framework may keep each of its arrays
in a box of its own, as Flax NNX does: a pytree of one leaf.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_cosine._arrays import Pytree, is_traced, read_only, to_numpy
from optax_cosine._node import batch_shape_of
from optax_cosine._schedule import Schedule, to_schedule
from optax_cosine._table import LINEAR, single_row
from optax_cosine._time import Time
from optax_cosine._validation import check_rate

State = TypeVar("State")


@jax.tree_util.register_pytree_with_keys_class
class ScheduleMap(Mapping[str, Any]):
    """Schedules by the name of their hyperparameter.

    The map is not a dict, so that `optax.tree.get` finds under the name of a
    hyperparameter the value that was applied, and nothing else. The tree holds the
    nodes of the schedules, which JAX flattens faster than the schedules.
    """

    def __init__(self, schedules: Mapping[str, Schedule]):
        self._nodes = {name: schedules[name].node for name in sorted(schedules)}

    def __getitem__(self, name: str) -> Schedule:
        return to_schedule(self._nodes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __repr__(self) -> str:
        return f"ScheduleMap({', '.join(f'{name}={x!r}' for name, x in self.items())})"

    def tree_flatten_with_keys(self) -> tuple[Any, tuple[str, ...]]:
        """With the names as keys."""
        keys = map(jax.tree_util.DictKey, self._nodes)
        children = zip(keys, self._nodes.values(), strict=True)
        return tuple(children), tuple(self._nodes)

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[str, ...]]:
        """Without keys, which is faster."""
        return tuple(self._nodes.values()), tuple(self._nodes)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], nodes: Pytree) -> "ScheduleMap":
        """From what `tree_flatten` gave, which is sorted."""
        unflattened = object.__new__(cls)
        unflattened._nodes = dict(zip(names, nodes, strict=True))
        return unflattened


class InjectSchedulesState(NamedTuple):
    """The state of `inject_schedules`."""

    count: Pytree  # int32: updates so far, at which the next one reads its schedules
    applied: dict[str, Any]  # what the last update used: a record, not a setting
    schedules: ScheduleMap
    inner_state: Pytree


def number_as_schedule(name: str, value: Any) -> Schedule:
    value = check_rate(name, value)
    return to_schedule(single_row(1, LINEAR, value, value))


def is_float(value: Any) -> bool:
    """A number that may be scheduled, traced or not; ints and arrays are settings."""
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return value.ndim == 0 and jnp.issubdtype(value.dtype, jnp.floating)
    return isinstance(value, float)


def get_schedules(opt_state: Pytree) -> dict[str, Schedule]:
    """The schedules in an optimizer state, by the name of their hyperparameter.

    Use it to see which curve a run is on, and to edit it from there.

    `get_schedules(opt_state)["learning_rate"](count)` is the rate of the update that
    follows `count` updates.

    Args:
        opt_state: A state of `inject_schedules`, or any pytree that holds one: through
            `optax.chain`, `optax.MultiSteps`, `optax.partition`, a Flax train state, an
            NNX optimizer. Under `jax.vmap`, or stacked.

    Returns:
        A dict from the name of a hyperparameter to its schedule; a number becomes a
        constant schedule. The schedules are NumPy copies if possible, and stay valid
        after the state is donated.

    Raises:
        ValueError: There is no such state in it, or there are several that schedule the
            same hyperparameter; the message says where.

    Examples:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import optax_cosine as oc
        >>> schedule = oc.cosine_annealing_schedule(0.1, 100)
        >>> optimizer = optax.chain(
        ...     optax.clip_by_global_norm(1.0),
        ...     oc.inject_schedules(optax.sgd)(learning_rate=schedule, momentum=0.9))
        >>> schedules = oc.get_schedules(optimizer.init(jnp.ones(3)))
        >>> schedules["learning_rate"] == schedule
        True
        >>> schedules["momentum"]
        constant(0.9, steps=1)
    """
    states = dict(_states(opt_state))
    _refuse_ambiguity(states, _names(states))
    return {
        name: _to_host_copy(_unbox_all(schedule))
        for state in states.values()
        for name, schedule in state.schedules.items()
    }


def set_schedules(opt_state: State, **schedules: Schedule | ArrayLike) -> State:
    """The same optimizer state with other schedules.

    Use it to edit a run that is under way: to scale a rate, to follow another curve, to
    put in what `cooldown`, `extend` or `rewarm` made of the present one.

    The next update is the first to use it.

    Args:
        opt_state: A state of `inject_schedules`, or any pytree that holds one.
        **schedules: By name of the hyperparameter, schedules of this library or
            numbers.

    Returns:
        A new state of the same kind; the old one is left as it was. Dtypes and
        shardings are kept. If the new schedule has the same number of phases, combined
        in the same way, the jitted step is not compiled again; otherwise it is compiled
        once more.

    Raises:
        TypeError: A value is neither a schedule of this library nor a number.
        ValueError: A name is not scheduled in this state, or in several places of it;
            or the state is stacked (a population) and the new schedule is not a stack
            of the same size.

    Examples:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import optax_cosine as oc
        >>> optimizer = oc.inject_schedules(optax.sgd)(learning_rate=0.1)
        >>> opt_state = optimizer.init(jnp.ones(3))
        >>> opt_state = oc.set_schedules(
        ...     opt_state, learning_rate=oc.cosine_annealing_schedule(0.2, 100))
        >>> updates, opt_state = optimizer.update(jnp.ones(3), opt_state)
        >>> print(updates)
        [-0.2 -0.2 -0.2]
    """
    states = dict(_states(opt_state))
    _refuse_unknown(schedules, states)
    _refuse_ambiguity(states, list(schedules))
    new = {name: _as_schedule(name, value) for name, value in schedules.items()}
    return _with_states(opt_state, lambda state: _edited(state, new))


def _is_state(node: Pytree) -> bool:
    return isinstance(node, InjectSchedulesState)


def _states(
    tree: Pytree, above: str = ""
) -> Iterator[tuple[str, InjectSchedulesState]]:
    """Every state in the tree, also within another, by its path."""
    for path, node in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_state):
        if _is_state(node):
            here = above + jax.tree_util.keystr(path)
            yield here, node
            yield from _states(node.inner_state, f"{here}.inner_state")


def _with_states(tree: Pytree, edited: Callable[[InjectSchedulesState], Any]) -> Pytree:
    def replaced(node: Pytree) -> Pytree:
        if not _is_state(node):
            return node
        node = jax.tree.map(lambda leaf: leaf, node)  # in boxes of its own
        return edited(node._replace(inner_state=_with_states(node.inner_state, edited)))

    return jax.tree.map(replaced, tree, is_leaf=_is_state)


def _names(states: Mapping[str, InjectSchedulesState]) -> list[str]:
    if not states:
        raise ValueError(
            "there is no state of inject_schedules in this tree: wrap the optimizer, "
            "as in inject_schedules(optax.adamw)(learning_rate=...), and init it."
        )
    return [name for state in states.values() for name in state.schedules]


def _refuse_ambiguity(
    states: Mapping[str, InjectSchedulesState], names: list[str]
) -> None:
    for name in names:
        where = [path or "the top" for path, x in states.items() if name in x.schedules]
        if len(where) > 1:
            raise ValueError(
                f"{name} is scheduled in several places of this tree, at "
                f"{', '.join(where)}: pass one of these parts of it."
            )


def _refuse_unknown(
    names: Mapping[str, Any], states: Mapping[str, InjectSchedulesState]
) -> None:
    known = _names(states)
    for name in names:
        if name not in known:
            raise ValueError(
                f"{name} is not scheduled in this state, which knows "
                f"{', '.join(sorted(set(known)))}: write it as a float or a schedule "
                "where the optimizer is made."
            )


def _as_schedule(name: str, value: Any) -> Schedule:
    if isinstance(value, Schedule):
        return value
    if callable(value):
        raise TypeError(
            f"{name} must be a number or a schedule of optax_cosine, as no other "
            f"function can be part of a state, got {value!r}."
        )
    return number_as_schedule(name, value)


def _edited(
    state: InjectSchedulesState, new: Mapping[str, Schedule]
) -> InjectSchedulesState:
    schedules = {
        name: _match_layout(old, new[name], name, state) if name in new else old
        for name, old in state.schedules.items()
    }
    return state._replace(schedules=ScheduleMap(schedules))


def _match_layout(
    old: Schedule, new: Schedule, name: str, state: InjectSchedulesState
) -> Schedule:
    """`new` in the dtype, on the devices and in the boxes of the state."""
    count, applied = _unbox(state.count), _unbox(state.applied[name])
    if (shape := batch_shape_of(new.node)) != count.shape:
        raise ValueError(
            f"{name} must have the batch shape of the state, {count.shape}, got "
            f"{shape}: use stack, or set_schedules under jax.vmap."
        )
    old_leaves, box = _unbox_all(old), jax.tree.structure(state.count)
    if jax.tree.map(np.shape, old_leaves) != jax.tree.map(np.shape, new):
        old_leaves = jax.tree.map(lambda _: count, new)

    def put(leaf: Pytree, old_leaf: Pytree) -> Pytree:
        is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
        leaf = jnp.array(leaf, applied.dtype if is_float else leaf.dtype)
        # An array that was not committed to a device stays uncommitted: committing it
        # would compile the step again.
        known = not is_traced(old_leaf) and not is_traced(leaf)
        if known and getattr(old_leaf, "committed", False):
            leaf = jax.device_put(leaf, old_leaf.sharding)
        return jax.tree.unflatten(box, [leaf])

    return jax.tree.map(put, new, old_leaves)


def _unbox(boxed: Pytree) -> Pytree:
    (leaf,) = jax.tree.leaves(boxed)
    return leaf


def _unbox_all(schedule: Schedule) -> Schedule:
    """The schedule with arrays for its leaves, whatever a framework keeps them in."""

    def is_boxed(node: Pytree) -> bool:
        return not isinstance(node, Schedule | Time | tuple)

    return jax.tree.map(_unbox, schedule, is_leaf=is_boxed)


def _to_host_copy(schedule: Schedule) -> Schedule:
    values = to_numpy(schedule)
    if values is None:
        return schedule
    return jax.tree.map(lambda leaf: read_only(np.array(leaf)), values)
