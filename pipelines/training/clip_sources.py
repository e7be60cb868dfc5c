"""Training clips for a stage."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipelines.config.run import RunConfig, StageConfig
from pipelines.data.run_data import RunData
from vis_core.clips.readers import first_instance_ids
from vis_core.clips.sources import (
    ClipSource,
    ImageClips,
    MixedClips,
    PairClips,
    ParquetClips,
    PseudoClips,
    VideoClips,
)
from vis_core.config.systems import IdolConfig
from vis_core.errors import ConfigError
from vis_core.formats.coco import ImageRecord, read_coco
from vis_core.formats.youtube_vis import read_youtube_vis


def clip_source(
    config: RunConfig, stage: StageConfig, data: RunData, pseudo: Path
) -> Callable[[], ClipSource]:
    """Returns a function that opens a stage's clips in a worker."""
    return partial(_open_clips, config, stage, data, pseudo)


def with_instances_counted(config: RunConfig, data: RunData) -> RunConfig:
    """Sets the size of an ID head, if there is one, to the number of training instances."""
    head = config.system.id_head if isinstance(config.system, IdolConfig) else None
    if head is None:
        return config
    count = first_instance_ids(read_youtube_vis(data.videos.train)[0])[-1]
    if head.num_instances is not None and head.num_instances < count:
        raise ConfigError(
            f"system.id_head.num_instances: expected at least {count}, the instances in "
            f"{data.videos.train}, found {head.num_instances}; null counts them"
        )
    head = head.model_copy(update={"num_instances": head.num_instances or max(3, count)})
    system = config.system.model_copy(update={"id_head": head})
    return config.model_copy(update={"system": system})


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
