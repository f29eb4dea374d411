"""Twenty random edits of a random table, against exact arithmetic.

Every run is a program: lines of Python that the package and `oracle` both evaluate, the
package and the oracle each under the name `oc`. A test that fails shows the program, so
that the failure can be reproduced by pasting it.
"""

import functools
import itertools
import random
import types
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from sweeps import sweep

import optax_cosine as oc

LARGEST = 2**31 - 1
EDITS = 20
# Every array of counts has this length, so that few programs are compiled.
NUM_COUNTS = 4_096
# The longest total of a run: all counts are compared up to the first.
LIMITS = {"short": 3_000, "long": 10_000_000, "longest": LARGEST}
RUNS = [
    *(("short", seed) for seed in range(12)),
    *(("long", seed) for seed in range(6)),
    *(("longest", seed) for seed in range(6)),
]
runs = sweep(
    ("kind", "seed"),
    RUNS,
    [
        *[("short", 0), ("long", 0), ("longest", 0)],
    ],
)

RATES = (0.0, 1e-6, 3e-4, 0.01, 0.1, 0.3, 1.0)
FACTORS = ("2", "3", "1.25", "3 / 2", "7 / 5", "10 / 7", "1.1", "121 / 55", "0.5")
SMALL_FACTORS = ("1 / 2", "1 / 3", "2 / 3", "0.9", "0.7", "55 / 121", "5 / 8")
SHAPES = ("cosine", "linear", "1-sqrt")
# An exponent below 1 together with a time exponent costs digits near the end of a
# phase. If the phase is long, the error exceeds 16 units of its larger end.
EXPONENTS = (
    *("", "", ", exponent=0.5", ", exponent=3.0", ", time_exponent=0.5"),
    *(", time_exponent=2.0", ", exponent=2.0, time_exponent=1.5"),
)
# float32 holds the fraction of a step to 2**-24, and edits multiply this error. If the
# error is smaller than this, a boundary that should be at a whole step is put there.
NEAR = Fraction(1, 100_000)
TINY = np.finfo(np.float32).tiny


class Run(NamedTuple):
    """A schedule, the exact one, and the program that builds both."""

    schedule: Any
    exact: oracle.Schedule
    program: str
    # The rows of all tables that went in, without those that edits add.
    rows: int
    # Where the last edit begins, if the values before it are kept.
    at_step: int | None = None


# Random tables and edits, as Python.


