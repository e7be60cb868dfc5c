"""``longtake annotate``: videos in, one annotation file for each out."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.annotation.plan_options import add_plan_options, print_plan, refuse_without_plan
from jobs.options import inference_config

if TYPE_CHECKING:
    from pipelines.annotation.archive.filters import VideoFilter
    from pipelines.annotation.options import Segments

MAX_FAILED_EXIT = 3
INTERRUPTED_EXIT = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument(
        "videos",
        metavar="VIDEOS",
        help="folder, video file, s3://bucket/prefix, or a .txt, .csv or .parquet file of uris",
    )
    _add_filters(parser)
    parser.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="model folder, models:/name@alias, hf:<id>, or a checkpoint of the authors",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder or s3://bucket/prefix of the results"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change how videos are walked through: inference.chunk_frames=8; may be repeated",
    )
    parser.add_argument(
        "--views",
        metavar="LIST",
        help="short sides in which each video is seen, the results being fused: 480,640,640+flip",
    )
    parser.add_argument("--max-frames", type=int, metavar="N", help="frames of each video")
    parser.add_argument(
        "--sample-fps", type=float, metavar="R", help="at most so many frames a second of video"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="actors (default: one a core)")
    parser.add_argument(
        "--gpus-per-worker", type=float, default=0.0, metavar="G", help="share of a GPU for each"
    )
    parser.add_argument(
        "--segments",
        type=_segments,
        default="auto",
        metavar="N",
        help="parts of each video that workers see at once; the result is the same unless they are "
        "stitched (default: auto, which cuts videos that would keep one worker busy alone)",
    )
    parser.add_argument(
        "--join",
        choices=["exact", "stitched"],
        default="exact",
        help="how segments get identities: exact, in one pass, or stitched, named at once and "
        "joined with a confidence for each join (default: exact)",
    )
    parser.add_argument(
        "--max-failed",
        type=int,
        metavar="N",
        help=f"exit {MAX_FAILED_EXIT} if more videos than this fail (default: any number may)",
    )
    parser.add_argument(
        "--redo",
        choices=["failed", "all", "changed-model"],
        help="do again what failed before, or everything that this model and these settings did; "
        "changed-model: remove what other versions of the model did once this one has done it",
    )
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="store of registered models (default: MLFLOW_TRACKING_URI)",
    )
    parser.add_argument(
        "--model-cache",
        type=Path,
        default=Path.home() / ".cache" / "longtake" / "models",
        metavar="DIR",
        help="keeps downloaded models (default: %(default)s)",
    )
    parser.add_argument("--address", metavar="ADDRESS", help="of a running Ray cluster")
    add_plan_options(parser)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    """Declares which videos are wanted."""
    parser.add_argument(
        "--glob",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only names below VIDEOS that match, such as '2026/*/cam1-*'; may be repeated",
    )
    parser.add_argument("--suffix", metavar="LIST", help="of videos, such as mp4,mkv")
    parser.add_argument("--min-size", metavar="BYTES", help="such as 500k, 20M or 3G")
    parser.add_argument("--max-size", metavar="BYTES", help="see --min-size")
    parser.add_argument("--modified-after", metavar="DATE", help="this day (UTC) or later")
    parser.add_argument("--modified-before", metavar="DATE", help="before this day (UTC)")


def _segments(text: str) -> "Segments":
    if text == "auto":
        return "auto"
    if text.isdecimal() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number from 1 or auto, found {text!r}")


def _wanted(args: argparse.Namespace) -> "VideoFilter":
    from pipelines.annotation.archive.filters import parse_filter

    return parse_filter(
        suffixes=args.suffix.split(",") if args.suffix else (),
        globs=args.glob,
        min_size=args.min_size,
        max_size=args.max_size,
        after=args.modified_after,
        before=args.modified_before,
    )


def run(args: argparse.Namespace) -> int:
    """Annotates an archive and prints what became of each video that is not simply done."""
    from pipelines.annotation.archive.listing import list_archive
    from pipelines.annotation.job import annotate_archive
    from pipelines.annotation.options import AnnotateOptions
    from pipelines.registry.mlflow_registry import resolve_model

    refuse_without_plan(args)
    # a wrong folder is said before a model is fetched
    archive = list_archive(args.videos, _wanted(args))
    views = [f"inference.views={json.dumps(args.views.split(','))}"] if args.views else []
    sampled = [f"inference.sample_fps={args.sample_fps}"] if args.sample_fps is not None else []
    config = inference_config([*views, *sampled, *args.set])
    tracking_uri = args.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    model = resolve_model(args.model, tracking_uri, args.model_cache)
    options = AnnotateOptions(
        max_frames=args.max_frames,
        workers=args.workers,
        gpus_per_worker=args.gpus_per_worker,
        redo=args.redo,
        segments=args.segments,
        join=args.join,
        address=args.address,
    )
    if args.plan:
        return print_plan(args, archive, model, config, options)
    summary = annotate_archive(archive, args.out, model, config, options)
    print("\n".join(summary.describe()))
    if summary.interrupted:
        print("longtake annotate: stopped; the same command again does the rest", file=sys.stderr)
        return INTERRUPTED_EXIT
    num_failed = len(summary.rows) - len(summary.having("done"))
    if args.max_failed is not None and num_failed > args.max_failed:
        return MAX_FAILED_EXIT
    return 0
