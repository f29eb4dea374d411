"""Schedules back from what `to_dict` made of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

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
        return Product(from_dict(values["first"]), from_dict(values["second"]))
    if kind == "spliced":
        before, then = from_dict(values["before"]), from_dict(values["then"])
        return Spliced(before, _instant(values, "at_step"), then)
    return Retimed(
        from_dict(values["schedule"]),
        _array(values, "every", np.int32),
        *(_instant(values, name) for name in ("counts", "steps", "offset")),
    )


def _table(values: Mapping[str, Any]) -> Schedule:
    dtype = _one_of(values, "dtype", ("float32", "float64"))
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
    if (np.diff(ends[0] + ends[1].astype(float), prepend=0) < 0).any():
        raise ValueError(f"ends must not fall, got {values['ends']!r}.")
    return table


def _array(values: Mapping[str, Any], name: str, dtype: Any) -> np.ndarray:
    try:
        wide = np.array(values[name])
        array = wide.astype(dtype, casting="same_kind" if wide.size else "unsafe")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be read, got {values[name]!r}.") from error
    if not (array == wide).all():
        raise ValueError(f"{name} does not fit in {np.dtype(dtype)}.")
    return frozen(array)


def _codes(values: Mapping[str, Any], name: str, names: tuple[str, ...]) -> np.ndarray:
    given = np.array(values[name])
    if not np.isin(given, names).all():
        raise ValueError(f"{name} must be of {', '.join(names)}, got {values[name]!r}.")
    codes = sum(code * (given == one) for code, one in enumerate(names))
    return frozen(np.asarray(codes, np.int32))


def _one_of(values: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    if values[name] not in allowed:
        raise ValueError(
            f"{name} must be one of {', '.join(allowed)}, got {values[name]!r}."
        )
    return values[name]


def _instant(values: Mapping[str, Any], name: str) -> Instant:
    if not isinstance(values[name], (list, tuple)) or len(values[name]) != 2:
        raise ValueError(f"{name} must be a whole and a part, got {values[name]!r}.")
    whole, part = values[name]
    return Instant(
        _array({name: whole}, name, np.int32), _array({name: part}, name, np.float32)
    )
