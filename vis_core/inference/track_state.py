"""What is kept of each track while a video runs: running sums, no masks; small and storable."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce

import numpy as np
import torch
from torch import Tensor

_SMALLEST_AREA = 1e-6  # pixels, beside the area of a mask (released CTVIS)


@dataclass
class TrackState:
    """Is the sums over one life of a track: from its start, or restart, on.

    Attributes:
        serial: Names this life; no other of the video has it.
        evidence: (K,) class scores or (K + 1,) class logits, float64: the sum or the maximum over
            the frames where the track was named.
        votes: (K,) frames in which it was named with each class.
        scores: Sum of its scores in the frames where it was named.
        num_named: Those frames.
        last_named: The newest of them.
        num_shown: Frames in which it shows at least one pixel.
        first_shown: The first of them; -1 if there is none.
        last_shown: The newest of them; -1 if there is none.
        area: Pixels of all its masks.
        confidence: Sum of the sigmoid of these pixels.
        quality: Sum of the predicted qualities of its masks; None if the system does not say.
    """

    serial: int
    evidence: np.ndarray
    votes: np.ndarray
    scores: float = 0.0
    num_named: int = 0
    last_named: int = 0
    num_shown: int = 0
    first_shown: int = -1
    last_shown: int = -1
    area: int = 0
    confidence: float = 0.0
    quality: float | None = None

    def show(self, frame_index: int, area: int, confidence: float) -> None:
        """Adds a frame in which the track has pixels."""
        if not self.num_shown:
            self.first_shown = frame_index
        self.num_shown += 1
        self.last_shown = frame_index
        self.area += area
        self.confidence += confidence

    @property
    def mask_quality(self) -> float:
        """Mean sigmoid of the pixels of all its masks (released CTVIS)."""
        return self.confidence / (self.area + _SMALLEST_AREA)

    @property
    def predicted_quality(self) -> float | None:
        """Mean predicted quality over the frames where the track was named."""
        return None if self.quality is None else self.quality / self.num_named


def merge_states(
    lives: Sequence[TrackState], serial: int, join_evidence: Callable[..., np.ndarray]
) -> TrackState:
    """Makes one life of lives that follow one another.

    Args:
        lives: In order of time, one at least.
        serial: Names the new life.
        join_evidence: Puts the evidence of two lives together.
    """
    shown = [life for life in lives if life.num_shown]
    qualities = [life.quality for life in lives if life.quality is not None]
    return TrackState(
        serial=serial,
        evidence=reduce(join_evidence, (life.evidence for life in lives)),
        votes=np.sum([life.votes for life in lives], axis=0),
        scores=sum(life.scores for life in lives),
        num_named=sum(life.num_named for life in lives),
        last_named=lives[-1].last_named,
        num_shown=sum(life.num_shown for life in lives),
        first_shown=shown[0].first_shown if shown else -1,
        last_shown=shown[-1].last_shown if shown else -1,
        area=sum(life.area for life in lives),
        confidence=sum(life.confidence for life in lives),
        quality=sum(qualities) if qualities else None,
    )


_TABLES = ("evidence", "votes")
_NUMBERS = tuple(field.name for field in fields(TrackState) if field.name not in _TABLES)
_WHOLE = {"serial", "num_named", "last_named", "num_shown", "first_shown", "last_shown", "area"}


def pack_states(tracks: Mapping[int, TrackState]) -> dict[str, Tensor]:
    """Lays the sums of M tracks out as tensors of M rows, bit by bit what they are.

    Args:
        tracks: By track id.
    """
    packed = {"track_ids": torch.tensor(list(tracks), dtype=torch.int64)}
    rows = list(tracks.values())
    for name in _NUMBERS:
        values = [getattr(row, name) for row in rows]
        values = [float("nan") if value is None else value for value in values]
        dtype = torch.int64 if name in _WHOLE else torch.float64
        packed[name] = torch.tensor(values, dtype=dtype)
    for name in _TABLES:
        tables = [getattr(row, name) for row in rows]
        packed[name] = torch.from_numpy(np.stack(tables)) if tables else torch.zeros(0, 0)
    return packed


def unpack_states(packed: Mapping[str, Tensor]) -> dict[int, TrackState]:
    """Makes of the tensors of ``pack_states`` what they were."""
    columns = {name: packed[name].tolist() for name in _NUMBERS}
    tables = {name: packed[name].numpy() for name in _TABLES}
    tracks = {}
    for row, track_id in enumerate(packed["track_ids"].tolist()):
        numbers = {name: values[row] for name, values in columns.items()}
        if numbers["quality"] != numbers["quality"]:  # not a number: the system does not say
            numbers["quality"] = None
        own = {name: table[row].copy() for name, table in tables.items()}
        tracks[track_id] = TrackState(**own, **numbers)
    return tracks


def joined_parts(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Puts the name of its part, which has no dot, before the name of each tensor."""
    return {
        f"{part}.{name}": tensor
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }


def split_parts(table: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Undoes ``joined_parts``; a part without tensors comes back as none when it is asked for."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in table.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts
