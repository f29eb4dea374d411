"""Schedules as dictionaries that JSON can hold, and back, to the bit."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from optax_cosine._arrays import Numbers, read_only
from optax_cosine._clock import Clock
from optax_cosine._node import Clocked, Node, Product, Spliced, batch_shape_of
from optax_cosine._table import AFTER, SHAPES, Table
from optax_cosine._time import LARGEST, Time
from optax_cosine._validation import LARGEST_RATE, SMALLEST_RATE

_INTEGERS = "ends", "clock_starts", "clock_ends", "shapes"
_FLOATS = (
    *("end_fracs", "clock_start_fracs", "clock_end_fracs"),
    *("init_values", "end_values", "exponents", "time_exponents"),
)
_CODES = {"shapes": SHAPES, "after": AFTER}
_KINDS = {"product": Product, "spliced": Spliced, "clocked": Clocked, "clock": Clock}
# The smallest value of each number that is not a value of the schedule.
_LEAST = {"at_count": 0, "every": 1, "steps": 1, "counts": 1, "ends": 0}


def to_dict(node: Node | Clock | Time | Numbers) -> Any:
    """The numbers of a node with NumPy's leaves, as Python's numbers and lists."""
    match node:
        case Table(integers, floats, after):
            columns = zip(
                _INTEGERS, np.moveaxis(np.asarray(integers), -2, 0), strict=True
            )
            values = zip(_FLOATS, np.moveaxis(np.asarray(floats), -2, 0), strict=True)
            named = [*columns, *values, ("after", after)]
            lists = {name: _to_list(name, column) for name, column in named}
            return {"kind": "table", "dtype": str(floats.dtype), **lists}
        case Time():
            return {"whole": to_dict(node.whole), "frac": to_dict(node.frac)}
        case Product() | Spliced() | Clocked() | Clock():
            fields = {name: to_dict(field) for name, field in node._asdict().items()}
            return {"kind": type(node).__name__.lower(), **fields}
        case _:
            return np.asarray(node).tolist()


def _to_list(name: str, column: np.ndarray) -> list[Any]:
    return (np.array(_CODES[name])[column] if name in _CODES else column).tolist()


def from_dict(values: object, name: str = "a schedule") -> Node:
    """The node that was written. The message of an error names the key."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{name} must be a dict, got {values!r}.")
    kind = values.get("kind")
    if isinstance(kind, str) and kind in ("product", "spliced", "clocked"):
        return _read_node(values, kind)
    if not isinstance(kind, str) or kind != "table":
        kinds = "table, product, spliced or clocked"
        raise ValueError(f"kind of {name} must be {kinds}, got {kind!r}.")
    return _read_table(values)


def _read_node(values: Mapping[str, Any], kind: str) -> Any:
    names = _KINDS[kind]._fields
    _check_keys(values, ["kind", *names])
    fields = {name: _read_field(name, values[name]) for name in names}
    shapes = [_shape_of(field) for field in fields.values()]
    if any(shape != shapes[0] for shape in shapes):
        given = ", ".join(map("{} {}".format, fields, shapes))
        raise ValueError(f"all parts of a {kind} need one batch shape, got {given}.")
    if kind == "spliced" and (fields["at_step"].whole < 0).any():
        raise ValueError(f"at_step must be 0 or more, got {values['at_step']!r}.")
    return _KINDS[kind](**fields)


def _read_field(name: str, value: Any) -> Any:
    if name == "clock":
        _check_mapping(name, value)
        return _read_node(value, "clock")
    if name == "every":
        return _read_array(name, value, np.int32)
    if name not in ("at_step", "at_count", "steps", "counts"):
        return from_dict(value, name)
    _check_mapping(name, value)
    _check_keys(value, ["whole", "frac"], f" of {name}")
    whole = _read_array(name, value["whole"], np.int32)
    frac = _read_array(f"{name}_frac", value["frac"], np.float32)
    if whole.shape != frac.shape:
        shapes = f"{whole.shape} and {frac.shape}"
        raise ValueError(f"whole and frac of {name} need one shape, got {shapes}.")
    return Time(whole, frac)


