"""Optimizers whose schedules travel in their state, through Optax's own wrappers."""

import functools
from types import FunctionType
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from programs import inject, kernels
from sweeps import sweep

import optax_cosine as oc

pytestmark = pytest.mark.usefixtures("standard_promotion")

STEPS = 40
CURVE = oc.warmup_cosine_annealing_schedule(
    0.1, STEPS, warmup_steps=5, hold_steps=3, end_value=0.01
)
RISING = oc.cosine(0.5, 0.99, steps=STEPS)


def keyed_noisy_sgd(learning_rate, eta) -> Any:
    return optax.noisy_sgd(learning_rate, eta, key=jax.random.key(0))


def own(learning_rate, decay=0.1) -> Any:
    return optax.chain(optax.trace(decay), optax.scale_by_learning_rate(learning_rate))


OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "adamw": (optax.adamw, {"learning_rate": CURVE}),
    "adamw, numbers": (optax.adamw, {"learning_rate": CURVE, "b2": 0.999, "eps": 1e-8}),
    "sgd": (optax.sgd, {"learning_rate": CURVE, "momentum": RISING}),
    "lion": (optax.lion, {"learning_rate": CURVE, "weight_decay": CURVE * 0.1}),
    "lamb": (optax.lamb, {"learning_rate": CURVE}),
    "adafactor": (optax.adafactor, {"learning_rate": CURVE, "momentum": 0.9}),
    "noisy_sgd": (keyed_noisy_sgd, {"learning_rate": CURVE, "eta": CURVE}),
    "novograd": (optax.novograd, {"learning_rate": CURVE, "b1": 0.9}),
    "scale": (optax.scale_by_learning_rate, {"learning_rate": CURVE}),
    "decay": (optax.add_decayed_weights, {"weight_decay": CURVE}),
    "clip": (optax.clip_by_global_norm, {"max_norm": CURVE}),
    "ema": (optax.ema, {"decay": RISING}),
    "a user's own": (own, {"learning_rate": CURVE, "decay": RISING}),
}
WRAPPERS: dict[str, Any] = {
    "bare": lambda tx: tx,
    "chain": lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 1),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 2),
    "masked": lambda tx: optax.masked(tx, {"w": True, "b": False}),
    "partition": lambda tx: optax.partition(
        {"slow": optax.sgd(1e-3), "fast": tx}, {"w": "fast", "b": "slow"}
    ),
    "all of them": lambda tx: optax.MultiSteps(
        optax.apply_if_finite(
            optax.named_chain(("a", optax.masked(tx, {"w": True, "b": True}))), 2
        ),
        1,
    ),
}
optimizers = pytest.mark.parametrize("name", OPTIMIZERS)
wrappers = pytest.mark.parametrize("wrapper", WRAPPERS)


def injected(name: str) -> Any:
    factory, hyperparams = OPTIMIZERS[name]
    return inject(factory, **hyperparams)


def params_of(dtype: Any = np.float32) -> dict[str, Any]:
    return {"w": jnp.full((4, 3), 0.5, dtype), "b": jnp.full(3, -0.25, dtype)}


def update_of(tx: Any):
    def update(params, opt_state):
        gradients = jax.tree.map(lambda p: p * p + p, params)
        updates, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return update


def after(steps: int, tx: Any, params: Any) -> Any:
    def body(carry, _):
        return update_of(tx)(*carry), None

    return jax.jit(lambda c: jax.lax.scan(body, c, length=steps)[0])(
        (params, tx.init(params))
    )


def signature(tree: Any) -> Any:
    leaves = [
        (x.shape, x.dtype, getattr(x, "weak_type", False))  # keys have no such thing
        for x in jax.tree.leaves(tree)
    ]
    return jax.tree.structure(tree), leaves


def plain_outputs(name: str, wrapper: str, params: Any) -> tuple[Any, Any, Any]:
    """Updates, new state and old state of the optimizer if its arguments are floats."""
    factory, hyperparams = OPTIMIZERS[name]
    plain = WRAPPERS[wrapper](factory(**dict.fromkeys(hyperparams, 0.5)))
    opt_state = plain.init(params)
    return *jax.eval_shape(plain.update, params, opt_state, params), opt_state


