"""Optimizer states on disk and back by Orbax, in the program as it was."""

import functools
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import optax_cosine as oc

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.usefixtures("standard_promotion"),
]

WARMED = oc.warmup_cosine_annealing_schedule(
    0.1, 60, warmup_steps=5, hold_steps=4, end_value=0.003
)
ENDLESS = oc.cosine_restarts_schedule(0.1, 7, cycle_warmup_steps=2)
EXTENDED = oc.extend(WARMED, at_step=12, total_steps=97)
# All of them are tables of phases, and have one structure and one shape in the state.
TABLES: dict[str, Any] = {
    "one phase": oc.cosine_annealing_schedule(0.1, 60),
    "a number": 0.03,
    "repeating": ENDLESS,
    "mirrored": oc.join(oc.cosine(0.1, 0.01, steps=9), after="mirror"),
    "fractional": oc.join(oc.cosine(0.01, 0.1, steps=7.3), oc.linear(0.1, 0, steps=20)),
    "bent": oc.cosine(0.1, 0.01, steps=33, exponent=1.7, time_exponent=0.6),
    "offset": oc.shift(WARMED, 1),
    "stretched": oc.stretch(WARMED, 1.1),
    "cooled down": oc.cooldown(WARMED, at_step=12, steps=10, shape="1-sqrt"),
    "extended, cooled down": oc.cooldown(EXTENDED, at_step=30, steps=10),
    "extended, cooled down, rewarmed": oc.rewarm(
        oc.cooldown(EXTENDED, at_step=15, steps=10),
        at_step=25,
        peak_value=0.05,
        warmup_steps=3,
        decay_steps=20,
    ),
}
# These are not tables, or have more phases than a state has room for.
OTHERS = {
    "staircase": oc.staircase(WARMED, 3),
    "product": WARMED * oc.linear(1.0, 0.2, steps=30),
    "endless and edited": oc.splice(ENDLESS, 12, WARMED),
    "many phases": oc.cosine_restarts_schedule(
        0.3, 2, num_cycles=40, cycle_steps_factor=1.1, peak_factor=0.9
    ),
}
WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "bare": lambda tx: tx,
    "chain": lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx, optax.ema(0.9)),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    "chain in MultiSteps": lambda tx: optax.MultiSteps(
        optax.chain(optax.clip_by_global_norm(1.0), tx), 3
    ).gradient_transformation(),
}
ACCUMULATED = {"MultiSteps": 2, "chain in MultiSteps": 3}  # Steps for each update.
UPDATES = 14  # Beyond the first edits.
PARAMS = {
    "w": np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8),
    "b": np.zeros(8, np.float32),
}


@functools.cache
def optimizer(wrapper: str = "bare") -> Any:
    """The optimizer of the program, which knows its original schedule alone."""
    return WRAPPERS[wrapper](oc.inject_schedules(optax.adamw)(WARMED, weight_decay=0.1))


TRACES: list[str] = []


@functools.cache
def compiled_step(wrapper: str = "bare") -> Any:
    """One for all runs: it is traced once for each structure of a state."""

    def step(state: dict[str, Any]) -> dict[str, Any]:
        TRACES.append(wrapper)
        params, opt_state = state["params"], state["opt_state"]
        gradients = jax.tree.map(lambda x: jnp.sin(3 * x) + 0.1, params)
        updates, opt_state = optimizer(wrapper).update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
        return {"params": params, "opt_state": opt_state}

    return jax.jit(step)


def start(wrapper: str = "bare", dtype: Any = np.float32) -> dict[str, Any]:
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), PARAMS)
    return {"params": params, "opt_state": optimizer(wrapper).init(params)}


def fresh(wrapper: str = "bare", dtype: Any = np.float32) -> dict[str, Any]:
    """The target of a restore: shapes of the state with which the program begins."""
    return jax.eval_shape(lambda: start(wrapper, dtype))


def run(state: Any, updates: int = UPDATES, wrapper: str = "bare") -> Any:
    """The state after the updates, and the rates that were applied."""
    rates = []
    for _ in range(updates):
        state = compiled_step(wrapper)(state)
        rates.append(np.asarray(optax.tree.get(state, "learning_rate")))
    return state, np.array(rates)


def edited(state: Any, schedule: Any) -> Any:
    opt_state = oc.set_schedules(state["opt_state"], learning_rate=schedule)
    return state | {"opt_state": opt_state}


