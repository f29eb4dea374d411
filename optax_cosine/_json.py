"""Schedules as dictionaries that JSON can hold, and back, to the bit."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from optax_cosine._arrays import read_only
from optax_cosine._clock import Clock
from optax_cosine._node import (
    Clocked,
    Node,
    Product,
    Spliced,
    Staircase,
    batch_shape_of,
)
from optax_cosine._table import AFTER, SHAPES, Rows, Table, pack
from optax_cosine._time import LARGEST, Time

_TIMES = "ends", "clock_starts", "clock_ends"
_VALUES = "init_values", "end_values", "exponents", "time_exponents"
_CLOCK = "counts", "steps", "numerators", "denominators"


def _with_fracs(*names: str) -> tuple[str, ...]:
    """The fractions of the steps that `name` counts are under `name_fracs`."""
    return tuple(key for name in names for key in (name, f"{name}_fracs"))


_KEYS = {
    "table": {"dtype", *_with_fracs(*_TIMES), "shapes", *_VALUES, "after"},
    "product": {"first", "second"},
    "spliced": {"before", *_with_fracs("at_step"), "then"},
    "staircase": {"schedule", "every"},
    "clocked": {"schedule", *_with_fracs(*_CLOCK)},
}


# --- To a dictionary ---


def to_dict(node: Node) -> dict[str, Any]:
    """The numbers of a node with NumPy's leaves, as Python's numbers and lists."""
    match node:
        case Table():
            return _table_to_dict(node)
        case Product(first, second):
            return {
                "kind": "product",
                "first": to_dict(first),
                "second": to_dict(second),
            }
        case Spliced(before, at_step, then):
            step = _times_to_lists(["at_step"], [at_step])
            parts = {"before": to_dict(before), **step, "then": to_dict(then)}
            return {"kind": "spliced", **parts}
        case Staircase(inner, every):
            every = np.asarray(every).tolist()
            return {"kind": "staircase", "schedule": to_dict(inner), "every": every}
        case Clocked(inner, clock):
            times = _times_to_lists(_CLOCK, clock)
            return {"kind": "clocked", "schedule": to_dict(inner), **times}


def _table_to_dict(table: Table) -> dict[str, Any]:
    rows = table.rows
    values = zip(_VALUES, rows[4:], strict=True)
    return {
        "kind": "table",
        "dtype": str(table.floats.dtype),
        **_times_to_lists(_TIMES, rows[:3]),
        "shapes": np.array(SHAPES)[rows.shape].tolist(),
        **{name: np.asarray(column).tolist() for name, column in values},
        "after": np.array(AFTER)[table.after].tolist(),
    }


def _times_to_lists(names: Any, times: Any) -> dict[str, Any]:
    columns = [column for time in times for column in (time.whole, time.frac)]
    lists = (np.asarray(column).tolist() for column in columns)
    return dict(zip(_with_fracs(*names), lists, strict=True))


# --- From a dictionary ---


def from_dict(values: Mapping[str, Any]) -> Node:
    if not isinstance(values, Mapping):
        raise TypeError(f"a schedule is read from a dict, got {values!r}.")
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise ValueError(f"kind must be one of {', '.join(_KEYS)}, got {kind!r}.")
    if wrong := _KEYS[kind] ^ (values.keys() - {"kind"}):
        state = "unknown" if wrong & values.keys() else "missing"
        raise ValueError(f"{state} in a {kind}: {', '.join(sorted(map(str, wrong)))}.")
    match kind:
        case "table":
            return _read_table(values)
        case "product":
            parts = from_dict(values["first"]), from_dict(values["second"])
            return _check_shapes(Product(*parts), *parts)
        case "spliced":
            parts = from_dict(values["before"]), from_dict(values["then"])
            step = _read_time(values, "at_step", 0, np.float32)
            return _check_shapes(Spliced(parts[0], step, parts[1]), *parts, step.whole)
        case "staircase":
            inner = from_dict(values["schedule"])
            every = _read_array(values, "every", np.int32)
            _check_least("every", every, 1)
            return _check_shapes(Staircase(inner, every), inner, every)
        case _:
            return _read_clocked(values)


def _read_clocked(values: Mapping[str, Any]) -> Node:
    inner = from_dict(values["schedule"])
    lowest = 0, -LARGEST, 0, 1
    clock = Clock(
        *(
            _read_time(values, name, least, np.float32)
            for name, least in zip(_CLOCK, lowest, strict=True)
        )
    )
    shape = clock.counts.whole.shape
    if not shape or any(time.whole.shape != shape for time in clock):
        raise ValueError("counts, steps, numerators, denominators must be equally long.")
    return _check_shapes(Clocked(inner, clock), inner, clock.counts.whole[..., 0])


def _check_shapes(node: Node, *parts: Node | np.ndarray) -> Node:
    """All numbers of a stack have its batch shape."""
    shapes = [
        part.shape if isinstance(part, np.ndarray) else batch_shape_of(part)
        for part in parts
    ]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"all parts must have one batch shape, got {shapes}.")
    return node


def _read_table(values: Mapping[str, Any]) -> Table:
    dtype = _read_choice(values, "dtype", ("float32", "float64"))
    if dtype == "float64" and jnp.result_type(float) != dtype:
        raise ValueError("dtype float64 can be read under jax_enable_x64 alone.")
    lowest = 0, -LARGEST, -LARGEST
    times = (
        _read_time(values, name, least, dtype)
        for name, least in zip(_TIMES, lowest, strict=True)
    )
    shapes = _read_codes(values, "shapes", SHAPES)
    columns = (_read_array(values, name, dtype) for name in _VALUES)
    rows = Rows(*times, shapes, *columns)
    after = _read_codes(values, "after", AFTER)
    _check_rows(rows)
    if after.shape != rows.shape.shape[:-1]:
        raise ValueError("after must have one entry for each schedule.")
    return pack(rows, after)


def _check_rows(rows: Rows) -> None:
    shape = rows.end.whole.shape
    columns = [*(time.whole for time in rows[:3]), *rows[3:]]
    names = [*_TIMES, "shapes", *_VALUES]
    for name, column in zip(names, columns, strict=True):
        if column.shape != shape or not column.size:
            raise ValueError(f"{name} must have one entry for each of ends.")
    for name, column in zip(names[-2:], columns[-2:], strict=True):
        if (column <= 0).any():
            raise ValueError(f"{name} must be above 0, got {column.tolist()!r}.")
    ends, starts, stops = (time.whole + time.frac.astype(float) for time in rows[:3])
    if (np.diff(ends, prepend=0) < 0).any() or (ends[..., -1] <= 0).any():
        raise ValueError(f"ends must not fall, and end above 0, got {ends.tolist()!r}.")
    if (stops < starts).any() or (stops - starts > LARGEST).any():
        raise ValueError("clock_ends must be from 0 to 2**31 - 1 above clock_starts.")


def _read_time(values: Mapping[str, Any], name: str, least: int, dtype: Any) -> Time:
    whole = _read_array(values, name, np.int32)
    frac = _read_array(values, f"{name}_fracs", dtype)
    if frac.shape != whole.shape:
        raise ValueError(f"{name}_fracs must have one entry for each of {name}.")
    if ((frac < 0) | (frac >= 1)).any():
        raise ValueError(f"{name}_fracs must be from 0 to 1, got {frac.tolist()!r}.")
    _check_least(name, whole, least)
    return Time(whole, frac)


def _check_least(name: str, numbers: np.ndarray, least: int) -> None:
    if (numbers < least).any():
        raise ValueError(f"{name} must be {least} or more, got {numbers.tolist()!r}.")


def _read_array(values: Mapping[str, Any], name: str, dtype: Any) -> np.ndarray:
    wide = _as_array(values, name)
    allowed = "iu" if np.dtype(dtype).kind == "i" else "iuf"
    if wide.size and wide.dtype.kind not in allowed:
        raise ValueError(f"{name} cannot be read, got {values[name]!r}.")
    with np.errstate(all="ignore"):
        array = wide.astype(dtype)
    if not (array == wide).all() or not np.isfinite(array).all():
        raise ValueError(f"{name} does not fit in {np.dtype(dtype)}.")
    return read_only(array)


def _read_codes(
    values: Mapping[str, Any], name: str, names: tuple[str, ...]
) -> np.ndarray:
    given = _as_array(values, name)
    if not np.isin(given, names).all():
        raise ValueError(f"{name} must be of {', '.join(names)}, got {values[name]!r}.")
    codes = sum(code * (given == one) for code, one in enumerate(names))
    return read_only(np.asarray(codes, np.int32))


def _as_array(values: Mapping[str, Any], name: str) -> np.ndarray:
    try:
        return np.array(values[name])
    except ValueError as error:
        raise ValueError(f"{name} cannot be read, got {values[name]!r}.") from error


def _read_choice(values: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    if not isinstance(values[name], str) or values[name] not in allowed:
        raise ValueError(
            f"{name} must be one of {', '.join(allowed)}, got {values[name]!r}."
        )
    return values[name]
