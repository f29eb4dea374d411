"""Schedules in exact arithmetic: time as fractions, values with 50 digits.

Each builder of the package has a function here that says the same thing in the
plainest way: a schedule keeps the schedules that it was made of and asks them. Nothing
is flattened into a table, no time is rounded, and no code is shared with the package.
Rates and exponents are rounded once, to the dtype in which the package stores them.
"""

import bisect
import contextlib
import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import mpmath
import numpy as np

mpmath.mp.dps = 60

# The largest numerator and denominator that a factor of `stretch` may need.
LARGEST = 2**31 - 1
# The error of a fraction of a step as it is stored.
ROUNDINGS = {np.float32: Fraction(1, 2**24), np.float64: Fraction(1, 2**48)}
# A device counts laps that have a fraction of a step in floats: an error of this part
# of the count, as far as floats hold the count.
DRIFT = Fraction(5, 2**24)
LAST_OF_DRIFT = 2**24

_dtype: Any = np.float32


@contextlib.contextmanager
def in_float64():
    """Rates, exponents and fractions of steps are stored in float64, as under x64."""
    global _dtype
    _dtype = np.float64
    try:
        yield
    finally:
        _dtype = np.float32


def rounding() -> Fraction:
    return ROUNDINGS[_dtype]


def exact(number) -> mpmath.mpf:
    """A number as it is stored."""
    return mpmath.mpf(float(_dtype(number)))


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


class NotPromisedError(ValueError):
    """No value is promised.

    An endless schedule would be read beyond its own step 2**31 - 1, or beyond its step
    2**24 if a lap has a fraction of a step. Or a staircase reads a schedule where a
    boundary was rounded to either side.
    """


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
    # By how many steps more a device may misplace a lap that has a fraction of a step.
    drift: Fraction = Fraction(0)

    @property
    def value(self) -> mpmath.mpf:
        return self.phase.value(self.fraction)


class Schedule:
    """What every exact schedule can tell."""

    # The exact time at which the last value is reached, or None if it never is.
    end: Any

    def places(self, time: Fraction) -> list[Place]:
        """The places at a time of 0 or more: the value is the product of theirs."""
        raise NotImplementedError

    def boundaries(
        self, limit: Fraction | int, start: Fraction | int = 0
    ) -> list[Fraction]:
        """The times from `start` to below `limit` at which a phase begins, in order."""
        raise NotImplementedError

    def read(self, time: Fraction) -> list[Place]:
        """The places at a time that another clock tells."""
        if self.end is None and time > LARGEST:
            raise NotPromisedError
        return self.places(max(time, Fraction(0)))

    def locate(self, time: Fraction) -> Place:
        """The place of a schedule that is no product."""
        (place,) = self.places(time)
        return place

    def value(self, count) -> mpmath.mpf:
        places = self.places(max(Fraction(count), Fraction(0)))
        return mpmath.fprod(place.value for place in places)

    def stored(self, count) -> Any:
        """The value at a count, rounded as values are."""
        return _dtype(float(self.value(count)))

    def __mul__(self, other):
        if isinstance(other, Schedule):
            return Product(self, other)
        return Scaled(self, other)

    __rmul__ = __mul__

    def __truediv__(self, number):
        return Scaled(self, 1 / mpmath.mpf(number))

    def __neg__(self):
        return Scaled(self, -1)

    def slack(self, boundary: Fraction) -> Fraction:
        """By how many steps roundings of time may have moved a boundary, at most."""
        before = max(boundary - rounding(), Fraction(0))
        return max(self.locate(time).slack for time in (before, boundary))

    def restarts(self, limit: Fraction | int) -> list[Fraction]:
        """The boundaries at which a phase begins with its first value."""
        times = self.boundaries(limit)
        return [time for time in times if self.locate(time).fraction == 0]


def is_stored(time: Fraction) -> bool:
    """Whether a float of the dtype holds the fraction of a step."""
    return (time / rounding()).denominator == 1


def moved(places: list[Place], by: Fraction) -> list[Place]:
    """The places of a schedule whose start was rounded when it was stored."""
    if is_stored(by):
        return places
    return [x._replace(rounded=True, slack=x.slack + rounding()) for x in places]


