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


def test_the_page_is_what_the_command_wrote():
    assert report(RESULTS) == PAGE


def test_the_readme_quotes_the_page_to_the_letter():
    rows = re.findall(r"^\| .*\|$", MEASURED, re.MULTILINE)[2:]
    assert len(rows) >= 3
    for row in rows:
        assert f"\n{row}\n" in PAGE


@pytest.mark.parametrize("name", ["error-near-the-end", "compile-time", "python-call"])
def test_a_picture_is_there(name):
    picture = (ROOT / "benchmarks" / f"{name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
