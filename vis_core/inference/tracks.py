"""Collects the named instances of a video, frame by frame, and makes tracks of them at the end.

Masks leave as run lengths in the frame where they were made (law 9): what is kept of a track is
its run lengths and running sums, no pixels.
"""

from array import array
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from vis_core.formats.rle import encode_masks
from vis_core.inference.settings import TrackConfig
from vis_core.structures import Instances, Track, VideoResult


@dataclass
class _OpenTrack:
    """Is what is kept of one track while the video runs, in flat arrays for its length's sake.

    Attributes:
        class_score_sum: (K,) float64, over the frames where the track was named.
        num_named: Those frames.
        frame_indices: Frames in which it shows at least one pixel.
        frame_scores: Its confidence in each of these.
        counts: Its run lengths in each of these, one after the other (ASCII).
        ends: Where each of these ends in ``counts``.
    """

    class_score_sum: np.ndarray
    num_named: int = 0
    frame_indices: "array[int]" = field(default_factory=lambda: array("L"))
    frame_scores: "array[float]" = field(default_factory=lambda: array("d"))
    counts: bytearray = field(default_factory=bytearray)
    ends: "array[int]" = field(default_factory=lambda: array("Q"))

    def show(self, frame_index: int, score: float, counts: str) -> None:
        """Adds a frame in which the track has pixels."""
        self.frame_indices.append(frame_index)
        self.frame_scores.append(score)
        self.counts += counts.encode("ascii")
        self.ends.append(len(self.counts))

    @property
    def mean_class_scores(self) -> np.ndarray:
        """(K,) mean over the frames where the track was named."""
        mean: np.ndarray = self.class_score_sum / self.num_named
        return mean


class TrackBuilder:
    """Turns named instances into the result of a video."""

    def __init__(self, height: int, width: int, config: TrackConfig | None = None) -> None:
        self._size = (height, width)
        self._config = config or TrackConfig()
        self._open: dict[int, _OpenTrack] = {}
        self._num_frames = 0

    def add(self, frame_index: int, instances: Instances, track_ids: Tensor, masks: Tensor) -> None:
        """Adds one frame; to be called for every frame in order, also for one without instances.

        Args:
            frame_index: Position in the video, one more than that of the call before.
            instances: N named instances.
            track_ids: (N,) int64, no id twice.
            masks: (N, H, W) bool at the size of the video.
        """
        assert frame_index == self._num_frames, f"frame {frame_index} after {self._num_frames - 1}"
        assert masks.shape == (len(instances), *self._size), f"masks are {tuple(masks.shape)}"
        self._num_frames += 1
        shown = masks.flatten(1).any(dim=1).tolist()
        rles = encode_masks(masks.cpu().numpy())
        scores = instances.scores.tolist()
        class_scores = instances.class_scores.double().cpu().numpy()
        for row, track_id in enumerate(track_ids.tolist()):
            track = self._open.setdefault(track_id, _OpenTrack(np.zeros(class_scores.shape[1])))
            track.class_score_sum += class_scores[row]
            track.num_named += 1
            if shown[row]:
                track.show(frame_index, scores[row], rles[row]["counts"])

    def finish(self) -> VideoResult:
        """Keeps the tracks that the config wants, best score first.

        The score of a track is the highest of its mean class scores over the frames where it was
        named, its label the class of that score (IDOL, CTVIS).
        """
        tracks = [
            self._track(track_id, track)
            for track_id, track in self._open.items()
            if len(track.frame_indices) >= self._config.min_frames
            and track.mean_class_scores.max() >= self._config.min_score
        ]
        tracks.sort(key=lambda track: (-track.score, track.track_id))
        return VideoResult(*self._size, self._num_frames, tracks[: self._config.max_tracks])

    def _track(self, track_id: int, track: _OpenTrack) -> Track:
        segmentations: list[dict[str, object] | None] = [None] * self._num_frames
        frame_scores: list[float | None] = [None] * self._num_frames
        start = 0
        shown = zip(track.frame_indices, track.frame_scores, track.ends, strict=True)
        for frame_index, score, end in shown:
            counts = track.counts[start:end].decode("ascii")
            segmentations[frame_index] = {"size": list(self._size), "counts": counts}
            frame_scores[frame_index] = score
            start = end
        label = int(track.mean_class_scores.argmax())
        return Track(
            track_id, label, float(track.mean_class_scores[label]), segmentations, frame_scores
        )
