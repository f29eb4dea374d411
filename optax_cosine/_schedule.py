"""What every schedule is: a function of a count, a pytree, a value.

A schedule is evaluated in one of two ways: on the host in double precision, where its
numbers are NumPy's and the count is a Python int; else from an `Instant`, under JAX.
"""

import abc
import dataclasses
import functools
import html
import math
import numbers
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from optax_cosine import _text
from optax_cosine._checks import LARGEST, LARGEST_RATE, is_traced, rate
from optax_cosine._instant import (
    Instant,
    as_float,
    as_instant,
    exact,
    is_numpy,
    reached,
    saturated,
    select,
)
from optax_cosine._picture import Curve, html_picture
from optax_cosine._text import Piece

_BLOCKS = 60  # of a curve on one line, at most
_POINTS = 10_000  # of a picture
_FLOAT32 = np.dtype(np.float32)


class Schedule(abc.ABC):
    """A function from a step count to a value, made of nothing but numbers.

    Use it as any `optax.Schedule`. It is also a pytree whose leaves are its numbers: an
    argument of a jitted function, a part of an optimizer state, something to stack, to
    save, to differentiate (with `allow_int=True`, as boundaries are integers).

    The formula is `schedule(count)`, the value that update `count + 1` uses. Before 0
    the first value holds, after `total_steps` the last one. Times or divided by a
    number a schedule is scaled; `first * second` is `first(count) * second(count)`.

    Two schedules are equal if they hold the same numbers in the same places. Hashes
    agree with that where all leaves are NumPy's, as builders make them of plain
    numbers; with other leaves the hash goes by identity.

    Args:
        count: Of a call: a step count of any real dtype, scalar or array.

    Returns:
        From a call: the values, of the shape of `count`; float32, or float64 under x64
        if the rates are Python floats or float64. For a Python int on a schedule of
        NumPy leaves it is a NumPy scalar, computed without JAX.

    Raises:
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

    References:
        Optax, `optax.Schedule`; JAX, "Pytrees".
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]  # every subclass is a dataclass
    __array_ufunc__ = None  # so that NumPy leaves `number * schedule` to `__rmul__`

    def __call__(self, count: ArrayLike) -> Any:
        """The value at `count`, which has any real dtype; elementwise for an array.

        For a Python int it is computed without JAX.
        """
        if type(count) is int and (on_host := self._on_host) is not None:
            return on_host(count)
        if self._batch_shape:
            raise ValueError(
                f"this is a stack of schedules, of batch shape {self._batch_shape}: "
                "call it under jax.vmap."
            )
        return _evaluate(self, saturated(count))

    @property
    def total_steps(self) -> Any:
        """When the last value is reached: an int where it is whole, or `math.inf`."""
        if (values := fetched(self)) is not None and not self._batch_shape:
            return math.inf if values._endless else plain(values._exact_total())
        total = self._traced_total()
        return jnp.where(self._endless, jnp.inf, as_float(total))

    def __mul__(self, factor: Any) -> "Schedule":
        if isinstance(factor, Schedule):
            return Product(checked("schedule", self), checked("factor", factor))
        if not _is_number(factor):
            return NotImplemented
        return self._scaled(_scaling(operator.mul, "factor", factor))

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> "Schedule":
        if not _is_number(divisor):
            return NotImplemented
        if not is_traced(divisor) and np.ndim(divisor) == 0 and divisor == 0:
            raise ValueError(f"divisor must not be 0, got {divisor!r}.")
        return self._scaled(_scaling(operator.truediv, "divisor", divisor))

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, Schedule):
            return self is other
        mine, theirs = fetched(self), fetched(other)
        return mine is not None and theirs is not None and _same(mine, theirs)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return self._shown(lambda values: values._code()) or structure(self)

    def __str__(self) -> str:
        """The expression, the curve on one line, and the phases."""
        return self._shown(_as_text) or repr(self)

    def _repr_html_(self) -> str | None:
        """The curve as a picture, and the phases, for a notebook."""
        return self._shown(_as_html)

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Every bit of the schedule, as JSON can hold it; `from_dict` reads it."""

    @functools.cached_property
    def _on_host(self) -> Callable[[int], Any] | None:
        """From a count to a NumPy scalar; None unless every leaf is NumPy's."""
        if self._batch_shape or not is_numpy(self):
            return None
        value, rounded = self._host_function(), self._dtype.type

        def on_host(count: int) -> Any:
            if not 0 <= count <= LARGEST:
                count = 0 if count < 0 else LARGEST
            return rounded(value(count))

        return on_host

    @functools.cached_property
    def _hash(self) -> int:
        return hash(_content(self)) if is_numpy(self) else object.__hash__(self)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what was derived from them belongs to this process."""
        return {name: vars(self)[name] for name in self.__dataclass_fields__}

    def _shown(self, how: Callable[[Any], str]) -> str | None:
        """What it is with its values, where it is one schedule and they are known."""
        try:
            values = None if self._batch_shape else fetched(self)
            return None if values is None else how(values)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # Trees of anything at all are mapped into this class, and shown by tools.
            return None

    def _lap(self) -> int:
        """To the end, or once through: counts that show all there is."""
        return max(1, min(math.ceil(self._exact_total()), LARGEST))

    @property
    @abc.abstractmethod
    def _batch_shape(self) -> tuple[int, ...]: ...

    @property
    @abc.abstractmethod
    def _dtype(self) -> np.dtype: ...

    @property
    def _total(self) -> Instant:
        """The end; of what has none, the length of a lap."""
        if is_numpy(self) and not self._batch_shape:
            return exact(min(self._exact_total(), LARGEST), self._dtype)
        return self._traced_total()

    @abc.abstractmethod
    def _exact_total(self) -> Any:
        """The total of a schedule of NumPy's leaves as a Python number."""

    @abc.abstractmethod
    def _traced_total(self) -> Instant: ...

    @property
    @abc.abstractmethod
    def _endless(self) -> Any: ...

    @abc.abstractmethod
    def _scaled(self, by: Callable[[Any], Any]) -> "Schedule": ...

    @abc.abstractmethod
    def _host_function(self) -> Callable[[Any], float]:
        """From an exact Python number, 0 or more, to the value."""

    @abc.abstractmethod
    def _value(self, now: Instant, at_once: int) -> Array:
        """The value at one instant, of `at_once` under evaluation."""

    @abc.abstractmethod
    def _pieces(self) -> list[Piece]:
        """What it does, from step 0 on; of a schedule of NumPy's leaves."""

    @abc.abstractmethod
    def _code(self) -> str:
        """An expression that builds this schedule."""


