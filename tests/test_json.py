"""Schedules through JSON, and what cannot be read."""

import contextlib
import math

import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, FEW, plain
from hypothesis import given
from hypothesis import strategies as st
from programs import padded, table_of, through_json
from sweeps import sweep

import optax_cosine as oc

RESTARTS = oc.cosine_restarts_schedule(1.0, 10)
TABLE = oc.join(oc.linear(0.0, 0.1, steps=3.3), oc.cosine(0.1, 0.0, steps=9))
PRODUCT = TABLE * RESTARTS
SPLICED = oc.splice(RESTARTS, 5.25, TABLE)
STAIRCASE = oc.staircase(TABLE, 3)
CLOCKED = oc.stretch(oc.shift(RESTARTS, 2.5), 1.1)
EXTENDED = oc.extend(STAIRCASE, at_step=7, total_steps=60)
KINDS = {
    "table": TABLE,
    "product": PRODUCT,
    "spliced": SPLICED,
    "staircase": STAIRCASE,
    "clocked": CLOCKED,
    "cut row": oc.cooldown(TABLE, at_step=7, steps=4),
    "waiting": oc.shift(TABLE, -2.5),
    "extended table": oc.extend(TABLE, at_step=7, total_steps=31),
    "extended product": oc.extend(TABLE * TABLE, at_step=7, total_steps=31),
    "extended staircase": EXTENDED,
    "waiting restarts": oc.shift(RESTARTS, -3),
    "nested": oc.splice(STAIRCASE * CLOCKED, 9, oc.splice(RESTARTS, 5, STAIRCASE)),
    "negative": -TABLE,
    "stack": oc.stack([TABLE, TABLE * 2]),
    "stack of combinations": oc.stack([SPLICED, oc.splice(TABLE, 2, RESTARTS)]),
    "stack of clocks": oc.stack([CLOCKED, oc.shift(RESTARTS, -1)]),
    "stack of stairs": oc.stack([STAIRCASE, oc.staircase(RESTARTS, 7)]),
}


def test_a_dict_of_a_schedule_says_what_it_is():
    schedule = oc.join(oc.linear(0.0, 0.5, steps=3), after="repeat")
    assert schedule.to_dict() == {
        "kind": "table",
        "dtype": "float32",
        "ends": [3],
        "clock_starts": [0],
        "clock_ends": [3],
        "shapes": ["linear"],
        "end_fracs": [0.0],
        "clock_start_fracs": [0.0],
        "clock_end_fracs": [0.0],
        "init_values": [0.0],
        "end_values": [0.5],
        "exponents": [1.0],
        "time_exponents": [1.0],
        "after": "repeat",
    }


def time(steps: float) -> dict[str, float]:
    return {"whole": int(steps), "frac": steps - int(steps)}


def test_a_dict_of_a_combination_holds_its_parts():
    table, restarts = TABLE.to_dict(), RESTARTS.to_dict()
    assert PRODUCT.to_dict() == {"kind": "product", "first": table, "second": restarts}
    assert SPLICED.to_dict() == {
        "kind": "spliced",
        "before": restarts,
        "at_step": time(5.25),
        "then": table,
    }
    assert STAIRCASE.to_dict() == {
        "kind": "clocked",
        "inner": table,
        "clock": {
            "kind": "clock",
            "every": 3,
            "at_count": time(0),
            "at_step": time(0),
            "steps": time(1),
            "counts": time(1),
        },
    }
    assert CLOCKED.to_dict() == {
        "kind": "clocked",
        "inner": restarts,
        "clock": {
            "kind": "clock",
            "every": 1,
            "at_count": time(0),
            "at_step": time(2.5),
            "steps": time(10),
            "counts": time(11),
        },
    }


rates = st.floats(-(2.0**99), 2.0**99, width=32).filter(
    lambda rate: rate == 0 or abs(rate) > 1e-30
)


@given(init=rates, end=rates, steps=st.floats(0.0078125, 2.0**20, width=32))
def test_no_bit_is_lost_on_the_way_through_json(init, end, steps):
    schedule = oc.join(oc.cosine(init, end, steps=steps), oc.constant(end, steps=0.1))
    assert through_json(schedule) == schedule


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_comes_back(name):
    schedule = KINDS[name]
    again = through_json(schedule)
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert repr(again) == repr(schedule)


