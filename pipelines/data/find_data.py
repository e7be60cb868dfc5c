"""Search of a user's folders for annotation files and image folders.

An image folder is the one in which the first file names of the annotation file exist.
``given_data.py`` checks these files before a run; ``run_data.py`` prepares them for the run.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from vis_core.errors import ConfigError, shown
from vis_core.formats.field_checks import file_name_fault
from vis_core.formats.json_stream import NotStreamableError, stream_table


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
    frames: Path  # folder that the file names of ``train`` are relative to
    val_frames: Path | None = None  # the same for ``val``; None: ``frames``
    test_frames: Path | None = None  # the same for ``test``; None: ``frames``

    def frames_of(self, annotations: Path) -> Path:
        """Returns the folder that the file names of one of the three files are relative to."""
        folders = {self.test: self.test_frames, self.val: self.val_frames}
        return folders.get(annotations) or self.frames


_USUAL = ("images", "JPEGImages", "frames", "train2017", "val2017", "img", "imgs", "data")
_SPLIT = re.compile("train(?:ing)?|val(?:id(?:ation)?)?|holdout|test")
_VALIDATION = ("val", "valid", "validation", "holdout")  # the first has precedence
_LOOKED_UP = 20  # file names that are looked up in each folder
_DEPTH, _MOST_FOLDERS = 3, 2000  # of a search in folders without a usual name


def find_coco(path: Path, images: Path | None = None) -> AnnotatedFiles:
    """Finds the annotations and images in a COCO folder, or the images of an annotation file.

    With ``images``, only this folder and those below it are searched for images. Raises ConfigError
    if nothing was found; the message lists the expected names or the folders that were searched.
    """
    _must_exist(path, "--coco")
    if path.is_file():
        return AnnotatedFiles(path, _image_folder(path, "images", path.parent, images))
    annotations = _coco_file(path)
    return AnnotatedFiles(annotations, _image_folder(annotations, "images", path, images))


def _coco_file(folder: Path) -> Path:
    """Chooses an annotation file; folders of images are listed only if there is none above them."""
    found: list[Path] = []
    for patterns in (("annotations/*.json", "*.json"), ("*/*.json",)):
        names = {name for pattern in patterns for name in folder.glob(pattern)}
        found += sorted(names, key=lambda p: ("instances" not in p.name, "train" not in p.name, p))
        for file in found[:_LOOKED_UP]:
            if _has_entries(file, "images", if_faulty=False):
                return file
    if not found:
        raise ConfigError(
            f"{folder}: no annotation file; expected annotations/instances_*.json or "
            "instances*.json"
        )
    return found[0]


def find_vis(
    path: Path, category_names: frozenset[str] | None, images: Path | None = None
) -> VideoFiles:
    """Finds the train and val annotations in a folder in YouTube-VIS style.

    If there are several pairs of files (one per class list), the classes of the returned pair
    overlap most with ``category_names``, so that images and videos have the same classes. Files
    without annotations, as published for val and test, are not used. With ``images``, only this
    folder and those below it are searched for frames. Raises ConfigError if nothing was found.
    """
    _must_exist(path, "--vis")
    if not path.is_dir():
        raise ConfigError(f"{path}: expected a folder with train and val annotations and frames")
    names = sorted({*path.glob("*.json"), *path.glob("*/*.json")})
    splits = {file: _split_of(str(file.relative_to(path))) for file in names}
    splits = {f: split for f, split in splits.items() if split[1] and _has_entries(f, "videos")}
    train, val = _train_and_val(path, splits, category_names)
    tests = (file for file, split in splits.items() if split == (splits[train][0], "test"))
    test = next((file for file in tests if _has_entries(file, "annotations")), val)
    files = (train, val, test)
    frames, *others = (_image_folder(file, "videos", path, images) for file in files)
    return VideoFiles(*files, frames, *(None if other == frames else other for other in others))


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


def _split_of(name: str) -> tuple[str, str]:
    """Returns a path without its words for a split, and the last such word."""
    return _SPLIT.sub("*", name.lower()), ["", *_SPLIT.findall(name.lower())][-1]


def _train_and_val(
    path: Path, splits: Mapping[Path, tuple[str, str]], names: frozenset[str] | None
) -> tuple[Path, Path]:
    """Chooses a pair of annotation files; ``splits`` has the ``_split_of`` each file."""
    trains = [file for file, (_, word) in splits.items() if word.startswith("train")]
    vals = [file for word in _VALIDATION for file in splits if splits[file][1] == word]
    pairs = [(train, val) for train in trains for val in vals]
    like = [pair for pair in pairs if splits[pair[0]][0] == splits[pair[1]][0]]
    labelled = [pair for pair in like or pairs if _has_entries(pair[1], "annotations")]
    if labelled:
        return max(labelled, key=lambda pair: _fitness(pair[0], names))
    fault = (
        f"{(like or pairs)[0][1]}: no annotations, as in the published validation files"
        if pairs
        else f"{path}: no pair of annotation files; expected for example train.json and val.json, "
        "or instances_train_*.json and instances_val_*.json"
    )
    if trains:
        fault += f"; hold out videos of train: longtake split --gt {trains[0]} --out {path}/parts"
        fault += f", then give --vis {path}/parts"
    raise ConfigError(fault)


def _has_entries(file: Path, table: str, *, if_faulty: bool = True) -> bool:
    """Returns whether a table has an entry; the reader of a faulty file reports the fault."""
    try:
        return next(stream_table(file, table), None) is not None
    except NotStreamableError:
        return if_faulty


def _fitness(annotations: Path, names: frozenset[str] | None) -> tuple[bool, float, int]:
    """Ranks a file by whether it names frames, its classes' IoU with ``names`` and their number."""
    try:
        classes = {str(entry.get("name")) for entry in stream_table(annotations, "categories")}
    except NotStreamableError:
        classes = set()  # the reader of the file reports the error
    overlap = len(classes & names) / len(classes | names) if names else 0.0
    return bool(_first_names(annotations, "videos")), overlap, len(classes)


