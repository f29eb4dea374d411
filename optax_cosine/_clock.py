"""The clocks of schedules that are not tables, and of endless tables.

A clock maps a count to the step at which a schedule is read. A table that ends takes a
shift or a stretch into the clocks of its rows, and needs none of these.
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

_ZERO, _ONE = _time.to_free_time(0), _time.to_free_time(1)


class Clock(NamedTuple):
    """Below `at_count` the step is the count.

    From there the step is `at_step + (count - at_count) * steps / counts`, from 0 to
    2**31 - 1: a clock that waits starts at a negative step. With `every` above 1 (a
    staircase) the count is first divided by `every`, rounded down.

    Three kinds are built: a shift and a stretch (`at_count` is 0), a stretch from a
    count on (`at_step` is that count), and a staircase (`every` alone).
    """

    every: Numbers = _ONE.whole  # int32
    at_count: Time = _ZERO
    at_step: Time = _ZERO
    steps: Time = _ONE
    counts: Time = _ONE

    def astype(self, dtype: np.dtype) -> "Clock":
        """With the fractions of all times in one dtype."""
        return Clock(self.every, *(time.astype(dtype) for time in self[1:]))


def step_at(clock: Clock, now: Time) -> Time:
    """The step that is read at a count."""
    every, at_count, at_step, steps, counts = clock.astype(now.frac.dtype)
    if not always(every, 1):
        # NaN stays NaN: the difference is 0 for all other counts.
        flat = now.frac if always(now.frac, 0) else now.frac - now.frac
        stairs = Time(lax.div(now.whole, every), flat)
        now = select(every > 1, stairs, now)
    since = _time.add(now, -at_count)
    if not (is_known(steps, counts) and steps == counts):
        since = _time.scale(since, steps, counts)
    last = Time(np.array(LARGEST, np.int32), np.zeros((), now.frac.dtype))
    step = _time.minimum(_at_least_0(_time.add(at_step, since)), last)
    if _time.is_zero(at_count):
        return step
    return select(now >= at_count, step, now)


def _at_least_0(time: Time) -> Time:
    return _time.maximum(time, _ZERO.astype(time.frac.dtype))


def count_at(clock: Clock, step: Time) -> Time:
    """The first count at which the clock is at the step or past it."""
    if is_known(clock, step) and not np.ndim(step.whole):
        count = host_clock(clock).count_at(_time.to_number(step))
        return _time.from_exact(np.array(min(count, LARGEST), object), step.frac.dtype)
    every, at_count, at_step, steps, counts = clock.astype(step.frac.dtype)
    count = _time.add(at_count, _time.scale(_time.add(step, -at_step), counts, steps))
    count = _at_least_0(select(step >= at_count, count, step))
    if always(every, 1):
        return count
    is_between = (count.frac > 0).astype(np.int32)
    stairs = count.whole + is_between
    fits = count.whole <= LARGEST // every - is_between
    stairs = select(fits, stairs * every, jnp.full_like(stairs, LARGEST))
    return select(every > 1, Time(stairs, jnp.zeros_like(count.frac)), count)


# --- Known clocks, in exact numbers ---


def changes_nothing(clock: Clock) -> bool:
    """Whether it is known that the step is the count, at each count."""
    if not is_known(clock):
        return False
    every, at_count, at_step, speed = host_clock(clock)
    return every == speed == 1 and at_count == at_step


def in_lowest_terms(clock: Clock) -> Clock:
    """The same clock with the simplest speed, if it is known and int32 holds it.

    So equal clocks have equal numbers, however they were computed.
    """
    if not is_known(clock):
        return clock
    clock = Clock(clock.every, *map(_time.freed, clock[1:]))
    speed = Fraction(host_clock(clock).speed).as_integer_ratio()
    if max(speed) > LARGEST:
        return clock
    steps, counts = map(_time.to_free_time, speed)
    return clock._replace(steps=steps, counts=counts)


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
    at_count, at_step, steps, counts = map(_time.to_number, clock[1:])
    speed = Fraction(steps) / counts
    is_whole = speed.denominator == 1
    speed = speed.numerator if is_whole else speed
    return HostClock(int(clock.every), at_count, at_step, speed)


def compose(inner: Clock, outer: Clock) -> Clock | None:
    """The clock that reads `inner` at the steps of `outer`.

    One clock keeps restarts exact where two clocks would round twice. None if a clock
    is traced or is not a shift and a stretch, or if one clock cannot hold the numbers.
    """
    if not is_known(inner, outer):
        return None
    inside, outside = host_clock(inner), host_clock(outer)
    are_affine = inside[:2] == outside[:2] == (1, 0)
    # While `outer` waits, `inner` is read at its step 0, which is `inside.at_step`. One
    # clock would start below it.
    if not are_affine or outside.at_step < 0 < inside.at_step:
        return None
    at_step = inside.at_step + outside.at_step * inside.speed
    steps, counts = Fraction(inside.speed * outside.speed).as_integer_ratio()
    if max(abs(at_step), steps, counts) > LARGEST:
        return None
    at_step, steps, counts = map(_time.to_free_time, (at_step, steps, counts))
    return Clock(at_step=at_step, steps=steps, counts=counts)
