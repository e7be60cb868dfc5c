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
from vis_core.formats.coco import ImageRecord, read_coco
from vis_core.formats.youtube_vis import read_youtube_vis


def clip_source(
    config: RunConfig, stage: StageConfig, data: RunData, pseudo: Path
) -> Callable[[], ClipSource]:
    """Returns a function that opens a stage's clips in a worker."""
    return partial(_open_clips, config, stage, data, pseudo)


def _open_clips(config: RunConfig, stage: StageConfig, data: RunData, pseudo: Path) -> ClipSource:
    if stage.clips == "images":
        return ImageClips(_image_records(data), config.augment)
    if stage.clips == "pairs":
        return PairClips(_image_records(data), config.pairs)
    if stage.clips == "pseudo":
        return _open_pseudo(config, data, pseudo)
    if stage.clips == "videos":
        return _open_videos(config, stage, data)
    assert stage.pseudo_share is not None, "the schema requires it"
    videos = _open_videos(config, stage, data)
    return MixedClips(_open_pseudo(config, data, pseudo), videos, stage.pseudo_share)


def _image_records(data: RunData) -> list[ImageRecord]:
    return read_coco(
        data.images.annotations, data.images.folder, data.categories, check_images=False
    )[0]


def _open_pseudo(config: RunConfig, data: RunData, folder: Path) -> ClipSource:
    if config.stream_pseudo:
        return PseudoClips(_image_records(data), config.pseudo, config.clips_per_image)
    return ParquetClips(folder)


def _open_videos(config: RunConfig, stage: StageConfig, data: RunData) -> ClipSource:
    records, _ = read_youtube_vis(data.videos.train)
    return VideoClips(
        records, data.videos.frames, stage.clip_frames, stage.frame_range, config.augment
    )
