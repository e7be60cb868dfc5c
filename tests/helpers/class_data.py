"""Small COCO and YouTube-VIS folders with given class lists."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vis_core.formats.categories import Categories
from vis_core.formats.class_maps import CLASS_LISTS
from vis_core.formats.coco import ImageRecord, write_coco
from vis_core.formats.youtube_vis import TrackRecord, VideoRecord, write_youtube_vis
from vis_core.media.images import encode_jpeg
from vis_core.rle.segmentation import encode_masks

SIZE = (48, 64)


def write_mini_coco(folder: Path, classes: Categories = CLASS_LISTS["coco"]) -> dict[str, int]:
    """Writes images with every class, the n-th one n % 3 + 1 times; returns the counts by name."""
    counts = {name: label % 3 + 1 for label, name in enumerate(classes.names)}
    labels = [label for label, count in enumerate(counts.values()) for _ in range(count)]
    labels = np.random.default_rng(0).permutation(labels).tolist()
    groups = [labels[start : start + 4] for start in range(0, len(labels), 4)]
    records = []
    for number, group in enumerate(groups, 1):
        _write_image(folder / "images" / f"{number}.jpg", number)
        rles = tuple(encode_masks(_squares(len(group))))
        records.append(ImageRecord(number, f"{number}.jpg", *SIZE, tuple(group), rles))
    write_coco(folder / "instances.json", records, classes)
    return counts


def write_mini_vis(folder: Path, classes: Categories, labels: Sequence[int] = (0, 1)) -> None:
    """Writes two videos of four frames for training and two for validation."""
    for part, first in (("train", 1), ("val", 3)):
        videos = [_video(folder, number, labels) for number in (first, first + 1)]
        write_youtube_vis(folder / f"{part}.json", videos, classes)


def _video(folder: Path, number: int, labels: Sequence[int]) -> VideoRecord:
    names = tuple(f"{number}/{frame}.jpg" for frame in range(4))
    for frame, name in enumerate(names):
        _write_image(folder / "JPEGImages" / name, 10 * number + frame)
    rles = encode_masks(_squares(len(labels)))
    tracks = tuple(
        TrackRecord(10 * number + row, label, (rles[row],) * len(names), False)
        for row, label in enumerate(labels)
    )
    return VideoRecord(number, *SIZE, names, tracks)


def _write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    path.write_bytes(encode_jpeg(pixels))


def _squares(count: int) -> np.ndarray:
    masks = np.zeros((count, *SIZE), dtype=bool)
    for row in range(count):
        masks[row, 4 + 10 * (row % 4) : 12 + 10 * (row % 4), 4 : 40 + row] = True
    return masks
