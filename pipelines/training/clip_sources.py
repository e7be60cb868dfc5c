"""Training clips for a stage."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipelines.config.run import RunConfig, StageConfig
from pipelines.data.find_data import VideoFiles
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
from vis_core.formats.youtube_vis import read_youtube_vis


def clip_source(
    config: RunConfig, stage: StageConfig, data: RunData, pseudo: Path
) -> Callable[[], ClipSource]:
    """Returns a function that opens a stage's clips in a worker."""
    return partial(_open_clips, config, stage, data, pseudo)


def with_instances_counted(config: RunConfig, data: RunData) -> RunConfig:
    """Sets the size of IDOL's ID head, if there is one, to the number of training instances."""
    return with_id_head(config, data.videos.train)


def with_id_head(config: RunConfig, videos: Path) -> RunConfig:
    """Sets the size of IDOL's ID head, if there is one, for a file of training videos."""
    head = config.system.id_head if isinstance(config.system, IdolConfig) else None
    if head is None:
        return config
    count = first_instance_ids(read_youtube_vis(videos)[0])[-1]
    if head.num_instances is not None and head.num_instances < count:
        raise ConfigError(
            f"system.id_head.num_instances: expected at least {count}, the instances in "
            f"{videos}, found {head.num_instances}; null counts them"
        )
    head = head.model_copy(update={"num_instances": head.num_instances or max(3, count)})
    system = config.system.model_copy(update={"id_head": head})
    return config.model_copy(update={"system": system})


def in_steps(stage: StageConfig, num_clips: int, num_workers: int) -> StageConfig:
    """Converts a stage's epochs, each of ``num_clips`` clips, to a number of steps, rounded up."""
    assert stage.epochs is not None
    steps = math.ceil(stage.epochs * num_clips / (stage.batch_size * num_workers))
    return stage.model_copy(update={"steps": steps, "epochs": None})


def _open_clips(config: RunConfig, stage: StageConfig, data: RunData, pseudo: Path) -> ClipSource:
    if stage.clips == "images":
        return ImageClips(data.still_images(stage.classes, config.left_out), config.augment)
    if stage.clips == "pairs":
        return PairClips(data.still_images(stage.classes, config.left_out), config.pairs)
    if stage.clips == "pseudo":
        return _open_pseudo(config, stage, data, pseudo)
    if stage.clips == "videos":
        return open_videos(config, stage, data.videos)
    assert stage.pseudo_share is not None, "the schema requires it"
    videos = open_videos(config, stage, data.videos)
    return MixedClips(_open_pseudo(config, stage, data, pseudo), videos, stage.pseudo_share)


def _open_pseudo(config: RunConfig, stage: StageConfig, data: RunData, folder: Path) -> ClipSource:
    if config.streams_pseudo(stage):
        records = data.still_images(stage.classes, config.left_out)
        return PseudoClips(records, config.pseudo, config.clips_per_image)
    return ParquetClips(folder)


def open_videos(config: RunConfig, stage: StageConfig, files: VideoFiles) -> ClipSource:
    """Opens the training videos as clips."""
    records, _ = read_youtube_vis(files.train)
    return VideoClips(
        records,
        files.frames,
        stage.clip_frames,
        stage.frame_range,
        config.augment,
        by_frame=stage.sampling == "frames",
    )
