"""What a schedule prints: its phases and its curve."""

import math
import warnings

import jax
import numpy as np
import optax
import pytest
from cases import CASES, plain

import optax_cosine as oc
from optax_cosine import _text

WARM = oc.warmup_cosine_annealing_schedule(
    3e-4, 10_000, warmup_steps=500, end_value=3e-5
)


def rows(schedule) -> list[list[str]]:
    """From step, to, shape, init_value and end_value of each phase, as printed."""
    return [line.split() for line in str(schedule).splitlines()[3:]]


def test_a_schedule_prints_its_expression_its_curve_and_its_phases():
    assert str(WARM).splitlines() == [
        "join(linear(0.0, 0.0003, steps=500), cosine(0.0003, 3e-05, steps=9500))",
        "▁▃▆███████████▇▇▇▇▇▇▇▇▆▆▆▆▆▆▅▅▅▅▅▄▄▄▄▄▄▃▃▃▃▃▃▃▃▂▂▂▂▂▂▂▂▂▂▂▂▂  0 to 10,000",
        "from step      to  shape   init_value  end_value",
        "        0     500  linear           0     0.0003",
        "      500  10,000  cosine      0.0003      3e-05",
        "   10,000          hold         3e-05      3e-05",
    ]


@pytest.mark.parametrize(
    ("schedule", "printed"),
    [
        (
            oc.join(oc.linear(0.0, 1.0, steps=4), after="mirror"),
            ["0 4 linear 0 1", "4 mirror 1 0"],
        ),
        (
            oc.cooldown(oc.cosine_restarts_schedule(1.0, 10), at_step=25, steps=5),
            [
                "0 10 cosine 1 0",
                "10 25 repeat 1 0.5",
                "25 30 cosine 0.5 0",
                "30 hold 0 0",
            ],
        ),
        (
            oc.retime(oc.linear(0.0, 1.0, steps=4), offset=-3),
            ["0 3 hold 0 0", "3 7 linear 0 1", "7 hold 1 1"],
        ),
        (
            oc.retime(WARM, offset=500),
            ["0 9,500 cosine 0.0003 3e-05", "9,500 hold 3e-05 3e-05"],
        ),
        (
            oc.retime(oc.linear(1.0, 0.0, steps=10), every=7),
            ["0 70 linear 1 0", "70 hold 0 0"],
        ),
        (
            oc.retime(oc.linear(1.0, 0.0, steps=10), stretch=0.25),
            ["0 2.50 linear 1 0", "2.50 hold 0 0"],
        ),
        (
            oc.linear(0.0, 1.0, steps=4) * oc.constant(0.5, steps=8),
            [
                "0 4 linear * constant 0 0.5",
                "4 8 hold * constant 0.5 0.5",
                "8 hold * hold 0.5 0.5",
            ],
        ),
        (
            oc.warmup_cosine_annealing_schedule(1.0, 9, warmup_steps=0),
            ["0 9 cosine 1 0", "9 hold 0 0"],
        ),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, oc.Schedule) else "",
)
def test_every_kind_of_schedule_prints_its_phases(schedule, printed):
    assert rows(schedule) == [line.split() for line in printed]


@pytest.mark.parametrize("name", CASES)
def test_each_phase_starts_where_and_with_what_is_printed(name):
    schedule = plain(name)
    for piece in schedule._pieces():
        if piece.start == int(piece.start):
            value = schedule(int(piece.start))
            assert value == pytest.approx(piece.init_value, rel=1e-6, abs=1e-12)


def test_stairs_that_pass_over_a_boundary_start_with_the_value_there():
    parts = oc.linear(0.0, 1.0, steps=2.5), oc.linear(5.0, 0.0, steps=5)
    schedule = oc.retime(oc.join(*parts), every=2)
    assert rows(schedule)[1] == ["6", "16", "linear", "4.5", "0"]
    assert schedule(6) == 4.5


def test_what_has_no_end_shows_a_whole_lap_wherever_it_is_read_from():
    ahead = oc.retime(oc.cosine_restarts_schedule(1.0, 10), offset=105)
    assert str(ahead).splitlines()[1] == "▄▃▂▂▁██▇▇▆▄  0 to 10"


def test_a_product_beyond_float32_is_still_shown():
    height = _text.curve([0.0, math.inf, 1.0, math.nan])
    assert height == "▁ █ "
    largest = oc.constant(1.7e38, steps=4) * oc.constant(1.7e38, steps=4)
    with np.errstate(over="ignore"):
        assert str(largest).splitlines()[1] == "       0 to 4"


@pytest.mark.parametrize(
    "change",
    [
        lambda leaf: leaf[::-1] if leaf.ndim else leaf,
        lambda leaf: -leaf,
        lambda leaf: leaf if leaf.dtype.kind == "f" else optax.MaskedNode(),
        lambda leaf: leaf if leaf.dtype.kind == "f" else None,
        lambda leaf: leaf * np.nan if leaf.dtype.kind == "f" else leaf,
    ],
    ids=["reversed", "negated", "masked", "partial", "nan"],
)
@pytest.mark.parametrize("name", ["warm-up", "restarts for ever", "stairs", "product"])
def test_whatever_is_mapped_into_a_schedule_is_shown(name, change):
    strange = jax.tree.map(change, plain(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert repr(strange)
        assert str(strange)
        strange._repr_html_()


def test_of_very_many_phases_the_first_and_the_last_are_printed():
    printed = rows(oc.cosine_restarts_schedule(1.0, [10] * 200))
    assert len(printed) == 17
    assert printed[12] == ["...", "...", "(185", "more)", "...", "..."]
    assert printed[11][:2] == ["110", "120"]
    assert printed[13][:2] == ["1,970", "1,980"]


def test_what_has_no_values_here_prints_as_its_structure():
    shown = []
    jax.jit(lambda schedule: shown.append((str(schedule), repr(schedule))))(WARM)
    stacked = oc.stack([WARM, WARM])
    for text, structure in (*shown, (str(stacked), repr(stacked))):
        assert text == structure
        assert text.startswith("Table(")
    assert stacked._repr_html_() is None


def test_a_schedule_on_a_device_prints_its_values():
    assert str(jax.device_put(WARM)) == str(WARM)


def test_a_flat_curve_is_a_line_in_the_middle():
    assert _text.curve([2.0] * 4) == "▅▅▅▅"
    assert _text.curve([0.0, 0.5, 1.0]) == "▁▅█"


def test_in_a_notebook_a_schedule_is_a_picture_and_a_table():
    page = str(oc.cooldown(WARM, at_step=4_000, steps=1_000)._repr_html_())
    assert page.startswith("<code>splice(join(linear(0.0, 0.0003, steps=500), ")
    assert 'src="data:image/png;base64,iVBOR' in page
    assert page.count("<tr>") == 5
    assert "<td>4,000</td><td>5,000</td><td>cosine</td>" in page
