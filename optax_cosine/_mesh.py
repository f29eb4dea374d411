"""Evaluation on a mesh with explicit axes, as `jax.make_mesh` makes by default.

There JAX derives the sharding of each result, and cannot do so for a gather. So the
axes are automatic during the evaluation, and the values get the sharding of the counts.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax.sharding import NamedSharding

from optax_cosine._arrays import Pytree, is_known

# JAX has this function from 0.7 on. Without it, explicit axes are not supported.
_auto_axes: Any = getattr(jax.sharding, "auto_axes", None)


def with_automatic_axes(
    values_at: Callable[[Pytree, Pytree], Array], node: Pytree, counts: Pytree
) -> Array:
    """`values_at(node, counts)`, whatever the axes of the mesh are."""
    mesh = _explicit_mesh((node, counts))
    if mesh is None:
        return values_at(node, counts)
    # The caller is jitted, so counts are traced, and have an `aval`.
    first: Any = jax.tree.leaves(counts)[0]
    sharding = NamedSharding(mesh, first.aval.sharding.spec)
    if is_known(node):
        # As an argument of the function, the node would be traced. A traced node must
        # be an argument, so that its axes become automatic too.
        known = functools.partial(values_at, node)
        return _auto_axes(known, out_sharding=sharding)(counts)
    return _auto_axes(values_at, out_sharding=sharding)(node, counts)


def _explicit_mesh(tree: Pytree) -> Any:
    """The mesh with explicit axes on which an array of the tree lies, or None."""
    if _auto_axes is None:
        return None
    # A NumPy leaf has no `aval`, and lies on no mesh.
    for leaf in jax.tree.leaves(tree):
        sharding = getattr(getattr(leaf, "aval", None), "sharding", None)
        mesh = getattr(sharding, "mesh", None)
        if mesh is not None and mesh.explicit_axes:
            return mesh
    return None