@sweep("wrapper", WRAPPERS, [*WRAPPERS][::3])
def test_the_rate_that_was_applied_is_read_alone(wrapper):
    tx = WRAPPERS[wrapper](inject(optax.adamw, learning_rate=CURVE))
    params = params_of()
    opt_state = tx.init(params)
    assert optax.tree.get(opt_state, "learning_rate") == CURVE(0)
    update = jax.jit(update_of(tx))
    for count in range(STEPS + 3):
        params, opt_state = update(params, opt_state)
        rate = optax.tree.get(opt_state, "learning_rate")
        assert rate.dtype == np.float32
        np.testing.assert_array_max_ulp(rate, CURVE(count), 8)
    assert oc.get_schedules(opt_state) == {"learning_rate": CURVE}


@optimizers
@sweep("wrapper", ["bare", "MultiSteps", "apply_if_finite"], ["bare", "MultiSteps"])
@sweep("dtype", ["float32", "bfloat16"], ["bfloat16"])
def test_the_state_never_changes_its_shapes_and_dtypes(name, wrapper, dtype):
    tx = WRAPPERS[wrapper](injected(name))
    params = params_of(dtype)
    opt_state = tx.init(params)
    if (name, wrapper, dtype) == ("adafactor", "apply_if_finite", "bfloat16"):
        # Adafactor gives float32 updates, which Optax's wrapper refuses.
        refused = pytest.raises(TypeError, match="cond branches must have equal")
        with refused:
            tx.update(params, opt_state, params)
        with refused:
            plain_outputs(name, wrapper, params)
        return
    updates, updated = jax.eval_shape(tx.update, params, opt_state, params)
    plain_updates, plain_updated, plain_state = plain_outputs(name, wrapper, params)
    assert signature(updates) == signature(plain_updates)
    if (name, wrapper, dtype) == ("adafactor", "MultiSteps", "bfloat16"):
        # In Optax 0.2.5 its updates widen the sums that MultiSteps keeps.
        keeps = signature(updated) == signature(opt_state)
        assert keeps == (signature(plain_updated) == signature(plain_state))
        if not keeps:
            return
    assert signature(updated) == signature(opt_state)
    chex.assert_trees_all_equal_shapes_and_dtypes(
        jax.eval_shape(lambda: after(3, tx, params)), (params, opt_state)
    )


@sweep("name", ["adamw", "adamw, numbers", "lion", "lamb", "sgd"], ["adamw", "lamb"])
def test_after_forty_steps_it_equals_the_plain_optimizer(name):
    factory, written = OPTIMIZERS[name]
    # Optax follows a schedule for the rate alone.
    hyperparams: dict[str, Any] = {
        key: x if key == "learning_rate" or not callable(x) else float(np.asarray(x(7)))
        for key, x in written.items()
    }
    ours, theirs = inject(factory, **hyperparams), factory(**hyperparams)
    expected = after(STEPS, theirs, params_of())[0]
    # 1 - b2 is taken in float32, where 0.999 leaves 1e-3 with four digits.
    rtol = 5e-5 if name == "adamw, numbers" else 1e-6
    chex.assert_trees_all_close(after(STEPS, ours, params_of())[0], expected, rtol=rtol)


def test_every_hyperparameter_follows_its_schedule():
    tx = injected("a user's own")
    trace, params = jnp.float32(0), jnp.float32(1)
    opt_state, update = tx.init(params), jax.jit(tx.update)
    for count in range(STEPS):
        updates, opt_state = update(params, opt_state)
        trace = params + RISING(count) * trace
        np.testing.assert_allclose(updates, -CURVE(count) * trace, rtol=1e-5)


def keeps_params(learning_rate) -> Any:
    """As optimizers do that measure the distance from the first parameters."""

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        return jax.tree.map(lambda x: -learning_rate * x, updates), state

    return optax.GradientTransformation(lambda params: params, update)


