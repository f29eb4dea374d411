"""What the user wrote for the arguments of an optimizer, by what becomes of it."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_cosine._arrays import is_float
from optax_cosine._node import Node
from optax_cosine._schedule import Schedule, check_schedule
from optax_cosine._state import number_as_node

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Factory(NamedTuple):
    """A function that makes an optimizer, and what is known of its arguments."""

    function: Callable[..., Any]
    parameters: Mapping[str, inspect.Parameter]
    static: frozenset[str]

    @property
    def name(self) -> str:
        """As the user knows it."""
        return getattr(self.function, "__name__", repr(self.function))


class Hyperparams(NamedTuple):
    """The arguments of an optimizer."""

    nodes: dict[str, Node]  # of schedules, which travel in the state
    functions: dict[str, Callable]  # schedules of other making: stay in the program
    static: dict[str, object]


def factory_of(
    function: Callable[..., Any], static_args: str | Iterable[str]
) -> Factory:
    if not callable(function):
        raise TypeError(
            "inject_schedules takes the function that makes an optimizer, as in "
            f"inject_schedules(optax.adamw)(learning_rate=...), got {function!r}."
        )
    static = {static_args} if isinstance(static_args, str) else set(static_args)
    factory = Factory(
        function, inspect.signature(function).parameters, frozenset(static)
    )
    takes_any = any(x.kind is x.VAR_KEYWORD for x in factory.parameters.values())
    if not takes_any and (unknown := static - factory.parameters.keys()):
        raise ValueError(
            f"static_args must be arguments of {factory.name}, which takes "
            f"{', '.join(factory.parameters)}, got {', '.join(sorted(unknown))}."
        )
    return factory


def hyperparams_of(
    factory: Factory, args: Sequence[object], kwargs: Mapping[str, object]
) -> Hyperparams:
    hyperparams = Hyperparams({}, {}, {})
    for name, value in _by_name(factory, args, kwargs).items():
        if isinstance(value, Schedule):
            _refuse_setting(factory, name, value)
            hyperparams.nodes[name] = check_schedule(name, value)
        elif name not in factory.static and _is_float(value):
            hyperparams.nodes[name] = number_as_node(name, value)
        elif name not in factory.static and _is_function(value):
            hyperparams.functions[name] = _function_of_count(name, value)
        else:
            hyperparams.static[name] = value
    return hyperparams


def _by_name(
    factory: Factory, args: Sequence[object], kwargs: Mapping[str, object]
) -> dict[str, object]:
    signature = inspect.Signature(list(factory.parameters.values()))
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"{factory.name}: {error}; it takes {', '.join(factory.parameters)}."
        ) from error
    positional = signature.bind_partial(*args).arguments
    for name in positional:
        if factory.parameters[name].kind not in _NAMED:
            raise TypeError(
                f"{factory.name}: a hyperparameter needs a name, which "
                f"{factory.parameters[name]} does not give it, got {args!r}."
            )
    return {**positional, **kwargs}


def _refuse_setting(factory: Factory, name: str, schedule: Schedule) -> None:
    default = getattr(factory.parameters.get(name), "default", None)
    if name in factory.static or isinstance(default, (bool, str)):
        raise TypeError(
            f"{factory.name}'s {name} is a fixed option and cannot be scheduled, got "
            f"{schedule!r}."
        )


def _is_float(value: object) -> bool:
    """A number that may be scheduled, traced or not; ints and arrays are settings."""
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return value.ndim == 0 and is_float(value)
    return isinstance(value, float)


def _is_function(value: object) -> TypeGuard[Callable]:
    # A dtype such as jnp.bfloat16 is callable, but is not a function of the count.
    return callable(value) and not isinstance(value, type)


def _function_of_count(name: str, function: Callable) -> Callable:
    if isinstance(function, optax.schedules.StatefulSchedule):
        raise TypeError(
            f"{name} must depend on the count alone, got {function!r}, a schedule with "
            "a state: use optax.inject_hyperparams for it."
        )
    try:
        value = jax.eval_shape(function, jax.ShapeDtypeStruct((), np.int32))
    except Exception as error:
        raise TypeError(_no_schedule(name, function, f"fails: {error}")) from error
    dtype = getattr(value, "dtype", np.dtype(bool))
    is_real = jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
    if getattr(value, "shape", None) != () or not is_real:
        raise TypeError(_no_schedule(name, function, f"gives {value}"))
    return function


def _no_schedule(name: str, function: Callable, what: str) -> str:
    return (
        f"{name} must give one real number for an int32 count: {function!r} {what}. If "
        f"it is not a schedule, write static_args={name!r}."
    )
