"""Reads the result of one video and checks it whole, whichever form it has.

Its ``info`` names the video, its content and the model; ``videos`` and ``categories`` are those of
YouTube-VIS, each entry of ``annotations`` one track with a score.
"""

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.annotation.video.result import Lend
from pipelines.results.youtube_vis import read_result_json
from vis_core.errors import Found
from vis_core.formats.categories import Categories
from vis_core.formats.defects import Defects
from vis_core.formats.field_checks import entries_of, is_id, is_number, table_of
from vis_core.formats.result_checks import check_result
from vis_core.formats.video_checks import VideoEntry, check_video, frame_segmentations
from vis_core.inference.packed_tracks import PackedTrack, unpack_track
from vis_core.rle.packed import PackedMasks
from vis_core.structures import VideoResult

_MEND = "give a result that `longtake annotate` wrote"


@dataclass(frozen=True)
class ResultDocument:
    """Is a result as it was read; the masks are packed.

    Attributes:
        info: What made it.
        video: The entry of ``videos``.
        categories: Classes of the model.
        tracks: Best score first; their labels are class indices.
    """

    info: dict[str, Any]
    video: dict[str, Any]
    categories: Categories
    tracks: list[PackedTrack]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every frame."""
        return self.video["height"], self.video["width"]

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.video["file_names"])

    def result(self) -> VideoResult:
        """Unpacks the masks."""
        tracks = [unpack_track(track, self.size, self.num_frames) for track in self.tracks]
        return VideoResult(*self.size, self.num_frames, tracks)


def read_result_document(path: Path, lend: Lend | None = None) -> ResultDocument:
    """Reads a result and checks it whole.

    Args:
        path: Its JSON.
        lend: Lends its masks by their name; None looks beside the folder of ``path``.

    Raises:
        AnnotationError: Anything in it is wrong; the message lists what.
    """
    defects = Defects(path)
    root = read_result_json(path, lend)
    if not isinstance(root, dict) or not isinstance(root.get("info"), dict):
        defects.error('"info"', expected="what made the result", found=Found("none"), mend=_MEND)
        defects.finish()
    categories = Categories.from_json(table_of(root, "categories", defects), defects)
    videos = entries_of(root, "videos", defects)
    if len(videos) != 1:
        found = Found(f"{len(videos)}")
        defects.error('"videos"', expected="one video", found=found, mend=_MEND)
        defects.finish()
    video = check_video(*videos[0], None, defects)
    tracks = [
        _packed(where, entry, videos[0][1]["id"], video, categories, defects)
        for where, entry in entries_of(root, "annotations", defects)
    ]
    defects.finish()
    whole = [track for track in tracks if track is not None]
    return ResultDocument(root["info"], videos[0][1], categories, whole)


def stated_quality(where: str, entry: dict[str, Any], defects: Defects) -> float | None:
    """Reads ``predicted_quality`` of a result, which few models state."""
    quality: Any = entry.get("predicted_quality")
    if quality is not None and not is_number(quality):
        mend = "leave it out"
        place = f'{where} "predicted_quality"'
        defects.error(place, expected="a finite number", found=quality, mend=mend)
        return None
    return quality


def _packed(
    where: str,
    entry: dict[str, Any],
    video_id: int,
    video: VideoEntry | None,
    categories: Categories,
    defects: Defects,
) -> PackedTrack | None:
    """Checks a track; None if something is wrong with it."""
    known = {} if video is None else {video_id: video}
    good = check_result(where, entry, known, set(categories.ids), defects)
    rles = frame_segmentations(where, entry, video, defects)
    quality = stated_quality(where, entry, defects)
    track_id = entry.get("track_id")
    if not is_id(track_id):
        place = f'{where} "track_id"'
        defects.error(place, expected="an integer", found=track_id, mend=_MEND)
        good = False
    if not good or rles is None:
        return None
    scores = _shown_scores(where, entry, rles, defects)
    if scores is None:
        return None
    return PackedTrack(
        categories.index_of_id(entry["category_id"]),
        float(entry["score"]),
        PackedMasks.of(rles),
        track_id,
        scores,
        quality,
    )


def _shown_scores(
    where: str, entry: dict[str, Any], rles: list[Any], defects: Defects
) -> "array[float] | None":
    """Reads the scores of the frames that have a mask."""
    stated: Any = entry.get("frame_scores")
    if isinstance(stated, list) and len(stated) == len(rles):
        shown = [score for score, rle in zip(stated, rles, strict=True) if rle is not None]
        if all(map(is_number, shown)):
            return array("d", shown)
    place = f'{where} "frame_scores"'
    expected = "a number for each frame with a mask, one entry a frame"
    defects.error(place, expected=expected, found=stated, mend=_MEND)
    return None