def schedule_of(state: Any) -> oc.Schedule:
    return oc.get_schedules(state["opt_state"])["learning_rate"]


class WithStandardCheckpointer:
    def __init__(self, folder):
        self.path = folder / "state"

    def save(self, state):
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(self.path, state)

    def restore(self, target):
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(self.path, target)


class WithCheckpointManager:
    def __init__(self, folder):
        self.path = folder

    def save(self, state):
        with ocp.CheckpointManager(self.path) as manager:
            manager.save(UPDATES, args=ocp.args.StandardSave(state))

    def restore(self, target, **options):
        with ocp.CheckpointManager(self.path) as manager:
            args = ocp.args.StandardRestore(target, **options)
            return manager.restore(manager.latest_step(), args=args)


@pytest.fixture(params=[WithStandardCheckpointer, WithCheckpointManager])
def checkpoint(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture
def manager(tmp_path):
    return WithCheckpointManager(tmp_path)


def assert_same_bits(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    leaves = zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True
    )
    for (path, x), y in leaves:
        where = jax.tree_util.keystr(path)
        assert (x.dtype, x.shape) == (y.dtype, y.shape), where
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), where


@pytest.mark.parametrize("name", TABLES)
def test_an_edited_run_returns_to_the_bit_in_the_program_as_it_was(manager, name):
    saved, _ = run(edited(start(), TABLES[name]))
    manager.save(saved)
    end, rates = run(saved)
    traces = len(TRACES)

    restored = manager.restore(fresh())
    assert_same_bits(restored, saved)
    schedule = schedule_of(saved)
    assert schedule_of(restored) == schedule
    assert hash(schedule_of(restored)) == hash(schedule)
    assert repr(schedule_of(restored)) == repr(schedule)
    assert oc.get_count(restored) == UPDATES
    resumed, rates_then = run(restored)
    assert rates_then.tobytes() == rates.tobytes()
    assert_same_bits(resumed, end)
    assert len(TRACES) == traces
    expected = [schedule(count) for count in range(UPDATES, 2 * UPDATES)]
    np.testing.assert_array_max_ulp(rates, np.array(expected), maxulp=16)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_an_edited_run_returns_whatever_is_around_its_state(checkpoint, wrapper):
    schedule = TABLES["extended, cooled down, rewarmed"]
    saved, _ = run(edited(start(wrapper), schedule), UPDATES, wrapper)
    checkpoint.save(saved)
    end, rates = run(saved, UPDATES, wrapper)
    restored = checkpoint.restore(fresh(wrapper))
    assert schedule_of(restored) == schedule
    resumed, rates_then = run(restored, UPDATES, wrapper)
    assert rates_then.tobytes() == rates.tobytes()
    assert_same_bits(resumed, end)
    count = (2 * UPDATES) // ACCUMULATED.get(wrapper, 1) - 1
    np.testing.assert_array_max_ulp(rates[-1], schedule(count), maxulp=16)


def test_the_target_may_hold_numbers(checkpoint):
    saved = edited(start(), TABLES["cooled down"])
    checkpoint.save(saved)
    assert_same_bits(checkpoint.restore(start()), saved)


@pytest.mark.parametrize("name", OTHERS)
def test_a_schedule_that_does_not_fit_needs_a_target_that_holds_one_like_it(
    manager, name
):
    saved, _ = run(edited(start(), OTHERS[name]))
    manager.save(saved)
    end, rates = run(saved)
    # Other numbers, but the same structure.
    target = jax.eval_shape(lambda: edited(start(), OTHERS[name] * 0.5))
    restored = manager.restore(target)
    assert schedule_of(restored) == OTHERS[name]
    resumed, rates_then = run(restored)
    assert rates_then.tobytes() == rates.tobytes()
    assert_same_bits(resumed, end)


@pytest.mark.parametrize("name", ["staircase", "product", "endless and edited"])
def test_a_schedule_that_is_not_a_table_is_refused_by_the_fresh_state(manager, name):
    manager.save(edited(start(), OTHERS[name]))
    with pytest.raises(ValueError, match=r"schedules.*learning_rate"):
        manager.restore(fresh())


NINE = oc.join(*[oc.cosine(0.1, 0.0, steps=5)] * 9)


