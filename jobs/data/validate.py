"""Checks annotation, result and image files and lists every fault, not only the first."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.data.file_kinds import kind_of

if TYPE_CHECKING:
    from vis_core.formats.defects import Defects

KINDS = ("coco", "youtube_vis", "results", "image")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="JSON or image files")
    parser.add_argument("--images", type=Path, metavar="DIR", help="look for every image below DIR")
    parser.add_argument("--gt", type=Path, help="ground truth that a results file must fit")
    parser.add_argument("--kind", choices=KINDS, help="what the files are; found out by default")
    parser.add_argument("--out", type=Path, help="write the faults here as JSON")


def run(args: argparse.Namespace) -> int:
    """Prints all faults of all files; 2 if any file cannot be used."""
    from vis_core.errors import ConfigError, VisError
    from vis_core.files import write_json
    from vis_core.formats.defects import Defects

    if args.images is not None and not args.images.is_dir():
        raise ConfigError(f"--images: expected a folder, found none at {args.images}; correct it")
    documents: list[dict[str, Any]] = []
    for file in args.files:
        defects = Defects(file)
        summary, unreadable = "", ""
        try:
            summary = _check(file, args, defects)
        except VisError as error:
            unreadable = str(error)
        documents.append(_report(defects, summary, unreadable))
    if args.out is not None:
        write_json(args.out, documents)
    return 2 if any(document["errors"] for document in documents) else 0


def _check(file: Path, args: argparse.Namespace, defects: "Defects") -> str:
    """Checks one file and says what it holds."""
    kind = args.kind or kind_of(file)
    if kind == "image":
        from vis_core.media.images import read_image

        height, width = read_image(file).shape[:2]
        return f"image, {height} x {width}"
    if kind == "coco":
        from vis_core.formats.coco import check_coco

        images, categories = check_coco(file, args.images, defects)
        instances = sum(len(image.segmentations) for image in images)
        crowds = sum(image.crowds for image in images)
        return (
            f"COCO, {len(images)} images, {instances} instances, {crowds} crowd regions, "
            f"{len(categories)} classes"
        )
    if kind == "results":
        return _check_results(file, args.gt, defects)
    from vis_core.formats.youtube_vis import check_youtube_vis

    videos, categories = check_youtube_vis(file, args.images, defects)
    tracks = sum(len(video.tracks) for video in videos)
    return f"YouTube-VIS, {len(videos)} videos, {tracks} tracks, {len(categories)} classes"


def _check_results(file: Path, ground_truth: Path | None, defects: "Defects") -> str:
    from vis_core.formats.result_checks import check_results, entries_alone
    from vis_core.formats.youtube_vis import read_youtube_vis, video_entries

    if ground_truth is None:
        count = len(entries_alone(file, defects))
        return f"results, {count} tracks; --gt checks them against videos and classes"
    videos, categories = read_youtube_vis(ground_truth)
    entries = check_results(file, video_entries(videos), categories, defects)
    return f"results, {len(entries)} tracks for {len(videos)} videos"


def _report(defects: "Defects", summary: str, unreadable: str) -> dict[str, Any]:
    errors = [defect.to_json() for defect in defects.errors]
    if unreadable:
        errors.append({"where": "the file", "message": unreadable})
        print(unreadable)
    for kind, found in (("error", defects.errors), ("warning", defects.warnings)):
        for defect in found:
            print(f"{defects.file}: {kind}: {defect}")
    count = defects.error_count + bool(unreadable)
    verdict = "cannot be used" if count else "can be used"
    counts = f"{count} errors, {defects.warning_count} warnings"
    print(f"{defects.file}: {verdict}: {counts}{'; ' if summary else ''}{summary}")
    return {
        "file": str(defects.file),
        "summary": summary,
        "errors": errors,
        "warnings": [defect.to_json() for defect in defects.warnings],
        "error_count": count,
        "warning_count": defects.warning_count,
    }
