"""Draws the annotations of an archive on its videos, one Ray task a video."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vis_core.errors import VisError
from vis_core.formats.categories import Categories
from vis_core.formats.video import read_frames
from vis_core.progress import Progress
from vis_core.structures import Track, VideoResult
from vis_core.visualization.overlay import write_overlay_video

_log = logging.getLogger(__name__)
# Tracks below it are noise to the eye, though AP counts them.
_SHOWN_SCORE = 0.3


@dataclass(frozen=True)
class OverlayJob:
    """Is one video to draw.

    Attributes:
        result: Its annotation file.
        video: The video file.
        overlay: The mp4 to write.
    """

    result: Path
    video: Path
    overlay: Path


def draw_overlays(jobs: list[OverlayJob]) -> list[str]:
    """Writes the overlays that are not there yet; returns what could not be drawn and why."""
    import ray

    todo = [job for job in jobs if not job.overlay.is_file()]
    if jobs and not todo:
        _log.info("overlays are drawn, nothing to do")
        return []
    remote = ray.remote(num_cpus=1)(_draw)
    pending = [remote.remote(job) for job in todo]
    problems: list[str] = []
    with Progress(len(todo), "videos", "draw overlays") as progress:
        while pending:
            done, pending = ray.wait(pending, num_returns=1)
            problem = ray.get(done[0])
            problems += [problem] if problem else []
            progress.update(1)
    return sorted(problems)


def read_result(path: Path) -> tuple[VideoResult, tuple[str, ...], float]:
    """Reads the annotation file of one video: the tracks, the class names, frames per second."""
    document = json.loads(path.read_text(encoding="utf-8"))
    categories = Categories.from_json(document["categories"])
    video = document["videos"][0]
    tracks = [_track(entry, categories) for entry in document["annotations"]]
    result = VideoResult(video["height"], video["width"], video["length"], tracks)
    return result, categories.names, float(video["rate"] or 0.0)


def _track(entry: dict[str, Any], categories: Categories) -> Track:
    return Track(
        track_id=entry["track_id"],
        label=categories.index_of_id(entry["category_id"]),
        score=entry["score"],
        segmentations=entry["segmentations"],
        frame_scores=entry["frame_scores"],
    )


def _draw(job: OverlayJob) -> str:
    """Draws one video; a picture that cannot be made must not stop the others."""
    result, names, fps = read_result(job.result)
    shown = [track for track in result.tracks if track.score >= _SHOWN_SCORE]
    visible = VideoResult(result.height, result.width, result.num_frames, shown)
    try:
        with read_frames(job.video, max_frames=result.num_frames) as frames:
            write_overlay_video(job.overlay, frames, visible, names, fps)
    except VisError as error:
        return f"{job.video.name}: {error}"
    return ""
