"""Drawing annotations on frames: a single frame, a video file or a strip of frames.

Masks are decoded one frame at a time, so memory does not grow with video length.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from vis_core.errors import VideoDecodeError
from vis_core.files import whole_file
from vis_core.media.images import encode_jpeg
from vis_core.media.video_writer import write_video
from vis_core.rle.segmentation import decode_rle
from vis_core.structures import Frame, VideoResult
from vis_core.visualization.colours import track_colour
from vis_core.visualization.labels import Box, draw_chip, label_texts, place_chip

_FILL = 0.42  # mask opacity: the texture below stays visible
_MIN_SHORT_SIDE = 360  # smaller videos are enlarged, so that their labels are readable
_MAX_LONG_SIDE = 1280  # larger videos are reduced, since this is a preview
_PICTURE_QUALITY = 90  # of JPEG


def draw_overlay(
    image: np.ndarray,
    track_ids: Sequence[int],
    labels: Sequence[int],
    scores: Sequence[float],
    masks: np.ndarray,
    class_names: Sequence[str],
) -> np.ndarray:
    """Draws the N instances of one frame, each with a translucent fill, outline and label chip.

    Large masks are drawn below small ones; chips with high scores are placed first. Works on a copy
    of the (H, W, 3) uint8 RGB image. A label beyond ``class_names`` is drawn as a number.
    """
    drawn = np.ascontiguousarray(image).copy()
    height, width = drawn.shape[:2]
    visible = [n for n in range(len(track_ids)) if masks[n].any()]
    boxes = {n: _box_of(masks[n]) for n in visible}
    visible.sort(key=lambda n: -int(masks[n].sum()))
    thickness = 1 + min(height, width) // 240
    for n in visible:
        _fill(drawn, masks[n], boxes[n], track_colour(int(track_ids[n])))
    for n in visible:
        _outline(drawn, masks[n], track_colour(int(track_ids[n])), thickness)
    taken: list[Box] = []
    for n in sorted(visible, key=lambda n: -float(scores[n])):
        texts = label_texts(int(track_ids[n]), _name(class_names, int(labels[n])), float(scores[n]))
        colour = track_colour(int(track_ids[n]))
        chip = place_chip(texts, boxes[n], taken, (height, width), colour)
        if chip is not None:
            draw_chip(drawn, chip)
            taken.append(chip.box)
    return drawn


def annotated_frame(
    frame: Frame, result: VideoResult, class_names: Sequence[str], size: tuple[int, int]
) -> np.ndarray:
    """Draws a frame's tracks at a given size (height, width); returns uint8 RGB.

    A chip shows the whole track's score, since numbers that change in every frame are unreadable. A
    frame beyond the end of the result is returned without annotations.
    """
    image = _resized(frame.image, size)
    shown = [
        (track, {"size": list(result.size), "counts": counts})
        for track in result.tracks
        for _, counts in track.masks.between(frame.index, frame.index + 1)
    ]
    masks = np.zeros((len(shown), *size), bool)
    for row, (_, rle) in enumerate(shown):
        masks[row] = _resized(decode_rle(rle).astype(np.uint8) * 255, size) > 127
    return draw_overlay(
        image,
        [-1 if track.track_id is None else track.track_id for track, _ in shown],
        [track.label for track, _ in shown],
        [track.score for track, _ in shown],
        masks,
        class_names,
    )


def write_overlay_video(
    path: Path, frames: Iterable[Frame], result: VideoResult, class_names: Sequence[str], fps: float
) -> int:
    """Writes a video with annotations as H.264 mp4, which every browser can play.

    The file is written atomically. Small videos are enlarged and large ones reduced (see
    ``display_size``); both sides become even, as yuv420p requires. ``fps`` is limited to 240, and
    replaced by 25 unless finite and positive. Returns the number of frames.

    Raises:
        VideoDecodeError: If the video has no frames.
        StorageError: If the file cannot be written.
    """
    size = display_size(result.height, result.width)
    pictures = (annotated_frame(frame, result, class_names, size) for frame in frames)
    with whole_file(path) as partial:
        count = write_video(partial, pictures, fps)
        if count == 0:
            raise VideoDecodeError(f"{path.name}: the video has no frames, so nothing can be drawn")
    return count


def contact_strip(
    frames: Iterable[Frame],
    result: VideoResult,
    class_names: Sequence[str],
    count: int = 6,
    height: int = 216,
    gap: int = 6,
) -> np.ndarray:
    """Draws evenly spaced annotated frames side by side, including the first and the last.

    Returns (height, width, 3) uint8 RGB with ``count`` frames, or fewer if the video has fewer.
    Raises VideoDecodeError if the video has no frames.
    """
    last = max(result.num_frames - 1, 0)
    chosen = set(np.rint(np.linspace(0, last, count)).astype(int).tolist())
    size = display_size(result.height, result.width)
    frame_size = (height, max(1, round(height * size[1] / size[0])))
    pictures: list[np.ndarray] = []
    for frame in frames:
        if frame.index in chosen:
            picture = annotated_frame(frame, result, class_names, frame_size)
            pictures += [picture, np.full((height, gap, 3), 255, np.uint8)]
        if frame.index >= last:
            break
    if not pictures:
        raise VideoDecodeError("the video has no frames, so no strip can be drawn")
    return np.concatenate(pictures[:-1], axis=1)


def write_picture(path: Path, image: np.ndarray) -> None:
    """Writes an RGB image atomically as PNG or JPEG, depending on the suffix."""
    suffix = path.suffix.lower()
    if suffix in {".jpg", ".jpeg"}:
        data = encode_jpeg(image, _PICTURE_QUALITY)
    else:
        data = cv2.imencode(suffix, image[..., ::-1])[1].tobytes()
    with whole_file(path) as partial:
        partial.write_bytes(data)


def display_size(height: int, width: int) -> tuple[int, int]:
    """Returns an even preview size: long side at most 1280, short side at least 360 if possible."""
    scale: float = max(1, math.ceil(_MIN_SHORT_SIDE / min(height, width)))
    scale = min(scale, _MAX_LONG_SIDE / max(height, width))
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)


def _name(class_names: Sequence[str], label: int) -> str:
    return class_names[label] if 0 <= label < len(class_names) else f"class {label}"


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes (H, W) or (H, W, 3) uint8: area averaging to shrink, bicubic to enlarge."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    method = cv2.INTER_AREA if size[0] * size[1] < height * width else cv2.INTER_CUBIC
    return cv2.resize(image, (size[1], size[0]), interpolation=method)


def _box_of(mask: np.ndarray) -> Box:
    """Computes the bounding box of a non-empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _fill(image: np.ndarray, mask: np.ndarray, box: Box, colour: tuple[int, int, int]) -> None:
    """Blends the colour into a mask's pixels within its box, in place."""
    x0, y0, x1, y1 = box
    inside = mask[y0:y1, x0:x1]
    region = image[y0:y1, x0:x1]
    mixed = region[inside] * (1 - _FILL) + np.array(colour, np.float32) * _FILL
    region[inside] = np.rint(mixed).astype(np.uint8)


def _outline(
    image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], thickness: int
) -> None:
    """Draws the outlines of a mask and its holes, set off from the image by a thin dark halo."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if thickness > 1:  # the halo would hide a one-pixel line
        halo = tuple(value // 4 for value in colour)
        cv2.drawContours(image, contours, -1, halo, thickness + 2, cv2.LINE_AA)
    cv2.drawContours(image, contours, -1, colour, thickness, cv2.LINE_AA)
