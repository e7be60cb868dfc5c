"""``longtake pseudo``: pseudo-videos of COCO images."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from jobs import options
from jobs.options import option

if TYPE_CHECKING:
    from pipelines.config.run import RunConfig
    from pipelines.data.pseudo_folder import PseudoVideos
    from vis_core.formats.categories import Categories
    from vis_core.formats.coco import ImageRecord

DETAILS = (
    "--frames, --clips-per-image and --seed are short for --set pseudo.num_frames, "
    "clips_per_image and seed."
)
EXAMPLES = (
    "longtake pseudo --coco scenes/coco --out clips --frames 3",
    "longtake pseudo --coco scenes/coco --out clips --preview 8",
)


def run(
    *,
    coco: options.RequiredCoco,
    images: options.Images = None,
    out: options.RequiredOut,
    frames: options.Frames = None,
    clips_per_image: Annotated[
        int | None, option("--clips-per-image N", "Clips made of each image.", min=1)
    ] = None,
    seed: options.OptionalSeed = None,
    preview: Annotated[
        int | None, option("--preview N", "Only draw N clips on a sheet beside --out.", min=1)
    ] = None,
    address: options.Address = None,
    config: options.Config = options.PRESET,
    overrides: options.Set,
    from_scratch: options.FromScratch = False,
) -> int:
    """Makes the clips, or finds them finished."""
    from pipelines.data.find_data import AnnotatedFiles, find_coco
    from vis_core.errors import ConfigError
    from vis_core.formats.coco import read_coco

    if images is not None and not images.is_dir():
        raise ConfigError(f"{images}: no such folder; correct --images")
    files = AnnotatedFiles(coco, images) if images and coco.is_file() else find_coco(coco)
    changes = {"pseudo.num_frames": frames, "clips_per_image": clips_per_image, "seed": seed}
    short = [f"{key}={value}" for key, value in changes.items() if value is not None]
    resolved = options.read_config(config, [*overrides, *short], from_scratch=from_scratch)
    records, categories = read_coco(files.annotations, images or files.folder)
    folder = options.local_path(out)
    if preview:
        from pipelines.data.pseudo_preview import write_preview

        print(write_preview(folder, preview, resolved, records, categories.names))
        return 0
    made = _make_clips(resolved, records, categories, folder, address)
    state = "made" if made.made else "was finished before, nothing to do:"
    print(f"{folder}: {state} {made.num_clips} clips of {resolved.pseudo.num_frames} frames")
    for clip_id, reason in made.failed:
        print(f"longtake pseudo: no clip {clip_id}: {reason}", file=sys.stderr)
    return 0


def _make_clips(
    config: "RunConfig",
    records: "list[ImageRecord]",
    categories: "Categories",
    folder: Path,
    address: str | None,
) -> "PseudoVideos":
    """Makes the clips unless they are finished; starting Ray takes seconds, so it comes second."""
    from pipelines.cluster import ray_session
    from pipelines.data.pseudo_videos import (
        find_pseudo_videos,
        generate_pseudo_videos,
        num_pseudo_clips,
    )
    from pipelines.progress import Progress

    recipe = (records, categories, config.pseudo, folder, config.seed, config.clips_per_image)
    finished = find_pseudo_videos(*recipe)
    if finished is not None:
        return finished
    total = num_pseudo_clips(records, config.clips_per_image)
    with ray_session(config.ray, address), Progress(total, "clips", "pseudo-videos") as progress:
        return generate_pseudo_videos(*recipe, progress.update)