@sweep("name", CASES, FEW[::2])
def test_every_case_comes_back_with_the_same_values(name):
    schedule, again = plain(name), through_json(plain(name))
    assert again == schedule
    counts = np.arange(-1, 130, dtype=np.int32)
    np.testing.assert_array_equal(again(counts), schedule(counts))
    assert [again(k) for k in range(130)] == [schedule(k) for k in range(130)]


def test_what_is_read_cannot_be_overwritten():
    with pytest.raises(ValueError, match="read-only"):
        table_of(through_json(TABLE)).floats[0] = 1.0


def test_a_padded_table_comes_back_equal():
    longer = padded(TABLE, 8)
    assert through_json(longer) == longer == TABLE


def test_float64_comes_back_under_x64(x64):
    schedule = oc.cosine_annealing_schedule(0.1, 10)
    assert through_json(schedule) == schedule
    assert schedule(jnp.int32(3)).dtype == np.float64


def test_a_dtype_that_is_written_is_the_dtype_that_is_read(x64):
    assert oc.cosine_annealing_schedule(0.1, 10).to_dict()["dtype"] == "float64"
    wide = oc.Schedule.from_dict(TABLE.to_dict() | {"dtype": "float64"})
    assert wide(jnp.int32(3)).dtype == wide(3).dtype == np.float64
    assert through_json(TABLE)(jnp.int32(3)).dtype == np.float32


HUGE = 2**31 - 1
WRONG_COLUMNS = [
    (
        {"kind": "tables"},
        r"kind of .* must be table, .* or clocked, got 'tables'",
    ),
    ({"kind": None}, "kind of .* must be .*, got None"),
    ({"kind": ["table"]}, r"kind of .* must be .*, got \['table'\]"),
    ({"kind": "clock"}, "kind of .* must be .* or clocked, got 'clock'"),
    ({"extra": 1}, "unknown keys: extra"),
    ({3: 1}, "unknown keys: 3"),
    ({"ends": []}, "must have one entry for each of ends"),
    ({"ends": [12, 3]}, r"ends must not fall, .* got \[12\.3.*, 3\.3.*\]"),
    ({"ends": [-1, 3]}, r"ends must be 0 or more, got \[-1, 3\]"),
    ({"ends": [0, 0], "end_fracs": [0.0, 0.0]}, "ends must .* end above 0"),
    ({"ends": [1.5, 3]}, r"ends cannot be read, got \[1\.5, 3\]"),
    ({"ends": [3, 2**31]}, "ends does not fit in int32"),
    ({"ends": [3, 10**30]}, "ends cannot be read"),
    ({"ends": "many"}, "ends cannot be read, got 'many'"),
    ({"ends": {"a": 1}}, "ends cannot be read, got {'a': 1}"),
    ({"ends": [[1], [2, 3]]}, r"ends cannot be read, got \[\[1\], \[2, 3\]\]"),
    ({"ends": [True, False]}, "ends cannot be read"),
    ({"ends": [math.nan, 3]}, r"ends cannot be read, got \[nan, 3\]"),
    ({"end_fracs": [-0.5, 0.0]}, r"end_fracs must be from 0 .*, got \[-0\.5"),
    ({"end_fracs": [1.0, 0.0]}, r"end_fracs must be from 0 to below 1, got \[1\.0"),
    ({"end_fracs": [math.nan, 0.0]}, "end_fracs does not fit in float32"),
    ({"end_fracs": 0.5}, "end_fracs must have one entry for each of ends"),
    ({"clock_starts": [0]}, "clock_starts must have one entry for each of ends"),
    ({"clock_starts": [4, 3]}, "clock_ends must not be below clock_starts, got"),
    (
        {"clock_starts": [-HUGE - 1, 3]},
        r"clock_starts must be -\(2\*\*31 - 1\) or more",
    ),
    ({"clock_ends": [3, -1]}, "clock_ends must not be below clock_starts, got"),
    ({"shapes": ["linear", "sine"]}, "shapes must be of linear, cosine"),
    ({"shapes": ["linear"]}, "shapes must have one entry for each of ends"),
    ({"shapes": [0, 1]}, r"shapes must be of linear, cosine, got \[0, 1\]"),
    ({"shapes": [["linear"], ["linear", "cosine"]]}, "shapes cannot be read"),
    ({"after": "stop"}, "after must be of hold, mirror, repeat, got 'stop'"),
    ({"after": 0}, "after must be of hold, mirror, repeat, got 0"),
    ({"after": ["hold"]}, "must have one entry for each"),
    ({"dtype": "int8"}, "dtype must be float32 or float64, got 'int8'"),
    ({"dtype": ["float32"]}, "dtype must be float32 or float64, got"),
    ({"dtype": "float64"}, "float64 can be read under jax_enable_x64"),
    ({"init_values": [0.1, None]}, "init_values cannot be read"),
    ({"init_values": [0.1, 0.2]}, "init_values does not fit in float32"),
    ({"init_values": [float("nan"), 0]}, "init_values does not fit in float32"),
    ({"init_values": [float("inf"), 0]}, "init_values does not fit in float32"),
    ({"init_values": [1e300, 0]}, "init_values does not fit in float32"),
    ({"init_values": [0.5]}, "init_values must have one entry for each of ends"),
    ({"end_values": [True, False]}, "end_values cannot be read"),
    ({"end_values": ["0", "1"]}, r"end_values cannot be read, got \['0', '1'\]"),
    ({"exponents": [0.0, 1.0]}, r"exponents must be 1\.2e-38 or more, got \[0\.0"),
    ({"exponents": [-1.0, 1.0]}, r"exponents must be 1\.2e-38 or more, got \[-1\.0"),
    ({"time_exponents": [1.0, 0]}, r"time_exponents must be 1\.2e-38 or more, got \[1"),
]


