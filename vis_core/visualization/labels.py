"""Label chips for instances: text, placement and drawing."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vis_core.errors import FORBIDDEN
from vis_core.visualization.colours import Colour, ink_on

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, end exclusive
_LONGEST_NAME = 24  # characters; a longer class name is truncated with an ellipsis


@dataclass(frozen=True)
class Chip:
    """A label with its position in an image; ``baseline`` is the y coordinate of its text."""

    text: str
    box: Box
    text_px: int
    baseline: int
    colour: Colour


def label_texts(track_id: int, name: str, score: float) -> tuple[str, ...]:
    """Returns the possible texts of a chip, longest first: ``#3 dog 0.91``, ``#3 dog``, ``#3``."""
    # OpenCV's text engine crashes on lone surrogates
    printable = FORBIDDEN.sub(" ", name).strip()
    if len(printable) > _LONGEST_NAME:
        printable = printable[: _LONGEST_NAME - 1].rstrip() + "…"
    return f"#{track_id} {printable} {score:.2f}", f"#{track_id} {printable}", f"#{track_id}"


def text_pixels(height: int, width: int) -> int:
    """Returns the letter height for an image: about 1/34 of the short side, 10 to 30 pixels."""
    return int(min(max(round(min(height, width) / 34), 10), 30))


def place_chip(
    texts: Sequence[str], anchor: Box, taken: Sequence[Box], size: tuple[int, int], colour: Colour
) -> Chip | None:
    """Finds a position near an instance, inside the image and clear of the ``taken`` boxes.

    Tries ``texts``, longest first, until a chip covers no other chip and is no wider than its
    instance or 0.3 of the image, whichever is wider. The shortest text may be wider, and up to half
    of its chip may cover other chips. Returns None if even the shortest text does not fit.
    """
    height, width = size
    text_px = text_pixels(height, width)
    pad = max(2, text_px // 4)
    for text in texts:
        is_last = text == texts[-1]
        (_, top, text_width, text_height), _ = _measure(text, text_px)
        chip_width, chip_height = text_width + 2 * pad, text_height + pad
        widest = width if is_last else min(max(anchor[2] - anchor[0], 0.3 * width), width)
        if chip_width > widest or chip_height > height:
            continue
        (x, y), covered = _free_corner(anchor, (chip_width, chip_height), taken, size)
        if covered == 0 or (is_last and covered <= chip_width * chip_height // 2):
            box = (x, y, x + chip_width, y + chip_height)
            return Chip(text, box, text_px, y + pad // 2 - top, colour)
    return None


def draw_chip(image: np.ndarray, chip: Chip) -> None:
    """Draws a chip on ``image`` in place: a rounded plate and its text in black or white."""
    x0, y0, x1, y1 = chip.box
    radius = max(1, min(chip.text_px // 4, (y1 - y0) // 2 - 1))
    plate = np.zeros((y1 - y0, x1 - x0), np.uint8)
    _fill_rounded(plate, radius)
    region = image[y0:y1, x0:x1]
    opacity = plate[..., None].astype(np.float32) / 255.0
    colour = np.array(chip.colour, np.float32)
    region[:] = np.rint(region * (1 - opacity) + colour * opacity).astype(np.uint8)
    pad = max(2, chip.text_px // 4)
    (left, *_), face = _measure(chip.text, chip.text_px)
    origin = (x0 + pad - left, chip.baseline)
    cv2.putText(image, chip.text, origin, ink_on(chip.colour), face, chip.text_px, _WEIGHT)


_WEIGHT = 500  # of the variable font, between regular and bold, since thin strokes vanish in H.264


def _measure(text: str, text_px: int) -> tuple[tuple[int, int, int, int], "cv2.FontFace"]:
    """Returns a text's box (left, top, width, height) relative to the origin, and its font."""
    face = cv2.FontFace("sans")
    rect = cv2.getTextSize((0, 0), text, (0, 0), face, text_px, _WEIGHT)
    return (rect[0], rect[1], rect[2], rect[3]), face


def _free_corner(
    anchor: Box, chip: tuple[int, int], taken: Sequence[Box], size: tuple[int, int]
) -> tuple[tuple[int, int], int]:
    """Returns the position around the instance with the least overlap, and that overlap."""
    x0, y0, x1, y1 = anchor
    width, height = chip
    corners = [
        (x0, y0 - height),
        (x0, y0),
        (x0, y1),
        (x1 - width, y0 - height),
        (x1 - width, y1 - height),
        (x0, (y0 + y1 - height) // 2),
        (x1, y0),
        (x0, y0 - 2 * height),
        (x0, y1 + height),
    ]
    inside = [
        (min(max(x, 0), size[1] - width), min(max(y, 0), size[0] - height)) for x, y in corners
    ]
    covered = [
        sum(_overlap((x, y, x + width, y + height), box) for box in taken) for x, y in inside
    ]
    best = int(np.argmin(covered))
    return inside[best], covered[best]


def _overlap(one: Box, other: Box) -> int:
    """Returns the intersection area of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def _fill_rounded(plate: np.ndarray, radius: int) -> None:
    """Draws a rounded rectangle on a plate of coverage values 0..255."""
    height, width = plate.shape
    plate[radius : height - radius] = 255
    plate[:, radius : width - radius] = 255
    for x in (radius, width - 1 - radius):
        for y in (radius, height - 1 - radius):
            cv2.circle(plate, (x, y), radius, 255, -1, cv2.LINE_AA)
