"""Places, their matching and the losses of CondInst against the authors' numbers."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.closeness import assert_near, recorded_values
from tests.helpers.condinst import LEVELS, cases, condinst, maps
from vis_core.config.criterion import LocationLossConfig, LocationMatchingConfig
from vis_core.geometry.masks import aligned_upsampling
from vis_core.models.criterion.condinst_criterion import (
    LocationCriterion,
    centerness,
    distance_ious,
)
from vis_core.models.criterion.condinst_matching import (
    BACKGROUND,
    LocationMatching,
    LocationPredictions,
    Places,
    match_locations,
)
from vis_core.models.criterion.mask import squared_dice_loss
from vis_core.models.layers.dynamic_mask_head import DynamicMaskHead, pixel_centers
from vis_core.models.layers.feature_pyramid import STRIDES
from vis_core.structures import FrameTargets

QUALITIES = {"ctrness": "centerness", "iou": "iou"}
NORMALIZERS = {"fg": "positives", "all": "places", "moving_fg": "moving"}


def by_level(values: dict[str, Tensor], name: str, num_images: int) -> Tensor:
    """Reads a file's values level by level, image by image: (F, L, ...)."""
    levels = [values[f"level{n}_{name}"] for n in LEVELS]
    return torch.cat([own.unflatten(0, (num_images, -1)) for own in levels], dim=1)


@pytest.mark.parity
@condinst("aligned_bilinear_locations*.npz")
def test_places_and_aligned_upsampling_are_those_of_the_release(path: Path) -> None:
    values = recorded_values(path)
    for name in (name for name in values if name.endswith("_in")):
        stem = name.removesuffix("_in")
        grown = aligned_upsampling(values[name].flatten(0, 1), int(values[f"{stem}_factor"]))
        assert_near(grown.view_as(values[f"{stem}_out"]), values[f"{stem}_out"])
    for name in (name for name in values if name.startswith("locations_")):
        size, stride = name.removeprefix("locations_").split("_stride")
        width, height = map(int, size.split("x"))
        assert torch.equal(pixel_centers(height, width, int(stride), values[name]).T, values[name])


@pytest.mark.parity
@condinst("mask_head_*.npz")
def test_masks_are_those_of_condinst(path: Path) -> None:
    values, case = recorded_values(path), cases()[path.stem]
    head = DynamicMaskHead(
        case["in_channels"],
        case["channels"],
        case["num_layers"],
        case["mask_feat_stride"],
        relative_coordinates=not case["disable_rel_coords"],
        upsampling=case["mask_feat_stride"] // case["mask_out_stride"],
    )
    assert head.num_parameters == case["num_gen_params"]
    scale = torch.tensor(case["sizes_of_interest"])[values["fpn_levels"]].float()
    for row, image in enumerate(values["im_inds"].tolist()):
        one = slice(row, row + 1)
        found = head(
            values["mask_feats"][image], values["params"][one], values["locations"][one], scale[one]
        )
        assert_near(found, values["mask_logits"][row])


@pytest.mark.parity
@condinst("assign_*.npz")
def test_every_place_learns_what_it_learns_in_the_release(path: Path) -> None:
    values, case = recorded_values(path), cases()[path.stem]
    num_images = case["num_images"]
    places = Places.of(case["level_sizes"], case["strides"], torch.zeros(1))
    config = LocationMatchingConfig(center_sampling=case["center_sample"], radius=case["radius"])
    labels = by_level(values, "labels", num_images)
    targets = by_level(values, "target_inds", num_images)
    distances = by_level(values, "reg_targets", num_images)
    first, num_positives = 0, torch.zeros(len(STRIDES), dtype=torch.int64)
    for image in range(num_images):
        boxes, classes = values[f"gt{image}_boxes"], values[f"gt{image}_classes"]
        masks = values.get(f"gt{image}_masks")
        found = match_locations(places, boxes, config, masks)
        own = found.positives
        wanted = (labels[image] != case["background_label"]).nonzero().flatten()
        assert torch.equal(own, wanted)
        assert torch.equal(classes[found.instance[own]], labels[image, own])
        assert torch.equal(found.instance[own] + first, targets[image, own])
        assert_near(found.distances[own], distances[image, own])
        first += len(boxes)
        num_positives += places.level[own].bincount(minlength=len(STRIDES))
    assert num_positives.tolist() == case["positives_per_level"]


