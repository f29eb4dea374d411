"""A run that changes course four times is killed again and again, and loses nothing."""

import json
import multiprocessing
import pathlib
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import edited_run
import jax
import numpy as np
import pytest
from edited_run import EDITS, SAVE_EVERY, UPDATES, newest, schedule_at

import optax_cosine as oc

pytestmark = pytest.mark.frameworks

KILLS = 20
KILLS_UNTIL = 0.8  # of the updates: what is left outlasts the longest delay.
LONGEST_DELAY = 0.1  # seconds; a save takes about as long.
SECONDS = 120  # for a whole run on a busy machine.
HALF_WRITTEN = ".orbax-checkpoint-tmp"
# In the save that follows an edit, the process is killed just before the last of these
# events; then the newest complete checkpoint is the one of the second number.
EVENTS: dict[int, tuple[list[tuple[str, str]], int]] = {
    44: ([("os.mkdir", rf"/44{HALF_WRITTEN}/")], 40),
    84: ([("open", rf"/84{HALF_WRITTEN}/.*/_METADATA$")], 80),
    124: ([("os.rename", rf"/124{HALF_WRITTEN}/default")], 120),
    164: ([("os.rename", rf"/164{HALF_WRITTEN}$")], 160),
    # The oldest checkpoint is deleted when the new one is complete, by names of files
    # in open folders.
    204: ([("os.rename", rf"/204{HALF_WRITTEN}$"), ("os.remove", "^[^/]+$")], 204),
}

# Each process is a fork of a server that has imported the libraries and has done
# nothing else. So a start takes a fraction of the time of the imports.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["jax", "optax", "orbax.checkpoint", "optax_cosine"])


class Ended(NamedTuple):
    """What became of a process."""

    pid: int | None
    status: int | None
    count: int  # from which it went on.
    curve: oc.Schedule  # on which it went on.
    newest: int  # the newest complete checkpoint when it ended.
    left_half_a_save: bool


def ran(
    folder: pathlib.Path,
    events: list[tuple[str, str]],
    end: Callable[[Any], None] = lambda process: process.join(SECONDS),
) -> Ended:
    """The process, which trains in the folder until `end` ends it."""
    folder.mkdir(exist_ok=True)
    record = folder.with_suffix(".json")
    arguments = (folder, record, events)
    process = SERVER.Process(target=edited_run.train, args=arguments)
    process.start()
    try:
        end(process)
    finally:
        process.kill()
        process.join()
    note = json.loads(record.read_text())
    curve = oc.Schedule.from_dict(note["curve"])
    is_half = any(HALF_WRITTEN in path.name for path in folder.iterdir())
    ended = process.pid, process.exitcode, note["count"], curve
    return Ended(*ended, newest(folder), is_half)


def kill_after(folder: pathlib.Path, updates: float, seconds: float) -> Callable:
    """Kills a process some time after so many updates are in a new checkpoint."""

    def end(process: Any) -> None:
        first, last = newest(folder), time.monotonic() + SECONDS
        while not first < newest(folder) >= updates:
            assert process.is_alive()
            assert time.monotonic() < last
            time.sleep(0.005)
        time.sleep(seconds)

    return end


def assert_same_bits(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    leaves = zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True
    )
    for (path, x), y in leaves:
        where = jax.tree_util.keystr(path)
        assert (x.dtype, x.shape) == (y.dtype, y.shape), where
        assert x.tobytes() == y.tobytes(), where


def assert_complete(folder: pathlib.Path, unbroken: dict[str, Any]) -> None:
    """The run in the folder is the unbroken run, and nothing else is left there."""
    assert_same_bits(edited_run.read(folder), unbroken)
    names = {path.name for path in folder.iterdir()}
    assert names == {str(UPDATES - SAVE_EVERY), str(UPDATES)}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    ended = ran(folder, [])
    assert (ended.status, ended.count, ended.newest) == (0, 0, UPDATES)
    return edited_run.read(folder)


def test_the_rates_of_an_unbroken_run_are_those_of_the_edited_curves(unbroken):
    curve = oc.get_schedules(unbroken["opt_state"])["learning_rate"]
    assert curve == schedule_at(UPDATES)
    expected = np.array([schedule_at(x + 1)(x) for x in range(UPDATES)])
    np.testing.assert_array_max_ulp(unbroken["rates"], expected, maxulp=8)


def test_twenty_kills_at_random_moments_change_no_bit(tmp_path, unbroken):
    folder, killed = tmp_path / "run", []
    rng = np.random.default_rng(0)
    for kill in range(KILLS):
        updates = KILLS_UNTIL * UPDATES * (kill + rng.random()) / KILLS
        seconds = LONGEST_DELAY * rng.random()
        killed.append(ran(folder, [], kill_after(folder, updates, seconds)))
    last = ran(folder, [])

    assert {ended.status for ended in killed} == {-signal.SIGKILL}
    assert any(ended.left_half_a_save for ended in killed)
    assert (last.status, last.newest) == (0, UPDATES)
    processes = [*killed, last]
    assert len({ended.pid for ended in processes}) == KILLS + 1
    assert [0, *(ended.newest for ended in killed)] == [x.count for x in processes]
    for ended in processes:
        assert ended.curve == schedule_at(ended.count), ended.count
    assert last.curve == schedule_at(UPDATES) != schedule_at(max(EDITS))
    assert_complete(folder, unbroken)


def test_an_edit_that_was_not_saved_is_made_again_at_its_step(tmp_path, unbroken):
    folder, count = tmp_path / "run", 0
    for step, (events, complete) in EVENTS.items():
        ended = ran(folder, events)
        assert ended.status == -signal.SIGKILL, step
        assert (ended.count, ended.newest) == (count, complete)
        assert ended.left_half_a_save == (complete < step)
        assert ended.curve == schedule_at(count)
        count = complete
    ended = ran(folder, [])
    assert (ended.status, ended.count) == (0, count)
    assert_complete(folder, unbroken)
