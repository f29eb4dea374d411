"""Populations, counts, training steps and edits over eight devices."""

import contextlib
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import plain
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from programs import inject
from sweeps import sweep

import optax_cosine as oc

DEVICES = 8
CURVE = oc.warmup_cosine_annealing_schedule(0.1, 40, warmup_steps=5, end_value=0.01)
KINDS = [
    oc.cosine_annealing_schedule(0.1, 30),
    CURVE,
    oc.warmup_stable_decay_schedule(0.2, 40, warmup_steps=4, decay_steps=9),
    oc.cosine_restarts_schedule(0.3, 11),
]
MEMBERS = [kind * (1 + i / 7) for i in range(4) for kind in KINDS]
POPULATION = oc.stack(MEMBERS)
COUNTS = np.arange(48, dtype=np.int32)


# Along automatic axes the compiler chooses how to split; along explicit ones, as newer
# versions of `jax.make_mesh` give by default, the types of arrays say it.
needs_explicit = pytest.mark.skipif(
    not hasattr(jax, "set_mesh"), reason="this JAX knows automatic axes alone"
)
both_axes = pytest.mark.parametrize(
    "axes", ["automatic", pytest.param("explicit", marks=needs_explicit)]
)


def mesh(*names: str, axes: str = "automatic") -> Mesh:
    shape = (DEVICES,) if len(names) == 1 else (DEVICES // 2, 2)
    if axes == "explicit":
        types = (jax.sharding.AxisType.Explicit,) * len(names)
        return jax.make_mesh(shape, names, axis_types=types)
    return Mesh(np.array(jax.devices()[:DEVICES]).reshape(shape), names)


def split(*names: str | None, axes: str = "automatic") -> NamedSharding:
    return NamedSharding(mesh("all", axes=axes), PartitionSpec(*names))


def entered(mesh: Any, axes: str) -> contextlib.AbstractContextManager[Any]:
    """Along explicit axes JAX asks for it where functions are mapped over them."""
    return jax.set_mesh(mesh) if axes == "explicit" else contextlib.nullcontext()


def shard_map(*arguments: Any, **options: Any) -> Any:
    if hasattr(jax, "shard_map"):
        return jax.shard_map(*arguments, **options)
    from jax.experimental.shard_map import shard_map

    # JAX 0.6.0 does not know what `argmin` makes of its operands, and says to do so.
    return shard_map(*arguments, **options, check_rep=False)


def rates(population, counts):
    return jax.vmap(lambda schedule: schedule(counts))(population)


def test_there_are_enough_devices():
    assert jax.device_count() >= DEVICES


@both_axes
def test_a_population_is_split_over_the_devices(axes):
    along = split("all", axes=axes)
    with entered(along.mesh, axes):
        values = jax.jit(rates)(jax.device_put(POPULATION, along), COUNTS)
    assert values.sharding.is_equivalent_to(split("all", None, axes=axes), values.ndim)
    assert {shard.data.shape for shard in values.addressable_shards} == {(2, 48)}
    expected = jax.jit(rates)(POPULATION, COUNTS)
    np.testing.assert_array_max_ulp(np.asarray(values), np.asarray(expected), 2)


@both_axes
def test_a_population_gives_its_rates_at_one_count(axes):
    along = split("all", axes=axes)
    with entered(along.mesh, axes):
        values = jax.jit(rates)(jax.device_put(POPULATION, along), jnp.int32(7))
    assert values.sharding.is_equivalent_to(along, 1)
    expected = jax.jit(rates)(POPULATION, jnp.int32(7))
    np.testing.assert_array_max_ulp(np.asarray(values), np.asarray(expected), 2)


@both_axes
def test_a_population_and_its_counts_are_split_along_two_axes(axes):
    both = mesh("members", "time", axes=axes)
    population = jax.device_put(
        POPULATION, NamedSharding(both, PartitionSpec("members"))
    )
    counts = jax.device_put(COUNTS, NamedSharding(both, PartitionSpec("time")))
    with entered(both, axes):
        values = jax.jit(rates)(population, counts)
    assert {shard.data.shape for shard in values.addressable_shards} == {(4, 24)}
    expected = jax.jit(rates)(POPULATION, COUNTS)
    np.testing.assert_array_max_ulp(np.asarray(values), np.asarray(expected), 2)


@sweep("name", ["cosine", "mirrored", "extended", "product"], ["cosine", "product"])
def test_counts_keep_their_sharding(name):
    values = plain(name)(jax.device_put(COUNTS, split("all")))
    assert values.sharding.is_equivalent_to(split("all"), 1)
    np.testing.assert_array_max_ulp(
        np.asarray(values), np.asarray(plain(name)(COUNTS)), 2
    )


EXPLICIT = {
    "1 row": oc.cosine_annealing_schedule(0.1, 30),
    "2 rows": oc.warmup_cosine_annealing_schedule(0.1, 40, warmup_steps=5),
    "3 rows": oc.warmup_cosine_annealing_schedule(
        0.1, 40, warmup_steps=5, hold_steps=7
    ),
    "20 rows": oc.cosine_restarts_schedule(0.1, 2, num_cycles=20),
    "repeated": oc.join(oc.cosine(0.1, 0.0, steps=10), after="repeat"),
    **{
        name: plain(name)
        for name in ("mirrored", "waiting", "stairs", "warm-up once", "product")
    },
}
HOW: dict[str, Any] = {
    "closed over": lambda schedule, counts: jax.jit(schedule)(counts),
    "eager": lambda schedule, counts: schedule(counts),
    "eager, on a device": lambda schedule, counts: jax.device_put(schedule)(counts),
    "as an argument": lambda schedule, counts: jax.jit(lambda s, x: s(x))(
        schedule, counts
    ),
}


@needs_explicit
@pytest.mark.parametrize("how", HOW)
@sweep("name", EXPLICIT, ["20 rows", "product"])
def test_counts_keep_their_sharding_along_explicit_axes(name, how):
    schedule = EXPLICIT[name]
    expected = np.asarray(schedule(COUNTS))
    along = split("all", axes="explicit")
    values = HOW[how](schedule, jax.device_put(COUNTS, along))
    assert values.sharding.is_equivalent_to(along, 1)
    np.testing.assert_array_max_ulp(np.asarray(values), expected, 2)


@needs_explicit
@pytest.mark.parametrize("name", ["3 rows", "20 rows"])
def test_rows_of_counts_keep_their_sharding_along_two_explicit_axes(name):
    along = NamedSharding(mesh("a", "b", axes="explicit"), PartitionSpec("b", "a"))
    counts = jax.device_put(COUNTS.reshape(6, 8), along)
    values = EXPLICIT[name](counts)
    assert values.sharding.is_equivalent_to(along, 2)
    expected = np.asarray(EXPLICIT[name](COUNTS)).reshape(6, 8)
    np.testing.assert_array_max_ulp(np.asarray(values), expected, 2)


@both_axes
def test_shard_map_gives_each_device_its_members(axes):
    mapped = shard_map(
        rates,
        mesh=mesh("all", axes=axes),
        in_specs=(PartitionSpec("all"), PartitionSpec()),
        out_specs=PartitionSpec("all"),
    )
    population = jax.device_put(POPULATION, split("all", axes=axes))
    counts = jax.device_put(COUNTS, split(axes=axes))
    values = jax.jit(mapped)(population, counts)
    expected = jax.jit(rates)(POPULATION, COUNTS)
    np.testing.assert_array_max_ulp(np.asarray(values), np.asarray(expected), 2)


@pytest.mark.filterwarnings("ignore:.*pmap:DeprecationWarning")  # while JAX has it
def test_pmap_gives_each_device_its_members():
    population = jax.tree.map(lambda x: x.reshape(DEVICES, 2, *x.shape[1:]), POPULATION)
    values = jax.pmap(rates, in_axes=(0, None))(population, COUNTS)
    expected = jax.jit(rates)(POPULATION, COUNTS)
    np.testing.assert_array_max_ulp(
        np.asarray(values).reshape(16, 48), np.asarray(expected), 2
    )


def update_of(tx: Any) -> Any:
    def loss(params, images, targets):
        return jnp.mean((images @ params["w"] - targets) ** 2)

    def update(params, opt_state, images, targets):
        gradients = jax.grad(loss)(params, images, targets)
        updates, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return update


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(16, 4)).astype(np.float32),
        rng.normal(size=(16, 2)).astype(np.float32),
    )


