"""The parts of a schedule: one row each."""

from typing import Literal, TypeAlias

from jax.typing import ArrayLike

from optax_cosine._keywords import answer_wrong_keywords
from optax_cosine._schedule import Schedule, to_schedule
from optax_cosine._table import COSINE, LINEAR, Segment, constant_row, single_row
from optax_cosine._validation import (
    check_choice,
    check_length,
    check_positive,
    check_rate,
)

Shape: TypeAlias = Literal["cosine", "linear", "1-sqrt"]

# The shape of the row, and the exponent of time, of each decay.
_DECAYS = {"cosine": (COSINE, 1.0), "linear": (LINEAR, 1.0), "1-sqrt": (LINEAR, 0.5)}


def decay_of(shape: object, init_value: ArrayLike, end_value: ArrayLike) -> Segment:
    """The decay of a shape that the user named."""
    code, time_exponent = _DECAYS[check_choice("shape", shape, tuple(_DECAYS))]
    return Segment(code, init_value, end_value, 1.0, time_exponent)


@answer_wrong_keywords
def cosine(
    init_value: ArrayLike,
    end_value: ArrayLike,
    *,
    steps: ArrayLike,
    exponent: ArrayLike = 1.0,
    time_exponent: ArrayLike = 1.0,
) -> Schedule:
    """Half a cosine from `init_value` to `end_value`, down or up.

    Use it for annealing, and for a value that rises to the end of a run, such as the
    decay of a moving average or weight decay: `cosine(0.99, 1.0, steps=total_steps)`.

    With `x = count / steps`, clamped to [0, 1]::

        weight = ((1 + cos(pi * x**time_exponent)) / 2) ** exponent
        value = end_value + (init_value - end_value) * weight

    Args:
        init_value: Value at count 0. A finite scalar.
        end_value: Value from count `steps` on.
        steps: Length in optimizer updates, 1e-6 or more; a fraction is allowed.
        exponent: Power of the weight, above 0; Optax's `exponent`.
        time_exponent: Power of the elapsed fraction, above 0; timm's `k_decay`.

    Returns:
        A schedule of one phase.

    Raises:
        TypeError: An argument is not a real number.
        ValueError: An argument is out of range; the message names it.

    Examples:
        >>> import optax_cosine as oc
        >>> weight_decay = oc.cosine(0.04, 0.4, steps=100)
        >>> print(weight_decay(0), weight_decay(50), weight_decay(100))
        0.04 0.22 0.4

    References:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
        2017, arXiv:1608.03983.
    """
    part = Segment(COSINE, init_value, end_value, exponent, time_exponent)
    return _part(steps, part)


@answer_wrong_keywords
def linear(
    init_value: ArrayLike,
    end_value: ArrayLike,
    *,
    steps: ArrayLike,
    exponent: ArrayLike = 1.0,
    time_exponent: ArrayLike = 1.0,
) -> Schedule:
    """A straight line from `init_value` to `end_value`, or a power of it.

    Use it for warm-ups. `exponent=2.0` is a quadratic decay, like
    `optax.polynomial_schedule(power=2.0)`; `time_exponent=2.0` is a quadratic warm-up,
    and `time_exponent=0.5` the 1-sqrt decay.

    With `x = count / steps`, clamped to [0, 1]::

        weight = (1 - x**time_exponent) ** exponent
        value = end_value + (init_value - end_value) * weight

    Args:
        init_value: Value at count 0. A finite scalar.
        end_value: Value from count `steps` on.
        steps: Length in optimizer updates, 1e-6 or more; a fraction is allowed.
        exponent: Power of the remaining fraction, above 0; Optax's `power`.
        time_exponent: Power of the elapsed fraction, above 0.

    Returns:
        A schedule of one phase.

    Raises:
        TypeError: An argument is not a real number.
        ValueError: An argument is out of range; the message names it.

    Examples:
        >>> import optax_cosine as oc
        >>> warmup = oc.linear(0.0, 0.1, steps=4)
        >>> print(*[warmup(count) for count in range(6)])
        0.0 0.025 0.05 0.075 0.1 0.1

    References:
        Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
        Durations", 2024, arXiv:2405.18392 (the 1-sqrt decay).
    """
    part = Segment(LINEAR, init_value, end_value, exponent, time_exponent)
    return _part(steps, part)


@answer_wrong_keywords
def constant(value: ArrayLike, *, steps: ArrayLike) -> Schedule:
    """One value, for some steps.

    Use it for the stable stretch between a warm-up and a decay.

    Args:
        value: The value. A finite scalar.
        steps: Length in optimizer updates, 1e-6 or more; a fraction is allowed. What
            follows in a `join` begins after it.

    Returns:
        A schedule of one phase.

    Raises:
        TypeError: An argument is not a real number.
        ValueError: An argument is out of range; the message names it.

    Examples:
        >>> import optax_cosine as oc
        >>> print(oc.constant(3e-4, steps=100)(7))
        0.0003
    """
    value = check_rate("value", value)
    return to_schedule(constant_row(check_length("steps", steps), value))


def _part(steps: ArrayLike, part: Segment) -> Schedule:
    steps = check_length("steps", steps)
    checked = Segment(
        part.shape,
        check_rate("init_value", part.init_value),
        check_rate("end_value", part.end_value),
        check_positive("exponent", part.exponent),
        check_positive("time_exponent", part.time_exponent),
    )
    return to_schedule(single_row(steps, checked))
