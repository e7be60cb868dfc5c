"""Imports published weights of Mask2Former, MinVIS, CTVIS, IDOL and CondInst, or transformers'."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument(
        "--from", dest="source", required=True, metavar="FILE|FOLDER|hf:ID",
        help=".pth or .pkl of the authors, a folder of transformers, or a model of the hub",
    )  # fmt: skip
    parser.add_argument("--to", type=Path, required=True, help="model folder to make")
    parser.add_argument(
        "--classes", metavar="LIST|FILE",
        help="names of the classes of a .pth or .pkl: coco, ytvis_2019, ytvis_2021, ytvis_2022, "
        "ovis, or a file with one name a line",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Writes the model folder and says what is in it."""
    from pipelines.registry.foreign_models import (
        CHECKPOINT_SUFFIXES,
        as_model_folder,
        is_foreign,
        official_categories,
        write_model_folder,
    )
    from vis_core.errors import ConfigError

    if args.to.exists():
        raise ConfigError(f"--to: {args.to} is there already; name another folder or remove it")
    if not is_foreign(args.source):
        raise ConfigError(
            f"--from: {args.source}: expected a .pth or .pkl, a folder with transformers' "
            "config.json, or hf:<id>"
        )
    args.to.parent.mkdir(parents=True, exist_ok=True)
    if Path(args.source).suffix in CHECKPOINT_SUFFIXES:
        from vis_core.models.importers.published import import_official

        system, unused = import_official(Path(args.source))
        categories = official_categories(system.num_classes, args.classes, args.source)
        write_model_folder(args.to, system, categories)
        print(f"{args.to}: {type(system).__name__}, {len(categories)} classes")
        print(f"left aside: {', '.join(unused) or 'nothing'}"[:400])
    else:
        as_model_folder(args.source, args.to.parent).rename(args.to)
        print(f"{args.to}: Minvis; every query of a frame is followed to the next")
    return 0