ABSTRACT = OPTIMIZERS | {
    "cocob": (optax.contrib.cocob, {"learning_rate": CURVE}),
    "first parameters": (keeps_params, {"learning_rate": CURVE}),
}


@pytest.mark.parametrize("name", ABSTRACT)
def test_a_state_is_made_for_shapes_of_parameters(name):
    factory, hyperparams = ABSTRACT[name]
    shapes = jax.eval_shape(params_of)
    factory(**dict.fromkeys(hyperparams, 0.5)).init(shapes)  # The plain one can.
    opt_state = inject(factory, **hyperparams).init(shapes)
    of_arrays = inject(factory, **hyperparams).init(params_of())
    assert jax.tree.structure(opt_state) == jax.tree.structure(of_arrays)
    chex.assert_trees_all_equal_shapes_and_dtypes(opt_state, of_arrays)
    assert oc.get_count(opt_state) == 0


def cells(function: Any) -> list[Any]:
    """What a function and the functions in it close over."""
    found = []
    for cell in function.__closure__ or ():
        content = cell.cell_contents
        found.append(content)
        if isinstance(content, FunctionType):
            found += cells(content)
    return found


def test_what_init_and_update_close_over_is_hashable_or_a_tree_of_arrays():
    # Equinox makes a tree of such a closure, and hashes what is not an array.
    factory = inject(optax.adamw, learning_rate=CURVE, b1=0.9, weight_decay=RISING)
    for function in (factory.init, factory.update):
        for leaf in jax.tree.leaves(cells(function)):
            assert isinstance(leaf, np.ndarray) or hash(leaf) is not None


def test_half_precision_rounds_no_hyperparameter():
    tx = inject(optax.adamw, learning_rate=1e-3, b1=0.9, b2=0.999)
    params = params_of(jnp.bfloat16)
    opt_state = tx.init(params)
    _, opt_state = tx.update(params, opt_state, params)
    for name, value in {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999}.items():
        assert optax.tree.get(opt_state, name) == np.float32(value)
    # Adam's second moment after one update is (1 - b2) * gradient**2.
    nu = optax.tree.get(opt_state, "nu")["w"]
    assert nu.dtype == jnp.bfloat16
    np.testing.assert_array_equal(nu, jnp.bfloat16(np.float32(1e-3) * 0.5**2))


@optimizers
def test_gradients_in_half_precision_give_the_updates_of_the_plain_optimizer(name):
    # As MaxText's `grad_dtype`: parameters in float32, gradients in bfloat16.
    factory, hyperparams = OPTIMIZERS[name]
    plain: Any = factory(**dict.fromkeys(hyperparams, 0.5))
    ours, params, gradients = injected(name), params_of(), params_of("bfloat16")
    expected, _ = jax.eval_shape(plain.update, gradients, plain.init(params), params)
    opt_state = ours.init(params)
    updates, updated = jax.eval_shape(ours.update, gradients, opt_state, params)
    assert signature(updates) == signature(expected)
    assert signature(updated) == signature(opt_state)


def test_an_edit_on_a_mesh_of_devices_compiles_nothing():
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    split = NamedSharding(mesh, PartitionSpec(None, "data"))
    everywhere = NamedSharding(mesh, PartitionSpec())
    tx = inject(optax.adamw, learning_rate=CURVE)
    params = {"w": jax.device_put(jnp.ones((4, 2)), split)}
    opt_state = tx.init(params)
    assert optax.tree.get(opt_state, "mu")["w"].sharding == split
    opt_state = jax.tree.map(
        lambda x: x if x.ndim == 2 else jax.device_put(x, everywhere), opt_state
    )
    update: Any = jax.jit(update_of(tx))
    for _ in range(3):
        params, opt_state = update(params, opt_state)
    programs = update._cache_size()
    opt_state = oc.set_schedules(opt_state, learning_rate=CURVE * 2)
    assert {x.sharding for x in jax.tree.leaves(opt_state.schedules)} == {everywhere}
    params, opt_state = update(params, opt_state)
    assert update._cache_size() == programs
    rate = optax.tree.get(opt_state, "learning_rate")
    np.testing.assert_array_max_ulp(np.asarray(rate), 2 * CURVE(3), 8)


