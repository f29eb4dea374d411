"""Optimizers whose hyperparameters are schedules that travel in the state.

They are saved, restored and edited with it, and one compiled step serves all schedules
of one structure.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_cosine._arrays import Pytree, is_float, widen
from optax_cosine._flax import register_with_flax_if_imported
from optax_cosine._hyperparams import factory_of, hyperparams_of
from optax_cosine._node import Node
from optax_cosine._room import with_room
from optax_cosine._schedule import to_schedule
from optax_cosine._state import InjectSchedulesState, ScheduleMap, wrong_place


def inject_schedules(
    inner_factory: Callable[..., optax.GradientTransformation],
    static_args: str | Iterable[str] = (),
) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """An optimizer whose hyperparameters are schedules that travel in its state.

    Use it like `optax.inject_hyperparams`. Checkpoints then contain the schedules, you
    can log the rate that was applied, and you can extend or cool down a running job.

    Update k, from 1, reads every schedule at `count = k - 1`::

        values = {name: schedule(count) for name, schedule in schedules.items()}
        updates, inner_state = inner_factory(**values).update(...)

    The state is `(count, applied, schedules, inner_state)`. `applied` holds the values
    of the last update (after `init`, those of the first), so that
    `optax.tree.get(opt_state, "learning_rate")` is the rate that was used;
    `hyperparams` shows the same values. To change a value, use `set_schedules`.

    Shapes and dtypes of the state never change: it goes through `jax.lax.scan` and
    `optax.MultiSteps`, and it may be donated, as it shares no buffer with the schedules
    that it was made of. `flax.serialization` saves it, if Flax is imported before the
    state is made. Put `inject_schedules` inside `optax.MultiSteps`: around it, the
    count would be of batches.

    Args:
        inner_factory: Returns a gradient transformation: `optax.adamw`, or a function
            of your own.
        static_args: Names of arguments of `inner_factory` that must be passed through
            unchanged, such as callables that are not schedules.

    Returns:
        A function of the arguments of `inner_factory` that returns the optimizer. Each
        argument that you write may be a schedule of this library, or a float, which is
        a constant one. Both reach `inner_factory` as float32 scalars (as float64, where
        the schedule is), whatever the dtype of the parameters. Another function of an
        int32 count is a schedule too; it stays outside the state. Ints, flags, strings
        and what you leave out reach `inner_factory` as they are.

    Raises:
        TypeError: An argument is unknown or missing, a callable is not a schedule or is
            a stateful one, or a schedule was given for a flag or a static argument.
        ValueError: A name in `static_args` is unknown, or a float is out of range.

    Examples:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import optax_cosine as oc
        >>> optimizer = oc.inject_schedules(optax.adamw)(
        ...     learning_rate=oc.cosine_annealing_schedule(0.1, 100), weight_decay=1e-3)
        >>> params = {"w": jnp.ones(3)}
        >>> opt_state = optimizer.init(params)
        >>> for _ in range(51):
        ...     updates, opt_state = optimizer.update(params, opt_state, params)
        >>> print(f"{optax.tree.get(opt_state, 'learning_rate'):.4f}")
        0.0500
        >>> oc.get_schedules(opt_state)["learning_rate"]
        cosine(0.1, 0.0, steps=100)
    """
    factory = factory_of(inner_factory, static_args)

    @functools.wraps(inner_factory)
    def injected(*args: Any, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
        nodes, functions, static = hyperparams_of(factory, args, kwargs)
        hint = (
            f"inject_schedules passes {', '.join([*nodes, *functions])} to "
            f"{factory.name} as JAX scalars. If it needs a plain Python value for one "
            "of them, add the name to static_args."
        )

        def inner(**values: Any) -> optax.GradientTransformationExtraArgs:
            with _note_on((TypeError, ValueError), hint):
                transformation = inner_factory(**static, **values)
            return optax.with_extra_args_support(transformation)

        return _injected(inner, nodes, functions, hint)

    return injected


def _injected(
    inner: Callable[..., optax.GradientTransformationExtraArgs],
    nodes: dict[str, Node],
    functions: dict[str, Callable],
    hint: str,
) -> optax.GradientTransformationExtraArgs:
    # What these functions close over is hashable or a tree of arrays: Equinox makes
    # trees of closures.

    def init(params: Pytree) -> InjectSchedulesState:
        register_with_flax_if_imported()
        count = jnp.zeros((), np.int32)
        applied = _values_at(count, nodes, functions)
        with _note_on(jax.errors.JAXTypeError, hint):
            inner_state = inner(**applied).init(params)
        schedules = ScheduleMap({name: with_room(node) for name, node in nodes.items()})
        return jax.tree.map(
            _copy, InjectSchedulesState(count, applied, schedules, inner_state)
        )

    def update(
        updates: Pytree, state: Pytree, params: Pytree = None, **extra_args: Any
    ) -> tuple[Any, InjectSchedulesState]:
        for name, value in state.applied.items():
            _refuse_written(name, value)
        values = _values_at(state.count, state.schedules.nodes, functions)
        inputs = jax.tree.map(jnp.asarray, (updates, state.inner_state, params))
        with _note_on(jax.errors.JAXTypeError, hint):
            new_updates, inner_state = _update_inner(inner, values, inputs, extra_args)
        return new_updates, InjectSchedulesState(
            optax.safe_increment(state.count),
            jax.tree.map(_cast_like, values, state.applied),
            state.schedules,
            jax.tree.map(_cast_like, inner_state, inputs[1]),
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _values_at(
    count: Pytree, nodes: Mapping[str, Node], functions: Mapping[str, Callable]
) -> dict[str, jax.Array]:
    values = {name: to_schedule(node)(count) for name, node in nodes.items()}
    others = {name: jnp.float32(x(count)) for name, x in functions.items()}
    return {name: jnp.asarray(value) for name, value in (values | others).items()}


def _update_inner(
    inner: Callable[..., optax.GradientTransformationExtraArgs],
    values: dict[str, jax.Array],
    inputs: tuple[Pytree, Pytree, Pytree],
    extra_args: dict[str, Any],
) -> tuple[Pytree, Pytree]:
    """Updates and state of the inner transformation, in the dtypes that floats give."""

    def update(values: dict[str, Any], inputs: Any) -> tuple[Pytree, Pytree]:
        return inner(**values).update(*inputs, **extra_args)

    # Arrays of hyperparameters would promote narrower gradients and states in the
    # middle of the inner transformation, and some transformations require equal dtypes.
    # So all half-precision inputs are promoted before, and the results are cast to what
    # Python's floats as hyperparameters would give.
    outputs = update(values, jax.tree.map(widen, inputs))
    if not _any_narrower(inputs, values):
        return outputs
    plain = jax.eval_shape(update, dict.fromkeys(values, 0.5), inputs)
    return jax.tree.map(_cast_like, outputs, plain)


def _any_narrower(inputs: Pytree, values: Mapping[str, jax.Array]) -> bool:
    """Whether an input is of a narrower float than a hyperparameter."""
    size = max((value.dtype.itemsize for value in values.values()), default=0)
    leaves = jax.tree.leaves(inputs)
    return any(is_float(leaf) and leaf.dtype.itemsize < size for leaf in leaves)


def _refuse_written(name: str, value: object) -> None:
    # `update` and `init` write arrays of a strong type.
    if not hasattr(value, "dtype") or getattr(value, "weak_type", False):
        raise TypeError(wrong_place(name, value))


def _copy(leaf: Pytree) -> Pytree:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        # Some optimizers keep the parameters in their state.
        return leaf
    leaf = jnp.asarray(leaf)
    # `dtype=` makes the copy strongly typed.
    return jnp.array(leaf, leaf.dtype, copy=True)


def _cast_like(new: Pytree, old: Pytree) -> Pytree:
    return jnp.asarray(new, old.dtype)


@contextlib.contextmanager
def _note_on(
    errors: type[Exception] | tuple[type[Exception], ...], hint: str
) -> Iterator[None]:
    """Says what to do if the inner factory cannot work with arrays."""
    try:
        yield
    except errors as error:
        if hint not in getattr(error, "__notes__", ()):
            error.add_note(hint)
        raise
