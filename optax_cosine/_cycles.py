"""How long the cycles of a restarting schedule are, and the table of them all.

Lengths are whole, and so are boundaries: plain numbers give Python's integers, traced
ones a column computed at once, so that the program does not grow with the cycles.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from optax_cosine._checks import (
    LARGEST,
    LARGEST_RATE,
    is_traced,
    positive,
    shown,
    whole_steps,
)
from optax_cosine._instant import (
    Instant,
    as_float,
    as_fraction,
    as_instant,
    difference,
    least,
    length,
    plus,
    rescaled,
)
from optax_cosine._table import COSINE, LINEAR, Table, table, value_dtype

_MOST = 1_000_000


def number_of_cycles(value: Any) -> int:
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
    if not 1 <= (value := whole) <= _MOST:
        raise ValueError(f"num_cycles must be from 1 to 1_000_000, got {shown(value)}.")
    return value


def cycle_lengths(
    steps: Any, factor: Any, num_cycles: Any, *, same_values: bool
) -> tuple[Any, bool]:
    """The length of each cycle, and whether the one there is repeats for ever."""
    factor = positive("cycle_steps_factor", factor)
    if isinstance(steps, Sequence) or np.ndim(steps) == 1:
        return _explicit(steps, factor, num_cycles), False
    steps = whole_steps("cycle_steps", steps)
    if num_cycles is not None:
        num_cycles = number_of_cycles(num_cycles)
    elif same_values and not is_traced(factor) and factor == 1:
        return [steps], True
    elif is_traced(steps) or is_traced(factor) or factor <= 1:
        raise ValueError(
            "num_cycles is required unless all factors are 1, or cycle_steps_factor is "
            "above 1 and neither it nor cycle_steps is traced, got num_cycles=None."
        )
    if is_traced(steps) or is_traced(factor):
        return traced_geometric(steps, factor, num_cycles), False
    return geometric(steps, factor, num_cycles), False


def _explicit(steps: Any, factor: Any, num_cycles: Any) -> Any:
    if num_cycles is not None:
        raise ValueError(
            "num_cycles must be left out where cycle_steps is a sequence, got "
            f"num_cycles={num_cycles!r}."
        )
    if is_traced(factor) or factor != 1:
        raise ValueError(
            "cycle_steps_factor must be left out where cycle_steps is a sequence, got "
            f"cycle_steps_factor={factor!r}."
        )
    if len(steps) == 0:
        raise ValueError(f"cycle_steps must name at least one cycle, got {steps!r}.")
    if is_traced(steps):
        positive_steps = jnp.where(steps > 0, steps, 0)  # NaN is no length
        return as_instant(positive_steps, np.dtype(jnp.result_type(float)))
    lengths = [whole_steps(f"cycle_steps[{i}]", x) for i, x in enumerate(steps)]
    total = sum(x for x in lengths if not is_traced(x))
    if total > LARGEST:
        raise ValueError(f"cycle_steps must add up to at most 2**31 - 1, got {total}.")
    return lengths


def refuse_long_warmup(warmup: Any, lengths: Any) -> None:
    if is_traced(warmup) or not isinstance(lengths, list):
        return
    known = [x for x in lengths if not is_traced(x)]
    if known and warmup > min(known):
        raise ValueError(
            f"cycle_warmup_steps={warmup} is more than the shortest cycle, "
            f"{min(known)} steps."
        )


def geometric(first: int, factor: Any, num_cycles: int | None) -> list[int]:
    """`max(1, round(first * factor**k))` for each k; None: as many as there is time."""
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
        if len(lengths) > _MOST:
            raise ValueError(
                "num_cycles is required where more than 1_000_000 cycles would fit, "
                f"got cycle_steps={first!r} and cycle_steps_factor={factor!r}."
            )
    return lengths


def traced_geometric(first: Any, factor: Any, num_cycles: Any) -> Instant:
    """As `geometric`, as a column, where `first` or `factor` is traced.

    Without a factor the length is taken as it is, a fraction or not.
    """
    dtype = np.dtype(jnp.result_type(float))
    if not is_traced(factor) and factor == 1:
        return Instant(*(jnp.full(num_cycles, x) for x in length(first, dtype)))
    if is_traced(factor):
        powers = factor ** jnp.arange(num_cycles, dtype=dtype)
        lengths = jnp.round(as_float(length(first, dtype)) * powers)
        return as_instant(jnp.maximum(lengths, 1), dtype)
    longest = math.log(LARGEST) / math.log(factor) if factor > 1 else math.inf
    powers = [float(factor) ** min(k, longest) for k in range(num_cycles)]
    return as_instant(jnp.maximum(multiples(first, powers), 1), dtype)


def multiples(first: Any, factors: list[float]) -> Array:
    """`round(first * factor)` for a traced length and each factor.

    Of a product that lies half-way Python rounds what double precision makes of it.
    Here 1.1 is 11 / 10 and a half goes to the even, so that the two may differ by one.
    """
    columns = zip(*map(as_fraction, factors), strict=True)
    steps, counts = (
        Instant(jnp.array(column, np.int32), jnp.zeros(len(column), np.float32))
        for column in columns
    )
    first = length(first, np.dtype(np.float32))
    first = Instant(*(jnp.full(len(factors), x) for x in first))
    whole, part = rescaled(first, steps, counts)
    up = (part > 0.5) | ((part == 0.5) & (whole % 2 == 1))
    return jnp.minimum(whole, LARGEST - 1) + up.astype(np.int32)


def portion(pct: Any, total: Any) -> Any:
    """`round(pct * total)`."""
    if is_traced(pct):
        dtype = np.dtype(jnp.result_type(float))
        return jnp.round(pct * as_float(length(total, dtype)))
    if is_traced(total):
        return multiples(total, [float(pct)])[0]
    return round(pct * total)


def scaled_values(name: str, first: Any, factor: Any, num_cycles: int) -> Any:
    """`first * factor**k` for each cycle."""
    if is_traced(first) or is_traced(factor):
        dtype = value_dtype([first])
        powers = jnp.asarray(factor, dtype) ** jnp.arange(num_cycles, dtype=dtype)
        values = jnp.asarray(first, dtype) * jnp.minimum(powers, LARGEST_RATE)
        return jnp.clip(values, -LARGEST_RATE, LARGEST_RATE)
    if factor == 1 or first == 0:
        return [first] * num_cycles
    with np.errstate(over="ignore", under="ignore"):
        powers = np.float64(factor) ** np.arange(num_cycles)
    values = (float(first) * powers).tolist()
    if abs(values[-1]) > LARGEST_RATE:
        raise ValueError(
            f"{name}_factor={factor!r} takes {name}_value to {values[-1]!r} in cycle "
            f"{num_cycles}: rates are from -1.7e38 to 1.7e38."
        )
    return values


def cycles(
    lengths: Any, warmup: Any, init_value: Any, peaks: Any, lows: Any, dtype: Any
) -> Table:
    """A warm-up, which may be empty, and a cosine for each of the cycles."""
    if isinstance(lengths, list) and not any(map(is_traced, [*lengths, warmup])):
        ends = Instant(np.cumsum(lengths), np.zeros(len(lengths)))
        warm = Instant(ends.whole - lengths + warmup, ends.part)
    else:
        ends, warm = _traced_boundaries(lengths, warmup)
    number = len(ends.whole)
    inits = scaled_values("init", init_value, 1, number)
    return table(
        Instant(
            _interleaved(warm.whole, ends.whole, np.int32),
            _interleaved(warm.part, ends.part, dtype),
        ),
        [LINEAR, COSINE] * number,
        _interleaved(inits, peaks, dtype),
        _interleaved(peaks, lows, dtype),
        np.ones(2 * number),
        np.ones(2 * number),
        dtype=dtype,
    )


def _traced_boundaries(lengths: Any, warmup: Any) -> tuple[Instant, Instant]:
    """Where cycles and their warm-ups end, at the latest with time itself."""
    dtype = np.dtype(jnp.result_type(float))
    if isinstance(lengths, list):
        columns = zip(*(length(x, dtype) for x in lengths), strict=True)
        lengths = Instant(*(jnp.stack(list(map(jnp.asarray, x))) for x in columns))
    part = lax.cumsum(lengths.part)
    carry = jnp.floor(part)
    # The first sum past 2**31 still fits in a uint32; those after it may wrap.
    whole = lax.cumsum(lengths.whole.astype(np.uint32)) + carry.astype(np.uint32)
    too_far = lax.cummax((whole > LARGEST).astype(np.int32)) > 0
    ends = Instant(jnp.where(too_far, LARGEST, whole.astype(np.int32)), part - carry)
    starts = Instant(*(jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]]) for x in ends))
    warmups = least(length(warmup, dtype), difference(ends, starts))
    return ends, plus(starts, warmups)


def _interleaved(first: Any, second: Any, dtype: Any) -> Any:
    if any(map(is_traced, (first, second, *first[:1], *second[:1]))):
        columns = [jnp.asarray(x, dtype) for x in (first, second)]
        return jnp.stack(columns, axis=1).reshape(-1)
    return np.array([first, second], dtype).T.ravel()
