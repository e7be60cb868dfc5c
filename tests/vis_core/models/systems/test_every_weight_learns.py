"""Every trainable weight takes part in every step: several workers wait for it."""

import pytest
import torch

from tests.helpers.presets import combined_config, tiny_config
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.criterion import BoundaryConfig, IdHeadConfig, QualityConfig
from vis_core.config.segmentors import OwnBackbone
from vis_core.config.systems import AnySystemConfig, CtvisConfig
from vis_core.models.systems.build import build_system
from vis_core.structures import Clip

BACKBONES = {
    "resnet": OwnBackbone(
        family="resnet",
        sizes={"embedding_size": 8, "hidden_sizes": [16, 16, 16, 16], "depths": [1, 1, 1, 1]},
    ),
    "swin": OwnBackbone(
        family="swin",
        sizes={"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4},
    ),
    "convnext": OwnBackbone(
        family="convnext", sizes={"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
    ),
}
SYSTEMS: dict[str, AnySystemConfig] = {
    "minvis": tiny_config("minvis"),
    "ctvis": CtvisConfig(segmentor=tiny_config("minvis").segmentor),
    "idol": tiny_config("idol"),
    "stc": tiny_config("stc"),
    "ctvis_on_deformable_detr": combined_config("ctvis"),
    "idol_on_mask2former": combined_config("idol"),
}
EXTRA_HEADS = {"boundary": BoundaryConfig(), "quality": QualityConfig()}
SYSTEMS |= {
    f"{name}_1st": SYSTEMS[name].model_copy(update=EXTRA_HEADS) for name in ("idol", "ctvis")
}
SYSTEMS["idol_id_head"] = SYSTEMS["idol"].model_copy(update={"id_head": IdHeadConfig()})


def clips(kind: str, num_frames: int) -> list[Clip]:
    """Builds two clips, of which the second or both are empty."""
    settings = SceneSettings(height=64, width=96)
    scenes = [render_scene(settings, num_frames, seed) for seed in (3, 4)]
    empty = [Clip(clip.clip_id, clip.images, clip.masks[:, :0], clip.labels[:0]) for clip in scenes]
    return {"full": scenes, "half": [scenes[0], empty[1]], "empty": empty}[kind]


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("kind, num_frames", [("full", 2), ("half", 2), ("empty", 2), ("full", 1)])
def test_every_weight_has_a_gradient(name: str, backbone: str, kind: str, num_frames: int) -> None:
    torch.manual_seed(0)
    config = SYSTEMS[name]
    segmentor = config.segmentor.model_copy(update={"backbone": BACKBONES[backbone]})
    config = config.model_copy(update={"segmentor": segmentor})
    system = build_system(config, len(CLASS_NAMES)).train()
    batch = collate_clips(clips(kind, num_frames))
    losses = system(batch, torch.Generator().manual_seed(0))
    torch.stack(list(losses.values())).sum().backward()
    without = [
        name
        for name, weight in system.named_parameters()
        if weight.requires_grad and weight.grad is None
    ]
    assert not without
