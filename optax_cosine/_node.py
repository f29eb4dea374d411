"""What a schedule is made of: a table, or one of the three combinations of tables.

The nodes hold numbers alone. What is computed from them has a file for each purpose:
the value on a device is in `_evaluate`, the value on the host in `_host`, what is shown
in `_display`, JSON in `_json`.

Tables that end give tables, whatever is done to them. A combination holds each of its
parts once, so an edit adds a constant to the size of a program: an edit goes into the
last part of a spliced schedule, and a shift or stretch is merged into the clock that is
there, if both are known.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, cast

import numpy as np

from optax_cosine import _clock, _table
from optax_cosine._arrays import Numbers, is_known
from optax_cosine._clock import Clock
from optax_cosine._table import HOLD, Table, is_held_table
from optax_cosine._time import Time, add, freed, maximum


class Product(NamedTuple):
    """Two schedules multiplied, step by step."""

    first: "Node"
    second: "Node"


class Spliced(NamedTuple):
    """One schedule until a step, from there another that starts at its own step 0."""

    before: "Node"
    at_step: Time
    then: "Node"


class Clocked(NamedTuple):
    """A schedule on another clock."""

    inner: "Node"
    clock: Clock


Node: TypeAlias = Table | Product | Spliced | Clocked


# --- What is known of a node ---


def dtype_of(node: Node) -> np.dtype:
    """The dtype in which the node is evaluated."""
    # A checkpoint may have been written in half precision.
    dtypes = (table.floats.dtype for table in _table.tables_of(node))
    return functools.reduce(np.promote_types, dtypes, np.dtype(np.float32))


def batch_shape_of(node: Node) -> tuple[int, ...]:
    """Empty, unless the node is a stack of schedules."""
    while not isinstance(node, Table):
        node = node[0]
    return getattr(node.after, "shape", ())


def end_of(node: Node) -> Time:
    """When the last value is reached; of an endless schedule, the length of a lap."""
    match node:
        case Table():
            return _table.last_end(node.ends)
        case Product(first, second):
            ends = (end_of(part).astype(dtype_of(node)) for part in (first, second))
            return maximum(*ends)
        case Spliced(_, at_step, then):
            end = end_of(then)
            return add(at_step.astype(end.frac.dtype), end)
        case Clocked(inner, clock):
            return _clock.count_at(clock, end_of(inner))


def depth_of(node: Node) -> int:
    """How many combinations are within each other."""
    parts = [part for part in node if isinstance(part, Node)]
    return 0 if isinstance(node, Table) else 1 + max(map(depth_of, parts))


def largest_value(node: Node) -> float:
    """A bound of the size of the values of a node whose numbers are known."""
    match node:
        case Table():
            rows = node.rows
            return float(np.max(np.abs([rows.init_value, rows.end_value])))
        case Product(first, second):
            return largest_value(first) * largest_value(second)
        case Spliced(before, _, then):
            return max(largest_value(before), largest_value(then))
        case Clocked(inner):
            return largest_value(inner)


def is_endless(node: Node) -> Numbers:
    match node:
        case Table():
            return node.after != HOLD
        case Product(first, second):
            return is_endless(first) | is_endless(second)
        case Spliced(_, _, inner) | Clocked(inner):
            return is_endless(inner)


# --- Other nodes from nodes ---


def map_rates(node: Node, function: Callable[[Numbers], Numbers]) -> Node:
    """The node with other values at the same times."""
    match node:
        case Table():
            rows = node.rows
            init, end = function(rows.init_value), function(rows.end_value)
            rows = rows._replace(init_value=init, end_value=end)
            return _table.pack(rows, node.after)
        case Product(first, second):
            return Product(map_rates(first, function), second)
        case Spliced(before, at_step, then):
            before, then = (map_rates(part, function) for part in (before, then))
            return Spliced(before, at_step, then)
        case Clocked(inner, clock):
            return Clocked(map_rates(inner, function), clock)


def join_nodes(nodes: Sequence[Node]) -> Node:
    """The nodes one after the other; neighboring tables that end become one table."""
    joined: list[Node] = []
    for are_tables, run in itertools.groupby(nodes, is_held_table):
        neighbors = [*run]
        if are_tables:
            neighbors = [_table.join_tables(cast("list[Table]", neighbors))]
        joined += neighbors
    return functools.reduce(lambda a, b: splice_nodes(a, end_of(a), b), joined)


def splice_nodes(before: Node, at_step: Time, then: Node) -> Node:
    """`before` until `at_step`, from there `then` from its own step 0."""
    if is_held_table(before) and is_held_table(then):
        return _table.splice_tables(before, at_step, then)
    if isinstance(before, Spliced) and is_known(before.at_step, at_step):
        if not at_step >= before.at_step:
            return splice_nodes(before.before, at_step, then)
        since = add(at_step, -before.at_step)
        return before._replace(then=splice_nodes(before.then, since, then))
    return Spliced(before, freed(at_step), then)


def put_on_clock(node: Node, clock: Clock) -> Node:
    """The node that is read at the steps of a clock, which is not a staircase."""
    if _clock.changes_nothing(clock):
        return node
    match node:
        case Table() if is_held_table(node):
            return _table.put_on_clock(node, *clock[1:])
        case Product(first, second):
            return Product(put_on_clock(first, clock), put_on_clock(second, clock))
        case Clocked(inner, old) if composed := _clock.compose(old, clock):
            return put_on_clock(inner, composed)
        case _:
            return Clocked(node, _clock.in_lowest_terms(clock))


def extend_node(node: Node, at_step: Time, steps: Time, counts: Time) -> Node:
    """The node in which, from `at_step` on, `steps` take as long as `counts`."""
    if isinstance(node, Spliced) and is_known(node.at_step, at_step):
        if at_step >= node.at_step:
            since = add(at_step, -node.at_step)
            return node._replace(then=extend_node(node.then, since, steps, counts))
    clock = Clock(at_count=at_step, at_step=at_step, steps=steps, counts=counts)
    return put_on_clock(node, clock)
