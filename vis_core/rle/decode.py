"""Checked decoding of compressed RLE text to run lengths, for many masks at once.

COCO's compressed RLE writes each run as a base-32 number (characters ``0`` to ``o``; 5 bits and a
continuation bit each, with the sign in the last). The fourth and later runs are written as the
difference from the run two before. Runs go down the columns and begin with background. pycocotools
reads such text unchecked (out-of-bounds reads, uninitialised pixels), so it is checked here first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

MAX_PIXELS = 100_000_000  # per image: three times the pixels of an 8K frame
_FIRST_CHARACTER = 48
_CONTINUES = 32
_LONGEST_NUMBER = 6  # characters: 30 bits with sign, more than MAX_PIXELS


@dataclass(frozen=True)
class RunLengths:
    """The foreground runs of N masks of P pixels, laid end to end on a line of N * P pixels."""

    ends: np.ndarray  # (R,) int32 or int64, end of each foreground run on the line (exclusive)
    lengths: np.ndarray  # (R,) int32, pixels of each run; some are 0
    first: np.ndarray  # (N + 1,) int64, first run of each mask; each mask has at least one

    def __len__(self) -> int:
        return len(self.first) - 1

    def areas(self) -> np.ndarray:
        """(N,) int64 foreground pixels of each mask."""
        if len(self) == 0:
            return np.zeros(0, np.int64)
        return np.add.reduceat(self.lengths, self.first[:-1]).astype(np.int64)

    def boxes_xywh(self, size: tuple[int, int]) -> np.ndarray:
        """(N, 4) int64 smallest box around each mask of (H, W) pixels; zeros if it is empty."""
        height, width = size
        if len(self) == 0:
            return np.zeros((0, 4), np.int64)
        owner = np.repeat(np.arange(len(self)), np.diff(self.first))
        stop = self.ends.astype(np.int64) - owner * (height * width)
        start = stop - self.lengths
        (left, top), (right, bottom) = np.divmod(start, height), np.divmod(stop - 1, height)
        several = left != right  # a run past the bottom of a column spans all rows
        top[several], bottom[several] = 0, height - 1
        nothing = self.lengths == 0
        left[nothing], top[nothing] = width, height
        right[nothing] = bottom[nothing] = -1
        begin = self.first[:-1]
        x0, y0 = np.minimum.reduceat(left, begin), np.minimum.reduceat(top, begin)
        x1, y1 = np.maximum.reduceat(right, begin), np.maximum.reduceat(bottom, begin)
        boxes = np.stack([x0, y0, x1 - x0 + 1, y1 - y0 + 1], axis=1)
        boxes[x1 < 0] = 0
        return boxes

    def paint(self, masks: Iterable[np.ndarray]) -> None:
        """Sets each mask's pixels in one of N empty bool planes (H, W) of P pixels."""
        for number, mask in enumerate(masks):
            runs = slice(self.first[number], self.first[number + 1])
            lengths = self.lengths[runs]
            filled = lengths > 0
            lengths, ends = lengths[filled], self.ends[runs][filled] - number * mask.size
            if len(lengths):
                _paint(mask, ends - lengths, ends)


