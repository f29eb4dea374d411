"""The optimizer state that holds its schedules, and how they are read and edited there.

A state may lie anywhere in a larger tree, and a framework may keep each of its arrays
in a box of its own, as Flax NNX does: a pytree of one leaf.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_cosine._arrays import (
    Numbers,
    Pytree,
    Scalar,
    is_float,
    is_traced,
    read_only,
    to_numpy,
    widen,
)
from optax_cosine._node import Node, batch_shape_of
from optax_cosine._room import fit, without_room
from optax_cosine._schedule import Schedule, to_schedule
from optax_cosine._table import (
    check_ends,
    constant_row,
    tables_of,
    widen_numbers,
)
from optax_cosine._time import Time
from optax_cosine._validation import check_rate

State = TypeVar("State")


class ReadOnlyMap(Mapping[str, Any]):
    """What a state holds for each hyperparameter, by name.

    The map is not a dict, so that `optax.tree.get` finds under the name of a
    hyperparameter the value that was applied, and nothing else.
    """

    def __init__(self, entries: Mapping[str, Any]):
        self._entries = {name: entries[name] for name in sorted(entries)}

    def __getitem__(self, name: str) -> Any:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        entries = ", ".join(f"{name}={entry!r}" for name, entry in self.items())
        return f"{type(self).__name__}({entries})"

    def __setitem__(self, name: str, value: object) -> None:
        """Refuses."""
        raise TypeError(wrong_place(name, value))


@jax.tree_util.register_pytree_with_keys_class
class ScheduleMap(ReadOnlyMap):
    """Schedules by the name of their hyperparameter.

    The entries are the nodes of the schedules, which JAX flattens faster than the
    schedules.
    """

    def __getitem__(self, name: str) -> Schedule:
        return to_schedule(self._entries[name])

    @property
    def nodes(self) -> Mapping[str, Node]:
        """What the schedules are made of, with room for edits."""
        return self._entries

    def tree_flatten_with_keys(self) -> tuple[Any, tuple[str, ...]]:
        """With the names as keys."""
        keys = map(jax.tree_util.DictKey, self._entries)
        children = zip(keys, self._entries.values(), strict=True)
        return tuple(children), tuple(self._entries)

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[str, ...]]:
        """Without keys, which is faster."""
        return tuple(self._entries.values()), tuple(self._entries)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], nodes: Pytree) -> "ScheduleMap":
        """From what `tree_flatten` gave, which is sorted."""
        unflattened = object.__new__(cls)
        unflattened._entries = dict(zip(names, nodes, strict=True))
        return unflattened


class InjectSchedulesState(NamedTuple):
    """The state of `inject_schedules`."""

    count: Pytree  # int32: updates so far, at which the next one reads its schedules
    applied: dict[str, Any]  # what the last update used: a record, not a setting
    schedules: ScheduleMap
    inner_state: Pytree

    @property
    def hyperparams(self) -> ReadOnlyMap:
        """`applied`, for programs that log what Optax calls so."""
        return ReadOnlyMap(self.applied)


def wrong_place(name: str, value: object) -> str:
    return (
        f"{name} was set to {value!r} in a place of the state that no update reads: "
        f"write set_schedules(opt_state, {name}=...) instead."
    )


def number_as_node(name: str, value: Scalar) -> Node:
    return constant_row(1, check_rate(name, value))


def get_schedules(opt_state: Pytree, where: object = None, /) -> dict[str, Schedule]:
    """The schedules in an optimizer state, by the name of their hyperparameter.

    Use it to see which curve a run is on, and to edit it from there.

    `get_schedules(opt_state)["learning_rate"](count)` is the rate of the update that
    follows `count` updates.

    Args:
        opt_state: A state of `inject_schedules`, or any pytree that holds one: through
            `optax.chain`, `optax.MultiSteps`, `optax.partition`, a Flax train state, an
            NNX optimizer. Under `jax.vmap`, or stacked.
        where: Which state of `inject_schedules`, if there are several: a label of
            `optax.partition`, or the path to the state, as the error message shows it.

    Returns:
        A dict from the name of a hyperparameter to its schedule; a number becomes a
        constant schedule. The schedules are NumPy copies if possible, and stay valid
        after the state is donated.

    Raises:
        ValueError: There is no such state in it, or there are several that schedule the
            same hyperparameter, and `where` does not say which; or a schedule was put
            together from parts of two.

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
    states = _states_at(opt_state, where)
    _refuse_ambiguity(states, _names_of(states))
    return {
        name: _to_host_copy(name, schedule)
        for state in states.values()
        for name, schedule in state.schedules.items()
    }