def test_the_tree_is_the_same_for_a_number_and_a_schedule_of_one_phase():
    states = [
        inject(optax.adamw, learning_rate=rate).init(params_of())
        for rate in (0.1, oc.cosine_annealing_schedule(0.1, 100), np.float32(0.1))
    ]
    assert signature(states[0]) == signature(states[1]) == signature(states[2])


def test_the_state_may_be_donated_and_schedules_survive():
    schedule = jax.device_put(CURVE)
    tx = inject(optax.adamw, learning_rate=schedule, weight_decay=schedule)
    opt_state = jax.jit(tx.init)(params_of())
    for state in (opt_state, tx.init(params_of())):
        leaves = jax.tree.leaves((state, schedule))
        assert len({x.unsafe_buffer_pointer() for x in leaves}) == len(leaves)
        read = oc.get_schedules(state)["learning_rate"]
        jax.jit(update_of(tx), donate_argnums=(0, 1))(params_of(), state)
        assert all(x.is_deleted() for x in jax.tree.leaves(state.schedules))
        assert read == schedule == CURVE
        assert read(7) == CURVE(7)


KERNELS = {
    "one phase": oc.cosine_annealing_schedule(1e-3, 1_000),
    "three": CURVE,
    "edited": oc.cooldown(
        oc.extend(CURVE, at_step=9, total_steps=90), at_step=30, steps=20
    ),
    "product": CURVE * RISING,
    "a thousand": oc.cosine_restarts_schedule(1e-3, 10, num_cycles=500),
}


@sweep("name", KERNELS, ["edited", "a thousand"])
def test_a_schedule_in_the_state_takes_at_most_two_more_kernels_than_in_optax(name):
    theirs = optax.inject_hyperparams(optax.adamw)(
        learning_rate=optax.cosine_decay_schedule(1e-3, 1_000)
    )
    ours = inject(optax.adamw, learning_rate=KERNELS[name])
    assert kernels(ours) <= kernels(theirs) + 2


def test_extra_arguments_pass_through():
    def scaled_by_value(learning_rate) -> Any:
        def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
            return updates * learning_rate * extra["value"], state

        return optax.GradientTransformationExtraArgs(optax.identity().init, update)

    tx = optax.chain(optax.identity(), oc.inject_schedules(scaled_by_value)(0.5))
    updates, _ = tx.update(jnp.ones(2), tx.init(jnp.ones(2)), value=3.0)
    np.testing.assert_array_equal(updates, [1.5, 1.5])


def test_settings_reach_the_factory_as_they_are():
    seen: dict[str, Any] = {}

    def make(
        learning_rate, *, nesterov=False, power=2, norm="l2", mask=None, **more
    ) -> Any:
        seen.update(locals())
        return optax.sgd(learning_rate)

    table = np.ones(3, np.float32)
    mask = lambda params: params  # noqa: E731, to be found again by identity
    tx = oc.inject_schedules(make, static_args="mask")(
        0.1, nesterov=True, power=3, mask=mask, table=table, gain=0.5
    )
    tx.init(jnp.ones(2))
    assert seen["nesterov"] is True
    assert type(seen["power"]) is int
    assert seen["norm"] == "l2"
    assert seen["mask"] is mask
    assert seen["more"]["table"] is table
    assert seen["more"]["gain"].dtype == seen["learning_rate"].dtype == np.float32


@pytest.mark.parametrize("dtype", [jnp.bfloat16, "bfloat16", np.dtype(jnp.bfloat16)])
def test_a_dtype_is_a_setting(dtype):
    tx = inject(optax.adamw, learning_rate=CURVE, mu_dtype=dtype)
    params = params_of()
    opt_state = tx.init(params)
    _, updated = tx.update(params, opt_state, params)
    assert signature(updated) == signature(opt_state)
    assert optax.tree.get(opt_state, "mu")["w"].dtype == jnp.bfloat16
    assert list(opt_state.applied) == ["learning_rate"]