def on_every_device(x: Any) -> set[bytes]:
    return {np.asarray(shard.data).tobytes() for shard in x.addressable_shards}


@both_axes
@pytest.mark.usefixtures("standard_promotion")
def test_every_device_applies_the_same_rate_to_the_bit(axes):
    everywhere = split(axes=axes)
    tx = inject(optax.adamw, learning_rate=CURVE)
    params = jax.device_put({"w": jnp.zeros((4, 2))}, everywhere)
    opt_state = jax.device_put(tx.init(params), everywhere)
    batch = jax.device_put(data(), split("all", axes=axes))
    update: Any = jax.jit(update_of(tx), out_shardings=everywhere)
    for count in range(20):
        params, opt_state = update(params, opt_state, *batch)
        rate = optax.tree.get(opt_state, "learning_rate")
        assert len(rate.addressable_shards) == DEVICES
        assert len(on_every_device(rate)) == 1
        assert len(on_every_device(params["w"])) == 1
        np.testing.assert_array_max_ulp(np.asarray(rate), CURVE(count), 8)
    # An edit leaves everything where it is, and compiles nothing.
    (running,) = oc.get_schedules(opt_state).values()
    cooled = oc.cooldown(running, at_step=20, steps=9)
    edited = oc.set_schedules(opt_state, learning_rate=cooled)
    assert placed(edited) == placed(opt_state)
    _, after = update(params, edited, *batch)
    applied = np.asarray(optax.tree.get(after, "learning_rate"))
    np.testing.assert_array_max_ulp(applied, cooled(20), 8)
    assert update._cache_size() == 1
    # One more program, for one device.
    alone, alone_state = {"w": jnp.zeros((4, 2))}, tx.init({"w": jnp.zeros((4, 2))})
    update = jax.jit(update_of(tx))
    for _ in range(20):
        alone, alone_state = update(alone, alone_state, *data())
    chex.assert_trees_all_close(params, alone, rtol=1e-5)


