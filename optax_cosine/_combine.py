"""What one table cannot say: a schedule on another clock, or spliced to another."""

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from optax_cosine._checks import (
    LARGEST,
    is_traced,
    positive,
    signed_steps,
    whole_steps,
)
from optax_cosine._instant import (
    Instant,
    as_fraction,
    as_instant,
    difference,
    exact,
    is_numpy,
    length,
    negative,
    number,
    plus,
    reached,
    rescaled,
    select,
)
from optax_cosine._schedule import Schedule, checked, known, plain
from optax_cosine._text import Piece, cut

_FLOAT = np.dtype(np.float32)  # of the parts of instants that no schedule holds


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Spliced(Schedule):
    """One schedule until a step, from there another on its own clock."""

    before: Schedule
    at_step: Instant
    then: Schedule

    @property
    def _batch_shape(self) -> tuple[int, ...]:
        return self.before._batch_shape

    @property
    def _dtype(self) -> np.dtype:
        return np.promote_types(self.before._dtype, self.then._dtype)

    def _exact_total(self) -> Any:
        return number(*self.at_step) + self.then._exact_total()

    def _traced_total(self) -> Instant:
        return plus(on_device(self.at_step), on_device(self.then._total))

    @property
    def _endless(self) -> Any:
        return self.then._endless

    def _scaled(self, by: Callable[[Any], Any]) -> "Spliced":
        return Spliced(self.before._scaled(by), self.at_step, self.then._scaled(by))

    def _host_function(self) -> Callable[[Any], float]:
        before, then = self.before._host_function(), self.then._host_function()
        at_step = number(*self.at_step)
        return lambda now: before(now) if now < at_step else then(now - at_step)

    def _value(self, now: Instant, at_once: int) -> Array:
        at_step = _with_dtype(self.at_step, now.part.dtype)
        before = self.before._value(now, at_once).astype(self._dtype)
        since = plus(now, negative(at_step))
        then = self.then._value(since, at_once).astype(self._dtype)
        return lax.select(reached(now, at_step), then, before)

    def _pieces(self) -> list[Piece]:
        at_step = number(*self.at_step)
        before = self.before._pieces()
        return cut(before, at_step, self.before._host_function()) + [
            piece._replace(start=at_step + piece.start, stop=at_step + piece.stop)
            for piece in self.then._pieces()
        ]

    def _code(self) -> str:
        at_step = plain(number(*self.at_step))
        return f"splice({self.before._code()}, {at_step!r}, {self.then._code()})"

    def to_dict(self) -> dict[str, Any]:
        """As in `Schedule`."""
        return {
            "kind": "spliced",
            "before": self.before.to_dict(),
            "at_step": _listed(self.at_step),
            "then": self.then.to_dict(),
        }


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Retimed(Schedule):
    """A schedule read at `floor(count / every) * steps / counts + offset`."""

    schedule: Schedule
    every: Any  # int32
    counts: Instant  # last as long as
    steps: Instant  # these of the schedule
    offset: Instant  # may be negative

    @property
    def _batch_shape(self) -> tuple[int, ...]:
        return self.schedule._batch_shape

    @property
    def _dtype(self) -> np.dtype:
        return self.schedule._dtype

    def _exact_total(self) -> Any:
        left = self.schedule._exact_total()
        if not self._endless:
            left = max(left - number(*self.offset), 0)
        total = Fraction(left) * number(*self.counts) / number(*self.steps)
        return math.ceil(total) * int(self.every) if self.every > 1 else total

    def _traced_total(self) -> Instant:
        total, counts, steps, offset = map(
            on_device, (self.schedule._total, self.counts, self.steps, self.offset)
        )
        total = rescaled(plus(total, negative(offset)), counts, steps)
        stairs = total.whole + (total.part > 0).astype(np.int32)
        fits = stairs <= LARGEST // self.every
        stairs = jnp.where(fits, stairs * self.every, LARGEST)
        none = jnp.zeros_like(total.part)
        return select(self.every > 1, Instant(stairs, none), total)

    @property
    def _endless(self) -> Any:
        return self.schedule._endless

    def _scaled(self, by: Callable[[Any], Any]) -> "Retimed":
        return dataclasses.replace(self, schedule=self.schedule._scaled(by))

    def _host_function(self) -> Callable[[Any], float]:
        value, every, offset = (
            self.schedule._host_function(),
            int(self.every),
            number(*self.offset),
        )
        speed = Fraction(number(*self.steps)) / number(*self.counts)

        def retimed(now: Any) -> float:
            now = (now // every if every > 1 else now) * speed + offset
            now = min(max(now, 0), LARGEST)
            return value(int(now) if now == int(now) else now)

        return retimed

    def _value(self, now: Instant, at_once: int) -> Array:
        dtype = now.part.dtype
        steps, counts, offset = (
            _with_dtype(x, dtype) for x in (self.steps, self.counts, self.offset)
        )
        stairs = Instant(lax.div(now.whole, self.every), lax.full_like(now.part, 0))
        now = select(self.every > 1, stairs, now)
        now = plus(rescaled(now, steps, counts), offset)
        return self.schedule._value(now, at_once)

    def _pieces(self) -> list[Piece]:
        value, wait = self._host_function(), self._count_at(0)
        pieces = [Piece(0, wait, "hold", value(0), value(0))]
        for piece in self.schedule._pieces():
            start, stop = self._count_at(piece.start), self._count_at(piece.stop)
            # Stairs need not come upon the very step at which a phase starts.
            pieces.append(
                Piece(start, stop, piece.shape, value(start), piece.end_value)
            )
        return [piece for piece in pieces if piece.start < piece.stop]

    def _count_at(self, step: Any) -> Any:
        """When a step of the schedule comes: at 0, if before."""
        if step == math.inf:
            return step
        slowness = number(*self.counts) / Fraction(number(*self.steps))
        count = max(0, (step - number(*self.offset)) * slowness)
        return math.ceil(count) * int(self.every) if self.every > 1 else count

    def _code(self) -> str:
        stretch = number(*self.counts) / Fraction(number(*self.steps))
        offset = number(*self.offset)
        code = self.schedule._code()
        if offset or (self.every, stretch) == (1, 1):
            code = f"retime({code}, offset={plain(offset)!r})"
        if stretch != 1:
            code = f"retime({code}, stretch={float(stretch)!r})"
        if self.every > 1:
            code = f"retime({code}, every={int(self.every)})"
        return code

    def to_dict(self) -> dict[str, Any]:
        """As in `Schedule`."""
        return {
            "kind": "retimed",
            "schedule": self.schedule.to_dict(),
            "every": known(self).every.tolist(),
            "counts": _listed(self.counts),
            "steps": _listed(self.steps),
            "offset": _listed(self.offset),
        }


def _with_dtype(instant: Instant, dtype: Any) -> Instant:
    return Instant(instant.whole, instant.part.astype(dtype))


def on_device(instant: Instant) -> Instant:
    return Instant(jnp.asarray(instant.whole), jnp.asarray(instant.part, _FLOAT))


def _listed(instant: Instant) -> list[Any]:
    return [np.asarray(number).tolist() for number in instant]


def splice(before: Schedule, at_step: ArrayLike, then: Schedule) -> Spliced:
    """`before` until `at_step`, from there `then` on its own clock.

    Use it to let a run that is under way go on along another curve.

    The formula is `before(count)` below `at_step`, `then(count - at_step)` from there.

    Args:
        before: A schedule of this library; it may have no end.
        at_step: Count at which the second takes over: a whole number, 0 or more.
        then: A schedule of this library; it may have no end.

    Returns:
        A schedule.

    Raises:
        TypeError: A schedule is none of this library, or `at_step` is no number.
        ValueError: `at_step` is out of range, or the end is beyond 2**31 - 1.

    Examples:
        >>> import optax_cosine as oc
        >>> endless = oc.cosine_restarts_schedule(1.0, 10)
        >>> schedule = oc.splice(endless, 25, oc.linear(0.5, 0.0, steps=5))
        >>> print(schedule(20), schedule(25), schedule(30))
        1.0 0.5 0.0

    References:
        Optax, `optax.join_schedules`.
    """
    at_step = whole_steps("at_step", at_step, least=0)
    before, then = checked("before", before), checked("then", then)
    return spliced(before, length(at_step, _FLOAT), then)


def spliced(before: Schedule, at_step: Instant, then: Schedule) -> Spliced:
    schedule = Spliced(before, at_step, then)
    if is_numpy(schedule) and not then._endless:
        total = schedule._exact_total()
        if total > LARGEST:
            raise ValueError(
                "the spliced schedule must end by step 2**31 - 1, ends at "
                f"{plain(math.ceil(total))}."
            )
    return schedule


def retime(
    schedule: Schedule,
    *,
    offset: ArrayLike | None = None,
    every: ArrayLike | None = None,
    stretch: ArrayLike | None = None,
) -> Retimed:
    """A schedule read on another clock; exactly one change per call.

    Use `offset=1` for a first update above 0 and a last one exactly at the end value,
    `every=updates_per_epoch` for a rate that changes once an epoch, `stretch=2.0` for
    the same curve over a run twice as long.

    With the others at 0, 1 and 1, for counts of 0 and more::

        time = floor(count / every) / stretch + offset
        retime(schedule, ...)(count) == schedule(time)

    Args:
        schedule: A schedule of this library.
        offset: Steps to read ahead, a whole number; if negative, steps to wait.
        every: Counts for each step of the schedule, a whole number from 1.
        stretch: How many times as long it becomes, above 0. It is taken as a fraction:
            1.1 as 11 / 10.

    Returns:
        A schedule.

    Raises:
        TypeError: A number is none, or the schedule is none of this library.
        ValueError: None or several of the three are given, or one is out of range.

    Examples:
        >>> import optax_cosine as oc
        >>> schedule = oc.linear(0.0, 1.0, steps=4)
        >>> ahead = oc.retime(schedule, offset=1)
        >>> print(*[ahead(count) for count in range(4)])
        0.25 0.5 0.75 1.0
        >>> stairs = oc.retime(schedule, every=2)
        >>> print(*[stairs(count) for count in range(6)])
        0.0 0.0 0.25 0.25 0.5 0.5

    References:
        timm, `t_in_epochs`; Composer, `scale_schedule_ratio`.
    """
    if sum(x is not None for x in (offset, every, stretch)) != 1:
        raise ValueError(
            "retime takes exactly one of offset, every and stretch, got "
            f"offset={offset!r}, every={every!r}, stretch={stretch!r}."
        )
    counts, steps = _speed(1 if stretch is None else stretch)
    return Retimed(
        checked("schedule", schedule),
        _stairs(1 if every is None else every),
        counts,
        steps,
        _signed(0 if offset is None else offset),
    )


def _stairs(every: Any) -> Any:
    every = whole_steps("every", every)
    if not is_traced(every):
        return np.asarray(every, np.int32)
    return jnp.maximum(as_instant(every, _FLOAT).whole, 1)


def _speed(stretch: Any) -> tuple[Instant, Instant]:
    """How many counts last as long as how many steps: `stretch` as a fraction."""
    if is_traced(stretch := positive("stretch", stretch)):
        # A float is an integer of 24 bits times a power of two.
        stretch = jnp.clip(stretch, 2.0**-30, 2.0**30)
        _, exponent = jnp.frexp(stretch)
        doublings = jnp.clip(24 - exponent, 0, 30)
        counts = stretch * (np.int32(1) << doublings).astype(stretch.dtype)
        return (
            as_instant(counts, stretch.dtype),
            as_instant(np.int32(1) << doublings, stretch.dtype),
        )
    if not 1 / LARGEST <= stretch <= LARGEST:
        raise ValueError(
            f"stretch must be from 1 / (2**31 - 1) to 2**31 - 1, got {stretch!r}."
        )
    counts, steps = as_fraction(stretch)
    return exact(counts, _FLOAT), exact(steps, _FLOAT)


def _signed(offset: Any) -> Instant:
    if is_traced(offset := signed_steps("offset", offset)):
        dtype = np.dtype(jnp.result_type(float))
        if jnp.issubdtype(offset.dtype, jnp.unsignedinteger):
            return as_instant(offset, dtype)
        if jnp.issubdtype(offset.dtype, jnp.integer):
            offset = jnp.maximum(offset, -jnp.iinfo(offset.dtype).max)
        offset = jnp.where(jnp.isnan(offset), 0, offset)
        ahead = as_instant(jnp.maximum(offset, 0), dtype)
        return difference(ahead, as_instant(jnp.maximum(-offset, 0), dtype))
    return Instant(np.asarray(offset, np.int32), np.asarray(0, _FLOAT))