@pytest.mark.parametrize(("change", "message"), WRONG_COLUMNS)
def test_a_table_that_cannot_be_read_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        oc.Schedule.from_dict(TABLE.to_dict() | change)
    with pytest.raises(ValueError, match=message):
        oc.Schedule.from_dict(PRODUCT.to_dict() | {"first": TABLE.to_dict() | change})


WRONG_CLOCKS = [
    ({"every": 0}, ValueError, "every must be 1 or more, got 0"),
    ({"every": 1.5}, ValueError, r"every cannot be read, got 1\.5"),
    ({"every": "2"}, ValueError, "every cannot be read, got '2'"),
    ({"every": None}, ValueError, "every cannot be read, got None"),
    (
        {"every": [1, 2]},
        ValueError,
        r"a clock need one batch shape, got every \(2,\), at_count \(\)",
    ),
    ({"extra": 1}, ValueError, "unknown keys: extra"),
    ({"at_count": time(-1)}, ValueError, "at_count must be 0 or more, got -1"),
    ({"at_step": time(-HUGE - 1)}, ValueError, "at_step must be .* or more, got -2147"),
    ({"steps": time(0)}, ValueError, "steps must be 1 or more, got 0"),
    ({"counts": time(0)}, ValueError, "counts must be 1 or more, got 0"),
    ({"counts": time(2**31)}, ValueError, "counts does not fit in int32"),
    ({"counts": 3}, TypeError, "counts must be a dict, got 3"),
    ({"counts": {"whole": 3}}, ValueError, "missing keys of counts: frac"),
    ({"at_step": {"whole": [3], "frac": 0.0}}, ValueError, "whole and frac of at_step"),
    (
        {"at_step": {"whole": 3, "frac": 1.5}},
        ValueError,
        r"at_step_frac must be .* 1\.5",
    ),
    ({"at_step": {"whole": 3, "frac": math.nan}}, ValueError, "at_step_frac does not"),
]


@pytest.mark.parametrize(("change", "error", "message"), WRONG_CLOCKS)
def test_a_clock_that_cannot_be_read_is_refused_by_name(change, error, message):
    values = CLOCKED.to_dict()
    values["clock"] |= change
    with pytest.raises(error, match=message):
        oc.Schedule.from_dict(values)


