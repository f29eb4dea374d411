"""Cosine-annealing learning-rate schedules for JAX and Optax.

A schedule is a short table of phases, and one function evaluates it:

    _named.py     the named curves                           (start here)
    _cycles.py    lengths and boundaries of restarts
    _parts.py     cosine, linear, constant; join, stack
    _combine.py   a schedule on another clock, or spliced to another
    _dict.py      schedules from JSON
    _table.py     the table and its evaluation               (the heart)
    _schedule.py  what every schedule is: callable, pytree, value
    _instant.py   exact time: whole steps and a part of one
    _curve.py     fraction of a phase -> weight; the only trigonometry
    _checks.py    rules for arguments, wording of errors

Imports go down this list only.
"""

from importlib.metadata import version

from optax_cosine._combine import retime, splice
from optax_cosine._dict import from_dict
from optax_cosine._named import (
    cosine_annealing_schedule,
    cosine_one_cycle_schedule,
    cosine_restarts_schedule,
    warmup_cosine_annealing_schedule,
    warmup_stable_decay_schedule,
)
from optax_cosine._parts import constant, cosine, join, linear, stack
from optax_cosine._schedule import Schedule

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "cosine_annealing_schedule",
    "cosine_one_cycle_schedule",
    "cosine_restarts_schedule",
    "from_dict",
    "join",
    "linear",
    "retime",
    "splice",
    "stack",
    "warmup_cosine_annealing_schedule",
    "warmup_stable_decay_schedule",
]
__version__ = version("optax-cosine")
