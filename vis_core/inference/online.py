"""Walks a system through a video: segment a few frames, name their instances, keep run lengths."""

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from vis_core.errors import VideoDecodeError
from vis_core.geometry.masks import InputSize, full_size_masks, masks_with_confidence
from vis_core.inference.frame_system import FrameSystem
from vis_core.inference.fusion import fuse_tracks
from vis_core.inference.packed_tracks import unpack_track
from vis_core.inference.settings import InferenceConfig, TrackConfig
from vis_core.inference.tracks import TrackBuilder
from vis_core.inference.views import View
from vis_core.structures import Frame, Instances, VideoResult

# Is told of each frame: the frame, its named instances, their (N,) track ids and (N, H, W) masks.
OnFrame = Callable[[Frame, Instances, Tensor, Tensor], None]


def annotate_video(
    system: FrameSystem,
    frames: Iterator[Frame],
    chunk_frames: int = InferenceConfig().chunk_frames,
    on_frame: OnFrame | None = None,
    tracks: TrackConfig | None = None,
) -> VideoResult:
    """Annotates a video in one pass; memory holds ``chunk_frames`` frames and no past pixels.

    Args:
        system: Segments frames and names instances.
        frames: Frames of one size, in order, indices from 0.
        chunk_frames: Frames that go through the network at once.
        on_frame: Is called after each frame.
        tracks: Which tracks are kept, how they are scored and labelled.

    Raises:
        VideoDecodeError: If there is no frame, or the frames cannot be read.
    """
    walk = VideoWalk(system, tracks or TrackConfig(), on_frame)
    _walk(frames, chunk_frames, [walk])
    return walk.tracks.finish()


def annotate_views(
    system: FrameSystem, frames: Iterator[Frame], config: InferenceConfig
) -> VideoResult:
    """Annotates a video as the config says: in several views, if it names some, which are fused.

    The video is read once; each view has its own identities (2nd place 3.1, multi-scale testing).

    Args:
        system: As in ``annotate_video``; views of other sizes need a ``System``.
        frames: As in ``annotate_video``.
        config: Views, their fusion, tracks, frames at once.

    Raises:
        VideoDecodeError: If there is no frame, or the frames cannot be read.
    """
    views = [View.parse(view) for view in config.views] or [View()]
    walks = [VideoWalk(view.seen_by(system), config.tracks, mirrored=view.flip) for view in views]
    _walk(frames, config.chunk_frames, walks)
    if len(walks) == 1:
        return walks[0].tracks.finish()
    size, num_frames = walks[0].tracks.video
    fused = fuse_tracks([walk.tracks.packed() for walk in walks], size, num_frames, config.fusion)
    kept = fused[: config.tracks.max_tracks]
    return VideoResult(*size, num_frames, [unpack_track(track, size, num_frames) for track in kept])


class VideoWalk:
    """Is one pass of a system over a video: its associator and its open tracks."""

    def __init__(
        self,
        system: FrameSystem,
        tracks: TrackConfig,
        on_frame: OnFrame | None = None,
        *,
        mirrored: bool = False,
    ) -> None:
        self._system = system
        self._config = tracks
        self._on_frame = on_frame
        self._mirrored = mirrored
        self._associator = system.new_associator()
        self._builder: TrackBuilder | None = None

    def add(self, chunk: list[Frame]) -> None:
        """Goes on by some frames, which go through the network at once."""
        height, width = chunk[0].image.shape[:2]
        self._builder = self._builder or TrackBuilder(height, width, self._config)
        input_size = self._system.input_size(height, width)
        images = [frame.image for frame in chunk]
        if self._mirrored:
            images = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        for frame, instances in zip(chunk, self._system.segment(images), strict=True):
            named, track_ids = self._associator.step(instances)
            masks, confidences = self._masks(named, input_size, (height, width))
            self._builder.add(frame.index, named, track_ids, masks, confidences)
            if self._on_frame is not None:
                self._on_frame(frame, named, track_ids, masks)

    @property
    def tracks(self) -> TrackBuilder:
        """The tracks of the frames so far.

        Raises:
            VideoDecodeError: There was no frame.
        """
        if self._builder is None:
            raise VideoDecodeError("the video has no frame; expected at least one")
        return self._builder

    def _masks(
        self, named: Instances, input_size: InputSize, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor | None]:
        """(N, H, W) masks and, where tracks are scored by them, (N,) confidence in their pixels."""
        where = (named.mask_logits, input_size, size, self._config.last_mask_resize)
        confidences = None
        if self._config.mask_quality:
            masks, confidences = masks_with_confidence(*where)
        else:
            masks = full_size_masks(*where)
        return masks.flip(2) if self._mirrored else masks, confidences


def _walk(frames: Iterator[Frame], chunk_frames: int, walks: list[VideoWalk]) -> None:
    """Takes all walks through the video together, some frames at a time."""
    with torch.inference_mode():
        while chunk := list(islice(frames, chunk_frames)):
            for walk in walks:
                walk.add(chunk)
