"""A preview sheet of pseudo-videos, drawn before any are stored."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.config.run import RunConfig
from vis_core.clips.sources import PseudoClips
from vis_core.formats.coco import ImageRecord
from vis_core.visualization.contact_sheet import contact_sheet
from vis_core.visualization.overlay import write_picture


def write_preview(
    out: Path, count: int, config: RunConfig, records: list[ImageRecord], names: Sequence[str]
) -> Path:
    """Draws clips spread over the whole set, as they would be stored in ``out``.

    Returns the path of the picture, which lies next to ``out``.
    """
    source = PseudoClips(records, config.pseudo, config.clips_per_image)
    count = min(count, len(source))
    clips = [source.clip(row * len(source) // count, config.seed) for row in range(count)]
    path = out.with_name(f"{out.name}-preview.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, contact_sheet(clips, names))
    return path
