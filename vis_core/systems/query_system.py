"""The part that CTVIS and MinVIS share: a Mask2Former with resized, padded inputs."""

import cv2
import numpy as np
import torch
from torch import Tensor

from vis_core.association.associator import Associator
from vis_core.config import QuerySystemConfig
from vis_core.geometry.masks import InputSize
from vis_core.segmentors.mask2former import STRIDE, Mask2Former, SegmentorOutput
from vis_core.segmentors.selection import select_instances
from vis_core.structures import ClipBatch, Instances
from vis_core.systems.base import System


class QuerySystem(System):
    """Runs a Mask2Former over frames; what an embedding is, the paper's system says."""

    def __init__(self, config: QuerySystemConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.segmentor = Mask2Former(config.segmentor, num_classes)

    def embed(self, queries: Tensor) -> Tensor:
        """Turns (..., Q, C) queries into what the associator compares; here the query itself."""
        return queries

    def segment_clips(self, batch: ClipBatch) -> SegmentorOutput:
        """Segments the B * T frames of a batch, clip by clip."""
        return self.segmentor(batch.images.flatten(0, 1), batch.sizes.flatten(0, 1))

    def input_size(self, height: int, width: int) -> InputSize:
        """Scales the short side to the test size and pads to a multiple of the stride."""
        short, longest = self.config.test_short_side, self.config.test_max_long_side
        scale = min(short / min(height, width), longest / max(height, width))
        resized = max(1, round(height * scale)), max(1, round(width * scale))
        padded = tuple(-(-side // STRIDE) * STRIDE for side in resized)
        return InputSize(*resized, *padded)

    @torch.no_grad()
    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Finds and selects the instances of frames of one size (see ``System.segment``)."""
        if not images:
            return []
        size = self.input_size(*images[0].shape[:2])
        pixels = np.zeros((len(images), size.padded_height, size.padded_width, 3), dtype=np.uint8)
        for row, image in enumerate(images):
            shape = (size.resized_width, size.resized_height)
            pixels[row, : shape[1], : shape[0]] = cv2.resize(
                image, shape, interpolation=cv2.INTER_LINEAR
            )
        frames = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.device)
        sizes = torch.tensor([[size.resized_height, size.resized_width]], device=self.device)
        output = self.segmentor(frames, sizes.expand(len(images), 2))
        return [self._frame_instances(output, row) for row in range(len(images))]

    @property
    def backbone_prefix(self) -> str:
        """Where transformers keeps the backbone of a Mask2Former."""
        return "segmentor.network.model.pixel_level_module.encoder."

    def new_associator(self) -> Associator:
        """Makes an associator with an empty memory."""
        return Associator(self.config.association)

    def _frame_instances(self, output: SegmentorOutput, row: int) -> Instances:
        class_logits = output.predictions.class_logits[-1, row]
        class_scores = class_logits.softmax(dim=1)[:, :-1]
        everything = Instances(
            scores=class_scores.max(dim=1).values,
            class_scores=class_scores,
            mask_logits=output.predictions.mask_logits[-1, row],
            embeddings=self.embed(output.queries[row]),
            class_logits=class_logits,
        )
        return select_instances(everything, self.config.selection)
