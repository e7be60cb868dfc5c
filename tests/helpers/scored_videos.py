"""Small data sets for metric tests, with naive code for comparison."""

import numpy as np

from vis_core.evaluation.loading import GroundTruth, Results, ground_truth_of, results_of
from vis_core.formats.categories import numbered
from vis_core.formats.youtube_vis import TrackRecord, VideoRecord
from vis_core.rle.segmentation import encode_mask

CATEGORIES = numbered(("cat", "dog"))


def random_masks(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Returns bool masks (..., H, W): noise, boxes, whole columns, full and empty ones."""
    masks = np.zeros(shape, bool).reshape(-1, *shape[-2:])
    height, width = shape[-2:]
    for mask in masks:
        kind = generator.integers(5)
        if kind == 0:
            mask[:] = generator.random(mask.shape) < generator.random()
        elif kind == 1:
            top, left = generator.integers(height), generator.integers(width)
            mask[top : top + 1 + generator.integers(height), left:] = True
        elif kind == 2:
            mask[:, : generator.integers(width + 1)] = True
        elif kind == 3:
            mask[:] = True
    return masks.reshape(shape)


def track(masks: np.ndarray) -> list[dict | None]:
    """Returns the RLEs of masks (T, H, W), None where empty."""
    return [encode_mask(mask) if mask.any() else None for mask in masks]


def random_set(
    generator: np.random.Generator, videos: int = 3, frames: int = 3, size: tuple[int, int] = (9, 8)
) -> tuple[GroundTruth, list[dict]]:
    """Returns a ground truth and result entries, some of which match it."""
    records, entries = [], []
    annotation_id = 1
    for video_id in range(1, videos + 1):
        tracks = []
        for _ in range(int(generator.integers(1, 4))):
            masks = random_masks(generator, frames, *size)
            label = int(generator.integers(2))
            crowd = bool(generator.integers(5) == 0)
            tracks.append(TrackRecord(annotation_id, label, tuple(track(masks)), crowd))
            annotation_id += 1
            for _ in range(int(generator.integers(3))):
                moved = np.roll(masks, int(generator.integers(3)), axis=2)
                entries.append(
                    {
                        "video_id": video_id,
                        "score": round(float(generator.random()), 2),
                        "category_id": CATEGORIES.id_of_index(label),
                        "segmentations": track(moved),
                    }
                )
        names = tuple(f"{video_id}/{frame}.jpg" for frame in range(frames))
        records.append(VideoRecord(video_id, *size, names, tuple(tracks)))
    return ground_truth_of(records, CATEGORIES), entries


def as_results(entries: list[dict], truth: GroundTruth) -> Results:
    """Converts entries without changing the list."""
    return results_of(list(entries), truth)
