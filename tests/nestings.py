"""Random nestings of all functions that build a schedule, as Python.

A nesting is an expression in which `oc` stands for the package, or for `oracle`.
"""

import math
from fractions import Fraction
from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
import oracle

LARGEST = 2**31 - 1
# The longest total of a nesting.
LIMITS = {"short": 600, "long": 10_000_000, "longest": LARGEST}
RATES = (0.0, 1e-6, 3e-4, 0.01, 0.1, 0.3, 1.0, -0.1, -1e-3)
EXPONENTS = (0.1, 0.25, 0.5, 0.9, 1.5, 2.0, 3.0)
FRACTIONS = (0.5, 0.25, 0.375, 1 / 3, 0.1)
FACTORS = (0.5, 2.0, 3.0, 1.25, 1.5, 0.7, 1.1, 1 / 3, 2 / 3, 10 / 7, 121 / 55, 0.015625)
SHAPES = ("cosine", "linear", "1-sqrt")


class Nesting(NamedTuple):
    code: str
    exact: oracle.Schedule
    # Whether the package keeps it as one table, which may repeat.
    is_table: bool = True

    @property
    def may_repeat(self) -> bool:
        return self.is_table and self.exact.end is not None


def nesting_of(code: str, *, is_table: bool) -> Nesting:
    return Nesting(code, eval(code, {"oc": oracle}), is_table)


# --- Parts and named curves ---


def rates() -> Any:
    return st.sampled_from(RATES) | st.floats(2**-20, 1, width=32)