def test_an_int_may_follow_a_schedule():
    def power_decay(power=2) -> Any:
        return optax.scale(power)

    tx = oc.inject_schedules(power_decay)(power=oc.linear(1.0, 3.0, steps=2))
    opt_state = tx.init(jnp.ones(1))
    for expected in (1.0, 2.0, 3.0):
        updates, opt_state = tx.update(jnp.ones(1), opt_state)
        np.testing.assert_array_equal(updates, [expected])


def test_a_function_of_another_library_is_applied_and_recorded():
    theirs = optax.exponential_decay(0.1, 10, 0.5)
    tx = inject(optax.sgd, learning_rate=theirs, momentum=0.9)
    opt_state = tx.init(jnp.ones(2))
    assert list(oc.get_schedules(opt_state)) == ["momentum"]
    for count in range(5):
        _, opt_state = jax.jit(tx.update)(jnp.ones(2), opt_state)
        rate = optax.tree.get(opt_state, "learning_rate")
        np.testing.assert_allclose(rate, theirs(count), rtol=1e-6)
    with pytest.raises(ValueError, match="learning_rate is not scheduled in this"):
        oc.set_schedules(opt_state, learning_rate=0.1)


def test_one_clock_serves_every_layer_and_every_use():
    def per_layer(learning_rate, weight_decay) -> Any:
        def layer(scale) -> Any:
            return optax.adamw(learning_rate * scale, weight_decay=weight_decay)

        return optax.partition({"w": layer(1.0), "b": layer(0.1)}, {"w": "w", "b": "b"})

    tx = oc.inject_schedules(per_layer)(learning_rate=CURVE, weight_decay=CURVE * 0.5)
    params, opt_state = after(7, tx, params_of())
    applied = optax.tree.get(opt_state, "weight_decay")
    np.testing.assert_array_max_ulp(np.asarray(applied), CURVE(6) * 0.5, 8)
    for key, scale in {"w": 1.0, "b": 0.1}.items():
        alone = optax.inject_hyperparams(optax.adamw, ("b1", "b2", "eps", "eps_root"))(
            learning_rate=lambda count, scale=scale: CURVE(count) * scale,
            weight_decay=lambda count: CURVE(count) * 0.5,
        )
        expected = after(7, alone, {key: params_of()[key]})[0]
        np.testing.assert_allclose(params[key], expected[key], rtol=1e-5)


def test_a_population_trains_under_vmap_and_is_edited_there():
    peaks = jnp.array([0.1, 0.2, 0.3])

    def tx(peak) -> Any:
        schedule = oc.warmup_cosine_annealing_schedule(peak, 20, warmup_steps=2)
        return inject(optax.adamw, learning_rate=schedule)

    opt_states = jax.vmap(lambda peak: tx(peak).init(params_of()))(peaks)
    params = jax.tree.map(lambda x: jnp.stack([x] * 3), params_of())
    # The schedules are in the states: any optimizer of the same tree takes them.
    update: Any = jax.jit(jax.vmap(update_of(tx(1.0))))
    for _ in range(4):
        params, opt_states = update(params, opt_states)
    rates = optax.tree.get(opt_states, "learning_rate")
    one = oc.warmup_cosine_annealing_schedule(1.0, 20, warmup_steps=2)
    np.testing.assert_allclose(rates, peaks * one(3), rtol=1e-6)
    members = [jax.tree.map(lambda x, i=i: x[i], opt_states) for i in range(3)]
    read = [oc.get_schedules(member)["learning_rate"] for member in members]
    assert oc.stack(read) == oc.get_schedules(opt_states)["learning_rate"]

    # As population-based training does: the last one takes over from the first.
    copied = jax.tree.map(lambda x: x.at[0].set(x[2]), opt_states)
    halved = jax.vmap(
        lambda state, factor: oc.set_schedules(
            state, learning_rate=oc.get_schedules(state)["learning_rate"] * factor
        )
    )(copied, jnp.array([0.5, 1.0, 1.0]))
    replaced = oc.set_schedules(
        copied, learning_rate=oc.stack([read[2] * 0.5, read[1], read[2]])
    )
    for states in (halved, replaced):
        _, states = update(params, states)
        rates = optax.tree.get(states, "learning_rate")
        expected = jnp.array([0.15, 0.2, 0.3]) * one(4)
        np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert update._cache_size() == 1