def set_schedules(
    opt_state: State, where: object = None, /, **schedules: Schedule | ArrayLike
) -> State:
    """The same optimizer state with other schedules.

    Use it to edit a run that is under way: to scale a rate, to follow another curve, to
    put in what `cooldown`, `extend` or `rewarm` made of the present one.

    The next update is the first to use it.

    Args:
        opt_state: A state of `inject_schedules`, or any pytree that holds one.
        where: Which state of `inject_schedules`, if there are several that schedule
            the hyperparameter: a label of `optax.partition`, or the path to the state,
            as the error message shows it.
        **schedules: By name of the hyperparameter, schedules of this library or
            numbers.

    Returns:
        A new state of the same kind; the old one is left as it was. Dtypes, shardings
        and shapes are kept, so the jitted step is not compiled again, and a checkpoint
        of the new state restores into the program as it was.

        There are two exceptions, which compile the step once more. A schedule that is
        not a table of phases (a product, a staircase, an endless schedule that was
        edited) has another tree. And the state has room for 8 phases, or for 4 more
        than `init` was given: phases that are over are dropped if there are more, and
        if that does not help, the room doubles. (Phases are dropped only outside of
        `jax.jit` and `jax.vmap`, where their ends are known.)

    Raises:
        TypeError: A value is neither a schedule of this library nor a number.
        ValueError: A name is not scheduled in this state, or in several places of it,
            and `where` does not say in which; or the state is stacked (a population)
            and the new schedule is not a stack of the same size.

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
    states = _states_at(opt_state, where)
    _refuse_unknown(schedules, states)
    _refuse_ambiguity(states, list(schedules))
    new = {name: _as_node(name, value) for name, value in schedules.items()}
    return _with_states(
        opt_state, lambda path, state: _edited(state, new) if path in states else state
    )


def get_count(opt_state: Pytree, where: object = None, /) -> int | jax.Array:
    """The number of updates so far.

    Use it to edit a run from its present step, and as the step of a log.

    Args:
        opt_state: A state of `inject_schedules`, or any pytree that holds one.
        where: Which state of `inject_schedules`, if there are several whose counts
            differ: a label of `optax.partition`, or the path to the state, as the error
            message shows it.

    Returns:
        An int if the number is known. An int32 array if it is traced, or an array of
        them for a population.

    Raises:
        ValueError: There is no such state in it, or there are several whose counts
            differ, and `where` does not say which.

    Examples:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import optax_cosine as oc
        >>> optimizer = oc.inject_schedules(optax.sgd)(learning_rate=0.1)
        >>> opt_state = optimizer.init(jnp.ones(3))
        >>> updates, opt_state = optimizer.update(jnp.ones(3), opt_state)
        >>> oc.get_count(opt_state)
        1
    """
    states = _states_at(opt_state, where)
    counts = {path: _unbox(state.count) for path, state in states.items()}
    first, *others = counts.values()
    if not all(_is_same(first, other) for other in others):
        shown = ", ".join(f"{x} at {path or 'the top'}" for path, x in counts.items())
        raise ValueError(
            f"the counts of this tree may differ, {shown}: pass the label or the path "
            "of the state after the tree, as in get_count(opt_state, 'label')."
        )
    if np.shape(first) != () or (known := to_numpy(first)) is None:
        return first
    return int(known)


# --- Where the states are ---


def _is_state(node: Pytree) -> bool:
    return isinstance(node, InjectSchedulesState)


def _states_at(tree: Pytree, where: object) -> dict[str, InjectSchedulesState]:
    """The states in the tree by their paths; those of a label or a path, if given."""
    found = [*_find_states(tree, "", frozenset())]
    if not found:
        raise ValueError(
            "there is no state of inject_schedules in this tree: wrap the optimizer, "
            "as in inject_schedules(optax.adamw)(learning_rate=...), and init it."
        )
    chosen = {
        path: state
        for path, keys, state in found
        if where is None or where == path or where in keys
    }
    if not chosen:
        raise ValueError(
            f"{where!r} is neither a label nor a path of a state of inject_schedules "
            f"in this tree; these are at {_listed(path for path, *_ in found)}."
        )
    return chosen


def _find_states(
    tree: Pytree, above: str, keys_above: frozenset[Hashable]
) -> Iterator[tuple[str, frozenset[Hashable], InjectSchedulesState]]:
    """Every state in the tree, also within another: its path, labels, and itself."""
    for path, node in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_state):
        if _is_state(node):
            here = above + jax.tree_util.keystr(path)
            keys = keys_above | {
                key.key for key in path if isinstance(key, jax.tree_util.DictKey)
            }
            yield here, keys, node
            yield from _find_states(node.inner_state, f"{here}.inner_state", keys)


def _with_states(
    tree: Pytree,
    edited: Callable[[str, InjectSchedulesState], InjectSchedulesState],
    above: str = "",
) -> Pytree:
    """The tree with other states, each a function of its path and of the old state."""

    def replaced(path: Any, node: Pytree) -> Pytree:
        if not _is_state(node):
            return node
        here = above + jax.tree_util.keystr(path)
        node = jax.tree.map(lambda leaf: leaf, node)  # in boxes of its own
        inner = _with_states(node.inner_state, edited, f"{here}.inner_state")
        return edited(here, node._replace(inner_state=inner))

    return jax.tree_util.tree_map_with_path(replaced, tree, is_leaf=_is_state)


def _listed(paths: Iterable[str]) -> str:
    return ", ".join(path or "the top" for path in paths)


def _names_of(states: Mapping[str, InjectSchedulesState]) -> list[str]:
    return [name for state in states.values() for name in state.schedules]


def _refuse_ambiguity(
    states: Mapping[str, InjectSchedulesState], names: list[str]
) -> None:
    for name in names:
        paths = [path for path, x in states.items() if name in x.schedules]
        if len(paths) > 1:
            raise ValueError(
                f"{name} is scheduled in several places of this tree, at "
                f"{_listed(paths)}: pass the label or the path of one after the tree, "
                "as in get_schedules(opt_state, 'label')."
            )


def _refuse_unknown(
    names: Mapping[str, object], states: Mapping[str, InjectSchedulesState]
) -> None:
    known = _names_of(states)
    for name in names:
        if name not in known:
            raise ValueError(
                f"{name} is not scheduled in this state, which knows "
                f"{', '.join(sorted(set(known)))}: write it as a float or a schedule "
                "where the optimizer is made."
            )


# --- What is read ---


def _is_same(count: Pytree, other: Pytree) -> bool:
    counts = to_numpy((count, other))
    return counts is not None and np.array_equal(*counts)


def _to_host_copy(name: str, schedule: Schedule) -> Schedule:
    node = _unbox_all(schedule.node)
    if (values := to_numpy(node)) is None:
        return to_schedule(node)
    copy = jax.tree.map(lambda x: read_only(np.array(x)), widen_numbers(values))
    for table in tables_of(copy):
        check_ends(name, table)
    return to_schedule(without_room(copy))


# --- What is written ---


def _as_node(name: str, value: object) -> Node:
    if isinstance(value, Schedule):
        return value.node
    if callable(value):
        raise TypeError(
            f"{name} must be a number or a schedule of optax_cosine, as no other "
            f"function can be part of a state, got {value!r}."
        )
    return number_as_node(name, value)


def _edited(
    state: InjectSchedulesState, new: Mapping[str, Node]
) -> InjectSchedulesState:
    count = _unbox(state.count)
    if (known := to_numpy(count)) is not None:
        count = known
    nodes, applied = dict(state.schedules.nodes), dict(state.applied)
    for name in new.keys() & nodes.keys():
        if (shape := batch_shape_of(new[name])) != count.shape:
            raise ValueError(
                f"{name} must have the batch shape of the state, {count.shape}, got "
                f"{shape}: use stack, or set_schedules under jax.vmap."
            )
        node = fit(new[name], nodes[name], count)
        applied[name] = jax.tree.map(widen, applied[name])
        nodes[name] = _in_layout(node, nodes[name], state.count, applied[name])
    return state._replace(applied=applied, schedules=ScheduleMap(nodes))


def _in_layout(node: Node, old: Node, count: Pytree, applied: Pytree) -> Node:
    """The node in the dtypes, on the devices and in the boxes of the old node.

    If the old node has another structure, each array lies where the count lies.
    """
    if jax.tree.structure(node) != jax.tree.structure(_unbox_all(old)):
        old = jax.tree.map(lambda _: count, node)

    def put(leaf: Numbers, old_box: Pytree) -> Pytree:
        (old_leaf,), box = jax.tree.flatten(old_box)
        like = old_leaf if is_float(old_leaf) else _unbox(applied)
        dtype = widen(like).dtype if is_float(leaf) else leaf.dtype
        # An array that was not committed to a device stays uncommitted: committing it
        # would compile the step again.
        traced = is_traced(leaf) or is_traced(old_leaf)
        if not traced and getattr(old_leaf, "committed", False):
            moved = jax.device_put(leaf.astype(dtype), old_leaf.sharding)
        else:
            moved = jnp.array(leaf, dtype)
        return jax.tree.unflatten(box, [moved])

    return jax.tree.map(put, node, old)


# --- Boxes ---


def _unbox(boxed: Pytree) -> Pytree:
    (leaf,) = jax.tree.leaves(boxed)
    return leaf


def _unbox_all(node: Node) -> Node:
    """The node with arrays for its leaves, whatever a framework keeps them in."""

    def is_boxed(node: Pytree) -> bool:
        return not isinstance(node, Time | tuple)

    return jax.tree.map(_unbox, node, is_leaf=is_boxed)
