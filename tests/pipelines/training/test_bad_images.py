"""Damaged images in training: left out and named; many of them end the run."""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.config.run import RayConfig, RunConfig, StageConfig
from pipelines.training.batches import BatchPlan, stream_batches
from pipelines.training.ray_trainer import _reason, run_stage
from pipelines.training.worker.job import StageJob
from pipelines.training.worker.notes import BadImages
from tests.helpers.presets import tiny_config
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.clips.sources import ImageClips
from vis_core.config.clips import AugmentConfig, SceneSettings
from vis_core.errors import (
    AnnotationError,
    ImageError,
    StorageError,
    error_from_text,
    error_to_text,
)
from vis_core.formats.categories import numbered
from vis_core.formats.coco import ImageRecord
from vis_core.media.images import encode_jpeg
from vis_core.rle.segmentation import encode_masks
from vis_core.structures import Clip

NUM_IMAGES = 12
# what can be wrong with an image after the check before a training, or during it
DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("<html>404</html>"),
    "size": lambda path: path.write_bytes(encode_jpeg(np.zeros((40, 40, 3), np.uint8))),
    "gone": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


def images(folder: Path) -> list[ImageRecord]:
    records = []
    for number in range(NUM_IMAGES):
        scene = render_scene(SceneSettings(height=64, width=96), 1, number)
        path = folder / f"{number}.jpg"
        path.write_bytes(encode_jpeg(scene.images[0]))
        rles = tuple(encode_masks(scene.masks[0]))
        labels = tuple(int(label) for label in scene.labels)
        records.append(ImageRecord(number, str(path), 64, 96, labels, rles))
    return records


def plan_of(records: list[ImageRecord], folder: Path, key: str) -> BatchPlan:
    log = BadImages(folder / "bad_images.jsonl", folder / "notes.jsonl")
    source = partial(ImageClips, records, AugmentConfig())
    return BatchPlan(source, key, 5, 40, 2, 1, on_damage=log.add)


def names(folder: Path, file: str) -> list[str]:
    path = folder / file
    lines = path.read_text().splitlines() if path.is_file() else []
    return [json.loads(line)["text"] for line in lines]


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_bad_image_is_left_out_and_named_once(damage: str, tmp_path: Path) -> None:
    records = images(tmp_path)
    sound = [plan_of(records, tmp_path, "sound").batch(0, step) for step in range(12)]
    assert not names(tmp_path, "notes.jsonl")
    DAMAGES[damage](tmp_path / "7.jpg")
    left = [plan_of(records, tmp_path, "bad").batch(0, step) for step in range(12)]
    again = plan_of(records, tmp_path, "again")
    changed = 0
    for step in reversed(range(12)):  # whatever was built before
        assert torch.equal(again.batch(0, step).images, left[step].images)
        for slot, name in enumerate(sound[step].clip_ids):
            if name.startswith("image:7:"):
                changed += 1
                assert not left[step].clip_ids[slot].startswith("image:7:")
            else:
                assert left[step].clip_ids[slot] == name
                same = left[step].images[slot][:, :, :64, :64], sound[step].images[slot]
                assert torch.equal(same[0], same[1][:, :, :64, :64])
    assert changed == 2
    (note,) = names(tmp_path, "notes.jsonl")
    assert str(tmp_path / "7.jpg") in note and "\n" not in note
    assert len(names(tmp_path, "bad_images.jsonl")) == 1


def test_two_images_of_which_one_is_bad_are_enough(tmp_path: Path) -> None:
    records = images(tmp_path)[:2]
    DAMAGES["cut"](tmp_path / "0.jpg")
    plan = plan_of(records, tmp_path, "two")
    for step in range(20):
        assert all(name.startswith("image:1:") for name in plan.batch(0, step).clip_ids)


def test_many_bad_images_end_the_run_by_name(tmp_path: Path) -> None:
    records = images(tmp_path)
    for number in range(NUM_IMAGES):
        DAMAGES["cut"](tmp_path / f"{number}.jpg")
    with pytest.raises(ImageError, match=r"\d\.jpg: expected a complete JPEG.*longtake validate"):
        plan_of(records, tmp_path, "all").batch(0, 0)


def test_a_fault_of_the_machine_is_not_blamed_on_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = images(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("vis_core.media.images.Image.open", full)
    with pytest.raises(StorageError, match="Too many open files"):
        plan_of(records, tmp_path, "machine").batch(0, 0)
    assert not names(tmp_path, "notes.jsonl")


@dataclass(frozen=True)
class Refusing:
    """A source whose every clip raises an error."""

    error: Exception

    def __len__(self) -> int:
        return 6

    def clip(self, index: int, seed: int) -> Clip:  # noqa: ARG002
        raise self.error


def source_of(error: Exception) -> Refusing:
    return Refusing(error)


ERRORS = [
    ImageError("a.jpg: expected an image, found an empty file; copy it again"),
    AnnotationError("gt.json: 2 errors\n  one\n  two"),
    StorageError("clips.parquet: cannot be read"),
    ValueError("a bug"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_keep_kind_and_text_on_their_way(error: Exception) -> None:
    back = error_from_text(error_to_text(error))
    if isinstance(error, ValueError):
        assert type(back) is RuntimeError and str(back) == "ValueError: a bug"
    else:
        assert type(back) is type(error) and str(back) == str(error)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_a_batch_arrives_through_ray_data_as_it_is(error: Exception) -> None:
    plan = BatchPlan(partial(source_of, error), f"{type(error)}", 1, 4, 1, 1)
    expected = error_from_text(error_to_text(error))
    with pytest.raises(type(expected)) as caught:
        next(iter(stream_batches(plan, 0, 0, 1)))
    assert str(error).splitlines()[0] in str(caught.value)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_reason_that_ray_data_gives_is_not_its_advice() -> None:
    import ray

    def fail(row: dict[str, int]) -> dict[str, int]:
        raise ValueError(f"row {row['item']}: a bug")

    with pytest.raises(Exception, match="a bug") as caught:
        list(ray.data.from_items([1]).map(fail).iter_rows())
    assert _reason(caught.value) == "ValueError: row 1: a bug"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_many_bad_images_end_a_stage_at_once(workers: int, tmp_path: Path) -> None:
    stage = StageConfig(name="images", clips="images", steps=4, batch_size=1)
    ray = RayConfig(num_workers=workers, data_tasks=1)
    config = RunConfig(system=tiny_config("ctvis"), stages=(stage,), ray=ray)
    job = StageJob(config, stage, numbered(CLASS_NAMES), None, tmp_path, "key", 1)
    plan = BatchPlan(partial(source_of, ERRORS[0]), "run", 1, 4, 1, workers)
    with pytest.raises(ImageError, match=r"a\.jpg: expected an image.*\d images drawn"):
        run_stage(
            job,
            replace(plan, on_damage=BadImages(tmp_path / "b", job.notes_path).add),
            tmp_path / "m",
        )
    assert len(names(tmp_path, "b")) == 1
    starts = [note for note in names(job.work, "notes.jsonl") if note.startswith("worker")]
    assert len(starts) <= workers  # each worker was started once
