"""Pseudo-videos in a folder: the same at any parallelism, resumable, never overwritten."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.options import CONFIGS
from pipelines.config.loading import load_run_config
from pipelines.data import pseudo_videos
from pipelines.data.pseudo_videos import (
    find_pseudo_videos,
    generate_pseudo_videos,
    num_pseudo_clips,
)
from tests.conftest import ROOT
from tests.helpers.clips import disc_masks, textured_image
from vis_core.clips.rows import classes_of_schema
from vis_core.clips.sources import ParquetClips, PseudoClips
from vis_core.config.clips import FixedSize, PseudoConfig
from vis_core.errors import ConfigError, ImageError
from vis_core.formats.categories import numbered
from vis_core.formats.coco import ImageRecord, write_coco
from vis_core.media.images import encode_jpeg
from vis_core.rle.segmentation import encode_masks

pytestmark = pytest.mark.ray
with_ray = pytest.mark.usefixtures("ray_cluster")

SMALL = PseudoConfig(size=FixedSize(height=48, width=64), num_frames=2)
CATEGORIES = numbered(["cat", "dog"])
PLACES = ((30, 25, 12), (60, 30, 14))


def write_images(folder, count):
    """Writes images with two discs each; the last one is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    rles = tuple(encode_masks(disc_masks(60, 90, PLACES)))
    records = []
    for image_id in range(1, count + 1):
        path = folder / f"{image_id:06d}.jpg"
        path.write_bytes(encode_jpeg(textured_image(60, 90, image_id)))
        shown = image_id < count
        records.append(
            ImageRecord(image_id, str(path), 60, 90, (0, 1) * shown, rles if shown else ())
        )
    return records


def rows_digest(folder):
    """Returns the digest of all stored rows, ordered by clip name."""
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    rows = sorted((row for t in tables for row in t.to_pylist()), key=lambda r: r["clip_id"])
    return len(rows), hashlib.sha256(repr(rows).encode()).hexdigest()


def _generate(records, out, **changes):
    arguments = {"seed": 5, "clips_per_image": 5} | changes
    config = arguments.pop("config", SMALL)
    return generate_pseudo_videos(records, CATEGORIES, config, out, **arguments)


def _no_litter(out):
    return [p.name for p in out.parent.iterdir() if p.name.startswith(f".{out.name}")] == [] and [
        p.name for p in out.iterdir() if p.name.startswith(".")
    ] == []


@with_ray
def test_the_same_clips_are_stored_at_any_parallelism(tmp_path, monkeypatch):
    monkeypatch.setattr(pseudo_videos, "CLIPS_PER_SHARD", 7)
    records = write_images(tmp_path / "images", 13)
    digests = set()
    for blocks in (2, 7):
        progress = []
        out = tmp_path / f"blocks{blocks}"
        monkeypatch.setattr(pseudo_videos, "_MAX_BLOCKS", blocks)
        made = _generate(records, out, on_progress=progress.append)
        assert made.made and made.num_clips == sum(progress) == num_pseudo_clips(records, 5) == 60
        assert not made.failed and _no_litter(out)
        digests.add(rows_digest(out))
    assert len(digests) == 1
    source, stored = PseudoClips(records, SMALL, 5), ParquetClips(tmp_path / "blocks2")
    assert len(stored) == len(source) == 60
    for index in (0, 17, 59):
        expected, found = source.clip(index, 5), stored.clip(index, 0)
        assert found.clip_id == expected.clip_id
        assert np.array_equal(found.masks, expected.masks)
        assert found.labels.tolist() == expected.labels.tolist()
    schema = pq.read_schema(next((tmp_path / "blocks2").glob("*.parquet")))
    assert classes_of_schema(schema, "shard") == CATEGORIES


@with_ray
def test_a_finished_folder_is_left_alone_and_other_settings_are_named(tmp_path):
    records = write_images(tmp_path / "images", 4)
    out = tmp_path / "clips"
    first = _generate(records, out)
    stamps = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    progress = []
    again = _generate(records, out, on_progress=progress.append)
    assert first.made and not again.made and again.num_clips == 15 == sum(progress)
    assert stamps == {path: path.stat().st_mtime_ns for path in out.iterdir()}
    moved = [replace(r, path=str(tmp_path / "elsewhere" / r.path.split("/")[-1])) for r in records]
    assert not _generate(moved, out).made
    for changes, key in (
        ({"seed": 6}, "seed is 5 there, now 6"),
        ({"clips_per_image": 2}, "clips_per_image is 5 there, now 2"),
        ({"config": SMALL.model_copy(update={"max_angle_deg": 3.0})}, "pseudo.max_angle_deg"),
    ):
        with pytest.raises(ConfigError, match=key):
            _generate(records, out, **changes)
    with pytest.raises(ConfigError, match="images and annotations"):
        _generate(records[:2], out)
    assert find_pseudo_videos(records, CATEGORIES, SMALL, out, 5, 5) == again
    assert find_pseudo_videos(records, CATEGORIES, SMALL, tmp_path / "new", 5, 5) is None
    assert stamps == {path: path.stat().st_mtime_ns for path in out.iterdir()}


