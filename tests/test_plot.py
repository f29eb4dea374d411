"""Curves on an axis, drawn from any schedules."""

import math
import sys

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
from matplotlib.figure import Figure

import optax_cosine as oc

mpl.use("Agg")

COSINE = oc.cosine_annealing_schedule(0.1, 100)
WARM = oc.warmup_cosine_annealing_schedule(0.2, 400, warmup_steps=50)


@pytest.fixture
def ax():
    return Figure().add_subplot()


def drawn(line) -> list[np.float32]:
    """The drawn values as the schedule rounds them."""
    return [np.float32(value) for value in line.get_ydata()]


def starts_of_phases(ax) -> list[list[float]]:
    return [[x for (x, _), _ in c.get_segments()] for c in ax.collections]


def test_the_curve_is_that_of_the_schedule_to_its_end(ax):
    assert oc.plot(WARM, ax=ax) is ax
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(401))
    assert drawn(line) == [WARM(count) for count in range(401)]
    assert starts_of_phases(ax) == [[50, 400]]
    assert ax.get_legend() is None
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "optimizer updates",
        "value of the schedule",
    )


def test_several_are_drawn_to_the_last_end_and_named(ax):
    oc.plot([COSINE, WARM * 0.5], ax=ax)
    assert [line.get_xdata()[-1] for line in ax.lines] == [400, 400]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[0] == "0: cosine(0.1, 0.0, steps=100)"
    assert labels[1].startswith("1: join(linear(0.0, 0.1, steps=50), cos")
    assert labels[1].endswith("...")
    assert max(map(len, labels)) == 50


