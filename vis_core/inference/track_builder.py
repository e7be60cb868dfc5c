"""Builds tracks from a video's associated instances, frame by frame.

Masks are encoded as run lengths frame by frame. A track keeps only running sums; its run lengths
are sent to a sink, in memory or on disk.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vis_core.config.inference import TrackConfig
from vis_core.errors import ConfigError
from vis_core.inference.mask_sink import MaskSink, MasksInMemory
from vis_core.inference.track_scores import finished_tracks
from vis_core.inference.track_state import COMBINE_EVIDENCE, TrackState, pack_states, unpack_states
from vis_core.rle.frame_masks import EncodedMasks
from vis_core.structures import Instances, Track, VideoResult


class TrackBuilder:
    """The tracks of a video up to the current frame; without a sink, the masks stay in memory."""

    def __init__(
        self,
        height: int,
        width: int,
        config: TrackConfig | None = None,
        sink: MaskSink | None = None,
        first_frame: int = 0,
    ) -> None:
        self.size = (height, width)
        self._config = config or TrackConfig()
        self._sink: MaskSink = MasksInMemory() if sink is None else sink
        self._tracks: dict[int, TrackState] = {}
        self._short_tracks: dict[int, TrackState] = {}  # may still be dropped by the filter
        self.num_frames, self._num_started = first_frame, 0

    def add(
        self, frame_index: int, instances: Instances, track_ids: Tensor, masks: EncodedMasks
    ) -> None:
        """Adds one frame; call it for every frame in order, even one without instances.

        The (N,) int64 ids are all different. The N masks have the video's size, and confidences if
        track scores use them. Raises ConfigError if track scores use logits but there are none.
        """
        assert frame_index == self.num_frames, f"frame {frame_index} after {self.num_frames - 1}"
        confidences = masks.confidences
        assert confidences is not None or not self._config.mask_quality, "masks without confidences"
        self.num_frames += 1
        scores = instances.scores.tolist()
        evidence = self._evidence(instances)
        qualities = None if instances.qualities is None else instances.qualities.tolist()
        labels = instances.labels.tolist()
        num_classes = instances.class_scores.shape[1]
        for row, track_id in enumerate(track_ids.tolist()):
            track = self._add_instance(track_id, evidence[row], num_classes)
            track.votes[labels[row]] += 1
            track.scores += scores[row]
            if qualities is not None:
                track.quality = (track.quality or 0.0) + qualities[row]
            area = masks.areas[row]
            if area:
                confidence = 0.0 if confidences is None else confidences[row]
                track.add_mask(frame_index, area, confidence)
                self._sink.add(frame_index, track.serial, scores[row], masks.counts[row])
        self._drop_short_tracks()

    def result(self) -> VideoResult:
        """Returns the result so far; all masks must be in memory."""
        assert isinstance(self._sink, MasksInMemory), "the masks went elsewhere"
        return VideoResult(*self.size, self.num_frames, self.finished())

    def finished(self) -> list[Track]:
        """Returns the result's tracks, best score first, with any masks that are in memory."""
        tracks = finished_tracks(self._tracks, self._config)
        if not isinstance(sink := self._sink, MasksInMemory):
            return tracks
        return [
            replace(t, masks=sink.masks[t.serial], frame_scores=sink.frame_scores[t.serial])
            for t in tracks
        ]

    def state(self) -> dict[str, Tensor]:
        """Returns tensors from which ``restore`` continues; the masks remain in the sink."""
        counters = [*self.size, self.num_frames, self._num_started]
        return {
            **pack_states(self._tracks),
            "short": torch.tensor([track_id in self._short_tracks for track_id in self._tracks]),
            "counters": torch.tensor(counters, dtype=torch.int64),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continues from the ``state`` of a builder with the same video and config."""
        height, width, self.num_frames, self._num_started = state["counters"].tolist()
        assert (height, width) == self.size, f"state of {height} x {width}, video of {self.size}"
        self._tracks = unpack_states(state)
        short = zip(self._tracks.items(), state["short"].tolist(), strict=True)
        self._short_tracks = {track_id: track for (track_id, track), is_short in short if is_short}

    @property
    def states(self) -> dict[int, TrackState]:
        """The sums of all tracks that were not dropped, by track id."""
        return dict(self._tracks)

    def _evidence(self, instances: Instances) -> np.ndarray:
        """(N, K) class scores or (N, K + 1) class logits, float64."""
        use_logits = self._config.evidence == "logits"
        evidence = instances.class_logits if use_logits else instances.class_scores
        if evidence is None:
            raise ConfigError(
                "inference.tracks.evidence is logits, but this system has no logits with a class "
                "for no object; set it to scores"
            )
        return evidence.cpu().double().numpy()

    def _add_instance(self, track_id: int, evidence: np.ndarray, num_classes: int) -> TrackState:
        """Adds an instance of the current frame to its track, starting the track if it is new."""
        over_time = self._config.over_time
        if track_id not in self._tracks:
            started = TrackState.start(self._num_started, len(evidence), num_classes, over_time)
            self._num_started += 1
            self._tracks[track_id] = self._short_tracks[track_id] = started
        track = self._tracks[track_id]
        track.evidence = COMBINE_EVIDENCE[over_time](track.evidence, evidence)
        track.num_named += 1
        track.last_named = self.num_frames - 1
        return track

    def _drop_short_tracks(self) -> None:
        """Applies the short-track filter after the current frame."""
        limits = self._config.short_tracks
        if limits is None:
            self._short_tracks.clear()
            return
        present = self.num_frames - 1
        self._short_tracks = {
            track_id: track
            for track_id, track in self._short_tracks.items()
            if track.num_named < limits.min_detections
        }
        if present <= limits.after_frame:
            return
        for track_id, track in list(self._short_tracks.items()):
            if present - track.last_named >= limits.missed_frames:
                del self._tracks[track_id], self._short_tracks[track_id]
                self._sink.drop(track.serial)
