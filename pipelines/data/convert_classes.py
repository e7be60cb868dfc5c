"""Conversion of COCO or YouTube-VIS ground truth to another class list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config.strict_yaml import read_yaml_mapping
from pipelines.data.check_files import file_kind
from vis_core.errors import ConfigError
from vis_core.formats import class_maps, coco, youtube_vis


@dataclass(frozen=True)
class ConvertedFile:
    """A ground-truth file converted to another class list.

    Attributes:
        counts: Numbers of images and instances, or of videos and tracks, as text.
        left_out: Number of omitted annotations for each class that the new list lacks.
    """

    path: Path
    counts: str
    num_classes: int
    left_out: Mapping[str, int]

    def describe(self) -> list[str]:
        """Returns the lines of the final summary."""
        ranked = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        names = ", ".join(f"{name} ({count})" for name, count in ranked)
        counts = f"{self.path}: {self.counts}, {self.num_classes} classes"
        return [counts, f"left out: {names or 'nothing'}"]


def convert_classes(source: Path, out: Path, class_map: str) -> ConvertedFile:
    """Converts ground truth from COCO's classes to a public class list, or by a user's YAML map.

    Raises:
        ConfigError: The map is faulty, or the source is not a ground truth.
        AnnotationError: The source is faulty.
    """
    if out.resolve() == source.resolve():
        raise ConfigError(f"--out: {out} is the file to read; name another one")
    classes = read_class_map(class_map)
    kind = file_kind(source)
    records: Sequence[Any]
    if kind == "coco":
        images, categories = coco.read_coco(source, None)
        records, left_out = class_maps.map_records(images, categories, classes)
        coco.write_coco(out, records, classes.target)
        instances = sum(len(record.labels) for record in records)
        counts = f"{len(records)} images, {instances} instances"
    elif kind == "youtube_vis":
        videos, categories = youtube_vis.read_youtube_vis(source)
        records, left_out = class_maps.map_videos(videos, categories, classes)
        youtube_vis.write_youtube_vis(out, records, classes.target)
        tracks = sum(len(record.tracks) for record in records)
        counts = f"{len(records)} videos, {tracks} tracks"
    else:
        raise ConfigError(
            f"--from: expected ground truth of COCO or YouTube-VIS, found {kind} in {source}"
        )
    return ConvertedFile(out, counts, len(classes.target), left_out)


def read_class_map(value: str) -> class_maps.ClassMap:
    """Returns a public class map by name, or reads a YAML file; raises ConfigError if faulty."""
    if value in class_maps.FROM_COCO or Path(value).suffix not in (".yaml", ".yml"):
        return class_maps.map_from_coco(value)
    return class_maps.parse_class_map(read_yaml_mapping(Path(value)), value)
