"""Random nestings of all public functions, against exact arithmetic.

What is allowed is the table in docs/numerics.md. A nesting that fails is shrunk and
shown as a line of Python, in which `oc` is the package. To run ten thousand:
`NESTINGS=30 python -m pytest -m thorough tests/test_nestings.py`.
"""

import ast
import copy
import functools
import itertools
import os
import pathlib
import pickle
import random
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import mpmath
import nestings
import numpy as np
import optax
import oracle
import pytest
from nestings import LARGEST, LIMITS, Nesting
from programs import through_json

import optax_cosine as oc

# Every array of counts has this length, so that few programs are compiled.
NUM_COUNTS = 256
# A time that should be whole is stored as whole if its error is smaller than this.
NEAR = Fraction(1, 2**20)
TINY = float(np.finfo(np.float32).tiny)
# Units in the last place that the contract allows, and those of the larger end if the
# phase is bent or on a clock that is not whole.
DEVICE, BENT, BENT_64 = 8, 16, 64

ALL: Any = list(hypothesis.HealthCheck)
settings = hypothesis.settings(deadline=None, suppress_health_check=ALL)
TIMES = int(os.environ.get("NESTINGS", "1"))
many = hypothesis.settings(settings, max_examples=80 * TIMES)
thorough = pytest.mark.thorough


# --- The package and the exact schedule, built by the same code ---


class Both(NamedTuple):
    schedule: Any
    exact: oracle.Schedule

    def __mul__(self, other: Any) -> "Both":
        if isinstance(other, Both):
            return Both(self.schedule * other.schedule, self.exact * other.exact)
        return Both(self.schedule * other, self.exact * other)

    __rmul__ = __mul__

    def __truediv__(self, number: float) -> "Both":
        return Both(self.schedule / number, self.exact / number)

    def __neg__(self) -> "Both":
        return Both(-self.schedule, -self.exact)


# These edits begin with the value of the schedule, as it was rounded.
BEGIN_WITH_A_VALUE = "cooldown", "rewarm"


class Functions:
    """Stands for the package: `build` gets the name of a function, and arguments."""

    def __init__(self, build: Callable[..., Any]) -> None:
        self.build = build

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self.build, name)


def build_both(name: str, *arguments: Any, **keywords: Any) -> Both:
    schedule = getattr(oc, name)(
        *(x.schedule if isinstance(x, Both) else x for x in arguments), **keywords
    )
    exact_keywords = dict(keywords)
    if name in BEGIN_WITH_A_VALUE:
        at_step = keywords["at_step"]
        exact_keywords["value"] = float(arguments[0].schedule(at_step))
    exact = getattr(oracle, name)(
        *(x.exact if isinstance(x, Both) else x for x in arguments), **exact_keywords
    )
    return Both(schedule, exact)


def both_of(nesting: Nesting) -> Both:
    return eval(nesting.code, {"oc": Functions(build_both)})


# --- What the contract allows ---


class Truth(NamedTuple):
    """The exact values at some counts, and what is allowed there."""

    counts: np.ndarray
    values: np.ndarray
    # The largest distances from the exact values, on a device and on the host.
    device: np.ndarray
    host: np.ndarray
    # Whether a value is an end of its phase, which is met to the bit.
    ends: np.ndarray
    # The bounds of the phase.
    lowest: np.ndarray
    highest: np.ndarray
    # Whether a rounded boundary is so near that either phase may be found.
    unclear: np.ndarray
    # Whether a phase begins at this count or since the count before.
    begins: np.ndarray


def units(number: float, dtype: Any) -> float:
    return float(np.spacing(dtype(max(abs(number), TINY))))


