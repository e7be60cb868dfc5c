"""Fuses several results of the same videos: views, models, systems."""

import argparse
from pathlib import Path

from jobs.run_options import inference_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument(
        "--inputs", type=Path, nargs="+", required=True, help="YouTube-VIS results, JSON"
    )
    parser.add_argument("--out", type=Path, required=True, help="fused results, JSON")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change how results are fused: inference.fusion.score=max; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Fuses video by video; memory holds one video."""
    from pipelines.ensemble import fuse_files
    from vis_core.errors import ConfigError

    if not args.out.parent.is_dir():
        raise ConfigError(f"--out: expected a folder {args.out.parent}, found none; make it first")
    if args.out.resolve() in {path.resolve() for path in args.inputs}:
        raise ConfigError(f"--out {args.out}: is one of the inputs; name another file")
    count = fuse_files(args.inputs, args.out, inference_config(args.set).fusion)
    print(f"{count} tracks in {args.out}")
    return 0
