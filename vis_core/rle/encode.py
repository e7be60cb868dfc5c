"""Encodes many masks at once to compressed RLE, byte for byte like pycocotools.

Going down the columns, a run ends where a pixel differs from the one before it. Only a mask's box
is transposed and searched. ``decode.py`` describes and reads the text.
"""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

_DIGIT_BITS = 5
_FIRST_CHARACTER = 48
_CONTINUES = 32


def strings_of_masks(masks: np.ndarray) -> list[str]:
    """Writes the ``counts`` of bool masks (N, H, W); equals ``pycocotools.mask.encode``."""
    return strings_of_runs([_run_lengths(mask) for mask in masks])


def strings_of_runs(counts: Sequence[np.ndarray]) -> list[str]:
    """Writes the ``counts`` of masks given by their run lengths, (R,) int64 for each mask.

    A mask has at least one run; the first is background (0 if the mask begins with foreground).
    """
    numbers = np.concatenate([_differences(runs) for runs in counts]) if counts else np.zeros(0)
    text, lengths = _digits(numbers.astype(np.int64))
    last_numbers = np.cumsum([len(runs) for runs in counts], dtype=np.int64) - 1
    ends = np.cumsum(lengths)[last_numbers].tolist()
    return [text[first:end].decode("ascii") for first, end in pairwise([0, *ends])]


def _run_lengths(mask: np.ndarray) -> np.ndarray:
    """(R,) run lengths of a mask (H, W), background first.

    Equals ``[len(list(run)) for _, run in groupby(mask.T.ravel())]``, preceded by 0 if the mask
    begins with foreground.
    """
    height, width = mask.shape
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return np.array([height * width])
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[y0:y1].any(axis=0))
    x0, x1 = int(columns[0]), int(columns[-1]) + 1
    return runs_of_box(mask[y0:y1, x0:x1], y0, x0, (height, width))


def runs_of_box(box: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    """(R,) run lengths of a mask that is background outside a box.

    The box is (h, w) bool, at least one pixel wide and high; ``size`` is the mask's.
    """
    (height, width), (box_height, box_width) = size, box.shape
    # a background pixel after each column of the box ends its last run
    columns = np.zeros((box_width, box_height + 1), np.uint8)
    # OpenCV transposes in blocks, ten times as fast as numpy
    columns[:, :-1] = cv2.transpose(np.ascontiguousarray(box).view(np.uint8))
    flat = columns.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        changes = np.concatenate([[0], changes])
    if not len(changes):
        return np.array([height * width])
    column, row = np.divmod(changes, box_height + 1)
    changes = (left + column) * height + top + row
    if box_height == height:  # a run at the bottom of a column continues at the top of the next
        same = np.flatnonzero(changes[1:] == changes[:-1])
        changes = np.delete(changes, np.concatenate([same, same + 1]))
    pixels = height * width
    return np.diff(changes if changes[-1] == pixels else np.append(changes, pixels), prepend=0)


def _differences(runs: np.ndarray) -> np.ndarray:
    """Replaces the fourth and later runs with their difference from the run two before."""
    differences = runs.copy()
    differences[3:] -= runs[1:-2]
    return differences


def _digits(numbers: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Writes numbers in base 32, lowest digit first, with the sign in the last digit.

    Returns the characters of all numbers and the number of characters in each.
    """
    columns: list[np.ndarray] = []
    lengths = np.zeros(len(numbers), np.int64)
    continues = np.ones(len(numbers), bool)
    rest = numbers
    while continues.any():
        digit = rest & (_CONTINUES - 1)
        rest = rest >> _DIGIT_BITS
        lengths += continues
        # the highest bit of the last digit is the sign: the rest must agree with it
        more = np.where(digit & (_CONTINUES >> 1), rest != -1, rest != 0)
        columns.append((digit + _FIRST_CHARACTER + _CONTINUES * more).astype(np.uint8))
        continues = continues & more
    if not columns:
        return b"", lengths
    table = np.stack(columns, axis=1)
    return table[np.arange(len(columns)) < lengths[:, None]].tobytes(), lengths
