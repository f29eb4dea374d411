"""What the options of these programs may be, and the sentence that refuses the rest."""

import argparse
import math
import pathlib
from collections.abc import Callable


def whole_from(smallest: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdecimal() or not smallest <= int(text) < 2**31:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {smallest} to 2**31 - 1, got {text!r}"
            )
        return int(text)

    return whole


def rate_above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(
            f"must be a learning rate above 0 and at most 1, got {text!r}"
        )
    return value


def folder(text: str) -> pathlib.Path:
    try:
        pathlib.Path(text).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"must be a folder that can be made, got {text!r} ({error.strerror})"
        ) from error
    return pathlib.Path(text)
