"""Checks of annotation, result and image files that list every defect, not just the first."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vis_core.errors import VisError
from vis_core.formats.coco import check_coco
from vis_core.formats.defects import Defects, warn_unscored
from vis_core.formats.json_stream import NotStreamableError, first_character, top_level_keys
from vis_core.formats.result_checks import check_results, entries_alone
from vis_core.formats.youtube_vis import check_youtube_vis, read_youtube_vis, video_entries

FileKind = Literal["coco", "youtube_vis", "results", "image"]
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".svg")


@dataclass(frozen=True)
class FileReport:
    """The defects of one file."""

    defects: Defects  # all defects found while reading the file
    summary: str  # kind and counts of the file; empty if it could not be read
    unreadable: str  # the error that made reading impossible; empty if there was none

    @property
    def error_count(self) -> int:
        """The number of errors, including those that are not listed."""
        return self.defects.error_count + bool(self.unreadable)

    def lines(self) -> Iterator[str]:
        """Yields a line for each listed defect and one for the verdict."""
        defects = self.defects
        if self.unreadable:
            yield self.unreadable
        for kind, found in (("error", defects.errors), ("warning", defects.warnings)):
            for line, _ in defects.lines(found):
                yield f"{defects.file}: {kind}: {line}"
        verdict = "cannot be used" if self.error_count else "can be used"
        counts = f"{self.error_count} errors, {defects.warning_count} warnings"
        yield f"{defects.file}: {verdict}: {counts}{'; ' if self.summary else ''}{self.summary}"

    def to_json(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        errors = [defect.to_json() for defect in self.defects.errors]
        if self.unreadable:
            errors.append({"where": "the file", "message": self.unreadable})
        return {
            "file": str(self.defects.file),
            "summary": self.summary,
            "errors": errors,
            "warnings": [defect.to_json() for defect in self.defects.warnings],
            "error_count": self.error_count,
            "warning_count": self.defects.warning_count,
        }


def file_kind(file: Path) -> FileKind:
    """Determines a file's kind from its suffix or, for JSON, from the keys at its top."""
    if file.suffix.lower() in _IMAGE_SUFFIXES:
        return "image"
    try:
        if first_character(file) == "[":
            return "results"
    except NotStreamableError:
        return "coco"  # whose reader reports the error
    return "youtube_vis" if _tables(file) == {"videos"} else "coco"


def holds_images(file: Path) -> bool:
    """Returns whether a ground truth is in COCO format, which has ``images`` at its top."""
    return "images" in _tables(file)


def _tables(file: Path) -> set[str]:
    """Returns which of ``images`` and ``videos`` a file has at its top; CocoVID has both."""
    tables: set[str] = set()
    with suppress(NotStreamableError):  # the reader of the file reports the error
        for key in top_level_keys(file):
            tables |= {key} & {"images", "videos"}
            if len(tables) == 2:
                break
    return tables


def check_file(
    file: Path,
    kind: FileKind | None = None,
    images: Path | None = None,
    ground_truth: Path | None = None,
) -> FileReport:
    """Checks one JSON or image file.

    Args:
        kind: Kind of file; None detects it.
        images: Folder in which to check every image; None checks only the JSON.
        ground_truth: Videos and classes that a results file must match.
    """
    defects = Defects(file)
    try:
        summary = _check(file, kind or file_kind(file), images, ground_truth, defects)
    except VisError as error:
        return FileReport(defects, "", str(error))
    return FileReport(defects, summary, "")


def _check(
    file: Path, kind: FileKind, images: Path | None, ground_truth: Path | None, defects: Defects
) -> str:
    if kind == "image":
        from vis_core.media.images import read_image  # loads OpenCV

        height, width = read_image(file).shape[:2]
        return f"image, {height} x {width}"
    if kind == "results":
        return _check_results(file, ground_truth, defects)
    if kind == "coco":
        records, categories = check_coco(file, images, defects, whole=True)
        instances = sum(len(record.segmentations) for record in records)
        crowds = sum(record.crowds for record in records)
        warn_unscored([i for record in records for i in record.annotation_ids], crowds, defects)
        return (
            f"COCO, {len(records)} images, {instances} instances, {crowds} crowd regions, "
            f"{len(categories)} classes"
        )
    videos, categories = check_youtube_vis(file, images, defects, whole=True)
    tracks = [track for video in videos for track in video.tracks]
    crowds = sum(track.iscrowd for track in tracks)
    warn_unscored([track.annotation_id for track in tracks], crowds, defects)
    counts = f"{len(tracks)} tracks{f' ({crowds} crowd regions)' if crowds else ''}"
    return f"YouTube-VIS, {len(videos)} videos, {counts}, {len(categories)} classes"


def _check_results(file: Path, ground_truth: Path | None, defects: Defects) -> str:
    if ground_truth is None:
        count = len(entries_alone(file, defects))
        return f"results, {count} tracks; --gt checks them against videos and classes"
    videos, categories = read_youtube_vis(ground_truth)
    entries = check_results(file, video_entries(videos), categories, defects)
    return f"results, {len(entries)} tracks for {len(videos)} videos"
