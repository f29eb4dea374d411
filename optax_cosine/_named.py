"""The named curves, each a few lines on top of the table."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_cosine import _restarts, _table, _time
from optax_cosine._arrays import Scalar, is_traced
from optax_cosine._keywords import answer_wrong_keywords
from optax_cosine._parts import Shape, decay_of
from optax_cosine._schedule import Schedule, to_schedule
from optax_cosine._table import COSINE, HOLD, LINEAR, REPEAT, Segment
from optax_cosine._time import Time
from optax_cosine._validation import (
    check_fraction,
    check_not_above,
    check_positive,
    check_rate,
    check_steps,
)


@answer_wrong_keywords
def cosine_annealing_schedule(
    init_value: ArrayLike,
    decay_steps: ArrayLike,
    *,
    end_value: ArrayLike = 0.0,
    exponent: ArrayLike = 1.0,
) -> Schedule:
    """Anneal from `init_value` to `end_value` along half a cosine.

    Use it for a run of known length that needs no warm-up: fine-tuning, small models,
    the last part of a run. Give it to any Optax optimizer in place of a learning rate.

    With `count` clamped to `[0, decay_steps]`, the value is::

        weight = ((1 + cos(pi * count / decay_steps)) / 2) ** exponent
        value = end_value + (init_value - end_value) * weight

    Update k, counted from 1, uses the value at `count = k - 1`. The first update uses
    `init_value`, to the bit. The last of `decay_steps` updates stops one step short of
    `end_value`, which the schedule has, to the bit, from `count = decay_steps` on.

    Args:
        init_value: Learning rate at the first update. A finite scalar.
        decay_steps: Optimizer updates until `end_value` is reached. A whole number
            from 1 to 2**31 - 1.
        end_value: Learning rate from there on: a rate, not a ratio. A finite scalar,
            at most `init_value`.
        exponent: Power of the weight. Above 1 the rate falls sooner, below 1 later.
            A scalar above 0.

    Every argument may be traced, so `jax.jit`, `jax.vmap` and `jax.grad` go through
    this function, and one compiled program serves every run length that is an argument
    of the program. Traced numbers cannot be checked: a length or an exponent out of
    range is clipped to the nearest allowed value, and a fractional length is allowed.

    Returns:
        A schedule: a function from a step count, of any real dtype JAX has, scalar or
        array, to the value there. The schedule is a pytree whose leaves are its
        numbers. Values are float32, or float64 if `jax_enable_x64` is on and the rates
        are Python floats or float64. For a Python int the schedule does not use JAX and
        returns a NumPy scalar. For float counts, the derivative with respect to the
        count is 0 outside the phase.

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
    init, end = check_rate("init_value", init_value), check_rate("end_value", end_value)
    dtype = _table.value_dtype([init, end])
    check_not_above("init_value", init, "end_value", end, dtype)
    steps = check_steps("decay_steps", decay_steps)
    exponent = check_positive("exponent", exponent)
    part = Segment(COSINE, init, end, exponent)
    return to_schedule(_table.single_row(steps, part))


