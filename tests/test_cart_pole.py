"""examples/cart_pole.py, run as a user would; needs the extra `examples`."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import optax_cosine as oc

pytestmark = pytest.mark.examples

PROGRAM = pathlib.Path(__file__).parent.parent / "examples" / "cart_pole.py"
PEAK = 0.02
SEEDS = 2
ROLLOUTS = 40
UPDATES = 8 * ROLLOUTS
NAMES = ("line to 0", "cosine to 0", "constant")

# Runs the program and writes down all rates and returns, as the picture shows them; and
# how often a step of a cart is traced, which is once in the program of all runs.
WATCHED = """
import json, pathlib, sys

record, program = sys.argv[1:3]
sys.path.insert(0, str(pathlib.Path(program).parent))  # as for a script
import cart_pole

traced, draw, stepped = [], cart_pole.draw, cart_pole.stepped

def watched(course, names, path):
    arrays = {name: array.tolist() for name, array in course._asdict().items()}
    pathlib.Path(record).write_text(json.dumps(arrays | {"traced": len(traced)}))
    draw(course, names, path)

def counted(*arguments):
    traced.append(None)
    return stepped(*arguments)

cart_pole.draw, cart_pole.stepped = watched, counted
cart_pole.main(sys.argv[3:])
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
    folder = tmp_path_factory.mktemp("cart_pole")
    options = [f"--rollouts={ROLLOUTS}", f"--seeds={SEEDS}", f"--peak={PEAK}"]
    record = folder / "record.json"
    job = run("-c", WATCHED, record, PROGRAM, *options, folder=folder)
    assert job.returncode == 0, job.stderr
    return folder, job, json.loads(record.read_text())


def rows(table: str) -> list[list[float]]:
    found = re.findall(r"^ +\d+(?: +\d+\.\d +\d+\.\d +\S+e-\d\d){3}$", table, re.M)
    return [[float(x) for x in row.split()] for row in found]


def test_every_update_of_every_seed_applies_the_rate_of_its_schedule(job):
    _, _, record = job
    rates = np.array(record["rates"], np.float32)
    assert rates.shape == (len(NAMES), SEEDS, UPDATES)
    line, cosine, constant = rates
    schedules = (
        oc.linear(PEAK, 0.0, steps=UPDATES),
        oc.cosine_annealing_schedule(PEAK, UPDATES),
        oc.constant(PEAK, steps=1),
    )
    for applied, schedule in zip((line, cosine, constant), schedules, strict=True):
        expected = np.array([schedule(count) for count in range(UPDATES)])
        np.testing.assert_allclose(applied[0], expected, rtol=2e-6)
        np.testing.assert_array_equal(applied[0], applied[1])


def test_the_table_gives_returns_and_rates_at_five_points(job):
    _, process, record = job
    for name in NAMES:
        assert f" {name}" in process.stdout
    table = rows(process.stdout)
    assert [int(row[0]) for row in table] == [UPDATES * n // 5 for n in range(1, 6)]
    rates, returns = np.array(record["rates"]), np.array(record["returns"])
    assert returns.shape == (len(NAMES), SEEDS, 20)
    for n, row in enumerate(table, start=1):
        means, deviations, last = np.reshape(row[1:], (len(NAMES), 3)).T
        tested = returns[..., 4 * n - 1]
        # They are printed to one decimal.
        np.testing.assert_allclose(means, tested.mean(-1), atol=0.051)
        np.testing.assert_allclose(deviations, tested.std(-1), atol=0.051)
        np.testing.assert_allclose(last, rates[:, 0, UPDATES * n // 5 - 1], rtol=0.051)


def test_agents_learn(job):
    _, _, record = job
    returns = np.array(record["returns"])
    assert np.all((returns >= 1) & (returns <= 500))
    assert returns[..., 0].mean() < 100  # about 20 where nothing is learned
    assert returns[..., -5:].mean() > 150


def test_all_schedules_and_seeds_learn_in_one_program_compiled_once(job):
    _, _, record = job
    assert record["traced"] == 1


def test_it_leaves_a_picture_and_shows_its_progress(job):
    folder, process, _ = job
    picture = folder / "outputs" / "cart_pole.png"
    assert process.stdout.endswith("picture: outputs/cart_pole.png\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000
    assert re.search(r"100%.* 20/20 .*mean return \d+", process.stderr)


def test_the_cart_moves_as_the_equations_of_motion_say(tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
import cart_pole
physics = cart_pole.Physics(0.1, -0.2, 0.05, 0.3)
print(*map(float, cart_pole.pushed(physics, 1)))
"""
    job = run("-c", script, folder=tmp_path)
    assert job.returncode == 0, job.stderr
    # Cart and pole as two equations for two accelerations, solved as such.
    x, v, angle, turning = 0.1, -0.2, 0.05, 0.3
    sine, cosine = np.sin(angle), np.cos(angle)
    forces = [[1.1, 0.05 * cosine], [cosine, 0.5 * 4 / 3]]
    sums = [10.0 + 0.05 * turning**2 * sine, 9.8 * sine]
    linear, angular = np.linalg.solve(forces, sums)
    expected = [
        x + 0.02 * v,
        v + 0.02 * linear,
        angle + 0.02 * turning,
        turning + 0.02 * angular,
    ]
    np.testing.assert_allclose([float(x) for x in job.stdout.split()], expected, 1e-5)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--rollouts=0", "must be a whole number from 20 to 2**31 - 1, got '0'"),
        ("--rollouts=30", "must be a multiple of 20, as the runs are tested at so"),
        ("--seeds=0", "must be a whole number from 1 to 2**31 - 1, got '0'"),
        ("--seed=-1", "must be a whole number from 0 to 2**31 - 1, got '-1'"),
        ("--peak=0", "must be a learning rate above 0 and at most 1, got '0'"),
        (f"--out={__file__}", f"must be a folder that can be made, got '{__file__}'"),
    ],
)
def test_a_bad_option_is_refused_with_a_sentence(option, sentence, tmp_path):
    job = run(PROGRAM, option, folder=tmp_path)
    assert job.returncode == 2
    assert f"argument {option.partition('=')[0]}: {sentence}" in job.stderr


def test_help_explains_every_option(tmp_path):
    text = run(PROGRAM, "--help", folder=tmp_path).stdout
    for option in ("--rollouts", "--peak", "--seed", "--seeds", "--out"):
        assert re.search(rf"^  {option} \w+\s+\w+.*", text, re.MULTILINE)