def test_a_schedule_may_be_built_of_traced_numbers_within_a_jitted_run():
    traces = []

    @jax.jit
    def run(peak, total_steps):
        traces.append(peak)
        schedule = oc.cosine_annealing_schedule(peak, total_steps)
        tx = inject(optax.sgd, learning_rate=schedule)
        return after(5, tx, params_of())[0]

    for steps in (10, 20):
        plain = optax.sgd(oc.cosine_annealing_schedule(0.1, steps))
        expected = after(5, plain, params_of())[0]
        chex.assert_trees_all_close(run(0.1, steps), expected, rtol=1e-6)
    assert len(traces) == 1


def test_restarts_for_ever_go_on_after_many_updates():
    tx = inject(optax.sgd, learning_rate=oc.cosine_restarts_schedule(0.1, 7))
    opt_state = tx.init(jnp.ones(1))
    opt_state = opt_state._replace(count=jnp.int32(7_000_000))
    _, opt_state = tx.update(jnp.ones(1), opt_state)
    assert optax.tree.get(opt_state, "learning_rate") == np.float32(0.1)
    opt_state = opt_state._replace(count=jnp.int32(2**31 - 1))
    _, opt_state = tx.update(jnp.ones(1), opt_state)
    assert opt_state.count == 2**31 - 1


def test_under_x64_values_are_float64_and_stay_so(x64):
    schedule = oc.cosine_annealing_schedule(0.1, 10)
    tx = inject(optax.adamw, learning_rate=schedule, b1=np.float32(0.9))
    opt_state = tx.init(jnp.ones(2, np.float32))
    updates, updated = jax.jit(tx.update)(
        jnp.ones(2, np.float32), opt_state, jnp.ones(2, np.float32)
    )
    assert signature(updated) == signature(opt_state)
    assert updates.dtype == np.float32
    assert optax.tree.get(updated, "learning_rate").dtype == np.float64
    assert optax.tree.get(updated, "b1").dtype == np.float32


def test_what_was_applied_is_read_as_from_optax_and_writing_is_refused():
    tx = inject(optax.sgd, learning_rate=CURVE, momentum=0.9)
    opt_state = tx.init(jnp.ones(1))
    theirs: Any = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=0.9)
    read = opt_state.hyperparams
    assert set(read) == set(theirs.init(jnp.ones(1)).hyperparams)
    assert len(read) == 2
    assert read["learning_rate"] is opt_state.applied["learning_rate"]
    assert repr(read).startswith("ReadOnlyMap(learning_rate=Array(")
    message = r"learning_rate was set to .*set_schedules\(opt_state, learning_rate="
    with pytest.raises(TypeError, match=message):
        read["learning_rate"] = 0.2
    with pytest.raises(TypeError, match=message):
        opt_state.schedules["learning_rate"] = 0.2
    # `optax.tree.set` cannot be refused, but the next update sees what it wrote.
    for value in (0.2, jnp.asarray(0.2)):
        written = optax.tree.set(opt_state, learning_rate=value)
        for update in (tx.update, jax.jit(tx.update)):
            with pytest.raises(TypeError, match=message):
                update(jnp.ones(1), written)


class Stateful:
    """A schedule with a state, as Optax defines it."""

    def init(self):
        return 0

    def update(self, state, **_):
        return state + 1

    def __call__(self, state, **_):
        return state


def fails(_):
    raise KeyError("no such layer")