def test_a_target_gets_room_from_any_schedule_of_as_many_phases(manager):
    saved = edited(start(), NINE)
    manager.save(saved)
    roomy = oc.join(*[oc.constant(1.0, steps=1)] * 9)
    restored = manager.restore(jax.eval_shape(lambda: edited(start(), roomy)))
    assert_same_bits(restored, saved)


ROOM = """
import sys
import jax, optax, orbax.checkpoint, optax_cosine as oc

def state(phases):
    schedule = oc.join(*[oc.cosine(0.1, 0.0, steps=5)] * phases)
    return oc.inject_schedules(optax.sgd)(schedule).init(jax.numpy.zeros(2))

with orbax.checkpoint.StandardCheckpointer() as checkpointer:
    for phases in 2, 4, 9:
        path = f"{sys.argv[1]}/{phases}"
        checkpointer.save(path, state(phases))
        checkpointer.wait_until_finished()
        checkpointer.restore(path, state(1))
"""


def test_more_phases_than_there_is_room_for_are_refused_with_both_shapes(tmp_path):
    # In a process of its own: Orbax leaves coroutines behind when it refuses a shape,
    # and what they say when they are collected would fail another test.
    command = [sys.executable, "-c", ROOM, tmp_path]
    job = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False
    )
    assert job.returncode == 1
    sentence = r"shape: \(\d, 8\) is not compatible with .* shape: \(\d, 16\)"
    assert re.search(sentence, job.stderr), job.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"2", "4", "9"}


def test_what_a_lenient_restore_fills_up_is_refused_and_repaired(manager):
    saved, _ = run(start(), 3)
    manager.save(saved)
    target = jax.eval_shape(lambda: edited(start(), NINE))
    restored = manager.restore(target, strict=False)
    later = restored["opt_state"]._replace(count=jnp.int32(1_000))
    for opt_state in (restored["opt_state"], later):
        state, rates = run(restored | {"opt_state": opt_state}, 3)
        assert np.isfinite(rates).all()
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(state["params"]))
    sentence = "learning_rate is not a schedule, .* 0.0], which falls.*set_schedules"
    with pytest.raises(ValueError, match=sentence):
        schedule_of(restored)
    repaired = edited(restored, WARMED)
    assert schedule_of(repaired) == WARMED
    _, rates = run(repaired, 3)
    expected = [WARMED(count) for count in range(3, 6)]
    np.testing.assert_array_max_ulp(rates, np.array(expected), maxulp=8)


def test_what_a_lenient_restore_cuts_off_is_repaired(manager):
    saved, _ = run(edited(start(), NINE), 3)
    manager.save(saved)
    restored = manager.restore(fresh(), strict=False)
    assert_same_bits(restored["params"], saved["params"])
    later = restored["opt_state"]._replace(count=jnp.int32(1_000))
    for opt_state in (restored["opt_state"], later):
        assert np.isfinite(run(restored | {"opt_state": opt_state}, 3)[1]).all()
    repaired = edited(restored, NINE)
    assert schedule_of(repaired) == NINE
    assert_same_bits(run(repaired, 3)[0], run(saved, 3)[0])


def test_half_precision_parameters_and_their_state_return_to_the_bit(checkpoint):
    saved, _ = run(start("MultiSteps", jnp.bfloat16), UPDATES, "MultiSteps")
    checkpoint.save(saved)
    assert_same_bits(checkpoint.restore(fresh("MultiSteps", jnp.bfloat16)), saved)


@pytest.mark.usefixtures("x64")
def test_a_schedule_in_double_precision_returns_to_the_bit(manager):
    tx: Any = oc.inject_schedules(optax.sgd)(oc.cosine_annealing_schedule(0.1, 60) / 3)
    saved = {"opt_state": tx.init(jnp.ones(2))}
    assert optax.tree.get(saved, "learning_rate").dtype == np.float64
    manager.save(saved)
    target = jax.eval_shape(lambda: {"opt_state": tx.init(jnp.ones(2))})
    assert_same_bits(manager.restore(target), saved)


def test_an_edited_population_returns_to_the_bit(manager):
    def init(schedule: Any) -> Any:
        return {"opt_state": oc.inject_schedules(optax.sgd)(schedule).init(jnp.ones(2))}

    names = ("one phase", "repeating", "extended, cooled down, rewarmed")
    stacked = oc.stack([TABLES[name] for name in names])
    saved = edited(jax.vmap(init)(oc.stack([WARMED] * 3)), stacked)
    manager.save(saved)
    target = jax.eval_shape(lambda: jax.vmap(init)(oc.stack([WARMED] * 3)))
    restored = manager.restore(target)
    assert_same_bits(restored, saved)
    assert schedule_of(restored) == stacked


