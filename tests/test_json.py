"""Schedules through JSON, and what cannot be read."""

import copy
import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import optax_cosine as oc

TABLE = oc.join(oc.linear(0.0, 0.1, steps=3.3), oc.cosine(0.1, 0.0, steps=9))
RETIMED = oc.retime(TABLE, stretch=1.1)
SPLICED = oc.splice(TABLE, 5, RETIMED * TABLE)


def test_a_dict_of_a_schedule_says_what_it_is():
    schedule = oc.join(oc.linear(0.0, 0.5, steps=3), after="repeat")
    assert schedule.to_dict() == {
        "kind": "table",
        "dtype": "float32",
        "ends": [3],
        "end_parts": [0.0],
        "shapes": ["linear"],
        "init_values": [0.0],
        "end_values": [0.5],
        "exponents": [1.0],
        "time_exponents": [1.0],
        "after": "repeat",
    }


rates = st.floats(-(2.0**99), 2.0**99, width=32).filter(
    lambda rate: rate == 0 or abs(rate) > 1e-30
)


@given(init=rates, end=rates, steps=st.floats(0.0078125, 2.0**20, width=32))
def test_no_bit_is_lost_on_the_way_through_json(init, end, steps):
    schedule = oc.join(oc.cosine(init, end, steps=steps), oc.constant(end, steps=0.1))
    assert oc.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


@pytest.mark.parametrize(
    "schedule", [TABLE, RETIMED, SPLICED, oc.stack([TABLE, TABLE])]
)
def test_every_kind_comes_back(schedule):
    again = oc.from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert again == schedule
    assert hash(again) == hash(schedule)


def test_float64_comes_back_under_x64(x64):
    schedule = oc.cosine_annealing_schedule(0.1, 10)
    assert oc.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule
    assert schedule(jnp.int32(3)).dtype == np.float64


WRONG = [
    (TABLE, {"kind": "tables"}, r"kind must be one of table, .*, got 'tables'"),
    (TABLE, {"kind": None}, "kind must be one of .*, got None"),
    (TABLE, {"extra": 1}, "unknown in a table: extra"),
    (TABLE, {"ends": ...}, "missing in a table: ends"),
    (TABLE, {"ends": [3]}, "must have one entry for each of ends"),
    (TABLE, {"ends": [], "end_parts": []}, "must have one entry for each of ends"),
    (TABLE, {"ends": [12, 3]}, r"ends must not fall, got \[12, 3\]"),
    (TABLE, {"ends": [-1, 3]}, r"ends must not fall, got \[-1, 3\]"),
    (TABLE, {"ends": [1.5, 3]}, r"ends cannot be read, got \[1\.5, 3\]"),
    (TABLE, {"ends": [3, 2**31]}, r"ends does not fit in int32|ends cannot be read"),
    (TABLE, {"ends": "many"}, "ends cannot be read, got 'many'"),
    (TABLE, {"ends": [[1], [2, 3]]}, r"ends cannot be read, got \[\[1\], \[2, 3\]\]"),
    (TABLE, {"shapes": ["linear", "sine"]}, "shapes must be of linear, cosine"),
    (TABLE, {"after": "stop"}, "after must be of hold, mirror, repeat, got 'stop'"),
    (TABLE, {"after": ["hold"]}, "after must have one entry for each schedule"),
    (TABLE, {"dtype": "int8"}, "dtype must be one of float32, float64, got 'int8'"),
    (TABLE, {"init_values": [0.1, None]}, "init_values cannot be read"),
    (TABLE, {"init_values": [0.1, 0.2]}, "init_values does not fit in float32"),
    (TABLE, {"init_values": [float("nan"), 0]}, "init_values does not fit|must be"),
    (TABLE, {"init_values": [float("inf"), 0]}, "init_values does not fit"),
    (TABLE, {"exponents": [0.0, 1.0]}, r"exponents must be above 0, got \[0\.0"),
    (TABLE, {"end_parts": [-0.5, 0.0]}, r"end_parts must be from 0 to 1, got \[-0\.5"),
    (TABLE, {"ends": [True, False]}, "ends cannot be read"),
    (TABLE, {"end_values": [True, False]}, "end_values cannot be read"),
    (TABLE, {"shapes": [["linear"], ["linear", "cosine"]]}, "shapes cannot be read"),
    (TABLE, {"dtype": np.zeros(2)}, "dtype must be one of"),
    (TABLE, {"dtype": "float64"}, "float64 can be read under jax_enable_x64"),
    (RETIMED, {"counts": [0, 0.0]}, r"counts is out of range, got \[0, 0\.0\]"),
    (RETIMED, {"steps": [-1, 0.0]}, r"steps is out of range, got \[-1, 0\.0\]"),
    (RETIMED, {"every": 0}, "every must be 1 or more, got 0"),
    (RETIMED, {"every": [1, 2]}, "must have the batch shape"),
    (SPLICED, {"at_step": [-1, 0.0]}, "at_step is out of range"),
    (SPLICED, {"at_step": [[1], [0.0]]}, "must have the batch shape"),
    (RETIMED, {"counts": [1]}, r"counts must be a whole and a part, got \[1\]"),
    (RETIMED, {"every": "2"}, "every cannot be read, got '2'"),
    (SPLICED, {"then": ...}, "missing in a spliced: then"),
]


@pytest.mark.parametrize(("schedule", "change", "message"), WRONG)
def test_what_cannot_be_read_is_refused_by_name(schedule, change, message):
    values = copy.deepcopy(schedule.to_dict()) | change
    values = {name: value for name, value in values.items() if value is not ...}
    with pytest.raises(ValueError, match=message):
        oc.from_dict(values)


@pytest.mark.parametrize("values", [None, "text", [1], 3])
def test_what_is_no_dict_is_refused(values):
    with pytest.raises(TypeError, match="a schedule is read from a dict, got"):
        oc.from_dict(values)
