"""The examples that need a framework, each copied alone into an empty folder."""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import pytest

import optax_cosine as oc

pytestmark = pytest.mark.frameworks

# One device in each process.
ENVIRONMENT = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
# How often each program says that its step is compiled.
PROGRAMS = {
    "plain_jax": 1,
    "flax_nnx": 1,
    "equinox_loop": 1,
    "flax_linen": 0,
    "keras_on_jax": 0,
}


def run(name: str, *arguments: object, folder) -> subprocess.CompletedProcess:
    shutil.copy(EXAMPLES / f"{name}.py", folder)
    return subprocess.run(
        [sys.executable, pathlib.Path(name).name + ".py", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_learns_and_reports_the_rate_of_each_stretch(name, tmp_path):
    job = run(f"frameworks/{name}", "--steps", 60, folder=tmp_path)
    assert job.returncode == 0, job.stderr
    planned, halved, cooled = re.findall(r"rate (\d\.\d\de[+-]\d\d)", job.stdout)
    assert float(planned) > 2 * float(halved) > 0
    assert float(cooled) < 1e-5
    assert job.stdout.count("the step is compiled") == PROGRAMS[name]
    accuracy = re.search(r"^test accuracy: (\d+\.\d)%$", job.stdout, re.MULTILINE)
    assert accuracy
    assert float(accuracy[1]) > 80
    for stretch in ("as planned", "halved", "cooling down"):
        assert re.search(rf"^{stretch} *: 100%.*60/60", job.stderr, re.MULTILINE)


# --- resume.py ---


PLANNED = oc.warmup_cosine_annealing_schedule(5e-3, 2_000, warmup_steps=200)


def started_from(job: subprocess.CompletedProcess) -> tuple[int, int, oc.Schedule]:
    assert job.returncode == 0, job.stderr
    found = re.search(r"^from update (\d+) to (\d+) on (.*)$", job.stdout, re.MULTILINE)
    assert found
    return int(found[1]), int(found[2]), eval(found[3], vars(oc))


def interrupt_at(folder: pathlib.Path, step: int) -> None:
    """Runs the program until it has saved the step, and then interrupts it."""
    shutil.copy(EXAMPLES / "resume.py", folder)
    process = subprocess.Popen(
        [sys.executable, "-u", "resume.py"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    with process.stderr, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        while not (folder / "outputs" / "resume" / str(step)).exists():
            assert process.poll() is None
            process.stderr.read(80)  # the progress bar
    process.wait()


def test_a_run_goes_on_where_it_was_stopped_and_edits_are_kept(tmp_path):
    interrupt_at(tmp_path, 300)
    first, total, curve = started_from(
        run("resume", "--cooldown-in", 150, folder=tmp_path)
    )
    assert 300 <= first < 2_000
    assert first % 100 == 0
    assert curve == oc.cooldown(PLANNED, at_step=first, steps=150)
    assert total == first + 150
    # The program is configured with the planned schedule; the checkpoint wins.
    again = started_from(run("resume", folder=tmp_path))
    assert again == (total, total, curve)


def test_a_run_is_extended_once_and_stops_where_it_is_told_to(tmp_path):
    job = run("resume", "--stop-at", 250, folder=tmp_path)
    assert started_from(job) == (0, 2_000, PLANNED)
    job = run("resume", "--extend-to", 2_300, "--stop-at", 350, folder=tmp_path)
    curve = oc.extend(PLANNED, at_step=250, total_steps=2_300)
    assert started_from(job) == (250, 2_300, curve)
    assert started_from(run("resume", folder=tmp_path)) == (350, 2_300, curve)
    assert started_from(run("resume", folder=tmp_path)) == (2_300, 2_300, curve)
    job = run("resume", "--cooldown-in", 9, folder=tmp_path)
    assert job.returncode == 1
    assert "The run is over: 2300 of 2300 updates." in job.stderr


def test_a_run_that_was_never_started_is_not_edited(tmp_path):
    job = run("resume", "--cooldown-in", 9, folder=tmp_path)
    assert job.returncode == 2
    assert "there is no run to edit in outputs/resume" in job.stderr


# --- multi_host.py ---


def test_two_processes_apply_the_same_rates_and_end_with_the_same_bits(tmp_path):
    shutil.copy(EXAMPLES / "multi_host.py", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    common = ["--coordinator", address, "--processes", "2", "--steps", "50"]
    with contextlib.ExitStack() as stack:
        jobs = [
            subprocess.Popen(
                [sys.executable, "multi_host.py", *common, "--process", str(process)],
                cwd=tmp_path,
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for process in range(2)
        ]
        for job in jobs:
            stack.callback(job.kill)
        said = [job.communicate(timeout=180)[0] for job in jobs]
    pattern = r"process (\d): last rate (\S+), parameters (\w{16})"
    found = [re.search(pattern, text) for text in said]
    assert all(found), said
    (one, rate, digest), (other, *rest) = (x.groups() for x in found if x)
    assert {one, other} == {"0", "1"}
    assert rest == [rate, digest]
    schedule = oc.warmup_cosine_annealing_schedule(5e-3, 50, warmup_steps=5)
    assert float(rate) == pytest.approx(float(schedule(49)), rel=1e-5)
