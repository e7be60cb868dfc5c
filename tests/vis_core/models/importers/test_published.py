"""The authors' networks inside ours: names, sizes and every output (reference ctvis/, 4)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near, recorded_values
from vis_core.errors import CheckpointError
from vis_core.models.importers.config_from_shapes import mask2former_num_classes_of
from vis_core.models.importers.published import import_official, system_of
from vis_core.models.systems.base import System
from vis_core.models.systems.ctvis import Ctvis

TINY = reference_cases("ctvis/mask2former_tiny_*.safetensors")
FULL = reference_cases("ctvis/ctvis_*_parameters.json", always=False)


def tiny_tensors() -> dict[str, torch.Tensor]:
    return load_file(TINY[0])


@pytest.mark.parity
@pytest.mark.parametrize("path", TINY, ids=lambda path: path.stem)
def test_every_layer_gives_what_the_authors_network_gives(path: Path) -> None:
    system, unused = system_of(load_file(path), path.name)
    system = system.double()  # none of our own noise: only that of the recorded float32 remains
    assert isinstance(system, Ctvis)
    assert all("criterion" in name or "relative_position_index" in name for name in unused)
    values = recorded_values(path.with_suffix(".npz"))
    height, width = values["images_uint8"].shape[2:]
    padded = values["pixel_values_padded"].shape[2:]
    count = len(values["images_uint8"])
    images = torch.zeros(count, 3, *padded, dtype=torch.uint8)
    images[:, :, :height, :width] = values["images_uint8"]
    sizes = torch.tensor([[height, width]] * count)
    pixels = system.segmentor.normalize(images, sizes)
    assert_near(pixels, values["pixel_values_padded"])
    with torch.no_grad():
        output = system.segmentor(images, sizes)
        states = system.embed(output.queries.double())
        maps = system.segmentor.network.model.pixel_level_module(pixels, output_hidden_states=True)
    for name, found in (
        *((f"feature_res{n}", found) for n, found in enumerate(maps.encoder_hidden_states, 2)),
        *((f"multi_scale_{n}", found) for n, found in enumerate(maps.decoder_hidden_states)),
        ("mask_features", maps.decoder_last_hidden_state),
    ):
        assert_near(found, values[name])
    predictions = output.predictions
    assert_near(predictions.class_logits, values["layer_logits"])
    assert_near(predictions.mask_logits, values["layer_masks"])
    assert_near(output.queries, values["layer_queries"][-1])
    assert_near(states, values["layer_reid_embeds"][-1])


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
def test_a_full_size_checkpoint_loads_with_nothing_missing(path: Path, tmp_path: Path) -> None:
    shapes = json.loads(path.read_text())["parameters"]
    draw = torch.Generator().manual_seed(0)
    tensors = {
        name: 0.02 * torch.randn(shape, generator=draw).abs() for name, shape in shapes.items()
    }
    torch.save({"model": tensors, "iteration": 1}, tmp_path / "model_final.pth")
    del tensors
    system, unused = import_official(tmp_path / "model_final.pth")
    (tmp_path / "model_final.pth").unlink()
    assert isinstance(system, Ctvis)
    assert system.num_classes == mask2former_num_classes_of(shapes)
    swin = "SwinL" in path.stem
    assert system.config.segmentor.backbone == ("swin_l" if swin else "resnet50")
    assert system.config.segmentor.num_queries == (200 if swin else 100)
    assert "criterion.empty_weight" in unused
    if not swin:
        (instances,) = system.segment([np.full((64, 96, 3), 100, dtype=np.uint8)])
        assert torch.isfinite(instances.scores).all()


def test_missing_unexpected_and_misshaped_tensors_are_all_named() -> None:
    tensors = tiny_tensors()
    del tensors["sem_seg_head.predictor.decoder_norm.bias"]
    tensors["roi_heads.weight"] = torch.ones(2)
    tensors["sem_seg_head.predictor.class_embed.bias"] = torch.ones(3)
    tensors["sem_seg_head.predictor.query_embed.weight"][0] = float("nan")
    with pytest.raises(CheckpointError) as caught:
        system_of(tensors, "model.pth")
    for word in (
        "roi_heads.weight is unexpected",
        "decoder.layernorm.bias is missing",
        "class_predictor.bias has shape (3,), expected (6,)",
        "queries_embedder.weight holds values that are not finite",
    ):
        assert word in str(caught.value)


def test_without_an_embedding_head_it_is_minvis() -> None:
    tensors = {name: t for name, t in tiny_tensors().items() if "reid_embed" not in name}
    system, _ = system_of(tensors, "model.pth")
    assert isinstance(system, System)
    assert system.config.name == "minvis"


def test_a_checkpoint_of_something_else_says_what_it_lacks() -> None:
    with pytest.raises(CheckpointError, match=r"other\.pth: .*query_feat\.weight is missing"):
        system_of({"backbone.stem.weight": torch.ones(1)}, "other.pth")
