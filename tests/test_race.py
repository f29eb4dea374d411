"""The race of the benchmarks: each member of the sweep is a single run."""

import importlib
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import optax_cosine as oc

pytestmark = pytest.mark.examples

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def standard_rules():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def race():
    """Imported here: it needs the extra `examples`."""
    return importlib.import_module("benchmarks.race")


def settings_of_all_kinds(race):
    return race.grid(race.KINDS, [0.0, 0.2], [0.01, 0.1], [2, 33, 60])


def accuracy_alone(race, schedule, steps, work):
    model = race.alone(schedule, steps, work)
    return float(race.accuracy(model[0], *work.test))


def test_each_accuracy_is_that_of_a_single_run(race):
    settings = settings_of_all_kinds(race)
    work = race.work_of(seed=3, longest=60)
    found = race.sweep(settings, work, race.mesh_of()).accuracies
    assert len(found) == len(settings) == 36
    assert len(set(found.tolist())) > 20  # so that equality says something
    for setting, value in list(zip(settings, found, strict=True))[1::5]:
        shorter = race.work_of(seed=3, longest=setting.horizon)
        schedule = race.call(setting)()
        single = accuracy_alone(race, schedule, setting.horizon, shorter)
        assert value == pytest.approx(single, rel=1e-6), setting


def test_the_weights_are_those_of_a_single_run(race):
    settings = settings_of_all_kinds(race)
    work, mesh = race.work_of(seed=0, longest=60), race.mesh_of()
    members = race.population(settings, work.model, mesh)
    step = race.compiled(members, work, mesh)
    schedules, horizons, models = members
    for batches in race.portions(work, 60):
        models, _ = step(schedules, horizons, models, batches, work.test)
    flat = jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *leaf.shape[2:])), models)
    for index in (5, 17, 34):
        setting = settings[index]
        single = race.alone(race.call(setting)(), setting.horizon, work)
        for one, many in zip(*map(jax.tree.leaves, (single, flat)), strict=True):
            # Products are added in another order; weights near 0 differ by that.
            np.testing.assert_allclose(many[index], one, rtol=1e-3, atol=1e-5)


def test_optax_gives_the_same_accuracies(race):
    settings = settings_of_all_kinds(race)[2::6]
    work = race.work_of(seed=0, longest=60)
    ours = race.sweep(settings, work, race.mesh_of())
    theirs = race.loop(settings, work)
    # Far less than one digit of the test set.
    np.testing.assert_allclose(ours.accuracies, theirs.accuracies, atol=1e-6)
    assert theirs.times.programs == len(settings)


def test_a_population_is_compiled_once(race):
    settings = race.grid(["cosine"], [0.1], [0.01, 0.03, 0.1], [20, 40, 50])
    work = race.work_of(seed=0, longest=50)
    assert race.sweep(settings, work, race.mesh_of()).times.programs == 1


def test_the_line_of_code_builds_the_schedule(race):
    for setting in settings_of_all_kinds(race):
        schedule = eval(race.code(setting), {"oc": oc})
        assert schedule == race.call(setting)()
        assert schedule.total_steps == setting.horizon


def test_members_are_shared_out_evenly(race):
    assert race.groups_of(1024, 1) == (16, 64)
    assert race.groups_of(64, 8) == (1, 64)
    assert race.groups_of(100, 1) == (2, 50)
    assert race.groups_of(9, 8) == (1, 16)
    assert race.groups_of(1, 2) == (1, 2)


@pytest.mark.parametrize(
    ("axis", "sentence"),
    [
        ({"peaks": []}, "peaks must hold at least one value, got none"),
        ({"horizons": [20, 20]}, "horizons must differ from each other, got 20 more"),
    ],
)
def test_a_bad_grid_is_refused_with_a_sentence(race, axis, sentence):
    axes = {"kinds": ["wsd"], "warmups": [0.1], "peaks": [0.1], "horizons": [20]}
    with pytest.raises(ValueError, match=sentence):
        race.grid(**axes | axis)


ON_ITS_DEVICES = """
import json, sys
import jax
from benchmarks import race
settings = race.grid(race.KINDS, [0.1], [0.02, 0.1], [15, 30])  # 12: not 8 nor 16
work = race.work_of(seed=1, longest=30)
found = {}
for shards in json.loads(sys.argv[1]):
    mesh = race.mesh_of(shards)
    members = race.population(settings, work.model, mesh)
    step = race.compiled(members, work, mesh)
    schedules, horizons, models = members
    models, _ = step(*members, race.portions(work, 1)[0], work.test)
    placed = {
        (len(leaf.sharding.device_set), leaf.shape[1] // shard.data.shape[1])
        for leaf in jax.tree.leaves((schedules, horizons, models))
        for shard in leaf.addressable_shards
    }
    batch = step.input_shardings[0][3][1]
    shares = 64 // batch.shard_shape((20, 64, 64))[1]
    outcome = race.sweep(settings, work, mesh)
    accuracies = [float(value) for value in outcome.accuracies]
    found[shards] = [sorted(placed), shares, outcome.times.programs, accuracies]
print(json.dumps(found))
"""


def on_devices(number: int, shards: list[int]) -> dict:
    job = subprocess.run(
        [sys.executable, "-c", ON_ITS_DEVICES, json.dumps(shards)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
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


def test_a_population_grows_at_most_linearly(race):
    work, mesh = race.work_of(seed=0, longest=300), race.mesh_of()
    sizes = {}
    for number in (8, 16, 32):
        peaks = race.spread(race.PEAKS, number)
        horizons = [round(x) for x in race.spread(race.HORIZONS, number)]
        settings = race.grid(["cosine"], [0.1], peaks, horizons)
        members = race.population(settings, work.model, mesh)
        step = race.compiled(members, work, mesh)
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
