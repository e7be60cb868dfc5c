"""CTVIS on Deformable DETR and IDOL on Mask2Former: training, saving, annotating."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.config.optimizer import OptimizerSettings
from pipelines.training.worker.optimizers import build_optimizer
from pipelines.training.worker.step import StepSettings, train_step
from tests.helpers.presets import combined_config
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.association import AssociationConfig
from vis_core.config.clips import SceneSettings
from vis_core.config.segmentors import SelectionConfig
from vis_core.formats.categories import numbered
from vis_core.geometry.boxes import to_xyxy
from vis_core.inference.online import annotate_video
from vis_core.models.systems.build import build_system, load_system, save_system
from vis_core.models.systems.query_frames import Mask2FormerFrames
from vis_core.models.systems.query_system import QuerySystem
from vis_core.structures import Clip, Frame

CATEGORIES = numbered(CLASS_NAMES)
SCENE = SceneSettings(height=64, width=96)
both = pytest.mark.parametrize("name", ["ctvis", "idol"])


def combined(name: str, **changes: object) -> QuerySystem:
    torch.manual_seed(2)
    system = build_system(combined_config(name).model_copy(update=changes), len(CLASS_NAMES))
    assert isinstance(system, QuerySystem)
    return system


@both
def test_ten_steps_on_one_batch_lower_its_losses(name: str) -> None:
    system = combined(name).train()
    batch = collate_clips([render_scene(SCENE, 3, seed) for seed in (3, 4)])
    settings = OptimizerSettings(learning_rate=1e-3, backbone_factor=0.5)
    optimizer, weights = build_optimizer(system, settings), system.loss_weights

    def total() -> float:
        losses = system(batch, torch.Generator().manual_seed(0))
        assert losses.keys() == weights.keys()
        assert losses["embed"] > 0
        return sum(weights[key] * loss.item() for key, loss in losses.items())

    before = total()
    for step in range(10):
        generator = torch.Generator().manual_seed(step)
        outcome = train_step(system, batch, optimizer, weights, StepSettings(5.0), generator)
        assert not outcome.reason
    assert total() < 0.9 * before


@both
def test_a_saved_model_annotates_as_before(name: str, tmp_path: Path) -> None:
    system = combined(name).eval()
    save_system(tmp_path, system, CATEGORIES)
    loaded = load_system(tmp_path)
    assert loaded.config == system.config
    clip = render_scene(SCENE, 4, 5)
    images = list(clip.images)
    for one, other in zip(system.segment(images), loaded.segment(images), strict=True):
        assert one.tensors().keys() == other.tensors().keys()
        assert all(torch.equal(t, other.tensors()[key]) for key, t in one.tensors().items())
    frames = (Frame(image, t, float(t)) for t, image in enumerate(images))
    result = annotate_video(loaded, frames)
    assert (result.height, result.width, result.num_frames) == (64, 96, 4)


@both
@pytest.mark.parametrize("similarity", ["bisoftmax", "cues"])
def test_instances_are_linked_over_frames(name: str, similarity: str) -> None:
    association = AssociationConfig.model_validate(
        {"similarity": similarity, "match_threshold": None, "new_track_score": 0.0}
    )
    selection = SelectionConfig(score_threshold=0.0, nms_iou=0.9, box_nms_iou=0.9)
    system = combined(name, selection=selection, association=association).eval()
    image = render_scene(SCENE, 1, 6).images[0]
    associator = system.new_associator()
    (kept, first), (_, second) = (
        associator.step(found) for found in system.segment([image, image])
    )
    assert len(kept) > 1
    assert kept.boxes is not None
    assert sorted(second.tolist()) == sorted(first.tolist())


def test_the_boxes_of_masks_are_those_of_the_unpadded_frame() -> None:
    system = combined("idol").eval()
    images = torch.zeros(2, 3, 64, 96, dtype=torch.uint8)
    frames = system.predict(images, torch.tensor([[64, 96], [40, 80]]))
    assert isinstance(frames, Mask2FormerFrames)
    masks = torch.full_like(frames.output.predictions.mask_logits, -1.0)
    masks[-1, :, 0, 3:8, 2:5] = 1.0  # rows 12 to 32, columns 8 to 20
    masks[-1, :, 1, 5:, 15:] = 1.0  # into the padding
    frames.output.predictions.mask_logits.copy_(masks)
    for row, (height, width) in enumerate([(64, 96), (40, 80)]):
        guess = frames[row : row + 1].guess(0)
        found = to_xyxy(guess.boxes_cxcywh_norm) * torch.tensor([width, height, width, height])
        torch.testing.assert_close(found[0], torch.tensor([8.0, 12, 20, 32]))
        torch.testing.assert_close(found[1], torch.tensor([60.0, 20, width, height]))
        assert not guess.boxes_cxcywh_norm[2:].any()
        assert guess.probabilities.shape == (len(found), len(CLASS_NAMES))


@both
def test_clips_may_show_more_than_there_are_queries(name: str) -> None:
    config = combined_config(name)
    segmentor = config.segmentor.model_copy(update={"num_queries": 10})
    masks = np.zeros((2, 16, 64, 96), dtype=bool)
    for row in range(16):
        masks[:, row, 4 * row : 4 * row + 4, 5 * row : 5 * row + 16] = True
    images = np.full((2, 64, 96, 3), 90, dtype=np.uint8)
    clip = Clip("crowd", images, masks, np.arange(16, dtype=np.int64) % len(CLASS_NAMES))
    system = combined(name, segmentor=segmentor).train()
    losses = system(collate_clips([clip]), torch.Generator().manual_seed(0))
    assert all(torch.isfinite(loss) for loss in losses.values())