@pytest.mark.parity
@condinst("dice_ctrness*.npz")
def test_dice_and_centerness_are_those_of_the_release(path: Path) -> None:
    values = recorded_values(path)
    logits = torch.logit(values["scores"].double()).flatten(1)
    found = squared_dice_loss(logits, values["target"].double().flatten(1))
    assert_near(found.float(), values["dice_loss"])
    assert_near(centerness(values["ltrb"]), values["centerness"])


class RecordedLosses:
    """A recorded batch: predictions that collect gradients, truth, matching, criterion."""

    def __init__(self, path: Path) -> None:
        self.values, case = recorded_values(path), cases()[path.stem]
        self.maps = {
            f"{name}{n}": self.values[f"{name}{n}"].requires_grad_()
            for name in ("logits", "reg", "ctr")
            for n in LEVELS
        }
        shapes = [(int(m.shape[2]), int(m.shape[3])) for m in map(self._level, LEVELS)]
        places = Places.of(shapes, STRIDES, self._level(0))
        self.has_masks = "mask_feats" in self.values
        num_images = len(self._level(0))
        kernels = maps(self.values, "top_feats") if self.has_masks else None
        self.predictions = LocationPredictions(
            places,
            maps(self.maps, "logits"),
            maps(self.maps, "reg"),
            maps(self.maps, "ctr")[..., 0],
            torch.zeros(num_images, len(places.level), 1) if kernels is None else kernels,
        )
        config = LocationMatchingConfig()
        self.matched: list[LocationMatching] = []
        self.targets: list[FrameTargets] = []
        for image in range(num_images):
            boxes, labels = (self.values[f"gt{image}_{name}"] for name in ("boxes", "classes"))
            masks = self.values.get(f"gt{image}_masks")
            self.matched.append(match_locations(places, boxes, config, masks))
            blank = torch.zeros(len(labels), 4, 4, dtype=torch.bool)
            shown = blank if masks is None else masks
            self.targets.append(FrameTargets(labels, shown, torch.arange(len(labels))))
        self.config = LocationLossConfig.model_validate(
            {
                "focal_alpha": case["alpha"],
                "focal_gamma": case["gamma"],
                "box_loss": case["loc_loss"],
                "box_quality": QUALITIES[case["box_quality"]],
                "class_normalizer": NORMALIZERS[case["normalizer"]],
                "max_masks": None,
            }
        )
        if self.has_masks:
            self.features = self.values["mask_feats"].requires_grad_()
            self.head = DynamicMaskHead(self.features.shape[1])

    def _level(self, number: int) -> Tensor:
        return self.maps[f"logits{number}"]

    def masks_of(self, frame: int, places: Tensor) -> Tensor:
        if not self.has_masks:
            return torch.zeros(len(places), 1, 1)
        own = self.predictions.places
        masks: Tensor = self.head(
            self.features[frame],
            self.predictions.kernels[frame, places],
            own.points[places],
            own.scale[places],
        )
        return masks

    def losses(self, config: LocationLossConfig) -> dict[str, Tensor]:
        criterion = LocationCriterion(LocationMatchingConfig(), config)
        found: dict[str, Tensor] = criterion(
            self.predictions, self.masks_of, self.targets, self.matched, None
        )
        return found


