"""What a schedule is made of: a table, or one of the four combinations that are not one.

The nodes hold numbers alone. What is computed from them is written in one function a
subject: the value on a device in `_evaluate`, the value on the host in `_host`, what is
shown in `_display`, JSON in `_json`. Each node holds each of its parts once, so that
an edit adds a constant to the size of a program.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np

from optax_cosine._arrays import Numbers, is_known
from optax_cosine._clock import Clock, count_at
from optax_cosine._table import HOLD, Table, end_of_table, map_table_rates
from optax_cosine._time import LARGEST, Time, add, from_exact, maximum, to_exact


class Product(NamedTuple):
    """Two schedules multiplied, step by step."""

    first: "Node"
    second: "Node"


class Spliced(NamedTuple):
    """One schedule until a step, from there another that starts at its own step 0."""

    before: "Node"
    at_step: Time
    then: "Node"


class Staircase(NamedTuple):
    """A schedule that moves on by a step only after `every` counts."""

    inner: "Node"
    every: Numbers  # int32


class Clocked(NamedTuple):
    """A schedule on another clock."""

    inner: "Node"
    clock: Clock


Node: TypeAlias = Table | Product | Spliced | Staircase | Clocked


def dtype_of(node: Node) -> np.dtype:
    """The dtype in which the node is evaluated."""
    match node:
        case Table():
            # A checkpoint may have been written in half precision.
            return np.promote_types(node.floats.dtype, np.float32)
        case Product(first, second) | Spliced(first, _, second):
            return np.promote_types(dtype_of(first), dtype_of(second))
        case Staircase(inner) | Clocked(inner):
            return dtype_of(inner)


def batch_shape_of(node: Node) -> tuple[int, ...]:
    """Empty, unless the node is a stack of schedules."""
    match node:
        case Table():
            return getattr(node.after, "shape", ())
        case Product(part) | Spliced(part) | Staircase(part) | Clocked(part):
            return batch_shape_of(part)


def end_of(node: Node) -> Time:
    """When the last value is reached; of an endless schedule, the length of a lap."""
    match node:
        case Table():
            return end_of_table(node)
        case Product(first, second):
            ends = (end_of(part).astype(dtype_of(node)) for part in (first, second))
            return maximum(*ends)
        case Spliced(_, at_step, then):
            end = end_of(then)
            return add(at_step.astype(end.frac.dtype), end)
        case Staircase(inner, every):
            return _multiply_whole(end_of(inner), every)
        case Clocked(inner, clock):
            return count_at(clock, end_of(inner))


def _multiply_whole(end: Time, every: Numbers) -> Time:
    """The end rounded up to a whole step, times `every`, at most 2**31 - 1."""
    if is_known(end, every) and not np.ndim(every):
        counts = min(math.ceil(to_exact(end).item()) * int(every), LARGEST)
        return from_exact(np.array(counts), end.frac.dtype)
    whole = end.whole + (end.frac > 0).astype(np.int32)
    counts = jnp.where(whole <= LARGEST // every, whole * every, LARGEST)
    return Time(counts, jnp.zeros_like(end.frac))


def is_endless(node: Node) -> Numbers:
    match node:
        case Table():
            return node.after != HOLD
        case Product(first, second):
            return is_endless(first) | is_endless(second)
        case Spliced(_, _, then):
            return is_endless(then)
        case Staircase(inner) | Clocked(inner):
            return is_endless(inner)


def map_rates(node: Node, function: Callable[[Numbers], Numbers]) -> Node:
    """The node with other values at the same times."""
    match node:
        case Table():
            return map_table_rates(node, function)
        case Product(first, second):
            return Product(map_rates(first, function), second)
        case Spliced(before, at_step, then):
            return Spliced(
                map_rates(before, function), at_step, map_rates(then, function)
            )
        case Staircase(inner) | Clocked(inner):
            return node._replace(inner=map_rates(inner, function))
