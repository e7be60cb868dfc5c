"""Export and ensemble find all results of a folder, whichever commands wrote them."""

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.cli import main
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.results.index import choose_results
from pipelines.storage.base import StoredObject
from pipelines.storage.open import open_storage
from tests.helpers.many_commands import VIDEOS, WAYS, Command, run_all
from tests.helpers.toy_archive import toy_model, write_clip
from tests.helpers.toy_system import square_frames
from vis_core.errors import ConfigError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes the videos of two cameras, each with other content."""
    folder = tmp_path_factory.mktemp("cameras")
    for number, name in enumerate(VIDEOS):
        write_clip(folder / name, [frame.image for frame in square_frames(3 + number)])
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelReference:
    return toy_model(tmp_path_factory.mktemp("model"))


def exported(folder: Path) -> list[str]:
    """Returns the names of the videos that were exported, without their folders."""
    names = [json.loads(path.read_text())["info"]["video"] for path in folder.iterdir()]
    return sorted(name.rpartition("/")[2] for name in names)


EVERY = sorted(name.rpartition("/")[2] for name in VIDEOS)


@pytest.mark.parametrize("at_once", [False, True], ids=["in turn", "at once"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_all_results_of_several_commands_are_exported_and_fused(
    way: Callable[[str, Path], list[Command]],
    at_once: bool,
    root: Path,
    model: ModelReference,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, files = tmp_path / "out", tmp_path / "files"
    run_all(way(str(root), tmp_path), str(out), model, at_once=at_once)
    assert main(["export", str(out), "--out", str(files)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"4 YouTube-VIS files written: {files}"
    assert exported(files) == EVERY
    assert len(list((out / "results").iterdir())) == 4
    # by folder, camA/x.mp4 and camB/x.mp4 are both x.mp4, which is said
    assert len(said) == 1 + (way.__name__ in ("by_folder", "by_file"))
    fused = tmp_path / "fused"
    assert main(["ensemble", "--inputs", str(out), str(out), "--out", str(fused)]) == 0
    assert "4 videos: 4 fused" in capsys.readouterr().out
    assert main(["export", str(fused), "--out", str(tmp_path / "again")]) == 0
    assert exported(tmp_path / "again") == EVERY


def test_a_command_that_was_killed_loses_no_result(
    root: Path, model: ModelReference, tmp_path: Path
) -> None:
    Command(str(root)).run(str(tmp_path / "out"), model)
    (tmp_path / "out" / "manifest.json").unlink()
    assert main(["export", str(tmp_path / "out"), "--out", str(tmp_path / "files")]) == 0
    assert exported(tmp_path / "files") == EVERY


@pytest.fixture
def two_models(root: Path, model: ModelReference, tmp_path: Path) -> Path:
    """Writes a folder with old results, and a new one with other settings."""
    out = tmp_path / "out"
    Command(str(root)).run(str(out), model)
    for path in (out / "results").iterdir():
        os.utime(path, (time.time() - 3600,) * 2)
    Command(str(root), ("*A/x.mp4",), max_frames=1).run(str(out), model)
    return out


def test_several_settings_are_said_and_the_newest_is_chosen(
    two_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = tmp_path / "files"
    assert main(["export", str(two_models), "--out", str(files), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["written"] == 1 and list(document["left_out"].values()) == [4]
    assert main(["export", str(two_models), "--out", str(files)]) == 0
    first, used, left_out, last = capsys.readouterr().out.splitlines()
    assert first == f"{two_models}: several models or settings; choose with --params-hash"
    assert used.startswith(f"  used: {document['params_hash'][:12]}, 1 results until ")
    assert "model toy 3, max_frames 1" in used
    assert "max_frames 1" in used and "max_frames 2" in left_out and "4 results" in left_out
    assert last == f"0 YouTube-VIS files written; 1 were there: {files}"
    (other,) = document["left_out"]
    command = ["export", str(two_models), "--out", str(tmp_path / "old"), "--params-hash"]
    assert main([*command, other[:6]]) == 0
    assert exported(tmp_path / "old") == EVERY
    capsys.readouterr()
    assert main([*command, "zzz"]) == 2
    assert "--params-hash zzz: expected one of" in capsys.readouterr().err
    assert main([*command, other, "--params-hash", document["params_hash"]]) == 2
    assert "expected one of them" in capsys.readouterr().err


def test_ensemble_chooses_one_settings_of_each_input(
    two_models: Path,
    root: Path,
    model: ModelReference,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other"
    Command(str(root)).run(str(other), replace(model, name="new", digest="e" * 64))
    command = ["ensemble", "--inputs", str(two_models), str(other)]
    assert main([*command, "--out", str(tmp_path / "one")]) == 0
    said = capsys.readouterr().out
    assert f"{two_models}: several models or settings" in said
    assert "4 videos: 0 fused, 4 not" in said, "the newest has one frame of one video"
    (chosen,) = choose_results([open_storage(two_models)])
    old = chosen.left_out[0].params_hash
    assert main([*command, "--out", str(tmp_path / "two"), "--params-hash", old]) == 0
    assert "4 videos: 4 fused" in capsys.readouterr().out


def test_what_is_no_result_is_passed_over_and_said(
    root: Path, model: ModelReference, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    Command(str(root)).run(str(out), model)
    stray = {"a.json": "[1]", "b.json": "", "c.json": '{"info": {}}', "d.json": '{"info": 1}'}
    for name, text in (stray | {"e.json": "\xff", "notes.txt": "x"}).items():
        (out / "results" / name).write_text(text, encoding="latin-1")
    assert main(["export", str(out), "--out", str(tmp_path / "files")]) == 0
    assert exported(tmp_path / "files") == EVERY
    assert "5 entries such as results/a.json: not a result; passed over" in caplog.text


def test_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ConfigError, match="no result in results/; give the --out"):
            choose_results([open_storage(folder)])


class _Stub:
    """A store with many results, which it makes up and counts."""

    uri = "stub://many"

    def __init__(self, count: int) -> None:
        self.count, self.listed, self.read_at_once = count, 0, 0
        self._lock = threading.Lock()

    def list(self, prefix: str = ""):
        for number in range(self.count):
            self.listed += 1
            yield StoredObject(f"{prefix}{number:064x}.json", 1)

    def read(self, key: str) -> bytes:
        with self._lock:
            self.read_at_once = max(self.read_at_once, self.listed - int(key[8:-5], 16))
        info = {"video": key, "video_version": "v", "params_hash": "p", "settings": {}}
        return json.dumps({"info": info, "tracks": [0] * 2000}).encode()


def test_the_results_are_listed_page_by_page_in_flat_memory() -> None:
    store = _Stub(5000)
    (chosen,) = choose_results([store])  # type: ignore[list-item]
    assert len(chosen.group.keys) == 5000
    assert store.read_at_once <= 1000, "the listing does not run ahead of the reading"