def allowance(
    place: oracle.Place, count: int, dtype: Any, more: int
) -> tuple[Any, Any]:
    """How far the value of one phase may be from the exact one: device and host.

    `more` times the slack of a known time is that of a traced one.
    """
    phase, value = place.phase, float(place.value)
    is_rounded = place.rounded or more > 1
    is_larger = phase.is_bent or is_rounded or phase.changes_sign
    scale = phase.larger_end if is_larger else value
    number = BENT if phase.is_bent or is_rounded else DEVICE
    if dtype == np.float64:
        number = BENT_64 if phase.is_bent else number
    # The host keeps times in double precision.
    of_count, slack = Fraction(count, 2**52), more * place.slack
    is_whole = (place.fraction * place.length).denominator == 1
    is_wide = dtype == np.float64
    on_host = slack + (of_count if is_rounded or (is_wide and not is_whole) else 0)
    on_device = slack + (of_count if is_rounded else 0) + place.drift
    of_time = [mpmath.mpf(0), mpmath.mpf(0)]
    for k, steps in enumerate((on_device, on_host)):
        if steps and place.length:
            moved = (place.fraction + sign * steps / place.length for sign in (-1, 1))
            inside = (min(max(x, Fraction(0)), Fraction(1)) for x in moved)
            of_time[k] = max(abs(phase.value(x) - place.value) for x in inside)
    device = number * units(scale, dtype)
    if is_wide:
        return device + of_time[0], device + of_time[1]
    host = units(value, dtype) + 8 * units(phase.larger_end, np.float64)
    return device + of_time[0], host + of_time[1]


def truth_at(
    exact: oracle.Schedule, count: int, dtype: Any, more: int = 1
) -> tuple[Any, ...]:
    places = exact.places(Fraction(max(count, 0)))
    value = mpmath.fprod(place.value for place in places)
    errors = []
    for which in (0, 1):
        error, so_far = mpmath.mpf(0), mpmath.mpf(1)
        for place in places:
            allowed = allowance(place, max(count, 0), dtype, more)[which]
            error = error * (abs(place.value) + allowed) + abs(so_far) * allowed
            so_far *= place.value
        # Each product is rounded; the host multiplies in double precision.
        rounds = len(places) - 1 if which == 0 else 0
        error += rounds * units(float(value), dtype) / 2
        # Devices take what is smaller than their smallest normal number as 0.
        is_lost = which == 0 and abs(value) < float(np.finfo(dtype).tiny)
        errors.append(float(error + abs(value) if is_lost else error))
    is_single = len(places) == 1
    phase = places[0].phase
    bounds = sorted([float(phase.init_value), float(phase.end_value)])
    return (
        count,
        float(value) if dtype == np.float32 else value,
        *errors,
        is_single and places[0].fraction in (0, 1),
        *(bounds if is_single else (-np.inf, np.inf)),
        is_unclear(exact, count, more),
    )


def is_unclear(exact: oracle.Schedule, count: int, more: int) -> bool:
    for time in exact.boundaries(count + 2, max(count - 1, 0)):
        before = max(time - NEAR / 2, Fraction(0))
        sides = [nestings.promised_places(exact, side) for side in (time, before)]
        if not all(sides):
            return True
        slack = max(more * x.slack + x.drift for side in sides for x in side)
        # Stretches multiply the distance at which a time is stored as whole.
        if not slack or abs(time - count) > max(slack, 16 * NEAR):
            continue
        # What is whole stays whole, unless its error was multiplied.
        if time != count or slack > NEAR / 2:
            return True
    return False


def truth_of(
    exact: oracle.Schedule, counts: list[int], dtype: Any = np.float32, more: int = 1
) -> Truth:
    counts = promised_counts(exact, counts)
    rows = [truth_at(exact, count, dtype, more) for count in counts]
    begins = [True]
    for before, count in itertools.pairwise(counts):
        is_far = count - before > 9
        begins.append(
            is_far or bool(exact.boundaries(count + 1, max(before, 0) + NEAR))
        )
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Truth._make([*columns, np.array(begins)])


def promised_counts(exact: oracle.Schedule, counts: list[int]) -> list[int]:
    """The counts of which the contract speaks."""
    promised = [
        count
        for count in counts
        if nestings.promised_places(exact, Fraction(max(count, 0)))
    ]
    # Beyond 2**24 nothing is promised of laps with a fraction of a step.
    hypothesis.assume(promised)
    return promised


