"""Draws the annotations of an archive on its videos, one Ray task per video."""

import logging
from dataclasses import dataclass
from pathlib import Path

from pipelines.cluster import run_tasks
from pipelines.results.document import read_result_document
from vis_core.errors import VisError
from vis_core.media.video_reader import read_frames
from vis_core.structures import VideoResult
from vis_core.visualization.overlay import write_overlay_video

_log = logging.getLogger(__name__)
# Tracks with lower scores clutter the picture, though AP counts them.
SHOWN_SCORE = 0.3


@dataclass(frozen=True)
class OverlayJob:
    """One video to draw on, its annotation file and the mp4 to write."""

    result: Path
    video: Path
    overlay: Path


def draw_overlays(jobs: list[OverlayJob]) -> list[str]:
    """Writes the missing overlays; returns a message for each overlay that failed."""
    todo = [job for job in jobs if not job.overlay.is_file()]
    if jobs and not todo:
        _log.info("overlays are drawn, nothing to do")
        return []
    problems = run_tasks(_draw, [(job,) for job in todo], "draw overlays")
    return sorted(problem for problem in problems if problem)


def _draw(job: OverlayJob) -> str:
    """Draws an overlay; returns a video's error as text, so that the other overlays are drawn."""
    document = read_result_document(job.result)
    result, names = document.result(), document.categories.names
    fps = float(document.video.get("rate") or 0.0)
    shown = [track for track in result.tracks if track.score >= SHOWN_SCORE]
    visible = VideoResult(result.height, result.width, result.num_frames, shown)
    try:
        sampled = document.info.get("settings", {}).get("sample_fps")
        with read_frames(
            job.video, max_frames=result.num_frames, sample_fps=sampled, picture_rate=fps or None
        ) as frames:
            write_overlay_video(job.overlay, frames, visible, names, fps)
    except VisError as error:
        return f"{job.video.name}: {error}"
    return ""
