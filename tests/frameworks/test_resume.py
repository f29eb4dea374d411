"""The program `killed_run.py`, killed as often as it takes."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import psutil
import pytest

import optax_cosine as oc

pytestmark = pytest.mark.frameworks

PROGRAM = pathlib.Path(__file__).with_name("killed_run.py")
SAVE_EVERY = 5
KILLS = 20
STEPS = 400
HALF_WRITTEN = ".orbax-checkpoint-tmp"

# Runs the program and writes down what becomes of its children, one line for each:
# where its run stood when it was started and when `kill` was called, and its status.
WATCHED = """
import json, pathlib, runpy, subprocess, sys

record, program = sys.argv[1:3]
lines = open(record, "w", buffering=1)

def steps(folder):
    return sorted(int(x.name) for x in folder.iterdir() if x.name.isdecimal())

class Watched(subprocess.Popen):
    def __init__(self, command, **options):
        (out,) = (x for x in command if x.startswith("--out="))
        self.folder = pathlib.Path(out.removeprefix("--out="))
        self.told = {"folder": self.folder.name, "started_at": steps(self.folder)}
        super().__init__(command, **options)

    def kill(self):
        self.told |= {"alive": self.poll() is None, "killed_at": steps(self.folder)}
        super().kill()
        self.told |= {"pid": self.pid, "status": self.wait()}
        self.told["left"] = [x.name for x in self.folder.iterdir()]
        print(json.dumps(self.told), file=lines)

subprocess.Popen = Watched
sys.argv = sys.argv[2:]
sys.path.insert(0, str(pathlib.Path(program).parent))  # as for a script
runpy.run_path(program, run_name="__main__")
"""

# Runs the program, which kills itself at what Orbax does to the file system: at the
# last of these events, each of them looked for when the one before it has been seen.
KILLED_AT = """
import json, os, re, runpy, signal, sys

events = json.loads(sys.argv[1])

def at(event, arguments):
    if events and event == events[0][0]:
        path = os.fsdecode(arguments[0]) if arguments else ""
        if re.search(events[0][1], path):
            del events[0]
            if not events:
                os.kill(os.getpid(), signal.SIGKILL)

sys.argv = sys.argv[2:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))  # as for a script
sys.addaudithook(at)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def finished(command: list[Any], timeout: float = 120) -> subprocess.CompletedProcess:
    """The command when it has ended; its children do not outlive it."""
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def ran(*arguments: Any, timeout: float = 120) -> subprocess.CompletedProcess:
    job = finished([sys.executable, PROGRAM, *arguments], timeout)
    assert job.returncode == 0, job.stderr
    return job


def steps(folder: pathlib.Path) -> list[int]:
    return sorted(int(x.name) for x in folder.iterdir() if x.name.isdecimal())


def saved(folder: pathlib.Path) -> tuple[dict[str, Any], oc.Schedule]:
    """The newest checkpoint, read without the program, and its curve."""
    with ocp.CheckpointManager(folder) as manager:
        newest = manager.restore(
            manager.latest_step(),
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(), curves=ocp.args.JsonRestore()
            ),
        )
    return newest.state, oc.Schedule.from_dict(newest.curves["learning_rate"])


def assert_same_bits(one: pathlib.Path, other: pathlib.Path) -> None:
    (states, curves) = zip(saved(one), saved(other), strict=True)
    assert set(states[0]) == {"params", "opt_state", "rates"}
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    leaves = zip(
        jax.tree_util.tree_leaves_with_path(states[0]),
        jax.tree.leaves(states[1]),
        strict=True,
    )
    for (path, x), y in leaves:
        where = jax.tree_util.keystr(path)
        assert (x.dtype, x.shape) == (y.dtype, y.shape), where
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), where
    assert curves[0] == curves[1]


def assert_rates(folder: pathlib.Path, schedule: oc.Schedule) -> None:
    """As many as the schedule is long, and each of them its value."""
    state, curve = saved(folder)
    assert curve == schedule
    expected = [schedule(count) for count in range(schedule.total_steps)]
    rates = np.asarray(state["rates"])
    np.testing.assert_array_max_ulp(rates, np.array(expected), maxulp=16)