WRONG_PARTS = [
    (CLOCKED, {"clock": 3}, TypeError, "clock must be a dict, got 3"),
    (SPLICED, {"at_step": 5}, TypeError, "at_step must be a dict, got 5"),
    (
        SPLICED,
        {"at_step": time(-1)},
        ValueError,
        r"at_step must be 0 or more, got \{'whole': -1",
    ),
    (SPLICED, {"at_step": time(2**31)}, ValueError, "at_step does not fit in int32"),
    (SPLICED, {"then": oc.stack([TABLE]).to_dict()}, ValueError, "one batch shape"),
    (
        PRODUCT,
        {"second": {"kind": "curve"}},
        ValueError,
        "kind of second must .*, got 'curve'",
    ),
    (PRODUCT, {"extra": 1}, ValueError, "unknown keys: extra"),
]


@pytest.mark.parametrize(("schedule", "change", "error", "message"), WRONG_PARTS)
def test_a_combination_that_cannot_be_read_is_refused_by_name(
    schedule, change, error, message
):
    with pytest.raises(error, match=message):
        oc.Schedule.from_dict(schedule.to_dict() | change)


# Without a check, these evaluate to NaN on a device.
BEYOND = [
    ({"init_values": [2.0**127, 0.0]}, "init_values"),
    ({"end_values": [-(2.0**127), 0.0]}, "end_values"),
    ({"exponents": [2.0**-140, 1.0]}, "exponents"),
]


@pytest.mark.parametrize(("change", "name"), BEYOND)
def test_numbers_that_no_builder_accepts_are_refused_by_name(change, name):
    with pytest.raises(ValueError, match=name):
        oc.Schedule.from_dict(TABLE.to_dict() | change)


@pytest.mark.parametrize(
    ("schedule", "key"),
    [
        (schedule, key)
        for schedule in (TABLE, PRODUCT, SPLICED, CLOCKED)
        for key in schedule.to_dict()
    ],
    ids=lambda x: x if isinstance(x, str) else x.to_dict()["kind"],
)
def test_every_missing_key_is_named(schedule, key):
    values = schedule.to_dict()
    del values[key]
    missing = "kind of .* must be" if key == "kind" else f"missing keys: {key}"
    with pytest.raises(ValueError, match=missing):
        oc.Schedule.from_dict(values)


@pytest.mark.parametrize("key", CLOCKED.to_dict()["clock"])
def test_every_missing_key_of_a_clock_is_named(key):
    values = CLOCKED.to_dict()
    del values["clock"][key]
    with pytest.raises(ValueError, match=f"missing keys: {key}"):
        oc.Schedule.from_dict(values)


HOSTILE = [None, "x", [], {}, True, -1, 2**40, math.nan, math.inf, 1e300, 10**400]
HOSTILE += [[1], [[1]], [None], [math.nan], [10**400], [1.5], [[]], [{}], b"x"]
HOSTILE += [np.zeros(2), ["a", "b"], [2**63, 2**63], object(), {"whole": 1}]
HOSTILE += [{"whole": [], "frac": []}, {"whole": [1], "frac": [0.0]}]


@pytest.mark.parametrize("schedule", [TABLE, PRODUCT, SPLICED, STAIRCASE, CLOCKED])
def test_whatever_is_written_in_a_dict_is_read_or_refused(schedule):
    values = schedule.to_dict()
    changed = [values | {key: x} for key in values for x in HOSTILE]
    clock = values.get("clock", {})
    changed += [values | {"clock": clock | {key: x}} for key in clock for x in HOSTILE]
    for each in changed:
        with contextlib.suppress(TypeError, ValueError):
            read = oc.Schedule.from_dict(each)
            assert np.isfinite([read(0), read(5)]).all(), each


@pytest.mark.parametrize("values", [None, "text", [1], 3])
def test_what_is_not_a_dict_is_refused(values):
    with pytest.raises(TypeError, match=r"(a schedule|second) must be a dict, got"):
        oc.Schedule.from_dict(values)
    with pytest.raises(TypeError, match=r"(a schedule|second) must be a dict, got"):
        oc.Schedule.from_dict(PRODUCT.to_dict() | {"second": values})
