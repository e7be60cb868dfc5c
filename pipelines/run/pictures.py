"""A picture of predictions on test videos for the tracking store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.results.overlays import SHOWN_SCORE
from pipelines.results.score import LabelledVideos, frames_of
from vis_core.formats.categories import Categories
from vis_core.formats.youtube_vis import read_results, read_youtube_vis
from vis_core.rle.packed import PackedMasks
from vis_core.structures import Track, VideoResult
from vis_core.visualization.overlay import contact_strip, write_picture

_GAP = 8  # white pixels between videos


def write_samples(path: Path, videos: LabelledVideos, results: Path, count: int = 3) -> None:
    """Draws the results of ``score_model`` for the first videos, one strip of frames per video."""
    records, categories = read_youtube_vis(videos.annotations)
    entries = read_results(results, records, categories)
    strips = []
    for record in records[:count]:
        tracks = _confident_tracks(entries, record.video_id, categories)
        result = VideoResult(record.height, record.width, len(record.file_names), tracks)
        strips.append(contact_strip(frames_of(record, videos.frames), result, categories.names))
    width = max(strip.shape[1] for strip in strips)
    padded = [
        np.pad(s, ((0, _GAP), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, np.concatenate(padded))


def _confident_tracks(
    entries: Sequence[dict[str, Any]], video_id: int, categories: Categories
) -> list[Track]:
    chosen = [e for e in entries if e["video_id"] == video_id and e["score"] >= SHOWN_SCORE]
    labels = [categories.index_of_id(entry["category_id"]) for entry in chosen]
    return [
        Track(number, label, entry["score"], PackedMasks.of(entry["segmentations"]))
        for number, (label, entry) in enumerate(zip(labels, chosen, strict=True))
    ]
