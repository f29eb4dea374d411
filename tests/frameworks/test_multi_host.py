"""The program `killed_hosts.py`, as processes of `jax.distributed` on this machine."""

import contextlib
import importlib.util
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import optax_cosine as oc

pytestmark = pytest.mark.frameworks

PROGRAM = pathlib.Path(__file__).with_name("killed_hosts.py")
TOTAL_STEPS = 200
SAVE_EVERY = 10
SCHEDULE = oc.warmup_cosine_annealing_schedule(5e-3, TOTAL_STEPS, warmup_steps=20)
PARAMS = ("hidden", "hidden_bias", "output", "output_bias")
SECONDS = 120  # for a whole run, on a busy machine
KILL_TIMEOUT = 10
BOUND = 30  # seconds in which the others end after the death of one
# Of the program, of JAX, and of Gloo where what it received is of another collective.
LAST_WORDS = ("and so must the others", "another task died", "gloo::EnforceNotMet")
ENVIRONMENT = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",  # four of them on a few cores
}


spec = importlib.util.spec_from_file_location("killed_hosts", PROGRAM)
assert spec
assert spec.loader
killed_hosts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(killed_hosts)


class Result(NamedTuple):
    """What one process wrote."""

    first: int
    rates: np.ndarray
    params: dict[str, np.ndarray]


class Job:
    """Processes that train together."""

    def __init__(self, folder: pathlib.Path, started: int, **options: Any):
        self.folder, self.running = folder, []
        self.logs = [folder / f"log-{started}-{x}" for x in range(started)]
        self.out = folder / f"out-{started}"
        self.settings = {
            "processes": started,
            "total_steps": TOTAL_STEPS,
            "save_every": SAVE_EVERY,
            "checkpoints": "checkpoints",
            "out": self.out,
            "start_timeout": 60,
        } | options

    def _start(self, settings: dict[str, Any]) -> None:
        arguments = [f"--{x.replace('_', '-')}={y}" for x, y in settings.items()]
        with self.logs[settings["process"]].open("w") as log:
            process = subprocess.Popen(
                [sys.executable, PROGRAM, *arguments],
                cwd=self.folder,
                env=ENVIRONMENT,
                stdout=log,
                stderr=log,
                start_new_session=True,  # as a group, which is killed as a whole
            )
        self.running.append(process)

    def __enter__(self) -> "Job":
        address = f"127.0.0.1:{free_port()}"
        try:
            for process in range(len(self.logs)):
                own = {"coordinator": address, "process": process}
                self._start(self.settings | own)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for process in self.running:
            with pytest.raises(ProcessLookupError):  # nothing is left of its group
                os.killpg(process.pid, 0)

    def said(self) -> str:
        return "\n".join(f"{x.name}:\n{x.read_text()}" for x in self.logs)

    def statuses(self, within: float, hung: int | None = None) -> list[int]:
        """Of all processes but a hung one, which must have ended by then."""
        awaited = [x for x in self.running if hung is None or x != self.running[hung]]
        self.wait_until(lambda: all(x.poll() is not None for x in awaited), within)
        return [x.returncode for x in awaited]

    def wait_until(self, happens: Callable[[], bool], within: float) -> None:
        end = time.monotonic() + within
        while not happens():
            assert time.monotonic() < end, f"still running:\n{self.said()}"
            time.sleep(0.005)

    def wait_for_checkpoint(self, step: int) -> None:
        def there_is() -> bool:
            assert all(x.poll() is None for x in self.running), self.said()
            return newest(self.folder) >= step

        self.wait_until(there_is, SECONDS)

    def results(self) -> list[Result]:
        """After all of them have come to the end of the run."""
        assert set(self.statuses(SECONDS)) == {0}, self.said()
        return [result(self.out / f"process-{x}.npz") for x in range(len(self.running))]

    def refuse_survivors(self, victim: int, number: signal.Signals) -> None:
        """Kills or stops one: the others must end with an error, and say why."""
        self.running[victim].send_signal(number)
        assert 0 not in self.statuses(BOUND, hung=victim), self.said()
        for log in self.logs[:victim] + self.logs[victim + 1 :]:
            assert any(x in log.read_text() for x in LAST_WORDS), self.said()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def result(path: pathlib.Path) -> Result:
    with np.load(path) as file:
        params = {name: file[name] for name in PARAMS}
        return Result(int(file["first"]), file["rates"], params)


def newest(folder: pathlib.Path) -> int:
    names = (x.name for x in (folder / "checkpoints").glob("*"))
    return max((int(name) for name in names if name.isdecimal()), default=0)


def bits(result: Result) -> bytes:
    arrays = [np.array(result.first), result.rates, *result.params.values()]
    return b"".join(array.tobytes() for array in arrays)


def assert_on_curve(result: Result) -> None:
    counts = range(result.first, TOTAL_STEPS)
    exact = np.array([SCHEDULE(count) for count in counts], np.float32)
    assert result.rates.dtype == np.float32
    assert result.rates.shape == exact.shape
    ulps = result.rates.view(np.int32) - exact.view(np.int32)
    assert np.abs(ulps).max() <= 8


