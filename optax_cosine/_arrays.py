"""Where the numbers of a schedule are: in NumPy, on a device, or traced by JAX.

Plain arguments give NumPy's arrays, whose values are known while JAX traces a program.
What depends on known values alone is computed at that moment and is not part of the
program.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike, DTypeLike

Numbers: TypeAlias = jax.Array | np.ndarray
Arrays: TypeAlias = tuple[jax.Array, ...]
# A Python number, a NumPy scalar, or a traced JAX scalar; they share their operators,
# but no type says so.
Scalar: TypeAlias = Any
# A tree whose leaves are arrays, as JAX calls it.
Pytree: TypeAlias = Any
Tree = TypeVar("Tree")


def is_traced(value: object) -> bool:
    return isinstance(value, Tracer)


def is_known(*trees: object) -> bool:
    """Whether every leaf is NumPy's."""
    return all(isinstance(x, np.ndarray | np.generic) for x in jax.tree.leaves(trees))


def always(numbers: Numbers, value: float) -> bool:
    """Whether all `numbers` are known to be `value`. Nothing is known of a tracer."""
    return is_known(numbers) and bool(np.all(np.equal(numbers, value)))


def select(condition: Numbers, on_true: Tree, on_false: Tree) -> Tree:
    """`jnp.where` for trees. What is known is decided here, not in the program."""
    if is_known(condition) and np.ndim(condition) == 0:
        return on_true if condition else on_false

    def of_leaves(x: Numbers, y: Numbers) -> Numbers:
        if x is y or (is_known(x, y) and np.array_equal(x, y)):
            return x
        if is_known(condition, x, y):
            return np.where(condition, x, y)
        shape = np.broadcast_shapes(*map(np.shape, (condition, x, y)))
        return lax.select(*(_broadcast(leaf, shape) for leaf in (condition, x, y)))

    return jax.tree.map(of_leaves, on_true, on_false)


def _broadcast(numbers: Numbers, shape: tuple[int, ...]) -> Numbers:
    same = np.shape(numbers) == shape
    return numbers if same else jnp.broadcast_to(numbers, shape)


def as_column(entries: ArrayLike | Sequence[ArrayLike], dtype: DTypeLike) -> Numbers:
    """NumPy's array, unless an entry is traced."""
    if isinstance(entries, list | tuple) and any(map(is_traced, entries)):
        return jnp.stack([jnp.asarray(entry, dtype) for entry in entries])
    if isinstance(entries, jax.Array):
        return entries.astype(dtype)
    return np.array(entries, dtype)


def stack(arrays: Sequence[Numbers], axis: int = 0) -> Numbers:
    """`jnp.stack`, read-only NumPy's if all arrays are known."""
    return _put_together(np.stack, jnp.stack, arrays, axis)


def concatenate(arrays: Sequence[Numbers], axis: int = 0) -> Numbers:
    """`jnp.concatenate`, read-only NumPy's if all arrays are known."""
    return _put_together(np.concatenate, jnp.concatenate, arrays, axis)


def _put_together(
    on_host: Callable, on_device: Callable, arrays: Sequence[Numbers], axis: int
) -> Numbers:
    if is_known(*arrays):
        return read_only(on_host(arrays, axis))
    dtype = np.result_type(*(array.dtype for array in arrays))
    return on_device([jnp.asarray(array, dtype) for array in arrays], axis)


def read_only(numbers: np.ndarray) -> np.ndarray:
    numbers.flags.writeable = False
    return numbers


def is_float(leaf: Numbers | np.generic) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def widen(leaf: Numbers) -> Numbers:
    """The array in float32, if its floats are narrower."""
    narrow = is_float(leaf) and leaf.dtype.itemsize < 4
    return leaf.astype(np.float32) if narrow else leaf


def to_numpy(tree: Tree) -> Tree | None:
    """The tree with NumPy's leaves. None if the value of a leaf cannot be fetched."""
    if not all(map(_can_be_fetched, jax.tree.leaves(tree))):
        return None
    return jax.tree.map(np.asarray, tree)


def _can_be_fetched(leaf: object) -> bool:
    if isinstance(leaf, np.ndarray | np.generic):
        return True
    if is_traced(leaf) or not isinstance(leaf, jax.Array):
        return False
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return False
    is_here = leaf.is_fully_addressable or leaf.is_fully_replicated
    return is_here and not leaf.is_deleted()
