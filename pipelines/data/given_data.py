"""The data paths that a user gives, and a check of their contents before a run starts.

``find_data.py`` finds the files in these folders; ``run_data.py`` prepares them for the run. This
module must not import torch, because options are checked before torch loads.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.data.find_data import find_archive, find_coco, find_vis
from pipelines.data.run_classes import ClassTable, find_class_map
from vis_core.errors import ConfigError, Found, shown
from vis_core.formats.categories import Categories
from vis_core.formats.coco import check_coco, read_coco
from vis_core.formats.defects import Defects
from vis_core.formats.field_checks import only_crowds
from vis_core.formats.youtube_vis import VideoRecord, read_youtube_vis, warn_unscored_tracks

if TYPE_CHECKING:
    from pipelines.config.run import RunConfig

MIN_IMAGES = 3  # with instances, without labelled videos: at least one is held out for the scores


@dataclass(frozen=True)
class GivenData:
    """The paths of the user's own data, each None if not given.

    Attributes:
        class_map: File that maps the classes of ``coco`` to those of ``vis``, or a list's name.
    """

    coco: Path | None = None
    vis: Path | None = None
    videos: Path | None = None
    class_map: Path | None = None


def check_given(given: GivenData) -> ClassTable | None:
    """Checks folders, annotations and frames before anything is started or written.

    Returns the classes of the still images, or None if there are none.

    Raises:
        ConfigError: A folder, file, frame or annotated video is missing, or the map is faulty.
        AnnotationError: Annotations are faulty or refer to missing images.
    """
    files = find_coco(given.coco) if given.coco else None
    records, source = read_coco(files.annotations, files.folder) if files else ([], None)
    target = None
    if given.vis:
        vis = find_vis(given.vis, frozenset(source.names) if source else None)
        target = _check_frames(vis.train, vis.frames)[1]
        for path in dict.fromkeys((vis.val, vis.test)):
            _check_scored(path, *_check_frames(path, vis.frames), target)
    if given.videos:
        find_archive(given.videos)
    if files is None or source is None:
        if given.class_map:
            raise ConfigError(f"--class-map {given.class_map}: give the images, too (--coco)")
        return None
    class_map = find_class_map(given.class_map, files.annotations, source, target)
    labels = class_map.target_labels(source)
    usable = sum(any(labels[label] is not None for label in r.labels) for r in records)
    if target is None and usable < MIN_IMAGES:
        raise ConfigError(
            f"{files.annotations}: {usable} images with instances; expected at least {MIN_IMAGES}, "
            f"or give labelled videos (--vis){_crowds_in(files.annotations)}"
        )
    return ClassTable.of(records, source, class_map)


def check_stages(given: GivenData, config: "RunConfig", classes: ClassTable | None) -> None:
    """Raises a ConfigError if a stage needs images with instances and the given ones have none.

    ``classes`` are those of the images, from ``check_given``.
    """
    if classes is None or config.supervision is not None:
        return
    found = {"images": classes.counts.total(), "videos": classes.num_mapped}
    for stage in config.stages:
        if stage.clips != "videos" and not found[stage.classes]:
            assert given.coco, "there are classes"
            annotations = find_coco(given.coco).annotations
            raise ConfigError(
                f"{annotations}: no image with an instance of the {stage.classes}' classes; stage "
                f"{stage.name} needs at least one{_crowds_in(annotations)}"
            )


def _crowds_in(annotations: Path) -> str:
    """Returns the end of a message if all annotations of a COCO file are crowd regions."""
    images = check_coco(annotations, None, Defects(annotations))[0]
    total = sum(len(image.annotation_ids) for image in images)
    text = only_crowds(sum(image.crowds for image in images), total)
    return f"; {text}" if text else ""


def _check_scored(
    annotations: Path, videos: list[VideoRecord], categories: Categories, trained: Categories
) -> None:
    """Compares the classes of scored videos with the ``trained`` ones; warns of odd annotations.

    Raises a ConfigError if no name is common to both.
    """
    defects = Defects(annotations)
    warn_unscored_tracks(videos, defects)
    lacking = set(categories.names) - set(trained.names)
    if lacking == set(categories.names):
        raise ConfigError(
            f"{annotations}: expected names of the training file's classes, "
            f"{shown(list(trained.names[:8]))}, found only {shown(list(categories.names[:8]))}; "
            "give the classes the same names in both files"
        )
    if lacking:
        names = Counter(categories.names[t.label] for video in videos for t in video.tracks)
        listed = ", ".join(f"{name} ({names[name]} tracks)" for name in sorted(lacking))
        mend = "these tracks count as missed; correct the names or remove the classes"
        expected = "classes of the training file"
        defects.warn('"categories"', expected=expected, found=Found(listed), mend=mend)
    defects.finish()


def _check_frames(annotations: Path, frames: Path) -> tuple[list[VideoRecord], Categories]:
    """Reads a file; raises a ConfigError if frames are missing or no video has an instance."""
    videos, categories = read_youtube_vis(annotations)
    absent = [
        name for video in videos for name in video.file_names if not (frames / name).is_file()
    ]
    if absent:
        raise ConfigError(
            f"{annotations}: {len(absent)} frames are missing, the first is {frames / absent[0]}; "
            "correct the file names or the folder"
        )
    tracks = [track for video in videos for track in video.tracks]
    crowds = sum(track.iscrowd for track in tracks)
    if crowds == len(tracks):
        text = only_crowds(crowds, len(tracks)) or "expected at least one"
        raise ConfigError(f"{annotations}: no annotated video; {text}")
    return videos, categories
