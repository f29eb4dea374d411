"""The programs of examples/frameworks, run as a user would, from another folder."""

import pathlib
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.frameworks

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples" / "frameworks"
# By how often they say that their step is compiled: for the plan and for the cooldown.
PROGRAMS = {
    "plain_jax": 1,
    "flax_nnx": 1,
    "equinox_loop": 1,
    "flax_linen": 0,
    "keras_on_jax": 0,
}


def run(name: str, *arguments: str, folder) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_learns_and_reports_the_rate_of_each_stretch(name, tmp_path):
    job = run(name, "--steps", "60", folder=tmp_path)
    assert job.returncode == 0, job.stderr
    planned, halved, cooled = re.findall(r"rate (\d\.\d\de[+-]\d\d)", job.stdout)
    assert float(planned) > 2 * float(halved) > 0
    assert float(cooled) < 1e-5
    assert job.stdout.count("the step is compiled") == PROGRAMS[name]
    accuracy = re.search(r"^test accuracy: (\d+\.\d)%$", job.stdout, re.MULTILINE)
    assert accuracy
    assert float(accuracy[1]) > 85
    for stretch in ("as planned", "halved", "cooling down"):
        assert re.search(rf"^{stretch} *: 100%.*60/60", job.stderr, re.MULTILINE)


def test_a_bad_option_is_refused_with_a_sentence(tmp_path):
    job = run("plain_jax", "--steps", "0", folder=tmp_path)
    assert job.returncode == 2
    assert "--steps: must be a whole number from 1 to a million, got '0'" in job.stderr
