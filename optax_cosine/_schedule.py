"""What a user sees of every schedule: a function of a count, a pytree, a value."""

import functools
import math
import numbers
import operator
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, TypeVar, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from optax_cosine import _display, _node
from optax_cosine._arrays import (
    Numbers,
    Scalar,
    is_known,
    is_traced,
    read_only,
    to_numpy,
)
from optax_cosine._display import Phase
from optax_cosine._evaluate import evaluate
from optax_cosine._host import host_call
from optax_cosine._json import from_dict, to_dict
from optax_cosine._node import Node, Product
from optax_cosine._room import without_room
from optax_cosine._table import Table, widen_numbers
from optax_cosine._validation import (
    LARGEST_RATE,
    SMALLEST_RATE,
    check_counts,
    check_rate,
)

Result = TypeVar("Result")

# How deeply combinations are nested at most. Python's recursion, in pickle too, goes
# about ten times deeper.
_MAX_DEPTH = 64
# One program for all schedules whose tables have the same number of rows.
_evaluate_jitted = jax.jit(evaluate, inline=True)


@jax.tree_util.register_pytree_with_keys_class
class Schedule:
    """A function from a step count to a value, made of nothing but numbers.

    Use it as any `optax.Schedule`. It is also a pytree whose leaves are its numbers: an
    argument of a jitted function, a part of an optimizer state, something to stack, to
    save, to differentiate (with `allow_int=True`, because step counts are integers).
    Only functions of this library build schedules.

    `schedule(count)` is the value that update `count + 1` uses. Before 0 the first
    value holds, after `total_steps` the last value. A schedule times or divided by a
    number is scaled, `-schedule` is negated, and `first * second` is the product at
    each count.

    Two schedules are equal if their phases and what follows them are. What JAX maps
    from a schedule (shapes, dtypes, shardings) is equal if structure and leaves are.

    Args:
        count: Of a call: a step count of any real dtype, scalar or array.

    Returns:
        From a call: the values, of the shape of `count`; float32, or float64 under x64
        if the rates are Python floats or float64. For a Python int on a schedule of
        plain numbers it is a NumPy scalar, computed without JAX.

    Raises:
        TypeError: `count` is not a real number.
        ValueError: A stack of schedules is called outside `jax.vmap`.

    Examples:
        >>> import jax.numpy as jnp
        >>> import optax_cosine as oc
        >>> schedule = 0.5 * oc.join(
        ...     oc.linear(0.0, 1.0, steps=10), oc.cosine(1.0, 0.1, steps=90))
        >>> schedule
        join(linear(0.0, 0.5, steps=10), cosine(0.5, 0.05, steps=90))
        >>> schedule.total_steps
        100
        >>> print(schedule(jnp.array([0, 10, 55, 100])))
        [0.    0.5   0.275 0.05 ]
    """

    # Caches, filled on first use.
    _hash: int | None = None
    _host: Callable[[int], np.floating] | None = None
    _program: Callable[[Array], Array] | None = None
    # NumPy leaves `number * schedule` to `__rmul__`.
    __array_ufunc__ = None

    _node: Node

    def __new__(cls, *_, **__):
        """Refuses: the functions of this library build schedules."""
        raise TypeError(
            "a schedule is built by a function, such as cosine(0.1, 0.0, steps=100), "
            "cosine_annealing_schedule(0.1, 100), or Schedule.from_dict(...)."
        )

    @property
    def node(self) -> Node:
        """The table, or the combination of tables, that the schedule is."""
        return self._node

    # --- A function ---

    # An int is an ArrayLike too, which mypy calls an overlap; the first overload wins.
    @overload
    def __call__(self, count: int) -> np.floating: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, count: ArrayLike) -> Array: ...

    def __call__(self, count: ArrayLike) -> Array | np.floating:
        """The value at `count`; elementwise for an array."""
        if type(count) is int and (host := self._host or self._build_host()):
            return host(count)
        if shape := _node.batch_shape_of(self._node):
            raise ValueError(
                f"this is a stack of schedules, of batch shape {shape}: "
                "call it under jax.vmap."
            )
        clamped: Any = check_counts(count)
        if is_traced(clamped) and is_known(self._node):
            program = self._program or self._build_program()
            return program(clamped)
        return _evaluate_jitted(self._node, jax.tree.map(jnp.asarray, clamped))

    def _build_host(self) -> Callable[[int], np.floating] | None:
        """From a count to a NumPy scalar, if every number of the node is known."""
        if is_known(self._node) and not _node.batch_shape_of(self._node):
            self._host = host_call(self._node, _node.dtype_of(self._node).type)
        return self._host

    def _build_program(self) -> Callable[[Array], Array]:
        """The program in which the numbers of the node are constants."""
        program = functools.partial(evaluate, self._node)
        self._program = jax.jit(program, inline=True)
        return self._program

    # --- What it is made of ---

    @property
    def total_steps(self) -> int | float:
        """The count at which the schedule ends; `math.inf` if it never ends.

        An int if it is whole. For a traced schedule or a stack it is a JAX array of
        floats, exact up to 2**24.
        """
        node = to_numpy(self._node)
        if node is None or _node.batch_shape_of(self._node):
            end = _node.end_of(self._node).to_float()
            total: Any = jnp.where(_node.is_endless(self._node), jnp.inf, end)
            return total
        if _node.is_endless(node):
            return math.inf
        return _display.shorten_time(_node.end_of(node))

    @property
    def phases(self) -> list[Phase]:
        """The phases of a schedule that is a table, as Python's numbers.

        A schedule that was built from parts, named curves, `join`, and edits of them is
        a table, unless it is endless and was edited.
        """
        node = known_node(self)
        if shape := _node.batch_shape_of(node):
            raise AttributeError(
                f"this is a stack of schedules, of batch shape {shape}: take one with "
                "jax.tree.map(lambda x: x[0], stack)."
            )
        if isinstance(node, Table):
            return _display.phases_of(node)
        raise AttributeError(
            f"{self!r} is not one table of phases, and so it has no `phases`: it is a "
            "product, a staircase, or an endless schedule that was edited."
        )

    def to_dict(self) -> dict[str, Any]:
        """Every bit of the schedule, as JSON can hold it."""
        return to_dict(widen_numbers(known_node(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> "Schedule":
        """The schedule that `to_dict` was called on, to the bit.

        Use it for schedules kept as JSON: beside a checkpoint, in a log, in a file of
        settings.

        Args:
            values: What `to_dict` returned, before or after a turn through JSON.

        Returns:
            A schedule equal to the one that was written.

        Raises:
            TypeError: `values` is not a mapping.
            ValueError: A key is missing or unknown, or its value cannot be read; the
                message names it.

        Examples:
            >>> import json
            >>> import optax_cosine as oc
            >>> schedule = oc.cosine_annealing_schedule(0.1, 100) * 0.3
            >>> text = json.dumps(schedule.to_dict())
            >>> oc.Schedule.from_dict(json.loads(text)) == schedule
            True
        """
        try:
            return checked_schedule(from_dict(values))
        except RecursionError as error:
            raise ValueError("the dict is nested too deeply.") from error

    # --- Operators ---

    def __mul__(self, factor: "Schedule | ArrayLike") -> "Schedule":
        if isinstance(factor, Schedule):
            nodes = check_schedule("schedule", self), check_schedule("factor", factor)
            return checked_schedule(Product(*nodes))
        if not _is_number(factor):
            return NotImplemented
        return self._scale(operator.mul, "factor", factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: ArrayLike) -> "Schedule":
        if not _is_number(divisor):
            return NotImplemented
        if not is_traced(divisor) and np.ndim(divisor) == 0 and divisor == 0:
            raise ValueError(f"divisor must not be 0, got {divisor!r}.")
        return self._scale(operator.truediv, "divisor", divisor)

    def __neg__(self) -> "Schedule":
        return self * -1.0

    def _scale(self, operation: Callable, name: str, number: Scalar) -> "Schedule":
        number = check_rate(name, number)
        scaling = _scaling(operation, name, number)
        return checked_schedule(_node.map_rates(self._node, scaling))

    def __add__(self, other: object) -> "Schedule":
        raise TypeError(
            "schedules are not added or subtracted: scale them with *, multiply two of "
            "them with *, or write a function of the count, "
            "lambda count: first(count) + second(count)."
        )

    __radd__ = __sub__ = __rsub__ = __add__

    # --- A value ---

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, Schedule):
            return self is other
        mine, theirs = _content(self._node), _content(other.node)
        if mine is None and theirs is None:
            return _have_same_leaves(self._node, other.node)
        return mine == theirs

    def __hash__(self) -> int:
        if self._hash is None:
            content = _content(self._node)
            unknown = jax.tree.structure(self._node) if content is None else content
            self._hash = hash(unknown)
        return self._hash

    def __copy__(self) -> "Schedule":
        return to_schedule(self._node)

    def __reduce__(self) -> tuple[Callable, tuple[Node]]:
        return _restore, (self._node,)

    def __repr__(self) -> str:
        """The code that builds the schedule."""
        return _render(self, _display.expression) or _structure(self)

    def __str__(self) -> str:
        """The code, the curve on one line, and the phases."""
        return _render(self, _display.as_text) or repr(self)

    def _repr_html_(self) -> str | None:
        """The curve as a picture, and the phases, for a notebook."""
        return _render(self, _display.as_html) or _population_html(self)

    # --- A population ---

    def __len__(self) -> int:
        """The number of schedules in a stack."""
        if shape := _node.batch_shape_of(self._node):
            return shape[0]
        raise TypeError("one schedule has no length; it ends at total_steps.")

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> "Schedule":
        """A schedule of a stack."""
        if not -len(self) <= (position := operator.index(index)) < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} schedules")
        return jax.tree.map(lambda leaf: leaf[position], self)

    def __iter__(self) -> Iterator["Schedule"]:
        return (self[index] for index in range(len(self)))

    # --- A pytree ---

    def tree_flatten_with_keys(self) -> tuple[Any, None]:
        """The node, whose leaves have names."""
        return ((jax.tree_util.GetAttrKey("node"), self._node),), None

    def tree_flatten(self) -> tuple[tuple[Node], None]:
        """The node alone, which is faster."""
        return (self._node,), None

    @classmethod
    def tree_unflatten(cls, _: None, children: tuple[Node]) -> "Schedule":
        """Accepts any leaves: `jax.tree.map` may return anything."""
        return to_schedule(children[0])


def to_schedule(node: Node) -> Schedule:
    schedule = object.__new__(Schedule)
    schedule._node = node
    return schedule


def checked_schedule(node: Node) -> Schedule:
    """The schedule of a combination, unless it is out of range."""
    if isinstance(node, Table):
        return to_schedule(node)
    if _node.depth_of(node) > _MAX_DEPTH:
        raise ValueError(
            f"a schedule of more than {_MAX_DEPTH} combinations within each other is "
            "nested too deeply: multiply by numbers, and join or splice schedules that "
            "end, which give one table."
        )
    if is_known(node) and (largest := _node.largest_value(node)) > LARGEST_RATE:
        raise ValueError(
            f"the product of schedules must be at most 1.7e38 in size, half the range "
            f"of float32, and may reach {largest:.3g}: scale its factors."
        )
    return to_schedule(node)


def _restore(node: Node) -> Schedule:
    """From a pickle, or from a deep copy: nobody can write into the new leaves."""
    for leaf in jax.tree.leaves(node):
        if isinstance(leaf, np.ndarray):
            read_only(leaf)
    return to_schedule(node)


def _content(node: Node) -> Hashable | None:
    """What makes two schedules equal, if their numbers can be fetched."""
    if (values := to_numpy(node)) is None:
        return None
    values = jax.tree.map(_without_padding, values, is_leaf=_is_table)
    leaves, treedef = jax.tree.flatten(values)
    return treedef, *((x.dtype.str, x.shape, tuple(x.ravel().tolist())) for x in leaves)


def _is_table(node: object) -> bool:
    return isinstance(node, Table)


def _without_padding(node: Table | Numbers) -> Table | Numbers:
    if not isinstance(node, Table):
        return node
    # What is mapped from a table (sums of its leaves, say) is not always a table.
    integers, floats, after = map(np.asarray, node)
    kinds = integers.dtype.kind, floats.dtype.kind
    shapes = [(*after.shape, columns) for columns in (4, 7)]
    is_table = (
        kinds == ("i", "f")
        and [integers.shape[:-1], floats.shape[:-1]] == shapes
        and integers.shape[-1] == floats.shape[-1]
    )
    return without_room(node) if is_table else node


def _have_same_leaves(first: Node, second: Node) -> bool:
    """For traced schedules, and for what JAX maps from one: shapes, dtypes, masks."""
    (mine, treedef), (theirs, other) = map(jax.tree.flatten, (first, second))
    pairs = zip(mine, theirs, strict=False)
    return treedef == other and all(a is b or _is_equal(a, b) for a, b in pairs)


def _is_equal(a: object, b: object) -> bool:
    try:
        same = a == b
        return same if isinstance(same, bool) else bool(np.all(same))
    except (RuntimeError, TypeError, ValueError):
        # Tracers, deleted buffers, and arrays of other shapes cannot be compared.
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) or hasattr(value, "dtype")


