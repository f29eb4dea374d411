"""Schedules in exact arithmetic: time as fractions, values with 50 digits.

Each builder of the package has a function here that says the same thing in the
plainest way: a schedule keeps the schedules that it was made of and asks them. Nothing
is flattened into a table, nothing is rounded, and no code is shared with the package.
"""

import bisect
import dataclasses
from fractions import Fraction
from typing import Any, NamedTuple

import mpmath
import numpy as np
from reference import exact

# The largest numerator and denominator that a factor of `stretch` may need.
LARGEST = 2**31 - 1
# The fraction of a step is stored in float32, and is below 1.
ROUNDING = Fraction(1, 2**24)


def to_mpf(number) -> mpmath.mpf:
    number = Fraction(number)
    return mpmath.mpf(number.numerator) / number.denominator


@dataclasses.dataclass(frozen=True)
class Phase:
    """The curve of one part, over the fraction of it that has passed."""

    shape: str
    init_value: mpmath.mpf
    end_value: mpmath.mpf
    exponent: mpmath.mpf
    time_exponent: mpmath.mpf

    def value(self, fraction: Fraction) -> mpmath.mpf:
        bent = to_mpf(fraction) ** self.time_exponent
        if self.shape == "cosine":
            weight = ((1 + mpmath.cos(mpmath.pi * bent)) / 2) ** self.exponent
        else:
            weight = (1 - bent) ** self.exponent
        return self.end_value + (self.init_value - self.end_value) * weight

    @property
    def larger_end(self) -> float:
        return float(max(abs(self.init_value), abs(self.end_value)))

    @property
    def is_bent(self) -> bool:
        return self.exponent != 1 or self.time_exponent != 1

    @property
    def changes_sign(self) -> bool:
        return self.init_value * self.end_value < 0


class Place(NamedTuple):
    """Where a schedule is at some time."""

    phase: Phase
    # How much of the phase has passed, from 0 to 1.
    fraction: Fraction
    # The steps that the whole phase takes, whether or not all of it is played.
    length: Fraction
    # Whether float32 cannot hold the boundaries of the phase, as after a stretch.
    rounded: bool
    # By how many steps this may have moved the phase, at most.
    slack: Fraction = Fraction(0)

    @property
    def value(self) -> mpmath.mpf:
        return self.phase.value(self.fraction)


class Schedule:
    """What every exact schedule can tell."""

    # The exact time at which the last value is reached, or None if it never is.
    end: Any

    def locate(self, time: Fraction) -> Place:
        """The place at a time of 0 or more."""
        raise NotImplementedError

    def boundaries(self, limit: Fraction | int) -> list[Fraction]:
        """All times below `limit` at which a phase begins, in order, 0 among them."""
        raise NotImplementedError

    def value(self, count) -> mpmath.mpf:
        return self.locate(max(Fraction(count), Fraction(0))).value

    def stored(self, count) -> np.float32:
        """The value at a count, rounded to float32."""
        return np.float32(float(self.value(count)))

    def slack(self, boundary: Fraction) -> Fraction:
        """By how many steps roundings of time may have moved a boundary, at most."""
        before = max(boundary - ROUNDING, Fraction(0))
        return max(self.locate(time).slack for time in (before, boundary))

    def restarts(self, limit: Fraction | int) -> list[Fraction]:
        """The boundaries at which a phase begins with its first value."""
        times = self.boundaries(limit)
        return [time for time in times if self.locate(time).fraction == 0]


class Part(Schedule):
    def __init__(self, phase: Phase, steps) -> None:
        self.phase = phase
        whole, part = divmod(Fraction(steps), 1)
        stored = Fraction(float(np.float32(float(part))))
        self.rounded = stored != part
        self.end = whole + part

    def locate(self, time):
        fraction = min(max(time / self.end, Fraction(0)), Fraction(1))
        slack = ROUNDING if self.rounded else Fraction(0)
        return Place(self.phase, fraction, self.end, self.rounded, slack)

    def boundaries(self, limit):
        return [Fraction(0)] if limit > 0 else []


