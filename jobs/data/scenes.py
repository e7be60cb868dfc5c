"""``longtake scenes``: synthetic scenes in the formats of real data."""

from typing import Annotated

from jobs import options
from jobs.options import option

DETAILS = "Writes coco/, vis/ and videos/ below --out, a folder that must not exist yet."
EXAMPLES = ("longtake scenes --out scenes --num-images 8 --frames 6",)


def run(
    *,
    out: options.RequiredOut,
    seed: options.Seed = 0,
    num_images: Annotated[int | None, option("--num-images N", "Number of still images.")] = None,
    frames: options.Frames = None,
) -> None:
    """Writes ``coco/``, ``vis/`` and ``videos/``."""
    from pipelines.config.loading import parse_overrides
    from pipelines.config.run import SyntheticConfig
    from pipelines.data.synthetic import num_scenes, write_synthetic
    from pipelines.progress import Progress
    from vis_core.errors import ConfigError

    folder = options.local_path(out)
    if folder.exists():
        raise ConfigError(f"{folder}: exists already; choose another --out or remove it")
    changes = {"images": num_images, "video_frames": frames}
    overrides = [f"synthetic.{k}={value}" for k, value in changes.items() if value is not None]
    config = parse_overrides(SyntheticConfig, "synthetic", overrides)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Progress(num_scenes(config), "scenes", "render") as progress:
        write_synthetic(folder, config, seed, progress.update)
    print(folder)
