"""Cosine-annealing learning-rate schedules for JAX and Optax.

To start::

    schedule = cosine_annealing_schedule(0.1, total_steps=10_000)
    print(schedule)  # the curve and its phases
    optimizer = optax.adamw(schedule)
    optimizer = inject_schedules(optax.adamw)(learning_rate=schedule)  # in the state

`help(cosine_annealing_schedule)` and its like say when to use a curve; the other public
names are in `dir(optax_cosine)`.

For developers: a schedule is a short table of rows, and one function evaluates it:

    _inject.py       optimizers whose state holds their schedules
    _flax.py         schedules in flax.serialization
    _hyperparams.py  what the user wrote for an optimizer
    _state.py        schedules read and edited in an optimizer state
    _plot.py         schedules on a Matplotlib axis
    _edits.py        edits of a running schedule: cooldown, extend, rewarm
    _named.py        the named curves                           (start here)
    _restarts.py     lengths and values of restarts
    _compose.py      join, splice, shift, stretch, staircase, stack
    _parts.py        cosine, linear, constant
    _schedule.py     what a user sees of every schedule
    _display.py      what is shown of a schedule: code, phases, text, HTML
    _picture.py      a curve on a Matplotlib axis
    _json.py         schedules as dictionaries
    _host.py         the value at a Python int, without JAX
    _evaluate.py     the value on a device                      (the heart)
    _laps.py         the laps of a table that repeats or mirrors itself
    _lookup.py       the row of a table that plays
    _mesh.py         evaluation on a mesh with explicit axes
    _curve.py        floating-point building blocks
    _node.py         what a schedule is made of, and edits of it
    _clock.py        the clock on which a schedule is read
    _room.py         room for edits in the tables of a state
    _table.py        the table of rows, and transforms of rows
    _updates.py      how many updates a run has
    _keywords.py     keywords of other libraries
    _validation.py   rules for arguments, wording of errors
    _time.py         exact time: whole steps and a fraction of one
    _arrays.py       where numbers are: known, on a device, or traced

Imports go down this list only.
"""

from optax_cosine._compose import join, shift, splice, stack, staircase, stretch
from optax_cosine._edits import cooldown, extend, rewarm
from optax_cosine._inject import inject_schedules
from optax_cosine._named import (
    cosine_annealing_schedule,
    cosine_one_cycle_schedule,
    cosine_restarts_schedule,
    warmup_cosine_annealing_schedule,
    warmup_stable_decay_schedule,
)
from optax_cosine._parts import constant, cosine, linear
from optax_cosine._plot import plot
from optax_cosine._schedule import Schedule
from optax_cosine._state import get_count, get_schedules, set_schedules
from optax_cosine._updates import count_updates

__all__ = [
    "Schedule",
    "constant",
    "cooldown",
    "cosine",
    "cosine_annealing_schedule",
    "cosine_one_cycle_schedule",
    "cosine_restarts_schedule",
    "count_updates",
    "extend",
    "get_count",
    "get_schedules",
    "inject_schedules",
    "join",
    "linear",
    "plot",
    "rewarm",
    "set_schedules",
    "shift",
    "splice",
    "stack",
    "staircase",
    "stretch",
    "warmup_cosine_annealing_schedule",
    "warmup_stable_decay_schedule",
]
__version__ = "0.1.0"


def __dir__() -> list[str]:
    return [*__all__, "__doc__", "__version__"]
