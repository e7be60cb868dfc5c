"""A toy system whose predictions differ from frame to frame, and its video."""

from dataclasses import replace

import torch

from tests.helpers.toy_system import ToySystem, square_frames
from vis_core.association.associator import Associator
from vis_core.association.memory import MEMORY_READS
from vis_core.config.association import AssociationConfig
from vis_core.config.inference import ShortTrackFilter, TrackConfig

SIZE = (32, 48)


NUM_FRAMES, CHUNK = 21, 3


class NoisySystem(ToySystem):
    """A system that finds squares with scores, boxes and embeddings that differ between frames."""

    def __init__(self, association: AssociationConfig):
        super().__init__()
        self.association = association

    def new_associator(self):
        return Associator(self.association)

    def _instances(self, image):
        found = super()._instances(image)
        seed = int(image.astype(int).sum()) + int(image.argmax())
        generator = torch.Generator().manual_seed(seed)
        noise = torch.rand(found.class_scores.shape, generator=generator)
        scores = (found.class_scores + 0.3 * noise).clamp(max=0.99)
        embeddings = found.embeddings + 0.5 * torch.randn(noise.shape, generator=generator)
        boxes = torch.rand(len(found), 4, generator=generator)
        boxes[:, 2:] += boxes[:, :2]
        return replace(
            found,
            scores=scores.max(dim=1).values,
            class_scores=scores,
            embeddings=embeddings,
            boxes=boxes,
            qualities=scores[:, 0],
        )


def frames_from(first: int):
    """Renders frames with one to three squares; some frames are empty."""
    for frame in square_frames(NUM_FRAMES, *SIZE, labels=(0, 1, 2)):
        image = frame.image.copy()
        if frame.index % 5 == 3:
            image[:16] = 128
        if frame.index % 7 == 6:
            image[:] = 128
        if frame.index >= first:
            yield replace(frame, image=image)


SYSTEMS = [
    *(AssociationConfig(memory=name) for name in MEMORY_READS),
    AssociationConfig(memory="latest", similarity="cues", assignment="best_claim"),
    AssociationConfig(memory="latest", similarity="cosine", assignment="hungarian"),
    AssociationConfig(max_unseen_frames=2),
]


TRACKS = [
    TrackConfig(),
    TrackConfig(mask_quality=True, labels="majority", over_time="max"),
    TrackConfig(short_tracks=ShortTrackFilter(after_frame=1), labels="every", min_frames=0),
]
