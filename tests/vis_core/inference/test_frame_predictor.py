"""Masks become run lengths by the shortest path, with the same result on every path."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import interpolate

from tests.helpers.toy_system import ToySystem
from vis_core.config.inference import TrackConfig
from vis_core.geometry.masks import InputSize
from vis_core.inference.frame_predictor import FramePredictor, _groups
from vis_core.inference.gpu import cpu_copies, in_one_piece
from vis_core.rle.frame_masks import EncodedMasks
from vis_core.structures import Instances

SIZE = (90, 161)
LARGER = InputSize(64, 114, 64, 128)


class ResizingSystem(ToySystem):
    """A system whose input size differs from the frame size."""

    def __init__(self, input_size: InputSize):
        super().__init__()
        self.sizes = input_size

    def input_size(self, height, width):  # noqa: ARG002
        return self.sizes


def instances() -> Instances:
    """Builds blobs, specks, an empty mask and a full one."""
    generator = torch.Generator().manual_seed(0)
    logits = interpolate(torch.randn(1, 12, 4, 8, generator=generator), size=(16, 32))[0] - 0.8
    logits[0], logits[1] = -3, 3
    logits[2] = torch.where(torch.rand(16, 32, generator=generator) < 0.03, 4.0, -1.0)
    return Instances(torch.ones(12), torch.ones(12, 3), logits, torch.zeros(12, 2))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("upsampling", ["logits", "aligned_probabilities"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"mask_quality": True}, {"last_mask_resize": "nearest"}],
    ids=["boxes", "weighed", "nearest"],
)
def test_run_lengths_are_those_of_the_masks(
    changes: dict[str, Any], upsampling: Any, mirrored: bool
) -> None:
    found = instances()
    for sizes in (LARGER, InputSize(*SIZE, 96, 176)):
        system = ResizingSystem(replace(sizes, upsampling=upsampling))
        if upsampling == "aligned_probabilities":  # by a whole factor
            factor = 4 if sizes is LARGER else 6
            logits = interpolate(found.mask_logits[None], size=(96, 192))[0]
            logits = found.mask_logits if factor == 4 else logits[:, :16, :]
            own = replace(found, mask_logits=logits[:, :16, : sizes.padded_width // factor])
        else:
            own = found
        predictor = FramePredictor(system, TrackConfig(**changes), mirrored)
        wanted = EncodedMasks.of(*predictor.masks(own.mask_logits, SIZE))
        assert predictor.encoded([own.mask_logits], SIZE) == [wanted]
        assert wanted.areas[0] == 0 and wanted.areas[1] == SIZE[0] * SIZE[1]


def test_frames_are_encoded_together_as_each_by_itself() -> None:
    logits = instances().mask_logits
    frames = [logits[:0], logits, logits[:5], logits[3:], logits[:0], logits.repeat(4, 1, 1)]
    assert [len(group) for group in _groups(frames)] == [5, 1], "32 masks, or one frame"
    predictor = FramePredictor(ResizingSystem(LARGER), TrackConfig())
    assert predictor.encoded(frames, SIZE) == [predictor.encoded([own], SIZE)[0] for own in frames]
    assert [len(own) for own in predictor.encoded(frames, SIZE)] == [0, 12, 5, 9, 0, 48]
    assert predictor.encoded([], SIZE) == []


def test_tensors_are_copied_in_one_piece_bit_by_bit() -> None:
    generator = torch.Generator().manual_seed(1)
    tensors = [
        torch.randn(3, 4, generator=generator),
        torch.arange(5),
        torch.zeros(0, 7),
        torch.randn(2, generator=generator).double(),
        torch.randn(4, 2, 2, generator=generator).transpose(0, 2),
        torch.tensor(float("nan")),
        torch.ones(3, dtype=torch.int64),
    ]
    for one, copy in zip(tensors, in_one_piece(tensors), strict=True):
        assert copy.dtype == one.dtype and copy.shape == one.shape
        assert torch.equal(copy.nan_to_num(), one.nan_to_num())


def test_what_lies_on_the_cpu_stays_without_its_masks() -> None:
    found = instances()
    (small,) = cpu_copies([found])
    assert small.scores is found.scores and small.mask_logits.shape == (12, 0, 0)
    assert cpu_copies([]) == []
