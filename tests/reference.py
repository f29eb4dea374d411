"""The curves in 50-digit arithmetic; shares no code with the package."""

import mpmath
import numpy as np

mpmath.mp.dps = 50


def exact(number) -> mpmath.mpf:
    """A number as float32 stores it."""
    return mpmath.mpf(float(np.float32(number)))


def cosine_annealing(init_value, decay_steps, count, end_value=0.0, exponent=1.0):
    """The textbook formula, word for word."""
    elapsed = min(max(mpmath.mpf(count), mpmath.mpf(0)), mpmath.mpf(decay_steps))
    weight = (1 + mpmath.cos(mpmath.pi * elapsed / decay_steps)) / 2
    end_value = exact(end_value)
    return end_value + (exact(init_value) - end_value) * weight ** exact(exponent)


def ulps(value, truth, scale=None) -> float:
    """Distance in units in the last place of float32 at `scale`, or at the truth."""
    unit = np.spacing(np.float32(abs(float(truth if scale is None else scale))))
    return float(abs(mpmath.mpf(float(value)) - truth) / mpmath.mpf(float(unit)))