MAKE = oc.inject_schedules(optax.adamw)
BAD_CALLS: list[tuple[Any, dict[str, Any], Any, str]] = [
    (MAKE, {"learning_rat": 0.1}, TypeError, "adamw: .*; it takes learning_rate, b1"),
    (MAKE, {"b1": 0.9}, TypeError, "adamw: missing .*learning_rate.*; it takes"),
    (
        MAKE,
        {"learning_rate": 0.1, "nesterov": CURVE},
        TypeError,
        r"adamw's nesterov is a fixed option and cannot be scheduled, got join\(linear",
    ),
    (
        oc.inject_schedules(optax.adamw, static_args=["learning_rate"]),
        {"learning_rate": CURVE},
        TypeError,
        r"adamw's learning_rate is a fixed option .*, got join\(linear",
    ),
    (
        MAKE,
        {"learning_rate": 0.1, "mask": lambda p: jax.tree.map(lambda x: x.ndim > 1, p)},
        TypeError,
        "mask must give one real number .* gives .*bool.* If .*static_args='mask'",
    ),
    (
        MAKE,
        {"learning_rate": lambda c: jnp.ones(2) * c},
        TypeError,
        r"learning_rate must give one real number for an int32 count: .*\(2,\)",
    ),
    (
        MAKE,
        {"learning_rate": 0.1, "mask": fails},
        TypeError,
        "mask must .* fails: 'no such layer'. If it is not a schedule, write",
    ),
    (
        MAKE,
        {"learning_rate": Stateful()},
        TypeError,
        "learning_rate must depend on the count alone, .*optax.inject_hyperparams",
    ),
    (
        MAKE,
        {"learning_rate": oc.stack([CURVE, CURVE])},
        ValueError,
        r"learning_rate must be one schedule, got a stack .*\(2,\).*jax\.vmap",
    ),
    (
        MAKE,
        {"learning_rate": float("nan")},
        ValueError,
        "learning_rate must be finite and at most .*, got nan",
    ),
    (
        functools.partial(oc.inject_schedules, optax.adamw),
        {"static_args": ("mask", "maks")},
        ValueError,
        "static_args must be arguments of adamw, which takes .*, got maks",
    ),
]


@pytest.mark.parametrize(("call", "arguments", "error", "message"), BAD_CALLS)
def test_a_bad_argument_is_refused_by_name(call, arguments, error, message):
    with pytest.raises(error, match=message):
        call(**arguments)


def test_a_hyperparameter_without_a_name_is_refused():
    def make(*rates: float) -> Any:
        return optax.sgd(rates[0])

    with pytest.raises(
        TypeError, match=r"make: a hyperparameter needs a name, .*rates"
    ):
        oc.inject_schedules(make)(0.1)


def test_a_factory_that_cannot_work_with_arrays_gets_advice():
    def stubborn(learning_rate) -> Any:
        return optax.sgd(0.1 if learning_rate > 0 else 0.2)

    tx = oc.inject_schedules(stubborn)(learning_rate=0.1)
    with pytest.raises(TypeError, match="bool") as caught:
        jax.jit(tx.init)(jnp.ones(1))
    note = "inject_schedules passes learning_rate to stubborn as JAX scalars"
    assert note in caught.value.__notes__[0]
    assert "static_args" in caught.value.__notes__[0]


def test_advice_is_given_only_if_it_helps():
    def needs_value(learning_rate) -> Any:
        return optax.chain(optax.sgd(learning_rate), optax.contrib.reduce_on_plateau())

    tx: Any = oc.inject_schedules(needs_value)(learning_rate=0.1)
    params = jnp.ones(1)
    with pytest.raises(TypeError, match="value") as caught:
        tx.update(params, tx.init(params), params)
    assert not getattr(caught.value, "__notes__", [])
    tx.update(params, tx.init(params), params, value=jnp.float32(1.0))


def test_an_optimizer_in_place_of_its_function_is_refused():
    message = r"inject_schedules takes the function that makes an optimizer, as in"
    optimizer: Any = optax.adamw(0.1)
    with pytest.raises(TypeError, match=message):
        oc.inject_schedules(optimizer)