class Join(Schedule):
    # The steps until the last schedule ends, or None if it never does.
    lap: Any

    def __init__(self, schedules: Any, after="hold") -> None:
        self.schedules, self.after = schedules, after
        self.starts = [Fraction(0)]
        for schedule in schedules[:-1]:
            self.starts.append(self.starts[-1] + schedule.end)
        last = schedules[-1].end
        self.lap = None if last is None else self.starts[-1] + last
        self.end = self.lap if after == "hold" else None

    def locate(self, time):
        if self.after == "repeat":
            time %= self.lap
        elif self.after == "mirror":
            time %= 2 * self.lap
            time = min(time, 2 * self.lap - time)
        playing = bisect.bisect_right(self.starts, time) - 1
        return self.schedules[playing].locate(time - self.starts[playing])

    def boundaries(self, limit):
        endless = self.schedules[-1].end is None
        ends = [*self.starts[1:], limit if endless else self.lap]
        lap = [
            start + time
            for schedule, start, end in zip(
                self.schedules, self.starts, ends, strict=True
            )
            for time in schedule.boundaries(min(end, limit) - start)
        ]
        if self.after == "hold":
            return lap
        times, turn, length = set(), 0, self.lap
        while turn * length < limit:
            times.add(turn * length)
            if self.after == "mirror" and turn % 2:
                times |= {(turn + 1) * length - time for time in lap}
            else:
                times |= {turn * length + time for time in lap}
            turn += 1
        return sorted(time for time in times if time < limit)


class Splice(Schedule):
    def __init__(self, before, at_step, then) -> None:
        self.before, self.at_step, self.then = before, at_step, then
        self.end = None if then.end is None else at_step + then.end

    def locate(self, time):
        if time < self.at_step:
            return self.before.locate(time)
        return self.then.locate(time - self.at_step)

    def boundaries(self, limit):
        after = self.then.boundaries(limit - self.at_step)
        return [
            *self.before.boundaries(min(limit, self.at_step)),
            *(self.at_step + time for time in after),
        ]


class Shift(Schedule):
    def __init__(self, schedule, steps) -> None:
        self.schedule, self.steps = schedule, steps
        if schedule.end is None:
            self.end = None
        else:
            left = schedule.end - steps
            self.end = left if left > 0 else Fraction(1)

    def locate(self, time):
        return self.schedule.locate(max(time + self.steps, Fraction(0)))

    def boundaries(self, limit):
        # While a schedule waits, its first value is a phase, and then it begins.
        times = self.schedule.boundaries(limit + self.steps)
        moved = {time - self.steps for time in times} | {Fraction(0)}
        return sorted(time for time in moved if 0 <= time < limit)


class Stretch(Schedule):
    def __init__(self, schedule, factor) -> None:
        self.schedule, self.factor = schedule, Fraction(factor)
        self.end = None if schedule.end is None else schedule.end * self.factor

    def locate(self, time):
        place = self.schedule.locate(time / self.factor)
        if self.factor == 1:
            return place
        return place._replace(
            length=place.length * self.factor,
            rounded=True,
            slack=place.slack * self.factor + ROUNDING,
        )

    def boundaries(self, limit):
        times = self.schedule.boundaries(limit / self.factor)
        return [time * self.factor for time in times]


