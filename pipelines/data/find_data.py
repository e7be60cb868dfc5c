"""Search of a user's folders for annotation files and image folders.

``given_data.py`` checks these files before a run; ``run_data.py`` prepares them for the run.
"""

from dataclasses import dataclass
from pathlib import Path

from vis_core.errors import ConfigError


@dataclass(frozen=True)
class AnnotatedFiles:
    """An annotation file and the folder that its file names are relative to."""

    annotations: Path
    folder: Path


@dataclass(frozen=True)
class VideoFiles:
    """The files of a data set in YouTube-VIS style."""

    train: Path
    val: Path  # validation annotations, for choosing thresholds
    test: Path  # test annotations, for scoring; the same as ``val`` if there is no test file
    frames: Path  # folder that the file names are relative to


_IMAGE_FOLDERS = ("images", "train2017", "val2017", "JPEGImages", ".")
_FRAME_FOLDERS = ("JPEGImages", "train/JPEGImages", "frames", ".")


def find_coco(path: Path) -> AnnotatedFiles:
    """Finds the annotations and images in a COCO folder, or the images of an annotation file.

    Raises ConfigError if nothing was found; the message lists the expected names.
    """
    _must_exist(path, "--coco")
    if path.is_file():
        folder = next((f for p in path.parents[:2] if (f := _images_below(p))), None)
        if folder is None:
            raise ConfigError(
                f"{path}: no image folder beside it; expected one of "
                f"{', '.join(_IMAGE_FOLDERS[:4])}"
            )
        return AnnotatedFiles(path, folder)
    names = [*path.glob("annotations/*.json"), *path.glob("*.json")]
    ranked = sorted(names, key=lambda p: ("instances" not in p.name, "train" not in p.name, p.name))
    if not ranked:
        raise ConfigError(
            f"{path}: no annotation file; expected annotations/instances_*.json or instances*.json"
        )
    folder = _images_below(path)
    if folder is None:
        raise ConfigError(
            f"{path}: no image folder; expected one of {', '.join(_IMAGE_FOLDERS[:4])}"
        )
    return AnnotatedFiles(ranked[0], folder)


def find_vis(path: Path, category_names: frozenset[str] | None) -> VideoFiles:
    """Finds the train and val annotations in a folder in YouTube-VIS style.

    If there are several pairs of files (one per class list), the classes of the returned pair
    overlap most with ``category_names``, so that images and videos have the same classes. Raises
    ConfigError if nothing was found; the message lists the expected names.
    """
    _must_exist(path, "--vis")
    if not path.is_dir():
        raise ConfigError(f"{path}: expected a folder with train and val annotations and frames")
    frames = next((path / f for f in _FRAME_FOLDERS if (path / f).is_dir()), path)
    files = sorted([*path.glob("*.json"), *path.glob("annotations/*.json"), *path.glob("*/*.json")])
    pairs = [(file, other) for file in files if (other := _validation_file(file)) is not None]
    if not pairs:
        raise ConfigError(
            f"{path}: no pair of annotation files; expected for example train.json and val.json, "
            "or instances_train_*.json and instances_val_*.json"
        )
    train, val = max(pairs, key=lambda pair: _class_overlap(pair[0], category_names))
    test = train.with_name(train.name.replace("train", "test"))
    return VideoFiles(train, val, test if test.is_file() and test != train else val, frames)


def find_archive(path: Path) -> Path:
    """Returns a folder of videos; raises a ConfigError if it is missing or has no videos."""
    from vis_core.media.video_files import find_videos

    _must_exist(path, "--videos")
    if not path.is_dir():
        raise ConfigError(f"{path}: expected a folder of video files, found a file")
    if not find_videos(path):
        raise ConfigError(
            f"{path}: no video files in this folder; expected .mp4, .mkv, .avi and the like"
        )
    return path


def _must_exist(path: Path, option: str) -> None:
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder; correct {option}")


def _images_below(folder: Path) -> Path | None:
    """Returns the first subfolder with a usual name that contains images, or None."""
    for name in _IMAGE_FOLDERS:
        images = folder / name
        if images.is_dir() and any(
            next(images.glob(pattern), None) for pattern in ("*.jpg", "*.jpeg", "*.png")
        ):
            return images
    return None


def _validation_file(train: Path) -> Path | None:
    if "train" not in train.name:
        return None
    others = (train.with_name(train.name.replace("train", word)) for word in ("val", "valid"))
    return next((other for other in others if other.is_file()), None)


def _class_overlap(annotations: Path, names: frozenset[str] | None) -> tuple[float, int]:
    """Returns the IoU of a file's class names with ``names``, and the number of its classes."""
    from vis_core.formats.youtube_vis import read_youtube_vis

    classes = frozenset(read_youtube_vis(annotations)[1].names)
    overlap = len(classes & names) / len(classes | names) if names else 0.0
    return overlap, len(classes)
