"""examples/language.py: two models off one checkpoint."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import orbax.checkpoint as ocp
import pytest

import optax_cosine as oc

pytestmark = pytest.mark.frameworks

PROGRAM = pathlib.Path(__file__).parents[2] / "examples" / "language.py"
PEAK = 0.01
STEPS, HALF, COOLDOWN = 40, 20, 6
WARMUP = 2
NAMES = ("checkpoint", "cooled at once", "longer run")

# Runs the program and writes down what the picture shows, every rate that was applied;
# the batches, by count and sum; and how often an update is traced, which is once for
# each program.
WATCHED = """
import json, pathlib, sys

record, program = sys.argv[1:3]
sys.path.insert(0, str(pathlib.Path(program).parent))  # as for a script
import language

traced, batches = [], []
draw, batch, apply_updates = language.draw, language.batch, language.optax.apply_updates

def watched(courses, path):
    told = {"courses": courses, "traced": len(traced), "batches": batches}
    pathlib.Path(record).write_text(json.dumps(told))
    draw(courses, path)

def counted(params, updates):
    traced.append(None)
    return apply_updates(params, updates)

def noted(text, seed, count):
    batches.append([count, int(batch(text, seed, count).sum())])
    return batch(text, seed, count)

language.draw, language.batch = watched, noted
language.optax.apply_updates = counted
language.main(sys.argv[3:])
"""


def run(*command: object, folder: pathlib.Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A folder, what the program said, and what it did."""
    folder = tmp_path_factory.mktemp("language")
    record = folder / "record.json"
    options = [f"--steps={STEPS}", f"--peak={PEAK}"]
    job = run("-c", WATCHED, record, PROGRAM, *options, folder=folder)
    assert job.returncode == 0, job.stderr
    return folder, job, json.loads(record.read_text())


def held() -> oc.Schedule:
    return oc.join(oc.linear(0.0, PEAK, steps=WARMUP), oc.constant(PEAK, steps=1))


def rates(record: dict, name: str) -> np.ndarray:
    updates, applied, _ = record["courses"][name]
    start = 0 if name == "checkpoint" else HALF
    assert updates == list(range(start + 1, start + 1 + len(applied)))
    return np.array(applied, np.float32)


def test_the_run_warms_up_and_holds_until_the_checkpoint(job):
    _, _, record = job
    applied = rates(record, "checkpoint")
    expected = [held()(count) for count in range(HALF)]
    np.testing.assert_array_max_ulp(applied, np.array(expected), maxulp=16)
    assert applied[-1] == np.float32(PEAK)


@pytest.mark.parametrize(
    ("name", "at_step"), [("cooled at once", HALF), ("longer run", STEPS - COOLDOWN)]
)
def test_a_branch_holds_and_then_comes_to_zero_without_a_jump(job, name, at_step):
    _, process, record = job
    applied = rates(record, name)
    schedule = oc.cooldown(held(), at_step=at_step, steps=COOLDOWN)
    assert schedule.total_steps == HALF + len(applied)
    counts = range(HALF, schedule.total_steps)
    expected = np.array([schedule(count) for count in counts])
    np.testing.assert_array_max_ulp(applied, expected, maxulp=16)
    assert np.all(applied[: at_step - HALF + 1] == np.float32(PEAK))
    assert np.all(np.diff(applied[at_step - HALF :]) < 0)
    # The steepest step of half a cosine; one more of the last size goes past 0.
    assert np.max(-np.diff(applied)) <= PEAK * np.pi / 2 / COOLDOWN
    assert 2 * applied[-1] < applied[-2]
    assert schedule(schedule.total_steps) == 0
    assert f"{name:<14} {schedule!r}\n" in process.stdout


def test_both_branches_go_on_from_one_checkpoint_with_the_same_data(job):
    folder, _, record = job
    counts = [count for count, _ in record["batches"]]
    cooled = range(HALF, HALF + COOLDOWN)
    assert counts == [*range(HALF), *cooled, *range(HALF, STEPS)]
    assert len({tuple(pair) for pair in record["batches"]}) == STEPS
    with ocp.StandardCheckpointer() as checkpointer:
        saved = checkpointer.restore(folder / "outputs" / "language_checkpoint")
    assert set(saved) == {"params", "opt_state"}
    _, state = saved["opt_state"]
    assert int(state["count"]) == HALF
    assert np.asarray(state["applied"]["learning_rate"]) == np.float32(PEAK)


def test_one_step_is_compiled_for_the_hold_and_once_more_for_both_branches(job):
    _, _, record = job
    assert record["traced"] == 2


def test_the_table_gives_the_last_rate_and_loss_of_each_run(job):
    _, process, record = job
    row = r"^{} +(\d+) +(\d\.\d+e-\d\d) +(\d\.\d+)$"
    losses = []
    for name in NAMES:
        found = re.search(row.format(name), process.stdout, re.MULTILINE)
        assert found, name
        updates, applied, tested = record["courses"][name]
        assert int(found[1]) == updates[-1] == tested[-1][0]
        assert float(found[2]) == pytest.approx(applied[-1], rel=1e-3)
        assert float(found[3]) == pytest.approx(tested[-1][1], abs=6e-4)
        losses.append(float(found[3]))
    # To know nothing is log(128), 4.85; 3.2 is to know how often characters are.
    assert losses[0] < 3.3
    assert losses[2] < losses[1] < losses[0]


def test_it_leaves_a_picture_and_a_sample_and_shows_its_progress(job):
    folder, process, _ = job
    picture = folder / "outputs" / "language.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000
    assert process.stdout.endswith("picture: outputs/language.png\n")
    assert re.search(r"^sample: If the object is .{20,}$", process.stdout, re.MULTILINE)
    total = STEPS + COOLDOWN
    assert re.search(rf"longer run.*100%.* {total}/{total} .*loss=\d", process.stderr)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--steps=19", "must be a whole number from 20 to 2**31 - 1, got '19'"),
        ("--steps=many", "must be a whole number from 20 to 2**31 - 1, got 'many'"),
        ("--seed=-1", "must be a whole number from 0 to 2**31 - 1, got '-1'"),
        ("--peak=nan", "must be a learning rate above 0 and at most 1, got 'nan'"),
        (f"--out={__file__}", f"must be a folder that can be made, got '{__file__}'"),
    ],
)
def test_a_bad_option_is_refused_with_a_sentence(option, sentence, tmp_path):
    job = run(PROGRAM, option, folder=tmp_path)
    assert job.returncode == 2
    assert f"argument {option.partition('=')[0]}: {sentence}" in job.stderr


def test_help_explains_every_option(tmp_path):
    text = run(PROGRAM, "--help", folder=tmp_path).stdout
    for option in ("--steps", "--peak", "--seed", "--out"):
        assert re.search(rf"^  {option} \w+\s+\w+.*", text, re.MULTILINE)
