"""Two processes of `jax.distributed` edit what they share."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
from edited_hosts import MEMBERS, UPDATES, schedules_of

pytestmark = pytest.mark.frameworks

PROGRAM = pathlib.Path(__file__).with_name("edited_hosts.py")
SECONDS = 120  # On a busy machine.
ENVIRONMENT = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
}
# A population member follows each of its schedules for some updates.
COUNTS = np.split(np.arange(3 * UPDATES), 3)


@pytest.fixture(scope="module")
def seen():
    """What each of the two processes saw."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [sys.executable, PROGRAM, address, str(process)],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    return [json.loads(output.splitlines()[-1]) for output, _ in outputs]


def rates_of(member: int) -> list[float]:
    """The rates of a member that follows its three schedules one after the other."""
    pairs = zip(schedules_of(member), COUNTS, strict=True)
    return [schedule(count) for schedule, counts in pairs for count in counts.tolist()]


def test_a_shared_population_is_edited_in_place_and_compiles_nothing(seen):
    for process in seen:
        assert process["population"]["is split"]
        assert process["population"]["sharding kept"] == [True, True]
        assert process["population"]["compiled again"] == 0
    rates = np.concatenate([process["population"]["rates"] for process in seen], 1)
    expected = np.array([rates_of(member) for member in range(MEMBERS)])
    np.testing.assert_array_max_ulp(np.float32(rates).T, expected, maxulp=8)


def test_a_replicated_run_is_edited_by_both_and_compiles_nothing(seen):
    for process in seen:
        assert process["one run"]["count"] == 3 * UPDATES
        assert process["one run"]["sharding kept"] == [True, True]
        assert process["one run"]["compiled again"] == 0
        rates = np.float32(process["one run"]["rates"]).T
        assert len(rates) == 2  # One for each device of the process.
        expected = np.array([rates_of(0)] * 2)
        np.testing.assert_array_max_ulp(rates, expected, maxulp=8)