def _scaling(
    operation: Callable, name: str, number: Scalar
) -> Callable[[Numbers], Numbers]:
    """From a column of rates to the column times or divided by `number`."""

    def scaled(column: Numbers) -> Numbers:
        if is_traced(number) or not is_known(column):
            factor = jnp.asarray(number, column.dtype)
            if operation is operator.truediv:
                # A traced 0 cannot be refused. It becomes the smallest number.
                smallest = jnp.copysign(jnp.full_like(factor, SMALLEST_RATE), factor)
                factor = jnp.where(abs(factor) < SMALLEST_RATE, smallest, factor)
            values = operation(column, factor)
            return jnp.clip(values, -LARGEST_RATE, LARGEST_RATE)
        values = operation(column.astype(np.float64), float(number))
        for value in values.ravel().tolist():
            if abs(value) > LARGEST_RATE:
                raise ValueError(
                    f"{name}={number!r} takes a rate of the schedule to {value!r}: "
                    "rates are from -1.7e38 to 1.7e38."
                )
        # Devices have no smaller numbers. And 0.0 in place of -0.0, so that equal
        # schedules print alike.
        return np.where(abs(values) < SMALLEST_RATE, 0.0, values).astype(column.dtype)

    return scaled


def _render(schedule: Schedule, how: Callable[[Node], Result]) -> Result | None:
    """`how` of the schedule, if it is one schedule whose numbers are known."""
    try:
        node = to_numpy(schedule.node)
        if node is None or _node.batch_shape_of(node):
            return None
        with np.errstate(all="ignore"):
            return how(node)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # JAX maps trees of anything into a schedule, and tools show what comes out.
        return None


