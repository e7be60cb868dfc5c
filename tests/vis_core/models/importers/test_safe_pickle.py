"""Pickled checkpoints: the tensors are read, and no code of a hostile file runs."""

import json
import pickle
import resource
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import data_dir_or_none
from vis_core.errors import CheckpointError
from vis_core.models.importers.safe_pickle import read_pickled_tensors


def hostile_pickles() -> list[Path]:
    folder = data_dir_or_none()
    if folder is None:
        return []
    manifest = json.loads((folder / "hostile" / "manifest.json").read_text())
    entries = manifest.get("entries") or manifest["files"]
    listed = [
        folder / "hostile" / entry["file"]
        for entry in entries
        if entry["kind"] == "checkpoint" and entry["expect"] == "reject"
    ]
    more = json.loads((folder / "hostile_more" / "expected.json").read_text())
    listed += [folder / "hostile_more" / name for name in more if name.startswith("models/")]
    return [path for path in listed if path.suffix in (".pt", ".pth", ".pkl")]


@pytest.mark.data
@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("path", hostile_pickles(), ids=lambda path: path.name)
def test_a_hostile_pickle_is_refused_and_never_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError) as caught:
        read_pickled_tensors(path)
    assert path.name in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_what_torch_saves_is_read_whole(dtype: torch.dtype, tmp_path: Path) -> None:
    base = torch.arange(24).reshape(4, 6).to(dtype)
    saved = OrderedDict(whole=base, turned=base.T, part=base[1:3, ::2], none=base[:0])
    torch.save({"model": saved, "iteration": 7}, tmp_path / "a.pth")
    found = read_pickled_tensors(tmp_path / "a.pth")
    assert found.keys() == saved.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in saved.items())


@pytest.mark.parametrize("value", [np.float64(0.5), np.int64(3), np.float32(1), np.bool_(True)])
@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_a_numpy_scalar_beside_the_weights_is_no_obstacle(value, suffix, tmp_path: Path) -> None:
    path, weights = tmp_path / f"a{suffix}", np.arange(4, dtype=np.float32)
    if suffix == ".pth":
        torch.save({"model": {"w": torch.from_numpy(weights)}, "best": value}, path)
    else:
        path.write_bytes(pickle.dumps({"model": {"w": weights}, "best": value}))
    assert torch.equal(read_pickled_tensors(path)["w"], torch.from_numpy(weights))


@pytest.mark.parametrize("value", [Path("x"), Counter("aab"), defaultdict(int), Namespace(a=1)])
def test_a_training_state_is_refused_with_the_mend_for_its_owner(value, tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.zeros(2)}, "args": value}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"which is not run; .*checkpoint\[\"model\"\]"):
        read_pickled_tensors(tmp_path / "a.pth")


def test_pickles_of_arrays_are_read(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32(2)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"model": arrays, "__author__": "x"}))
    found = read_pickled_tensors(tmp_path / "a.pkl")
    assert torch.equal(found["a"], torch.arange(6.0).reshape(2, 3))
    assert found["b"] == 2


@pytest.mark.parametrize(
    ("content", "word"),
    [({"model": {"a": 3}}, "holds no tensor"), ([1, 2], "mapping of names")],
)
def test_a_pickle_without_tensors_is_refused(content: object, word: str, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match=word):
        read_pickled_tensors(tmp_path / "a.pkl")


def test_every_cut_of_a_file_is_an_error_of_ours(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(3)}}, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for end in range(0, len(whole), 37):
        (tmp_path / "cut.pth").write_bytes(whole[:end])
        with pytest.raises(CheckpointError, match=r"cut\.pth"):
            read_pickled_tensors(tmp_path / "cut.pth")
