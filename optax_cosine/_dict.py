"""Schedules back from what `to_dict` made of them."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from optax_cosine._checks import LARGEST
from optax_cosine._combine import Retimed, Spliced
from optax_cosine._instant import Instant
from optax_cosine._schedule import Product, Schedule, frozen
from optax_cosine._table import AFTER, COLUMNS, SHAPES, Table

_KEYS = {
    "table": {"dtype", "ends", "end_parts", *COLUMNS, "after"},
    "product": {"first", "second"},
    "spliced": {"before", "at_step", "then"},
    "retimed": {"schedule", "every", "counts", "steps", "offset"},
}


def from_dict(values: Mapping[str, Any]) -> Any:
    """The schedule that `to_dict` was called on, to the bit.

    Use it for schedules kept as JSON: beside a checkpoint, in a log, in a file of
    settings.

    The formula is `from_dict(schedule.to_dict()) == schedule`.

    Args:
        values: What `Schedule.to_dict` returned, before or after a turn through JSON.

    Returns:
        A schedule equal to the one that was written.

    Raises:
        TypeError: It is no mapping.
        ValueError: A key is missing or unknown, or what it holds cannot be read; the
            message names it.

    Examples:
        >>> import json
        >>> import optax_cosine as oc
        >>> schedule = oc.cosine_annealing_schedule(0.1, 100) * 0.3
        >>> text = json.dumps(schedule.to_dict())
        >>> oc.from_dict(json.loads(text)) == schedule
        True

    References:
        RFC 8259, "The JavaScript Object Notation (JSON) Data Interchange Format", 2017.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"a schedule is read from a dict, got {values!r}.")
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise ValueError(f"kind must be one of {', '.join(_KEYS)}, got {kind!r}.")
    if wrong := _KEYS[kind] ^ (values.keys() - {"kind"}):
        state = "unknown" if wrong & values.keys() else "missing"
        raise ValueError(f"{state} in a {kind}: {', '.join(sorted(map(str, wrong)))}.")
    if kind == "table":
        return _table(values)
    if kind == "product":
        return _alike(Product(from_dict(values["first"]), from_dict(values["second"])))
    if kind == "spliced":
        before, then = from_dict(values["before"]), from_dict(values["then"])
        return _alike(Spliced(before, _instant(values, "at_step", least=0), then))
    every = _array(values, "every", np.int32)
    if (every < 1).any():
        raise ValueError(f"every must be 1 or more, got {values['every']!r}.")
    counts, steps = (_instant(values, name, least=1) for name in ("counts", "steps"))
    offset = _instant(values, "offset", least=-LARGEST)
    schedule = from_dict(values["schedule"])
    return _alike(Retimed(schedule, every, counts, steps, offset))


def _alike(schedule: Any) -> Any:
    """The schedule, if all its numbers are of one batch shape."""
    shape = schedule._batch_shape
    nodes = vars(schedule).values()
    shapes = [x._batch_shape for x in nodes if isinstance(x, Schedule)]
    shapes += [x.whole.shape for x in nodes if isinstance(x, Instant)]
    shapes += [x.shape for x in nodes if isinstance(x, np.ndarray)]
    if any(other != shape for other in shapes):
        raise ValueError(f"all parts must have the batch shape {shape}, got {shapes}.")
    return schedule


def _table(values: Mapping[str, Any]) -> Schedule:
    dtype = _one_of(values, "dtype", ("float32", "float64"))
    if dtype == "float64" and jnp.result_type(float) != dtype:
        raise ValueError("dtype float64 can be read under jax_enable_x64 alone.")
    ends = _array(values, "ends", np.int32), _array(values, "end_parts", dtype)
    table = Table(
        Instant(*ends),
        _codes(values, "shapes", SHAPES),
        *(_array(values, name, dtype) for name in COLUMNS[1:]),
        after=_codes(values, "after", AFTER),
    )
    columns = {name: getattr(table, name) for name in COLUMNS} | {"end_parts": ends[1]}
    for name, column in columns.items():
        if column.shape != ends[0].shape or not column.size:
            raise ValueError(f"{name} must have one entry for each of ends.")
    if table.after.shape != ends[0].shape[:-1]:
        raise ValueError("after must have one entry for each schedule.")
    for name in ("exponents", "time_exponents"):
        if (columns[name] <= 0).any():
            raise ValueError(f"{name} must be above 0, got {values[name]!r}.")
    if ((ends[1] < 0) | (ends[1] >= 1)).any():
        raise ValueError(f"end_parts must be from 0 to 1, got {values['end_parts']!r}.")
    if (np.diff(ends[0] + ends[1].astype(float), prepend=0) < 0).any():
        raise ValueError(f"ends must not fall, got {values['ends']!r}.")
    return table


def _array(values: Mapping[str, Any], name: str, dtype: Any) -> np.ndarray:
    try:
        wide = np.array(values[name])
    except ValueError as error:
        raise ValueError(f"{name} cannot be read, got {values[name]!r}.") from error
    allowed = "iu" if np.dtype(dtype).kind == "i" else "iuf"
    if wide.size and wide.dtype.kind not in allowed:
        raise ValueError(f"{name} cannot be read, got {values[name]!r}.")
    with np.errstate(all="ignore"):
        array = wide.astype(dtype)
    if not (array == wide).all() or not np.isfinite(array).all():
        raise ValueError(f"{name} does not fit in {np.dtype(dtype)}.")
    return frozen(array)


def _codes(values: Mapping[str, Any], name: str, names: tuple[str, ...]) -> np.ndarray:
    try:
        given = np.array(values[name])
    except ValueError as error:
        raise ValueError(f"{name} cannot be read, got {values[name]!r}.") from error
    if not np.isin(given, names).all():
        raise ValueError(f"{name} must be of {', '.join(names)}, got {values[name]!r}.")
    codes = sum(code * (given == one) for code, one in enumerate(names))
    return frozen(np.asarray(codes, np.int32))


def _one_of(values: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    if not isinstance(values[name], str) or values[name] not in allowed:
        raise ValueError(
            f"{name} must be one of {', '.join(allowed)}, got {values[name]!r}."
        )
    return values[name]


def _instant(values: Mapping[str, Any], name: str, least: int) -> Instant:
    if not isinstance(values[name], (list, tuple)) or len(values[name]) != 2:
        raise ValueError(f"{name} must be a whole and a part, got {values[name]!r}.")
    whole = _array({name: values[name][0]}, name, np.int32)
    part = _array({name: values[name][1]}, name, np.float32)
    if whole.shape != part.shape or (whole < least).any() or (abs(part) >= 1).any():
        raise ValueError(f"{name} is out of range, got {values[name]!r}.")
    return Instant(whole, part)
