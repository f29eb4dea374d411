"""Clocks: at which step another schedule is read, for each count.

A clock has pieces with a speed each. Reading ahead, waiting and slow motion take one
piece, an extension takes two. Only schedules that are not tables need a clock: the rows
of a table have clocks of their own.
"""

from fractions import Fraction
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from optax_cosine._arrays import Numbers, is_known
from optax_cosine._time import (
    LARGEST,
    Time,
    add,
    from_exact,
    maximum,
    scale,
    stack_times,
    to_exact,
)

_FLOAT = np.dtype(np.float32)  # The clock does not know the dtype of the schedule.


class Clock(NamedTuple):
    """From `counts[i]` on, the step is `steps[i]` plus the counts since times a speed.

    The speed of a piece is `numerators[i] / denominators[i]` steps per count. A clock
    that waits starts at a negative step, which reads as 0.
    """

    counts: Time
    steps: Time
    numerators: Time
    denominators: Time


class Piece(NamedTuple):
    """One piece of a known clock, in exact numbers; the step is not negative."""

    count: int | Fraction
    step: int | Fraction
    speed: int | Fraction


def shift_clock(steps: Time) -> Clock:
    zero, one = _constants(steps.frac.dtype)
    return _one_piece(zero, steps, one, one)


def stretch_clock(numerator: Time, denominator: Time) -> Clock:
    """`numerator` counts take as long as `denominator` steps."""
    zero, _ = _constants(numerator.frac.dtype)
    return _one_piece(zero, zero, denominator, numerator)


def extension_clock(at_step: Time, steps: Time, counts: Time) -> Clock:
    """From `at_step` on, `steps` take as long as `counts`."""
    zero, one = _constants(at_step.frac.dtype)
    pairs = (zero, at_step), (zero, at_step), (one, steps), (one, counts)
    return Clock(*map(stack_times, pairs))


def _constants(dtype: np.dtype) -> tuple[Time, ...]:
    return tuple(from_exact(np.array(n), dtype) for n in (0, 1))


def _one_piece(*times: Time) -> Clock:
    return Clock(*(stack_times([time]) for time in times))


def step_at(clock: Clock, now: Time) -> Time:
    """The step of the clock at a count."""
    pieces = len(clock.counts.whole)
    if pieces == 1:
        count, step, numerator, denominator = (x.map(lambda y: y[0]) for x in clock)
    else:
        # The last piece that has begun: those that have not are at the end.
        has_begun = now >= clock.counts
        index = lax.reduce_sum(has_begun.astype(np.int32), (0,)) - 1
        count, step, numerator, denominator = (_pick(x, index) for x in clock)
    since = add(now, -count)
    if not _runs_at_full_speed(clock):
        since = scale(since, numerator, denominator)
    step = add(step, since)
    zero, _ = _constants(step.frac.dtype)
    return maximum(step, zero)


def _pick(time: Time, index: Numbers) -> Time:
    return time.map(lambda x: jnp.asarray(x)[index])


def _runs_at_full_speed(clock: Clock) -> bool:
    speeds = clock.numerators, clock.denominators
    return is_known(*speeds) and bool((to_exact(speeds[0]) == to_exact(speeds[1])).all())


def count_at(clock: Clock, step: Time) -> Time:
    """The count at which the last piece of the clock reaches a step."""
    count, start, numerator, denominator = (x.map(lambda y: y[..., -1]) for x in clock)
    since = scale(add(step, -start), denominator, numerator)
    zero, _ = _constants(since.frac.dtype)
    return maximum(add(count, since), zero)


# --- Known clocks, in exact numbers ---


def pieces_of(clock: Clock) -> list[Piece]:
    columns = (to_exact(time).tolist() for time in clock)
    pieces = [
        Piece(count, step, Fraction(numerator) / denominator)
        for count, step, numerator, denominator in zip(*columns, strict=True)
    ]
    if (first := pieces[0]).step >= 0:
        return pieces
    wait = -first.step / first.speed
    return [Piece(0, 0, 0), Piece(wait, 0, first.speed), *pieces[1:]]


def step_of(pieces: list[Piece], count: int | Fraction) -> int | Fraction:
    count = max(count, 0)
    piece = next(piece for piece in reversed(pieces) if piece.count <= count)
    return piece.step + (count - piece.count) * piece.speed


def first_count_of(pieces: list[Piece], step: int | Fraction) -> int | Fraction:
    """The first count at which the clock is at the step or past it."""
    for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
        if step <= piece.step:
            return piece.count
        is_here = following is None or step < following.step
        if is_here and piece.speed:
            return piece.count + (step - piece.step) / Fraction(piece.speed)
    return pieces[-1].count


def compose(inner: Clock, outer: Clock) -> Clock | None:
    """The clock that reads `inner` at the steps of `outer`.

    One clock keeps restarts exact where two would round twice. None if the numbers are
    not known, or if the speeds do not fit in int32.
    """
    if not is_known(inner, outer):
        return None
    inside, outside = pieces_of(inner), pieces_of(outer)
    found: list[Piece] = []
    for piece, following in zip(outside, [*outside[1:], None], strict=True):
        starts = {piece.step}
        if piece.speed:
            stop = following.step if following else float("inf")
            starts |= {x.count for x in inside if piece.step < x.count < stop}
        for start in sorted(starts):
            count = piece.count
            if piece.speed:
                count += (start - piece.step) / Fraction(piece.speed)
            speed = piece.speed * _speed_at(inside, start)
            found.append(Piece(count, step_of(inside, start), speed))
    return _from_pieces(found)


def _speed_at(pieces: list[Piece], step: int | Fraction) -> int | Fraction:
    return next(x.speed for x in reversed(pieces) if x.count <= step)


def _from_pieces(pieces: list[Piece]) -> Clock | None:
    if len(pieces) > 1 and pieces[0][1:] == (0, 0) and pieces[1].step == 0:
        # A clock that waits is one piece that starts at a negative step.
        start = -pieces[1].count * pieces[1].speed
        pieces = [Piece(0, start, pieces[1].speed), *pieces[2:]]
    ratios = [Fraction(piece.speed).as_integer_ratio() for piece in pieces]
    columns = [[x.count for x in pieces], [x.step for x in pieces], *zip(*ratios, strict=True)]
    if max(abs(x) for column in columns for x in column) > LARGEST:
        return None
    return Clock(*(from_exact(np.array(x, object), _FLOAT) for x in columns))
