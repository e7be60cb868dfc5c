"""Backbones alone: every tensor of the source arrives, and the features are the source's."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoBackbone,
    ConvNextConfig,
    ConvNextForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
)

from pipelines.registry.foreign_models import as_model_folder, import_weights
from tests.helpers.backbone_files import (
    FILES,
    resnet_arrays,
    resnet_outputs,
    write_msra,
    write_torchvision,
)
from tests.helpers.presets import tiny_config
from vis_core.config.segmentors import BackboneOnly, OwnBackbone
from vis_core.config.systems import AnySystemConfig
from vis_core.errors import CheckpointError
from vis_core.formats.categories import numbered
from vis_core.models.layers.backbone import backbone_config
from vis_core.models.segmentors.pixel_norm import PixelNorm
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system
from vis_core.models.systems.transfer import planned_transfer, start_from

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
RESNET = {"embedding_size": 8, "hidden_sizes": [16, 32, 64, 128], "depths": [1, 2, 1, 1]}
NETWORKS: dict[str, Callable[[], Any]] = {
    "resnet": lambda: ResNetForImageClassification(ResNetConfig(**RESNET)),
    "resnet, stride in the 1x1": lambda: ResNetForImageClassification(
        ResNetConfig(**RESNET, downsample_in_bottleneck=True)
    ),
    "swin": lambda: SwinForImageClassification(
        SwinConfig(embed_dim=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2], window_size=4)
    ),
    "convnext": lambda: ConvNextForImageClassification(
        ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1])
    ),
}


def randomized(network: torch.nn.Module) -> Any:
    """Draws all values, those of norms too, so that no default hides a tensor that is lost."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                values = 0.1 * torch.randn(tensor.shape, generator=draw)
                tensor.copy_(values.abs() + 0.5 if name.endswith("running_var") else values)
    return network.eval()


def pixels() -> Tensor:
    draw = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (1, 3, 128, 192), generator=draw, dtype=torch.uint8)


def loaded(folder: Path) -> Any:
    """Builds the backbone of a converted folder."""
    document = json.loads((folder / "config.json").read_text())
    settings = BackboneOnly.model_validate(document).backbone
    network = AutoBackbone.from_config(backbone_config(settings))
    tensors = load_file(folder / "weights.safetensors")
    tensors = {name.removeprefix("segmentor.backbone."): t for name, t in tensors.items()}
    left, unused = network.load_state_dict(tensors, strict=False)
    assert not unused
    assert all("hidden_states_norms" in name or "swin.layernorm" in name for name in left)
    return network.eval()