def _image_folder(annotations: Path, table: str, given: Path, images: Path | None) -> Path:
    """Returns the folder that contains most of the first files of an annotation file.

    Folders with usual names come first, so that a large data set is not listed without need, and
    those of another split last. Raises ConfigError if no folder contains any of the files.
    """
    names = _first_names(annotations, table)
    if not names:
        return given  # the reader of the file reports why
    bases = [given, annotations.parent, given.parent, annotations.parent.parent]
    bases = [images] if images else bases
    split = _side(annotations.relative_to(given))
    tried: dict[Path, int] = {}
    for is_other in (False, True):
        near = ((base, place) for base in bases for place in _usual_names(annotations, split))
        for base, place in chain(near, _subfolders(bases[0])):
            folder = base / place
            other = bool(split) and _side(place) not in ("", split)
            if other == is_other and folder not in tried and folder.is_dir():
                tried[folder] = sum((folder / name).is_file() for name in names)
                if tried[folder] == len(names):
                    return folder
        if any(tried.values()):
            return max(tried, key=tried.__getitem__)
    some = ", ".join(map(str, islice(tried, 50))) + (", ..." if len(tried) > 50 else "")
    raise ConfigError(
        f"{annotations}: expected its files, such as {shown(names[0])}, in one of the folders "
        f"{some}, found none; correct the names or give the folder with --images"
    )


def _first_names(annotations: Path, table: str) -> list[str]:
    """Returns file names from the first entries of a file; none if it cannot be read."""
    names: list[object] = []
    with suppress(NotStreamableError):  # the reader of the file reports the error
        for entry in islice(stream_table(annotations, table), _LOOKED_UP):
            listed = entry.get("file_names")
            names += listed[:1] if isinstance(listed, list) else [entry.get("file_name")]
    return [name for name in names if isinstance(name, str) and file_name_fault(name) is None]


def _side(path: Path) -> str:
    """Returns the split that a relative path names: train, val, test or none."""
    word = _split_of(str(path))[1]
    return "val" if word in _VALIDATION else word[:5]


def _usual_names(annotations: Path, split: str) -> Iterator[Path]:
    """Yields usual names of image folders, those with words of the file's name first."""
    parts = re.split("[_.-]+", annotations.stem.lower())
    words = [*("_".join(parts[first:]) for first in range(len(parts))), *parts]
    words.append(annotations.parent.name.lower())
    words += [*(_VALIDATION if split == "val" else ()), "train", "default"]
    for word in filter(None, dict.fromkeys(words)):
        for usual in _USUAL:
            yield from (Path(word, usual), Path(usual, word))
        yield Path(word)
    yield from map(Path, (*_USUAL, "."))


def _subfolders(base: Path) -> Iterator[tuple[Path, Path]]:
    """Yields ``base`` with the relative paths of the folders below it, nearest first."""
    level = [Path()]
    for _ in range(_DEPTH):
        below: list[Path] = []
        for folder in level[:_MOST_FOLDERS]:
            with suppress(OSError), os.scandir(base / folder) as entries:
                names = sorted(e.name for e in entries if e.name[0] != "." and e.is_dir())
                below += [folder / name for name in names]
        yield from ((base, folder) for folder in below[:_MOST_FOLDERS])
        level = below
