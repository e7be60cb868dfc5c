"""Collects the named instances of a video, frame by frame, and makes tracks of them at the end.

Masks leave as run lengths in the frame where they were made (law 9): what is kept of a track is
its run lengths and running sums, no pixels.
"""

from array import array
from dataclasses import dataclass, field

import numpy as np
from scipy.special import softmax
from torch import Tensor

from vis_core.errors import ConfigError
from vis_core.formats.packed_masks import PackedMasks
from vis_core.formats.rle import encode_masks
from vis_core.inference.packed_tracks import PackedTrack, unpack_track
from vis_core.inference.settings import TrackConfig
from vis_core.structures import Instances, VideoResult

# how the evidence of a frame joins that of the frames before, and what stands before the first
_JOIN = {"mean": np.add, "max": np.maximum}
_BEFORE = {"mean": 0.0, "max": -np.inf}
_SMALLEST_AREA = 1e-6  # pixels, beside the area of a mask (released CTVIS)


@dataclass
class _OpenTrack:
    """Is what is kept of one track while the video runs, in flat arrays for its length's sake.

    Attributes:
        evidence: (K,) class scores or (K + 1,) class logits, float64: the sum or the maximum over
            the frames where the track was named.
        votes: (K,) frames in which it was named with each class.
        scores: Sum of its scores in the frames where it was named.
        num_named: Those frames.
        last_named: The newest of them.
        area: Pixels of all its masks.
        confidence: Sum of the sigmoid of these pixels.
        masks: Of the frames in which it shows at least one pixel.
        frame_scores: Its confidence in each of these.
        quality: Sum of the predicted qualities of its masks; None if the system does not say.
    """

    evidence: np.ndarray
    votes: np.ndarray
    scores: float = 0.0
    num_named: int = 0
    last_named: int = 0
    area: int = 0
    confidence: float = 0.0
    masks: PackedMasks = field(default_factory=PackedMasks)
    frame_scores: "array[float]" = field(default_factory=lambda: array("d"))
    quality: float | None = None

    def show(self, frame_index: int, score: float, counts: str) -> None:
        """Adds a frame in which the track has pixels."""
        self.masks.show(frame_index, counts)
        self.frame_scores.append(score)

    @property
    def mask_quality(self) -> float:
        """Mean sigmoid of the pixels of all its masks (released CTVIS)."""
        return self.confidence / (self.area + _SMALLEST_AREA)

    @property
    def predicted_quality(self) -> float | None:
        """Mean predicted quality over the frames where the track was named."""
        return None if self.quality is None else self.quality / self.num_named


