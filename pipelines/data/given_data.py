"""The data paths that a user gives, and a check of their contents before a run starts.

``find_data.py`` finds the files in these folders; ``run_data.py`` prepares them for the run. This
module must not import torch, because options are checked before torch loads.
"""

from dataclasses import dataclass
from pathlib import Path

from pipelines.data.find_data import find_archive, find_coco, find_vis
from vis_core.errors import ConfigError
from vis_core.formats.coco import read_coco
from vis_core.formats.youtube_vis import VideoRecord, read_youtube_vis


@dataclass(frozen=True)
class GivenData:
    """The paths of the user's own data, each None if not given."""

    coco: Path | None = None
    vis: Path | None = None
    videos: Path | None = None


def check_given(given: GivenData) -> None:
    """Checks folders, annotations and frames before anything is started or written.

    Raises:
        ConfigError: A folder is missing or empty, a frame is missing, or no video is annotated.
        AnnotationError: Annotations are faulty or refer to missing images.
    """
    names = None
    if given.coco:
        files = find_coco(given.coco)
        _, categories = read_coco(files.annotations, files.folder)
        names = frozenset(categories.names)
    if given.vis:
        vis = find_vis(given.vis, names)
        for path in dict.fromkeys((vis.train, vis.val, vis.test)):
            _check_frames(path, vis.frames)
    if given.videos:
        find_archive(given.videos)


def _check_frames(annotations: Path, frames: Path) -> None:
    """Raises a ConfigError if frames are missing or no video is annotated."""
    videos: list[VideoRecord] = read_youtube_vis(annotations)[0]
    absent = [
        name for video in videos for name in video.file_names if not (frames / name).is_file()
    ]
    if absent:
        raise ConfigError(
            f"{annotations}: {len(absent)} frames are missing, the first is {frames / absent[0]}; "
            "correct the file names or the folder"
        )
    if not any(video.tracks for video in videos):
        raise ConfigError(f"{annotations}: no annotated video; expected at least one")
