"""Collects the named instances of a video, frame by frame, and makes tracks of them at the end.

Masks leave as run lengths in the frame where they were made (law 9): what is kept of a track are
running sums; its run lengths go to a sink, which keeps them in memory or writes them away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from vis_core.config.inference import TrackConfig
from vis_core.errors import ConfigError
from vis_core.inference.packed_tracks import MaskSink, MasksInMemory, PackedTrack, unpack_track
from vis_core.inference.track_state import TrackState, merge_states, pack_states, unpack_states
from vis_core.rle.frame_masks import EncodedMasks
from vis_core.structures import Instances, VideoResult

# how the evidence of a frame joins that of the frames before, and what stands before the first
_JOIN = {"mean": np.add, "max": np.maximum}
_BEFORE = {"mean": 0.0, "max": -np.inf}


@dataclass(frozen=True)
class ListedTrack:
    """Is one entry of the result: a track with one of its labels, without its masks.

    Attributes:
        serial: Names the life of the track that is listed.
        track_id: Its identity.
        label: Class index.
        score: In [0, 1].
        sums: What the score was made of.
    """

    serial: int
    track_id: int
    label: int
    score: float
    sums: TrackState


class TrackBuilder:
    """Turns named instances into the result of a video.

    Args:
        height: Pixels of the video.
        width: Pixels of the video.
        config: Which tracks are kept, how they are scored and labelled.
        sink: Takes the masks; None keeps them in memory, for ``packed`` and ``finish``.
        first_frame: Index of the first frame that is added.
    """

    def __init__(
        self,
        height: int,
        width: int,
        config: TrackConfig | None = None,
        sink: MaskSink | None = None,
        first_frame: int = 0,
    ) -> None:
        self._size = (height, width)
        self._config = config or TrackConfig()
        self._sink: MaskSink = MasksInMemory() if sink is None else sink
        self._open: dict[int, TrackState] = {}
        self._short: dict[int, TrackState] = {}  # those of _open that the filter may still drop
        self._num_frames, self._num_lives = first_frame, 0

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
        self.add_encoded(frame_index, instances, track_ids, EncodedMasks.of(masks, confidences))

    def add_encoded(
        self, frame_index: int, instances: Instances, track_ids: Tensor, masks: EncodedMasks
    ) -> None:
        """Adds one frame whose masks are run lengths already; else like ``add``."""
        insides = masks.confidences
        assert insides is not None or not self._config.mask_quality, "masks without confidences"
        self._num_frames += 1
        scores = instances.scores.tolist()
        evidence = self._evidence(instances)
        qualities = None if instances.qualities is None else instances.qualities.tolist()
        labels = instances.labels.tolist()
        num_classes = instances.class_scores.shape[1]
        for row, track_id in enumerate(track_ids.tolist()):
            track = self._named(track_id, evidence[row], num_classes)
            track.votes[labels[row]] += 1
            track.scores += scores[row]
            if qualities is not None:
                track.quality = (track.quality or 0.0) + qualities[row]
            area = masks.areas[row]
            if area:
                track.show(frame_index, area, 0.0 if insides is None else insides[row])
                self._sink.show(frame_index, track.serial, scores[row], masks.counts[row])
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
        sink = self._sink
        assert isinstance(sink, MasksInMemory), "the masks went elsewhere"
        tracks = []
        for listed in self.listed():
            kept = sink.of(listed.serial)
            tracks.append(
                PackedTrack(
                    listed.label,
                    listed.score,
                    kept.masks,
                    listed.track_id,
                    kept.frame_scores,
                    listed.sums.predicted_quality,
                )
            )
        return tracks

    def listed(self) -> list[ListedTrack]:
        """Gives the tracks of ``finish`` without their masks."""
        kept = {
            track_id: track
            for track_id, track in self._open.items()
            if track.num_shown >= self._config.min_frames
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
            tracks.append(ListedTrack(track.serial, int(ids[row]), int(label), float(score), track))
        tracks.sort(key=lambda track: -track.score)
        return tracks

    def state(self) -> dict[str, Tensor]:
        """Gives all that ``restore`` needs to go on, as tensors; the masks are with the sink."""
        counters = [*self._size, self._num_frames, self._num_lives]
        return {
            **pack_states(self._open),
            "short": torch.tensor([track_id in self._short for track_id in self._open]),
            "counters": torch.tensor(counters, dtype=torch.int64),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes on where a builder of the same video and config was when it gave ``state``."""
        height, width, self._num_frames, self._num_lives = state["counters"].tolist()
        assert (height, width) == self._size, f"state of {height} x {width}, video of {self._size}"
        self._open = unpack_states(state)
        short = zip(self._open.items(), state["short"].tolist(), strict=True)
        self._short = {track_id: track for (track_id, track), is_short in short if is_short}

    @property
    def sums(self) -> dict[int, TrackState]:
        """What is kept of the tracks that have not left, by their ids."""
        return dict(self._open)

    def join(self, lives: Mapping[int, Sequence[TrackState]], num_frames: int) -> None:
        """Takes the tracks of segments for its own, in place of what it had.

        Args:
            lives: Of each track of the whole video, its lives in the segments, in order of time;
                their order gives the tracks their serials.
            num_frames: Of the video.
        """
        evidence = _JOIN[self._config.over_time]
        self._open = {
            track_id: merge_states(own, serial, evidence)
            for serial, (track_id, own) in enumerate(lives.items())
        }
        self._short, self._num_frames, self._num_lives = {}, num_frames, len(lives)

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

    def _named(self, track_id: int, evidence: np.ndarray, num_classes: int) -> TrackState:
        """Notes that a track is named in the present frame, and opens it if it is new."""
        over_time = self._config.over_time
        if track_id not in self._open:
            before = np.full(len(evidence), _BEFORE[over_time])
            opened = TrackState(self._num_lives, before, np.zeros(num_classes, np.int64))
            self._num_lives += 1
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
                self._sink.drop(track.serial)

    def _class_scores(self, track: TrackState) -> np.ndarray:
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


def _voted(track: TrackState) -> np.ndarray:
    """(K,) mean score of the track for its most frequent class, of equals the first; else 0."""
    scores = np.zeros(len(track.votes))
    scores[track.votes.argmax()] = track.scores / track.num_named
    return scores
