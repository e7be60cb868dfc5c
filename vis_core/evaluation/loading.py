"""Ground truth and results from YouTube-VIS files as per-video arrays for the metrics."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vis_core.formats.categories import Categories
from vis_core.formats.defects import Defects
from vis_core.formats.json_stream import NotStreamableError, stream_objects
from vis_core.formats.result_checks import check_entries, check_results
from vis_core.formats.strict_json import paused_collector
from vis_core.formats.video_checks import VideoEntry
from vis_core.formats.youtube_vis import VideoRecord, check_youtube_vis, warn_unscored_tracks
from vis_core.rle.columns import ColumnMasks, FaultyRunsError, joined_masks, masks_of_videos


@dataclass(frozen=True)
class TruthVideo:
    """The ground truth of one video: G tracks in file order."""

    category_ids: np.ndarray
    ids: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray  # (G,) pixels summed over the frames
    mean_areas: np.ndarray  # (G,) mean of the file's areas above 0, as in the reference evaluator
    masks: ColumnMasks
    num_frames: int


@dataclass(frozen=True)
class ResultVideo:
    """The predictions for one video: D tracks in file order."""

    category_ids: np.ndarray
    scores: np.ndarray
    areas: np.ndarray  # (D,) pixels summed over the frames
    mean_areas: np.ndarray  # (D,) mean over the frames with a non-empty mask
    masks: ColumnMasks


@dataclass(frozen=True)
class GroundTruth:
    """A ground-truth file: its classes, and the videos and sizes (H, W, T) by video id."""

    categories: Categories
    videos: Mapping[int, TruthVideo]
    sizes: Mapping[int, tuple[int, int, int]]


Results = Mapping[int, ResultVideo]
_Part = tuple[list[int], list[float], ColumnMasks]  # class ids and scores of a few results


def load_ground_truth(path: Path, *, numbered_anew: bool = False) -> GroundTruth:
    """Reads and checks a YouTube-VIS ground-truth file for scoring.

    With ``numbered_anew``, the file's annotation ids do not matter; else a track with id 0 counts
    as never found, as in the reference evaluator, which is logged.
    """
    with paused_collector():
        return _with_fault_positions(lambda later: _load_ground_truth(path, later, numbered_anew))


def load_results(path: Path, truth: GroundTruth) -> Results:
    """Reads and checks a YouTube-VIS results file for scoring."""
    with paused_collector():
        return _with_fault_positions(lambda later: _load_results(path, truth, later))


def ground_truth_of(videos: Sequence[VideoRecord], categories: Categories) -> GroundTruth:
    """Converts ground-truth records for scoring."""
    sizes = {v.video_id: (v.height, v.width, len(v.file_names)) for v in videos}
    tracks = ([track.segmentations for track in video.tracks] for video in videos)
    masks = masks_of_videos(zip(tracks, (sizes[v.video_id] for v in videos), strict=True))
    tables = {
        video.video_id: _truth_video(video, video_masks, categories)
        for video, video_masks in zip(videos, masks, strict=True)
    }
    return GroundTruth(categories, tables, sizes)


def results_of(entries: Iterable[dict[str, Any]], truth: GroundTruth) -> Results:
    """Converts checked result entries for scoring, in batches."""
    parts: dict[int, list[_Part]] = {video_id: [] for video_id in truth.sizes}
    stream = iter(entries)
    while batch := list(islice(stream, _AT_ONCE)):
        by_video: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for entry in batch:
            by_video[entry["video_id"]].append(entry)
        masks = masks_of_videos(
            ([entry["segmentations"] for entry in group], truth.sizes[video_id])
            for video_id, group in by_video.items()
        )
        for (video_id, group), group_masks in zip(by_video.items(), masks, strict=True):
            class_ids = [entry["category_id"] for entry in group]
            parts[video_id].append((class_ids, [entry["score"] for entry in group], group_masks))
    return {video_id: _result_video(each) for video_id, each in parts.items() if each}


def _result_video(parts: list[_Part]) -> ResultVideo:
    class_ids, scores, part_masks = zip(*parts, strict=True)
    masks = part_masks[0] if len(part_masks) == 1 else joined_masks(part_masks)
    return ResultVideo(
        category_ids=np.array(list(chain(*class_ids)), np.int64),
        scores=np.array(list(chain(*scores)), np.float64),
        areas=masks.areas.sum(axis=1),
        mean_areas=masks.mean_areas(),
        masks=masks,
    )


_AT_ONCE = 200  # result entries kept as objects: few enough for a processor cache
_Loaded = TypeVar("_Loaded")


def _with_fault_positions(load: Callable[[bool], _Loaded]) -> _Loaded:
    """Loads the fast way; after a fault, reloads the slow way, which reports where the fault is."""
    try:
        return load(True)
    except (FaultyRunsError, NotStreamableError):
        return load(False)


def _load_ground_truth(path: Path, runs_read_later: bool, numbered_anew: bool) -> GroundTruth:
    defects = Defects(path)
    videos, categories = check_youtube_vis(
        path, None, defects, keep_empty=True, runs_read_later=runs_read_later
    )
    truth = ground_truth_of(videos, categories)
    if numbered_anew:
        old = truth.videos.items()
        videos_anew = {key: replace(v, ids=1 + np.arange(len(v.ids))) for key, v in old}
        truth = replace(truth, videos=videos_anew)
    else:
        warn_unscored_tracks(videos, defects)
    defects.finish()
    return truth


def _load_results(path: Path, truth: GroundTruth, quickly: bool) -> Results:
    defects = Defects(path)
    known = {
        video_id: VideoEntry(height, width, ("",) * frames)
        for video_id, (height, width, frames) in truth.sizes.items()
    }
    if quickly:
        stream = stream_objects(path)
        entries = check_entries(stream, known, truth.categories, defects, runs_read_later=True)
    else:
        entries = iter(check_results(path, known, truth.categories, defects))
    results = results_of(entries, truth)
    defects.finish()
    return results


def _truth_video(video: VideoRecord, masks: ColumnMasks, categories: Categories) -> TruthVideo:
    measured = masks.mean_areas()
    mean_areas = []
    for row, track in enumerate(video.tracks):
        stated = [area for area in track.areas if area]
        mean = float(np.array(stated).mean()) if stated else 0.0
        mean_areas.append(mean if track.areas else measured[row])
    ids = [categories.id_of_index(track.label) for track in video.tracks]
    return TruthVideo(
        category_ids=np.array(ids, np.int64),
        ids=np.array([track.annotation_id for track in video.tracks], np.int64),
        crowd=np.array([track.iscrowd for track in video.tracks], bool),
        areas=masks.areas.sum(axis=1),
        mean_areas=np.array(mean_areas, np.float64),
        masks=masks,
        num_frames=masks.num_frames,
    )
