"""The laps of a table that repeats or mirrors itself, counted and taken off a time.

Every second lap of a mirrored table runs backward.
"""

import numpy as np
from jax import lax

from optax_cosine._arrays import Numbers, always, select
from optax_cosine._table import HOLD, MIRROR, REPEAT
from optax_cosine._time import Time


def completed_laps(now: Time, total: Time, after: Numbers) -> Numbers:
    """How many laps are over: 0 if the table holds its last value."""
    no_laps = np.array(0, np.int32)
    if always(after, HOLD):
        return no_laps
    # Laps of whole steps are counted in integers: every restart is exact up to step
    # 2**31 - 1. `total.whole` may be 0 if the lap has a fraction; then this quotient is
    # not selected.
    laps = lax.div(now.whole, total.whole)
    if not always(total.frac, 0):
        # Laps with a fraction of a step are counted in floats. The length and the
        # quotient are rounded, and the margin makes up for both roundings. So no lap
        # begins late, up to step 2**24. Beyond, float32 rounds the count too.
        # A lap may begin early, in float32 by 5 * 2**-24 of the count at most: two
        # units are the margin, three the roundings of length, quotient and product.
        # Below step 2**24 / 5 that is less than a step, so restarts at whole steps are
        # exact.
        margin = 1 + np.finfo(now.frac.dtype).eps
        estimate = (now.to_float() / total.to_float() * margin).astype(np.int32)
        laps = select(total.frac == 0, laps, estimate)
    return select(after == HOLD, no_laps, laps)


def time_in_lap(now: Time, total: Time, laps: Numbers, after: Numbers) -> Time:
    """The steps since the lap started, or, if the lap runs backward, until it ends.

    The fraction of a step is from -1 to 1, as `>=` and `-` allow.
    """
    if always(after, HOLD):
        return now
    if always(after, REPEAT):
        return now - _times(total, laps)
    # MIRROR is 1 and REPEAT is 2. So `laps & after` is 1 only in the odd laps of a
    # mirrored table, and these laps run backward. A traced table may hold its last
    # value; then there are 0 laps, and the difference below is `now`.
    is_backward = (laps & after) == MIRROR
    # Near 2**31 - 1 the end of a lap may wrap, and the difference wraps back.
    since = now - _times(total, laps + is_backward.astype(np.int32))
    return select(is_backward, -since, since)


def _times(time: Time, number: Numbers) -> Time:
    """`time * number`, a whole number. The fraction is from 0 to 1, and rounded."""
    whole = number * time.whole
    if always(time.frac, 0):
        return Time(whole, time.frac)
    frac = number.astype(time.frac.dtype) * time.frac
    carry = lax.floor(frac)
    return Time(whole + carry.astype(np.int32), frac - carry)