class Part(Schedule):
    def __init__(self, phase: Phase, steps) -> None:
        self.phase = phase
        self.end = Fraction(steps)
        self.rounded = not is_stored(self.end)

    def places(self, time):
        fraction = min(max(time / self.end, Fraction(0)), Fraction(1))
        slack = rounding() if self.rounded else Fraction(0)
        return [Place(self.phase, fraction, self.end, self.rounded, slack)]

    def boundaries(self, limit, start=0):
        return [Fraction(0)] if start <= 0 < limit else []


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

    def places(self, time):
        if self.after == "hold":
            return self._places_in_lap(time)
        laps, since = divmod(time, self.lap)
        if self.after == "mirror" and laps % 2:
            since = self.lap - since
        places = self._places_in_lap(since)
        if self.lap.denominator == 1:
            return places
        if time > LAST_OF_DRIFT:
            raise NotPromisedError
        # The length of a lap may have been rounded, and each lap adds to the error.
        of_laps = 0 if is_stored(self.lap) else (laps + 1) * rounding()
        return [
            place._replace(
                rounded=True,
                slack=place.slack + of_laps,
                drift=place.drift + time * DRIFT,
            )
            for place in places
        ]

    def _places_in_lap(self, time):
        playing = bisect.bisect_right(self.starts, time) - 1
        start = self.starts[playing]
        return moved(self.schedules[playing].places(time - start), start)

    def boundaries(self, limit, start=0):
        if self.after == "hold":
            return self._boundaries_of_lap(limit, start)
        times, turn, length = set(), max(start // self.lap - 1, 0), self.lap
        lap = self._boundaries_of_lap(length, 0)
        while turn * length < limit:
            times.add(turn * length)
            if self.after == "mirror" and turn % 2:
                times |= {(turn + 1) * length - time for time in lap}
            else:
                times |= {turn * length + time for time in lap}
            turn += 1
        return sorted(time for time in times if start <= time < limit)

    def _boundaries_of_lap(self, limit, start):
        endless = self.schedules[-1].end is None
        ends = [*self.starts[1:], limit if endless else self.lap]
        return [
            begin + time
            for schedule, begin, end in zip(
                self.schedules, self.starts, ends, strict=True
            )
            for time in schedule.boundaries(min(end, limit) - begin, start - begin)
        ]


class Splice(Schedule):
    def __init__(self, before, at_step, then) -> None:
        self.before, self.at_step, self.then = before, Fraction(at_step), then
        self.end = None if then.end is None else self.at_step + then.end

    def places(self, time):
        if time < self.at_step:
            return self.before.places(time)
        return moved(self.then.places(time - self.at_step), self.at_step)

    def boundaries(self, limit, start=0):
        after = self.then.boundaries(limit - self.at_step, start - self.at_step)
        return [
            *self.before.boundaries(min(limit, self.at_step), start),
            *(self.at_step + time for time in after),
        ]


class Shift(Schedule):
    def __init__(self, schedule, steps) -> None:
        self.schedule, self.steps = schedule, Fraction(steps)
        if schedule.end is None:
            self.end = None
        else:
            left = schedule.end - self.steps
            # A table has a row that takes a step.
            self.end = max(left, Fraction(1 if left <= 0 and is_table(schedule) else 0))

    def places(self, time):
        return moved(self.schedule.read(time + self.steps), self.steps)

    def boundaries(self, limit, start=0):
        # While a schedule waits, its first value is a phase, and then it begins.
        times = self.schedule.boundaries(limit + self.steps, start + self.steps)
        moved = {time - self.steps for time in times} | {Fraction(0)}
        return sorted(time for time in moved if max(start, 0) <= time < limit)


class Stretch(Schedule):
    def __init__(self, schedule, factor) -> None:
        self.schedule, self.factor = schedule, Fraction(factor)
        self.end = None if schedule.end is None else schedule.end * self.factor

    def places(self, time):
        places = self.schedule.read(time / self.factor)
        if self.factor == 1:
            return places
        return [
            place._replace(
                length=place.length * self.factor,
                rounded=True,
                slack=place.slack * self.factor + rounding(),
                drift=place.drift * self.factor,
            )
            for place in places
        ]

    def boundaries(self, limit, start=0):
        times = self.schedule.boundaries(limit / self.factor, start / self.factor)
        return [time * self.factor for time in times]


class Staircase(Schedule):
    def __init__(self, schedule, every) -> None:
        self.schedule, self.every = schedule, every
        # The last value begins with the step that reaches or passes the end.
        end = schedule.end
        self.end = None if end is None else Fraction(-(-end // 1) * every)

    def places(self, time):
        step = Fraction(time // self.every)
        places = self.schedule.read(step)
        near = 16 * rounding()
        if any(place.rounded for place in places):
            if self.schedule.boundaries(step + near, step - near):
                raise NotPromisedError
        return places

    def boundaries(self, limit, start=0):
        first, last = (-(-Fraction(time) // self.every) for time in (start, limit))
        return [step * self.every for step in map(Fraction, range(max(first, 0), last))]


class Scaled(Schedule):
    """Of a product, the first factor is scaled."""

    def __init__(self, schedule, factor) -> None:
        self.schedule, self.factor = schedule, mpmath.mpf(factor)
        self.end = schedule.end

    def places(self, time):
        first, *others = self.schedule.places(time)
        # The ends of a phase are stored after the multiplication.
        ends = (first.phase.init_value, first.phase.end_value)
        init_value, end_value = (exact(float(end * self.factor)) for end in ends)
        phase = dataclasses.replace(
            first.phase, init_value=init_value, end_value=end_value
        )
        return [first._replace(phase=phase), *others]

    def boundaries(self, limit, start=0):
        return self.schedule.boundaries(limit, start)


class Product(Schedule):
    def __init__(self, *schedules) -> None:
        self.schedules = schedules
        ends = [schedule.end for schedule in schedules]
        self.end = None if None in ends else max(ends)

    def places(self, time):
        return [place for x in self.schedules for place in x.places(time)]

    def boundaries(self, limit, start=0):
        times = (set(schedule.boundaries(limit, start)) for schedule in self.schedules)
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
    """One step after every count is the schedule itself."""
    return Staircase(schedule, every) if every > 1 else schedule


def decay(value, end_value, *, steps, shape):
    if shape == "cosine":
        return cosine(value, end_value, steps=steps)
    exponents = {"linear": 1.0, "1-sqrt": 0.5}
    return linear(value, end_value, steps=steps, time_exponent=exponents[shape])


def cooldown(schedule, *, at_step, steps, end_value=0.0, shape="cosine", value=None):
    """`value`: what was stored as the value at `at_step`, if that is known."""
    value = schedule.stored(at_step) if value is None else value
    return splice(schedule, at_step, decay(value, end_value, steps=steps, shape=shape))


def made_of(schedule: Schedule) -> list[Schedule]:
    """The schedule, and all that it was made of."""
    parts = [getattr(schedule, name, None) for name in ("schedule", "before", "then")]
    parts += getattr(schedule, "schedules", ())
    return [schedule, *(x for part in parts if part for x in made_of(part))]


def is_table(schedule):
    """Whether the package keeps the schedule as one table that ends."""
    return not any(
        isinstance(x, Product | Staircase) or x.end is None for x in made_of(schedule)
    )


def is_constant(schedule):
    """Whether a schedule that is a table has one value throughout."""
    if not is_table(schedule):
        return False
    times = [*schedule.boundaries(schedule.end), schedule.end]
    phases = [schedule.locate(time).phase for time in times]
    return len({x for phase in phases for x in (phase.init_value, phase.end_value)}) < 2


def extend(schedule, *, at_step, total_steps):
    if is_constant(schedule):
        return constant(schedule.value(0), steps=total_steps)
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


def cosine_annealing_schedule(init_value, decay_steps, *, end_value=0.0, exponent=1.0):
    return cosine(init_value, end_value, steps=decay_steps, exponent=exponent)


def cosine_one_cycle_schedule(
    peak_value, total_steps, *, pct_start=0.3, div_factor=25.0, final_div_factor=1e4
):
    up, start = round(pct_start * total_steps), peak_value / div_factor
    parts = []
    if up:
        parts.append(cosine(start, peak_value, steps=up))
    if up < total_steps:
        end_value = start / final_div_factor
        parts.append(cosine(peak_value, end_value, steps=total_steps - up))
    return join(*parts)


def warmup_stable_decay_schedule(
    peak_value,
    total_steps,
    *,
    warmup_steps,
    decay_steps,
    init_value=0.0,
    end_value=0.0,
    shape="cosine",
):
    stable_steps = total_steps - warmup_steps - decay_steps
    parts = []
    if warmup_steps:
        parts.append(linear(init_value, peak_value, steps=warmup_steps))
    if stable_steps:
        parts.append(constant(peak_value, steps=stable_steps))
    if decay_steps:
        parts.append(decay(peak_value, end_value, steps=decay_steps, shape=shape))
    return join(*parts)


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
    endless = num_cycles is None and cycle_steps_factor == 1
    if isinstance(cycle_steps, Sequence):
        lengths, endless = cycle_steps, False
    else:
        growth, lengths = Fraction(cycle_steps_factor), []
        while len(lengths) < (1 if endless else num_cycles or LARGEST):
            steps = max(1, round(cycle_steps * growth ** len(lengths)))
            if num_cycles is None and sum(lengths) + steps > LARGEST:
                break
            lengths.append(steps)
    parts = []
    for k, steps in enumerate(lengths):
        peak = float(exact(peak_value)) * peak_factor**k
        floor = float(exact(end_value)) * end_factor**k
        if cycle_warmup_steps:
            parts.append(linear(init_value, peak, steps=cycle_warmup_steps))
        if steps > cycle_warmup_steps:
            parts.append(cosine(peak, floor, steps=steps - cycle_warmup_steps))
    return join(*parts, after="repeat" if endless else "hold")
