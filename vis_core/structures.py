"""Data structures shared between modules, with no logic beyond indexing.

Dimensions, as used in all docstrings:
    B clips in a batch        T frames in a clip or video     Q segmentor predictions
    N instances kept in a frame     G ground-truth instances in a clip     M tracks in memory
    K categories              C embedding width               P sampled points
    H x W image pixels        h x w mask logits (stride 4)
Boxes are xyxy in pixels of the unpadded input. Labels are always contiguous indices 0..K-1;
category ids appear only in files (``formats/categories.py``).
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from vis_core.frame import Frame as Frame
from vis_core.rle.packed import PackedMasks
from vis_core.rle.segmentation import Rle


@dataclass(frozen=True)
class Instances:
    """The N instances of one frame, indexed like a tensor.

    Attributes:
        scores: (N,) confidence in [0, 1].
        class_scores: (N, K) score for every class; ``labels`` is its argmax.
        mask_logits: (N, h, w) raw masks; positive means inside.
        embeddings: (N, C) vectors that the associator compares.
        boxes: (N, 4) xyxy, or None if the segmentor predicts no boxes.
        class_logits: (N, K + 1) raw score for every class and, last, for no object; None if the
            segmentor has no such class.
        qualities: (N,) predicted IoU of each mask with the truth; None without ``rescore``.
    """

    scores: Tensor
    class_scores: Tensor
    mask_logits: Tensor
    embeddings: Tensor
    boxes: Tensor | None = None
    class_logits: Tensor | None = None
    qualities: Tensor | None = None

    def __post_init__(self) -> None:
        _check_shape("scores", self.scores, ("N",))
        count = len(self.scores)
        _check_shape("class_scores", self.class_scores, (count, "K"))
        _check_shape("mask_logits", self.mask_logits, (count, "h", "w"))
        _check_shape("embeddings", self.embeddings, (count, "C"))
        _check_shape("boxes", self.boxes, (count, 4))
        _check_shape("class_logits", self.class_logits, (count, self.class_scores.shape[1] + 1))
        _check_shape("qualities", self.qualities, (count,))

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Tensor | slice) -> Self:
        """Selects instances by a bool mask (N,), an index tensor or a slice."""
        return self._map(lambda tensor: tensor[index])

    @property
    def labels(self) -> Tensor:
        """(N,) class index of each instance."""
        return self.class_scores.argmax(dim=1)

    def to(self, device: torch.device | str) -> Self:
        """Moves every tensor to ``device``."""
        return self._map(lambda tensor: tensor.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """Returns the attributes that are not None, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: tensor for name, tensor in values.items() if tensor is not None}

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        changed: dict[str, Any] = {name: change(t) for name, t in self.tensors().items()}
        return replace(self, **changed)


def without_masks(instances: Instances) -> Instances:
    """Replaces the masks with empty ones, (N, 0, 0)."""
    return replace(instances, mask_logits=instances.mask_logits[:, :0, :0])


@dataclass(frozen=True)
class FrameTargets:
    """The ground truth of one frame: the instances present in it.

    Attributes:
        labels: (G,) int64 class indices.
        masks: (G, H, W) bool.
        instance_index: (G,) int64, each instance's row in its clip, the same in all frames.
        ignored: (H, W) bool, True where background is not learned; None means nowhere.
        instance_ids: (G,) int64 as in ``ClipBatch``, or None.
    """

    labels: Tensor
    masks: Tensor
    instance_index: Tensor
    ignored: Tensor | None = None
    instance_ids: Tensor | None = None

    def __getitem__(self, instances: Tensor) -> Self:
        """Selects instances by a bool mask (G,) or an index tensor."""
        names = ("labels", "masks", "instance_index", "instance_ids")
        given = {name: getattr(self, name) for name in names}
        return replace(self, **{k: v[instances] for k, v in given.items() if v is not None})


