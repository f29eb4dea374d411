"""Cosine-annealing learning-rate schedules for JAX and Optax.

A schedule is a table of phases, and one function evaluates it:

    _named.py     the named curves                           (start here)
    _schedule.py  the table and its evaluation
    _curve.py     fraction of a phase -> weight; the only trigonometry
    _checks.py    rules for arguments, wording of errors
"""

from importlib.metadata import version

from optax_cosine._named import cosine_annealing_schedule

__all__ = ["cosine_annealing_schedule"]
__version__ = version("optax-cosine")