# --- Onto another mesh ---

SHAPES = {"4x2": (4, 2), "2x4": (2, 4), "one device": (1, 1)}


def on_mesh(tree: Any, shape: tuple[int, int]) -> Any:
    """The shardings of the leaves: matrices in two directions, vectors in one."""
    devices = jax.devices()[: shape[0] * shape[1]]
    axes = {"axis_types": (AxisType.Auto, AxisType.Auto), "devices": devices}
    mesh = jax.make_mesh(shape, ("data", "model"), **axes)
    names = {PARAMS["w"].shape: ("data", "model"), PARAMS["b"].shape: ("model",)}

    def sharding(leaf: Any) -> Any:
        return NamedSharding(mesh, PartitionSpec(*names.get(leaf.shape, ())))

    return jax.tree.map(sharding, tree)


@pytest.mark.parametrize("then", SHAPES)
@pytest.mark.parametrize("first", SHAPES)
def test_an_edited_run_goes_on_on_another_mesh(manager, first, then):
    state = jax.device_put(start(), on_mesh(fresh(), SHAPES[first]))
    state, _ = run(state, 12)
    state = edited(state, TABLES["cooled down"])
    saved, _ = run(state, 3)
    manager.save(saved)
    target = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        *(fresh(), on_mesh(fresh(), SHAPES[then])),
    )
    restored = manager.restore(target)
    assert_same_bits(restored, saved)
    wanted, found = (jax.tree.map(lambda x: x.sharding, x) for x in (target, restored))
    assert wanted == found
    assert schedule_of(restored) == TABLES["cooled down"]

    resumed, rates = run(restored, 3)
    programs = compiled_step()._cache_size()
    schedule = oc.extend(TABLES["cooled down"], at_step=18, total_steps=40)
    resumed, rates_then = run(edited(resumed, schedule), 9)
    assert compiled_step()._cache_size() == programs
    rates = np.concatenate([rates, rates_then])
    expected = [schedule(count) for count in range(15, 27)]
    np.testing.assert_array_max_ulp(rates, np.array(expected), maxulp=8)
    unbroken, _ = run(saved, 3)
    unbroken, _ = run(edited(unbroken, schedule), 9)
    if first == then:
        assert_same_bits(resumed, unbroken)
    else:
        leaves = map(jax.tree.leaves, (resumed, unbroken))
        for x, y in zip(*leaves, strict=True):
            # Another number of devices adds in another order.
            np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7)


# --- The saved schedule and the configured one ---


def reconciled(opt_state: Any, schedule: Any, keep: str) -> Any:
    """Compare both, and choose."""
    if (saved := oc.get_schedules(opt_state)["learning_rate"]) != schedule:
        print(f"saved: {saved!r}, configured: {schedule!r}")
        chosen = schedule if keep == "configured" else saved
        opt_state = oc.set_schedules(opt_state, learning_rate=chosen)
    return opt_state


@pytest.mark.parametrize("keep", ["saved", "configured"])
def test_three_lines_compare_both_schedules_and_choose(manager, keep, capsys):
    saved, configured = TABLES["one phase"], oc.cosine_annealing_schedule(0.1, 600)
    manager.save(run(edited(start(), saved))[0])
    restored = manager.restore(fresh())
    opt_state = reconciled(restored["opt_state"], configured, keep)
    assert capsys.readouterr().out == (
        "saved: cosine(0.1, 0.0, steps=60), configured: cosine(0.1, 0.0, steps=600)\n"
    )
    chosen = {"saved": saved, "configured": configured}[keep]
    assert oc.get_schedules(opt_state)["learning_rate"] == chosen
    _, rates = run(restored | {"opt_state": opt_state}, 4)
    expected = [chosen(count) for count in range(UPDATES, UPDATES + 4)]
    np.testing.assert_array_max_ulp(rates, np.array(expected), maxulp=16)


def test_three_lines_are_silent_if_the_schedules_are_equal(manager, capsys):
    manager.save(run(start())[0])
    restored = manager.restore(fresh())["opt_state"]
    assert reconciled(restored, WARMED, "configured") is restored
    assert capsys.readouterr().out == ""