def assert_no_process_is_left(folder: pathlib.Path) -> None:
    for process in psutil.process_iter(["cmdline"]):
        assert str(folder) not in " ".join(process.info["cmdline"] or [])


def assert_nothing_is_left(folder: pathlib.Path) -> None:
    """No process that works in the folder, and in it no checkpoint half written."""
    assert_no_process_is_left(folder)
    assert not list(folder.rglob(f"*{HALF_WRITTEN}*"))


def configured(total_steps: int) -> oc.Schedule:
    return oc.warmup_cosine_annealing_schedule(
        5e-3, total_steps, warmup_steps=total_steps // 10
    )


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """A folder with both runs, what the program said, and what it did."""
    folder = tmp_path_factory.mktemp("long")
    record = folder / "record.json"
    options = ["--out", folder, "--kills", KILLS, "--total-steps", STEPS]
    watched = [sys.executable, "-c", WATCHED, record, PROGRAM]
    job = finished([*watched, *options], timeout=400)
    assert job.returncode == 0, job.stderr
    return folder, job, list(map(json.loads, record.read_text().splitlines()))


def test_twenty_kills_change_no_bit(long_run):
    folder, _, _ = long_run
    assert_same_bits(folder / "killed", folder / "uninterrupted")
    assert_rates(folder / "killed", configured(STEPS))


def test_the_kills_were_sigkill_to_a_child_that_was_training(long_run):
    _, _, children = long_run
    *killed, last, uninterrupted = children
    assert len(killed) == KILLS
    assert len({child["pid"] for child in children}) == KILLS + 2
    newest = 0
    for child in killed:
        assert child["folder"] == "killed"
        assert child["alive"]
        assert child["status"] == -signal.SIGKILL
        assert max(child["started_at"], default=0) >= newest
        newest = max(child["killed_at"])
        assert max(child["started_at"], default=0) < newest < STEPS
    assert any(HALF_WRITTEN in x for child in killed for x in child["left"])
    assert [child["status"] for child in (last, uninterrupted)] == [0, 0]
    assert last["folder"] == "killed"
    assert uninterrupted["folder"] == "uninterrupted"
    assert uninterrupted["started_at"] == []


def test_neither_a_process_nor_half_a_checkpoint_is_left_behind(long_run):
    folder, _, children = long_run
    assert_nothing_is_left(folder)
    assert not any(psutil.pid_exists(child["pid"]) for child in children)
    for run in ("killed", "uninterrupted"):
        names = {path.name for path in (folder / run).iterdir()}
        assert names == {str(STEPS - SAVE_EVERY), str(STEPS)}


def test_the_program_says_what_became_of_the_runs(long_run):
    _, job, children = long_run
    killed = children[:KILLS]
    half = sum(any(HALF_WRITTEN in x for x in child["left"]) for child in killed)
    newest = [max(int(x) for x in c["left"] if x.isdecimal()) for c in killed]
    head, *table = job.stdout.partition("\n" + " " * 16)
    assert head == (
        f"{KILLS} kills, {half} of them in the middle of a save\n"
        f"resumed from updates {', '.join(map(str, newest))}"
    )
    rows = re.findall(r"^(\w+ \w+|\w+) +([\d,]+) +([\d,]+)$", table[-1], re.MULTILINE)
    names, numbers, equal = zip(*rows, strict=True)
    assert names == ("parameters", "optimizer state", "applied rates")
    assert numbers == equal
    assert numbers[2] == str(STEPS)
    assert "killed, 1 to come" in job.stderr
    assert re.search(r"100%.* 400/400 .*update/s", job.stderr)