def sampled(total: int, number: int) -> list[int]:
    """At most so many counts from 0 to a total, both of them included."""
    number = min(number, total + 1)
    return [total * i // (number - 1) for i in range(number)]


def curve_of(schedule: Schedule, total: int, pieces: list[Piece]) -> Curve:
    """Values of a schedule of NumPy's leaves, up to a total of 1 or more."""
    counts = sampled(total, _POINTS)
    starts = [float(piece.start) for piece in pieces]
    return Curve(counts, [float(schedule(count)) for count in counts], starts)


def _as_text(schedule: Any) -> str:
    counts = sampled(schedule._lap(), _BLOCKS)
    blocks = _text.curve([float(schedule(count)) for count in counts])
    line = f"{blocks}  0 to {counts[-1]:,}"
    return "\n".join([schedule._code(), line, _text.table(schedule._pieces())])


def _as_html(schedule: Any) -> str:
    pieces = schedule._pieces()
    picture = html_picture(curve_of(schedule, schedule._lap(), pieces))
    code = f"<code>{html.escape(schedule._code())}</code>"
    return f"{code}<br>{picture}{_text.html_table(pieces)}"


def fetched(schedule: Schedule) -> Any:
    """The schedule with NumPy's leaves; None if one of them has no value here."""
    if not all(map(_has_value, jax.tree.leaves(schedule))):
        return None
    return jax.tree.map(np.asarray, schedule)


def _has_value(leaf: Any) -> bool:
    if is_traced(leaf) or not isinstance(leaf, (np.ndarray, np.generic, jax.Array)):
        return False
    if not isinstance(leaf, jax.Array):
        return True
    here = leaf.is_fully_addressable or leaf.is_fully_replicated
    return here and not leaf.is_deleted()


def known(schedule: Schedule) -> Any:
    """The schedule with NumPy's leaves, for what needs their values."""
    if (values := fetched(schedule)) is None:
        raise ValueError(
            "the numbers of this schedule are not known here: it is traced, or its "
            f"arrays are gone, {schedule!r}"
        )
    return values


def checked(name: str, value: Any) -> Any:
    """A schedule of this library, and one of them."""
    if not isinstance(value, Schedule):
        raise TypeError(f"{name} must be a schedule of optax_cosine, got {value!r}.")
    if value._batch_shape:
        raise ValueError(
            f"{name} must be one schedule, got a stack of batch shape "
            f"{value._batch_shape}: take it apart under jax.vmap, or write "
            "jax.tree.map(lambda x: x[0], stack) for one."
        )
    return value


def _content(schedule: Schedule) -> tuple[Any, ...]:
    leaves, treedef = jax.tree.flatten(schedule)
    return treedef, *((x.dtype.str, x.shape, tuple(x.ravel().tolist())) for x in leaves)


def _same(mine: Schedule, theirs: Schedule) -> bool:
    return _content(mine) == _content(theirs)


def structure(schedule: Schedule) -> str:
    """What can be said of a schedule without its values."""
    shown = [f"batch_shape={schedule._batch_shape}"] if schedule._batch_shape else []
    for path, leaf in jax.tree_util.tree_flatten_with_path(schedule)[0]:
        name = jax.tree_util.keystr(path).lstrip(".")
        shape = ", ".join(map(str, getattr(leaf, "shape", ())))
        dtype = getattr(leaf, "dtype", type(leaf).__name__)
        shown.append(f"{name}={dtype}[{shape}]")
    return f"{type(schedule).__name__}({', '.join(shown)})"


def plain(steps: Any) -> Any:
    """An exact number of steps as an int; where it is not whole, as a short float."""
    if steps == int(steps):
        return int(steps)
    short = round(float(steps), 7)
    same = exact(Fraction(short), _FLOAT32) == exact(steps, _FLOAT32)
    return short if same else float(steps)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) or hasattr(value, "dtype")


