"""Teaches a fresh backbone the classes pixel by pixel, before queries are trained on it.

Published systems start from an ImageNet backbone; there is none for the tiny one. From a random
backbone the queries learn masks but hardly any class (31 % right after 1,000 steps); after 600
steps of this, 65 % (docs/decisions.md).
"""

from collections.abc import Callable, Iterable
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

_DENSE_SEEDS = 5_000_000  # its scenes lie this far behind those of the training that follows
_BATCH = 16  # images
_BACKGROUND_WEIGHT = 0.2


def write_backbone(folder: Path, num_steps: int, seed: int) -> None:
    """Trains the tiny backbone from random weights and writes it, unless it is there.

    Its scenes have seeds that no demonstration, training or test uses.

    Args:
        folder: Of a model of which only the backbone has learnt.
        num_steps: Of 16 images.
        seed: Of weights and scenes.
    """
    if folder.is_dir():
        return
    system = pretrained_segmentor(num_steps, _BATCH, seed)
    write_model_folder(folder, system, numbered(CLASS_NAMES))


def pretrained_segmentor(num_steps: int, batch: int, seed: int) -> Minvis:
    """Makes the tiny system of random weights of which the backbone alone has learnt.

    Args:
        num_steps: Of the backbone; 0 leaves it random.
        batch: Images a step.
        seed: Of weights and scenes.
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
        segmentor: Its backbone is trained in place.
        batches: Still images; at least ``num_steps``.
        num_steps: Length of the one-cycle schedule.
        num_classes: K; background is one more.
        on_step: Is told of each step.
    """
    if num_steps == 0:
        return
    backbone = segmentor.network.model.pixel_level_module.encoder
    heads = nn.ModuleList(nn.Conv2d(width, num_classes + 1, 1) for width in backbone.channels)
    parameters = [*backbone.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=num_steps)
    weight = torch.ones(num_classes + 1)
    weight[-1] = _BACKGROUND_WEIGHT
    for _, batch in zip(range(num_steps), batches, strict=False):
        labels = pixel_labels(batch, num_classes)
        features = backbone(segmentor.normalize(batch.images[:, 0], None)).feature_maps
        losses = []
        for head, feature in zip(heads, features, strict=True):
            stride = labels.shape[1] // feature.shape[2]
            wanted = labels[:, stride // 2 :: stride, stride // 2 :: stride]
            losses.append(functional.cross_entropy(head(feature), wanted, weight))
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        schedule.step()
        on_step()


def pixel_labels(batch: ClipBatch, num_classes: int) -> Tensor:
    """Paints the instances of one-frame clips into (B, H, W) labels; background is K."""
    height, width = batch.images.shape[-2:]
    painted = torch.full((len(batch.labels), height, width), num_classes)
    for row, (masks, labels) in enumerate(zip(batch.masks, batch.labels, strict=True)):
        for mask, label in zip(masks[0], labels, strict=True):
            painted[row][mask] = label
    return painted
