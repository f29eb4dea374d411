"""What a schedule shows: its code, its phases and its curve."""

import math
import warnings
from typing import Any

import jax
import numpy as np
import optax
import pytest
from cases import CASES, plain
from programs import padded
from sweeps import sweep

import optax_cosine as oc
from optax_cosine._display import sections_of, sparkline

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
            oc.shift(oc.linear(0.0, 1.0, steps=4), -3),
            ["0 3 hold 0 0", "3 7 linear 0 1", "7 hold 1 1"],
        ),
        (
            oc.shift(WARM, 500),
            ["0 9,500 cosine 0.0003 3e-05", "9,500 hold 3e-05 3e-05"],
        ),
        (
            oc.staircase(oc.linear(1.0, 0.0, steps=10), 7),
            ["0 70 linear 1 0", "70 hold 0 0"],
        ),
        (
            oc.stretch(oc.linear(1.0, 0.0, steps=10), 0.25),
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
    for section in sections_of(schedule.node)[0]:
        if section.start == int(section.start):
            value = schedule(int(section.start))
            assert value == pytest.approx(section.init_value, rel=1e-6, abs=1e-12)


def test_stairs_that_pass_over_a_boundary_start_with_the_value_there():
    parts = oc.linear(0.0, 1.0, steps=2.5), oc.linear(5.0, 0.0, steps=5)
    schedule = oc.staircase(oc.join(*parts), 2)
    assert rows(schedule)[1] == ["6", "16", "linear", "4.5", "0"]
    assert schedule(6) == 4.5


def test_an_endless_schedule_shows_three_laps_wherever_it_is_read_from():
    ahead = oc.shift(oc.cosine_restarts_schedule(1.0, 10), 105)
    assert str(ahead).splitlines()[1] == "▄▃▂▂▁██▇▇▆▄▃▂▂▁██▇▇▆▄▃▂▂▁██▇▇▆  0 to 29"


def test_what_is_not_finite_is_a_gap():
    height = sparkline([0.0, math.inf, 1.0, math.nan])
    assert height == "▁ █ "


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


def test_the_first_and_the_last_of_very_many_phases_are_printed():
    printed = rows(oc.cosine_restarts_schedule(1.0, [10] * 200))
    assert len(printed) == 17
    assert printed[12] == ["...", "...", "(185", "more)", "...", "..."]
    assert printed[11][:2] == ["110", "120"]
    assert printed[13][:2] == ["1,970", "1,980"]


def test_a_schedule_without_known_values_prints_its_structure():
    shown = []
    jax.jit(lambda schedule: shown.append((str(schedule), repr(schedule))))(WARM)
    stacked = oc.stack([WARM, WARM])
    for text, structure in (*shown, (str(stacked), repr(stacked))):
        assert text == structure
        assert text.startswith("Schedule(")
    assert shown[0][0].endswith(
        "(integers=int32[4, 3], floats=float32[7, 3], after=int32[])"
    )
    assert repr(stacked).startswith(
        "Schedule(batch_shape=(2,), integers=int32[2, 4, 3]"
    )


@pytest.mark.thorough
def test_a_stack_shows_its_curves_in_one_picture_in_a_notebook():
    shown = str(oc.stack([WARM, WARM * 0.5])._repr_html_())
    assert shown.startswith("a stack of 2 schedules<br><img ")
    many = str(oc.stack([WARM] * 120)._repr_html_())
    assert many.startswith("a stack of 120 schedules, of which 20 are not drawn<br>")
    traced = []
    jax.jit(lambda stack: traced.append(stack._repr_html_()))(oc.stack([WARM]))
    assert traced == [None]


def test_a_schedule_on_a_device_prints_its_values():
    assert str(jax.device_put(WARM)) == str(WARM)


def test_a_flat_curve_is_a_line_in_the_middle():
    assert sparkline([2.0] * 4) == "▅▅▅▅"
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"


def test_in_a_notebook_a_schedule_is_a_picture_and_a_table():
    page = str(oc.cooldown(WARM, at_step=4_000, steps=1_000)._repr_html_())
    assert page.startswith("<code>splice(join(linear(0.0, 0.0003, steps=500), ")
    assert 'src="data:image/png;base64,iVBOR' in page
    assert page.count("<tr>") == 5
    assert "<td>4,000</td><td>5,000</td><td>cosine</td>" in page


# --- Code that builds the schedule again ---

RESTARTS = oc.cosine_restarts_schedule(0.3, 7, cycle_warmup_steps=2)
MIRRORED = oc.join(oc.cosine(0.4, 0.0, steps=11.375), after="mirror")
BENT = oc.cosine(0.3, 0.1, steps=50, exponent=3.0, time_exponent=1.5)
EXTENDED = oc.extend(WARM, at_step=3_000, total_steps=17_777)


def twenty_edits() -> oc.Schedule:
    schedule = WARM
    for number in range(10):
        at_step = 600 + 900 * number
        schedule = oc.cooldown(schedule, at_step=at_step, steps=at_step)
        schedule = oc.rewarm(
            schedule,
            at_step=at_step + 50,
            peak_value=4e-4,
            warmup_steps=number,
            decay_steps=10_000,
        )
    return schedule


EXPRESSIONS = {
    **{name: plain(name) for name in CASES},
    "shares of a step": oc.join(oc.linear(0.0, 0.1, steps=3.3), BENT),
    "polynomial": oc.linear(0.3, 0.1, steps=40, exponent=2.0),
    "power of time": oc.linear(0.3, 0.1, steps=40, time_exponent=0.5),
    "read ahead": oc.shift(WARM, 700),
    "read ahead by a fraction": oc.shift(WARM, 0.25),
    "over": oc.shift(WARM, 20_000),
    "waiting": oc.shift(WARM, -700.5),
    "slower": oc.stretch(WARM, 1.1),
    "faster": oc.stretch(WARM, 1 / 3),
    "nearly nothing": oc.stretch(oc.linear(1.0, 0.5, steps=1), 2e-6),
    "slower and read ahead": oc.shift(oc.stretch(WARM, 2.75), 333),
    "cooled down": oc.cooldown(WARM, at_step=4_000, steps=1_000, shape="1-sqrt"),
    "spliced at a fraction": oc.splice(WARM, 4_000.5, oc.cosine(0.1, 0.0, steps=9.3)),
    "cooled down in the warm-up": oc.cooldown(WARM, at_step=7, steps=3),
    "cooled down after the end": oc.cooldown(WARM, at_step=11_000, steps=3),
    "extended": EXTENDED,
    "extended twice": oc.extend(EXTENDED, at_step=9_000, total_steps=40_000),
    "extended and cooled down": oc.cooldown(EXTENDED, at_step=9_000, steps=77),
    "rewarmed": oc.rewarm(
        WARM, at_step=9_000, peak_value=2e-4, warmup_steps=0, decay_steps=70
    ),
    "edited twenty times": twenty_edits(),
    "negated": -WARM,
    "scaled": WARM * (1 / 3),
    "repeated": RESTARTS,
    "mirrored": MIRRORED,
    "restarts read ahead": oc.shift(RESTARTS, 5),
    "restarts that wait": oc.shift(RESTARTS, -5),
    "restarts in slow motion": oc.stretch(RESTARTS, 1.1),
    "restarts that wait in slow motion": oc.stretch(oc.shift(RESTARTS, -5), 1.5),
    "restarts that wait for slow motion": oc.shift(oc.stretch(RESTARTS, 1.5), -5),
    "restarts, spliced": oc.splice(RESTARTS, 25, WARM),
    "restarts, cooled down": oc.cooldown(RESTARTS, at_step=25, steps=5),
    "restarts, edited twice": oc.cooldown(
        oc.rewarm(RESTARTS, at_step=25, peak_value=0.3, warmup_steps=2, decay_steps=30),
        at_step=40,
        steps=7,
    ),
    "stairs": oc.staircase(WARM, 7),
    "stairs read ahead": oc.shift(oc.staircase(WARM, 7), 3),
    "stairs in slow motion": oc.stretch(oc.staircase(WARM, 7), 1.5),
    "stairs, extended": oc.extend(oc.staircase(WARM, 7), at_step=9, total_steps=90_000),
    "stairs of stairs": oc.staircase(oc.staircase(RESTARTS, 3), 2),
    "a product of products": (WARM * RESTARTS) * (MIRRORED * WARM),
    "a product, extended": oc.extend(WARM * BENT, at_step=9, total_steps=90_000),
    "all of them": oc.splice(
        oc.stretch(RESTARTS * WARM, 1.5), 8, oc.staircase(BENT, 2)
    ),
}
# Numbers from arrays, which cannot be written with few digits.
EXPRESSIONS |= {
    f"random {seed}": oc.cooldown(
        oc.join(
            oc.linear(a, b, steps=1 + 10 * c),
            oc.cosine(b, d, steps=100 * a + 1, exponent=0.5 + c),
        ),
        at_step=round(a * 40),
        steps=round(1 + b * 7),
    )
    for seed in range(12)
    for a, b, c, d in [np.random.default_rng(seed).uniform(0, 1, 4).tolist()]
}
NAMES: dict[str, Any] = {name: getattr(oc, name) for name in oc.__all__}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_the_code_of_a_schedule_builds_an_equal_schedule(name):
    schedule = EXPRESSIONS[name]
    assert eval(repr(schedule), NAMES) == schedule


def test_reading_ahead_by_nothing_changes_nothing():
    assert oc.shift(WARM, 0) == WARM
    assert oc.shift(RESTARTS, 0) == RESTARTS
    assert oc.stretch(RESTARTS, 1) == RESTARTS


def test_code_is_as_a_user_would_write_it():
    codes = {
        "read ahead by a fraction": "shift(join(linear(0.0, 0.0003, steps=500), "
        "cosine(0.0003, 3e-05, steps=9500)), 0.25)",
        "cooled down": "splice(join(linear(0.0, 0.0003, steps=500), cosine(0.0003, "
        "3e-05, steps=9500)), 4000, linear(0.0002192289, 0.0, steps=1000, "
        "time_exponent=0.5))",
        "polynomial": "linear(0.3, 0.1, steps=40, exponent=2.0)",
        "mirrored": "join(cosine(0.4, 0.0, steps=11.375), after='mirror')",
        "restarts that wait": "shift(join(linear(0.0, 0.3, steps=2), "
        "cosine(0.3, 0.0, steps=5), after='repeat'), -5)",
        "stairs read ahead": "shift(staircase(join(linear(0.0, 0.0003, steps=500), "
        "cosine(0.0003, 3e-05, steps=9500)), 7), 3)",
    }
    assert {name: repr(EXPRESSIONS[name]) for name in codes} == codes


@sweep("phases", [65, 200, 12_345], [65, 200])
def test_code_that_is_too_long_says_how_many_phases_it_leaves_out(phases):
    schedule = oc.join(*[oc.cosine(1.0, 0.0, steps=10)] * phases, after="repeat")
    code = repr(schedule)
    assert f", ... {phases - 6:,} phases left out ..., " in code
    assert code.startswith("join(cosine(1.0, 0.0, steps=10), cosine(1.0,")
    assert code.endswith("cosine(1.0, 0.0, steps=10), after='repeat')")
    assert code.count("cosine(") == 6
    assert len(schedule.phases) == phases


def test_padding_is_not_shown():
    longer = padded(WARM, 16)
    assert repr(longer) == repr(WARM)
    assert str(longer) == str(WARM)
    assert longer.phases == WARM.phases


@pytest.mark.parametrize("edits", [1, 2, 8])
def test_the_code_grows_by_a_constant_with_each_edit(edits):
    schedule = oc.staircase(WARM, 3)
    lengths = [len(repr(schedule))]
    for number in range(edits):
        schedule = oc.splice(schedule, 100 * (number + 1), BENT)
        lengths.append(len(repr(schedule)))
    assert max(np.diff(lengths)) < 100


# --- Phases ---


def test_phases_are_numbers_of_python():
    assert WARM.phases == [
        (500, "linear", 0.0, 0.0003, 1.0, 1.0, 0, 500),
        (9_500, "cosine", 0.0003, 3e-05, 1.0, 1.0, 500, 10_000),
    ]
    types = [type(x) for x in WARM.phases[0]]
    assert types == [int, str, float, float, float, float, int, int]
    assert WARM.phases[0]._fields == (
        "steps",
        "shape",
        "init_value",
        "end_value",
        "exponent",
        "time_exponent",
        "clock_start",
        "clock_end",
    )


def test_phases_of_no_steps_are_not_listed():
    at_once = oc.warmup_cosine_annealing_schedule(1.0, 9, warmup_steps=0)
    assert at_once.phases == [(9, "cosine", 1.0, 0.0, 1.0, 1.0, 0, 9)]


def test_the_phases_of_a_lap_are_those_of_an_endless_schedule():
    assert [phase.steps for phase in RESTARTS.phases] == [2, 5]
    assert [phase.steps for phase in MIRRORED.phases] == [11.375]


EDITED = {
    "cooled down": (
        oc.cooldown(WARM, at_step=4_000, steps=1_000),
        [(500, 0, 500), (3_500, 500, 10_000), (1_000, 4_000, 5_000)],
    ),
    "read ahead": (
        oc.shift(WARM, 700),
        [(9_300, -200, 9_300)],
    ),
    "waiting": (
        oc.shift(oc.linear(0.0, 1.0, steps=4), -3),
        [(7, 3, 7)],
    ),
    "slower": (
        oc.stretch(WARM, 1.5),
        [(750, 0, 750), (14_250, 750, 15_000)],
    ),
    "extended": (
        oc.extend(WARM, at_step=5_250, total_steps=14_750),
        [(500, 0, 500), (4_750, 500, 10_000), (9_500, -4_250, 14_750)],
    ),
    "rewarmed": (
        oc.rewarm(
            WARM, at_step=9_000, peak_value=2e-4, warmup_steps=20, decay_steps=70
        ),
        [(500, 0, 500), (8_500, 500, 10_000), (20, 9_000, 9_020), (70, 9_020, 9_090)],
    ),
    "over": (oc.shift(WARM, 20_000), [(1, -19_500, -10_000)]),
}


@pytest.mark.parametrize("name", EDITED)
def test_an_edited_table_lists_how_long_each_phase_plays_and_on_which_clock(name):
    schedule, expected = EDITED[name]
    found = [(x.steps, x.clock_start, x.clock_end) for x in schedule.phases]
    assert found == expected
    assert sum(phase.steps for phase in schedule.phases) == schedule.total_steps


def test_phases_on_a_device_are_the_same():
    assert jax.device_put(EXTENDED).phases == EXTENDED.phases


@pytest.mark.parametrize(
    "schedule",
    [
        WARM * RESTARTS,
        oc.staircase(WARM, 2),
        oc.shift(RESTARTS, 2),
        oc.splice(RESTARTS, 5, WARM),
    ],
)
def test_what_is_not_a_table_has_no_phases_and_says_why(schedule):
    with pytest.raises(
        AttributeError,
        match=r"is not one table of phases, and so it has no `phases`: it is a "
        "product, a staircase, or an endless schedule that was edited",
    ):
        _ = schedule.phases
    assert not hasattr(schedule, "phases")


def test_the_phases_of_a_traced_schedule_are_refused():
    message = "this needs the values of the schedule, but it is traced by JAX"
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda schedule: schedule.phases)(WARM)
