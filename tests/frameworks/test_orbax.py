"""Whole optimizer states on disk and back, by Orbax: the schedule is a part of them."""

import json
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

import optax_cosine as oc

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.usefixtures("standard_promotion"),
]

WARMED = oc.warmup_cosine_annealing_schedule(
    0.1, 60, warmup_steps=5, hold_steps=4, end_value=0.003
)
SCHEDULES = {
    "one phase": oc.cosine_annealing_schedule(0.1, 60),
    "a number": 0.03,
    "many phases": oc.cosine_restarts_schedule(
        0.3, 2, num_cycles=40, cycle_steps_factor=1.1, peak_factor=0.9
    ),
    "repeating": oc.cosine_restarts_schedule(0.1, 7, cycle_warmup_steps=2),
    "mirrored": oc.join(oc.cosine(0.1, 0.01, steps=9), after="mirror"),
    "fractional": oc.join(oc.cosine(0.01, 0.1, steps=7.3), oc.linear(0.1, 0, steps=20)),
    "bent": oc.cosine(0.1, 0.01, steps=33, exponent=1.7, time_exponent=0.6),
    "offset": oc.shift(WARMED, 1),
    "staircase": oc.staircase(WARMED, 3),
    "stretched": oc.stretch(WARMED, 1.1),
    "cooled down": oc.cooldown(WARMED, at_step=12, steps=10, shape="1-sqrt"),
    "extended": oc.extend(WARMED, at_step=12, total_steps=97),
    "extended, cooled down": oc.cooldown(
        oc.extend(WARMED, at_step=12, total_steps=97), at_step=30, steps=10
    ),
    "rewarmed": oc.rewarm(
        WARMED, at_step=60, peak_value=0.05, warmup_steps=3, decay_steps=20
    ),
    "product": WARMED * oc.linear(1.0, 0.2, steps=30),
}
WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "bare": lambda tx: tx,
    "chain": lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx, optax.ema(0.9)),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    "chain in MultiSteps": lambda tx: optax.MultiSteps(
        optax.chain(optax.clip_by_global_norm(1.0), tx), 3
    ).gradient_transformation(),
}
ACCUMULATED = {"MultiSteps": 2, "chain in MultiSteps": 3}  # steps for one update
UPDATES = 14  # beyond the first seams of the edited schedules
PARAMS = {
    "w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "b": np.zeros(4, np.float32),
}


class Program:
    """One optimizer and its compiled step, as in a process of its own."""

    def __init__(self, schedule: Any, wrapper: str = "bare", dtype: Any = np.float32):
        injected = oc.inject_schedules(optax.adamw)(schedule, weight_decay=1e-2)
        self.tx = WRAPPERS[wrapper](injected)
        self.params: Any = jax.tree.map(lambda x: jnp.asarray(x, dtype), PARAMS)
        self.opt_state: Any = self.tx.init(self.params)
        self.traces = 0
        self.compiled = jax.jit(self._step, donate_argnums=(0, 1))

    def _step(self, params: Any, opt_state: Any) -> Any:
        self.traces += 1
        gradients = jax.tree.map(lambda x: jnp.sin(3 * x) + 0.1, params)
        updates, opt_state = self.tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    def run(self, updates: int) -> list[Any]:
        """The rates that were applied."""
        rates = []
        for _ in range(updates):
            self.params, self.opt_state = self.compiled(self.params, self.opt_state)
            rates.append(np.array(optax.tree.get(self.opt_state, "learning_rate")))
        return rates

    @property
    def state(self) -> dict[str, Any]:
        return {"params": self.params, "opt_state": self.opt_state}

    def load(self, state: dict[str, Any]) -> None:
        self.params, self.opt_state = state["params"], state["opt_state"]

    @property
    def schedule(self) -> Any:
        return oc.get_schedules(self.opt_state)["learning_rate"]


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
    """The schedules are saved beside the state, as JSON, and may be read alone."""

    def __init__(self, folder):
        self.path = folder

    def save(self, state, step=UPDATES):
        schedules = oc.get_schedules(state["opt_state"])
        written = {name: x.to_dict() for name, x in schedules.items()}
        with ocp.CheckpointManager(self.path) as manager:
            manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    schedules=ocp.args.JsonSave(written),
                ),
            )

    def restore(self, target):
        return self._restored(state=ocp.args.StandardRestore(target))

    def schedules(self):
        read = self._restored(schedules=ocp.args.JsonRestore())
        return {name: oc.Schedule.from_dict(x) for name, x in read.items()}

    def _restored(self, **wanted):
        (name,) = wanted
        with ocp.CheckpointManager(self.path) as manager:
            args = ocp.args.Composite(**wanted)
            return manager.restore(manager.latest_step(), args=args)[name]


@pytest.fixture(params=[WithStandardCheckpointer, WithCheckpointManager])
def checkpoint(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture
def manager(tmp_path):
    return WithCheckpointManager(tmp_path)


def abstract(tree: Any) -> Any:
    return jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)


def copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def assert_same_bits(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    leaves = zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True
    )
    for (path, x), y in leaves:
        where = jax.tree_util.keystr(path)
        assert (x.dtype, x.shape) == (y.dtype, y.shape), where
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), where


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_state_returns_whole_and_goes_on_in_the_same_program(checkpoint, name):
    program = Program(SCHEDULES[name])
    before = program.run(UPDATES)
    checkpoint.save(program.state)
    saved, schedule = copied(program.state), program.schedule
    uninterrupted = program.run(UPDATES)

    restored = checkpoint.restore(abstract(program.state))
    assert_same_bits(restored, saved)
    end = copied(program.state)
    program.load(restored)
    assert program.schedule == schedule
    assert hash(program.schedule) == hash(schedule)
    assert repr(program.schedule) == repr(schedule)
    assert_same_bits(program.run(UPDATES), uninterrupted)
    assert_same_bits(program.state, end)
    assert program.traces == 1
    np.testing.assert_array_max_ulp(
        np.array(before + uninterrupted),
        np.array([schedule(count) for count in range(2 * UPDATES)]),
        maxulp=16,
    )


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", ["one phase", "extended, cooled down", "product"])
def test_a_new_process_goes_on_to_the_bit_whatever_is_around_the_state(
    manager, name, wrapper
):
    program = Program(SCHEDULES[name], wrapper)
    program.run(UPDATES)
    manager.save(program.state)
    rates = program.run(UPDATES)

    resumed = Program(SCHEDULES[name], wrapper)
    resumed.load(manager.restore(resumed.state))
    assert resumed.schedule == program.schedule
    assert_same_bits(resumed.run(UPDATES), rates)
    assert_same_bits(resumed.state, program.state)
    assert resumed.traces == 1


def test_half_precision_parameters_and_their_state_return_to_the_bit(checkpoint):
    program = Program(WARMED, "MultiSteps", jnp.bfloat16)
    program.run(UPDATES)
    checkpoint.save(program.state)
    assert_same_bits(checkpoint.restore(abstract(program.state)), program.state)


@pytest.mark.usefixtures("x64")
def test_a_schedule_in_double_precision_returns_to_the_bit(manager):
    program = Program(oc.cosine_annealing_schedule(0.1, 60) * (1 / 3))
    (rate, *_) = program.run(UPDATES)
    assert rate.dtype == np.float64
    manager.save(program.state)
    assert_same_bits(manager.restore(abstract(program.state)), program.state)
    assert manager.schedules()["learning_rate"] == program.schedule


def test_a_population_of_schedules_returns_to_the_bit(manager):
    stacked = oc.stack([SCHEDULES[x] for x in ("one phase", "repeating", "bent")])

    def init(schedule: Any) -> Any:
        return oc.inject_schedules(optax.sgd)(schedule).init(jnp.zeros(2))

    opt_state = jax.vmap(init)(stacked)
    manager.save({"opt_state": opt_state})
    restored = manager.restore(abstract({"opt_state": opt_state}))["opt_state"]
    assert_same_bits(restored, opt_state)
    assert oc.get_schedules(restored)["learning_rate"] == stacked
    assert manager.schedules()["learning_rate"] == stacked


def test_the_state_returns_to_the_devices_of_the_target(checkpoint):
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere = jax.NamedSharding(mesh, jax.P())
    program = Program(SCHEDULES["cooled down"])
    program.load(jax.device_put(program.state, everywhere))
    program.run(UPDATES)
    checkpoint.save(program.state)
    restored = checkpoint.restore(abstract(program.state))
    assert_same_bits(restored, program.state)
    assert {leaf.sharding for leaf in jax.tree.leaves(restored)} == {everywhere}
    program.load(restored)
    program.run(1)
    assert program.traces == 1
    assert program.schedule == SCHEDULES["cooled down"]


OTHERWISE_CONFIGURED = {
    "another horizon": (
        oc.cosine_annealing_schedule(0.1, 60),
        oc.cosine_annealing_schedule(0.1, 600),
    ),
    "another kind": (
        oc.join(oc.cosine(0.0, 0.1, steps=5), oc.cosine(0.1, 0.0, steps=25)),
        oc.join(oc.linear(0.0, 0.1, steps=5), oc.linear(0.1, 0.0, steps=25)),
    ),
    "a number for a curve": (oc.cosine_annealing_schedule(0.1, 60), 0.1),
    "a curve for a number": (0.1, oc.cosine_annealing_schedule(0.1, 60)),
    "after: repeat for hold": (
        oc.join(oc.cosine(0.1, 0.0, steps=8)),
        oc.join(oc.cosine(0.1, 0.0, steps=8), after="repeat"),
    ),
    "after: hold for mirror": (
        oc.join(oc.cosine(0.1, 0.0, steps=8), after="mirror"),
        oc.join(oc.cosine(0.1, 0.0, steps=8)),
    ),
    "another seam": (
        oc.cooldown(WARMED, at_step=12, steps=10),
        oc.cooldown(WARMED, at_step=40, steps=20),
    ),
    "another clock": (oc.staircase(WARMED, 4), oc.staircase(WARMED, 9)),
}


@pytest.mark.parametrize("case", OTHERWISE_CONFIGURED)
def test_a_program_that_is_configured_otherwise_follows_the_saved_curve(
    checkpoint, case
):
    saved, configured = OTHERWISE_CONFIGURED[case]
    program = Program(saved)
    program.run(UPDATES)
    checkpoint.save(program.state)
    rates = program.run(UPDATES)

    other = Program(configured)
    differing = other.run(2 * UPDATES)[UPDATES:]
    other.load(checkpoint.restore(abstract(other.state)))
    assert_same_bits(other.run(UPDATES), rates)
    assert_same_bits(other.state, program.state)
    assert other.traces == 1
    assert other.schedule == program.schedule
    assert any(x != y for x, y in zip(rates, differing, strict=True))


def reconciled(opt_state: Any, schedule: Any, keep: str) -> Any:
    """As in examples/resume.py."""
    if (saved := oc.get_schedules(opt_state)["learning_rate"]) != schedule:
        print(f"saved: {saved!r}, configured: {schedule!r}")
        chosen = schedule if keep == "configured" else saved
        opt_state = oc.set_schedules(opt_state, learning_rate=chosen)
    return opt_state


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("keep", ["saved", "configured"])
def test_three_lines_compare_both_curves_and_choose(manager, wrapper, keep, capsys):
    saved, configured = OTHERWISE_CONFIGURED["another horizon"]
    program = Program(saved, wrapper)
    program.run(UPDATES)
    manager.save(program.state)

    other = Program(configured, wrapper)
    other.run(1)
    other.load(manager.restore(abstract(other.state)))
    other.opt_state = reconciled(other.opt_state, configured, keep)
    assert capsys.readouterr().out == (
        "saved: cosine(0.1, 0.0, steps=60), configured: cosine(0.1, 0.0, steps=600)\n"
    )
    chosen = {"saved": saved, "configured": configured}[keep]
    assert other.schedule == chosen
    *_, rate = other.run(4)
    count = (UPDATES + 4) // ACCUMULATED.get(wrapper, 1) - 1
    np.testing.assert_array_max_ulp(rate, chosen(count), maxulp=16)
    assert other.traces == 1