def random_steps(rng: random.Random, limit: int) -> float:
    largest = max(limit // 8, 8)
    return rng.choice(
        [
            rng.randint(1, 9),
            rng.randint(1, min(60, largest)),
            rng.randint(1, min(60, largest)) + rng.choice([0.5, 0.25, 0.375]),
            rng.randint(1, largest),
        ]
    )


def random_rate(rng: random.Random) -> float:
    return rng.choice([*RATES, round(rng.random(), 3)])


def random_part(rng: random.Random, limit: int) -> str:
    init_value, end_value = random_rate(rng), random_rate(rng)
    if rng.random() < 0.1:
        init_value = -init_value
    steps = random_steps(rng, limit)
    exponents = rng.choice(EXPONENTS)
    return rng.choice(
        [
            f"oc.cosine({init_value}, {end_value}, steps={steps}{exponents})",
            f"oc.cosine({init_value}, {end_value}, steps={steps})",
            f"oc.linear({init_value}, {end_value}, steps={steps}{exponents})",
            f"oc.linear({init_value}, {end_value}, steps={steps})",
            f"oc.constant({init_value}, steps={steps})",
        ]
    )


def random_warmup_cosine(rng: random.Random, limit: int) -> str:
    total_steps = rng.randint(8, max(limit // 4, 60))
    warmup_steps = rng.choice([0, 1, rng.randint(0, total_steps // 2), total_steps])
    hold_steps = rng.choice([0, rng.randint(0, total_steps - warmup_steps)])
    peak_value = rng.choice(RATES[1:])
    end_value = peak_value * rng.choice([0.0, 0.1, 1.0])
    return (
        f"oc.warmup_cosine_annealing_schedule({peak_value}, {total_steps}, "
        f"warmup_steps={warmup_steps}, hold_steps={hold_steps}, "
        f"init_value={rng.choice([0.0, peak_value / 8])}, end_value={end_value}, "
        f"exponent={rng.choice([1.0, 1.0, 2.0])})"
    )


def random_restarts(rng: random.Random, limit: int) -> str:
    cycle_steps = rng.randint(2, max(limit // 32, 12))
    return (
        f"oc.cosine_restarts_schedule(0.5, {cycle_steps}, "
        f"num_cycles={rng.randint(1, 4)}, "
        f"cycle_warmup_steps={rng.choice([0, 1])}, "
        f"cycle_steps_factor={rng.choice([1, 1.5, 2])}, "
        f"peak_factor={rng.choice([1.0, 0.5])}, end_value={rng.choice([0.0, 0.01])})"
    )


def random_table(rng: random.Random, limit: int) -> str:
    kind = rng.choice(["parts", "parts", "warmup", "restarts"])
    if kind == "warmup":
        return random_warmup_cosine(rng, limit)
    if kind == "restarts":
        return random_restarts(rng, limit)
    parts = [random_part(rng, limit) for _ in range(rng.randint(1, 5))]
    return parts[0] if len(parts) == 1 else f"oc.join({', '.join(parts)})"


def random_at_step(rng: random.Random, run: Run, last: int) -> int:
    """From 0 to `last`: anywhere, or at a boundary, or beside one."""
    boundary = round(rng.choice(run.exact.boundaries(last + 1)))
    near = boundary + rng.choice([-1, 0, 0, 1])
    return min(max(rng.choice([near, rng.randint(0, last)]), 0), last)


def random_edit(rng: random.Random, run: Run, limit: int) -> tuple[str, int | None]:
    """The line of an edit, and where it begins if the values before are kept."""
    end = run.exact.end
    kinds = ["splice", "shift", "stretch", "extend", "extend", "cooldown", "rewarm"]
    kind = rng.choice(kinds)
    if kind == "shift":
        ahead = rng.randint(1, max(int(end) // 4, 1))
        steps = rng.choice([ahead, 1, -1, -rng.randint(1, 40)])
        if rng.random() < 0.05:
            steps = int(end) + rng.randint(0, 3)
        return f"oc.shift(s, {steps})", None
    if kind == "stretch":
        # Where there is no more room, a schedule may only become shorter.
        factors = SMALL_FACTORS if 2 * end > limit else FACTORS + SMALL_FACTORS
        return f"oc.stretch(s, {rng.choice(factors)})", None
    if kind == "extend":
        at_step = random_at_step(rng, run, -int(-end // 1) - 1)
        left = end - at_step
        total_steps = at_step + max(1, round(left * Fraction(rng.uniform(0.4, 2.5))))
        if rng.random() < 0.2:
            total_steps = limit
        arguments = f"at_step={at_step}, total_steps={min(total_steps, limit)}"
        return f"oc.extend(s, {arguments})", at_step
    at_step = random_at_step(rng, run, int(end) + rng.choice([0, 0, 0, 7]))
    if kind == "splice":
        return f"oc.splice(s, {at_step}, {random_table(rng, limit)})", at_step
    value = float(run.schedule(at_step))
    steps = rng.randint(1, max(limit // 16, 40))
    if kind == "cooldown":
        end_value = rng.choice([0.0, 0.1, 0.5, 1.0]) * abs(value)
        return (
            f"oc.cooldown(s, at_step={at_step}, steps={steps}, "
            f"end_value={min(end_value, value)}, shape={rng.choice(SHAPES)!r})",
            at_step,
        )
    peak_value = max(value, random_rate(rng))
    return (
        f"oc.rewarm(s, at_step={at_step}, peak_value={peak_value}, "
        f"warmup_steps={rng.choice([0, 1, rng.randint(1, 50)])}, decay_steps={steps}, "
        f"end_value={min(peak_value, rng.choice(RATES))})",
        at_step,
    )


def is_reasonable(exact: oracle.Schedule, limit: int) -> bool:
    """Within the limit, with phases of a step or more whose clocks int32 can hold."""
    if not 1 <= exact.end <= limit:
        return False
    for time in exact.boundaries(exact.end):
        place = exact.locate(time)
        clock_start = time - place.fraction * place.length
        clock_end = clock_start + place.length
        if clock_start < -LARGEST or clock_end > LARGEST:
            return False
        if not 1 <= place.length <= LARGEST:
            return False
    return True


def built(code: str, module: Any, s: Any = None) -> Any:
    return eval(code, {"oc": module, "s": s})


def edited(run: Run, code: str, at_step: int | None, limit: int) -> Run | None:
    """The run after one more edit, or None if the edit would not be reasonable."""
    exact_code = code
    if code.startswith(("oc.cooldown", "oc.rewarm")):
        # The value that the edit begins with is stored in float32, and may be a unit
        # from the exact value. `oracle` begins with the value that is stored.
        exact_code = f"{code[:-1]}, value={float(run.schedule(at_step))})"
    exact = built(exact_code, oracle, run.exact)
    if not is_reasonable(exact, limit):
        return None
    program = f"{run.program}\ns = {code}"
    rows = {"oc.rewarm": 2, "oc.cooldown": 1}.get(code.partition("(")[0], 0)
    if code.startswith("oc.splice"):
        # Under this name `splice` gives the number of rows of its table.
        counting = {"splice": lambda before, at_step, then: len(then.phases)}
        rows = built(code, types.SimpleNamespace(**vars(oc) | counting))
    schedule = shown(program, built, code, oc, run.schedule)
    return Run(schedule, exact, program, run.rows + rows, at_step)


def shown(program: str, function: Any, *arguments: Any) -> Any:
    """What the function gives; if it fails, the failure shows the program."""
    try:
        return function(*arguments)
    except Exception as error:
        error.add_note(program)
        raise


@functools.cache
def history(kind: str, seed: int) -> list[Run]:
    """A random table, and what it is after each of the edits."""
    rng, limit = random.Random(f"{kind} {seed}"), LIMITS[kind]
    code = random_table(rng, limit)
    exact = built(code, oracle)
    while not is_reasonable(exact, limit):
        code = random_table(rng, limit)
        exact = built(code, oracle)
    schedule = shown(code, built, code, oc)
    runs = [Run(schedule, exact, f"s = {code}", len(schedule.phases))]
    while len(runs) <= EDITS:
        code, at_step = random_edit(rng, runs[-1], limit)
        run = edited(runs[-1], code, at_step, limit)
        if run is not None:
            runs.append(run)
    return runs


# Comparison with the exact values.


class Truth(NamedTuple):
    """The exact values at some counts, and what the contract allows there."""

    counts: np.ndarray
    values: np.ndarray
    # The size of which a unit in the last place is taken.
    scales: np.ndarray
    # Whether the contract of a bent or rounded phase is meant: 16 units of its larger
    # end. For other phases it is 8 units of the value.
    bent: np.ndarray
    # Whether a value must be met to the bit, being an end of its phase.
    ends: np.ndarray
    # The bounds of the phase.
    lowest: np.ndarray
    highest: np.ndarray
    # Whether a boundary lies so near that either phase may be found.
    near: np.ndarray


def exact_counts(exact: oracle.Schedule, rng: random.Random) -> list[int]:
    """All counts of a short schedule; boundaries, ends and others of a long one."""
    end = exact.end
    if end <= LIMITS["short"]:
        return [*range(-1, int(end) + 4), LARGEST]
    counts = {-1, LARGEST}
    for time in (*exact.boundaries(end), end):
        counts |= {int(time) + k for k in (-1, 0, 1, 2)}
    counts |= {rng.randint(0, int(end)) for _ in range(300)}
    return sorted(count for count in counts if count <= LARGEST)


def unclear_counts(exact: oracle.Schedule) -> set[int]:
    """Those so near to a boundary that either phase may be found."""
    unclear = set()
    for time in (*exact.boundaries(exact.end), exact.end):
        slack, nearest = exact.slack(time), round(time)
        if slack and abs(time - nearest) <= max(slack, NEAR):
            # What is whole stays whole, unless it was stretched a million times.
            if time != nearest or slack > NEAR:
                unclear.add(nearest)
    return unclear


def truth(exact: oracle.Schedule, counts: list[int]) -> Truth:
    unclear = unclear_counts(exact)
    rows = []
    for count in counts:
        place = exact.locate(Fraction(max(count, 0)))
        phase, value = place.phase, float(place.value)
        bent = phase.is_bent or place.rounded
        larger = bent or phase.changes_sign
        is_end = place.fraction in (0, 1)
        scale = phase.larger_end if larger else abs(value)
        bounds = sorted([float(phase.init_value), float(phase.end_value)])
        rows.append((count, value, scale, bent, is_end, *bounds, count in unclear))
    return Truth(*(np.array(column) for column in zip(*rows, strict=True)))


def padded(counts: np.ndarray) -> np.ndarray:
    return np.resize(counts, NUM_COUNTS).astype(np.int32)


def units_off(truth: Truth, values: np.ndarray) -> np.ndarray:
    """The distance from the exact values, in units in the last place."""
    # Smaller values than the smallest normal number become 0 on most devices.
    scales = np.maximum(truth.scales, TINY).astype(np.float32)
    distance = abs(values.astype(np.float64) - truth.values)
    return np.where(truth.near, 0.0, distance / np.spacing(scales))


def disagreements(truth: Truth, values: np.ndarray, units: Any) -> list[str]:
    """What the contract does not allow, as text: at most the first few."""
    assert values.dtype == np.float32
    off = units_off(truth, values)
    stored = truth.values.astype(np.float32)
    bounds = (values >= truth.lowest) & (values <= truth.highest)
    problems = {
        "too far from the exact value": off > units,
        "not the end of its phase to the bit": truth.ends & (values != stored),
        "not within the ends of its phase": ~bounds,
    }
    return [
        f"at {truth.counts[k]}: {values[k]!r} is {problem}, "
        f"{truth.values[k]!r} ({off[k]:.2f} units)"
        for problem, found in problems.items()
        for k in np.flatnonzero(found & ~truth.near)[:3]
    ]


def assert_agrees(run: Run, truth: Truth, values: Any, units: Any) -> None:
    found = disagreements(truth, np.asarray(values)[: len(truth.counts)], units)
    assert not found, "\n".join([*found, run.program])


def device_units(truth: Truth) -> np.ndarray:
    return np.where(truth.bent, 16, 8)


@functools.cache
def last_truth(kind: str, seed: int) -> Truth:
    run = history(kind, seed)[-1]
    return truth(run.exact, exact_counts(run.exact, random.Random(seed)))


@jax.jit
def evaluate(schedule: Any, counts: Any) -> Any:
    return schedule(counts)


# After all edits.


@runs
def test_python_ints_agree_with_exact_arithmetic(kind, seed):
    run, exact = history(kind, seed)[-1], last_truth(kind, seed)
    values = np.array([run.schedule(int(count)) for count in exact.counts])
    assert_agrees(run, exact, values, 1)


@runs
def test_an_array_of_counts_agrees_with_exact_arithmetic(kind, seed):
    run, exact = history(kind, seed)[-1], last_truth(kind, seed)
    values = run.schedule(padded(exact.counts))
    assert_agrees(run, exact, values, device_units(exact))


@runs
def test_a_schedule_that_is_closed_over_agrees_with_exact_arithmetic(kind, seed):
    run, exact = history(kind, seed)[-1], last_truth(kind, seed)
    values = jax.jit(lambda counts: run.schedule(counts))(padded(exact.counts))
    assert_agrees(run, exact, values, device_units(exact))


@runs
def test_a_schedule_that_is_an_argument_agrees_with_exact_arithmetic(kind, seed):
    run, exact = history(kind, seed)[-1], last_truth(kind, seed)
    values = evaluate(run.schedule, padded(exact.counts))
    assert_agrees(run, exact, values, device_units(exact))


@sweep(("kind", "seed"), RUNS[:12], RUNS[:2])
def test_no_step_of_a_phase_goes_the_wrong_way(kind, seed):
    run, exact = history(kind, seed)[-1], last_truth(kind, seed)
    values = np.asarray(run.schedule(padded(exact.counts)))[: len(exact.counts)]
    boundaries = {-int(-time // 1) for time in run.exact.boundaries(LARGEST)}
    crosses = np.isin(exact.counts[1:], list(boundaries)) | exact.near[1:]
    wrong = np.sign(np.diff(values)) * np.sign(np.diff(exact.values)) < 0
    found = exact.counts[1:][wrong & ~crosses]
    assert not found.size, f"at {found[:3]}\n{run.program}"


@runs
def test_restarts_stay_at_their_steps(kind, seed):
    run = history(kind, seed)[-1]
    starts = {time for time in run.exact.restarts(run.exact.end) if time % 1 == 0}
    starts = sorted(map(int, starts - unclear_counts(run.exact)))
    stored = [run.exact.stored(count) for count in starts]
    on_host = [run.schedule(count) for count in starts]
    on_device = run.schedule(padded(np.array(starts)))[: len(starts)]
    program = f"{starts}\n{run.program}"
    assert on_host == stored, program
    assert on_device.tolist() == [float(value) for value in stored], program


@runs
def test_the_last_value_is_reached_at_the_end(kind, seed):
    for run in history(kind, seed):
        end = run.exact.end
        expected = float(end)
        if end.denominator == 1:
            assert run.schedule.total_steps == end, run.program
            assert isinstance(run.schedule.total_steps, int), run.program
        else:
            # A fraction of a step is stored in float32.
            assert abs(run.schedule.total_steps - expected) < NEAR, run.program


# After each edit.


@runs
def test_the_past_is_kept_to_the_bit(kind, seed):
    rng = random.Random(seed)
    for before, after in itertools.pairwise(history(kind, seed)):
        if after.at_step is None:
            continue
        counts = range(after.at_step)
        if len(counts) > 60:
            counts = {0, *counts[-5:], *(rng.choice(counts) for _ in range(50))}
        values = [after.schedule(count) for count in counts]
        expected = [before.schedule(count) for count in counts]
        assert values == expected, after.program
        line = after.program.rpartition("\n")[2]
        seam = before.schedule(after.at_step)
        if line.startswith(("s = oc.cooldown", "s = oc.rewarm")) and (
            "warmup_steps=0" not in line
        ):
            # The edit begins with the value of the schedule there, without a jump.
            assert after.schedule(after.at_step) == seam, after.program


@runs
def test_the_result_is_one_table(kind, seed):
    for number, run in enumerate(history(kind, seed)):
        assert len(jax.tree.leaves(run.schedule)) == 3, run.program
        assert len(run.schedule.phases) <= run.rows + number, run.program


@runs
def test_the_code_of_an_edited_schedule_builds_it(kind, seed):
    for run in history(kind, seed):
        code = repr(run.schedule)
        if "..." in code:
            continue
        assert len(code) < 2_000, run.program
        assert shown(f"{code}\n{run.program}", eval, code, vars(oc)) == run.schedule


# Short programs that random ones were reduced to when they failed.
ALL_WARMUP = "oc.warmup_cosine_annealing_schedule(0.3, 100, warmup_steps=100)"
NO_WARMUP = "oc.warmup_cosine_annealing_schedule(0.3, 100, warmup_steps=0)"
PROGRAMS = {
    "waits after reading ahead": (
        "oc.shift(oc.shift(oc.linear(0.3, 0.0, steps=42), 6), -1)"
    ),
    "waits without a warmup": f"oc.shift({NO_WARMUP}, -3)",
    "waits before a rewarm without a warmup": (
        f"oc.shift(oc.rewarm({NO_WARMUP}, at_step=0, peak_value=0.5, warmup_steps=0, "
        "decay_steps=5), -2)"
    ),
    "is read past its end without a decay": f"oc.shift({ALL_WARMUP}, 150)",
    "is extended within its last step": (
        "oc.extend(oc.linear(1.0, 0.0, steps=2.5), at_step=2, total_steps=30)"
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_failed_once_agrees_with_exact_arithmetic(name):
    code = PROGRAMS[name]
    run = Run(built(code, oc), built(code, oracle), code, 0)
    exact = truth(run.exact, exact_counts(run.exact, random.Random(0)))
    on_host = np.array([run.schedule(int(count)) for count in exact.counts])
    assert_agrees(run, exact, on_host, 1)
    on_device = run.schedule(padded(exact.counts))
    assert_agrees(run, exact, on_device, device_units(exact))
    assert run.schedule.total_steps == run.exact.end
    assert eval(repr(run.schedule), dict(vars(oc))) == run.schedule


# Edits with traced numbers.

TRACED_COUNTS = 128
TRACED: dict[str, Any] = {
    "splice": lambda s, then, at_step: oc.splice(s, at_step, then),
    "shift": lambda s, then, steps: oc.shift(s, steps),
    "stretch": lambda s, then, factor: oc.stretch(s, factor),
    "extend": lambda s, then, **numbers: oc.extend(s, **numbers),
    "cooldown": lambda s, then, **numbers: oc.cooldown(s, **numbers),
    "rewarm": lambda s, then, **numbers: oc.rewarm(s, **numbers),
}


# Tables of these shapes are built within the compiled functions, of traced numbers.
TRACED_SHAPES = ("linear", "cosine", "linear", "cosine")
Numbers = dict[str, Any]


def random_parts(rng: random.Random, limit: int) -> list[Numbers]:
    return [
        {
            "init_value": float(random_rate(rng)),
            "end_value": float(random_rate(rng)),
            "steps": float(random_steps(rng, limit)),
            "exponent": exponent,
            "time_exponent": time_exponent,
        }
        for exponent, time_exponent in rng.choices(
            [(1.0, 1.0), (0.5, 1.0), (3.0, 1.0), (1.0, 0.5), (2.0, 1.5)],
            [3, 1, 1, 1, 1],
            k=len(TRACED_SHAPES),
        )
    ]


def joined(module: Any, parts: list[Numbers]) -> Any:
    return module.join(
        *(
            getattr(module, shape)(
                part["init_value"],
                part["end_value"],
                **{name: part[name] for name in ("steps", "exponent", "time_exponent")},
            )
            for shape, part in zip(TRACED_SHAPES, parts, strict=True)
        )
    )


def random_numbers(rng: random.Random, kind: str, run: Run) -> dict[str, Any]:
    """Legal arguments of one edit; a factor is one that float32 holds."""
    end = run.exact.end
    if kind == "shift":
        return {"steps": rng.choice([rng.randint(1, int(end)), -rng.randint(1, 40)])}
    if kind == "stretch":
        return {"factor": rng.choice([0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0])}
    if kind == "extend":
        at_step = random_at_step(rng, run, -int(-end // 1) - 1)
        left = max(1, round((end - at_step) * Fraction(rng.uniform(0.4, 2.5))))
        return {"at_step": at_step, "total_steps": at_step + left}
    at_step = random_at_step(rng, run, int(end) + 3)
    if kind == "splice":
        return {"at_step": at_step}
    value = float(run.schedule(at_step))
    steps = rng.randint(1, 900)
    if kind == "cooldown":
        end_value = min(value, rng.choice([0.0, 0.25, 1.0]) * value)
        return {"at_step": at_step, "steps": steps, "end_value": end_value}
    # The value at `at_step` may be computed with a few roundings: 2 is above them all.
    return {
        "at_step": at_step,
        "peak_value": 2.0,
        "warmup_steps": rng.choice([1, rng.randint(1, 50)]),
        "decay_steps": steps,
        "end_value": rng.choice([0.0, 0.1, 2.0]),
    }


def exact_edit(kind: str, exact: Any, then: Any, numbers: Any, value: float) -> Any:
    if kind == "splice":
        return oracle.splice(exact, numbers["at_step"], then)
    if kind in ("cooldown", "rewarm"):
        numbers = numbers | {"value": value}
    return getattr(oracle, kind)(exact, **numbers)


def few_counts(exact: oracle.Schedule, rng: random.Random) -> list[int]:
    counts = {-1, LARGEST}
    for time in (*exact.boundaries(exact.end), exact.end):
        counts |= {int(time) + k for k in (-1, 0, 1)}
    counts |= {rng.randint(0, int(exact.end)) for _ in range(40)}
    return sorted(counts)[:TRACED_COUNTS]


def assert_traced_agrees(run: Run, exact: Truth, on_device: Any) -> None:
    """The values of a compiled edit, and the host's of the schedule that it gave."""
    units = device_units(exact)
    assert_agrees(run, exact, on_device, units)
    on_host = np.array([run.schedule(int(count)) for count in exact.counts])
    assert_agrees(run, exact, on_host, units)


def num_programs(function: Any) -> int:
    """How often a jitted function was compiled."""
    return function._cache_size()


def as_text(parts: Any, then: Any, kinds: Any, numbers: Any) -> str:
    return f"s: {parts}\nthen: {then}\n{kinds} {numbers}, traced, {TRACED_SHAPES}"


@sweep("kind", TRACED, ["rewarm"])
def test_an_edit_with_traced_numbers_agrees_with_exact_arithmetic(kind):
    rng, limit = random.Random(kind), LIMITS["short"]

    @jax.jit
    def edit(parts, then, numbers, counts):
        # All numbers are traced, those of the tables too.
        schedule = TRACED[kind](joined(oc, parts), joined(oc, then), **numbers)
        return schedule, schedule(counts)

    @jax.jit
    def edit_of_argument(schedule, then, numbers, counts):
        # What follows a schedule that is an argument is traced, so that the result may
        # have another structure. The values are the same.
        return TRACED[kind](schedule, then, **numbers)(counts)

    for _ in range(25):
        parts, then = random_parts(rng, limit), random_parts(rng, limit)
        run = Run(joined(oc, parts), joined(oracle, parts), "", 4)
        numbers = random_numbers(rng, kind, run)
        program = as_text(parts, then, kind, numbers)
        run = run._replace(program=program)
        at_step = numbers.get("at_step", 0)
        # The first value of the edit does not depend on these counts.
        arguments = (numbers, np.zeros(TRACED_COUNTS, np.int32))
        schedule, _ = jax.device_get(shown(program, edit, parts, then, *arguments))
        value = float(schedule(at_step))
        if kind in ("cooldown", "rewarm"):
            seam = truth(run.exact, [at_step])
            assert_agrees(run, seam, np.array([schedule(at_step)]), device_units(seam))
        exact = exact_edit(kind, run.exact, joined(oracle, then), numbers, value)
        if not is_reasonable(exact, LARGEST):
            continue
        counts = few_counts(exact, rng)
        arguments = (numbers, np.resize(counts, TRACED_COUNTS).astype(np.int32))
        _, on_device = edit(parts, then, *arguments)
        after, expected = Run(schedule, exact, program, 8), truth(exact, counts)
        assert_traced_agrees(after, expected, on_device)
        on_device = edit_of_argument(run.schedule, joined(oc, then), *arguments)
        assert_agrees(after, expected, on_device, 16)
        assert abs(schedule.total_steps - float(exact.end)) < NEAR, program
        assert len(jax.tree.leaves(schedule)) == 3, program
    assert num_programs(edit) == num_programs(edit_of_argument) == 1


@pytest.mark.thorough
def test_a_chain_of_traced_edits_agrees_with_exact_arithmetic():
    kinds = ("cooldown", "extend", "rewarm", "shift", "stretch", "splice", "extend")

    @jax.jit
    def chain(parts, then, numbers, counts):
        schedules = [joined(oc, parts)]
        for kind, arguments in zip(kinds, numbers, strict=True):
            edit = TRACED[kind](schedules[-1], joined(oc, then), **arguments)
            schedules.append(edit)
        return schedules[1:], schedules[-1](counts)

    rng, limit = random.Random(0), LIMITS["short"]
    for _ in range(10):
        parts, then = random_parts(rng, limit), random_parts(rng, limit)
        # The numbers are drawn for the schedule as it is without tracing.
        plain, numbers = Run(joined(oc, parts), joined(oracle, parts), "", 4), []
        exact_then = joined(oracle, then)
        for kind in kinds:
            arguments = random_numbers(rng, kind, plain)
            value = float(plain.schedule(arguments.get("at_step", 0)))
            numbers.append(arguments)
            plain = Run(
                TRACED[kind](plain.schedule, joined(oc, then), **arguments),
                exact_edit(kind, plain.exact, exact_then, arguments, value),
                "",
                0,
            )
        if not is_reasonable(plain.exact, LARGEST):
            continue
        counts = few_counts(plain.exact, rng)
        program = as_text(parts, then, kinds, numbers)
        padding = np.resize(counts, TRACED_COUNTS).astype(np.int32)
        schedules, on_device = shown(program, chain, parts, then, numbers, padding)
        schedules, exact = jax.device_get(schedules), joined(oracle, parts)
        for kind, edit, schedule in zip(kinds, numbers, schedules, strict=True):
            value = float(schedule(edit.get("at_step", 0)))
            exact = exact_edit(kind, exact, exact_then, edit, value)
        assert len(jax.tree.leaves(schedules)) == 3 * len(kinds)
        after = Run(schedules[-1], exact, program, 0)
        assert_traced_agrees(after, truth(exact, counts), on_device)
    assert num_programs(chain) == 1


# A schedule without end, which is not one table.


def size(schedule: Any) -> dict[str, int]:
    def equations(jaxpr) -> int:
        # Those of inner jaxprs are printed too.
        return str(jaxpr).count(" = ")

    closed = jax.make_jaxpr(lambda count: schedule(count))(jnp.int32(0))
    argument = jax.make_jaxpr(lambda s, count: s(count))(schedule, jnp.int32(0))
    return {
        "leaves": len(jax.tree.leaves(schedule)),
        "equations if closed over": equations(closed),
        "equations if an argument": equations(argument),
        "characters": len(repr(schedule)),
    }


def edit_of_endless(rng: random.Random, run: Run, earliest: int) -> tuple[str, int]:
    end = int(run.exact.end)
    kind = rng.choice(["cooldown", "extend"])
    at_step = rng.randint(min(earliest, end - 1), end - 1)
    if kind == "cooldown":
        return f"oc.cooldown(s, at_step={at_step}, steps={rng.randint(5, 60)})", at_step
    total_steps = max(at_step + 5, end + rng.randint(-5, 40))
    return f"oc.extend(s, at_step={at_step}, total_steps={total_steps})", at_step


@pytest.mark.thorough
@pytest.mark.parametrize("when", ["later and later", "at any step"])
def test_edits_of_an_endless_schedule_grow_it_by_a_constant(when):
    rng = random.Random(when)
    code = "oc.join(oc.linear(0.0, 0.1, steps=5), oc.cosine_restarts_schedule(0.1, 10))"
    run = Run(built(code, oc), built(code, oracle), f"s = {code}", 2)
    code, at_step = "oc.cooldown(s, at_step=33, steps=50)", 33
    sizes = []
    for _ in range(EDITS + 1):
        after = edited(run, code, at_step, LARGEST)
        if after is not None:
            values = range(at_step)
            past = [run.schedule(count) for count in values]
            assert [after.schedule(count) for count in values] == past, after.program
            run = after
            sizes.append(size(run.schedule))
        code, at_step = edit_of_endless(rng, run, at_step if "later" in when else 0)
    for name, first in sizes[0].items():
        of_edits = [of_edit[name] for of_edit in sizes]
        # If every edit doubled the schedule, a few edits would exceed these bounds.
        message = f"{name}: {of_edits}\n{run.program}"
        assert np.diff(of_edits).max() <= 10 * first, message
        assert of_edits[-1] <= EDITS * first, message
    exact = truth(run.exact, exact_counts(run.exact, rng))
    assert_agrees(run, exact, [run.schedule(int(c)) for c in exact.counts], 1)
    units = np.full(len(exact.counts), 16)
    for values in (
        run.schedule(padded(exact.counts)),
        jax.jit(lambda counts: run.schedule(counts))(padded(exact.counts)),
        evaluate(run.schedule, padded(exact.counts)),
    ):
        assert_agrees(run, exact, values, units)
