"""The examples, each copied alone into an empty folder; needs the extra `examples`."""

import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.examples

ROOT = pathlib.Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
README = (ROOT / "README.md").read_text()


def run(script: str, *arguments: str, folder: pathlib.Path):
    """The program, copied into the folder and run there."""
    shutil.copy(EXAMPLES / script, folder)
    return subprocess.run(
        [sys.executable, script, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def is_picture(path: pathlib.Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def rows_of(table: str) -> Iterator[tuple[str, float, float]]:
    """Schedules, their accuracies and standard errors, in percent."""
    for name, mean, error in re.findall(r"^(\S.*?) +(\S+)% +(\S+)%$", table, re.M):
        yield name, float(mean), float(error)


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.stem
)
def test_an_example_is_short_and_imports_no_other_example(path):
    text = path.read_text()
    assert 50 <= len(text.splitlines()) <= 150
    others = {other.stem for other in EXAMPLES.rglob("*.py")}
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert not imported & others


# --- The main job ---


@pytest.fixture(scope="module")
def main_job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("main_job")
    job = run("train_digits.py", folder=folder)
    assert job.returncode == 0, job.stderr
    return folder, job


def test_the_main_job_prints_a_table_best_first_and_leaves_a_picture(main_job):
    folder, job = main_job
    rows = list(rows_of(job.stdout))
    assert len(rows) == 6
    accuracies = [mean for _, mean, _ in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert is_picture(folder / "outputs" / "train_digits.png")
    assert job.stdout.endswith("picture: outputs/train_digits.png\n")


def test_annealing_pays(main_job):
    _, job = main_job
    found = {name: (mean, error) for name, mean, error in rows_of(job.stdout)}
    annealed, error = found["cosine"]
    for name, least_points, least_errors in (
        ("constant 0.1", 3, 3),
        ("constant 0.01", 0, 2),
    ):
        constant, other_error = found[name]
        gain = annealed - constant
        assert gain >= least_points, name
        assert gain >= least_errors * (error**2 + other_error**2) ** 0.5, name


def test_no_constant_rate_does_as_well(tmp_path):
    constants = ("0.2", "0.05", "0.03", "0.02")
    job = run("train_digits.py", "--constants", *constants, folder=tmp_path)
    found = {name: (mean, error) for name, mean, error in rows_of(job.stdout)}
    annealed, error = found.pop("cosine")
    for constant in constants:
        mean, other_error = found[f"constant {constant}"]
        assert annealed - mean >= 2 * (error**2 + other_error**2) ** 0.5


def test_the_readme_shows_the_table_of_the_main_job(main_job):
    _, job = main_job
    shown = {name: (mean, error) for name, mean, error in rows_of(README)}
    printed = {name: (mean, error) for name, mean, error in rows_of(job.stdout)}
    assert shown.keys() == printed.keys()
    for name, (mean, error) in printed.items():
        # Other processors and other versions of JAX add in another order.
        assert abs(shown[name][0] - mean) <= 3 * max(0.3, error, shown[name][1]), name


def test_the_progress_bar_is_readable_at_80_columns(main_job):
    _, job = main_job
    bars = re.split(r"[\r\n]+", job.stderr.strip())
    assert bars[0].startswith("compiling   0%|")
    assert re.match(
        r"rate \d\.\d\de-\d\d, loss \d\.\d{3} 100%\|.+\| 3000/3000 \d\d:\d\d$", bars[-1]
    )
    assert all(len(bar) < 80 for bar in bars)


def test_the_main_job_gives_the_same_table_twice(tmp_path):
    jobs = [run("train_digits.py", "--steps", "30", folder=tmp_path) for _ in range(2)]
    assert jobs[0].stdout == jobs[1].stdout
    assert len(list(rows_of(jobs[0].stdout))) == 6


@pytest.mark.parametrize("steps", ["0", "-30", "31", "2999"])
def test_a_number_of_steps_that_has_no_equal_parts_is_refused(tmp_path, steps):
    job = run("train_digits.py", f"--steps={steps}", folder=tmp_path)
    assert job.returncode == 2
    assert f"--steps must be a multiple of 30, got {steps}" in job.stderr


# --- The others ---


def test_the_picture_of_the_readme_is_drawn(tmp_path):
    job = run("draw_curves.py", folder=tmp_path)
    assert job.returncode == 0, job.stderr
    assert is_picture(tmp_path / "outputs" / "curves.png")


def test_a_sweep_prints_an_accuracy_for_every_model_and_the_best_schedule(tmp_path):
    job = run("sweep.py", folder=tmp_path)
    assert job.returncode == 0, job.stderr
    head, *table, best = job.stdout.splitlines()
    lengths = re.findall(r"(\d+) updates", head)
    rows = {row.split()[0]: re.findall(r"(\d+\.\d)%", row) for row in table}
    assert {len(row) for row in rows.values()} == {len(lengths)}
    assert len(rows) * len(lengths) == 32
    accuracies = {
        (peak, int(length)): float(accuracy)
        for peak, row in rows.items()
        for length, accuracy in zip(lengths, row, strict=True)
    }
    highest = max(accuracies.values())
    assert highest > 85
    shown = re.fullmatch(
        r"best: join\(linear\(0\.0, (\S+), steps=(\d+)\), "
        r"cosine\(\S+, 0\.0, steps=(\d+)\)\)",
        best,
    )
    assert shown
    assert accuracies[shown[1], int(shown[2]) + int(shown[3])] == highest
    assert len(set(accuracies.values())) > 10


def test_reinforcement_learning_anneals_over_updates_not_rollouts(tmp_path):
    job = run("cart_pole.py", "--rollouts", "40", folder=tmp_path)
    assert job.returncode == 0, job.stderr
    updates = re.search(r"^(\d+) updates;", job.stdout, re.MULTILINE)
    assert updates
    assert int(updates[1]) == 40 * 4 * 4
    rows = re.findall(r"^(.+?) +(\d+) steps of .*rate (\S+)$", job.stdout, re.MULTILINE)
    lengths = {name: int(length) for name, length, _ in rows}
    rates = {name: float(rate) for name, _, rate in rows}
    assert rates["line to 0"] == pytest.approx(0.01 / 640, rel=0.01)
    assert 0 < rates["cosine to 0"] < 1e-6
    assert rates["constant"] == 0.01
    # Agents that learn nothing keep the pole up for about 20 steps.
    assert all(length > 100 for length in lengths.values())


def test_a_language_model_gains_from_a_cooldown(tmp_path):
    job = run("language.py", "--steps", "200", folder=tmp_path)
    assert job.returncode == 0, job.stderr
    rows = re.findall(
        r"^(\w+) +validation loss (\S+), last rate (\S+)$",
        job.stdout + job.stderr.replace("\r", "\n"),
        re.MULTILINE,
    )
    losses = {name: float(loss) for name, loss, _ in rows}
    rates = {name: float(rate) for name, _, rate in rows}
    assert rates["held"] == 5e-3
    assert 0 < rates["cooled"] < 1e-4
    # To know nothing is log(128), 4.85.
    assert losses["cooled"] < losses["held"] < 3.5
    assert is_picture(tmp_path / "outputs" / "language.png")


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


@pytest.mark.parametrize(
    "script",
    sorted(path.name for path in EXAMPLES.glob("*.py")),
)
def test_help_explains_the_program(script, tmp_path):
    needs = {"resume.py": "orbax"}
    if script in needs:
        pytest.importorskip(needs[script], reason="the extra `frameworks` has it")
    job = run(script, "--help", folder=tmp_path)
    assert job.returncode == 0, job.stderr
    assert "--help" in job.stdout