class TrackBuilder:
    """Turns named instances into the result of a video."""

    def __init__(self, height: int, width: int, config: TrackConfig | None = None) -> None:
        self._size = (height, width)
        self._config = config or TrackConfig()
        self._open: dict[int, _OpenTrack] = {}
        self._short: dict[int, _OpenTrack] = {}  # those of _open that the filter may still drop
        self._num_frames = 0

    def add(
        self,
        frame_index: int,
        instances: Instances,
        track_ids: Tensor,
        masks: Tensor,
        confidences: Tensor | None = None,
    ) -> None:
        """Adds one frame; to be called for every frame in order, also for one without instances.

        Args:
            frame_index: Position in the video, one more than that of the call before.
            instances: N named instances.
            track_ids: (N,) int64, no id twice.
            masks: (N, H, W) bool at the size of the video.
            confidences: (N,) sum of the sigmoid of each mask's pixels, where tracks are scored by
                their masks.

        Raises:
            ConfigError: If tracks are to be scored by logits that the system does not have.
        """
        assert frame_index == self._num_frames, f"frame {frame_index} after {self._num_frames - 1}"
        assert masks.shape == (len(instances), *self._size), f"masks are {tuple(masks.shape)}"
        assert confidences is not None or not self._config.mask_quality, "masks without confidences"
        self._num_frames += 1
        pixels = masks.cpu().numpy()
        # mask by mask: numpy counts a block of bytes ten times as fast as torch counts rows
        areas = [int(np.count_nonzero(mask)) for mask in pixels]
        rles = encode_masks(pixels)
        scores = instances.scores.tolist()
        evidence = self._evidence(instances)
        insides = [0.0] * len(scores) if confidences is None else confidences.tolist()
        qualities = None if instances.qualities is None else instances.qualities.tolist()
        labels = instances.labels.tolist()
        num_classes = instances.class_scores.shape[1]
        for row, track_id in enumerate(track_ids.tolist()):
            track = self._named(track_id, evidence[row], num_classes)
            track.votes[labels[row]] += 1
            track.scores += scores[row]
            if qualities is not None:
                track.quality = (track.quality or 0.0) + qualities[row]
            if areas[row]:
                track.show(frame_index, scores[row], rles[row]["counts"])
                track.area += areas[row]
                track.confidence += insides[row]
        self._drop_short()

    def finish(self) -> VideoResult:
        """Keeps the tracks that the config wants, best score first.

        With the defaults, the score of a track is the highest of its mean class scores over the
        frames where it was named, its label the class of that score (IDOL, CTVIS). Predicted
        qualities of its masks multiply it.
        """
        tracks = [unpack_track(track, self._size, self._num_frames) for track in self.packed()]
        return VideoResult(*self._size, self._num_frames, tracks)

    def packed(self) -> list[PackedTrack]:
        """Gives the tracks of ``finish`` in a tenth of the memory."""
        kept = {
            track_id: track
            for track_id, track in self._open.items()
            if len(track.masks) >= self._config.min_frames
        }
        if not kept:
            return []
        table = np.stack([self._class_scores(track) for track in kept.values()])  # (M, K)
        ids = np.fromiter(kept, dtype=np.int64)
        rows, labels = self._listed(table, ids)
        tracks = []
        for row, label, score in zip(rows, labels, table[rows, labels], strict=True):
            track = kept[int(ids[row])]
            if self._config.mask_quality:
                score = score * track.mask_quality
            quality = track.predicted_quality
            if quality is not None:
                score = score * quality
            tracks.append(
                PackedTrack(
                    int(label),
                    float(score),
                    track.masks,
                    int(ids[row]),
                    track.frame_scores,
                    quality,
                )
            )
        tracks.sort(key=lambda track: -track.score)
        return tracks

    @property
    def video(self) -> tuple[tuple[int, int], int]:
        """Height and width, and the number of frames so far."""
        return self._size, self._num_frames

    def _evidence(self, instances: Instances) -> np.ndarray:
        """(N, K) class scores or (N, K + 1) class logits, float64."""
        evidence: Tensor | None = instances.class_scores
        if self._config.evidence == "logits":
            evidence = instances.class_logits
        if evidence is None:
            raise ConfigError(
                "inference.tracks.evidence is logits, but this system has no logits with a class "
                "for no object; set it to scores"
            )
        values: np.ndarray = evidence.cpu().double().numpy()
        return values

    def _named(self, track_id: int, evidence: np.ndarray, num_classes: int) -> _OpenTrack:
        """Notes that a track is named in the present frame, and opens it if it is new."""
        over_time = self._config.over_time
        if track_id not in self._open:
            before = np.full(len(evidence), _BEFORE[over_time])
            opened = _OpenTrack(before, np.zeros(num_classes, np.int64))
            self._open[track_id] = self._short[track_id] = opened
        track = self._open[track_id]
        track.evidence = _JOIN[over_time](track.evidence, evidence)
        track.num_named += 1
        track.last_named = self._num_frames - 1
        return track

    def _drop_short(self) -> None:
        """Drops the tracks that the filter of short ones wants out after the present frame."""
        limits = self._config.short_tracks
        if limits is None:
            self._short.clear()
            return
        present = self._num_frames - 1
        self._short = {
            track_id: track
            for track_id, track in self._short.items()
            if track.num_named < limits.min_detections
        }
        if present <= limits.after_frame:
            return
        for track_id, track in list(self._short.items()):
            if present - track.last_named >= limits.missed_frames:
                del self._open[track_id], self._short[track_id]

    def _class_scores(self, track: _OpenTrack) -> np.ndarray:
        """(K,) score of every class over the frames where the track was named."""
        if self._config.labels == "majority":
            return _voted(track)
        evidence = track.evidence
        if self._config.over_time == "mean":
            evidence = evidence / track.num_named
        if self._config.evidence == "scores":
            return evidence
        scores: np.ndarray = softmax(evidence)[:-1]
        return scores

    def _listed(self, table: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Chooses the rows and labels of the (M, K) table that are listed, best score first."""
        wanted = table >= self._config.min_score
        if self._config.labels != "every":
            wanted &= np.arange(table.shape[1]) == table.argmax(axis=1)[:, None]
        rows, labels = np.nonzero(wanted)
        order = np.lexsort((labels, ids[rows], -table[rows, labels]))[: self._config.max_tracks]
        return rows[order], labels[order]


def _voted(track: _OpenTrack) -> np.ndarray:
    """(K,) mean score of the track for its most frequent class, of equals the first; else 0."""
    scores = np.zeros(len(track.votes))
    scores[track.votes.argmax()] = track.scores / track.num_named
    return scores
