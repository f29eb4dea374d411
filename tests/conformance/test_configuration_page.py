"""The page on configuration files: its code runs, with the files that it shows."""

import pathlib
import re

import pytest

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.usefixtures("standard_promotion"),
]

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "configuration.md"
PACKAGES = ("Hydra", "YAML", "ml_collections", "argparse", "Dataclasses")


def test_the_code_of_the_page_runs(tmp_path):
    text = PAGE.read_text()
    blocks = re.findall(r"^```(python|yaml)\n(.*?)^```$", text, re.M | re.S)
    names = {"folder": tmp_path, "__name__": __name__}
    files = iter(re.findall(r"`(\w+\.yaml)`", text))
    for language, block in blocks:
        if language == "yaml":
            (tmp_path / next(files)).write_text(block)
        else:
            assert "assert " in block
            exec(compile(block, PAGE.name, "exec"), names)


def test_the_page_has_a_section_with_code_for_each_way():
    text = PAGE.read_text()
    for package in PACKAGES:
        section = text.partition(f"\n## {package}\n")[2].partition("\n## ")[0]
        assert "```python" in section, package
