"""The data paths that a user gives, and a check of their contents before a run starts.

``find_data.py`` finds the files in these folders; ``run_data.py`` prepares them for the run. This
module must not import torch, because options are checked before torch loads.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.data.find_data import find_archive, find_coco, find_vis
from pipelines.data.run_classes import ClassTable, find_class_map
from vis_core.errors import ConfigError, Found, shown
from vis_core.formats.categories import Categories
from vis_core.formats.coco import ImageRecord, check_coco, read_coco
from vis_core.formats.defects import Defects, only_crowds
from vis_core.formats.video_checks import check_frames
from vis_core.formats.youtube_vis import (
    VideoRecord,
    read_youtube_vis,
    video_entries,
    warn_unscored_tracks,
)


@dataclass(frozen=True)
class GivenData:
    """The paths of the user's own data, each None if not given.

    Attributes:
        class_map: File that maps the classes of ``coco`` to those of ``vis``, or a list's name.
        images: Folder of the files that ``coco`` and ``vis`` name; None searches for it.
    """

    coco: Path | None = None
    vis: Path | None = None
    videos: Path | None = None
    class_map: Path | None = None
    images: Path | None = field(default=None, repr=False)  # earlier runs have other keys


def check_given(given: GivenData) -> ClassTable | None:
    """Checks folders, annotations and frames before anything is started or written.

    Returns the classes of the still images, or None if there are none.

    Raises:
        ConfigError: A folder, file, frame or annotated video is missing, or the map is faulty.
        AnnotationError: Annotations are faulty or refer to missing images.
    """
    files = find_coco(given.coco, given.images) if given.coco else None
    records, source = read_coco(files.annotations, files.folder) if files else ([], None)
    if files:
        refuse_crowds(files.annotations, records)
    target = None
    if given.vis:
        vis = find_vis(given.vis, frozenset(source.names) if source else None, given.images)
        target = _check_frames(vis.train, vis.frames_of(vis.train))[1]
        for path in dict.fromkeys((vis.val, vis.test)):
            _check_scored(path, vis.frames_of(path), target)
    if given.videos:
        find_archive(given.videos)
    if files is None or source is None:
        if given.class_map:
            raise ConfigError(f"--class-map {given.class_map}: give the images, too (--coco)")
        return None
    class_map = find_class_map(given.class_map, files.annotations, source, target)
    labels = class_map.target_labels(source)
    usable = sum(any(labels[label] is not None for label in r.labels) for r in records)
    if target is None and usable < 3:  # a third of the images is held out for the scores
        raise ConfigError(
            f"{files.annotations}: {usable} images with instances; expected at least 3, or give "
            "labelled videos (--vis)"
        )
    return ClassTable.of(records, source, class_map)


def refuse_crowds(annotations: Path, records: Sequence[ImageRecord]) -> None:
    """Raises a ConfigError if all annotations of a COCO file are crowd regions."""
    if any(record.labels for record in records):
        return
    images, _ = check_coco(annotations, None, Defects(annotations))
    total = sum(len(image.annotation_ids) for image in images)
    if text := only_crowds(sum(image.crowds for image in images), total):
        raise ConfigError(f"{annotations}: no image with instances; {text}")


def _check_scored(annotations: Path, frames: Path, trained: Categories) -> None:
    """Checks a file of scored videos, whose classes are matched with the ``trained`` ones."""
    videos, categories = _check_frames(annotations, frames)
    defects = Defects(annotations)
    warn_unscored_tracks(videos, defects)
    lacking = sorted(set(categories.names) - set(trained.names))
    if len(lacking) == len(categories):
        raise ConfigError(
            f"{annotations}: expected names of the training file's classes, "
            f"{shown(list(trained.names[:8]))}, found only {shown(list(categories.names[:8]))}; "
            "give the classes the same names in both files"
        )
    if lacking:
        counts = Counter(categories.names[t.label] for video in videos for t in video.tracks)
        found = Found(", ".join(f"{name} ({counts[name]} tracks)" for name in lacking))
        mend = "these tracks count as missed; correct the names or remove the classes"
        expected = "classes of the training file"
        defects.warn('"categories"', expected=expected, found=found, mend=mend)
    defects.finish()


def _check_frames(annotations: Path, frames: Path) -> tuple[list[VideoRecord], Categories]:
    """Reads a file; raises a VisError if frames are faulty or no video has an instance."""
    videos, categories = read_youtube_vis(annotations)
    named = {f"video {key}": video for key, video in video_entries(videos).items()}
    defects = Defects(annotations)
    missing = check_frames(named, frames, defects, whole=False)
    if absent := [name for names in missing.values() for name in names]:
        raise ConfigError(
            f"{annotations}: {len(absent)} frames are missing, the first is {frames / absent[0]}; "
            "correct the file names or the folder"
        )
    defects.finish()
    crowds = [track.iscrowd for video in videos for track in video.tracks]
    if all(crowds):
        text = only_crowds(len(crowds), len(crowds)) or "expected at least one"
        raise ConfigError(f"{annotations}: no annotated video; {text}")
    return videos, categories