def assert_close(one: Result, other: Result) -> None:
    """As sums in another order of the same gradients, through Adam, let them be."""
    for name in PARAMS:
        # Gradients are added in another order, and Adam divides by small ones.
        np.testing.assert_allclose(one.params[name], other.params[name], atol=1e-4)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The results of a run that nobody disturbs, by its number of processes."""
    known: dict[int, list[Result]] = {}

    def results(processes: int) -> list[Result]:
        if processes not in known:
            folder = tmp_path_factory.mktemp("uninterrupted")
            with Job(folder, processes, save_every=100) as job:
                known[processes] = job.results()
        return known[processes]

    return results


@pytest.mark.parametrize("processes", [2, 4])
def test_all_processes_apply_the_same_rates_and_hold_the_same_parameters(
    uninterrupted, processes
):
    results = uninterrupted(processes)
    assert len(results) == processes
    assert len({bits(result) for result in results}) == 1
    assert results[0].first == 0
    assert_on_curve(results[0])


def test_the_number_of_processes_changes_no_rate_and_hardly_a_parameter(uninterrupted):
    two, four = uninterrupted(2)[0], uninterrupted(4)[0]
    assert two.rates.tobytes() == four.rates.tobytes()
    assert_close(two, four)


def resumed(checkpoints: pathlib.Path, folder: pathlib.Path, processes: int) -> Result:
    """What all processes agree on, after they went on from the newest checkpoint."""
    shutil.copytree(checkpoints, folder / "checkpoints")
    with Job(folder, processes, save_every=100) as job:
        results = job.results()
        assert f"process 1 of {processes}: updates {results[0].first} to" in job.said()
    assert len({bits(result) for result in results}) == 1
    return results[0]


@pytest.mark.parametrize(
    ("processes", "victim", "then"),
    [(2, 1, 2), (4, 0, 2)],
    ids=["a worker of two", "the coordinator of four"],
)
def test_one_is_killed_the_others_end_and_the_run_resumes_on_the_same_curve(
    uninterrupted, tmp_path, processes, victim, then
):
    with Job(tmp_path, processes, timeout=KILL_TIMEOUT) as job:
        job.wait_for_checkpoint(2 * SAVE_EVERY)
        job.refuse_survivors(victim, signal.SIGKILL)
    saved, whole = newest(tmp_path), uninterrupted(processes)[0]
    assert 2 * SAVE_EVERY <= saved < TOTAL_STEPS
    run = resumed(tmp_path / "checkpoints", tmp_path / f"with-{then}", then)
    assert run.first == saved
    assert run.rates.tobytes() == whole.rates[saved:].tobytes()
    assert_on_curve(run)
    assert_close(run, whole)
    if then == processes:
        assert bits(run._replace(first=0, rates=whole.rates)) == bits(whole)


def test_one_that_hangs_is_taken_for_dead_after_the_timeout(tmp_path):
    with Job(tmp_path, 2, timeout=KILL_TIMEOUT) as job:
        job.wait_for_checkpoint(SAVE_EVERY)
        job.refuse_survivors(1, signal.SIGSTOP)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--processes 2 --process 0", "the following arguments are required: --coord"),
        ("--coordinator 127.0.0.1:1 --process 0", "required: --processes"),
        (
            "--coordinator localhost --processes 2 --process 0",
            "--coordinator: must be a host and a port, as 127.0.0.1:9876, got 'localh",
        ),
        (
            "--coordinator h:65536 --processes 2 --process 0",
            "must be a host and a port",
        ),
        (
            "--coordinator 127.0.0.1:1 --processes 2 --process 2",
            "--process: 2 processes are numbered from 0 to 1, got 2",
        ),
        (
            "--coordinator 127.0.0.1:1 --processes 2 --process=-1",
            "--process: must be a whole number from 0 to 2**31 - 1, got '-1'",
        ),
        (
            "--coordinator 127.0.0.1:1 --processes 0 --process 0",
            "--processes: must be a whole number from 1",
        ),
        (
            "--coordinator 127.0.0.1:1 --processes 1 --process 0 --save-every 0",
            "--save-every: must be a whole number from 1",
        ),
        (
            "--coordinator 127.0.0.1:1 --processes 1 --process 0 --timeout 1e3",
            "--timeout: must be a whole number from 5 to 2**31 - 1, got '1e3'",
        ),
    ],
)
def test_a_bad_option_is_refused_with_a_sentence(
    tmp_path, monkeypatch, capsys, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        killed_hosts.main(arguments.split())
    assert error.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_port_that_is_taken_is_refused_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        options = f"--coordinator {address} --processes 1 --process 0"
        sentence = f"--coordinator {address}: process 0 cannot listen there (Address "
        with pytest.raises(SystemExit, match=re.escape(sentence)):
            killed_hosts.refuse_used_port(killed_hosts.parse(options.split()))


def test_processes_that_cannot_share_a_batch_are_refused_with_a_sentence(tmp_path):
    with Job(tmp_path, 3) as job:
        assert job.statuses(SECONDS) == [1, 1, 1], job.said()
        assert job.said().count("a batch of 64 cannot be shared equally by 3") == 3


def test_one_that_waits_for_the_others_in_vain_ends_with_an_error(tmp_path):
    with Job(tmp_path, 1, processes=2, start_timeout=3) as job:
        assert job.statuses(SECONDS) != [0]
        assert "DEADLINE_EXCEEDED" in job.said()
