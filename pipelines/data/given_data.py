"""The data paths that a user gives, and a check of their contents before a run starts.

``find_data.py`` finds the files in these folders; ``run_data.py`` prepares them for the run. This
module must not import torch, because options are checked before torch loads.
"""

from dataclasses import dataclass
from pathlib import Path

from pipelines.data.find_data import find_archive, find_coco, find_vis
from pipelines.data.run_classes import ClassTable, find_class_map
from vis_core.errors import ConfigError
from vis_core.formats.categories import Categories
from vis_core.formats.coco import read_coco
from vis_core.formats.defects import Defects
from vis_core.formats.video_checks import check_frames
from vis_core.formats.youtube_vis import VideoRecord, read_youtube_vis, video_entries


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
        paths = dict.fromkeys((vis.train, vis.val, vis.test))
        target = [_check_frames(path, vis.frames) for path in paths][0]
    if given.videos:
        find_archive(given.videos)
    if files is None or source is None:
        if given.class_map:
            raise ConfigError(f"--class-map {given.class_map}: give the images, too (--coco)")
        return None
    class_map = find_class_map(given.class_map, files.annotations, source, target)
    return ClassTable.of(records, source, class_map)


def _check_frames(annotations: Path, frames: Path) -> Categories:
    """Returns the classes; raises a VisError for faulty frames, or if no video is annotated."""
    videos: list[VideoRecord]
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
    if not any(video.tracks for video in videos):
        raise ConfigError(f"{annotations}: no annotated video; expected at least one")
    return categories