def chosen_counts(exact: oracle.Schedule) -> list[int]:
    """Counts at and beside boundaries, at ends, and anywhere."""
    rng = random.Random(0)
    end = 3 * LIMITS["short"] if exact.end is None else int(exact.end)
    counts = {-1, 0, 1, LARGEST, end - 1, end, end + 1, end + 2}
    windows = [0, end, *(rng.randint(0, min(2 * end, LARGEST)) for _ in range(4))]
    if exact.end is None:
        windows.append(rng.randint(0, LARGEST - 100))
    for start in windows:
        for time in exact.boundaries(start + 40, max(start - 40, 0))[:20]:
            counts |= {int(time) + k for k in (-1, 0, 1)}
        counts |= {start, start + 1, start + 2}
    counts |= {rng.randint(0, end) for _ in range(40)}
    possible = sorted(count for count in counts if -1 <= count <= LARGEST)
    if len(possible) > NUM_COUNTS:
        possible = sorted(rng.sample(possible, NUM_COUNTS))
    return possible


def assert_agrees(truth: Truth, values: Any, allowed: np.ndarray, what: str) -> None:
    values = np.asarray(values)[: len(truth.counts)]
    distance = np.array(
        [
            abs(float(mpmath.mpf(float(v)) - t))
            for v, t in zip(values, truth.values, strict=True)
        ]
    )
    stored = np.array([values.dtype.type(float(value)) for value in truth.values])
    problems = {
        "too far from": ~(distance <= allowed),
        "not, to the bit,": truth.ends & (values != stored),
        "outside the phase of": ~((values >= truth.lowest) & (values <= truth.highest)),
        # Steps of which both are of one phase.
        "a step in the wrong direction at": np.append(
            False,
            (np.diff(values) * np.sign(np.diff(stored)) < 0)
            & ~truth.begins[1:]
            & ~truth.unclear[:-1]
            & np.isfinite(truth.lowest[1:]),
        ),
    }
    found = [
        f"{what}: at {truth.counts[k]} {values[k]!r} is {problem} "
        f"{float(truth.values[k])!r}, {distance[k] / allowed[k]:.3f} of what is allowed"
        for problem, is_wrong in problems.items()
        for k in np.flatnonzero(is_wrong & ~truth.unclear)[:3]
    ]
    assert not found, "\n".join(found)


def test_what_is_allowed_here_is_what_the_documentation_promises():
    page = (pathlib.Path(__file__).parents[1] / "docs" / "numerics.md").read_text()
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", page, re.MULTILINE))
    of_end = "ulp of the larger end"
    for row, device, device_64 in (
        ("exponents 1, whole clocks, ends of one sign", DEVICE, DEVICE),
        ("clocks with fractions of steps, or built of traced numbers", BENT, BENT),
        ("an `exponent` or `time_exponent` other than 1", BENT, BENT_64),
    ):
        unit = "ulp" if device == DEVICE else of_end
        wide = f"{device_64} {unit}"
        assert rows[row] == f"{device} {unit} | 1 ulp | {wide} | {wide}"


# --- Ways to evaluate ---


@jax.jit
def as_argument(schedule: Any, counts: Any) -> Any:
    return schedule(counts)


def in_a_state(schedule: Any) -> Any:
    """The schedule as an optimizer state keeps it, with room for edits."""
    optimizer: Any = oc.inject_schedules(optax.sgd)(learning_rate=schedule)
    return optimizer.init(jnp.ones(1)).schedules["learning_rate"]


def padded(counts: Any) -> np.ndarray:
    return np.resize(np.asarray(counts), NUM_COUNTS).astype(np.int32)


