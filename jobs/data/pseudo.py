"""Makes pseudo-videos of COCO images: ``longtake pseudo --coco FOLDER --out FOLDER``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.config.run import RunConfig
    from pipelines.data.pseudo_folder import PseudoVideos
    from vis_core.formats.categories import Categories
    from vis_core.formats.coco import ImageRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    from jobs.options import add_config_options

    parser.add_argument("--coco", type=Path, required=True, help="COCO folder or annotation file")
    parser.add_argument("--images", type=Path, help="folder of the images, if not beside it")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--frames", type=_count, help="frames of a clip (pseudo.num_frames)")
    parser.add_argument("--clips-per-image", type=_count, help="clips of each image")
    parser.add_argument("--seed", type=int, help="the clips are a function of it")
    parser.add_argument(
        "--preview",
        type=_count,
        metavar="N",
        help="only draw N of the clips, as they would be made, on a sheet beside --out",
    )
    parser.add_argument("--address", help="of a running Ray cluster; default: this machine")
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Makes the clips, or says that they are there."""
    from pipelines.data.find_data import AnnotatedFiles, find_coco
    from vis_core.errors import ConfigError
    from vis_core.formats.coco import read_coco

    if args.images is not None and not args.images.is_dir():
        raise ConfigError(f"{args.images}: no such folder; correct --images")
    if args.images is not None and args.coco.is_file():
        files = AnnotatedFiles(args.coco, args.images)
    else:
        files = find_coco(args.coco)
    config = _read_config(args)
    records, categories = read_coco(files.annotations, args.images or files.folder)
    if args.preview:
        print(_write_preview(args, config, records, categories))
        return 0
    made = _generate(args, config, records, categories)
    state = "made" if made.made else "was finished before, nothing to do:"
    print(f"{args.out}: {state} {made.num_clips} clips of {config.pseudo.num_frames} frames")
    for clip_id, reason in made.failed:
        print(f"longtake pseudo: no clip {clip_id}: {reason}", file=sys.stderr)
    return 0


def _read_config(args: argparse.Namespace) -> "RunConfig":
    """Reads the run file; the options of this verb are other spellings of its keys."""
    from jobs.options import read_config

    spelled = {
        "pseudo.num_frames": args.frames,
        "clips_per_image": args.clips_per_image,
        "seed": args.seed,
    }
    args.set = [*args.set, *(f"{k}={value}" for k, value in spelled.items() if value is not None)]
    return read_config(args)


def _generate(
    args: argparse.Namespace,
    config: "RunConfig",
    records: "list[ImageRecord]",
    categories: "Categories",
) -> "PseudoVideos":
    from pipelines.cluster import ray_session
    from pipelines.data.pseudo_videos import (
        find_pseudo_videos,
        generate_pseudo_videos,
        num_pseudo_clips,
    )
    from pipelines.progress import Progress

    recipe = (records, categories, config.pseudo, args.out, config.seed, config.clips_per_image)
    finished = find_pseudo_videos(*recipe)  # before Ray takes its seconds to start
    if finished is not None:
        return finished
    total = num_pseudo_clips(records, config.clips_per_image)
    with (
        ray_session(config.ray, args.address),
        Progress(total, "clips", "pseudo-videos") as progress,
    ):
        return generate_pseudo_videos(*recipe, progress.update)


def _write_preview(
    args: argparse.Namespace,
    config: "RunConfig",
    records: "list[ImageRecord]",
    categories: "Categories",
) -> Path:
    """Draws clips from all over the set; each is the one that the folder would hold."""
    from vis_core.clips.sources import PseudoClips
    from vis_core.visualization.contact_sheet import contact_sheet
    from vis_core.visualization.overlay import write_picture

    source = PseudoClips(records, config.pseudo, config.clips_per_image)
    count = min(args.preview, len(source))
    chosen = [number * len(source) // count for number in range(count)]
    clips = [source.clip(index, config.seed) for index in chosen]
    path: Path = args.out.with_name(f"{args.out.name}-preview.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, contact_sheet(clips, categories.names))
    return path


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number of 1 or more, found {text}")
    return number
