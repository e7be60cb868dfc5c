"""Annotates the labelled videos of a split with Ray and scores the result."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.cluster import run_tasks
from vis_core.config.inference import InferenceConfig
from vis_core.evaluation.loading import load_ground_truth, load_results
from vis_core.evaluation.video_ap import evaluate
from vis_core.files import write_json
from vis_core.formats.categories import Categories
from vis_core.formats.youtube_vis import (
    VideoRecord,
    read_youtube_vis,
    result_entries,
    write_results,
    write_youtube_vis,
)
from vis_core.inference.online import annotate_views
from vis_core.media.images import read_image
from vis_core.models.systems.base import System
from vis_core.structures import Frame


@dataclass(frozen=True)
class LabelledVideos:
    """A ground-truth file and the folder of its frames."""

    annotations: Path
    frames: Path


def score_model(
    model_folder: Path,
    videos: LabelledVideos,
    out: Path,
    inference: InferenceConfig,
    label: str,
    max_videos: int | None = None,
) -> dict[str, float]:
    """Annotates the first ``max_videos`` (None: all) of a split; computes the YouTube-VIS metric.

    Writes ``results.json``, with the class ids of the ground truth, and ``stats.json`` to the
    folder ``out``; ``label`` is for the progress line. The model's classes are matched by name.
    Returns ``ap``, ``ap50``, ``ap75``, ``ar1``, ``ar10`` and the metric's other scores.
    """
    from vis_core.models.systems.build import read_categories

    records, categories = read_youtube_vis(videos.annotations)
    annotations = videos.annotations
    out.mkdir(parents=True, exist_ok=True)
    if max_videos is not None and max_videos < len(records):
        records = records[:max_videos]
        annotations = out / "truth.json"
        write_youtube_vis(annotations, records, categories)
    classes = categories, read_categories(model_folder)
    arguments = [(model_folder, record, videos.frames, *classes, inference) for record in records]
    entries = [entry for found in run_tasks(_annotate, arguments, label) for entry in found]
    entries.sort(key=lambda entry: (entry["video_id"], -entry["score"]))
    write_results(out / "results.json", entries)
    stats = evaluate_file(annotations, out / "results.json")
    write_json(out / "stats.json", stats, indent=2)
    return stats


def evaluate_file(annotations: Path, results: Path) -> dict[str, float]:
    """Scores a results file against its ground truth; returns the scores by name.

    Unlike in the reference evaluator, a track with the annotation id 0 can be found.
    """
    truth = load_ground_truth(annotations, numbered_anew=True)
    stats = evaluate(truth, load_results(results, truth)).stats
    return {name.lower(): value for name, value in stats.items()}


def frames_of(record: VideoRecord, folder: Path) -> Iterator[Frame]:
    """Reads the frames of a labelled video, one at a time."""
    for index, name in enumerate(record.file_names):
        yield Frame(read_image(folder / name), index, float(index))


def blank_frames(record: VideoRecord) -> Iterator[Frame]:
    """Yields one black frame per frame of a video, for callers that need only the frame size."""
    black = np.zeros((record.height, record.width, 3), dtype=np.uint8)
    for index in range(len(record.file_names)):
        yield Frame(black, index, float(index))


_loaded: dict[Path, System] = {}


def _annotate(
    model_folder: Path,
    record: VideoRecord,
    frames: Path,
    categories: Categories,
    classes: Categories,
    inference: InferenceConfig,
) -> list[dict[str, Any]]:
    result = annotate_views(loaded_system(model_folder), frames_of(record, frames), inference)
    return result_entries(result, record.video_id, categories, classes)


def loaded_system(model_folder: Path) -> System:
    """Loads a model once per process; limits torch to one thread, since workers share cores."""
    import torch

    from vis_core.models.systems.build import load_system

    if model_folder not in _loaded:
        torch.set_num_threads(1)
        _loaded.clear()
        _loaded[model_folder] = load_system(model_folder)
    return _loaded[model_folder]
