"""ResNet files of torchvision, detectron2 and MSRA, with small widths, and their network."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor


def resnet_arrays(
    depths: tuple[int, ...] = (1, 2, 1, 1), width: int = 8, factor: int = 2
) -> dict[str, np.ndarray]:
    """Returns a small ResNet under detectron2's names, with detectron2's shapes."""
    rng = np.random.default_rng(5)
    found: dict[str, np.ndarray] = {}

    def conv(name: str, out: int, into: int, size: int) -> None:
        scale = (into * size * size) ** -0.5
        found[f"{name}.weight"] = rng.normal(0, scale, (out, into, size, size)).astype("f4")
        for part in ("weight", "bias", "running_mean"):
            found[f"{name}.norm.{part}"] = rng.normal(0.5, 0.2, out).astype("f4")
        found[f"{name}.norm.running_var"] = rng.uniform(0.5, 2, out).astype("f4")

    conv("stem.conv1", width, 3, 7)
    into = width
    for stage, depth in enumerate(depths):
        out = factor * width << stage
        for block in range(depth):
            where = f"res{stage + 2}.{block}"
            if block == 0:
                conv(f"{where}.shortcut", out, into, 1)
            conv(f"{where}.conv1", out // 4, into, 1)
            conv(f"{where}.conv2", out // 4, out // 4, 3)
            conv(f"{where}.conv3", out, out // 4, 1)
            into = out
    return found


def resnet_outputs(found: dict[str, Any], images: Tensor, *, stride_in_1x1: bool) -> list[Tensor]:
    """Computes a ResNet's four outputs as detectron2 does, from tensors under its names."""

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = torch.as_tensor(found[f"{name}.weight"])
        x = functional.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)
        scale, shift, mean, var = (
            torch.as_tensor(found[f"{name}.norm.{part}"])[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    x = functional.max_pool2d(conv(images, "stem.conv1", 2).relu(), 3, 2, 1)
    outputs = []
    for stage in range(2, 6):
        block = 0
        while f"res{stage}.{block}.conv1.weight" in found:
            where = f"res{stage}.{block}"
            stride = 2 if block == 0 and stage > 2 else 1
            first, second = (stride, 1) if stride_in_1x1 else (1, stride)
            y = conv(x, f"{where}.conv1", first).relu()
            y = conv(conv(y, f"{where}.conv2", second).relu(), f"{where}.conv3")
            x = (y + (conv(x, f"{where}.shortcut", stride) if block == 0 else x)).relu()
            block += 1
        outputs.append(x)
    return outputs


def torchvision_name(name: str) -> str:
    name = name.replace("stem.conv1.norm", "bn1").replace("stem.conv1", "conv1")
    name = name.replace("shortcut.norm", "downsample.1").replace("shortcut", "downsample.0")
    for number in (1, 2, 3):
        name = name.replace(f"conv{number}.norm", f"bn{number}")
    for stage in (2, 3, 4, 5):
        name = name.replace(f"res{stage}.", f"layer{stage - 1}.")
    return name


def caffe2_name(name: str) -> str:
    parts = {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}
    if name.startswith("stem.conv1.norm"):
        name = name.replace("stem.conv1.norm", "res_conv1_bn")
    name = name.replace("stem.conv1.weight", "conv1_w")
    for ours, theirs in parts.items():
        name = name.replace(f".{ours}.norm", f"_{theirs}_bn").replace(
            f".{ours}.weight", f"_{theirs}_w"
        )
    return name.replace("bn.weight", "bn_s").replace("bn.bias", "bn_b").replace(".", "_")


def write_torchvision(found: dict[str, np.ndarray], folder: Path) -> Path:
    path = folder / "resnet50-0676ba61.pth"
    tensors = {torchvision_name(name): torch.from_numpy(a) for name, a in found.items()}
    counters = {
        name.replace("running_var", "num_batches_tracked"): torch.tensor(7)
        for name in tensors
        if name.endswith("running_var")
    }
    head = {"fc.weight": torch.ones(10, 128), "fc.bias": torch.ones(10)}
    torch.save(tensors | counters | head, path)
    return path


def write_detectron2(found: dict[str, np.ndarray], folder: Path) -> Path:
    path = folder / "R-50.pkl"
    head = {"stem.fc.weight": np.ones((10, 128), "f4"), "stem.fc.bias": np.ones(10, "f4")}
    document = {"model": found | head, "__author__": "torchvision", "matching_heuristics": True}
    path.write_bytes(pickle.dumps(document))
    return path


def msra(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Folds the statistics away: MSRA's file has a scale and a shift only."""
    return {name: array for name, array in found.items() if "running" not in name}


def write_msra(found: dict[str, np.ndarray], folder: Path, key: str | None = "model") -> Path:
    path = folder / "R-50.pkl"
    blobs = {caffe2_name(name): array for name, array in msra(found).items()}
    blobs |= {"conv1_b": np.zeros(8, "f4"), "fc1000_w": np.ones((10, 128), "f4")}
    blobs |= {"fc1000_b": np.ones(10, "f4"), "conv1_w_momentum": np.ones(3, "f4")}
    document = blobs if key is None else {key: blobs, "__author__": "Caffe2"}
    path.write_bytes(pickle.dumps(document, protocol=2))
    return path


FILES: dict[str, Callable[[dict[str, np.ndarray], Path], Path]] = {
    "torchvision": write_torchvision,
    "detectron2, of torchvision": write_detectron2,
    "detectron2, of MSRA": write_msra,
    "MSRA, blobs": lambda found, folder: write_msra(found, folder, "blobs"),
    "MSRA, bare": lambda found, folder: write_msra(found, folder, None),
}