def test_three_lines_are_silent_where_the_curves_are_the_same(checkpoint, capsys):
    program = Program(WARMED)
    program.run(UPDATES)
    checkpoint.save(program.state)
    restored = checkpoint.restore(abstract(program.state))["opt_state"]
    assert reconciled(restored, WARMED, "configured") is restored
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", [x for x in SCHEDULES if x != "a number"])
def test_the_target_is_built_from_the_schedules_saved_beside(manager, name):
    wrapper = "chain in MultiSteps"
    program = Program(WARMED, wrapper)
    program.opt_state = oc.set_schedules(
        program.opt_state, learning_rate=SCHEDULES[name]
    )
    program.run(UPDATES)
    manager.save(program.state)
    rates = program.run(UPDATES)

    resumed = Program(0.5, wrapper)
    target = oc.set_schedules(resumed.opt_state, **manager.schedules())
    resumed.load(manager.restore(resumed.state | {"opt_state": target}))
    assert resumed.schedule == SCHEDULES[name]
    assert_same_bits(resumed.run(UPDATES), rates)
    assert_same_bits(resumed.state, program.state)


def test_the_target_may_be_abstract(manager):
    program = Program(SCHEDULES["extended"])
    program.run(UPDATES)
    manager.save(program.state)

    other = Program(0.5)
    target = jax.eval_shape(
        lambda opt_state: oc.set_schedules(opt_state, **manager.schedules()),
        other.opt_state,
    )
    restored = manager.restore({"params": abstract(other.params), "opt_state": target})
    assert_same_bits(restored, program.state)


def test_an_edit_between_two_saves_is_in_the_second_one(manager):
    program = Program(WARMED)
    program.run(UPDATES)
    manager.save(program.state)
    shorter = oc.cooldown(program.schedule, at_step=UPDATES, steps=10)
    program.opt_state = oc.set_schedules(program.opt_state, learning_rate=shorter)
    assert manager.schedules()["learning_rate"] == WARMED
    program.run(1)
    manager.save(program.state, UPDATES + 1)
    assert manager.schedules()["learning_rate"] == shorter
    assert program.traces == 2


@pytest.mark.parametrize(
    ("saved", "configured"),
    [("staircase", "extended"), ("one phase", "product"), ("product", "bent")],
)
def test_a_curve_of_another_structure_is_refused(checkpoint, saved, configured):
    program = Program(SCHEDULES[saved])
    checkpoint.save(program.state)
    target = abstract(Program(SCHEDULES[configured]).state)
    with pytest.raises(ValueError, match="schedules"):
        checkpoint.restore(target)


PHASES = """
import sys
import jax, optax, orbax.checkpoint, optax_cosine as oc

def state(phases):
    schedule = oc.join(*[oc.cosine(0.1, 0.0, steps=5)] * phases)
    return oc.inject_schedules(optax.sgd)(schedule).init(jax.numpy.zeros(2))

with orbax.checkpoint.StandardCheckpointer() as checkpointer:
    checkpointer.save(sys.argv[1], state(2))
    checkpointer.wait_until_finished()
    checkpointer.restore(sys.argv[1], state(int(sys.argv[2])))
"""


@pytest.mark.parametrize(("phases", "status"), [(1, 1), (2, 0), (3, 1)])
def test_a_curve_of_more_or_fewer_phases_is_refused(tmp_path, phases, status):
    # In a process of its own: Orbax leaves coroutines behind when it refuses a shape,
    # and what they say when they are collected would fail another test.
    path = tmp_path / "state"
    job = subprocess.run(
        [sys.executable, "-c", PHASES, path, str(phases)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert job.returncode == status, job.stderr
    sentence = rf"shape: \(\d, {phases}\) is not compatible with .* shape: \(\d, 2\)"
    assert bool(re.search(sentence, job.stderr)) == bool(status)


def test_what_is_saved_beside_the_state_is_plain_json(manager):
    program = Program(SCHEDULES["extended, cooled down"])
    manager.save(program.state)
    schedules = oc.get_schedules(program.opt_state)
    for name, schedule in manager.schedules().items():
        assert schedule == schedules[name]
    (file,) = manager.path.glob(f"{UPDATES}/schedules/metadata")
    written = json.loads(file.read_text())
    assert written == {name: x.to_dict() for name, x in schedules.items()}