def _paint(mask: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
    """Sets one or more ascending runs of a plane (H, W), touching only their columns."""
    height = len(mask)
    left, right = int(starts[0]) // height, (int(ends[-1]) - 1) // height + 1
    places = np.empty(2 * len(starts) + 2, starts.dtype)
    places[0], places[-1] = left * height, right * height
    places[1:-1:2], places[2:-1:2] = starts, ends
    pixels = np.zeros(len(places) - 1, np.uint8)
    pixels[1::2] = 1
    columns = np.repeat(pixels, np.diff(places)).reshape(-1, height)
    # OpenCV transposes in blocks; numpy takes several times as long
    mask[:, left:right] = cv2.transpose(columns).view(bool)


def runs_of_strings(strings: Sequence[str], pixels: int) -> RunLengths | None:
    """Reads compressed RLE strings of masks with ``pixels`` pixels each.

    Equals the COCO API's ``rleFrString`` loop over each string, with every step checked. Returns
    None if any string is faulty (``string_fault`` describes the fault).
    """
    if not len(strings):
        return RunLengths(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(1, np.int64))
    try:
        text = "0".join([*strings, ""]).encode("ascii")  # a run of 0 ends each mask
    except UnicodeEncodeError:
        return None
    sizes = np.fromiter(map(len, strings), np.int64, len(strings))
    characters = np.frombuffer(text, np.uint8) - np.uint8(_FIRST_CHARACTER)
    # bytes below "0" wrap around to high values
    if not sizes.all() or characters.max() >= 2 * _CONTINUES:
        return None
    string_ends = np.cumsum(sizes + 1)
    if (characters[string_ends - 2] >= _CONTINUES).any():
        return None
    is_last = characters < _CONTINUES
    carries = np.flatnonzero(~is_last)
    values = _numbers(characters, is_last, carries)
    if values is None:
        return None
    first_value = np.zeros(len(strings) + 1, np.int64)
    first_value[1:] = string_ends - np.searchsorted(carries, string_ends)
    return _checked_runs(values, first_value, pixels)


def string_fault(counts: object, pixels: int) -> str | None:
    """Describes the fault in a compressed RLE's ``counts``; None if they are sound."""
    if not isinstance(counts, str):
        return f"counts of type {type(counts).__name__}"
    if not counts:
        return "empty counts"
    if counts.startswith(("b'", 'b"')):
        return "bytes printed as text (b'...' in place of counts.decode())"
    strange = next((letter for letter in counts if not "0" <= letter <= "o"), None)
    if strange is not None:
        return f"the character {ascii(strange)}, which is not in the RLE alphabet"
    if ord(counts[-1]) - _FIRST_CHARACTER >= _CONTINUES:
        return "counts that end inside a number"
    runs = _decoded_slowly(counts)
    return "a run too large for any image" if runs is None else _runs_fault(runs, pixels)


def counts_fault(counts: object, pixels: int) -> str | None:
    """Describes the fault in an uncompressed RLE's ``counts``; None if they are sound."""
    if not isinstance(counts, list):
        return f"counts of type {type(counts).__name__}"
    if not counts:
        return "empty counts"
    if set(map(type, counts)) != {int}:
        strange = next(run for run in counts if type(run) is not int)
        return f"the run {ascii(strange)[:40]}, which is not an integer"
    return _runs_fault(counts, pixels)


def _runs_fault(runs: list[int], pixels: int) -> str | None:
    if min(runs) < 0:
        return f"the negative run {min(runs)}"
    if sum(runs) != pixels:
        return f"runs that add up to {sum(runs)} where size has {pixels} pixels"
    return None


def _decoded_slowly(counts: str) -> list[int] | None:
    runs: list[int] = []
    value, shift = 0, 0
    for letter in counts:
        code = ord(letter) - _FIRST_CHARACTER
        value |= (code & 31) << shift
        shift += 5
        if code & _CONTINUES:
            if shift >= 5 * _LONGEST_NUMBER:
                return None
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    return runs


def _numbers(characters: np.ndarray, is_last: np.ndarray, carries: np.ndarray) -> np.ndarray | None:
    """(V,) int32 numbers in a text; None if a number is too long.

    The text is (L,) codes 0..63; after a code of 32 or more, the number continues. ``is_last`` (L,)
    marks the codes that end a number; ``carries`` are the ascending positions of all other codes.
    """
    values = characters[is_last].view(np.int8)
    values = ((values ^ 16) - 16).astype(np.int32)  # the sign is the highest of 5 bits
    number = carries - np.arange(len(carries))  # count of the numbers that end before
    digits = characters[carries] & np.uint8(31)
    for _ in range(_LONGEST_NUMBER):
        if not len(number):
            return values
        values[number] = (values[number] << 5) | digits  # the last, highest digit is kept
        lower = np.flatnonzero(number[1:] == number[:-1])
        number, digits = number[lower], digits[lower]
    return None


def _checked_runs(values: np.ndarray, first_value: np.ndarray, pixels: int) -> RunLengths | None:
    """Adds up the differences within each mask and checks the runs; None if any is faulty.

    Equals, for each mask, ``runs[k] = values[k] + (runs[k - 2] if k > 2 else 0)``. All masks share
    one running sum, from which the end of the previous mask is subtracted at each start. Every
    overflow is detected: a step is below 2**30, so the sum would pass through negative numbers. In
    ``values`` (V,), an extra 0 follows each mask; ``first_value`` (N + 1,) are the masks' bounds.
    """
    counts = np.diff(first_value)
    unpaired = np.flatnonzero(counts & 1)  # masks that end with foreground
    first = np.zeros_like(first_value)
    np.cumsum((counts + 1) // 2, out=first[1:])
    if len(unpaired):
        values = np.insert(values, first_value[unpaired + 1], 0)
    if max(-int(values.min()), int(values.max())) > MAX_PIXELS:
        return None
    starts, lasts = first[:-1], first[1:] - 1
    chains = values[0::2], values[1::2]
    first_background = chains[0][starts]  # not a difference, so not part of the sum
    chains[0][starts] = 0
    for chain in chains:
        chain[starts[1:]] -= np.add.reduceat(chain, starts)[:-1]
    background = np.cumsum(chains[0], dtype=np.int32)
    foreground = np.cumsum(chains[1], dtype=np.int32)
    background[starts] = first_background
    background[lasts[unpaired]] = 0
    foreground[lasts] = 0
    if min(background.min(), foreground.min()) < 0:
        return None
    if max(background.max(), foreground.max()) > pixels:
        return None
    steps = np.add(background, foreground, out=chains[0])  # numpy sums strided values fastest
    line = np.int32 if len(starts) * pixels < 2**31 else np.int64
    ends = np.cumsum(steps, dtype=line)
    mask_ends = np.arange(1, len(starts) + 1, dtype=np.int64) * pixels
    if ends.min() < 0 or (ends[lasts] != mask_ends).any():
        return None
    return RunLengths(ends, foreground, first)