@answer_wrong_keywords
def warmup_cosine_annealing_schedule(
    peak_value: ArrayLike,
    total_steps: ArrayLike,
    *,
    warmup_steps: ArrayLike,
    init_value: ArrayLike = 0.0,
    hold_steps: ArrayLike = 0,
    end_value: ArrayLike = 0.0,
    exponent: ArrayLike = 1.0,
) -> Schedule:
    """Warm up to `peak_value`, hold it if asked to, anneal to `end_value`.

    Use it for training from scratch, transformers above all.

    With `decay_steps = total_steps - warmup_steps - hold_steps`, it is::

        join(linear(init_value, peak_value, steps=warmup_steps),
             constant(peak_value, steps=hold_steps),
             cosine(peak_value, end_value, steps=decay_steps, exponent=exponent))

    Args:
        peak_value: Highest rate. A finite scalar, as all rates.
        total_steps: Optimizer updates in all, the warm-up included. A whole number
            from 1 to 2**31 - 1.
        warmup_steps: Updates until the peak, 0 to `total_steps`.
        init_value: Rate at count 0, if there is a warm-up.
        hold_steps: Updates at the peak before it decays.
        end_value: Rate from `total_steps` on: a rate, not a ratio; at most the peak. If
            there are no decay steps, the peak is kept.
        exponent: Power of the weight of the cosine, above 0.

    Every argument may be traced. Traced lengths that do not fit are cut: the warm-up
    to the total, then the hold to what is left, and the decay has the rest.

    Returns:
        A schedule of three phases, whatever the lengths.

    Raises:
        TypeError: An argument is not a real number.
        ValueError: An argument is out of range, or lengths exceed the total.

    Examples:
        >>> import optax_cosine as oc
        >>> schedule = oc.warmup_cosine_annealing_schedule(
        ...     3e-4, 1_000, warmup_steps=100, end_value=3e-5)
        >>> print(*[schedule(count) for count in (0, 50, 100, 550, 1_000)])
        0.0 0.00015 0.0003 0.000165 3e-05

    References:
        Goyal et al., "Accurate, Large Minibatch SGD", 2017, arXiv:1706.02677.
        Loshchilov and Hutter, "SGDR", 2017, arXiv:1608.03983.
    """
    init, peak, end, dtype = _check_rates(init_value, peak_value, end_value)
    total = check_steps("total_steps", total_steps)
    lengths = {
        "warmup_steps": check_steps("warmup_steps", warmup_steps, least=0),
        "hold_steps": check_steps("hold_steps", hold_steps, least=0),
    }
    exponent = check_positive("exponent", exponent)
    return _from_segments(
        _allocate(total, lengths, dtype),
        Segment(LINEAR, init, peak),
        Segment(LINEAR, peak, peak),
        Segment(COSINE, peak, end, exponent),
    )


@answer_wrong_keywords
def cosine_one_cycle_schedule(
    peak_value: ArrayLike,
    total_steps: ArrayLike,
    *,
    pct_start: ArrayLike = 0.3,
    div_factor: ArrayLike = 25.0,
    final_div_factor: ArrayLike = 1e4,
) -> Schedule:
    """Up to `peak_value` along half a cosine, down along another, far below the start.

    Use it for short runs with large rates.

    With `up = round(pct_start * total_steps)` and `start = peak_value / div_factor`::

        join(cosine(start, peak_value, steps=up),
             cosine(peak_value, start / final_div_factor, steps=total_steps - up))

    Args:
        peak_value: Highest rate. A finite scalar.
        total_steps: Optimizer updates in all. A whole number from 1 to 2**31 - 1.
        pct_start: Share of them spent rising, 0 to 1.
        div_factor: What the peak is divided by at the start, above 0.
        final_div_factor: What that start is divided by at the end, above 0.

    Returns:
        A schedule of two phases. The peak is at a whole step; for PyTorch's knots
        between steps use `join` and `cosine` with fractional lengths.

    Raises:
        TypeError: An argument is not a real number.
        ValueError: An argument is out of range; the message names it.

    Examples:
        >>> import optax_cosine as oc
        >>> schedule = oc.cosine_one_cycle_schedule(0.1, 100)
        >>> print(schedule(0), schedule(30), schedule(100))
        0.004 0.1 4e-07

    References:
        Smith and Topin, "Super-Convergence", 2017, arXiv:1708.07120.
    """
    peak = check_rate("peak_value", peak_value)
    div_factor = check_positive("div_factor", div_factor)
    final_div_factor = check_positive("final_div_factor", final_div_factor)
    total = check_steps("total_steps", total_steps)
    up = _restarts.round_share(check_fraction("pct_start", pct_start), total)
    start = check_rate("peak_value / div_factor", _divide_rate(peak, div_factor))
    final = "peak_value / div_factor / final_div_factor"
    end = check_rate(final, _divide_rate(start, final_div_factor))
    dtype = _table.value_dtype([peak])
    check_not_above("peak_value", peak, final, end, dtype)
    return _from_segments(
        _allocate(total, {"up": up}, dtype),
        Segment(COSINE, start, peak),
        Segment(COSINE, peak, end),
    )


