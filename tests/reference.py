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


def cosine(init_value, end_value, steps, exponent=1.0, time_exponent=1.0):
    """A length, and a function of the steps since the start."""

    def value(elapsed):
        bent = (elapsed / steps) ** exact(time_exponent) * steps
        return cosine_annealing(init_value, steps, bent, end_value, exponent)

    return steps, value


def linear(init_value, end_value, steps, time_exponent=1.0):
    def value(elapsed):
        gone = (elapsed / steps) ** exact(time_exponent)
        return exact(init_value) + (exact(end_value) - exact(init_value)) * gone

    return steps, value


def joined(*phases, after="hold"):
    """A function of the count; each phase that has steps plays until the next."""
    phases = [(mpmath.mpf(steps), value) for steps, value in phases if steps]
    total = mpmath.fsum(steps for steps, _ in phases)

    def value(count):
        count = folded(max(mpmath.mpf(count), mpmath.mpf(0)), total, after)
        for steps, of_phase in phases[:-1]:
            if count < steps:
                return of_phase(count)
            count -= steps
        return phases[-1][1](min(count, phases[-1][0]))

    return value


def folded(count, total, after):
    if after == "repeat":
        return count % total
    if after == "mirror":
        count %= 2 * total
        return min(count, 2 * total - count)
    return min(count, total)


def ulps(value, truth, scale=None) -> float:
    """Distance in units in the last place of float32 at `scale`, or at the truth."""
    unit = np.spacing(np.float32(abs(float(truth if scale is None else scale))))
    return float(abs(mpmath.mpf(float(value)) - truth) / mpmath.mpf(float(unit)))
