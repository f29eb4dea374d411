"""The examples, run as a user would; needs the extra `examples`."""

import pathlib
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.examples

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


def run(script: str, *arguments: str, folder: pathlib.Path):
    return subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def is_picture(path: pathlib.Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def test_the_main_job_prints_a_table_and_leaves_a_picture(tmp_path):
    job = run("train_digits.py", "--steps", "40", "--seeds", "2", folder=tmp_path)
    assert job.returncode == 0, job.stderr
    assert is_picture(tmp_path / "outputs" / "train_digits.png")
    assert job.stdout.endswith("picture: outputs/train_digits.png\n")
    row = r"^{} +\d+\.\d\d% +\d+\.\d\d%$"
    for name in ("cosine annealing", "constant", "exponential decay"):
        assert re.search(row.format(name), job.stdout, re.MULTILINE)
    assert re.search(r"loss=\d+\.\d+, rate=\d\.\d\de-\d\d", job.stderr)


def test_the_main_job_reaches_its_accuracy(tmp_path):
    job = run("train_digits.py", "--out", "here", folder=tmp_path)
    accuracy = re.search(r"^cosine annealing +(\d+\.\d+)%$", job.stdout, re.MULTILINE)
    assert accuracy
    assert float(accuracy[1]) >= 98
    assert is_picture(tmp_path / "here" / "train_digits.png")


def test_one_seed_gives_the_same_table_twice(tmp_path):
    arguments = ("--steps", "10", "--seed", "3", "--peak", "0.01")
    tables = [run("train_digits.py", *arguments, folder=tmp_path) for _ in range(2)]
    first, second = (job.stdout.partition("schedule  ")[2] for job in tables)
    assert first == second
    assert "cosine annealing" in first


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--steps", "0", "must be a whole number from 1 to 2**31 - 1, got '0'"),
        ("--steps", "ten", "must be a whole number from 1 to 2**31 - 1, got 'ten'"),
        ("--steps", "2.5", "must be a whole number from 1 to 2**31 - 1, got '2.5'"),
        ("--steps", "3000000000", "must be a whole number from 1 to 2**31 - 1, got '3"),
        ("--seeds", "-1", "must be a whole number from 1 to 2**31 - 1, got '-1'"),
        ("--seed", "-1", "must be a whole number from 0 to 2**31 - 1, got '-1'"),
        ("--peak", "0", "must be a learning rate above 0 and at most 1, got '0'"),
        ("--peak", "nan", "must be a learning rate above 0 and at most 1, got 'nan'"),
        ("--peak", "fast", "must be a learning rate above 0 and at most 1, got 'fast'"),
        ("--out", __file__, f"must be a folder that can be made, got '{__file__}'"),
        ("--out", f"{__file__}/x", "must be a folder that can be made, got '"),
    ],
)
def test_a_bad_option_is_refused_with_a_sentence(option, value, sentence, tmp_path):
    job = run("train_digits.py", f"{option}={value}", folder=tmp_path)
    assert job.returncode == 2
    assert f"argument {option}: {sentence}" in job.stderr


def test_help_explains_every_option(tmp_path):
    text = run("train_digits.py", "--help", folder=tmp_path).stdout
    for option in ("--steps", "--peak", "--seed", "--seeds", "--out"):
        assert re.search(rf"^  {option} \w+\s+\w+.*", text, re.MULTILINE)


def test_the_picture_of_the_readme_is_drawn(tmp_path):
    job = run("draw_curves.py", "--out", "curves.png", folder=tmp_path)
    assert job.returncode == 0, job.stderr
    assert is_picture(tmp_path / "curves.png")


def test_one_schedule_drives_everything_on_one_clock(tmp_path):
    job = run("one_schedule.py", "--steps", "50", folder=tmp_path)
    assert job.returncode == 0, job.stderr
    lines = [line.split() for line in job.stdout.splitlines()]
    assert lines[0] == ["count", "learning_rate", "weight_decay", "momentum", "average"]
    rows = {int(row[0]): [float(x) for x in row[1:]] for row in lines[1:-2]}
    assert sorted(rows) == [0, 10, 20, 30, 40, 49]
    for rate, decay, _, _ in rows.values():
        assert decay == pytest.approx(rate * 1e-3, abs=1e-6)
    momenta = [row[2] for _, row in sorted(rows.items())]
    assert momenta == sorted(momenta)
    assert re.search(r"of their average \d+\.\d\d%$", job.stdout)


def test_too_short_a_run_is_refused_with_a_sentence(tmp_path):
    job = run("one_schedule.py", "--steps", "9", folder=tmp_path)
    assert job.returncode == 2
    assert "--steps: must be a whole number from 10 to 2**31 - 1, got '9'" in job.stderr


def test_neither_a_batch_nor_a_skipped_one_moves_the_clock(tmp_path):
    job = run("wrappers.py", "--batches", "81", folder=tmp_path)
    assert job.returncode == 0, job.stderr
    made = re.findall(r"^batch +\d+, updates (\d+)", job.stdout, re.MULTILINE)
    # Four batches for each; the tenth batch is the one that is skipped.
    assert list(map(int, made)) == [(n - (n > 9)) // 4 for n in range(1, 21)]
    rates = re.findall(r", updates (\d+), last rate (\S+)", job.stdout)
    assert len(set(rates)) == 5  # one for each number of updates, 0 being as 1
    assert re.search(r"^updates 20 of 20, last rate 0\.00", job.stdout, re.MULTILINE)
    assert "nan" not in job.stdout
