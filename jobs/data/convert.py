"""Rewrites a COCO or YouTube-VIS ground truth in the classes of another list."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vis_core.formats.class_maps import ClassMap


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument(
        "--from", dest="source", type=Path, required=True, metavar="FILE",
        help="COCO or YouTube-VIS ground truth, JSON",
    )  # fmt: skip
    parser.add_argument(
        "--to", type=Path, required=True, metavar="FILE", help="the file to write, JSON"
    )
    parser.add_argument(
        "--class-map", required=True, metavar="LIST|FILE",
        help="ytvis_2019, ytvis_2021, ytvis_2022 or ovis (from COCO's classes), or a YAML file "
        "with target, classes and unmapped",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Writes the file and says which classes were left out."""
    from jobs.data.file_kinds import kind_of
    from vis_core.errors import ConfigError
    from vis_core.formats import class_maps, coco, youtube_vis

    if args.to.resolve() == args.source.resolve():
        raise ConfigError(f"--to: {args.to} is the file to read; name another one")
    class_map = _class_map(args.class_map)
    kind = kind_of(args.source)
    records: Sequence[Any]
    if kind == "coco":
        images, categories = coco.read_coco(args.source, None)
        records, left_out = class_maps.map_records(images, categories, class_map)
        args.to.parent.mkdir(parents=True, exist_ok=True)
        coco.write_coco(args.to, records, class_map.target)
        count, things = sum(len(record.labels) for record in records), "images, {} instances"
    elif kind == "youtube_vis":
        videos, categories = youtube_vis.read_youtube_vis(args.source)
        records, left_out = class_maps.map_videos(videos, categories, class_map)
        args.to.parent.mkdir(parents=True, exist_ok=True)
        youtube_vis.write_youtube_vis(args.to, records, class_map.target)
        count, things = sum(len(record.tracks) for record in records), "videos, {} tracks"
    else:
        raise ConfigError(
            f"--from: expected ground truth of COCO or YouTube-VIS, found {kind} in {args.source}"
        )
    print(f"{args.to}: {len(records)} {things.format(count)}, {len(class_map.target)} classes")
    print(_told(left_out))
    return 0


def _class_map(value: str) -> "ClassMap":
    """Finds a public map by its name, or reads a user's."""
    from pipelines.config.strict_yaml import read_yaml_mapping
    from vis_core.formats.class_maps import FROM_COCO, map_from_coco, parse_class_map

    if value in FROM_COCO or Path(value).suffix not in (".yaml", ".yml"):
        return map_from_coco(value)
    return parse_class_map(read_yaml_mapping(Path(value)), value)


def _told(left_out: Mapping[str, int]) -> str:
    if not left_out:
        return "left out: nothing"
    ranked = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return "left out: " + ", ".join(f"{name} ({count})" for name, count in ranked)
