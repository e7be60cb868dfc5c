"""Frame predictions without pixels, in the form needed to associate a video.

Each frame is predicted independently, so many workers can share a video; association needs the
past but is cheap. A long video is therefore predicted in segments and associated in one pass by
``OnlineTracker``. The result equals a single worker's bit for bit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vis_core.inference.frame_predictor import FramePredictor
from vis_core.inference.gpu import cpu_copies
from vis_core.inference.protocols import FrameAssociator
from vis_core.rle.frame_masks import EncodedMasks
from vis_core.structures import Frame, Instances

_FIELDS = ("scores", "class_scores", "embeddings", "boxes", "class_logits", "qualities")


@dataclass(frozen=True)
class FramePrediction:
    """N instances of one frame on the CPU, with separate masks: ``mask_logits`` is (N, 0, 0)."""

    instances: Instances
    masks: EncodedMasks


def associate_frame(
    frame: FramePrediction, associator: FrameAssociator
) -> tuple[Instances, Tensor, EncodedMasks]:
    """Associates the next frame; returns the instances with tracks, their (N,) ids and masks."""
    track_ids = associator.associate(frame.instances)
    kept = track_ids >= 0
    masks = frame.masks.rows(kept.nonzero().flatten().tolist())
    return frame.instances[kept], track_ids[kept], masks


class PredictionCollector:
    """A ``run_chunked`` stage that collects predictions without associating them."""

    def __init__(self, predictor: FramePredictor) -> None:
        self._predictor = predictor
        self._frames: list[FramePrediction] = []

    def predict(self, chunk: list[Frame]) -> list[Instances]:
        """Predicts the instances of some frames, which pass through the network together."""
        return self._predictor.predict(chunk)

    def associate(self, chunk: list[Frame], predicted: list[Instances]) -> None:
        """Keeps the instances from ``predict``, with their masks as run lengths."""
        logits = [instances.mask_logits for instances in predicted]
        encoded = self._predictor.encoded(logits, chunk[0].image.shape[:2])
        self._frames += map(FramePrediction, cpu_copies(predicted), encoded)

    def take(self) -> list[FramePrediction]:
        """Returns the frames added since the last call and removes them."""
        taken, self._frames = self._frames, []
        return taken


def pack_predictions(frames: Iterable[FramePrediction]) -> dict[str, Tensor]:
    """Packs F frames as tensors, bit for bit."""
    frames = list(frames)
    counts = [text for frame in frames for text in frame.masks.counts]
    packed = {
        "num_instances": torch.tensor([len(frame.masks) for frame in frames], dtype=torch.int64),
        "areas": torch.tensor([area for frame in frames for area in frame.masks.areas]).long(),
        "rle_lengths": torch.tensor([len(text) for text in counts], dtype=torch.int64),
        "rle": torch.from_numpy(np.frombuffer(bytearray("".join(counts), "ascii"), np.uint8)),
    }
    confidences = [frame.masks.confidences for frame in frames]
    if any(values is not None for values in confidences):
        joined = [value for values in confidences for value in values or ()]
        packed["confidences"] = torch.tensor(joined, dtype=torch.float64)
    for name in _FIELDS:
        parts = [getattr(frame.instances, name) for frame in frames]
        if any(part is not None for part in parts):
            packed[name] = torch.cat(parts).contiguous()
    return packed


def unpack_predictions(packed: Mapping[str, Tensor]) -> list[FramePrediction]:
    """Reverses ``pack_predictions``."""
    sizes = packed["num_instances"].tolist()
    fields = {
        name: torch.split(packed[name], sizes) if name in packed else [None] * len(sizes)
        for name in (*_FIELDS, "confidences")
    }
    ends = packed["rle_lengths"].cumsum(0).tolist()
    text = packed["rle"].numpy().tobytes().decode("ascii")
    counts = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    areas = packed["areas"].tolist()
    frames, first = [], 0
    for place, size in enumerate(sizes):
        values: dict[str, Any] = {name: parts[place] for name, parts in fields.items()}
        confidences = values.pop("confidences")
        masks = EncodedMasks(
            tuple(counts[first : first + size]),
            tuple(areas[first : first + size]),
            None if confidences is None else tuple(confidences.tolist()),
        )
        no_masks = torch.zeros(size, 0, 0)
        frames.append(FramePrediction(Instances(mask_logits=no_masks, **values), masks))
        first += size
    return frames
