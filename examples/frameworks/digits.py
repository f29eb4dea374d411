"""What these programs share: the 8x8 digits that ship inside scikit-learn, in batches.

Each program trains in three stretches of the same number of updates: along a curve that
is planned for four stretches, then along half of that curve, then cooling down.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_digits
from tqdm import tqdm

_images, _labels = map(np.asarray, load_digits(return_X_y=True))
_images, _labels = (_images / 16).astype(np.float32), _labels.astype(np.int32)
_rng = np.random.default_rng(0)
_is_test = _rng.permutation(len(_images)) < len(_images) // 4

TRAIN_IMAGES, TRAIN_LABELS = _images[~_is_test], _labels[~_is_test]
TEST_IMAGES, TEST_LABELS = _images[_is_test], _labels[_is_test]


def whole_from_1(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10**6:
        raise argparse.ArgumentTypeError(
            f"must be a whole number from 1 to a million, got {text!r}"
        )
    return int(text)


def steps_of(description: str | None) -> int:
    """The option `--steps` of a program: updates in each stretch."""
    parser = argparse.ArgumentParser(
        description=(description or "").partition("\n\n")[2],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--steps", type=whole_from_1, default=250, help="updates in each stretch"
    )
    return parser.parse_args().steps


def batches(stretch: str, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Random images and labels, under a progress bar with the name of the stretch."""
    with tqdm(total=steps, desc=f"{stretch:12}", unit="batch") as bar:
        for _ in range(steps):
            batch = _rng.integers(len(TRAIN_LABELS), size=64)
            bar.update()  # before, as Keras asks for no more than it needs
            yield TRAIN_IMAGES[batch], TRAIN_LABELS[batch]