def test_a_dict_has_the_names_of_the_legend(ax):
    oc.plot({"mine": COSINE}, ax=ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["mine"]


def test_any_function_is_drawn_for_so_many_steps(ax):
    theirs = optax.linear_schedule(1.0, 0.0, 10)
    oc.plot({"ours": COSINE, "Optax": theirs}, total_steps=20, ax=ax)
    assert ax.lines[1].get_ydata()[:3] == pytest.approx([1.0, 0.9, 0.8])
    assert [len(line.get_xdata()) for line in ax.lines] == [21, 21]
    with pytest.raises(ValueError, match="total_steps is needed for a function that"):
        oc.plot(theirs, ax=ax)


def test_three_laps_of_an_endless_schedule_are_drawn(ax):
    oc.plot(oc.cosine_restarts_schedule(1.0, 10), ax=ax)
    line = ax.lines[0]
    # At step 30 a fourth lap starts.
    assert line.get_xdata()[-1] == 29
    assert [line.get_ydata()[count] for count in (0, 10, 20)] == [1, 1, 1]


@pytest.mark.parametrize("steps", [3, 105, -4])
def test_three_laps_are_drawn_wherever_a_schedule_is_read_from(ax, steps):
    schedule = oc.shift(oc.cosine_restarts_schedule(1.0, 10), steps)
    oc.plot(schedule, ax=ax)
    (line,) = ax.lines
    assert line.get_xdata()[-1] >= 29
    assert drawn(line) == [schedule(count) for count in range(len(drawn(line)))]


def test_an_edited_schedule_is_drawn_with_its_phases(ax):
    edited = oc.cooldown(oc.shift(WARM, 20), at_step=200, steps=50)
    oc.plot(edited, ax=ax)
    assert starts_of_phases(ax) == [[30, 200, 250]]
    assert drawn(ax.lines[0]) == [edited(count) for count in range(251)]


def test_a_wait_is_marked(ax):
    oc.plot(oc.shift(COSINE, -20), ax=ax)
    assert starts_of_phases(ax) == [[20, 120]]


def test_long_runs_are_drawn_with_few_points(ax):
    oc.plot(oc.cosine_annealing_schedule(0.1, 2**31 - 1), ax=ax)
    line = ax.lines[0]
    assert len(line.get_xdata()) == 10_000
    assert line.get_xdata()[-1] == 2**31 - 1
    assert line.get_ydata()[-1] == 0


def test_very_many_phases_are_not_marked(ax):
    oc.plot(oc.cosine_restarts_schedule(1.0, [10] * 100), 1_000, ax=ax)
    assert starts_of_phases(ax) == []


def test_of_many_phases_the_first_are_drawn_if_they_can_be_told_apart(ax):
    for schedule, last in [
        (oc.cosine_restarts_schedule(1.0, [10] * 100), 199),
        (oc.cosine_restarts_schedule(1.0, 1_000, cycle_steps_factor=2), 14_999),
        (oc.cosine_restarts_schedule(1.0, [10] * 15), 150),
    ]:
        oc.plot(schedule, ax=ax)
        assert ax.lines[-1].get_xdata()[-1] == last


def test_a_schedule_on_a_device_is_drawn(ax):
    oc.plot(jax.device_put(COSINE), ax=ax)
    assert drawn(ax.lines[0]) == [COSINE(count) for count in range(101)]


def test_the_axis_may_be_logarithmic(ax):
    oc.plot(COSINE, ax=ax).set_yscale("log")
    ax.figure.draw_without_rendering()
    assert math.isfinite(ax.get_ylim()[0])


def test_an_axis_keeps_the_ticks_that_it_has(ax):
    ax.set_xscale("log")
    ax.set_yscale("log")
    oc.plot(COSINE, ax=ax)
    assert type(ax.xaxis.get_major_locator()).__name__ == "LogLocator"
    fixed = Figure().add_subplot()
    fixed.set_xticks([0, 50, 100], ["start", "middle", "end"])
    oc.plot(COSINE, ax=fixed)
    labels = [text.get_text() for text in fixed.get_xticklabels()]
    assert labels == ["start", "middle", "end"]


def test_no_count_beyond_the_largest_is_drawn(ax):
    oc.plot(oc.cosine_restarts_schedule(1.0, 2**31 - 1), ax=ax)
    assert ax.lines[0].get_xdata()[-1] == 2**31 - 2


def test_without_an_axis_it_is_that_of_pyplot():
    current = plt.gca()
    assert oc.plot(COSINE) is current
    plt.close("all")


@pytest.mark.parametrize(
    ("schedules", "total_steps", "error", "message"),
    [
        ([], None, ValueError, "plot needs at least one schedule"),
        (COSINE, WARM, TypeError, r"several schedules as a list: plot\(\[first, sec"),
        ({}, None, ValueError, "plot needs at least one schedule"),
        (0.1, None, TypeError, "plot draws schedules, got 0.1"),
        ([COSINE, 0.1], None, TypeError, "plot draws schedules, got 0.1"),
        (oc.stack([COSINE] * 2), None, ValueError, "schedules must be one schedule, "),
        (COSINE, 0, ValueError, "total_steps must be"),
        (COSINE, 1.5, ValueError, "total_steps must be"),
        (COSINE, jnp.arange(2), ValueError, "total_steps must be"),
    ],
)
def test_what_cannot_be_drawn_is_refused(schedules, total_steps, error, message, ax):
    with pytest.raises(error, match=message):
        oc.plot(schedules, total_steps, ax=ax)


def test_a_traced_schedule_is_refused(ax):
    with pytest.raises(
        ValueError,
        match="this needs the values of the schedule, but it is traced by JAX",
    ):
        jax.jit(lambda schedule: oc.plot(schedule, ax=ax))(COSINE)


def test_without_matplotlib_a_sentence_says_how_to_install_it(monkeypatch):
    for name in ("matplotlib", "matplotlib.pyplot", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    sentence = r'plot needs Matplotlib: python -m pip install "optax-cosine\[plot\]"'
    with pytest.raises(ModuleNotFoundError, match=sentence):
        oc.plot(COSINE)
    page = str(COSINE._repr_html_())
    assert page.startswith("<code>cosine(0.1, 0.0, steps=100)</code>")
    assert "<img" not in page
