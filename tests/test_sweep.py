"""The sweep of the examples: as many single runs, in one program, on many devices."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

import optax_cosine as oc

pytestmark = pytest.mark.examples

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
SCRIPT = EXAMPLES / "sweep.py"


@pytest.fixture(autouse=True)
def standard_rules():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(EXAMPLES))  # as for a script, whose folder is there
    try:
        spec = importlib.util.spec_from_file_location("sweep", SCRIPT)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["sweep"] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(EXAMPLES))
    return module


def run(*arguments: str, folder: pathlib.Path, flags: str = ""):
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        cwd=folder,
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )


def settings_of_all_kinds(example):
    return example.grid(example.KINDS, [0.0, 0.2], [0.01, 0.1], [2, 33, 60])


def accuracy_alone(example, schedule, steps, work):
    model = example.alone(schedule, steps, work)
    return float(example.accuracy(model[0], *work.test))


def test_each_accuracy_is_that_of_a_single_run(example):
    settings = settings_of_all_kinds(example)
    work = example.work_of(seed=3, longest=60)
    found = example.sweep(settings, work, example.mesh_of()).accuracies
    assert len(found) == len(settings) == 36
    assert len(set(found.tolist())) > 20  # so that equality says something
    for setting, value in list(zip(settings, found, strict=True))[1::5]:
        shorter = example.work_of(seed=3, longest=setting.horizon)
        schedule = example.call(setting)()
        single = accuracy_alone(example, schedule, setting.horizon, shorter)
        assert value == pytest.approx(single, rel=1e-6), setting


def test_the_weights_are_those_of_a_single_run(example):
    settings = settings_of_all_kinds(example)
    work, mesh = example.work_of(seed=0, longest=60), example.mesh_of()
    members = example.population(settings, work.model, mesh)
    step = example.compiled(members, work, mesh)
    schedules, horizons, models = members
    for batches in example.portions(work, 60):
        models, _ = step(schedules, horizons, models, batches, work.test)
    flat = jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *leaf.shape[2:])), models)
    for index in (5, 17, 34):
        setting = settings[index]
        single = example.alone(example.call(setting)(), setting.horizon, work)
        for one, many in zip(*map(jax.tree.leaves, (single, flat)), strict=True):
            # Products are added in another order; weights near 0 differ by that.
            np.testing.assert_allclose(many[index], one, rtol=1e-3, atol=1e-5)


def test_optax_gives_the_same_accuracies(example):
    settings = settings_of_all_kinds(example)[2::6]
    work = example.work_of(seed=0, longest=60)
    ours = example.sweep(settings, work, example.mesh_of())
    theirs = example.loop(settings, work)
    # Far less than one digit of the test set.
    np.testing.assert_allclose(ours.accuracies, theirs.accuracies, atol=1e-6)
    assert theirs.times.programs == len(settings)


def test_a_population_is_compiled_once(example):
    settings = example.grid(["cosine"], [0.1], [0.01, 0.03, 0.1], [20, 40, 50])
    work = example.work_of(seed=0, longest=50)
    assert example.sweep(settings, work, example.mesh_of()).times.programs == 1


def test_the_line_of_code_builds_the_schedule(example):
    for setting in settings_of_all_kinds(example):
        schedule = eval(example.code(setting), {"oc": oc})
        assert schedule == example.call(setting)()
        assert schedule.total_steps == setting.horizon


def test_the_best_line_alone_gives_the_best_accuracy(example, tmp_path, capsys):
    grid = ("--peaks", "0.05", "0.1", "--horizons", "30", "70", "--seed", "2")
    example.main([*grid, "--no-compare", "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    best = next(i for i, line in enumerate(lines) if line.startswith("best"))
    schedule = eval(lines[best + 1], {"oc": oc})
    steps = int(schedule.total_steps)
    work = example.work_of(seed=2, longest=steps)
    single = accuracy_alone(example, schedule, steps, work)
    assert f"accuracy of {single:.2%}" in lines[best]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--peaks", "peaks must hold at least one value, got none"),
        ("--horizons", "horizons must hold at least one value, got none"),
        ("--warmups", "warmups must hold at least one value, got none"),
        ("--kinds", "kinds must hold at least one value, got none"),
        ("--peaks -0.1", "--peaks: must be a learning rate above 0 and at most 1, got"),
        ("--peaks 0.1 0", "--peaks: must be a learning rate above 0 and at most 1"),
        ("--peaks nan", "--peaks: must be a learning rate above 0 and at most 1, got"),
        ("--horizons -20", "--horizons: must be a whole number from 2 to 2**31 - 1"),
        ("--horizons 0", "--horizons: must be a whole number from 2 to 2**31 - 1, got"),
        ("--horizons 20 20", "horizons must differ from each other, got 20 more"),
        (
            "--warmups 0.6",
            "--warmups: must be a part of the horizon from 0 to 0.5, got",
        ),
        ("--warmups -0.1", "--warmups: must be a part of the horizon from 0 to 0.5"),
        ("--kinds linear", "--kinds: invalid choice: 'linear'"),
        ("--population 63", "population must be a square number, as 64 or 1024 is"),
        ("--population 0", "--population: must be a whole number from 1 to 2**31 - 1"),
        ("--population -64", "--population: must be a whole number from 1 to"),
        ("--population 64 --kinds cosine wsd", "population must be 2 times a square"),
        ("--population 4 --peaks 0.1 --horizons 9", "follows from peaks and horizons"),
        ("--population 10000", "horizons must differ from each other, got 31 more"),
        ("--data-shards 5", "data-shards must divide the number of devices"),
    ],
)
def test_a_bad_grid_is_refused_with_a_sentence(example, arguments, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        example.main(arguments.split())
    assert stop.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_population_is_a_grid_of_that_many(example):
    parser = example.parser_of_options()
    for arguments, number in [
        ([], 64),
        (["--population", "1024"], 1024),
        (["--population", "1"], 1),
        (["--population", "50", "--kinds", "cosine", "wsd"], 50),
        (["--warmups", "0", "0.1", "--kinds", "cosine", "wsd"], 256),
    ]:
        assert len(example.settings_of(parser.parse_args(arguments))) == number


def test_members_are_shared_out_evenly(example):
    assert example.groups_of(1024, 1) == (16, 64)
    assert example.groups_of(64, 8) == (1, 64)
    assert example.groups_of(100, 1) == (2, 50)
    assert example.groups_of(9, 8) == (1, 16)
    assert example.groups_of(1, 2) == (1, 2)


def test_the_program_compares_and_leaves_a_picture(tmp_path):
    grid = ("--peaks", "0.02", "0.1", "--horizons", "10", "20", "--kinds", "wsd")
    job = run(*grid, "--compare", "3", folder=tmp_path)
    assert job.returncode == 0, job.stderr
    picture = tmp_path / "outputs" / "sweep.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000
    row = r"^{} +{}( +\d+\.\d\d s){{3}}$"
    for name, programs in [
        ("Optax, a loop over programs", 4),
        ("one program, a loop", 1),
        ("one program, all at once", 1),
    ]:
        assert re.search(row.format(name, programs), job.stdout, re.MULTILINE)
    assert re.search(
        r"^ratio \d+\.\d: .*fewer compiles.*less dispatch.*batching",
        job.stdout,
        re.MULTILINE,
    )
    assert "the loops ran 3 settings chosen at random" in job.stdout
    assert "between loop and sweep: 0.00%" in job.stdout
    assert re.search(
        r"^oc\.warmup_stable_decay_schedule\(.*\)$", job.stdout, re.MULTILINE
    )
    assert job.stdout.endswith("picture: outputs/sweep.png\n")
    assert re.search(r"one program .*20/20 .*best=\d+\.\d\d%", job.stderr)


ON_ITS_DEVICES = """
import json, sys
import jax, sweep
settings = sweep.grid(sweep.KINDS, [0.1], [0.02, 0.1], [15, 30])  # 12: not 8 nor 16
work = sweep.work_of(seed=1, longest=30)
found = {}
for shards in json.loads(sys.argv[1]):
    mesh = sweep.mesh_of(shards)
    members = sweep.population(settings, work.model, mesh)
    step = sweep.compiled(members, work, mesh)
    schedules, horizons, models = members
    models, _ = step(*members, sweep.portions(work, 1)[0], work.test)
    placed = {
        (len(leaf.sharding.device_set), leaf.shape[1] // shard.data.shape[1])
        for leaf in jax.tree.leaves((schedules, horizons, models))
        for shard in leaf.addressable_shards
    }
    batch = step.input_shardings[0][3][1]
    shares = 64 // batch.shard_shape((20, 64, 64))[1]
    outcome = sweep.sweep(settings, work, mesh)
    accuracies = [float(value) for value in outcome.accuracies]
    found[shards] = [sorted(placed), shares, outcome.times.programs, accuracies]
print(json.dumps(found))
"""


def on_devices(number: int, shards: list[int]) -> dict:
    job = subprocess.run(
        [sys.executable, "-c", ON_ITS_DEVICES, json.dumps(shards)],
        env={
            **os.environ,
            "PYTHONPATH": str(EXAMPLES),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={number}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert job.returncode == 0, job.stderr
    return json.loads(job.stdout)


def test_eight_devices_give_the_accuracies_of_one():
    placed, shares, programs, expected = on_devices(1, [1])["1"]
    assert (placed, shares, programs) == ([[1, 1]], 1, 1)
    for shards, found in on_devices(8, [1, 2, 8]).items():
        placed, shares, programs, accuracies = found
        assert placed == [[8, 8 // int(shards)]]  # devices, parts of the population
        assert (shares, programs) == (int(shards), 1)
        # Far less than one digit of the test set.
        np.testing.assert_allclose(accuracies, expected, atol=1e-6)


def test_a_population_grows_at_most_linearly(example):
    work, mesh = example.work_of(seed=0, longest=300), example.mesh_of()
    sizes = {}
    for number in (8, 16, 32):
        peaks = example.spread(example.PEAKS, number)
        horizons = [round(x) for x in example.spread(example.HORIZONS, number)]
        settings = example.grid(["cosine"], [0.1], peaks, horizons)
        members = example.population(settings, work.model, mesh)
        step = example.compiled(members, work, mesh)
        sizes[len(settings)] = costs_of(step, groups=members[1].shape[0])
    for number, costs in sizes.items():
        for name, value in costs.items():
            assert value <= 1.01 * number / 64 * sizes[64][name], (number, name)


def costs_of(compiled, groups: int) -> dict[str, float]:
    memory = compiled.memory_analysis()
    return {
        "bytes": memory.temp_size_in_bytes
        + memory.argument_size_in_bytes
        + memory.output_size_in_bytes,
        # XLA counts the body of a loop once, and groups are a loop.
        "flops": groups * compiled.cost_analysis()["flops"],
    }
