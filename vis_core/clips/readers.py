"""Readers for annotated images and video frames, with their masks."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from vis_core.errors import AnnotationError, ImageError
from vis_core.formats.coco import IGNORED, ImageRecord
from vis_core.formats.youtube_vis import VideoRecord
from vis_core.media.images import read_image
from vis_core.rle.segmentation import decode_rles
from vis_core.structures import Clip


def with_instances(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Returns the images with instances (CTVIS release); raises AnnotationError without any."""
    kept = [record for record in records if any(label != IGNORED for label in record.labels)]
    if not kept:
        raise AnnotationError(
            f"expected an image with an instance, found none in {len(records)} images; check the "
            "annotation file and the classes"
        )
    return kept


def read_still(record: ImageRecord) -> Clip:
    """Reads an image with its instances as a clip of one frame, with its pixels as stored.

    Raises ImageError if the image is damaged or its size differs from the record's.
    """
    image = _read_sized(Path(record.path), record.height, record.width)
    masks = decode_rles(record.segmentations, record.height, record.width)
    labels = np.array(record.labels, dtype=np.int64)
    return Clip(str(record.image_id), image[None], masks[None], labels)


def read_video_frames(
    video: VideoRecord, folder: Path, frames: Sequence[int], name: str, first_id: int = 0
) -> Clip:
    """Reads frames of a labelled video and their masks, with one row per track except crowds.

    Raises ImageError if a frame is damaged or its size differs from the video's.
    """
    images = {
        index: _read_sized(folder / video.file_names[index], video.height, video.width)
        for index in sorted(set(frames))
    }
    tracks = [track for track in video.tracks if not track.iscrowd]
    rles = [track.segmentations[index] for index in frames for track in tracks]
    masks = decode_rles(rles, video.height, video.width)
    masks = masks.reshape(len(frames), len(tracks), video.height, video.width)
    labels = np.array([track.label for track in tracks], dtype=np.int64)
    ids = np.arange(first_id, first_id + len(tracks))
    pixels = np.stack([images[index] for index in frames])
    return Clip(name, pixels, masks, labels, instance_ids=ids)


def first_instance_ids(videos: Sequence[VideoRecord]) -> list[int]:
    """Returns the number of each video's first instance, then the total number of instances."""
    counts = (sum(not track.iscrowd for track in video.tracks) for video in videos)
    return list(accumulate(counts, initial=0))


def _read_sized(path: Path, height: int, width: int) -> np.ndarray:
    image = read_image(path)
    if image.shape[:2] != (height, width):
        raise ImageError(
            f"{path}: expected {height} x {width} pixels as in the annotations, found "
            f"{image.shape[0]} x {image.shape[1]}; correct the annotations or replace the file"
        )
    return image
