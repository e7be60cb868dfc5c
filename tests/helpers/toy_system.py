"""A segmentor that finds coloured squares, to test annotation without weights."""

import numpy as np
import torch

from vis_core.geometry.masks import InputSize
from vis_core.structures import Frame, Instances

COLOURS = {0: (250, 20, 20), 1: (20, 250, 20), 2: (20, 20, 250)}
STRIDE = 4


class ToyAssociator:
    """An associator that uses the class as the identity."""

    def __init__(self):
        self.steps = 0

    def associate(self, instances):
        self.steps += 1
        return instances.labels

    def state(self):
        return {"steps": torch.tensor(self.steps)}

    def restore(self, state):
        self.steps = int(state["steps"])


class ToySystem:
    """A segmentor that finds pixels of three colours; the class of a colour is its index."""

    def __init__(self):
        self.chunk_sizes = []

    def input_size(self, height, width):
        def padded(side):
            return -(-side // STRIDE) * STRIDE

        return InputSize(height, width, padded(height), padded(width))

    def new_associator(self):
        return ToyAssociator()

    def segment(self, images):
        self.chunk_sizes.append(len(images))
        return [self._instances(image) for image in images]

    def _instances(self, image):
        size = self.input_size(*image.shape[:2])
        labels, masks = [], []
        for label, colour in COLOURS.items():
            near = np.abs(image.astype(int) - colour).max(axis=2) < 60
            if near.any():
                inside = np.zeros((size.padded_height, size.padded_width), np.float32)
                inside[: image.shape[0], : image.shape[1]] = near
                labels.append(label)
                masks.append(inside[::STRIDE, ::STRIDE] * 2 - 1)
        class_scores = torch.full((len(labels), 3), 0.05)
        class_scores[torch.arange(len(labels)), labels] = 0.9
        return Instances(
            scores=torch.full((len(labels),), 0.9),
            class_scores=class_scores,
            mask_logits=torch.from_numpy(
                np.stack(masks) if masks else np.zeros((0, 1, 1), np.float32)
            ),
            embeddings=class_scores.clone(),
        )


def square_frames(count, height=32, width=48, labels=(0, 1)):
    """Renders frames in which 8 x 8 squares move to the right, one row per label."""
    for index in range(count):
        image = np.full((height, width, 3), 128, np.uint8)
        for row, label in enumerate(labels):
            left = 4 * (index % ((width - 8) // 4))
            image[8 * row : 8 * row + 8, left : left + 8] = COLOURS[label]
        yield Frame(image, index, index / 10)