def placed(tree: Any) -> list[Any]:
    return [leaf.sharding for leaf in jax.tree.leaves(tree)]


def start(schedule: oc.Schedule) -> Any:
    params = {"w": jnp.zeros((4, 2))}
    return params, inject(optax.adamw, learning_rate=schedule).init(params)


@both_axes
@pytest.mark.usefixtures("standard_promotion")
def test_a_population_in_training_is_split_over_the_devices(axes):
    # The schedules are in the states: one optimizer serves all of them.
    update = update_of(inject(optax.adamw, learning_rate=CURVE))

    @jax.jit
    def trained(population):
        def member(schedule):
            def body(carry, _):
                params, opt_state = carry
                params, opt_state = update(params, opt_state, *data())
                return (params, opt_state), optax.tree.get(opt_state, "learning_rate")

            (params, _), applied = jax.lax.scan(body, start(schedule), length=20)
            return params["w"], applied

        return jax.vmap(member)(population)

    along = split("all", axes=axes)
    with entered(along.mesh, axes):
        weights, applied = trained(jax.device_put(POPULATION, along))
    assert {shard.data.shape for shard in weights.addressable_shards} == {(2, 4, 2)}
    np.testing.assert_array_max_ulp(
        np.asarray(applied), np.asarray(rates(POPULATION, COUNTS[:20])), 8
    )
    expected, _ = trained(POPULATION)
    # A rounding of Adam's quotient grows from step to step, near 0 too: hence `atol`.
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-6)


@both_axes
@pytest.mark.usefixtures("standard_promotion")
def test_a_population_that_is_edited_stays_on_its_devices(axes):
    along = split("all", axes=axes)
    update = update_of(inject(optax.adamw, learning_rate=CURVE))
    # What does not depend on a member, as the count at the start, is split here too.
    begin = jax.jit(jax.vmap(start), out_shardings=along)
    step: Any = jax.jit(
        jax.vmap(lambda params, opt_state: update(params, opt_state, *data())),
        out_shardings=along,
    )
    with entered(along.mesh, axes):
        population = jax.device_put(POPULATION, along)
        params, opt_state = begin(population)
        for _ in range(3):
            params, opt_state = step(params, opt_state)
        halved = oc.set_schedules(opt_state, learning_rate=population * 0.5)
        assert placed(halved) == placed(opt_state)
        _, opt_state = step(params, halved)
    assert step._cache_size() == 1
    applied = optax.tree.get(opt_state, "learning_rate")
    assert applied.sharding.is_equivalent_to(along, 1)
    expected = 0.5 * np.asarray(rates(POPULATION, COUNTS[3:4]))[:, 0]
    np.testing.assert_array_max_ulp(np.asarray(applied), expected, 8)


def test_a_population_is_edited_under_vmap_along_an_automatic_axis():
    # Along an explicit axis, JAX refuses to stack numbers of which some are mapped.
    along = split("all")

    def cooled(schedule, at_step):
        return oc.cooldown(schedule, at_step=at_step, steps=9)

    shorter = jax.jit(jax.vmap(cooled, (0, None)))(
        jax.device_put(POPULATION, along), jnp.int32(3)
    )
    assert all(
        len(leaf.sharding.device_set) == DEVICES for leaf in jax.tree.leaves(shorter)
    )
    expected = [np.asarray(cooled(schedule, 3)(COUNTS)) for schedule in MEMBERS]
    values = jax.jit(rates)(shorter, COUNTS)
    # A cooldown starts from a value that the device computed: some roundings of it.
    np.testing.assert_allclose(np.asarray(values), expected, rtol=2e-6, atol=1e-7)
