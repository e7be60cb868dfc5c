"""The containers that cross file boundaries. No computation beyond indexing lives here.

Legend of dimensions, used in every docstring of the project:
    B clips of a batch        T frames of a clip or video     Q predictions of a segmentor
    N instances kept in a frame     G ground-truth instances of a clip     M tracks in memory
    K categories              C embedding width               P sampled points
    H x W pixels of an image  h x w pixels of mask logits (stride 4)
Boxes are xyxy in pixels of the unpadded input. Labels are contiguous indices 0..K-1 everywhere
inside; category ids exist in files only (``formats/categories.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from vis_core.frame import Frame as Frame


@dataclass(frozen=True)
class Instances:
    """Is what one frame shows: N instances, indexable like one tensor.

    Attributes:
        scores: (N,) confidence in [0, 1].
        class_scores: (N, K) score of every class; ``labels`` is its argmax.
        mask_logits: (N, h, w) raw masks; positive means inside.
        embeddings: (N, C) what the associator compares.
        boxes: (N, 4) xyxy, or None where the segmentor predicts none.
        class_logits: (N, K + 1) raw scores of every class and, last, of no object; None where the
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
        if self.boxes is not None:
            _check_shape("boxes", self.boxes, (count, 4))
        if self.class_logits is not None:
            _check_shape("class_logits", self.class_logits, (count, self.class_scores.shape[1] + 1))
        if self.qualities is not None:
            _check_shape("qualities", self.qualities, (count,))

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Tensor | slice) -> Self:
        """Keeps the instances that a bool mask (N,), an index tensor or a slice names."""
        return self._map(lambda tensor: tensor[index])

    @property
    def labels(self) -> Tensor:
        """(N,) class index of each instance."""
        return self.class_scores.argmax(dim=1)

    def to(self, device: torch.device | str) -> Self:
        """Moves every tensor to ``device``."""
        return self._map(lambda tensor: tensor.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """Gives what there is by the names of the attributes."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in held.items() if tensor is not None}

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        changed: dict[str, Any] = {name: change(own) for name, own in self.tensors().items()}
        return replace(self, **changed)


def without_masks(instances: Instances) -> Instances:
    """Leaves the masks out: (N, 0, 0), all else as it is."""
    return replace(instances, mask_logits=instances.mask_logits[:, :0, :0])


@dataclass(frozen=True)
class FrameTargets:
    """Is the ground truth of one frame: the instances that are present in it.

    Attributes:
        labels: (G,) int64 class indices.
        masks: (G, H, W) bool.
        instance_index: (G,) int64, the row of each instance in its clip: its identity.
    """

    labels: Tensor
    masks: Tensor
    instance_index: Tensor


@dataclass(frozen=True)
class Clip:
    """Is T frames for training with their ground truth; a still image is a clip of one frame.

    Attributes:
        clip_id: Names the clip; the same id means the same content.
        images: (T, H, W, 3) uint8, RGB.
        masks: (T, G, H, W) bool; all False where an instance is absent. The row g is the identity.
        labels: (G,) int64 class indices.
        sizes: (T, 2) height and width of each frame where some are smaller and padded right and
            bottom with 0 (views of different sizes); None if all fill H x W.
    """

    clip_id: str
    images: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray | None = None

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
        """(T, G) bool: which instance shows at least one pixel in which frame."""
        return np.asarray(self.masks.any(axis=(2, 3)))


@dataclass(frozen=True)
class ClipBatch:
    """Is B clips of T frames, padded right and bottom to one size.

    Attributes:
        images: (B, T, 3, H, W) uint8; padding is 0.
        masks: B tensors (T, G_b, H, W) bool.
        labels: B tensors (G_b,) int64.
        sizes: (B, T, 2) int64, height and width of each frame before padding.
        clip_ids: B names of the clips; empty if they have none.
    """

    images: Tensor
    masks: list[Tensor]
    labels: list[Tensor]
    sizes: Tensor
    clip_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.ndim != 5 or self.images.shape[2] != 3:
            raise ValueError(f"images must be (B, T, 3, H, W), but got {tuple(self.images.shape)}")
        if not len(self.masks) == len(self.labels) == len(self.sizes) == len(self.images):
            raise ValueError("images, masks, labels and sizes must name the same clips")
        _check_shape("sizes", self.sizes, (*self.images.shape[:2], 2))

    def __getitem__(self, clips: slice) -> Self:
        """Keeps some of the clips."""
        return replace(
            self,
            images=self.images[clips],
            masks=self.masks[clips],
            labels=self.labels[clips],
            sizes=self.sizes[clips],
            clip_ids=self.clip_ids[clips],
        )

    def to(self, device: torch.device | str) -> Self:
        """Moves every tensor to ``device``."""
        return replace(
            self,
            images=self.images.to(device),
            masks=[mask.to(device) for mask in self.masks],
            labels=[label.to(device) for label in self.labels],
            sizes=self.sizes.to(device),
        )

    def frame_targets(self) -> list[FrameTargets]:
        """Lists the ground truth of the B * T frames, clip by clip, absent instances left out."""
        targets = []
        for masks, labels in zip(self.masks, self.labels, strict=True):
            for frame_masks in masks:
                shown = frame_masks.flatten(1).any(dim=1).nonzero().flatten()
                targets.append(FrameTargets(labels[shown], frame_masks[shown], shown))
        return targets


@dataclass(frozen=True)
class Track:
    """Is one identity over a video, as it is written to a file.

    Attributes:
        track_id: The identity in its video, from 0; unique unless tracks may have several labels.
        label: Class index.
        score: Confidence of the whole track in [0, 1].
        segmentations: T entries, a COCO RLE ``{"size": [H, W], "counts": str}`` or None if absent.
        frame_scores: T entries, the confidence in each frame or None if absent.
        predicted_quality: What the model expects the IoU of its masks with the truth to be; None
            if it does not say.
    """

    track_id: int
    label: int
    score: float
    segmentations: list[dict[str, Any] | None]
    frame_scores: list[float | None]
    predicted_quality: float | None = None


@dataclass(frozen=True)
class VideoResult:
    """Is the annotation of one video.

    Attributes:
        height: Pixels of the shown frame.
        width: Pixels of the shown frame.
        num_frames: T, the frames that were annotated.
        tracks: The identities, best score first.
    """

    height: int
    width: int
    num_frames: int
    tracks: list[Track]


def _check_shape(name: str, tensor: Tensor, expected: tuple[int | str, ...]) -> None:
    """Raises ValueError unless ``tensor`` has the stated sizes; letters match any size."""
    sizes_match = tensor.ndim == len(expected) and all(
        isinstance(want, str) or want == have
        for want, have in zip(expected, tensor.shape, strict=True)
    )
    if not sizes_match:
        shape = ", ".join(str(size) for size in expected)
        raise ValueError(f"{name} must have shape ({shape}), but got {tuple(tensor.shape)}")
