"""What is said of measurements is what the command wrote."""

import json
import pathlib
import re

import pytest

from benchmarks.report import report

ROOT = pathlib.Path(__file__).parent.parent
PAGE = (ROOT / "benchmarks" / "RESULTS.md").read_text()
RESULTS = json.loads((ROOT / "benchmarks" / "results.json").read_text())
README = (ROOT / "README.md").read_text()
MEASURED = README.partition("\n## Measured\n")[2].partition("\n## ")[0]


def table(comparison: str, title: str) -> list:
    tables = RESULTS["comparisons"][comparison]["tables"]
    (rows,) = (x["rows"] for x in tables if x["title"] == title)
    return rows


def test_the_page_is_what_the_command_wrote():
    assert report(RESULTS) == PAGE
    assert RESULTS["conditions"]["rounds"] >= 15


def test_the_readme_quotes_the_page_to_the_letter():
    rows = re.findall(r"^\| .*\|$", MEASURED, re.MULTILINE)[2:]
    assert len(rows) >= 3
    for row in rows:
        assert f"\n{row}\n" in PAGE


def test_importing_costs_at_most_five_percent_more():
    (_, (_, _, share)) = table("importing", "Importing")
    assert share["high"] <= 0.05


def test_every_length_is_within_the_units_of_the_contract():
    for row in table("accuracy", "Error in units in the last place"):
        assert row[1] <= 8


def test_no_rate_is_zero_before_the_end_and_none_rises():
    rows = table("accuracy", "Rates of exactly 0 before the end, and steps that go up")
    assert [(row[1], row[4]) for row in rows] == [(0, 0)] * len(rows)


def test_a_step_with_injected_schedules_has_few_more_kernels_than_with_optax():
    rows = table("training_step", "A training step with AdamW")
    sizes = {name: kernels for name, _, _, _, kernels, _ in rows}
    theirs = sizes["Optax's, inject_hyperparams"]
    assert sizes["ours, inject_schedules"] <= theirs
    assert sizes["ours, with a warm-up, inject_schedules"] <= theirs
    assert sizes["ours"] <= sizes["Optax's schedule"]


@pytest.mark.parametrize("name", ["error-near-the-end", "compile-time", "python-call"])
def test_a_picture_is_there(name):
    picture = (ROOT / "benchmarks" / f"{name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
