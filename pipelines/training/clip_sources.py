"""Training clips for a stage."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipelines.config.run import RunConfig, StageConfig
from pipelines.data.run_data import RunData
from vis_core.clips.sources import (
    ClipSource,
    ImageClips,
    MixedClips,
    PairClips,
    ParquetClips,
    PseudoClips,
    VideoClips,
)
from vis_core.formats.youtube_vis import read_youtube_vis


def clip_source(
    config: RunConfig, stage: StageConfig, data: RunData, pseudo: Path
) -> Callable[[], ClipSource]:
    """Returns a function that opens a stage's clips in a worker."""
    return partial(_open_clips, config, stage, data, pseudo)


def _open_clips(config: RunConfig, stage: StageConfig, data: RunData, pseudo: Path) -> ClipSource:
    if stage.clips == "images":
        return ImageClips(data.still_images(stage.classes, config.left_out), config.augment)
    if stage.clips == "pairs":
        return PairClips(data.still_images(stage.classes, config.left_out), config.pairs)
    if stage.clips == "pseudo":
        return _open_pseudo(config, stage, data, pseudo)
    if stage.clips == "videos":
        return _open_videos(config, stage, data)
    assert stage.pseudo_share is not None, "the schema requires it"
    videos = _open_videos(config, stage, data)
    return MixedClips(_open_pseudo(config, stage, data, pseudo), videos, stage.pseudo_share)


def _open_pseudo(config: RunConfig, stage: StageConfig, data: RunData, folder: Path) -> ClipSource:
    if config.stream_pseudo:
        records = data.still_images(stage.classes, config.left_out)
        return PseudoClips(records, config.pseudo, config.clips_per_image)
    return ParquetClips(folder)


def _open_videos(config: RunConfig, stage: StageConfig, data: RunData) -> ClipSource:
    records, _ = read_youtube_vis(data.videos.train)
    return VideoClips(
        records, data.videos.frames, stage.clip_frames, stage.frame_range, config.augment
    )
