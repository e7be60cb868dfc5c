"""Reading, checking and writing YouTube-VIS and OVIS files: ground truth and results.

Each annotation is one track: ``segmentations`` has an RLE (compressed or not), polygons or null for
every video frame. The reader collects all defects before it raises.
"""

import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vis_core.errors import AnnotationError, Found
from vis_core.files import whole_file, write_json
from vis_core.formats.categories import Categories
from vis_core.formats.defects import Defects, warn_unscored
from vis_core.formats.field_checks import COCO_VID, check_reference, entries_of, ids_of, table_of
from vis_core.formats.result_checks import check_results, entries_alone
from vis_core.formats.strict_json import parse_json, report_constants
from vis_core.formats.video_checks import (
    VideoEntry,
    check_frames,
    check_track_fields,
    check_video,
    frame_segmentations,
    report_duplicates,
    warn_empty,
    warn_of_missing_frames,
)
from vis_core.rle.segmentation import Rle, areas_and_boxes

if TYPE_CHECKING:  # imports torch, which reading a file does not need
    from vis_core.structures import VideoResult

MEMBER = "results.json"  # file name in a submission zip
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # makes the zips of equal results byte-identical


@dataclass(frozen=True)
class TrackRecord:
    """One track of a video in a file, with T masks."""

    annotation_id: int
    label: int  # class index
    segmentations: tuple[Rle | None, ...]  # compressed: {"size": [H, W], "counts": str}
    iscrowd: bool  # a group of indistinguishable objects
    areas: tuple[float | None, ...] = ()  # T areas in pixels from the file; empty if it has none


@dataclass(frozen=True)
class VideoRecord:
    """One video with its tracks, in file order."""

    video_id: int
    height: int
    width: int
    file_names: tuple[str, ...]  # T frame files, relative to the image folder
    tracks: tuple[TrackRecord, ...]


def read_youtube_vis(path: Path) -> tuple[list[VideoRecord], Categories]:
    """Reads a YouTube-VIS or OVIS ground-truth file; tracks without a mask are dropped.

    Raises AnnotationError if the file has defects; the message lists them.
    """
    defects = Defects(path)
    videos, categories = check_youtube_vis(path, None, defects)
    defects.finish()
    return videos, categories


def check_youtube_vis(
    path: Path,
    frame_folder: Path | None,
    defects: Defects,
    *,
    keep_empty: bool = False,
    runs_read_later: bool = False,
    whole: bool = False,
) -> tuple[list[VideoRecord], Categories]:
    """Reads a ground-truth file and adds its defects to ``defects``.

    Args:
        frame_folder: Folder in which every frame must exist with its video's size; None skips this
            check.
        keep_empty: Whether tracks without masks are kept (the metric counts them as missed).
        runs_read_later: Whether the caller reads the mask runs itself; see ``video_checks.py``.
        whole: Whether frames are decoded; if not, only their headers are read.
    """
    document = parse_json(path)
    root = document.root
    if isinstance(root, dict) and "images" in root and not _name_frames(root.get("videos")):
        mend = "give the YouTube-VIS file from which it was made"
        found = COCO_VID if "videos" in root else Found('"images" (COCO)')
        defects.error("the document", expected="YouTube-VIS", found=found, mend=mend)
        return [], Categories((), ())
    named: dict[str, VideoEntry] = {}
    videos: dict[int, VideoEntry] = {}
    for where, entry in entries_of(root, "videos", defects):
        if (video := check_video(where, entry, defects)) is not None:
            named[where] = videos[entry["id"]] = video
    if frame_folder is not None:
        for where, missing in check_frames(named, frame_folder, defects, whole=whole).items():
            warn_of_missing_frames(where, missing, len(named[where].file_names), defects)
    if not isinstance(root, dict):
        return [], Categories((), ())
    categories = Categories.from_json(table_of(root, "categories", defects), defects)
    tracks: dict[int, list[TrackRecord]] = {video_id: [] for video_id in videos}
    annotations = entries_of(root, "annotations", defects)
    ids = ids_of(root, "videos"), ids_of(root, "categories")
    for where, entry in annotations:
        rles = _check_annotation(where, entry, videos, ids, defects, runs_read_later)
        if rles is None:
            continue
        if not any(rles):
            mend = "the track counts as missed" if keep_empty else "the track is dropped"
            warn_empty(where, defects, mend=mend)
        if (any(rles) or keep_empty) and entry["category_id"] in categories.ids:
            tracks[entry["video_id"]].append(_track(entry, categories, rles))
    if not annotations and not defects.error_count:
        mend = "the file cannot be used for training or evaluation"
        defects.warn('"annotations"', expected="annotations", mend=mend)
    report_duplicates(annotations, defects)
    report_constants(document, defects)
    records = [
        VideoRecord(video_id, video.height, video.width, video.file_names, tuple(tracks[video_id]))
        for video_id, video in videos.items()
    ]
    return records, categories


def _name_frames(videos: Any) -> bool:
    """Returns whether the videos name their frames; those of CocoVID do not."""
    return isinstance(videos, list) and any("file_names" in v for v in videos if type(v) is dict)


