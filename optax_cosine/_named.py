"""The named curves, each a few lines on top of the table."""

from jax.typing import ArrayLike

from optax_cosine._checks import no_rise, positive, rate, whole_steps
from optax_cosine._schedule import COSINE, Phase, Table, table, value_dtype


def cosine_annealing_schedule(
    init_value: ArrayLike,
    decay_steps: ArrayLike,
    *,
    end_value: ArrayLike = 0.0,
    exponent: ArrayLike = 1.0,
) -> Table:
    """Anneal from `init_value` to `end_value` along half a cosine.

    Use it for a run of known length that needs no warm-up: fine-tuning, small models,
    the last part of a run. Give it to any Optax optimizer in place of a learning rate.

    With `count` clamped to `[0, decay_steps]`, the value is::

        weight = ((1 + cos(pi * count / decay_steps)) / 2) ** exponent
        value = end_value + (init_value - end_value) * weight

    Update k, counted from 1, uses the value at `count = k - 1`. The first one has
    `init_value`, to the bit; the last of `decay_steps` updates stands one step above
    `end_value`, which is met, to the bit, at `count = decay_steps` and kept.

    Args:
        init_value: Learning rate at the first update. A finite scalar.
        decay_steps: Optimizer updates until `end_value` is reached. A whole number
            from 1 to 2**31 - 1.
        end_value: Learning rate from there on: a rate, not a ratio. A finite scalar,
            at most `init_value`.
        exponent: Power of the weight. Above 1 the rate falls sooner, below 1 later.
            A scalar above 0.

    Every argument may be traced, so that `jax.jit`, `jax.vmap` and `jax.grad` go
    through this function, and one compiled program serves every horizon that is an
    argument of it. Traced numbers cannot be checked: a length or an exponent out of
    range is moved into it, and a fractional length is taken as it is.

    Returns:
        A schedule: a function from a step count, of any real dtype JAX has, scalar or
        array, to the value there. It is a pytree whose leaves are its numbers. Values
        are float32; float64 where `jax_enable_x64` is on and the rates are Python
        floats or float64. For a Python int it answers without JAX, with a NumPy scalar.
        Its derivative by a fractional count is 0 up to the start and from the end on.

    Raises:
        TypeError: An argument is not a real number.
        ValueError: An argument is out of the range given above, or an array outside
            `jax.vmap`; the message names it and its value.

    Examples:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import optax_cosine as oc
        >>> schedule = oc.cosine_annealing_schedule(0.1, 10, end_value=0.001)
        >>> print(schedule(0), schedule(5), schedule(10), schedule(11))
        0.1 0.0505 0.001 0.001
        >>> [f"{value:.4f}" for value in schedule(jnp.array([0, 3, 7, 10]))]
        ['0.1000', '0.0796', '0.0214', '0.0010']
        >>> optimizer = optax.adamw(schedule)

        Many horizons, one program:

        >>> import jax
        >>> at_50 = jax.jit(lambda steps: oc.cosine_annealing_schedule(1.0, steps)(50))
        >>> print(f"{at_50(100):.4f} {at_50(200):.4f}")
        0.5000 0.8536

    References:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
        2017, arXiv:1608.03983.
    """
    phase = Phase(
        steps=whole_steps("decay_steps", decay_steps),
        shape=COSINE,
        init_value=rate("init_value", init_value),
        end_value=rate("end_value", end_value),
        exponent=positive("exponent", exponent),
    )
    values = phase.init_value, phase.end_value
    no_rise("init_value", values[0], "end_value", values[1], value_dtype(values))
    return table([phase])
