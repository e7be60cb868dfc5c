"""Regions of unknown classes: neither an instance nor background in CondInst's class losses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.helpers.presets import tiny_config
from vis_core.clips.collate import collate_clips
from vis_core.clips.rows import clip_to_row, row_to_clip
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.criterion import LocationLossConfig, LocationMatchingConfig
from vis_core.formats.categories import numbered
from vis_core.formats.coco import IGNORED
from vis_core.models.criterion.condinst_criterion import LocationCriterion, semantic_loss
from vis_core.models.criterion.condinst_matching import LocationPredictions, Places
from vis_core.models.systems.build import build_system
from vis_core.structures import Clip, ClipBatch, FrameTargets

SCENE = SceneSettings(height=64, width=96)
STRIDES = (8, 16, 32, 64, 128)


def scene(seed: int, num_frames: int = 2) -> Clip:
    """Returns a scene with at least two instances, the first of them ignored."""
    for each in range(seed, seed + 100):
        clip = render_scene(SCENE, num_frames, each)
        if len(clip.labels) > 1 and clip.present[:, :2].all():
            break
    return replace(clip, labels=np.concatenate([[IGNORED], clip.labels[1:]]))


def predictions(targets: list[FrameTargets], num_classes: int) -> LocationPredictions:
    height, width = targets[0].masks.shape[1:]
    shapes = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
    draw = torch.Generator().manual_seed(1)
    places = Places.of(shapes, STRIDES, torch.zeros(1))
    size = len(targets), len(places.level)
    return LocationPredictions(
        places,
        torch.randn(*size, num_classes, generator=draw, requires_grad=True),
        torch.rand(*size, 4, generator=draw),
        torch.randn(*size, generator=draw),
        torch.randn(*size, 3, generator=draw),
    )


@pytest.mark.parametrize("normalizer", ["positives", "places", "moving"])
def test_background_in_an_ignored_region_has_no_class_loss(normalizer: str) -> None:
    batch = collate_clips([scene(3), scene(200)])
    targets = batch.frame_targets()
    assert all(IGNORED not in target.labels.tolist() for target in targets)
    found = predictions(targets, len(CLASS_NAMES))
    config = LocationLossConfig(class_normalizer=normalizer)
    criterion = LocationCriterion(LocationMatchingConfig(), config)
    matched = criterion.match(found, targets)

    def class_gradient(wanted: list[FrameTargets]) -> torch.Tensor:
        fresh = LocationCriterion(LocationMatchingConfig(), config)
        masks = lambda frame, rows: torch.zeros(len(rows), 8, 8)  # noqa: ARG005, E731
        loss = fresh(found, masks, wanted, matched, None)["class"]
        return torch.autograd.grad(loss, found.class_logits)[0]

    ours = class_gradient(targets)
    plain = class_gradient([replace(target, ignored=None) for target in targets])
    num_ignored = 0
    for frame, target in enumerate(targets):
        assert target.ignored is not None
        height, width = target.ignored.shape
        for place, (x, y) in enumerate(found.places.points.tolist()):
            inside = y < height and x < width and bool(target.ignored[int(y), int(x)])
            if inside and matched[frame].instance[place] < 0:
                assert not ours[frame, place].any()
                num_ignored += 1
            elif y < height and x < width:
                assert torch.equal(ours[frame, place], plain[frame, place])
    assert num_ignored > 5


def test_pixels_of_an_ignored_region_have_no_semantic_loss() -> None:
    targets = collate_clips([scene(3)]).frame_targets()
    height, width = targets[0].masks.shape[1:]
    size = len(targets), len(CLASS_NAMES), height // 8, width // 8
    logits = torch.zeros(size, requires_grad=True)
    loss = semantic_loss(logits, targets, LocationLossConfig())
    (gradient,) = torch.autograd.grad(loss, logits)
    for frame, target in enumerate(targets):
        assert target.ignored is not None
        middles = slice(4, None, 8)
        owned = target.masks[:, middles, middles].any(dim=0)
        ignored = target.ignored[middles, middles] & ~owned
        assert ignored.any()
        assert torch.equal(gradient[frame].ne(0).any(dim=0), ~ignored)


def test_ignored_regions_pass_through_stored_clips_and_stc_trains_on_them() -> None:
    clip, categories = scene(3), numbered(CLASS_NAMES)
    back = row_to_clip(clip_to_row(clip, 1, categories), categories)
    assert np.array_equal(back.labels, clip.labels) and np.array_equal(back.masks, clip.masks)
    torch.manual_seed(0)
    system = build_system(tiny_config("stc"), len(CLASS_NAMES)).train()

    def losses(batch: ClipBatch) -> dict[str, float]:
        values = system.losses(batch, torch.Generator().manual_seed(0))
        assert all(torch.isfinite(value) for value in values.values())
        return {name: value.item() for name, value in values.items()}

    with_region = losses(collate_clips([clip]))
    known = replace(clip, masks=clip.masks[:, 1:], labels=clip.labels[1:])
    as_background = losses(collate_clips([known]))
    assert with_region["class"] < as_background["class"]
    for name in ("box", "center", "mask"):
        assert with_region[name] == pytest.approx(as_background[name])
