"""Pretraining of the tiny backbone by pixel classification, before training from scratch.

Published systems start from an ImageNet backbone, which the tiny system lacks. From a random
backbone, the queries learn masks but hardly any classes. After 1,000 steps, 31 % of matched queries
have the right class, or 65 % if 600 steps of this pretraining come first (docs/decisions.md).
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from pipelines.progress import Progress
from pipelines.registry.foreign_models import write_model_folder
from vis_core.clips.scene_batches import first_scene, scene_batches
from vis_core.clips.scenes import CLASS_NAMES
from vis_core.config.tiny import tiny_minvis
from vis_core.formats.categories import numbered
from vis_core.models.segmentors.mask2former import Mask2Former
from vis_core.models.systems.minvis import Minvis
from vis_core.structures import ClipBatch

_DENSE_SEEDS = 5_000_000  # offset of these scene seeds from those of later training
_BATCH = 16  # images
_BACKGROUND_WEIGHT = 0.2


def write_backbone(folder: Path, num_steps: int, seed: int) -> None:
    """Trains the tiny backbone on 16 images per step and writes it, unless the folder exists.

    No demonstration, test or other training uses the same scene seeds.
    """
    if not folder.is_dir():
        system = pretrained_segmentor(num_steps, _BATCH, seed)
        write_model_folder(folder, system, numbered(CLASS_NAMES))


def pretrained_segmentor(num_steps: int, batch: int, seed: int) -> Minvis:
    """Builds the tiny system with random weights and pretrains its backbone.

    ``batch`` is the number of images per step; with 0 steps, the backbone stays random.
    """
    torch.manual_seed(seed)
    system = Minvis(tiny_minvis(), len(CLASS_NAMES)).train()
    batches = scene_batches(num_steps, batch, first_scene(seed) + _DENSE_SEEDS)
    with Progress(num_steps, "steps", "backbone") as progress:
        pretrain_backbone(
            system.segmentor, batches, num_steps, len(CLASS_NAMES), lambda: progress.update(1)
        )
    return system


def pretrain_backbone(
    segmentor: Mask2Former,
    batches: Iterable[ClipBatch],
    num_steps: int,
    num_classes: int,
    on_step: Callable[[], None],
) -> None:
    """Trains the backbone with a linear pixel classifier on each of its four outputs.

    Args:
        segmentor: Segmentor whose backbone is trained in place.
        batches: At least ``num_steps`` batches of still images.
        num_steps: Length of the one-cycle schedule.
        num_classes: Number K of classes, not counting the background.
        on_step: Called after each step.
    """
    if num_steps == 0:
        return
    backbone = segmentor.network.model.pixel_level_module.encoder
    heads = nn.ModuleList(nn.Conv2d(width, num_classes + 1, 1) for width in backbone.channels)
    parameters = [*backbone.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=num_steps)
    for _, batch in zip(range(num_steps), batches, strict=False):
        features = backbone(segmentor.normalize(batch.images[:, 0], None)).feature_maps
        optimizer.zero_grad()
        _pixel_loss(heads, features, pixel_labels(batch, num_classes), num_classes).backward()
        optimizer.step()
        schedule.step()
        on_step()


def _pixel_loss(
    heads: nn.ModuleList, features: Sequence[Tensor], labels: Tensor, num_classes: int
) -> Tensor:
    """Computes the summed cross-entropy of all heads; a cell's label is that of its centre."""
    weight = torch.ones(num_classes + 1)
    weight[-1] = _BACKGROUND_WEIGHT
    losses = []
    for head, feature in zip(heads, features, strict=True):
        stride = labels.shape[1] // feature.shape[2]
        targets = labels[:, stride // 2 :: stride, stride // 2 :: stride]
        losses.append(functional.cross_entropy(head(feature), targets, weight))
    return torch.stack(losses).sum()


def pixel_labels(batch: ClipBatch, num_classes: int) -> Tensor:
    """Draws the instances of one-frame clips as (B, H, W) labels; the background is K."""
    height, width = batch.images.shape[-2:]
    pixels = torch.full((len(batch.labels), height, width), num_classes)
    for row, (masks, labels) in enumerate(zip(batch.masks, batch.labels, strict=True)):
        for mask, label in zip(masks[0], labels, strict=True):
            pixels[row][mask] = label
    return pixels
