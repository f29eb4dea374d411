"""A running job changes course as often as one likes, and no step compiles again."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from programs import inject
from sweeps import sweep

import optax_cosine as oc

pytestmark = pytest.mark.usefixtures("standard_promotion")

MEMBERS = 16
START = oc.warmup_cosine_annealing_schedule(0.1, 200, warmup_steps=10)
RESTARTS = oc.cosine_restarts_schedule(0.1, 5, num_cycles=3)
# After 50 updates, and after 10 more each: from the present schedule to the next.
COURSE: dict[str, Callable[[oc.Schedule, int], Any]] = {
    "cooldown": lambda s, count: oc.cooldown(s, at_step=count, steps=30),
    "extend": lambda s, count: oc.extend(s, at_step=count, total_steps=count + 90),
    "rewarm": lambda s, count: oc.rewarm(
        s, at_step=count + 2, peak_value=0.08, warmup_steps=5, decay_steps=40
    ),
    "another kind": lambda _, count: oc.warmup_stable_decay_schedule(
        0.05, count + 40, warmup_steps=count + 3, decay_steps=30, shape="1-sqrt"
    ),
    "a number": lambda _, __: 0.01,
    "restarts": lambda _, count: oc.shift(RESTARTS, -count),
    "for ever": lambda _, __: oc.cosine_restarts_schedule(0.1, 7),
    "half of it": lambda s, _: s * 0.5,
}

COMPILED: list[str] = []


def listen(event: str, *_: Any, **__: Any) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        COMPILED.append(event)


jax.monitoring.register_event_duration_secs_listener(listen)


def adamw(schedule: Any = START) -> Any:
    return inject(optax.adamw, learning_rate=schedule, weight_decay=0.01)


def start_of(schedule: Any = START) -> Any:
    params = {"w": jnp.full((8, 4), 0.5, np.float32), "b": jnp.ones(8)}
    return params, adamw(schedule).init(params)


class Run:
    """A training run whose step counts how often it is traced."""

    def __init__(self, params: Any, opt_state: Any, over: Callable = lambda f: f):
        self.params, self.opt_state, self.traces = params, opt_state, 0
        self.step: Any = jax.jit(over(self.update), donate_argnums=(0, 1))

    def update(self, params: Any, opt_state: Any) -> Any:
        self.traces += 1
        gradients = jax.tree.map(lambda p: p * p + p, params)
        updates, opt_state = adamw().update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    def advance(self) -> np.ndarray:
        """The rate of one more update."""
        self.params, self.opt_state = self.step(self.params, self.opt_state)
        return np.asarray(optax.tree.get(self.opt_state, "learning_rate"))


def on_one_device() -> Run:
    return Run(*start_of())


def ahead_of_time() -> Run:
    run = Run(*start_of())
    run.step = run.step.lower(run.params, run.opt_state).compile()
    return run


def on_a_mesh(mesh: Mesh) -> Run:
    """Parameters and moments are split, the rest lies on all devices."""

    def put(x: jax.Array) -> jax.Array:
        spec = PartitionSpec("data") if x.shape[:1] == (8,) else PartitionSpec()
        return jax.device_put(x, NamedSharding(mesh, spec))

    params, opt_state = start_of()
    schedules = jax.device_put(
        opt_state.schedules, NamedSharding(mesh, PartitionSpec())
    )
    params, opt_state = jax.tree.map(put, (params, opt_state))
    return Run(params, opt_state._replace(schedules=schedules))


def with_explicit_axes() -> Run:
    return on_a_mesh(jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,)))


def with_automatic_axes() -> Run:
    return on_a_mesh(Mesh(np.array(jax.devices()[:8]), ("data",)))


@sweep(
    "run_of",
    [on_one_device, ahead_of_time, with_automatic_axes, with_explicit_axes],
    [ahead_of_time, with_explicit_axes],
)
def test_one_compiled_step_serves_a_run_that_changes_course_eight_times(run_of):
    run = run_of()
    for _ in range(50):
        run.advance()
    for name, edit in COURSE.items():
        count = oc.get_count(run.opt_state)
        assert isinstance(count, int)
        schedule = oc.get_schedules(run.opt_state)["learning_rate"]
        edited = edit(schedule, count)
        run.opt_state = oc.set_schedules(run.opt_state, learning_rate=edited)
        read = oc.get_schedules(run.opt_state)["learning_rate"]
        assert read == (oc.constant(edited, steps=1) if name == "a number" else edited)
        programs = len(COMPILED)
        for step in range(count, count + 10):
            np.testing.assert_array_max_ulp(run.advance(), read(step), 8)
        assert len(COMPILED) == programs, name
    assert run.traces == 1


@pytest.mark.thorough
def test_a_population_changes_course_with_one_compiled_step():
    factors = [1 / (1 + member) for member in range(MEMBERS)]
    population = oc.stack([START * factor for factor in factors])
    run = Run(*jax.vmap(start_of)(population), over=jax.vmap)
    for _ in range(50):
        run.advance()
    for name, edit in COURSE.items():
        (count,) = set(np.asarray(oc.get_count(run.opt_state)).tolist())
        stacked = oc.get_schedules(run.opt_state)["learning_rate"]
        members = [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(MEMBERS)]
        edited = [edit(member, count) for member in members]
        if name == "a number":
            edited = [oc.constant(0.01 * factor, steps=1) for factor in factors]
        stacked = oc.stack(edited)
        run.opt_state = oc.set_schedules(run.opt_state, learning_rate=stacked)
        programs = len(COMPILED)
        for step in range(count, count + 10):
            expected = np.array([schedule(step) for schedule in edited])
            np.testing.assert_array_max_ulp(run.advance(), expected, 8)
        assert len(COMPILED) == programs, name
    assert run.traces == 1