def check_on_the_host(nesting: Nesting, both: Both) -> Truth:
    schedule, exact = both
    truth = truth_of(exact, chosen_counts(exact))
    values = np.array([schedule(int(count)) for count in truth.counts])
    assert values.dtype == np.float32
    assert_agrees(truth, values, truth.host, "host")
    if exact.end is None:
        assert schedule.total_steps == np.inf
    elif exact.end.denominator == 1:
        assert schedule.total_steps == exact.end
        assert isinstance(schedule.total_steps, int)
    else:
        assert abs(schedule.total_steps - float(exact.end)) < 1e-5
    is_table = len(jax.tree.leaves(schedule)) == 3
    assert is_table or not nesting.is_table
    return truth


def check_code(schedule: Any) -> None:
    code = repr(schedule)
    if "..." not in code:
        assert eval(code, dict(vars(oc))) == schedule


def check_copies(schedule: Any) -> None:
    pickled = pickle.loads(pickle.dumps(schedule))
    for twin in (through_json(schedule), pickled, copy.deepcopy(schedule)):
        assert twin == schedule
        assert hash(twin) == hash(schedule)
    str(schedule)


def assert_device_agrees(both: Both, truth: Truth, values: Any, what: str) -> None:
    assert values.dtype == both.schedule(0).dtype
    assert_agrees(truth, values, truth.device, what)


def check_in_a_state(both: Both, truth: Truth) -> None:
    """Tables in states have few shapes, so that they share few programs."""
    kept = in_a_state(both.schedule)
    if len(jax.tree.leaves(kept)) == 3:
        values = as_argument(kept, padded(truth.counts))
        assert_device_agrees(both, truth, values, "argument, compiled")


def check_compiled(both: Both, truth: Truth) -> None:
    counts = padded(truth.counts)
    values = as_argument(both.schedule, counts)
    assert_device_agrees(both, truth, values, "argument, compiled")
    values = jax.jit(lambda counts: both.schedule(counts))(counts)
    assert_device_agrees(both, truth, values, "closed over, compiled")


def check_by_operation(both: Both, truth: Truth) -> None:
    """Operation by operation, which compiles no program for each nesting."""
    counts, kept = padded(truth.counts), in_a_state(both.schedule)
    with jax.disable_jit():
        values = kept(counts)
        assert_device_agrees(both, truth, values, "argument")
        values = both.schedule(counts)
        assert_device_agrees(both, truth, values, "closed over")


DeviceCheck = Callable[[Both, Truth], None]


def check(nesting: Nesting, *device_checks: DeviceCheck) -> None:
    hypothesis.assume(nestings.is_in_range(nesting.exact))
    both = both_of(nesting)
    truth = check_on_the_host(nesting, both)
    check_code(both.schedule)
    check_copies(both.schedule)
    for check_on_the_device in device_checks:
        check_on_the_device(both, truth)


# --- Built in float64, or of traced numbers ---


def check_in_float64(nesting: Nesting, check_on_the_device: DeviceCheck) -> None:
    """Under x64, on the host and on the device."""
    hypothesis.assume(nestings.is_in_range(nesting.exact))
    with oracle.in_float64():
        both = both_of(nesting)
        truth = truth_of(both.exact, chosen_counts(both.exact), np.float64)
    values = np.array([both.schedule(int(count)) for count in truth.counts])
    assert values.dtype == np.float64
    assert_agrees(truth, values, truth.host, "host")
    check_code(both.schedule)
    check_copies(both.schedule)
    check_on_the_device(both, truth)


class Literals(ast.NodeTransformer):
    """Puts `numbers[0]`, `numbers[1]`, ... in place of the numbers of a nesting.

    What a traced number may round in another way stays as it is.
    """

    kept = ("num_cycles", "cycle_steps_factor", "pct_start")

    def __init__(self) -> None:
        self.numbers: list[Any] = []

    def visit_keyword(self, node: ast.keyword) -> Any:
        return node if node.arg in self.kept else self.generic_visit(node)

    def visit_List(self, node: ast.List) -> Any:
        return node

    def visit_Constant(self, node: ast.Constant) -> Any:
        if not isinstance(node.value, int | float):
            return node
        stored = np.int32 if isinstance(node.value, int) else np.float32
        self.numbers.append(stored(node.value))
        return ast.parse(f"numbers[{len(self.numbers) - 1}]", mode="eval").body


