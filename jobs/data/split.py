"""Splits a YouTube-VIS data set by video into train and holdout, the same at every call."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument("--gt", type=Path, required=True, help="YouTube-VIS annotations, JSON")
    parser.add_argument("--out", type=Path, help="folder for the two files")
    parser.add_argument("--holdout", type=float, default=0.2, help="share of videos held out")
    parser.add_argument("--seed", default="0", help="another seed is another split")
    parser.add_argument(
        "--group",
        default=None,
        metavar="REGEX",
        help="videos whose folder names agree in this part stay together (same source)",
    )
    parser.add_argument(
        "--check",
        type=Path,
        metavar="OTHER",
        help="only check that OTHER shares no video with --gt",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="compare frames, not only names")


def run(args: argparse.Namespace) -> int:
    """Writes ``train.json`` and ``holdout.json``, or checks two files for leakage."""
    from vis_core.errors import AnnotationError, ConfigError
    from vis_core.formats.splits import leaks, split_videos
    from vis_core.formats.youtube_vis import read_youtube_vis, write_youtube_vis

    videos, categories = read_youtube_vis(args.gt)
    if args.check is not None:
        train, holdout = videos, read_youtube_vis(args.check)[0]
    else:
        if args.out is None:
            raise ConfigError("--out: expected a folder for the two files, found none; name one")
        if not 0 < args.holdout < 1:
            raise ConfigError(
                f"--holdout: expected a share in (0, 1), found {args.holdout}; choose another"
            )
        train, holdout = split_videos(videos, args.holdout, args.seed, args.group)
    shared = leaks(train, holdout, args.images)
    if shared:
        raise AnnotationError(
            f"{args.gt}: expected no video on both sides, found {len(shared)}: "
            f"{'; '.join(shared[:20])}; group them with --group or remove one side's"
        )
    if args.check is not None:
        print(f"no leak between {len(train)} and {len(holdout)} videos")
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", train), ("holdout", holdout)):
        write_youtube_vis(args.out / f"{name}.json", part, categories)
        tracks = sum(len(video.tracks) for video in part)
        print(f"{args.out / name}.json: {len(part)} videos, {tracks} tracks")
    return 0
