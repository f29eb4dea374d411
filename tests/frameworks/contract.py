"""What must hold of schedules in an optimizer state, whichever framework trains."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_cosine as oc

STEPS = 40
WEIGHT_DECAY = 1e-2
CURVE = oc.warmup_cosine_annealing_schedule(
    0.1, STEPS, warmup_steps=5, hold_steps=3, end_value=0.01
)
# As many phases with other numbers; and what comes after the end is a number too.
OTHER = oc.join(
    oc.cosine(0.2, 0.05, steps=2),
    oc.linear(0.05, 0.3, steps=1),
    oc.cosine(0.3, 0.0, steps=3),
    after="repeat",
)
IMAGES = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
TARGETS = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)


def injected(schedule=CURVE) -> Any:
    return oc.inject_schedules(optax.adamw)(schedule, weight_decay=WEIGHT_DECAY)


def is_matrix(params: Any) -> Any:
    """By the number of dimensions; some frameworks box their arrays."""
    return jax.tree.map(lambda p: p.ndim > 1, params, is_leaf=has_dimensions)


def has_dimensions(node: Any) -> bool:
    return hasattr(node, "ndim")


def kinds(params: Any) -> Any:
    return jax.tree.map(lambda x: "matrix" if x else "vector", is_matrix(params))


WRAPPERS: dict[str, Any] = {
    "bare": lambda tx: tx,
    "chain": lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 2),
    "masked": lambda tx: optax.masked(tx, is_matrix),
    "partition": lambda tx: optax.partition(
        {"matrix": tx, "vector": optax.sgd(1e-3)}, kinds
    ),
    "all of them": lambda tx: optax.MultiSteps(
        optax.apply_if_finite(optax.named_chain(("a", optax.masked(tx, is_matrix))), 2),
        2,
    ).gradient_transformation(),
}
# From the present schedule to the next one.
COURSE: dict[str, Any] = {
    "half of it": lambda s, _: s / 2,
    "cooldown": lambda s, count: oc.cooldown(s, at_step=count, steps=20),
    "extend": lambda s, count: oc.extend(s, at_step=count, total_steps=90),
    "rewarm": lambda s, count: oc.rewarm(
        s, at_step=count, peak_value=0.2, warmup_steps=3, decay_steps=4
    ),
    "another kind": lambda *_: OTHER,
    "a number": lambda *_: oc.constant(0.05, steps=1),
}


def change_course(run: Any) -> None:
    """Edits a run four times, with an update after each edit."""
    for name in ("cooldown", "extend", "rewarm", "half of it"):
        schedule = oc.get_schedules(run.holder)["learning_rate"]
        schedule = COURSE[name](schedule, oc.get_count(run.holder))
        run.holder = oc.set_schedules(run.holder, learning_rate=schedule)
        run.update()


class Run(abc.ABC):
    """One small network that learns one batch, as its framework would have it."""

    def __init__(self, tx: Any, dtype: Any = np.float32):
        self.traces = 0
        self.start(tx, dtype)

    @abc.abstractmethod
    def start(self, tx: Any, dtype: Any) -> None:
        """Make the network and its optimizer."""

    @abc.abstractmethod
    def update(self) -> None:
        """One compiled step, which counts its traces."""

    @property
    @abc.abstractmethod
    def params(self) -> Any: ...

    @property
    @abc.abstractmethod
    def opt_state(self) -> Any: ...

    # What a user of the framework has in hand, and gives to set_schedules.
    holder: Any


def content(boxed: Any) -> Any:
    """The one array of a tree: NNX keeps each in a box."""
    (leaf,) = jax.tree.leaves(boxed)
    return leaf


def applied(run: Run) -> Any:
    return content(optax.tree.get(run.opt_state, "learning_rate"))


def signature(tree: Any) -> Any:
    leaves = [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]
    return jax.tree.structure(tree), leaves


def assert_rate(run: Run, schedule: Any, count: int) -> None:
    rate = applied(run)
    assert (rate.shape, rate.dtype, rate.weak_type) == ((), np.float32, False)
    np.testing.assert_array_max_ulp(rate, schedule(count), 8)


def assert_close(actual: Any, expected: Any, largest: float) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        # Parameters are of the order of 1: a rounding of one that is near 0 is its.
        np.testing.assert_allclose(a, b, rtol=largest, atol=largest)


class Contract:
    """To be inherited by a class of tests for one framework."""

    Run: ClassVar[Any]

    @pytest.mark.parametrize("wrapper", WRAPPERS)
    def test_the_rate_of_every_update_is_read_from_the_state(self, wrapper):
        run = self.Run(WRAPPERS[wrapper](injected()))
        every = 2 if wrapper in ("MultiSteps", "all of them") else 1
        assert applied(run) == CURVE(0)
        for batches in range(1, 14):
            run.update()
            assert_rate(run, CURVE, max(batches // every - 1, 0))
        assert run.traces == 1
        assert oc.get_schedules(run.holder) == {
            "learning_rate": CURVE,
            "weight_decay": oc.constant(WEIGHT_DECAY, steps=1),
        }

    def test_training_is_that_of_plain_adamw(self):
        wrapped = WRAPPERS["all of them"]
        ours = self.Run(wrapped(injected()))
        plain = self.Run(wrapped(optax.adamw(CURVE, weight_decay=WEIGHT_DECAY)))
        for _ in range(STEPS):
            ours.update()
            plain.update()
        assert_close(ours.params, plain.params, 2e-6)

    @pytest.mark.parametrize("wrapper", ["partition", "all of them"])
    def test_a_run_changes_course_again_and_again_and_is_traced_once(self, wrapper):
        every = 2 if wrapper == "all of them" else 1
        run, curve = self.Run(WRAPPERS[wrapper](injected())), CURVE
        for edit in [lambda s, _: s, *COURSE.values()]:
            first = oc.get_count(run.holder)
            assert isinstance(first, int)
            curve = edit(curve, first)
            run.holder = oc.set_schedules(run.holder, learning_rate=curve)
            assert oc.get_schedules(run.holder)["learning_rate"] == curve
            for count in range(first, first + 4):
                for _ in range(every):
                    run.update()
                assert_rate(run, curve, count)
        assert run.traces == 1

    def test_an_edit_changes_neither_the_network_nor_the_moments(self):
        run = self.Run(injected())
        for _ in range(3):
            run.update()
        before = signature(run.opt_state), run.params, run.opt_state
        run.holder = oc.set_schedules(run.holder, learning_rate=OTHER)
        assert signature(run.opt_state) == before[0]
        assert_close(run.params, before[1], 0)
        assert_close(run.opt_state.inner_state, before[2].inner_state, 0)
        assert content(run.opt_state.count) == 3
        assert applied(run) == content(before[2].applied["learning_rate"])

    def test_half_precision_stays_what_it_is_under_a_float32_rate(self):
        run = self.Run(injected(), jnp.bfloat16)
        before = signature((run.params, run.opt_state))
        assert all(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(run.params))
        for count in range(6):
            run.update()
            assert_rate(run, CURVE, count)
        assert signature((run.params, run.opt_state)) == before
        assert run.traces == 1
