"""Writes synthetic scenes as real formats: something to try everything else on."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--seed", type=int, default=0, help="the files are a function of it")
    parser.add_argument("--images", type=int, help="still images")
    parser.add_argument("--frames", type=int, help="frames of a video")


def run(args: argparse.Namespace) -> int:
    """Writes ``coco/``, ``vis/`` and ``videos/``."""
    from pipelines.config.run import SyntheticConfig
    from pipelines.data.synthetic import num_scenes, write_synthetic
    from pipelines.progress import Progress
    from vis_core.errors import ConfigError

    if args.out.exists():
        raise ConfigError(f"{args.out}: exists already; choose another --out or remove it")
    chosen = {"images": args.images, "video_frames": args.frames}
    given = {name: value for name, value in chosen.items() if value is not None}
    config = SyntheticConfig.model_validate(given)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with Progress(num_scenes(config), "scenes", "render") as progress:
        write_synthetic(args.out, config, args.seed, progress.update)
    print(args.out)
    return 0
