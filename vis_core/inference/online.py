"""Walks a system through a video: segment a few frames, name their instances, keep run lengths."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from torch import Tensor

from vis_core.config.inference import InferenceConfig, TrackConfig
from vis_core.errors import VideoDecodeError
from vis_core.inference.chunk_pipeline import run_chunked
from vis_core.inference.frame_predictor import FramePredictor, View
from vis_core.inference.fusion import fuse_tracks
from vis_core.inference.gpu import cpu_copies
from vis_core.inference.packed_tracks import MaskSink, unpack_track
from vis_core.inference.predictions import FramePrediction, associate_frame
from vis_core.inference.protocols import FrameSystem
from vis_core.inference.track_builder import TrackBuilder
from vis_core.inference.track_state import joined_parts, split_parts
from vis_core.structures import Frame, Instances, VideoResult

# Is told of each frame: the frame, its named instances without their masks and on the CPU, their
# (N,) track ids, and (N, H, W) masks where the network is.
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
        on_frame: Is called after each frame, in a thread of the walk.
        tracks: Which tracks are kept, how they are scored and labelled.

    Raises:
        VideoDecodeError: If there is no frame, or the frames cannot be read.
    """
    walk = OnlineTracker(system, tracks or TrackConfig(), on_frame)
    run_chunked(frames, chunk_frames, [walk])
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
    views = View.of(config.views)
    walks = [
        OnlineTracker(view.seen_by(system), config.tracks, mirrored=view.flip) for view in views
    ]
    run_chunked(frames, config.chunk_frames, walks)
    if len(walks) == 1:
        return walks[0].tracks.finish()
    size, num_frames = walks[0].tracks.video
    fused = fuse_tracks([walk.tracks.packed() for walk in walks], size, num_frames, config.fusion)
    kept = fused[: config.tracks.max_tracks]
    return VideoResult(*size, num_frames, [unpack_track(track, size, num_frames) for track in kept])


class OnlineTracker:
    """Is one pass of a system over a video: its associator and its open tracks.

    Args:
        system: Segments frames and names instances.
        tracks: Which tracks are kept, how they are scored and labelled.
        on_frame: Is called after each frame.
        mirrored: Whether the system sees left and right change places.
        sink: Takes the masks; None keeps them in memory.
    """

    def __init__(
        self,
        system: FrameSystem,
        tracks: TrackConfig,
        on_frame: OnFrame | None = None,
        *,
        mirrored: bool = False,
        sink: MaskSink | None = None,
    ) -> None:
        self._predictor = FramePredictor(system, tracks, mirrored)
        self._config = tracks
        self._on_frame = on_frame
        self._sink = sink
        self._associator = system.new_associator()
        self._builder: TrackBuilder | None = None

    def predict(self, chunk: list[Frame]) -> list[Instances]:
        """Finds the instances of some frames, which go through the network at once."""
        return self._predictor.predict(chunk)

    def associate(self, chunk: list[Frame], found: list[Instances]) -> None:
        """Associates the instances that ``predict`` found and encodes their masks."""
        height, width = chunk[0].image.shape[:2]
        self._builder = self._builder or self._new_builder(height, width)
        named, mask_logits = [], []
        # on the CPU, since a GPU is slower, one small step at a time
        for instances, small in zip(found, cpu_copies(found), strict=True):
            track_ids = self._associator.associate(small)
            rows = (track_ids >= 0).nonzero().flatten()
            named.append((small[rows], track_ids[rows]))
            mask_logits.append(instances.mask_logits[rows.to(instances.mask_logits.device)])
        if self._on_frame is not None:
            self._show(self._on_frame, chunk, named, mask_logits)
            return
        encoded = self._predictor.encoded(mask_logits, (height, width))
        for frame, own, masks in zip(chunk, named, encoded, strict=True):
            self._builder.add_encoded(frame.index, *own, masks)

    def _show(
        self,
        on_frame: OnFrame,
        chunk: list[Frame],
        named: list[tuple[Instances, Tensor]],
        mask_logits: list[Tensor],
    ) -> None:
        """Goes on by some frames whose masks are wanted as pixels."""
        for frame, own, logits in zip(chunk, named, mask_logits, strict=True):
            masks, confidences = self._predictor.masks(logits, frame.image.shape[:2])
            self.tracks.add(frame.index, *own, masks, confidences)
            on_frame(frame, *own, masks)

    def associate_predictions(
        self, first: int, frames: Iterable[FramePrediction], size: tuple[int, int]
    ) -> None:
        """Goes on by some frames that were seen elsewhere, as ``associate`` would.

        Args:
            first: Index of the first of them.
            frames: What was found in them.
            size: Height and width of the video.
        """
        assert self._on_frame is None, "the frames are elsewhere"
        self._builder = self._builder or self._new_builder(*size)
        for index, frame in enumerate(frames, first):
            self._builder.add_encoded(index, *associate_frame(frame, self._associator))

    @property
    def tracks(self) -> TrackBuilder:
        """The tracks of the frames so far.

        Raises:
            VideoDecodeError: There was no frame.
        """
        if self._builder is None:
            raise VideoDecodeError("the video has no frame; expected at least one", "no frames")
        return self._builder

    def state(self) -> dict[str, Tensor]:
        """Gives all that ``restore`` needs to go on after the frames so far, as tensors."""
        parts = {"associator": self._associator.state(), "tracks": self.tracks.state()}
        return {name: tensor.contiguous() for name, tensor in joined_parts(parts).items()}

    def restore(self, state: Mapping[str, Tensor], size: tuple[int, int]) -> None:
        """Goes on where a walk of the same system over the same video was.

        Args:
            state: What it gave.
            size: Height and width of the video.
        """
        parts = split_parts(state)
        self._associator.restore(parts["associator"])
        self._builder = self._new_builder(*size)
        self._builder.restore(parts["tracks"])

    def _new_builder(self, height: int, width: int) -> TrackBuilder:
        return TrackBuilder(height, width, self._config, self._sink)