@answer_wrong_keywords
def warmup_stable_decay_schedule(
    peak_value: ArrayLike,
    total_steps: ArrayLike,
    *,
    warmup_steps: ArrayLike,
    decay_steps: ArrayLike,
    init_value: ArrayLike = 0.0,
    end_value: ArrayLike = 0.0,
    shape: Shape = "cosine",
) -> Schedule:
    """Warm up, stay at `peak_value`, decay over the last `decay_steps`.

    Use it if you have not decided how long to train: save before the decay, and branch.

    With `stable_steps = total_steps - warmup_steps - decay_steps`, it is::

        join(linear(init_value, peak_value, steps=warmup_steps),
             constant(peak_value, steps=stable_steps),
             cosine(peak_value, end_value, steps=decay_steps))

    with `linear` in place of `cosine` for the other shapes of the decay.

    Args:
        peak_value: Highest rate. A finite scalar, as all rates.
        total_steps: Optimizer updates in all. A whole number from 1 to 2**31 - 1.
        warmup_steps: Updates until the peak, 0 or more.
        decay_steps: Updates of the decay, 0 or more.
        init_value: Rate at count 0, if there is a warm-up.
        end_value: Rate from `total_steps` on: a rate, not a ratio; at most the peak. If
            there are no decay steps, the peak is kept.
        shape: `"cosine"`, `"linear"`, or `"1-sqrt"`: one minus the square root of the
            elapsed fraction.

    Every number may be traced. Traced lengths that do not fit are cut: the warm-up to
    the total, the decay to what is left, and the peak has the rest.

    Returns:
        A schedule of three phases, whatever the lengths.

    Raises:
        TypeError: An argument is not a real number.
        ValueError: An argument is out of range, the lengths exceed the total, or the
            shape is unknown.

    Examples:
        >>> import optax_cosine as oc
        >>> schedule = oc.warmup_stable_decay_schedule(
        ...     1e-3, 1_000, warmup_steps=100, decay_steps=200, shape="1-sqrt")
        >>> print(*[schedule(count) for count in (0, 100, 800, 850, 1_000)])
        0.0 0.001 0.001 0.0005 0.0

    References:
        Hu et al., "MiniCPM", 2024, arXiv:2404.06395.
        Hägele et al., 2024, arXiv:2405.18392 (the 1-sqrt decay).
    """
    init, peak, end, dtype = _check_rates(init_value, peak_value, end_value)
    total = check_steps("total_steps", total_steps)
    warmup = check_steps("warmup_steps", warmup_steps, least=0)
    decay = check_steps("decay_steps", decay_steps, least=0)
    down = decay_of(shape, peak, end)
    return _from_segments(
        _allocate_around(total, warmup, decay, dtype),
        Segment(LINEAR, init, peak),
        Segment(LINEAR, peak, peak),
        down,
    )


@answer_wrong_keywords
def cosine_restarts_schedule(
    peak_value: ArrayLike,
    cycle_steps: ArrayLike | Sequence[ArrayLike],
    *,
    num_cycles: int | None = None,
    end_value: ArrayLike = 0.0,
    cycle_warmup_steps: ArrayLike = 0,
    init_value: ArrayLike = 0.0,
    cycle_steps_factor: ArrayLike = 1.0,
    peak_factor: ArrayLike = 1.0,
    end_factor: ArrayLike = 1.0,
) -> Schedule:
    """Anneal again and again from a peak: SGDR, with a warm-up in each cycle if asked.

    Use it for snapshots of several minima, and for long runs without a fixed end.

    With `t` the steps gone by in cycle k, counted from 0, the value from step
    `cycle_warmup_steps` of the cycle on is::

        steps = max(1, round(cycle_steps * cycle_steps_factor**k))
        peak, end = peak_value * peak_factor**k, end_value * end_factor**k
        x = (t - cycle_warmup_steps) / (steps - cycle_warmup_steps)
        value = end + (peak - end) * (1 + cos(pi * x)) / 2

    Until then it rises along a line from `init_value` to the peak. Boundaries are
    integers: every restart is at its step, at its peak, to the bit.

    Args:
        peak_value: Rate at the start of the first cycle. A finite scalar, as all rates.
        cycle_steps: Updates of the first cycle, its warm-up included, a whole number
            from 1; or a sequence with the length of each.
        num_cycles: Number of cycles, a Python int up to 1,000,000. After the last cycle
            its end value is kept. If None: the cycle repeats for ever if all factors
            are 1, and fills 2**31 - 1 steps if `cycle_steps_factor` is above 1. Must be
            None if `cycle_steps` is a sequence.
        end_value: Rate at the end of the first cycle: not a ratio; at most the peak.
        cycle_warmup_steps: Updates until the peak of each cycle, at most a cycle.
        init_value: Rate at the start of each warm-up.
        cycle_steps_factor: Growth of the length per cycle, above 0; a whole or a
            fractional number.
        peak_factor: Growth of the peak per cycle, above 0.
        end_factor: Growth of the floor per cycle, above 0.

    All but `num_cycles` may be traced. A traced warm-up is cut to each cycle; a traced
    length may differ by one step if the product lies half-way between two.

    Returns:
        A schedule of two phases per cycle, or of two that repeat.

    Raises:
        TypeError: An argument is not a real number, or `num_cycles` is not an int.
        ValueError: An argument is out of range, a floor is above its peak, a warm-up is
            longer than a cycle, `num_cycles` is missing, or they do not fit.

    Examples:
        >>> import optax_cosine as oc
        >>> schedule = oc.cosine_restarts_schedule(1.0, 10, cycle_steps_factor=2)
        >>> print(schedule(0), schedule(5), schedule(10), schedule(20), schedule(30))
        1.0 0.5 1.0 0.5 1.0

    References:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
        2017, arXiv:1608.03983.
    """
    init, peak, end, dtype = _check_rates(init_value, peak_value, end_value)
    warmup = check_steps("cycle_warmup_steps", cycle_warmup_steps, least=0)
    peak_factor = check_positive("peak_factor", peak_factor)
    end_factor = check_positive("end_factor", end_factor)
    factors = peak_factor, end_factor
    same_values = not any(map(is_traced, factors)) and factors == (1, 1)
    lengths, is_endless = _restarts.cycle_lengths(
        cycle_steps, cycle_steps_factor, num_cycles, dtype, same_values=same_values
    )
    _restarts.check_cycle_warmup(warmup, lengths)
    number = len(lengths.whole)
    peaks = _restarts.geometric_rates("peak", peak, peak_factor, number)
    lows = _restarts.geometric_rates("end", end, end_factor, number)
    high, low = (f"{x}_value * {x}_factor**{number - 1}" for x in ("peak", "end"))
    check_not_above(high, peaks[-1], low, lows[-1], dtype)
    after = REPEAT if is_endless else HOLD
    table = _restarts.restarts_table(lengths, warmup, init, peaks, lows, after)
    return to_schedule(table)