def test_it_does_not_write_over_an_earlier_run(long_run):
    folder, _, _ = long_run
    job = finished([sys.executable, PROGRAM, "--out", folder])
    assert job.returncode == 1
    assert job.stderr.endswith(
        f"{folder / 'killed'} is of an earlier run: remove it, or choose another "
        "--out\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_child_does_not_outlive_a_parent_that_is_told_to_end(tmp_path, number):
    process = psutil.Popen(
        [sys.executable, PROGRAM, f"--out={tmp_path}"], stderr=subprocess.DEVNULL
    )
    folder, end = tmp_path / "killed", time.monotonic() + 60
    while not folder.exists() or not steps(folder):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    children = process.children()
    assert children
    process.send_signal(number)
    process.wait(60)
    assert not any(child.is_running() for child in children)
    assert_no_process_is_left(tmp_path)


def test_a_run_that_is_cooled_down_between_kills_is_cooled_down_once(tmp_path):
    ran(
        *("--out", tmp_path, "--kills", 3, "--total-steps", 200),
        *("--cooldown-at", 40, "--seed", 1),
    )
    assert_same_bits(tmp_path / "killed", tmp_path / "uninterrupted")
    shorter = oc.cooldown(configured(200), at_step=40, steps=60)
    assert_rates(tmp_path / "killed", shorter)
    assert_nothing_is_left(tmp_path)


def kill_when(folder: pathlib.Path, step: int, *arguments: Any) -> None:
    """Runs the program in the folder, and kills it when it has saved the step."""
    process = subprocess.Popen(
        [sys.executable, PROGRAM, *map(str, arguments), f"--out={folder}", "--kills=0"],
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 120
    while not folder.exists() or max(steps(folder), default=0) < step:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_run_that_is_extended_between_kills_is_extended_once(tmp_path):
    folder = tmp_path / "run"
    options = ("--total-steps", 600)
    kill_when(folder, 20, *options)
    here = max(steps(folder))
    options = (*options, "--extend-to", 700)
    kill_when(folder, here + 20, *options)
    job = ran(*options, "--out", folder, "--kills", 0)
    longer = oc.extend(configured(600), at_step=here, total_steps=700)
    assert_rates(folder, longer)
    assert f"saved curve:      {longer!r}\n" in job.stdout


# In the save of the step a child is killed at the last of these events, just before it
# happens; the number after them is the newest complete checkpoint then.
EVENTS = {
    15: ([("os.mkdir", rf"/15{HALF_WRITTEN}/")], 10),
    30: ([("open", rf"/30{HALF_WRITTEN}/curves[^/]*/metadata$")], 25),
    45: ([("open", rf"/45{HALF_WRITTEN}/state[^/]*/_METADATA$")], 40),
    60: ([("os.rename", rf"/60{HALF_WRITTEN}/state")], 55),
    75: ([("os.rename", rf"/75{HALF_WRITTEN}$")], 70),
    # The old checkpoint is deleted when the new one is complete.
    90: ([("os.rename", rf"/90{HALF_WRITTEN}$"), *[("os.remove", "")] * 3], 90),
}
SHORT = 120


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short") / "run"
    job = ran("--out", folder, "--kills", 0, "--total-steps", SHORT)
    assert job.stdout.startswith(f"from update 0 to {SHORT}\n")
    assert_rates(folder, configured(SHORT))
    return folder


def test_a_kill_at_any_moment_of_a_save_leaves_the_old_or_the_new_checkpoint(
    tmp_path, short_run
):
    folder = tmp_path / "run"
    options = [PROGRAM, f"--out={folder}", "--kills=0", f"--total-steps={SHORT}"]
    at = 0
    for step, (events, newest) in EVENTS.items():
        watched = [sys.executable, "-c", KILLED_AT, json.dumps(events)]
        job = finished([*watched, *options])
        assert job.returncode == -signal.SIGKILL, (step, job.stderr)
        assert job.stdout == f"from update {at} to {SHORT}\n"
        at = max(steps(folder))
        assert at == newest, step
        half_written = [x for x in folder.iterdir() if HALF_WRITTEN in x.name]
        assert len(half_written) == (newest < step), step
    assert (folder / "80").exists()  # less some files, and never read again
    job = ran(*options[1:])
    assert job.stdout.startswith(f"from update {at} to {SHORT}\n")
    assert_same_bits(folder, short_run)
    assert_nothing_is_left(folder)
    assert steps(folder) == [SHORT - SAVE_EVERY, SHORT]


def copied(run: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    shutil.copytree(run, folder / "copy")
    return folder / "copy"


def test_what_bears_the_temporary_name_is_never_loaded(tmp_path, short_run):
    folder = copied(short_run, tmp_path)
    for name in ("125", "130"):
        shutil.copytree(folder / f"{SHORT}", folder / f"{name}{HALF_WRITTEN}")
    (folder / f"130{HALF_WRITTEN}" / "state" / "_METADATA").unlink()
    assert saved(folder)[0]["rates"].shape == (SHORT,)
    job = ran(
        *("--out", folder, "--kills", 0, "--total-steps", 140),
        *("--keep", "configured"),
    )
    assert f"from update {SHORT} to 140\n" in job.stdout
    assert saved(folder)[1] == configured(140)
    assert_nothing_is_left(folder)


def test_the_saved_curve_is_kept_and_both_are_shown(tmp_path, short_run):
    folder = copied(short_run, tmp_path)
    job = ran("--out", folder, "--kills", 0, "--total-steps", 240)
    assert job.stdout.startswith(
        f"saved curve:      {configured(SHORT)!r}\n"
        f"configured curve: {configured(240)!r}\n"
        "kept: saved\n"
        f"from update {SHORT} to {SHORT}\n"
    )
    assert_rates(folder, configured(SHORT))


def test_the_configured_curve_is_taken_where_it_is_asked_for(tmp_path, short_run):
    folder = copied(short_run, tmp_path)
    options = ("--out", folder, "--kills", 0, "--total-steps", 140, "--keep")
    job = ran(*options, "configured")
    assert f"kept: configured\nfrom update {SHORT} to 140\n" in job.stdout
    state, curve = saved(folder)
    assert curve == configured(140)
    expected = [configured(SHORT)(count) for count in range(SHORT)]
    expected += [curve(count) for count in range(SHORT, 140)]
    rates = np.asarray(state["rates"])
    np.testing.assert_array_max_ulp(rates, np.array(expected), maxulp=16)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (
            "--cooldown-at=60",
            "--cooldown-at 60: the run is at update 120 of 120 and will not come to "
            "that one.",
        ),
        (
            "--extend-to=200",
            "--extend-to 200: at_step=120 must be before the end of the schedule, "
            "step 120, as nothing is left to stretch: extend before the end, or train "
            "on with rewarm.",
        ),
    ],
)
def test_an_edit_that_comes_too_late_is_refused(short_run, edit, sentence):
    options = ["--out", short_run, "--kills=0", f"--total-steps={SHORT}", edit]
    job = finished([sys.executable, PROGRAM, *options])
    assert job.returncode == 1
    assert job.stderr.endswith(f"{sentence}\n")


@pytest.fixture(scope="module")
def program() -> Any:
    spec = importlib.util.spec_from_file_location("killed_run", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--total-steps=9", "--total-steps: must be a whole number from 10 to 2**31"),
        ("--total-steps=ten", "--total-steps: must be a whole number from 10 to 2**31"),
        ("--total-steps=3000000000", "must be a whole number from 10 to 2**31 - 1"),
        ("--kills=-1", "--kills: must be a whole number from 0 to 2**31 - 1, got '-1'"),
        ("--seed=0.5", "--seed: must be a whole number from 0 to 2**31 - 1, got '0.5'"),
        ("--save-every=0", "--save-every: must be a whole number from 1 to 2**31 - 1"),
        ("--cooldown-at=0", "--cooldown-at: must be a whole number from 1 to 2**31"),
        ("--extend-to=x", "--extend-to: must be a whole number from 1 to 2**31 - 1"),
        ("--peak=0", "--peak: must be a learning rate above 0 and at most 1, got '0'"),
        ("--peak=nan", "--peak: must be a learning rate above 0 and at most 1"),
        ("--keep=both", "argument --keep: invalid choice: 'both'"),
        (
            f"--out={__file__}",
            f"--out: must be a folder that can be made, got '{__file__}'",
        ),
        ("--kills=20 --total-steps=222", "--kills: 20 need 223 updates or more, two"),
        ("--cooldown-at=9 --extend-to=90", "not allowed with argument"),
        ("--extend-to=90 --keep=configured", "--keep: configured would undo, at the"),
        ("--cooldown-at=9 --keep=configured", "--keep: configured would undo, at the"),
    ],
)
def test_a_bad_option_is_refused_with_a_sentence(
    program, options, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as refused:
        program.main(options.split())
    assert refused.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_help_explains_every_option(program, capsys):
    with pytest.raises(SystemExit):
        program.main(["--help"])
    text = capsys.readouterr().out
    for option in vars(program.parse(["--kills=0"])):
        assert re.search(rf"^  --{option.replace('_', '-')} \S+", text, re.MULTILINE)
