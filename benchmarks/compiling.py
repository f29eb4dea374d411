"""What building and compiling costs, as restarts and horizons become many."""

import statistics
from typing import Any

import jax
import jax.numpy as jnp
import optax

import optax_cosine as oc
from benchmarks import peers, tables, timing
from benchmarks.tables import Comparison, Table

RESTARTS = 1, 10, 100, 1_000, 10_000, 100_000
OPTAX_UP_TO = 1_000  # cycles, beyond which it takes many minutes
CYCLE_STEPS = 100
HORIZONS = range(1_000, 1_064)
NAMES = "ours", "Optax", "Keras"
ONE, EACH = "ours, one program", "Optax, one for each"


def ours(cycles: int) -> Any:
    return oc.cosine_restarts_schedule(1.0, [CYCLE_STEPS] * cycles)


def optaxs(cycles: int) -> Any:
    cycle = {
        "init_value": 0.0,
        "peak_value": 1.0,
        "warmup_steps": 0,
        "decay_steps": CYCLE_STEPS,
    }
    return optax.sgdr_schedule([cycle] * cycles)


def keras(cycles: int) -> Any:
    del cycles  # by a logarithm, which any number of cycles shares
    return peers.keras_restarts(CYCLE_STEPS)


def first_rate(build: Any, cycles: int) -> float:
    """Seconds from nothing to the first rate out of a jitted function."""
    jax.clear_caches()
    count = jax.block_until_ready(jnp.int32(5))

    def rate() -> Any:
        schedule = build(cycles)
        return jax.jit(lambda count: schedule(count))(count)

    return timing.seconds(rate, 1)


def restarts(rounds: int) -> dict[tuple[str, int], list[float]]:
    """For each number fewer rounds where one takes many seconds."""
    found = {}
    for build in (ours, optaxs, keras):
        first_rate(build, 1)  # imports
    for cycles in RESTARTS:
        builders = {"ours": ours, "Optax": optaxs, "Keras": keras}
        if cycles > OPTAX_UP_TO:
            del builders["Optax"]
        few = min(rounds, 3) if cycles == OPTAX_UP_TO else rounds
        samples = timing.in_turn(
            {
                name: lambda build=build, n=cycles: first_rate(build, n)
                for name, build in builders.items()
            },
            few,
        )
        found |= {(name, cycles): x for name, x in samples.items()}
    return found


def horizons_ours() -> float:
    jax.clear_caches()

    def rates() -> Any:
        def rate(steps: Any, count: Any) -> Any:
            return oc.warmup_cosine_annealing_schedule(1.0, steps, warmup_steps=100)(
                count
            )

        compiled = jax.jit(rate)
        return [compiled(steps, 500) for steps in HORIZONS]

    return timing.seconds(rates, 1)


def horizons_optax() -> float:
    jax.clear_caches()

    def rates() -> Any:
        return [
            jax.jit(optax.warmup_cosine_decay_schedule(0.0, 1.0, 100, steps))(500)
            for steps in HORIZONS
        ]

    return timing.seconds(rates, 1)


def equations(schedule: Any) -> int:
    return _equations(jax.make_jaxpr(schedule)(jnp.int32(0)).jaxpr)


def _equations(jaxpr: Any) -> int:
    nested = [
        getattr(value, "jaxpr", value)
        for equation in jaxpr.eqns
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")
        )
    ]
    return len(jaxpr.eqns) + sum(_equations(x) for x in nested if hasattr(x, "eqns"))


def restart_row(cycles: int, samples: dict) -> list[Any]:
    theirs = samples.get(("Optax", cycles))
    return [
        cycles,
        tables.time(samples["ours", cycles]),
        tables.time(theirs) if theirs else None,
        tables.time(samples["Keras", cycles]),
        tables.ratio(theirs, samples["ours", cycles]) if theirs else None,
        equations(ours(cycles)),
        equations(optaxs(cycles)) if theirs else None,
    ]


def medians(name: str, samples: dict) -> list[list[float]]:
    """Numbers of restarts, and seconds for each."""
    cycles = [n for n in RESTARTS if (name, n) in samples]
    return [cycles, [statistics.median(samples[name, n]) for n in cycles]]


def compared(rounds: int) -> Comparison:
    samples = restarts(rounds)
    horizons = timing.in_turn({ONE: horizons_ours, EACH: horizons_optax}, rounds)
    one, thousand = ({name: samples[name, n] for name in NAMES} for n in (1, 1_000))
    return Comparison(
        [
            Table(
                "Building and compiling restarts",
                "From nothing to the first rate of a jitted function, all caches "
                "cleared; and the equations of the program that was traced. Keras "
                "finds a restart by a logarithm and misses some.",
                [
                    "cycles",
                    "ours",
                    "Optax",
                    "Keras",
                    "Optax over ours",
                    "equations, ours",
                    "Optax",
                ],
                [restart_row(cycles, samples) for cycles in RESTARTS],
            ),
            Table(
                f"{len(HORIZONS)} horizons",
                "A rate of each, with a warm-up: here the horizon is an argument of "
                "one jitted function.",
                ["", "time", "of ours"],
                timing.rows(horizons, ONE),
            ),
        ],
        [
            timing.pair("no restart, compiled", one, "ours", "Optax"),
            timing.pair("1,000 restarts, compiled", thousand, "ours", "Optax"),
            timing.pair(f"{len(HORIZONS)} horizons, compiled", horizons, ONE, EACH),
        ],
        {name: medians(name, samples) for name in NAMES},
    )