class Staircase(Schedule):
    def __init__(self, schedule, every) -> None:
        self.schedule, self.every = schedule, every
        # The last value begins with the step that reaches or passes the end.
        end = schedule.end
        self.end = None if end is None else -(-end // 1) * every

    def locate(self, time):
        return self.schedule.locate(Fraction(time // self.every))

    def boundaries(self, limit):
        steps = -(-Fraction(limit) // self.every)
        return [step * self.every for step in map(Fraction, range(int(steps)))]


class Scaled(Schedule):
    def __init__(self, schedule, factor) -> None:
        self.schedule, self.factor = schedule, exact(factor)
        self.end = schedule.end

    def locate(self, time):
        place = self.schedule.locate(time)
        # The ends of a phase are stored after the multiplication, in float32.
        ends = (place.phase.init_value, place.phase.end_value)
        init_value, end_value = (exact(float(end * self.factor)) for end in ends)
        phase = dataclasses.replace(
            place.phase, init_value=init_value, end_value=end_value
        )
        return place._replace(phase=phase)

    def boundaries(self, limit):
        return self.schedule.boundaries(limit)


class Product:
    """A product of schedules has a value, but no single phase at a time."""

    def __init__(self, *schedules) -> None:
        self.schedules = schedules
        ends = [schedule.end for schedule in schedules]
        self.end = None if None in ends else max(ends)

    def value(self, count):
        return mpmath.fprod(schedule.value(count) for schedule in self.schedules)

    def stored(self, count) -> np.float32:
        return np.float32(float(self.value(count)))

    def boundaries(self, limit):
        times = (set(schedule.boundaries(limit)) for schedule in self.schedules)
        return sorted(set().union(*times))


def cosine(init_value, end_value, *, steps, exponent=1.0, time_exponent=1.0):
    numbers = (exact(x) for x in (init_value, end_value, exponent, time_exponent))
    return Part(Phase("cosine", *numbers), steps)


def linear(init_value, end_value, *, steps, exponent=1.0, time_exponent=1.0):
    numbers = (exact(x) for x in (init_value, end_value, exponent, time_exponent))
    return Part(Phase("linear", *numbers), steps)


def constant(value, *, steps):
    return linear(value, value, steps=steps)


def join(*schedules, after="hold"):
    return Join(schedules, after)


def splice(before, at_step, then):
    return Splice(before, at_step, then)


def shift(schedule, steps):
    return Shift(schedule, steps)


def stretch(schedule, factor):
    """The factor of a float is the nearest ratio of two int32 numbers."""
    return Stretch(schedule, Fraction(factor).limit_denominator(LARGEST))


def staircase(schedule, every):
    return Staircase(schedule, every)


def scale(schedule, factor):
    return Scaled(schedule, factor)


def product(*schedules):
    return Product(*schedules)


def decay(value, end_value, *, steps, shape):
    if shape == "cosine":
        return cosine(value, end_value, steps=steps)
    exponents = {"linear": 1.0, "1-sqrt": 0.5}
    return linear(value, end_value, steps=steps, time_exponent=exponents[shape])


def cooldown(schedule, *, at_step, steps, end_value=0.0, shape="cosine", value=None):
    """`value`: what was stored as the value at `at_step`, if that is known."""
    value = schedule.stored(at_step) if value is None else value
    return splice(schedule, at_step, decay(value, end_value, steps=steps, shape=shape))


def extend(schedule, *, at_step, total_steps):
    factor = Fraction(total_steps - at_step) / (schedule.end - at_step)
    return Splice(schedule, at_step, Stretch(Shift(schedule, at_step), factor))


def rewarm(
    schedule,
    *,
    at_step,
    peak_value,
    warmup_steps,
    decay_steps,
    end_value=0.0,
    value=None,
):
    value = schedule.stored(at_step) if value is None else value
    warmup = [linear(value, peak_value, steps=warmup_steps)] if warmup_steps else []
    return splice(
        schedule,
        at_step,
        join(*warmup, cosine(peak_value, end_value, steps=decay_steps)),
    )


def warmup_cosine_annealing_schedule(
    peak_value,
    total_steps,
    *,
    warmup_steps,
    init_value=0.0,
    hold_steps=0,
    end_value=0.0,
    exponent=1.0,
):
    decay_steps = total_steps - warmup_steps - hold_steps
    parts = []
    if warmup_steps:
        parts.append(linear(init_value, peak_value, steps=warmup_steps))
    if hold_steps:
        parts.append(constant(peak_value, steps=hold_steps))
    if decay_steps:
        parts.append(
            cosine(peak_value, end_value, steps=decay_steps, exponent=exponent)
        )
    return join(*parts)


def cosine_restarts_schedule(
    peak_value,
    cycle_steps,
    *,
    num_cycles=None,
    end_value=0.0,
    cycle_warmup_steps=0,
    init_value=0.0,
    cycle_steps_factor=1.0,
    peak_factor=1.0,
    end_factor=1.0,
):
    """Factors must be such that float32 holds what they give."""
    parts = []
    for k in range(num_cycles or 1):
        steps = max(1, round(cycle_steps * Fraction(cycle_steps_factor) ** k))
        peak = float(exact(peak_value)) * peak_factor**k
        floor = float(exact(end_value)) * end_factor**k
        if cycle_warmup_steps:
            parts.append(linear(init_value, peak, steps=cycle_warmup_steps))
        if steps > cycle_warmup_steps:
            parts.append(cosine(peak, floor, steps=steps - cycle_warmup_steps))
    return join(*parts, after="hold" if num_cycles else "repeat")
