"""The pages of the documentation that need frameworks: their code runs, in order."""

import pathlib
import re

import jax
import pytest

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.usefixtures("standard_rules"),
]

DOCS = pathlib.Path(__file__).parents[2] / "docs"


@pytest.fixture
def standard_rules():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("name", ["checkpoints", "in-a-model", "real-programs"])
def test_the_code_of_a_page_runs(name, tmp_path):
    text = (DOCS / f"{name}.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 3
    assert all("assert" in block for block in blocks[1:])
    names = {"folder": tmp_path}
    for block in blocks:
        exec(compile(block, f"{name}.md", "exec"), names)
