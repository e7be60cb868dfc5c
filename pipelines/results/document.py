"""Reads and checks the result of one video, which may be canonical or a YouTube-VIS file.

``info`` describes the video, its content and the model; ``videos`` and ``categories`` are as in
YouTube-VIS, and each entry in ``annotations`` is a track with a score.
"""

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.annotation.video.result import OpenFile
from pipelines.results.youtube_vis import read_result_json
from vis_core.errors import Found
from vis_core.formats.categories import Categories
from vis_core.formats.defects import Defects
from vis_core.formats.field_checks import entries_of, is_id, is_number, table_of
from vis_core.formats.result_checks import check_result
from vis_core.formats.video_checks import VideoEntry, check_video, frame_segmentations
from vis_core.rle.packed import PackedMasks
from vis_core.structures import Track, VideoResult

_MEND = "give a result that `longtake annotate` wrote"


@dataclass(frozen=True)
class ResultDocument:
    """The result of one video."""

    info: dict[str, Any]  # video, model and settings
    video: dict[str, Any]  # the entry in ``videos``
    categories: Categories  # the model's classes
    tracks: list[Track]  # best score first; their labels are class indices

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every frame."""
        return self.video["height"], self.video["width"]

    @property
    def num_frames(self) -> int:
        """The number of frames, T."""
        return len(self.video["file_names"])

    def result(self) -> VideoResult:
        """Returns the tracks with the size and length of the video."""
        return VideoResult(*self.size, self.num_frames, self.tracks)


def read_result_document(path: Path, open_file: OpenFile | None = None) -> ResultDocument:
    """Reads and checks a result; for ``open_file``, see ``read_result_json``.

    Raises AnnotationError if the result has defects; the message lists them.
    """
    defects = Defects(path)
    root = read_result_json(path, open_file)
    if not isinstance(root, dict) or not isinstance(root.get("info"), dict):
        origin = "the origin of the result"
        defects.error('"info"', expected=origin, found=Found("none"), mend=_MEND)
        defects.finish()
    categories = Categories.from_json(table_of(root, "categories", defects), defects)
    videos = entries_of(root, "videos", defects)
    if len(videos) != 1:
        found = Found(f"{len(videos)}")
        defects.error('"videos"', expected="one video", found=found, mend=_MEND)
        defects.finish()
    video = check_video(*videos[0], defects)
    tracks = [
        _track(where, entry, videos[0][1]["id"], video, categories, defects)
        for where, entry in entries_of(root, "annotations", defects)
    ]
    defects.finish()
    sound = [track for track in tracks if track is not None]
    return ResultDocument(root["info"], videos[0][1], categories, sound)


def stated_quality(where: str, entry: dict[str, Any], defects: Defects) -> float | None:
    """Reads the optional ``predicted_quality`` of a result entry."""
    quality: Any = entry.get("predicted_quality")
    if quality is None or is_number(quality):
        return quality
    place = f'{where} "predicted_quality"'
    defects.error(place, expected="a finite number", found=quality, mend="leave it out")
    return None


def _track(
    where: str,
    entry: dict[str, Any],
    video_id: int,
    video: VideoEntry | None,
    categories: Categories,
    defects: Defects,
) -> Track | None:
    """Reads and checks a track; returns None if it has a defect."""
    known = {} if video is None else {video_id: video}
    good = check_result(where, entry, known, set(categories.ids), defects)
    rles = frame_segmentations(where, entry, video, defects)
    quality = stated_quality(where, entry, defects)
    track_id = entry.get("track_id")
    if not is_id(track_id):
        place = f'{where} "track_id"'
        defects.error(place, expected="an integer", found=track_id, mend=_MEND)
        good = False
    scores = _frame_scores(where, entry, rles, defects) if good and rles is not None else None
    if rles is None or scores is None:
        return None
    label = categories.index_of_id(entry["category_id"])
    return Track(track_id, label, float(entry["score"]), PackedMasks.of(rles), scores, quality)


def _frame_scores(
    where: str, entry: dict[str, Any], rles: list[Any], defects: Defects
) -> "array[float] | None":
    stated: Any = entry.get("frame_scores")
    if isinstance(stated, list) and len(stated) == len(rles):
        scores = [score for score, rle in zip(stated, rles, strict=True) if rle is not None]
        if all(map(is_number, scores)):
            return array("d", scores)
    place = f'{where} "frame_scores"'
    expected = "a number for each frame with a mask, one entry a frame"
    defects.error(place, expected=expected, found=stated, mend=_MEND)
    return None
