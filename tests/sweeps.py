"""Long sweeps, of which the default suite runs a part: `-m thorough` runs the rest."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def sweep(
    names: str | tuple[str, ...], values: Iterable[Any], default: Collection[Any]
) -> pytest.MarkDecorator:
    """As `pytest.mark.parametrize`: what is not among the default is thorough."""
    values = list(values)
    unknown = [value for value in default if value not in values]
    assert not unknown, f"no parameters: {unknown}"
    return pytest.mark.parametrize(
        names,
        [
            value
            if value in default
            else pytest.param(
                *(value if isinstance(names, tuple) else (value,)),
                marks=pytest.mark.thorough,
            )
            for value in values
        ],
    )