def check_traced(nesting: Nesting) -> None:
    """Built of traced numbers within a compiled function, and what that returned."""
    literals = Literals()
    tree = literals.visit(ast.parse(nesting.code, mode="eval"))
    code = compile(ast.fix_missing_locations(tree), "nesting", "eval")
    names = {"numbers": [x.item() for x in literals.numbers]}
    exact = eval(code, {"oc": oracle, **names})
    hypothesis.assume(nestings.is_in_range(exact))
    counts = promised_counts(exact, chosen_counts(exact))

    @jax.jit
    def built(numbers, counts):
        begins = []

        def build(name, *arguments, **keywords):
            if name in BEGIN_WITH_A_VALUE:
                begins.append(arguments[0](keywords["at_step"]))
            return getattr(oc, name)(*arguments, **keywords)

        schedule = eval(code, {"oc": Functions(build), "numbers": numbers})
        return schedule, schedule(counts), begins

    schedule, values, begins = jax.device_get(built(literals.numbers, padded(counts)))
    recorded = iter(begins)

    def build_exact(name, *arguments, **keywords):
        if name in BEGIN_WITH_A_VALUE:
            keywords["value"] = next(recorded).item()
        return getattr(oracle, name)(*arguments, **keywords)

    exact = eval(code, {"oc": Functions(build_exact), **names})
    truth = truth_of(exact, counts, more=8)
    # A boundary that was moved by a rounding is not met to the bit.
    loose = truth._replace(
        ends=np.zeros_like(truth.ends),
        lowest=truth.lowest - truth.device,
        highest=truth.highest + truth.device,
    )
    assert_agrees(loose, values, truth.device, "traced")
    values = np.array([schedule(int(count)) for count in truth.counts])
    assert_agrees(loose, values, truth.device, "traced, then on the host")
    check_copies(schedule)


# --- The tests ---

any_length = pytest.mark.parametrize("kind", LIMITS)


@any_length
@hypothesis.settings(settings, max_examples=25)
@hypothesis.given(data=st.data())
def test_a_random_nesting_agrees_with_exact_arithmetic(kind, data):
    check(data.draw(nestings.nestings(LIMITS[kind])), check_in_a_state)


@hypothesis.settings(settings, max_examples=6)
@hypothesis.given(nestings.nestings(LIMITS["short"]))
def test_a_random_nesting_agrees_compiled(nesting):
    check(nesting, check_compiled)


@hypothesis.settings(settings, max_examples=12)
@hypothesis.given(nestings.nestings(LIMITS["long"]))
def test_a_random_nesting_agrees_in_float64(x64, nesting):
    check_in_float64(nesting, check_in_a_state)


@hypothesis.settings(settings, max_examples=6)
@hypothesis.given(nestings.nestings(LIMITS["short"], depth=2))
def test_a_random_nesting_of_traced_numbers_agrees(nesting):
    check_traced(nesting)


@thorough
@any_length
@many
@hypothesis.given(data=st.data())
def test_many_nestings_agree_with_exact_arithmetic(kind, data):
    nesting = data.draw(nestings.nestings(LIMITS[kind]))
    check(nesting, check_in_a_state, check_by_operation)


@thorough
@any_length
@hypothesis.settings(many, max_examples=10 * TIMES)
@hypothesis.given(data=st.data())
def test_many_nestings_agree_compiled_and_of_traced_numbers(kind, data):
    nesting = data.draw(nestings.nestings(LIMITS[kind], depth=2))
    check(nesting, check_compiled)
    check_traced(nesting)


@thorough
@any_length
@hypothesis.settings(many, max_examples=30 * TIMES)
@hypothesis.given(data=st.data())
def test_many_nestings_agree_in_float64(x64, kind, data):
    check_in_float64(data.draw(nestings.nestings(LIMITS[kind])), check_by_operation)
