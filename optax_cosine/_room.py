"""Room for edits in the tables of an optimizer state.

A table in a state is padded with empty rows to a capacity. So a number, a warm-up and a
run that was edited several times have one shape: an edit compiles nothing, and the
checkpoint of an edited run restores into the program as it was before the edit.

The tables may be stacks: each function works along the last axis, the rows.
"""

from typing import TypeVar

import numpy as np

from optax_cosine._arrays import Numbers, is_known, read_only
from optax_cosine._table import HOLD, Table, has_steps, pad_table
from optax_cosine._time import to_doubles

Node = TypeVar("Node")

# A capacity is a multiple of this number of rows.
_BLOCK = 8
# A new table leaves at least this number of rows free.
_FREE = 4


def with_room(node: Node) -> Node:
    """The node with free rows, if it is a table."""
    if not isinstance(node, Table):
        return node
    table = without_room(node)
    return pad_table(table, -(-(_num_rows(table) + _FREE) // _BLOCK) * _BLOCK)


def fit(node: Node, old: object, count: Numbers) -> Node:
    """The node with the capacity of the old node, if both are tables.

    If the table has more rows, rows that are over at `count` are dropped, as many as
    necessary. If that does not help, the capacity doubles.
    """
    if not (isinstance(node, Table) and isinstance(old, Table)):
        return with_room(node)
    table, capacity = without_room(node), _num_rows(old)
    if _num_rows(table) > capacity and is_known(table, count):
        table = _drop_past_rows(table, np.asarray(count), capacity)
    while capacity < _num_rows(table):
        capacity *= 2
    return pad_table(table, capacity)


def without_room(node: Node) -> Node:
    """The node without empty rows, if it is a table whose numbers are known."""
    if isinstance(node, Table) and is_known(node):
        return _take_rows(node, np.asarray(has_steps(node.ends)))
    return node


def _num_rows(table: Table) -> int:
    return table.integers.shape[-1]


def _drop_past_rows(table: Table, count: np.ndarray, capacity: int) -> Table:
    """The table without its first rows, if they are over and the table ends."""
    is_filled = np.asarray(has_steps(table.ends))
    excess = is_filled.sum(-1, keepdims=True) - capacity
    is_oldest = np.cumsum(is_filled, -1) <= excess
    is_over = to_doubles(table.ends) <= count[..., None]
    holds = np.equal(table.after, HOLD)[..., None]
    return _take_rows(table, is_filled & ~(is_oldest & is_over & holds))


def _take_rows(table: Table, keep: np.ndarray) -> Table:
    """The rows to keep. The last of them fills up the shorter members of a stack."""
    in_order = np.argsort(~keep, axis=-1, kind="stable")
    num_kept = keep.sum(-1, keepdims=True)
    slots = np.minimum(np.arange(max(num_kept.max(), 1)), num_kept - 1)
    index = np.take_along_axis(in_order, slots, -1)[..., None, :]
    packed = (np.take_along_axis(x, index, -1) for x in (table.integers, table.floats))
    integers, floats = map(read_only, packed)
    return Table(integers, floats, table.after)