def _shape_of(field: Any) -> tuple[int, ...]:
    match field:
        case np.ndarray():
            return field.shape
        case Time():
            return field.whole.shape
        case Clock():
            return field.every.shape
        case _:
            return batch_shape_of(field)


def _read_table(values: Mapping[str, Any]) -> Table:
    _check_keys(values, ["kind", "dtype", *_INTEGERS, *_FLOATS, "after"])
    dtype = values["dtype"]
    if not isinstance(dtype, str) or dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}.")
    if dtype == "float64" and jnp.result_type(float) != dtype:
        raise ValueError("dtype float64 can be read under jax_enable_x64 alone.")
    columns = {name: _read_array(name, values[name], np.int32) for name in _INTEGERS}
    columns |= {name: _read_array(name, values[name], dtype) for name in _FLOATS}
    after, shape = (
        _read_array("after", values["after"], np.int32),
        columns["ends"].shape,
    )
    for name, column in columns.items():
        if column.shape != shape or not column.size or shape[:-1] != after.shape:
            raise ValueError(f"{name} must have one entry for each of ends.")
    _check_rows(columns)
    stacks = (
        np.stack([columns[x] for x in names], -2) for names in (_INTEGERS, _FLOATS)
    )
    integers, floats = map(read_only, stacks)
    return Table(integers, floats, after)


def _check_rows(columns: Mapping[str, np.ndarray]) -> None:
    ends, starts, stops = (
        columns[f"{name}s"] + columns[f"{name}_fracs"].astype(float)
        for name in ("end", "clock_start", "clock_end")
    )
    if (np.diff(ends, prepend=0) < 0).any() or (ends[..., -1] <= 0).any():
        raise ValueError(f"ends must not fall, and end above 0, got {ends.tolist()!r}.")
    if (stops < starts).any():
        raise ValueError(f"clock_ends must not be below clock_starts, got {stops!r}.")


def _check_mapping(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict, got {value!r}.")


def _check_keys(values: Mapping[str, Any], names: Sequence[str], of: str = "") -> None:
    if wrong := set(names) ^ values.keys():
        state = "unknown" if wrong & values.keys() else "missing"
        raise ValueError(f"{state} keys{of}: {', '.join(sorted(map(str, wrong)))}.")


def _read_array(name: str, value: Any, dtype: Any) -> np.ndarray:
    try:
        wide = np.array(value)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read, got {value!r}.") from error
    if name in _CODES:
        return _read_codes(name, wide)
    allowed = "iu" if np.dtype(dtype).kind == "i" else "iuf"
    if wide.dtype.kind not in allowed and wide.size:
        raise ValueError(f"{name} cannot be read, got {value!r}.")
    with np.errstate(all="ignore"):
        array = wide.astype(dtype)
    if not (array == wide).all() or not np.isfinite(array).all():
        raise ValueError(f"{name} does not fit in {np.dtype(dtype)}.")
    _check_range(name, array)
    return read_only(array)


def _check_range(name: str, array: np.ndarray) -> None:
    if name.endswith(("_fracs", "_frac")):
        if ((array < 0) | (array >= 1)).any():
            rule = "from 0 to below 1"
            raise ValueError(f"{name} must be {rule}, got {array.tolist()!r}.")
    elif name.endswith("exponents"):
        if (array < SMALLEST_RATE).any():
            rule = "1.2e-38 or more"
            raise ValueError(f"{name} must be {rule}, got {array.tolist()!r}.")
    elif name.endswith("values"):
        if (abs(array) > LARGEST_RATE).any():
            rule = "at most 1.7e38 in size"
            raise ValueError(f"{name} must be {rule}, got {array.tolist()!r}.")
    elif array.dtype == np.int32 and (array < _LEAST.get(name, -LARGEST)).any():
        least = _LEAST.get(name, "-(2**31 - 1)")
        raise ValueError(f"{name} must be {least} or more, got {array.tolist()!r}.")


def _read_codes(name: str, given: np.ndarray) -> np.ndarray:
    names = _CODES[name]
    if not np.isin(given, names).all():
        raise ValueError(
            f"{name} must be of {', '.join(names)}, got {given.tolist()!r}."
        )
    codes = sum(code * (given == one) for code, one in enumerate(names))
    return read_only(np.asarray(codes, np.int32))