def _scaling(operation: Callable, name: str, number: Any) -> Callable[[Any], Any]:
    """From a column of rates to that column times or divided by `number`."""
    number = rate(name, number)

    def scaled(column: Any) -> Any:
        if is_traced(number) or type(column) is not np.ndarray:
            return operation(column, jnp.asarray(number, column.dtype))
        values = operation(column.astype(np.float64), float(number))
        for value in values.ravel().tolist():
            if abs(value) > LARGEST_RATE:
                raise ValueError(
                    f"{name}={number!r} takes a rate of the schedule to {value!r}: "
                    "rates are from -1.7e38 to 1.7e38."
                )
        return frozen(values.astype(column.dtype))

    return scaled


def frozen(column: np.ndarray) -> np.ndarray:
    column.flags.writeable = False
    return column


@functools.partial(jax.jit, inline=True)
def _evaluate(schedule: Schedule, count: ArrayLike) -> Array:
    # Leaves are still NumPy's where jit is disabled.
    schedule = jax.tree.map(jnp.asarray, schedule)
    count = jnp.asarray(count)

    def value(count):
        return schedule._value(as_instant(count, schedule._dtype), at_once)

    at_once = count.size
    for _ in range(count.ndim):
        value = jax.vmap(value)
    return value(count)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Product(Schedule):
    """Two schedules multiplied, step by step."""

    first: Schedule
    second: Schedule

    @property
    def _batch_shape(self) -> tuple[int, ...]:
        return self.first._batch_shape

    @property
    def _dtype(self) -> np.dtype:
        return np.promote_types(self.first._dtype, self.second._dtype)

    def _exact_total(self) -> Any:
        return max(self.first._exact_total(), self.second._exact_total())

    def _traced_total(self) -> Instant:
        first, second = (
            Instant(total.whole, total.part.astype(self._dtype))
            for total in (self.first._total, self.second._total)
        )
        return select(reached(first, second), first, second)

    @property
    def _endless(self) -> Any:
        return self.first._endless | self.second._endless

    def _scaled(self, by: Callable[[Any], Any]) -> "Product":
        return Product(self.first._scaled(by), self.second)

    def _host_function(self) -> Callable[[Any], float]:
        first, second = self.first._host_function(), self.second._host_function()
        return lambda count: first(count) * second(count)

    def _value(self, now: Instant, at_once: int) -> Array:
        first, second = (
            schedule._value(now, at_once).astype(self._dtype)
            for schedule in (self.first, self.second)
        )
        return first * second

    def _pieces(self) -> list[Piece]:
        first, second = self.first._pieces(), self.second._pieces()
        starts = sorted({piece.start for piece in (*first, *second)})
        first = _text.split(first, starts, self.first._host_function())
        second = _text.split(second, starts, self.second._host_function())
        return list(map(_text.product, first, second))

    def _code(self) -> str:
        second = self.second._code()
        if isinstance(self.second, Product):
            second = f"({second})"
        return f"{self.first._code()} * {second}"

    def to_dict(self) -> dict[str, Any]:
        """As in `Schedule`."""
        first, second = self.first.to_dict(), self.second.to_dict()
        return {"kind": "product", "first": first, "second": second}
