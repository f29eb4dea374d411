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

from optax_cosine._arrays import Pytree
from optax_cosine._flax import register_with_flax_if_imported
from optax_cosine._hyperparams import Factory, Hyperparams, factory_of, hyperparams_of
from optax_cosine._state import InjectSchedulesState, ScheduleMap


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
    `optax.tree.get(opt_state, "learning_rate")` is the rate that was used. To change
    one, use `set_schedules`. Shapes and dtypes of the state never change: it goes
    through `jax.lax.scan` and `optax.MultiSteps`, and it may be donated, as it shares
    no buffer with the schedules that it was made of. `flax.serialization` saves it, if
    Flax is imported before the state is made.

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
        return _injected(factory, hyperparams_of(factory, args, kwargs))

    return injected


def _injected(
    factory: Factory, hyperparams: Hyperparams
) -> optax.GradientTransformationExtraArgs:
    schedules, functions, static = hyperparams

    def inner(values: dict[str, Any]) -> optax.GradientTransformationExtraArgs:
        return optax.with_extra_args_support(factory.function(**static, **values))

    def values_at(count: Pytree, schedules: Mapping[str, Any]) -> dict[str, Any]:
        values = {name: schedule(count) for name, schedule in schedules.items()}
        others = {name: jnp.float32(x(count)) for name, x in functions.items()}
        return {name: jnp.asarray(x) for name, x in (values | others).items()}

    def init(params: Pytree) -> InjectSchedulesState:
        register_with_flax_if_imported()
        count = jnp.zeros((), np.int32)
        applied = values_at(count, schedules)
        with _hint_static_args(factory, applied):
            inner_state = inner(applied).init(params)
        state = InjectSchedulesState(
            count, applied, ScheduleMap(schedules), inner_state
        )
        return jax.tree.map(_copy, state)

    def update(
        updates: Pytree, state: Pytree, params: Pytree = None, **extra_args: Any
    ) -> tuple[Any, InjectSchedulesState]:
        values = values_at(state.count, state.schedules)
        values = jax.tree.map(_cast_like, values, state.applied)
        with _hint_static_args(factory, values):
            new_updates, inner_state = inner(values).update(
                *jax.tree.map(_promote_half, (updates, state.inner_state, params)),
                **extra_args,
            )
        return jax.tree.map(_cast_like, new_updates, updates), InjectSchedulesState(
            optax.safe_increment(state.count),
            values,
            state.schedules,
            jax.tree.map(_cast_like, inner_state, state.inner_state),
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _copy(leaf: Pytree) -> Pytree:
    leaf = jnp.asarray(leaf)
    # `dtype=` makes the copy strongly typed.
    return jnp.array(leaf, leaf.dtype, copy=True)


def _promote_half(leaf: Pytree) -> Pytree:
    # float32 hyperparameters would promote bfloat16 gradients and state in the middle
    # of the inner transformation, and some transformations require equal dtypes. So
    # all inputs are promoted here, and `_cast_like` casts the results back.
    leaf = jnp.asarray(leaf)
    narrow = jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype.itemsize < 4
    return leaf.astype(np.float32) if narrow else leaf


def _cast_like(new: Pytree, old: Pytree) -> Pytree:
    return jnp.asarray(new, jnp.asarray(old).dtype)


@contextlib.contextmanager
def _hint_static_args(factory: Factory, values: Mapping[str, Any]) -> Iterator[None]:
    """A note on what to do if the inner factory cannot work with arrays."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.add_note(
            f"inject_schedules passes {', '.join(values)} to {factory.name} as JAX "
            "scalars. If it needs a plain Python value for one of them, add the name "
            "to static_args."
        )
        raise
