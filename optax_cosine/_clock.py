"""The clock on which a schedule that is not a table is read.

A clock maps a count to the step at which a schedule is read. The rows of a table have
clocks of their own; endless schedules, products and splices need this one.
"""

import math
from fractions import Fraction
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax

from optax_cosine import _time
from optax_cosine._arrays import Numbers, always, is_known, select
from optax_cosine._time import LARGEST, Time

Steps: TypeAlias = float | Fraction


class Clock(NamedTuple):
    """Below `at_count` the step is the count.

    From there the step is `at_step + (count - at_count) * steps / counts`, at least 0:
    a clock that waits starts at a negative step. With `every` above 1 (a staircase) the
    count is first divided by `every`, rounded down.
    """

    every: Numbers  # int32
    at_count: Time
    at_step: Time
    steps: Time
    counts: Time


_ZERO, _ONE = _time.to_free_time(0), _time.to_free_time(1)


def shift_clock(steps: Time) -> Clock:
    return Clock(_ONE.whole, _ZERO, steps, _ONE, _ONE)


def stretch_clock(steps: Time, counts: Time) -> Clock:
    return Clock(_ONE.whole, _ZERO, _ZERO, steps, counts)


def extension_clock(at_step: Time, steps: Time, counts: Time) -> Clock:
    return Clock(_ONE.whole, at_step, at_step, steps, counts)


def staircase_clock(every: Numbers) -> Clock:
    return Clock(every, _ZERO, _ZERO, _ONE, _ONE)


def step_at(clock: Clock, now: Time) -> Time:
    """The step that is read at a count."""
    dtype = now.frac.dtype
    every, (at_count, at_step, steps, counts) = clock[0], _cast(clock, dtype)
    if not always(every, 1):
        # NaN stays NaN: the difference is 0 for all other counts.
        flat = now.frac if always(now.frac, 0) else now.frac - now.frac
        stairs = Time(lax.div(now.whole, every), flat)
        now = select(every > 1, stairs, now)
    since = _time.add(now, -at_count)
    if not (
        is_known(steps, counts) and _time.to_exact(steps) == _time.to_exact(counts)
    ):
        since = _time.scale(since, steps, counts)
    step = _time.maximum(_time.add(at_step, since), _ZERO.astype(dtype))
    if always(at_count.whole, 0) and always(at_count.frac, 0):
        return step
    return select(now >= at_count, step, now)


def _cast(clock: Clock, dtype: np.dtype) -> list[Time]:
    return [time.astype(dtype) for time in clock[1:]]


def count_at(clock: Clock, step: Time) -> Time:
    """The first count at which a step is read. Of a staircase, a whole one."""
    if is_known(clock, step) and not np.ndim(step.whole):
        count = host_clock(clock).count_at(_time.to_exact(step).item())
        return _time.from_exact(np.array(min(count, LARGEST), object), step.frac.dtype)
    every, (at_count, at_step, steps, counts) = clock[0], _cast(clock, step.frac.dtype)
    count = _time.add(at_count, _time.scale(_time.add(step, -at_step), counts, steps))
    count = _time.maximum(
        select(step >= at_count, count, step), _ZERO.astype(step.frac.dtype)
    )
    if always(every, 1):
        return count
    is_between = (count.frac > 0).astype(np.int32)
    stairs = lax.max(count.whole + is_between, np.int32(0))
    fits = stairs <= LARGEST // every
    stairs = select(fits, stairs * every, jnp.full_like(stairs, LARGEST))
    return select(every > 1, Time(stairs, jnp.zeros_like(count.frac)), count)


# --- Known clocks, in exact numbers ---


class HostClock(NamedTuple):
    """A clock in Python's exact numbers. `speed` is `steps / counts`."""

    every: int
    at_count: int | Fraction
    at_step: int | Fraction
    speed: int | Fraction

    def step_at(self, count: Steps) -> Steps:
        """The step that is read at a count."""
        tick = count // self.every if self.every > 1 else count
        if tick < self.at_count:
            return tick
        step = self.at_step + (tick - self.at_count) * self.speed
        return min(max(step, 0), LARGEST)

    def count_at(self, step: Steps) -> Steps:
        """The first count at which the clock is at the step or past it."""
        count = step
        if step >= self.at_count:
            count = self.at_count + (step - self.at_step) / Fraction(self.speed)
        count = max(count, 0)
        return math.ceil(count) * self.every if self.every > 1 else count


def host_clock(clock: Clock) -> HostClock:
    at_count, at_step, steps, counts = (
        _time.to_exact(time).item() for time in clock[1:]
    )
    speed = Fraction(steps) / counts
    is_whole = speed.denominator == 1
    speed = speed.numerator if is_whole else speed
    return HostClock(int(clock.every), at_count, at_step, speed)


def compose(inner: Clock, outer: Clock) -> Clock | None:
    """The clock that reads `inner` at the steps of `outer`.

    One clock keeps restarts exact where two clocks would round twice. None if a clock
    is traced or is not a shift and a stretch, or if the speed does not fit in int32.
    """
    if not is_known(inner, outer):
        return None
    inside, outside = host_clock(inner), host_clock(outer)
    are_affine = inside[:2] == outside[:2] == (1, 0)
    if not are_affine or outside.at_step < 0 < inside.at_step:
        return None
    at_step = inside.at_step + outside.at_step * inside.speed
    steps, counts = Fraction(inside.speed * outside.speed).as_integer_ratio()
    if max(abs(at_step), steps, counts) > LARGEST:
        return None
    return Clock(inner.every, _ZERO, *map(_time.to_free_time, (at_step, steps, counts)))
