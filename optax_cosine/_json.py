"""Schedules as dictionaries that JSON can hold, and back, to the bit."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from optax_cosine._arrays import Numbers, read_only
from optax_cosine._clock import Clock
from optax_cosine._node import Clocked, Node, Product, Spliced
from optax_cosine._table import AFTER, SHAPES, Table
from optax_cosine._time import LARGEST, Time
from optax_cosine._validation import LARGEST_RATE, SMALLEST_RATE

_INTEGERS = "ends", "clock_starts", "clock_ends", "shapes"
_FLOATS = (
    *("end_fracs", "clock_start_fracs", "clock_end_fracs"),
    *("init_values", "end_values", "exponents", "time_exponents"),
)
_CODES = {"shapes": SHAPES, "after": AFTER}
_COMBINATIONS = {"product": Product, "spliced": Spliced, "clocked": Clocked}
# The smallest value of each integer that must not be negative.
_LEAST = {"at_count": 0, "every": 1, "steps": 1, "counts": 1, "ends": 0}


def to_dict(node: Node | Clock | Time | Numbers) -> Any:
    """The numbers of a node with NumPy's leaves, as Python's numbers and lists."""
    match node:
        case Table(integers, floats, after):
            packed = (np.moveaxis(np.asarray(x), -2, 0) for x in (integers, floats))
            columns = itertools.chain(*packed)
            named = dict(zip((*_INTEGERS, *_FLOATS), columns, strict=True))
            named["shapes"] = np.array(SHAPES)[named["shapes"]]
            named["after"] = np.array(AFTER)[after]
            lists = {name: column.tolist() for name, column in named.items()}
            return {"kind": "table", "dtype": str(floats.dtype), **lists}
        case Time(whole, frac):
            return {"whole": to_dict(whole), "frac": to_dict(frac)}
        case Product() | Spliced() | Clocked() | Clock():
            fields = {name: to_dict(field) for name, field in node._asdict().items()}
            return {"kind": type(node).__name__.lower(), **fields}
        case _:
            return np.asarray(node).tolist()


def from_dict(values: object, name: str = "a schedule") -> Node:
    """The node that was written. The message of an error names the key."""
    values = _checked_mapping(name, values)
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in ("table", *_COMBINATIONS):
        kinds = "table, product, spliced or clocked"
        raise ValueError(f"kind of {name} must be {kinds}, got {kind!r}.")
    if kind == "table":
        return _read_table(values)
    node = _read_parts(values, _COMBINATIONS[kind])
    if isinstance(node, Spliced) and (node.at_step.whole < 0).any():
        raise ValueError(f"at_step must be 0 or more, got {values['at_step']!r}.")
    return node


def _read_parts(values: Mapping[str, object], kind: Any) -> Any:
    """A named tuple, each field of which is a node, a clock, a time, or a number."""
    _check_keys(values, ["kind", *kind._fields])
    parts = kind(*(_read_part(name, values[name]) for name in kind._fields))
    # The last leaf of each part has the batch shape of the part.
    shapes = [jax.tree.leaves(part)[-1].shape for part in parts]
    if len(set(shapes)) > 1:
        given = ", ".join(map("{} {}".format, kind._fields, shapes))
        what = f"a {kind.__name__.lower()}"
        raise ValueError(f"all parts of {what} need one batch shape, got {given}.")
    return parts


def _read_part(name: str, value: object) -> Any:
    match name:
        case "every":
            return _read_array(name, value, np.int32)
        case "clock":
            return _read_parts(_checked_mapping(name, value), Clock)
        case "at_step" | "at_count" | "steps" | "counts":
            return _read_time(name, value)
        case _:
            return from_dict(value, name)


def _read_time(name: str, value: object) -> Time:
    values = _checked_mapping(name, value)
    _check_keys(values, ["whole", "frac"], f" of {name}")
    whole = _read_array(name, values["whole"], np.int32)
    frac = _read_array(f"{name}_frac", values["frac"], jnp.result_type(float))
    # Float64 only if float32 does not hold it, as it was stored.
    narrow = read_only(frac.astype(np.float32))
    frac = narrow if (narrow == frac).all() else frac
    if whole.shape != frac.shape:
        shapes = f"{whole.shape} and {frac.shape}"
        raise ValueError(f"whole and frac of {name} need one shape, got {shapes}.")
    return Time(whole, frac)


def _read_table(values: Mapping[str, object]) -> Table:
    _check_keys(values, ["kind", "dtype", *_INTEGERS, *_FLOATS, "after"])
    dtype = values["dtype"]
    if not isinstance(dtype, str) or dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}.")
    if dtype == "float64" and jnp.result_type(float) != dtype:
        raise ValueError("dtype float64 can be read under jax_enable_x64 alone.")
    columns = {name: _read_array(name, values[name], np.int32) for name in _INTEGERS}
    columns |= {name: _read_array(name, values[name], dtype) for name in _FLOATS}
    after = _read_array("after", values["after"], np.int32)
    shape = columns["ends"].shape
    for name, column in columns.items():
        if column.shape != shape or not column.size or shape[:-1] != after.shape:
            raise ValueError(f"{name} must have one entry for each of ends.")
    _check_rows(columns)

    def stacked(names: Iterable[str]) -> np.ndarray:
        return read_only(np.stack([columns[name] for name in names], -2))

    return Table(stacked(_INTEGERS), stacked(_FLOATS), after)


def _check_rows(columns: Mapping[str, np.ndarray]) -> None:
    ends, starts, stops = (
        columns[f"{name}s"] + columns[f"{name}_fracs"].astype(float)
        for name in ("end", "clock_start", "clock_end")
    )
    if (np.diff(ends, prepend=0) < 0).any() or (ends[..., -1] <= 0).any():
        raise ValueError(f"ends must not fall, and end above 0, got {ends.tolist()!r}.")
    if (stops < starts).any():
        raise ValueError(f"clock_ends must not be below clock_starts, got {stops!r}.")


def _checked_mapping(name: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict, got {value!r}.")
    return value


def _check_keys(
    values: Mapping[str, object], names: Iterable[str], of: str = ""
) -> None:
    if wrong := set(names) ^ values.keys():
        state = "unknown" if wrong & values.keys() else "missing"
        raise ValueError(f"{state} keys{of}: {', '.join(sorted(map(str, wrong)))}.")


def _read_array(name: str, value: object, dtype: DTypeLike) -> np.ndarray:
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
    rule, is_kept = _rule_of(name)
    if not is_kept(array).all():
        raise ValueError(f"{name} must be {rule}, got {array.tolist()!r}.")
    return read_only(array)


def _rule_of(name: str) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    """What holds of each number of a field: in words, and as a function."""
    if name.endswith(("_fracs", "_frac")):
        return "from 0 to below 1", lambda x: (x >= 0) & (x < 1)
    if name.endswith("exponents"):
        return "1.2e-38 or more", lambda x: x >= SMALLEST_RATE
    if name.endswith("values"):
        rule = "0 or from 1.2e-38 to 1.7e38 in size"
        return rule, _is_rate
    least = _LEAST.get(name, -LARGEST)
    return f"{least if least >= 0 else '-(2**31 - 1)'} or more", lambda x: x >= least


def _is_rate(values: np.ndarray) -> np.ndarray:
    sizes = abs(values)
    return (values == 0) | ((sizes >= SMALLEST_RATE) & (sizes <= LARGEST_RATE))


def _read_codes(name: str, given: np.ndarray) -> np.ndarray:
    names, rows = _CODES[name], given.tolist()
    if not np.isin(given, names).all():
        raise ValueError(f"{name} must be of {', '.join(names)}, got {rows!r}.")
    codes = sum(code * (given == one) for code, one in enumerate(names))
    return read_only(np.asarray(codes, np.int32))
