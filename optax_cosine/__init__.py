"""Cosine-annealing learning-rate schedules for JAX and Optax.

A schedule is a short table of phases, and one function evaluates it:

    _inject.py       optimizers whose state holds their schedules
    _hyperparams.py  what the user wrote for an optimizer
    _flax.py         schedules in flax.serialization
    _state.py        that state: schedules read and edited in it
    _edits.py        another future: cooldown, extend, rewarm
    _plot.py         pictures of schedules (Matplotlib, optional)
    _units.py        how many updates a run has
    _named.py        the named curves                           (start here)
    _cycles.py       lengths and boundaries of restarts
    _parts.py        cosine, linear, constant; join, stack
    _dict.py         schedules from JSON
    _combine.py      a schedule on another clock, or spliced to another
    _table.py        the table and its evaluation               (the heart)
    _schedule.py     what every schedule is: callable, pytree, value
    _instant.py      exact time: whole steps and a part of one
    _curve.py        fraction of a phase -> weight; the only trigonometry
    _picture.py      a curve on an axis
    _text.py         phases as rows, a curve as a line of blocks
    _checks.py       rules for arguments, wording of errors

Imports go down this list only.
"""

from importlib.metadata import version

from optax_cosine._combine import retime, splice
from optax_cosine._dict import from_dict
from optax_cosine._edits import cooldown, extend, rewarm
from optax_cosine._inject import inject_schedules
from optax_cosine._named import (
    cosine_annealing_schedule,
    cosine_one_cycle_schedule,
    cosine_restarts_schedule,
    warmup_cosine_annealing_schedule,
    warmup_stable_decay_schedule,
)
from optax_cosine._parts import constant, cosine, join, linear, stack
from optax_cosine._plot import plot
from optax_cosine._schedule import Schedule
from optax_cosine._state import get_schedules, set_schedules
from optax_cosine._units import count_updates

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
    "from_dict",
    "get_schedules",
    "inject_schedules",
    "join",
    "linear",
    "plot",
    "retime",
    "rewarm",
    "set_schedules",
    "splice",
    "stack",
    "warmup_cosine_annealing_schedule",
    "warmup_stable_decay_schedule",
]
__version__ = version("optax-cosine")