def with_bin(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_features_of_a_transformers_folder_are_its_networks(
    kind: str, weights: str, tmp_path: Path
) -> None:
    theirs = randomized(NETWORKS[kind]())
    theirs.save_pretrained(tmp_path / "hub")
    if weights == "pytorch_model.bin":
        with_bin(tmp_path / "hub")
    source = f"hf:{tmp_path / 'hub'}"
    ours = loaded(as_model_folder(source, tmp_path / "cache", backbones=True))
    images = PixelNorm()(pixels(), None)
    with torch.no_grad():
        output = getattr(theirs, theirs.base_model_prefix)(images, output_hidden_states=True)
        states = swin_stages(theirs, images) if kind == "swin" else output.hidden_states[-4:]
        found = ours(images).feature_maps
    for state, feature in zip(states, found, strict=True):
        wanted = state if kind.startswith("resnet") else normalised(state, EPSILONS[kind])
        torch.testing.assert_close(feature, wanted, **CLOSE)


def swin_stages(theirs: Any, images: Tensor) -> list[Tensor]:
    """Returns each Swin stage's output before it is downsampled."""
    states, kept = [], []
    hooks = [
        stage.blocks[-1].register_forward_hook(lambda _m, _i, out: kept.append(out))
        for stage in theirs.swin.encoder.layers
    ]
    theirs(images)
    for level, out in enumerate(kept):
        state = out[0] if isinstance(out, tuple) else out
        height, width = images.shape[2] // 4 >> level, images.shape[3] // 4 >> level
        states.append(state.reshape(1, height, width, -1).permute(0, 3, 1, 2))
    for hook in hooks:
        hook.remove()
    return states


def normalised(state: Tensor, eps: float) -> Tensor:
    """Applies the norm that segmentors add after a stage, with its first values."""
    rows = state.permute(0, 2, 3, 1)
    return functional.layer_norm(rows, rows.shape[-1:], eps=eps).permute(0, 3, 1, 2)


EPSILONS = {"swin": 1e-5, "convnext": 1e-6}


@pytest.mark.parametrize("kind", FILES)
def test_features_of_a_file_are_those_of_its_authors(kind: str, tmp_path: Path) -> None:
    found = resnet_arrays()
    path = FILES[kind](found, tmp_path)
    ours = loaded(as_model_folder(str(path), tmp_path / "cache", backbones=True))
    images = pixels()
    if "MSRA" in kind:
        mean = torch.tensor([103.53, 116.28, 123.675])[:, None, None]
        given = images.flip(1).float() - mean  # BGR, detectron2's PIXEL_MEAN; PIXEL_STD is 1
        found = found | {n: np.zeros_like(a) for n, a in found.items() if "running_mean" in n}
        ones = {n: np.ones_like(a) - 1e-5 for n, a in found.items() if "running_var" in n}
        found = found | ones
    else:
        given = PixelNorm()(images, None)
    with torch.no_grad():
        wanted = resnet_outputs(found, given, stride_in_1x1="MSRA" in kind)
        features = ours(PixelNorm()(images, None)).feature_maps
    for feature, state in zip(features, wanted, strict=True):
        torch.testing.assert_close(feature, state, atol=1e-5 * float(state.abs().max()), rtol=1e-5)


@pytest.mark.parametrize(
    "kind, name", [("torchvision", "resnet50"), ("detectron2, of MSRA", "resnet50_msra")]
)
def test_the_true_sizes_have_the_published_names(kind: str, name: str, tmp_path: Path) -> None:
    path = FILES[kind](resnet_arrays((3, 4, 6, 3), width=64, factor=4), tmp_path)
    folder = as_model_folder(str(path), tmp_path / "cache", backbones=True)
    assert json.loads((folder / "config.json").read_text()) == {"backbone": name}


def systems() -> dict[str, AnySystemConfig]:
    return {name: tiny_config(name) for name in ("ctvis", "minvis", "idol", "stc")}


def with_backbone(config: AnySystemConfig, settings: Any) -> AnySystemConfig:
    segmentor = config.segmentor.model_copy(update={"backbone": settings})
    return config.model_copy(update={"segmentor": segmentor})


@pytest.mark.parametrize("name", ["ctvis", "minvis", "idol", "stc"])
@pytest.mark.parametrize("kind", [*NETWORKS, "detectron2, of MSRA", "torchvision"])
def test_every_backbone_tensor_of_a_system_is_the_sources(
    kind: str, name: str, tmp_path: Path
) -> None:
    if kind in NETWORKS:
        randomized(NETWORKS[kind]()).save_pretrained(tmp_path / "hub")
        source = str(tmp_path / "hub")
    else:
        source = str(FILES[kind](resnet_arrays(), tmp_path))
    folder = as_model_folder(source, tmp_path / "cache", backbones=True)
    settings = BackboneOnly.model_validate(json.loads((folder / "config.json").read_text()))
    config = with_backbone(systems()[name], settings.backbone)
    torch.manual_seed(6)
    system: System = build_system(config, 3)
    before = {key: tensor.clone() for key, tensor in system.state_dict().items()}
    random, unused = start_from(system, folder, numbered(("a", "b", "c")))
    stored = load_file(folder / "weights.safetensors")
    after = system.state_dict()
    prefix = system.backbone_prefix
    taken = set()
    for key, tensor in stored.items():
        ours = prefix + key.removeprefix("segmentor.backbone.")
        if ours in after:
            assert torch.equal(after[ours], tensor), key
            taken.add(ours)
    left = {key for key in random if key.startswith(prefix)}
    fresh = ("hidden_states_norms", "swin.layernorm", "num_batches_tracked")
    assert all(any(word in key for word in fresh) for key in left)
    # an IDOL without counters and the norms of stages that a system does not read
    assert all("num_batches_tracked" in key or "hidden_states_norms" in key for key in unused)
    for key, tensor in after.items():
        if key not in taken:
            assert torch.equal(tensor, before[key]), key
    _, transfer = planned_transfer(config, folder)
    assert transfer.whole == taken
    assert transfer.backbone[0] == len(taken)
    assert "class heads: new" in transfer.describe()


def test_a_backbone_with_the_stride_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = as_model_folder(
        str(write_torchvision(resnet_arrays(), tmp_path)), tmp_path / "cache", backbones=True
    )
    own = OwnBackbone(family="resnet", sizes=RESNET | {"downsample_in_bottleneck": True})
    system = build_system(with_backbone(tiny_config("stc"), own), 2)
    with pytest.raises(CheckpointError, match=r"backbone: expected .*1x1.*found .*3x3.*start from"):
        start_from(system, folder)


def test_a_backbone_alone_annotates_nothing(tmp_path: Path) -> None:
    path = write_msra(resnet_arrays(), tmp_path)
    with pytest.raises(CheckpointError, match="a backbone alone; train a system .*start_from="):
        as_model_folder(str(path), tmp_path / "cache")
    with pytest.raises(CheckpointError, match="a backbone alone"):
        import_weights(str(path), tmp_path / "model", None)
    assert not (tmp_path / "model").exists()


CHANGES: dict[str, tuple[Callable[[dict[str, np.ndarray]], Any], str]] = {
    "missing": (lambda found: found.pop("res3.1.conv2.weight"), "layer.1.convolution.*is missing"),
    "unexpected": (
        lambda found: found.update({"res3.1.conv9.weight": np.ones(3, "f4")}),
        "conv9.weight is unexpected",
    ),
    "misshapen": (
        lambda found: found.update({"res4.0.conv2.weight": np.ones((3, 3, 3, 3), "f4")}),
        r"shape \(3, 3, 3, 3\), expected \(\d+, \d+, 3, 3\)",
    ),
    "scalar": (
        lambda found: found.update({"stem.conv1.weight": np.array(1, "f4")}),
        "R-50|resnet50",
    ),
    "not finite": (lambda found: found["res2.0.conv1.weight"].fill(np.nan), "not finite"),
    "far block": (
        lambda found: found.update({"res3.99999999.conv3.weight": np.ones((32, 8, 1, 1), "f4")}),
        "up to number 99999999",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["torchvision", "detectron2, of torchvision"])
def test_a_mutated_file_is_refused(change: str, kind: str, tmp_path: Path) -> None:
    found = resnet_arrays()
    mutate, words = CHANGES[change]
    mutate(found)
    path = FILES[kind](found, tmp_path)
    with pytest.raises(CheckpointError, match=words) as caught:
        as_model_folder(str(path), tmp_path / "cache", backbones=True)
    assert path.name in str(caught.value)
    assert not list((tmp_path / "cache").glob("*"))


@pytest.mark.parametrize("kind", FILES)
def test_a_truncated_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = FILES[kind](resnet_arrays(), tmp_path)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointError, match=path.name):
            as_model_folder(str(path), tmp_path / "cache", backbones=True)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_mutated_folder_is_refused(kind: str, tmp_path: Path) -> None:
    good = tmp_path / "good"
    randomized(NETWORKS[kind]()).save_pretrained(good)
    weights = load_file(good / "model.safetensors")
    name = (
        next(key for key in sorted(weights) if key.endswith("weight") and "stage" in key)
        if (kind != "swin")
        else next(key for key in sorted(weights) if "layers.1" in key)
    )

    def refused(words: str, *, config: dict | None = None, tensors: dict | None = None) -> None:
        bad = tmp_path / "bad"
        shutil.copytree(good, bad)
        document = json.loads((good / "config.json").read_text()) | (config or {})
        (bad / "config.json").write_text(json.dumps(document))
        if tensors is not None:
            save_file(tensors, bad / "model.safetensors")
        with pytest.raises(CheckpointError, match=words) as caught:
            as_model_folder(str(bad), tmp_path / "cache", backbones=True)
        assert str(bad) in str(caught.value)
        shutil.rmtree(bad)

    refused("is missing", tensors={key: t for key, t in weights.items() if key != name})
    refused("shape", tensors=weights | {name: torch.ones(2, 2)})
    refused("not finite", tensors=weights | {name: torch.full_like(weights[name], torch.nan)})
    refused("is unexpected|missing", tensors=weights | {f"{name}.more": torch.ones(2)})
    refused("hidden_act: expected '.*', found 'silu'", config={"hidden_act": "silu"})
    refused("config of a|depths|missing|unexpected", config={"depths": [1, 1, 1, 1]})
    refused("config", config={"depths": "many"})
    (good / "model.safetensors").unlink()
    refused("expected model.safetensors or pytorch_model.bin, found neither")