@pytest.mark.parity
@condinst("losses_*.npz")
def test_losses_and_gradients_are_those_of_the_release(path: Path) -> None:
    batch = RecordedLosses(path)
    values = batch.values
    found = batch.losses(batch.config)
    third = "iou" if batch.config.box_quality == "iou" else "ctr"
    for name, theirs in (("class", "cls"), ("box", "loc"), ("center", third)):
        assert_near(found[name], values[f"loss_fcos_{theirs}"])
    sum(found[name] for name in ("class", "box", "center")).backward(retain_graph=True)  # type: ignore[union-attr]
    for name, leaf in batch.maps.items():
        assert leaf.grad is not None
        expected = values[f"grad_{name}"]
        assert_near(leaf.grad, expected)
    assert_same_positives(batch)
    if batch.has_masks:
        assert_near(found["mask"], values["loss_mask"])
        found["mask"].backward()
        assert_near(batch.features.grad, values["grad_mask_feats"])


def assert_same_positives(batch: RecordedLosses) -> None:
    """Compares indices in the release's order: level, image, place."""
    places, values = batch.predictions.places, batch.values
    num_images = len(batch.matched)
    counts = places.level.bincount()
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)[:-1]])
    found = {}
    for image, matching in enumerate(batch.matched):
        for place in matching.positives.tolist():
            level = int(places.level[place])
            inside = place - int(starts[level])
            index = num_images * int(starts[level]) + image * int(counts[level]) + inside
            found[index] = (image, place)
    assert sorted(found) == values["pos_inds"].tolist()
    ious = [
        distance_ious(
            batch.predictions.distances[image, [place]], batch.matched[image].distances[[place]]
        )
        for image, place in map(found.__getitem__, values["pos_inds"].tolist())
    ]
    for column, name in enumerate(("pos_ious", "pos_gious")):
        own = torch.cat([pair[column] for pair in ious]).detach()
        assert_near(own, values[name])


@pytest.mark.parity
@condinst("losses_default*.npz")
def test_the_best_places_of_every_instance_are_those_of_the_release(path: Path) -> None:
    batch = RecordedLosses(path)
    limit = cases()[path.stem]["topk_proposals_per_im"]
    config = batch.config.model_copy(update={"masks_per_image": limit})
    found = batch.losses(config)["mask"]
    assert_near(found, batch.values[f"loss_mask_topk{limit}"])


def test_no_instance_and_no_place_near_one() -> None:
    places = Places.of([(2, 2)], [8], torch.zeros(1))
    nothing = match_locations(places, torch.zeros(0, 4), LocationMatchingConfig())
    assert nothing.instance.tolist() == [BACKGROUND] * 4
    # strictly inside: a box that ends at the place does not contain it
    box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    rule = LocationMatchingConfig(center_sampling=False)
    assert match_locations(places, box, rule).instance.tolist() == [BACKGROUND] * 4
    assert match_locations(places, box + 1, rule).instance.tolist() == [0] + [BACKGROUND] * 3


def test_drawn_masks_are_the_same_for_the_same_seed() -> None:
    """Draws 5 of two instances' 18 places."""
    shapes = [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
    places = Places.of(shapes, STRIDES, torch.zeros(1))
    masks = torch.zeros(2, 128, 128, dtype=torch.bool)
    masks[0, 8:56, 8:56] = masks[1, 64:120, 64:120] = True
    target = FrameTargets(torch.tensor([0, 1]), masks, torch.arange(2))
    total = len(places.level)
    predictions = LocationPredictions(
        places, torch.zeros(1, total, 2), torch.ones(1, total, 4), torch.zeros(1, total),
        torch.zeros(1, total, 1),
    )  # fmt: skip
    criterion = LocationCriterion(LocationMatchingConfig(), LocationLossConfig(max_masks=5))
    matched = criterion.match(predictions, [target])
    assert len(matched[0].positives) > 10
    drawn: list[list[int]] = []

    def masks_of(frame: int, own: Tensor) -> Tensor:
        drawn.append([frame, *own.tolist()])
        return torch.zeros(len(own), 32, 32)

    for seed in (1, 1, 2):
        draw = torch.Generator().manual_seed(seed)
        losses = criterion(predictions, masks_of, [target], matched, draw)
        assert 0 < float(losses["mask"]) < 1
    assert len(drawn[0]) == 6
    assert drawn[0] == drawn[1] != drawn[2]
