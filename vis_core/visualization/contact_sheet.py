"""Contact sheets of clips: one row per clip with its frames and instance outlines."""

from collections.abc import Sequence

import cv2
import numpy as np

from vis_core.clips.transforms import resize
from vis_core.structures import Clip
from vis_core.visualization.colours import track_colour

_GAP = 4  # white pixels between frames


def contact_sheet(
    clips: Sequence[Clip], class_names: Sequence[str], frame_height: int = 150, max_frames: int = 8
) -> np.ndarray:
    """Draws clips with instance outlines, one colour per identity in a clip.

    A clip's classes are written below it in the outline colours. Returns an (H, W, 3) uint8 RGB
    image with at most ``max_frames`` evenly spaced frames per clip.
    """
    rows = [_row(clip, class_names, frame_height, max_frames) for clip in clips]
    width = max(row.shape[1] for row in rows)
    sheet = [
        np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows
    ]
    return np.concatenate(sheet)


def _row(clip: Clip, class_names: Sequence[str], height: int, max_frames: int) -> np.ndarray:
    chosen = np.unique(
        np.linspace(0, len(clip) - 1, min(max_frames, len(clip))).round().astype(int)
    )
    width = max(1, round(clip.images.shape[2] * height / clip.images.shape[1]))
    gap = np.full((height, _GAP, 3), 255, np.uint8)
    pictures = []
    for t in chosen:
        image, masks = resize(clip.images[t], clip.masks[t], height, width)
        pictures += [outlined(image, masks), gap]
    frames = np.concatenate(pictures, axis=1)
    return np.concatenate([frames, _legend(clip, class_names, frames.shape[1])])


def outlined(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Returns a copy of an image with the outlines of (G, H, W) masks, coloured by row."""
    drawn = np.ascontiguousarray(image).copy()
    for row, mask in enumerate(masks):
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, track_colour(row), 1, cv2.LINE_AA)
    return drawn


def _legend(clip: Clip, class_names: Sequence[str], width: int) -> np.ndarray:
    """Draws the clip's name and the class of each identity on a white strip."""
    strip = np.full((20, width, 3), 255, np.uint8)
    texts = [(clip.clip_id, (0, 0, 0))]
    for row, label in enumerate(clip.labels):
        texts.append((class_names[int(label)], track_colour(row)))
    x = 4
    for text, colour in texts:
        darker = tuple(value * 2 // 3 for value in colour)  # readable on white
        cv2.putText(strip, text, (x, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, darker, 1, cv2.LINE_AA)
        x += cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0] + 10
    return strip