def warn_unscored_tracks(videos: Sequence[VideoRecord], defects: Defects) -> None:
    """Warns if all tracks are crowd regions, or a track's id keeps it from being found."""
    tracks = [track for video in videos for track in video.tracks]
    ids = [track.annotation_id for track in tracks]
    warn_unscored(ids, sum(track.iscrowd for track in tracks), defects)


def _check_annotation(
    where: str,
    entry: dict[str, Any],
    videos: dict[int, VideoEntry],
    ids: tuple[set[Any], set[Any]],
    defects: Defects,
    runs_read_later: bool,
) -> list[Rle | None] | None:
    """Checks a track and returns its masks, or None if it is faulty.

    ``ids`` are from the tables ``videos`` and ``categories``, including faulty entries.
    """
    good = check_reference(where, entry, "video_id", ids[0], "videos", defects)
    good &= check_reference(where, entry, "category_id", ids[1], "categories", defects)
    video = videos.get(entry["video_id"]) if good else None
    good &= check_track_fields(where, entry, video, defects)
    rles = frame_segmentations(where, entry, video, defects, runs_read_later=runs_read_later)
    return rles if good else None


def write_youtube_vis(path: Path, videos: Sequence[VideoRecord], categories: Categories) -> None:
    """Writes a YouTube-VIS ground-truth file atomically."""
    tables = {
        "videos": [
            {
                "id": video.video_id,
                "height": video.height,
                "width": video.width,
                "length": len(video.file_names),
                "file_names": list(video.file_names),
            }
            for video in videos
        ],
        "categories": categories.to_json(),
        "annotations": [
            _annotation(video, track, categories) for video in videos for track in video.tracks
        ],
    }
    write_json(path, tables)


def _annotation(video: VideoRecord, track: TrackRecord, categories: Categories) -> dict[str, Any]:
    areas, boxes = areas_and_boxes(track.segmentations)
    return {
        "id": track.annotation_id,
        "video_id": video.video_id,
        "category_id": categories.id_of_index(track.label),
        "iscrowd": int(track.iscrowd),
        "height": video.height,
        "width": video.width,
        "length": len(video.file_names),
        "segmentations": list(track.segmentations),
        "areas": list(track.areas) or areas,
        "bboxes": boxes,
    }


def result_entries(
    result: "VideoResult", video_id: int, categories: Categories, classes: Categories | None = None
) -> list[dict[str, Any]]:
    """Returns one video's entries for a YouTube-VIS results file, best score first.

    ``categories`` are the file's. If the labels are those of other ``classes``, these are matched
    by name, and tracks of classes that the file lacks are left out.
    """
    id_by_name = dict(zip(categories.names, categories.ids, strict=True))
    ids = categories.ids if classes is None else [id_by_name.get(name) for name in classes.names]
    return [
        {
            "video_id": video_id,
            "score": float(track.score),
            "category_id": ids[track.label],
            "segmentations": track.segmentations(result.size, result.num_frames),
            **quality_field(track.predicted_quality),
        }
        for track in sorted(result.tracks, key=lambda track: -track.score)
        if ids[track.label] is not None
    ]


def quality_field(predicted_quality: float | None) -> dict[str, float]:
    """Returns the entry field for the predicted quality; empty if the quality is unknown."""
    return {} if predicted_quality is None else {"predicted_quality": predicted_quality}


def write_results(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Writes a YouTube-VIS results file atomically."""
    write_json(path, list(entries))


def read_results(
    path: Path, videos: Sequence[VideoRecord], categories: Categories
) -> list[dict[str, Any]]:
    """Reads a results file for known videos and classes, in file order.

    In the entries ``{"video_id", "score", "category_id", "segmentations"}``, each segmentation is a
    compressed RLE with text counts, or None. Raises AnnotationError if the file has defects; the
    message lists them.
    """
    defects = Defects(path)
    entries = check_results(path, video_entries(videos), categories, defects)
    defects.finish()
    return entries


def video_entries(videos: Sequence[VideoRecord]) -> dict[int, VideoEntry]:
    """Returns the properties that results must match, by video id."""
    return {
        video.video_id: VideoEntry(video.height, video.width, video.file_names) for video in videos
    }


def _track(entry: dict[str, Any], categories: Categories, rles: list[Rle | None]) -> TrackRecord:
    return TrackRecord(
        annotation_id=entry["id"],
        label=categories.index_of_id(entry["category_id"]),
        segmentations=tuple(rles),
        iscrowd=bool(entry.get("iscrowd", 0)),
        areas=tuple(entry.get("areas") or ()),
    )


def pack_results(results: Path, target: Path, ground_truth: Path | None) -> int:
    """Checks results and writes them atomically to the zip file ``target``.

    Uncompressed runs are written as compressed text. ``ground_truth`` defines the videos and
    classes; without it, only consistency is checked. Returns the number of packed tracks. Raises
    AnnotationError if the results are wrong or empty.
    """
    defects = Defects(results)
    if ground_truth is None:
        entries = entries_alone(results, defects)
    else:
        videos, categories = read_youtube_vis(ground_truth)
        entries = check_results(results, video_entries(videos), categories, defects)
    defects.finish()
    if not entries:
        raise AnnotationError(
            f"{results}: expected results, found none; pack a file with results, since servers "
            "refuse empty ones"
        )
    with whole_file(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(MEMBER, _FIXED_TIME)
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, json.dumps(entries, allow_nan=False))
    return len(entries)