def _population_html(schedule: Schedule) -> str | None:
    if is_known(schedule.node) and len(_node.batch_shape_of(schedule.node)) == 1:
        return _display.as_html_of_several([member.node for member in schedule])
    return None


def _structure(schedule: Schedule) -> str:
    """What can be said of a schedule without its values."""
    try:
        shape = _node.batch_shape_of(schedule.node)
    except (AttributeError, TypeError):
        shape = ()
    shown = [f"batch_shape={shape}"] if shape else []
    for path, leaf in jax.tree_util.tree_flatten_with_path(schedule.node)[0]:
        name = jax.tree_util.keystr(path).lstrip(".")
        shape = ", ".join(map(str, getattr(leaf, "shape", ())))
        dtype = getattr(leaf, "dtype", type(leaf).__name__)
        shown.append(f"{name}={dtype}[{shape}]")
    return f"Schedule({', '.join(shown)})"


def _how_to_make_a_schedule(value: object) -> str:
    if isinstance(value, numbers.Real | jax.Array):
        return f"; a part of one value is constant({value}, steps=...)"
    if isinstance(value, list | tuple):
        return "; pass schedules one by one, as in join(*schedules)"
    return ""


def check_schedule(name: str, value: object) -> Node:
    """The node of one schedule of this library."""
    if not isinstance(value, Schedule):
        what = f"{value!r}{_how_to_make_a_schedule(value)}"
        raise TypeError(f"{name} must be a schedule of optax_cosine, got {what}.")
    if shape := _node.batch_shape_of(value.node):
        raise ValueError(
            f"{name} must be one schedule, got a stack of batch shape {shape}: take it "
            "apart under jax.vmap, or with jax.tree.map(lambda x: x[0], stack)."
        )
    return value.node


def known_node(schedule: Schedule) -> Node:
    """The node with NumPy's leaves, for what needs their values."""
    if (node := to_numpy(schedule.node)) is None:
        raise ValueError(
            "this needs the values of the schedule, but it is traced by JAX, or its "
            f"buffers were deleted or donated: {schedule!r}"
        )
    return node
