"""CondInst's heads, detections and masks at full size against the authors' numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near, in_double, recorded_values
from tests.helpers.condinst import cases, condinst, maps
from vis_core.config.criterion import LocationLossConfig
from vis_core.config.segmentors import DecodingConfig
from vis_core.geometry.boxes import clipped
from vis_core.geometry.masks import InputSize, full_size_masks, masks_with_confidence
from vis_core.models.criterion.condinst_criterion import semantic_loss
from vis_core.models.criterion.condinst_matching import LocationPredictions, Places
from vis_core.models.importers.published import rename, system_of
from vis_core.models.layers.feature_pyramid import STRIDES
from vis_core.models.layers.location_heads import LocationHead, SummedMaskBranch
from vis_core.models.segmentors.condinst_decoding import detections
from vis_core.models.systems.stc import Stc
from vis_core.structures import FrameTargets

FULL = reference_cases("condinst/condinst_*_parameters.json", always=False)


def predictions_of(values: dict[str, Tensor]) -> LocationPredictions:
    levels = [values[f"logits{n}"] for n in range(len(STRIDES))]
    shapes = [(int(level.shape[2]), int(level.shape[3])) for level in levels]
    places = Places.of(shapes, STRIDES, levels[0])
    logits, reach, center, kernels = (
        maps(values, name) for name in ("logits", "reg", "ctr", "top_feats")
    )
    return LocationPredictions(places, logits, reach, center[..., 0], kernels)


def decoding_of(case: dict[str, Any]) -> DecodingConfig:
    return DecodingConfig(
        score_threshold=case["thresh"],
        threshold_with_center=case["thresh_with_ctr"],
        candidates=case["pre_topk"],
        nms_iou=case["nms_iou_thresh"],
        max_instances=case["post_topk"],
    )


@pytest.mark.parity
@condinst("decode_*.npz")
def test_detections_are_those_of_the_release(path: Path) -> None:
    values, case = recorded_values(path), cases()[path.stem]
    predictions = predictions_of(values)
    for image, kept in enumerate(case["kept"]):
        found = detections(predictions, image, decoding_of(case))
        assert len(found) == kept
        wanted = {
            name: values[f"im{image}_{name}"]
            for name in ("scores", "boxes", "classes", "locations", "fpn_levels", "top_feat")
        }
        order = wanted["scores"].argsort(descending=True, stable=True)
        assert_near(found.scores, wanted["scores"][order])
        assert_near(found.boxes, wanted["boxes"][order])
        assert torch.equal(found.label, wanted["classes"][order])
        assert torch.equal(predictions.places.points[found.place], wanted["locations"][order])
        assert torch.equal(predictions.places.level[found.place], wanted["fpn_levels"][order])
        kernels = predictions.kernels[image, found.place]
        assert torch.equal(kernels, wanted["top_feat"][order])


def test_nms_looks_at_as_many_candidates_as_it_takes() -> None:
    """Places three hundred duplicates before the second object."""
    places = Places.of([(16, 19)], [8], torch.zeros(1))
    total = len(places.level)
    near = torch.zeros(total, 2)
    near[300:] = 20.0 * torch.arange(1, 5)[:, None]
    reach = torch.cat([places.points - near, near + 10 - places.points], dim=1) / 8
    logits = torch.linspace(3, -1, total)[None, :, None]
    nothing = torch.zeros(1, total)
    predictions = LocationPredictions(places, logits, reach[None], nothing, nothing[..., None])
    found = detections(predictions, 0, DecodingConfig(max_instances=3))
    assert found.place.tolist() == [0, 300, 301]


@pytest.mark.parity
@condinst("postprocess*.npz")
def test_masks_at_full_size_are_those_of_the_release(path: Path) -> None:
    values, case = recorded_values(path), cases()[path.stem]
    size = InputSize(*case["image_hw"], *case["padded_hw"], "aligned_probabilities")
    height, width = case["out_hw"]
    boxes = values["in_boxes"] * torch.tensor(
        [width / size.resized_width, height / size.resized_height] * 2
    )
    boxes = clipped(boxes, height, width)
    shown = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    assert_near(boxes[shown], values["out_boxes"])
    assert torch.equal(values["scores"][shown], values["out_scores"])
    logits = torch.logit(values["in_mask_probs"][shown, 0])
    where = (size, (height, width))
    masks = full_size_masks(logits, *where)
    wrong = (masks != values["out_masks"]).float().mean().item()
    assert wrong < 1e-5  # of all pixels: those on the threshold
    same, confidences = masks_with_confidence(logits, *where)
    assert torch.equal(same, masks)
    assert ((confidences >= 0.5 * masks.sum(dim=(1, 2))) & (confidences > 0)).all()


def heads(path: Path, values: dict[str, Tensor]) -> tuple[LocationHead, SummedMaskBranch]:
    """Loads the recorded heads with their weights, in float64."""
    case = cases()[path.stem]
    head = LocationHead(
        case["channels"],
        case["num_cls_convs"],
        case["num_classes"],
        values["out_params0"].shape[1],
        len(STRIDES),
    )
    branch = SummedMaskBranch(
        case["channels"],
        case["mask_branch_channels"],
        case["mask_branch_convs"],
        values["out_mask_feats"].shape[1],
        case["num_classes"],
    )
    tensors = load_file(path.with_name(path.stem.split("_")[0] + "_weights.safetensors"))
    renamed = rename(tensors)
    assert not renamed.unknown
    assert all(name.endswith("num_batches_tracked") for name in renamed.unused)
    for prefix, module in (("segmentor.head.", head), ("segmentor.mask_branch.", branch)):
        own = {
            name.removeprefix(prefix): tensor
            for name, tensor in renamed.tensors.items()
            if name.startswith(prefix)
        }
        missing, unexpected = module.load_state_dict(own, strict=False)
        assert not unexpected
        assert all(name.endswith("num_batches_tracked") for name in missing)
    return head.double().eval(), branch.double().eval()


@pytest.mark.parity
@condinst("heads_forward*.npz")
def test_heads_and_mask_branch_are_those_of_the_release(path: Path) -> None:
    values = in_double(recorded_values(path))
    head, branch = heads(path, values)
    levels = [values[f"in_p{n}"] for n in range(3, 8)]
    with torch.no_grad():
        for number, found in enumerate(head(levels)):
            for name, own in zip(("logits", "reg", "ctr", "params"), found, strict=True):
                # sums of 9 x 32 products that nearly cancel: float32 moves them by 1.4e-5
                assert_near(own, values[f"out_{name}{number}"], share=1e-4)
        assert_near(branch(levels), values["out_mask_feats"])
        logits = branch.semantic_logits(levels)
    assert logits is not None
    targets = [
        FrameTargets(
            values[f"gt{image}_classes"],
            values[f"gt{image}_masks"],
            torch.arange(len(values[f"gt{image}_classes"])),
        )
        for image in range(len(levels[0]))
    ]
    loss = semantic_loss(logits, targets, LocationLossConfig())
    assert_near(loss, values["loss_sem_bn_in_eval_mode"])


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
def test_a_full_size_checkpoint_becomes_an_stc(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shapes: dict[str, list[int]] = json.loads(path.read_text())
    draw = torch.Generator().manual_seed(0)
    tensors = {
        name: 0.02 * torch.randn(shape, generator=draw).abs() for name, shape in shapes.items()
    }
    system, unused = system_of(tensors, path.name)
    assert isinstance(system, Stc)
    assert "has no tracking head" in caplog.text
    settings = system.config.segmentor
    assert settings.backbone == "resnet50_msra"
    assert (settings.width, settings.tower_convs, settings.dynamic_channels) == (256, 4, 8)
    assert (settings.mask_branch_width, settings.mask_branch_convs) == (128, 4)
    assert all(
        name.startswith("mask_head.") or name.endswith("num_batches_tracked") for name in unused
    )
    # the first convolution gets the same input: BGR in steps of 1, RGB in deviations
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8, generator=draw)
    stem = system.segmentor.backbone.embedder.embedder.convolution
    ours = stem(system.segmentor.pixels(image, None))
    mean = torch.tensor([103.53, 116.28, 123.675]).view(1, 3, 1, 1)
    theirs = torch.nn.functional.conv2d(
        image.flip(1).float() - mean,
        tensors["backbone.bottom_up.stem.conv1.weight"],
        stride=2,
        padding=3,
    )
    assert_near(ours, theirs)
    (found,) = system.segment([np.full((64, 96, 3), 100, dtype=np.uint8)])
    assert torch.isfinite(found.scores).all()