def _check_rates(
    init_value: ArrayLike, peak_value: ArrayLike, end_value: ArrayLike
) -> tuple[Scalar, Scalar, Scalar, np.dtype]:
    init = check_rate("init_value", init_value)
    peak = check_rate("peak_value", peak_value)
    end = check_rate("end_value", end_value)
    dtype = _table.value_dtype([init, peak, end])
    check_not_above("peak_value", peak, "end_value", end, dtype)
    return init, peak, end, dtype


def _divide_rate(value: Scalar, divisor: Scalar) -> Scalar:
    """A rate divided, in the dtype of the rate."""
    dtype = _table.value_dtype([value])
    if is_traced(value) or is_traced(divisor):
        return jnp.asarray(value, dtype) / jnp.asarray(divisor, dtype)
    quotient = float(value) / float(divisor)
    return dtype.type(quotient) if hasattr(value, "dtype") else quotient


def _from_segments(ends: Time, *segments: Segment) -> Schedule:
    return to_schedule(_table.build_table(ends, segments))


def _allocate(total: Scalar, lengths: dict[str, Scalar], dtype: np.dtype) -> Time:
    """When each part ends. The last part takes what the others leave.

    Traced lengths that do not fit are cut, the last ones first.
    """
    _check_fit(total, lengths)
    parts = [_time.to_time(length, dtype) for length in (*lengths.values(), total)]
    return _time.minimum(_time.cumulative(_time.stack_times(parts)), parts[-1])


def _allocate_around(
    total: Scalar, warmup: Scalar, decay: Scalar, dtype: np.dtype
) -> Time:
    """As `_allocate`, if the part in the middle takes what the others leave."""
    _check_fit(total, {"warmup_steps": warmup, "decay_steps": decay})
    end, first, last = (_time.to_time(x, dtype) for x in (total, warmup, decay))
    first = _time.minimum(first, end)
    return _time.stack_times([first, _time.maximum(first, _time.add(end, -last)), end])


def _check_fit(total: Scalar, lengths: dict[str, Scalar]) -> None:
    known = {name: x for name, x in lengths.items() if not is_traced(x) and x}
    if not is_traced(total) and sum(known.values()) > total:
        sums = " + ".join(f"{name}={value}" for name, value in known.items())
        raise ValueError(f"{sums} is more than total_steps={total}.")
