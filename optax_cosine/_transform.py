"""Schedules put together, spliced, and read on another clock.

Tables that end give tables. What is not a table is held once, in a node; an edit goes
into the last part of a spliced schedule, and two clocks become one clock.
"""

import functools
from collections.abc import Callable, Sequence

from optax_cosine._arrays import is_known
from optax_cosine._clock import (
    Clock,
    compose,
    extension_clock,
    shift_clock,
    stretch_clock,
)
from optax_cosine._node import Clocked, Node, Product, Spliced, end_of
from optax_cosine._table import (
    Table,
    concatenate,
    extend_table,
    is_held,
    shift_table,
    splice_tables,
    stretch_table,
)
from optax_cosine._time import Time, add


def is_held_table(node: Node) -> bool:
    """Whether the node is known to be a table that ends."""
    return isinstance(node, Table) and is_held(node)


def join_nodes(nodes: Sequence[Node]) -> Node:
    """The nodes one after the other; neighboring tables that end become one table."""
    runs: list[list[Node]] = [[nodes[0]]]
    for node in nodes[1:]:
        if is_held_table(runs[-1][0]) and is_held_table(node):
            runs[-1].append(node)
        else:
            runs.append([node])
    joined = [concatenate(run) if len(run) > 1 else run[0] for run in runs]
    return functools.reduce(lambda a, b: splice_nodes(a, end_of(a), b), joined)


def splice_nodes(before: Node, at_step: Time, then: Node) -> Node:
    """`before` until `at_step`, from there `then` from its own step 0."""
    if is_held_table(before) and is_held_table(then):
        return splice_tables(before, at_step, then)
    if isinstance(before, Spliced) and is_known(before.at_step, at_step):
        if not at_step >= before.at_step:
            return splice_nodes(before.before, at_step, then)
        since = add(at_step, -before.at_step)
        return before._replace(then=splice_nodes(before.then, since, then))
    return Spliced(before, at_step, then)


def shift_node(node: Node, steps: Time) -> Node:
    """The node from `steps` on, or later by `-steps`."""
    return _on_clock(node, shift_clock(steps), lambda x: shift_table(x, steps))


def stretch_node(node: Node, numerator: Time, denominator: Time) -> Node:
    """The node on a clock that is slower by `numerator / denominator`."""
    clock = stretch_clock(numerator, denominator)
    return _on_clock(node, clock, lambda x: stretch_table(x, numerator, denominator))


def extend_node(node: Node, at_step: Time, steps: Time, counts: Time) -> Node:
    """The node in which, from `at_step` on, `steps` take as long as `counts`."""
    if isinstance(node, Spliced) and is_known(node.at_step, at_step):
        if at_step >= node.at_step:
            since = add(at_step, -node.at_step)
            return node._replace(then=extend_node(node.then, since, steps, counts))
    clock = extension_clock(at_step, steps, counts)
    return _on_clock(node, clock, lambda x: extend_table(x, at_step, steps, counts))


def _on_clock(node: Node, clock: Clock, on_table: Callable[[Table], Table]) -> Node:
    match node:
        case Table() if is_held(node):
            return on_table(node)
        case Product(first, second):
            return Product(
                _on_clock(first, clock, on_table), _on_clock(second, clock, on_table)
            )
        case Clocked(inner, old) if (composed := compose(old, clock)):
            return Clocked(inner, composed)
        case _:
            return Clocked(node, clock)
