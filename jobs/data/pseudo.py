"""``longtake pseudo``: pseudo-videos from COCO images."""

import sys
from typing import Annotated

from jobs import options
from jobs.options import option

DETAILS = (
    "--frames N is short for --set pseudo.num_frames=N. In the same way, --clips-per-image sets "
    "clips_per_image and --seed sets seed."
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
        int | None, option("--clips-per-image N", "Clips per image.", min=1)
    ] = None,
    seed: options.OptionalSeed = None,
    preview: Annotated[
        int | None,
        option("--preview N", "Only draw N clips on a preview sheet next to --out.", min=1),
    ] = None,
    address: options.Address = None,
    config: options.Config = options.PRESET,
    overrides: options.Set,
    from_scratch: options.FromScratch = False,
) -> None:
    """Generates the clips unless they are already finished, or only draws a preview."""
    from pipelines.data.find_data import find_coco
    from pipelines.data.given_data import refuse_crowds
    from vis_core.errors import ConfigError
    from vis_core.formats.coco import read_coco

    if images is not None and not images.is_dir():
        raise ConfigError(f"{images}: no such folder; correct --images")
    files = find_coco(coco, images)
    changes = {"pseudo.num_frames": frames, "clips_per_image": clips_per_image, "seed": seed}
    short = [f"{key}={value}" for key, value in changes.items() if value is not None]
    resolved = options.read_config(config, [*overrides, *short], from_scratch=from_scratch)
    records, categories = read_coco(files.annotations, files.folder)
    refuse_crowds(files.annotations, records)
    folder = options.local_path(out)
    if preview:
        from pipelines.data.pseudo_preview import write_preview

        print(write_preview(folder, preview, resolved, records, categories.names))
        return
    from pipelines.cluster import ray_session
    from pipelines.data.pseudo_videos import (
        find_pseudo_videos,
        generate_pseudo_videos,
        num_pseudo_clips,
    )
    from pipelines.progress import Progress

    recipe = (records, categories, resolved.pseudo, folder, resolved.seed, resolved.clips_per_image)
    made = find_pseudo_videos(*recipe)
    if made is None:  # checked first, since starting Ray takes seconds
        total = num_pseudo_clips(records, resolved.clips_per_image)
        with ray_session(resolved.ray, address), Progress(total, "clips", "pseudo-videos") as shown:
            made = generate_pseudo_videos(*recipe, shown.update)
    state = "made" if made.made else "was finished before, nothing to do:"
    print(f"{folder}: {state} {made.num_clips} clips of {resolved.pseudo.num_frames} frames")
    for clip_id, reason in made.failed:
        print(f"longtake pseudo: no clip {clip_id}: {reason}", file=sys.stderr)
