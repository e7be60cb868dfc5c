"""Running sums of each track while a video is processed: small, storable, without masks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from typing import Literal

import numpy as np
import torch
from torch import Tensor

_SMALLEST_AREA = 1e-6  # pixels, added to the mask area (CTVIS release)

# how the evidence from two frames is combined, and the neutral element of each method
COMBINE_EVIDENCE = {"mean": np.add, "max": np.maximum}
_NO_EVIDENCE = {"mean": 0.0, "max": -np.inf}


@dataclass
class TrackState:
    """A track's sums since its start or restart."""

    serial: int  # number of this start or restart in the video
    # (K,) class scores or (K + 1,) class logits, float64: the sum or maximum over the frames with
    # an instance of the track
    evidence: np.ndarray
    votes: np.ndarray  # (K,) number of instances of each class
    scores: float = 0.0  # sum of the scores of its instances
    num_named: int = 0  # number of frames with an instance of the track
    last_named: int = 0  # the last such frame
    num_shown: int = 0  # number of frames in which the track has at least one pixel
    first_shown: int = -1  # the first such frame; -1 if there is none
    last_shown: int = -1  # the last such frame; -1 if there is none
    area: int = 0  # total pixels of its masks
    confidence: float = 0.0  # sum of the sigmoid over these pixels
    # sum of its masks' predicted qualities; None if the system predicts none
    quality: float | None = None

    @classmethod
    def start(
        cls, serial: int, width: int, num_classes: int, over_time: Literal["mean", "max"]
    ) -> "TrackState":
        """Returns a track without instances; ``width`` is the length of its evidence."""
        evidence = np.full(width, _NO_EVIDENCE[over_time])
        return cls(serial, evidence, np.zeros(num_classes, np.int64))

    def add_mask(self, frame_index: int, area: int, confidence: float) -> None:
        """Adds a frame in which the track has pixels."""
        if not self.num_shown:
            self.first_shown = frame_index
        self.num_shown += 1
        self.last_shown = frame_index
        self.area += area
        self.confidence += confidence

    @property
    def mask_quality(self) -> float:
        """Mean sigmoid over all mask pixels (CTVIS release)."""
        return self.confidence / (self.area + _SMALLEST_AREA)

    @property
    def predicted_quality(self) -> float | None:
        """Mean predicted quality of its masks."""
        return None if self.quality is None else self.quality / self.num_named


def merge_states(
    states: Sequence[TrackState], serial: int, over_time: Literal["mean", "max"]
) -> TrackState:
    """Merges one track's states from one or more consecutive segments, in time order."""
    shown = [state for state in states if state.num_shown]
    qualities = [state.quality for state in states if state.quality is not None]
    return TrackState(
        serial=serial,
        evidence=reduce(COMBINE_EVIDENCE[over_time], (state.evidence for state in states)),
        votes=np.sum([state.votes for state in states], axis=0),
        scores=sum(state.scores for state in states),
        num_named=sum(state.num_named for state in states),
        last_named=states[-1].last_named,
        num_shown=sum(state.num_shown for state in states),
        first_shown=shown[0].first_shown if shown else -1,
        last_shown=shown[-1].last_shown if shown else -1,
        area=sum(state.area for state in states),
        confidence=sum(state.confidence for state in states),
        quality=sum(qualities) if qualities else None,
    )


_ARRAYS = ("evidence", "votes")
_NUMBERS = tuple(field.name for field in fields(TrackState) if field.name not in _ARRAYS)
_INTEGERS = {"serial", "num_named", "last_named", "num_shown", "first_shown", "last_shown", "area"}


def pack_states(tracks: Mapping[int, TrackState]) -> dict[str, Tensor]:
    """Packs the sums of M tracks, by track id, as tensors with M rows, bit for bit."""
    packed = {"track_ids": torch.tensor(list(tracks), dtype=torch.int64)}
    rows = list(tracks.values())
    for name in _NUMBERS:
        values = [getattr(row, name) for row in rows]
        values = [float("nan") if value is None else value for value in values]
        dtype = torch.int64 if name in _INTEGERS else torch.float64
        packed[name] = torch.tensor(values, dtype=dtype)
    for name in _ARRAYS:
        arrays = [getattr(row, name) for row in rows]
        packed[name] = torch.from_numpy(np.stack(arrays)) if arrays else torch.zeros(0, 0)
    return packed


def unpack_states(packed: Mapping[str, Tensor]) -> dict[int, TrackState]:
    """Reverses ``pack_states``."""
    columns = {name: packed[name].tolist() for name in _NUMBERS}
    arrays = {name: packed[name].numpy() for name in _ARRAYS}
    tracks = {}
    for row, track_id in enumerate(packed["track_ids"].tolist()):
        numbers = {name: values[row] for name, values in columns.items()}
        if np.isnan(numbers["quality"]):
            numbers["quality"] = None
        tracks[track_id] = TrackState(
            **{name: array[row].copy() for name, array in arrays.items()}, **numbers
        )
    return tracks


def join_parts(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Joins named tables of tensors into one, with keys ``<part>.<name>``; ``part`` has no dot."""
    return {
        f"{part}.{name}": tensor
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }


def split_parts(table: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Reverses ``join_parts``; a part without tensors reads as empty."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in table.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts
