"""How long the cycles of a restarting schedule are, and the table of them all.

Lengths are whole, so every restart is at an integer. The program does not grow with the
number of cycles: lengths and values are columns, also if they are traced.
"""

import math
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from optax_cosine import _arrays, _table, _time
from optax_cosine._arrays import Numbers, Scalar, is_known, is_traced, read_only
from optax_cosine._table import COSINE, LINEAR, Rows, Table
from optax_cosine._time import LARGEST, Time
from optax_cosine._validation import (
    LARGEST_RATE,
    SMALLEST_RATE,
    check_positive,
    check_steps,
    short_repr,
)

_MAX_CYCLES = 1_000_000


# --- Lengths ---


def cycle_lengths(
    steps: Scalar,
    factor: Scalar,
    num_cycles: Scalar,
    dtype: np.dtype,
    *,
    same_values: bool,
) -> tuple[Time, bool]:
    """The length of each cycle, and whether the one cycle is repeated for ever."""
    factor = check_positive("cycle_steps_factor", factor)
    if isinstance(steps, Sequence) or np.ndim(steps) == 1:
        return _listed_lengths(steps, factor, num_cycles, dtype), False
    steps = check_steps("cycle_steps", steps)
    is_fixed = not is_traced(factor) and factor == 1
    if num_cycles is None and same_values and is_fixed:
        return _time.stack_times([_time.to_time(steps, dtype)]), True
    number = None if num_cycles is None else _check_num_cycles(num_cycles)
    if number is None:
        _check_growth(steps, factor, same_values=same_values)
    if not is_traced(steps) and not is_traced(factor):
        lengths = _geometric_lengths(steps, factor, number)
        return _time.from_exact(np.array(lengths), dtype), False
    assert number is not None
    if is_fixed:
        return _time.stack_times([_time.to_time(steps, dtype)] * number), False
    return _traced_geometric_lengths(steps, factor, number, dtype), False


def _check_num_cycles(value: Scalar) -> int:
    if is_traced(value):
        raise TypeError(
            "num_cycles must be a Python int, as it is the size of the table, got a "
            f"traced {value.dtype}."
        )
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool):
        raise TypeError(f"num_cycles must be an int, got {value!r}.")
    if not 1 <= whole <= _MAX_CYCLES:
        raise ValueError(
            f"num_cycles must be from 1 to 1_000_000, got {short_repr(whole)}."
        )
    return whole


def _check_growth(steps: Scalar, factor: Scalar, *, same_values: bool) -> None:
    """Without `num_cycles` the lengths must tell how many cycles there are."""
    if is_traced(steps) or is_traced(factor):
        raise ValueError(
            "pass num_cycles=...: it is the size of the table, which a traced "
            "cycle_steps or cycle_steps_factor does not tell."
        )
    if factor <= 1:
        what = f"cycle_steps_factor={factor!r}" if same_values else "the factors given"
        raise ValueError(
            f"pass num_cycles=...: with {what} the cycles differ, so they cannot "
            "repeat for ever."
        )


def _listed_lengths(
    steps: Scalar, factor: Scalar, num_cycles: Scalar, dtype: np.dtype
) -> Time:
    given = ("num_cycles", num_cycles, None), ("cycle_steps_factor", factor, 1)
    for name, value, default in given:
        if is_traced(value) or value != default:
            raise ValueError(
                f"{name} must be left out if cycle_steps is a sequence, got "
                f"{name}={value!r}."
            )
    if len(steps) == 0:
        raise ValueError(f"cycle_steps must name at least one cycle, got {steps!r}.")
    if is_traced(steps):
        return _time.from_array(jnp.where(steps > 0, steps, 1), dtype)
    lengths = [check_steps(f"cycle_steps[{i}]", x) for i, x in enumerate(steps)]
    if not any(map(is_traced, lengths)):
        if (total := sum(lengths)) > LARGEST:
            raise ValueError(
                f"cycle_steps must add up to at most 2**31 - 1, got {total}."
            )
        return _time.from_exact(np.array(lengths), dtype)
    return _time.stack_times([_time.to_time(x, dtype) for x in lengths])


def check_cycle_warmup(warmup: Scalar, lengths: Time) -> None:
    if is_traced(warmup) or not is_known(lengths):
        return
    if warmup > (shortest := _time.to_exact(lengths).min()):
        raise ValueError(
            f"cycle_warmup_steps={warmup} is more than the shortest cycle, "
            f"{shortest} steps."
        )


def _geometric_lengths(first: int, factor: Scalar, num_cycles: int | None) -> list[int]:
    """`max(1, round(first * factor**k))` for each k. If None, until time ends."""
    factor = int(factor) if factor == int(factor) else float(factor)
    lengths, left = [], LARGEST
    while num_cycles is None or len(lengths) < num_cycles:
        growth = factor ** len(lengths)
        steps = max(1, round(first * growth)) if growth <= LARGEST else LARGEST + 1
        if (left := left - steps) < 0 and num_cycles is None:
            break
        if left < 0:
            raise ValueError(
                f"num_cycles={num_cycles} cycles do not fit in 2**31 - 1 steps: the "
                f"first {len(lengths)} take {LARGEST - left - steps}."
            )
        lengths.append(steps)
        if len(lengths) > _MAX_CYCLES:
            raise ValueError(
                "pass num_cycles=...: more than 1_000_000 cycles would fit, "
                f"got cycle_steps={first!r} and cycle_steps_factor={factor!r}."
            )
    return lengths