def whole_steps(limit: int) -> Any:
    most = max(limit // 8, 8)
    return st.integers(1, 9) | st.integers(1, min(60, most)) | st.integers(1, most)


@st.composite
def steps(draw: Any, limit: int) -> float:
    whole = draw(whole_steps(limit))
    if draw(st.integers(0, 3)) or whole > 100_000:
        return whole
    return whole + draw(st.sampled_from(FRACTIONS))


@st.composite
def parts(draw: Any, limit: int) -> str:
    kind = draw(st.sampled_from(["cosine", "cosine", "linear", "linear", "constant"]))
    if kind == "constant":
        return f"oc.constant({draw(rates())}, steps={draw(steps(limit))})"
    more = ""
    for name in ("exponent", "time_exponent"):
        if not draw(st.integers(0, 3)):
            more += f", {name}={draw(st.sampled_from(EXPONENTS))}"
    values = f"{draw(rates())}, {draw(rates())}, steps={draw(steps(limit))}"
    return f"oc.{kind}({values}{more})"


@st.composite
def named_curves(draw: Any, limit: int) -> str:
    peak = abs(draw(rates())) or 0.1
    floor = peak * draw(st.sampled_from([0.0, 0.1, 1.0]))
    total = draw(st.integers(8, max(limit // 4, 60)))
    first = draw(st.sampled_from([0, 1, total // 3, total]))
    second = draw(st.sampled_from([0, 1, (total - first) // 2, total - first]))
    second = min(second, total - first)
    init = peak * draw(st.sampled_from([0.0, 0.25]))
    match draw(st.integers(0, 5)):
        case 0:
            exponent = draw(st.sampled_from([1.0, *EXPONENTS]))
            more = f"end_value={floor}, exponent={exponent}"
            return f"oc.cosine_annealing_schedule({peak}, {total}, {more})"
        case 1:
            return (
                f"oc.warmup_cosine_annealing_schedule({peak}, {total}, "
                f"warmup_steps={first}, hold_steps={second}, init_value={init}, "
                f"end_value={floor})"
            )
        case 2:
            return (
                f"oc.warmup_stable_decay_schedule({peak}, {total}, "
                f"warmup_steps={first}, decay_steps={second}, init_value={init}, "
                f"end_value={floor}, shape={draw(st.sampled_from(SHAPES))!r})"
            )
        case 3:
            share = draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
            more = f"pct_start={share}, div_factor=8.0, final_div_factor=128.0"
            return f"oc.cosine_one_cycle_schedule({peak}, {total}, {more})"
        case 4:
            lengths = draw(st.lists(whole_steps(limit), min_size=1, max_size=4))
            return f"oc.cosine_restarts_schedule({peak}, {lengths}, end_value={floor})"
        case _:
            cycle = draw(st.integers(2, max(limit // 32, 12)))
            return (
                f"oc.cosine_restarts_schedule({peak}, {cycle}, "
                f"num_cycles={draw(st.integers(1, 4))}, end_value={floor / 8}, "
                f"cycle_warmup_steps={draw(st.integers(0, 1))}, init_value={init}, "
                f"cycle_steps_factor={draw(st.sampled_from([1, 1.5, 2]))}, "
                f"peak_factor={draw(st.sampled_from([1.0, 0.5]))})"
            )


# --- Nestings ---


@st.composite
def nestings(draw: Any, limit: int, depth: int = 3) -> Nesting:
    """A nesting, most of which the package builds; see `is_in_range`."""
    if depth == 0 or not draw(st.integers(0, 5)):
        kinds = st.sampled_from([parts(limit), parts(limit), named_curves(limit)])
        return nesting_of(draw(draw(kinds)), is_table=True)
    within = draw(nestings(limit, depth - 1))
    kind = draw(st.sampled_from(sorted(KINDS)))
    return KINDS[kind](draw, within, limit, depth)


def joined(draw: Any, first: Nesting, limit: int, depth: int) -> Nesting:
    members = [first]
    for _ in range(draw(st.integers(0, 2))):
        if members[-1].exact.end is not None:
            members.append(draw(nestings(limit // 2, depth - 1)))
    code = ", ".join(member.code for member in members)
    after = "hold"
    if all(member.may_repeat for member in members):
        after = draw(st.sampled_from(["hold", "repeat", "mirror"]))
    is_table = all(member.is_table for member in members) and (
        len(members) == 1 or members[-1].exact.end is not None
    )
    return nesting_of(f"oc.join({code}, after={after!r})", is_table=is_table)


def spliced(draw: Any, before: Nesting, limit: int, depth: int) -> Nesting:
    then = draw(nestings(limit // 2, depth - 1))
    step: float = draw(counts_of(before.exact, limit))
    if not draw(st.integers(0, 4)) and step < 100_000:
        step += draw(st.sampled_from(FRACTIONS))
    is_table = before.may_repeat and then.may_repeat
    code = f"oc.splice({before.code}, {step}, {then.code})"
    return nesting_of(code, is_table=is_table)


@st.composite
def counts_of(draw: Any, exact: oracle.Schedule, limit: int) -> int:
    """A count up to the end: anywhere, or at a boundary, or beside a boundary."""
    last = limit // 4 if exact.end is None else math.ceil(exact.end)
    count = draw(st.integers(0, last))
    if draw(st.booleans()):
        window = max(count - 70, 0)
        times = exact.boundaries(count + 70, window) or [Fraction(count)]
        count = round(draw(st.sampled_from(times[:50]))) + draw(st.integers(-1, 1))
    return min(max(count, 0), last)


def shifted(draw: Any, within: Nesting, limit: int, _: int) -> Nesting:
    ahead = draw(counts_of(within.exact, limit))
    by = draw(st.sampled_from([ahead, 1, -1, -7, -40, 0.5, -0.25]))
    return nesting_of(f"oc.shift({within.code}, {by})", is_table=within.may_repeat)


def stretched(draw: Any, within: Nesting, _limit: int, _depth: int) -> Nesting:
    factor = draw(st.sampled_from(FACTORS))
    return nesting_of(
        f"oc.stretch({within.code}, {factor})", is_table=within.may_repeat
    )


def in_stairs(draw: Any, within: Nesting, limit: int, _: int) -> Nesting:
    end = within.exact.end or limit // 8
    every = draw(st.sampled_from([1, 2, 7, max(1, int(limit // (2 * end)))]))
    is_table = within.is_table and every == 1
    return nesting_of(f"oc.staircase({within.code}, {every})", is_table=is_table)


def multiplied(draw: Any, first: Nesting, limit: int, depth: int) -> Nesting:
    second = draw(nestings(limit, depth - 1))
    return nesting_of(f"({first.code} * {second.code})", is_table=False)


def scaled(draw: Any, within: Nesting, _limit: int, _depth: int) -> Nesting:
    by = draw(st.sampled_from(["-{}", "0.3 * {}", "{} * 2", "{} / 3", "{} * -1e-3"]))
    return nesting_of(f"({by.format(within.code)})", is_table=within.is_table)


def value_at(exact: oracle.Schedule, step: int) -> float:
    hypothesis.assume(promised_places(exact, Fraction(step)))
    return float(exact.stored(step))


def cooled_down(draw: Any, within: Nesting, limit: int, _: int) -> Nesting:
    at_step = draw(counts_of(within.exact, limit))
    value = value_at(within.exact, at_step)
    low = draw(st.sampled_from([0.0, 0.25, 0.9])) * value
    low = low if low < value else value - 0.1
    return nesting_of(
        f"oc.cooldown({within.code}, at_step={at_step}, "
        f"steps={draw(whole_steps(limit))}, end_value={low}, "
        f"shape={draw(st.sampled_from(SHAPES))!r})",
        is_table=within.may_repeat,
    )


def rewarmed(draw: Any, within: Nesting, limit: int, _: int) -> Nesting:
    at_step = draw(counts_of(within.exact, limit))
    peak = abs(value_at(within.exact, at_step)) * 1.5 + 0.01
    low = peak * draw(st.sampled_from([0.0, 0.1, 1.0]))
    warmup_steps = draw(st.sampled_from([0, 1, 20]))
    return nesting_of(
        f"oc.rewarm({within.code}, at_step={at_step}, peak_value={peak}, "
        f"warmup_steps={warmup_steps}, decay_steps={draw(whole_steps(limit))}, "
        f"end_value={low})",
        is_table=within.may_repeat,
    )


def extended(draw: Any, within: Nesting, limit: int, depth: int) -> Nesting:
    end = within.exact.end
    if end is None:
        return shifted(draw, within, limit, depth)
    at_step = min(draw(counts_of(within.exact, limit)), math.ceil(end) - 1)
    left = math.ceil(end) - at_step
    total = at_step + draw(st.integers(max(1, left // 3), max(2, left * 3)))
    return nesting_of(
        f"oc.extend({within.code}, at_step={at_step}, total_steps={total})",
        is_table=within.is_table,
    )


KINDS = {
    "join": joined,
    "join again": joined,
    "splice": spliced,
    "shift": shifted,
    "stretch": stretched,
    "stretch again": stretched,
    "staircase": in_stairs,
    "product": multiplied,
    "scale": scaled,
    "cooldown": cooled_down,
    "rewarm": rewarmed,
    "extend": extended,
}


# --- What can be promised ---


def promised_places(exact: oracle.Schedule, time: Fraction) -> list[oracle.Place]:
    """The places at a time, or none if no value is promised there."""
    try:
        return exact.places(time)
    except oracle.NotPromisedError:
        return []


def is_in_range(exact: oracle.Schedule) -> bool:
    """The range of the contract: within time, and no phase shorter than a step."""
    limit = 2 * LARGEST
    for inner in oracle.made_of(exact):
        if inner.end is not None and not 1 <= inner.end <= LARGEST:
            return False
        ends = min(limit if inner.end is None else inner.end, 500)
        times = inner.boundaries(ends)
        if inner.end is not None:
            times += [inner.end, *inner.boundaries(inner.end, inner.end - 50)]
        else:
            times = [time for time in times if time < LARGEST]
        for time in times:
            for place in promised_places(inner, time):
                clock_start = time - place.fraction * place.length
                clock_end = clock_start + place.length
                if clock_start < -LARGEST or clock_end > LARGEST or place.length < 1:
                    return False
    return True