@with_ray
def test_a_folder_with_other_files_is_never_touched(tmp_path):
    records = write_images(tmp_path / "images", 3)
    with pytest.raises(ConfigError, match="empty or new folder"):
        _generate(records, tmp_path / "images")
    assert len(list((tmp_path / "images").iterdir())) == 3


@with_ray
def test_a_bad_image_is_reported_and_spoils_no_other(tmp_path):
    records = write_images(tmp_path / "images", 5)
    (tmp_path / "images" / "000002.jpg").write_bytes(b"broken")
    made = _generate(records, tmp_path / "clips", clips_per_image=2)
    assert made.num_clips == 6 and len(made.failed) == 2
    assert all("000002.jpg" in reason for _, reason in made.failed)
    stored = ParquetClips(tmp_path / "clips")
    assert len(stored) == 6 and {stored.clip(i, 0).clip_id for i in range(6)} == {
        f"pseudo:{image_id}:{replica}:5" for image_id in (1, 3, 4) for replica in (0, 1)
    }
    manifest = json.loads((tmp_path / "clips" / "manifest.json").read_text())
    assert manifest["failed"] == [list(pair) for pair in made.failed]


@with_ray
def test_when_every_image_is_bad_nothing_is_left_behind(tmp_path):
    records = write_images(tmp_path / "images", 3)
    for record in records:
        (tmp_path / "images" / record.path.split("/")[-1]).unlink()
    with pytest.raises(ImageError, match="none of 10 pseudo-videos could be made"):
        _generate(records, tmp_path / "clips")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@with_ray
def test_whole_shards_of_an_unfinished_run_stay_and_faulty_ones_are_made_anew(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(pseudo_videos, "CLIPS_PER_SHARD", 4)
    records = write_images(tmp_path / "images", 4)
    _generate(records, tmp_path / "whole")
    expected = rows_digest(tmp_path / "whole")
    out = tmp_path / "clips"
    monkeypatch.setattr(
        pseudo_videos, "publish_folder", lambda *_: None
    )  # as if killed just before
    _generate(records, out)
    monkeypatch.undo()
    monkeypatch.setattr(pseudo_videos, "CLIPS_PER_SHARD", 4)
    (partial,) = tmp_path.glob(".clips-*.part")
    shards = sorted(partial.glob("*.parquet"))
    assert len(shards) == 4
    shards[1].unlink()
    shards[2].write_bytes(shards[2].read_bytes()[:100])
    (partial / ".0123.part").write_bytes(b"half a shard")
    stamps = {n: shards[n].stat().st_mtime_ns for n in (0, 3)}
    progress = []
    made = _generate(records, out, on_progress=progress.append)
    assert made.made and progress[0] == 7 and sum(progress) == 15
    assert stamps == {n: (out / shards[n].name).stat().st_mtime_ns for n in (0, 3)}
    assert rows_digest(out) == expected and _no_litter(out)


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(tmp_path):
    """Kills the whole command with SIGKILL while shards appear, and repeats it."""
    records = write_images(tmp_path / "coco" / "images", 11)
    named = [replace(record, path=record.path.split("/")[-1]) for record in records]
    write_coco(tmp_path / "coco" / "instances.json", named, CATEGORIES)
    arguments = ["--coco", tmp_path / "coco", "--frames", 8, "--clips-per-image", 60, "--seed", 3]
    command = [sys.executable, "-m", "jobs.cli", "pseudo", *map(str, arguments)]

    def start(out):
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.Popen(
            [*command, "--out", str(tmp_path / out)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    process = start("clips")
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        shards = list(tmp_path.glob(".clips-*.part/*.parquet"))
        if len(shards) >= 2:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "clips").exists(), "it finished before it could be killed"
    time.sleep(2)  # pending tasks notice that their driver is gone
    (partial,) = tmp_path.glob(".clips-*.part")
    stamps = {path.name: path.stat().st_mtime_ns for path in partial.glob("*.parquet")}
    assert len(stamps) >= 2
    again = start("clips")
    output, errors = again.communicate(timeout=200)
    assert again.returncode == 0, errors
    assert "made 600 clips of 8 frames" in output and "Traceback" not in errors
    assert all((tmp_path / "clips" / n).stat().st_mtime_ns == s for n, s in stamps.items())
    assert rows_digest(tmp_path / "clips") == _digest_of_one_process(records, tmp_path / "whole")
    assert _no_litter(tmp_path / "clips")


def _digest_of_one_process(records, folder):
    """Returns the digest of the same clips without a kill, created without Ray."""
    config = load_run_config(CONFIGS / "tiny.yaml").pseudo.model_copy(update={"num_frames": 8})
    source = PseudoClips(records, config, 60)
    recipe = pseudo_videos._Recipe(config, 60, 3, CATEGORIES, str(folder))
    pseudo_videos.make_shard(source, recipe, pseudo_videos._Shard(0, len(source)))
    return rows_digest(folder)