def _traced_geometric_lengths(
    first: Scalar, factor: Scalar, num_cycles: int, dtype: np.dtype
) -> Time:
    """As `_geometric_lengths`, if `first` or `factor` is traced."""
    if is_traced(factor):
        time = _time.to_time(first, dtype)
        factors = jnp.full(num_cycles, factor.astype(dtype)).at[0].set(1)
        rounded = jnp.round(time.to_float() * lax.cumprod(factors))
        # Products of integers are exact in integers, as far as these reach.
        exact = time.whole * lax.cumprod(factors.astype(np.int32))
        is_exact = (jnp.floor(factor) == factor) & (time.frac == 0)
        is_exact = is_exact & (rounded < 2.0**31 - 2.0**12)
        lengths = jnp.where(is_exact, exact, _time.from_array(rounded, dtype).whole)
        return _time.from_array(jnp.maximum(lengths, 1), dtype)
    longest = math.log(LARGEST) / math.log(factor) if factor > 1 else math.inf
    powers = [float(factor) ** min(k, longest) for k in range(num_cycles)]
    return _time.from_array(jnp.maximum(_round_products(first, powers), 1), dtype)


def _round_products(first: Scalar, factors: list[float]) -> Array:
    """`round(first * factor)` for a traced length and each factor.

    Python rounds the product in double precision; here the exact product is rounded,
    with ties to even, and 1.1 is 11 / 10. The two may differ by one.
    """
    dtype = np.dtype(np.float32)
    columns = zip(*map(_time.to_ratio, factors), strict=True)
    ratio = (_time.from_exact(np.array(column), dtype) for column in columns)
    firsts = _time.stack_times([_time.to_time(first, dtype)] * len(factors))
    product = _time.scale(firsts, *ratio)
    is_odd = product.whole % 2 == 1
    is_up = (product.frac > 0.5) | ((product.frac == 0.5) & is_odd)
    return jnp.minimum(product.whole, LARGEST - 1) + is_up.astype(np.int32)


def round_share(share: Scalar, total: Scalar) -> Scalar:
    """`round(share * total)`."""
    if is_traced(share):
        dtype = np.dtype(jnp.result_type(float))
        return jnp.round(share * _time.to_time(total, dtype).to_float())
    if is_traced(total):
        return _round_products(total, [float(share)])[0]
    return round(share * total)


# --- Values ---


def geometric_rates(
    name: str, first: Scalar, factor: Scalar, num_cycles: int
) -> Scalar:
    """`first * factor**k` for each cycle."""
    if is_traced(first) or is_traced(factor):
        dtype = _table.value_dtype([first])
        powers = jnp.asarray(factor, dtype) ** jnp.arange(num_cycles, dtype=dtype)
        values = jnp.asarray(first, dtype) * jnp.minimum(powers, LARGEST_RATE)
        return jnp.clip(values, -LARGEST_RATE, LARGEST_RATE)
    if factor == 1 or first == 0:
        return [first] * num_cycles
    with np.errstate(over="ignore", under="ignore"):
        powers = np.float64(factor) ** np.arange(num_cycles)
    values = float(first) * powers
    # Devices have no smaller numbers.
    values = np.where(abs(values) < SMALLEST_RATE, 0.0, values).tolist()
    if abs(values[-1]) > LARGEST_RATE:
        raise ValueError(
            f"{name}_factor={factor!r} takes {name}_value to {values[-1]!r} in cycle "
            f"{num_cycles}: rates are from -1.7e38 to 1.7e38."
        )
    return values


# --- The table ---


def restarts_table(
    lengths: Time,
    warmup: Scalar,
    init_value: Scalar,
    peaks: Scalar,
    end_values: Scalar,
    after: int,
) -> Table:
    """For each cycle a warm-up, which may take no steps, and a cosine."""
    dtype, number = lengths.frac.dtype, len(lengths.whole)
    ends = _time.cumulative(lengths)
    starts = _table.starts_of(ends)
    warmups = _time.minimum(lengths, _time.to_time(warmup, dtype))
    tops = _time.minimum(_time.add(starts, warmups), ends)
    values = [init_value] * number, peaks, end_values
    inits, peaks, lows = (_arrays.as_column(column, dtype) for column in values)
    ones = np.ones(number, dtype)
    line, cosine = (np.full(number, shape, np.int32) for shape in (LINEAR, COSINE))
    up = Rows(tops, starts, tops, line, inits, peaks, ones, ones)
    down = Rows(ends, tops, ends, cosine, peaks, lows, ones, ones)
    rows = jax.tree.map(_interleave, up, down)
    return _table.pack(rows, read_only(np.array(after, np.int32)))


def _interleave(first: Numbers, second: Numbers) -> Numbers:
    return _arrays.stack([first, second], 1).reshape(-1)