@dataclass(frozen=True)
class Clip:
    """T training frames with their ground truth; a still image is a clip of one frame.

    Attributes:
        clip_id: Identifies the clip; equal ids mean equal content.
        images: (T, H, W, 3) uint8, RGB.
        masks: (T, G, H, W) bool; all False where an instance is absent. Row g is one identity.
        labels: (G,) int64 class indices; -1 marks an ignored region.
        sizes: (T, 2) height and width of each frame before it was padded with 0 on the right and
            bottom (views of different sizes); None if all frames fill H x W.
        instance_ids: (G,) int64 number of each instance among all instances of the training videos;
            None if the clip is not from a training video.
    """

    clip_id: str
    images: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray | None = None
    instance_ids: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[3] != 3:
            raise ValueError(f"images must be (T, H, W, 3), but got {self.images.shape}")
        frames, height, width = self.images.shape[:3]
        expected = (frames, len(self.labels), height, width)
        if self.masks.shape != expected or self.masks.dtype != bool:
            raise ValueError(
                f"masks must be {expected} of bool, but got {self.masks.shape} "
                f"of {self.masks.dtype}"
            )
        if self.sizes is not None and self.sizes.shape != (frames, 2):
            raise ValueError(f"sizes must be ({frames}, 2), but got {self.sizes.shape}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def frame_sizes(self) -> np.ndarray:
        """(T, 2) int64 height and width of each frame before padding."""
        if self.sizes is not None:
            return self.sizes
        return np.tile(np.array(self.images.shape[1:3], dtype=np.int64), (len(self), 1))

    @property
    def present(self) -> np.ndarray:
        """(T, G) bool: whether each instance has at least one pixel in each frame."""
        return np.asarray(self.masks.any(axis=(2, 3)))


@dataclass(frozen=True)
class ClipBatch:
    """B clips of T frames, padded on the right and bottom to one size.

    Attributes:
        images: (B, T, 3, H, W) uint8; padding is 0.
        masks: B tensors (T, G_b, H, W) bool.
        labels: B tensors (G_b,) int64.
        sizes: (B, T, 2) int64, height and width of each frame before padding.
        clip_ids: B clip ids; empty if the clips have none.
        instance_ids: B tensors (G_b,) int64, the number of each instance among those of the
            training videos, or -1; empty if no clip has any.
    """

    images: Tensor
    masks: list[Tensor]
    labels: list[Tensor]
    sizes: Tensor
    clip_ids: tuple[str, ...] = ()
    instance_ids: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        if self.images.ndim != 5 or self.images.shape[2] != 3:
            raise ValueError(f"images must be (B, T, 3, H, W), but got {tuple(self.images.shape)}")
        if not len(self.masks) == len(self.labels) == len(self.sizes) == len(self.images):
            raise ValueError("images, masks, labels and sizes must have the same length")
        _check_shape("sizes", self.sizes, (*self.images.shape[:2], 2))

    def __getitem__(self, clips: slice) -> Self:
        """Selects a slice of the clips."""
        return replace(
            self,
            images=self.images[clips],
            masks=self.masks[clips],
            labels=self.labels[clips],
            sizes=self.sizes[clips],
            clip_ids=self.clip_ids[clips],
            instance_ids=self.instance_ids[clips],
        )

    def to(self, device: torch.device | str) -> Self:
        """Moves every tensor to ``device``."""
        return replace(
            self,
            images=self.images.to(device),
            masks=[mask.to(device) for mask in self.masks],
            labels=[label.to(device) for label in self.labels],
            sizes=self.sizes.to(device),
            instance_ids=tuple(ids.to(device) for ids in self.instance_ids),
        )

    def frame_targets(self) -> list[FrameTargets]:
        """Returns the ground truth of the B * T frames, clip by clip, without absent instances."""
        targets = []
        every_ids = self.instance_ids or [None] * len(self.labels)
        for masks, labels, ids in zip(self.masks, self.labels, every_ids, strict=True):
            for frame_masks in masks:
                visible, known = frame_masks.flatten(1).any(dim=1), labels >= 0
                present = (visible & known).nonzero().flatten()
                ignored = None if known.all() else frame_masks[~known].any(dim=0)
                kept = labels[present], frame_masks[present], present
                numbers = None if ids is None else ids[present]
                targets.append(FrameTargets(*kept, ignored, numbers))
        return targets


@dataclass(frozen=True)
class Track:
    """A finished track: one identity throughout a video, with one of its labels.

    Attributes:
        track_id: The identity in its video; unique unless tracks may have several labels. None if
            read from a file without ids.
        label: Class index.
        score: Confidence in [0, 1] for the whole track.
        masks: Its masks in the frames where it has pixels; empty if they are in a mask table.
        frame_scores: Its confidence in each frame of ``masks``; None if its file has none.
        predicted_quality: Predicted IoU of its masks with the truth; None if not predicted.
        serial: The number that marks its rows in a mask table.
        stored_frames: ``shown_frames`` if its masks are in a mask table.
    """

    track_id: int | None
    label: int
    score: float
    masks: PackedMasks = field(default_factory=PackedMasks)
    frame_scores: "array[float] | None" = None
    predicted_quality: float | None = None
    serial: int = -1
    stored_frames: tuple[int, int, int] | None = None

    @property
    def shown_frames(self) -> tuple[int, int, int]:
        """Number, first and last of the frames with pixels; 0, -1 and -1 if there are none."""
        frames = self.masks.frame_indices
        in_masks = (len(frames), frames[0], frames[-1]) if frames else (0, -1, -1)
        return self.stored_frames or in_masks

    def segmentations(self, size: tuple[int, int], num_frames: int) -> list[Rle | None]:
        """Returns an RLE of (H, W) pixels for each frame, or None where the track is absent."""
        return self.masks.segmentations(size, num_frames)

    def scores_by_frame(self, num_frames: int) -> list[float | None]:
        """Returns the confidence in each frame, or None where the track is absent."""
        scores: list[float | None] = [None] * num_frames
        for frame, score in zip(self.masks.frame_indices, self.frame_scores or (), strict=True):
            scores[frame] = score
        return scores


@dataclass(frozen=True)
class VideoResult:
    """The annotation of one video: displayed frame size, T, and tracks (best score first)."""

    height: int
    width: int
    num_frames: int
    tracks: list[Track]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


def _check_shape(name: str, tensor: Tensor | None, expected: tuple[int | str, ...]) -> None:
    """Raises ValueError unless a tensor has the expected shape; letters match any size."""
    if tensor is None:
        return
    sizes_match = tensor.ndim == len(expected) and all(
        isinstance(want, str) or want == have
        for want, have in zip(expected, tensor.shape, strict=True)
    )
    if not sizes_match:
        shape = ", ".join(str(size) for size in expected)
        raise ValueError(f"{name} must have shape ({shape}), but got {tuple(tensor.shape)}")
