"""A batch is a function of the seed and its place, whoever makes it and whenever."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from pipelines.config import parse_run_config
from pipelines.find_data import AnnotatedFiles, VideoFiles
from pipelines.run_data import RunData
from pipelines.stages import clip_source
from pipelines.training_data import BatchPlan, batch_to_row, row_to_batch
from vis_core.clips.rows import encode_jpeg
from vis_core.clips.scenes import render_scene
from vis_core.clips.settings import SceneSettings
from vis_core.formats.categories import Categories
from vis_core.formats.coco import ImageRecord, write_coco
from vis_core.formats.rle import encode_masks
from vis_core.structures import Clip


class Scenes:
    """A clip source of six scenes."""

    def __len__(self) -> int:
        return 6

    def clip(self, index: int, seed: int) -> Clip:
        return render_scene(SceneSettings(height=64, width=96), 2, seed % 1000 + index)


def plan(seed: int = 3, key: str = "scenes", world_size: int = 1) -> BatchPlan:
    return BatchPlan(partial(Scenes), key, seed, 10, 2, world_size)


def test_the_same_place_gives_the_same_batch() -> None:
    first, again = plan().batch(0, 4), plan(key="reopened").batch(0, 4)
    assert torch.equal(first.images, again.images)
    other = plan(seed=4, key="other").batch(0, 4)
    assert not torch.equal(first.images, other.images)


def test_two_ranks_share_the_draws_of_one() -> None:
    alone = [plan().batch(0, step) for step in (2, 3)]
    together = [plan(key="two", world_size=2).batch(rank, 1) for rank in (0, 1)]
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.images, other.images)


def test_rows_hold_batches_exactly() -> None:
    batch = plan().batch(0, 0)
    back = row_to_batch(batch_to_row(batch))
    assert torch.equal(batch.images, back.images)
    assert torch.equal(batch.sizes, back.sizes)
    for one, other in zip(batch.masks, back.masks, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(batch.labels, back.labels, strict=True):
        assert torch.equal(one, other)


def test_a_stage_of_pairs_makes_batches_whose_frames_have_sizes_of_their_own(
    tmp_path: Path,
) -> None:
    records = []
    for image_id in (1, 2):
        scene = render_scene(SceneSettings(height=96, width=128), 1, image_id)
        path = tmp_path / f"{image_id}.jpg"
        path.write_bytes(encode_jpeg(scene.images[0]))
        masks, labels = tuple(encode_masks(scene.masks[0])), (0,) * len(scene.labels)
        records.append(ImageRecord(image_id, str(path), 96, 128, labels, masks))
    categories = Categories((1,), ("thing",))
    annotations = tmp_path / "instances.json"
    named = [replace(record, path=Path(record.path).name) for record in records]
    write_coco(annotations, named, categories)
    crop = {"name": "fraction", "min_fraction": 0.3}
    pairs = {"size": {"name": "short_side", "short_sides": [48, 64]}, "crop_size": crop}
    stage = {"name": "pairs", "clips": "pairs", "steps": 1}
    config = parse_run_config({"pairs": pairs, "stages": [stage]}, "run.yaml")
    nowhere = VideoFiles(tmp_path, tmp_path, tmp_path, tmp_path)
    images = AnnotatedFiles(annotations, tmp_path)
    data = RunData(images, nowhere, tmp_path, categories, ())
    make_source = clip_source(config, config.stages[0], data, tmp_path)
    batch = BatchPlan(make_source, "pairs", 3, 4, 2, 1).batch(0, 0)
    assert batch.sizes.shape == (2, 2, 2)
    assert not torch.equal(batch.sizes[:, 0], batch.sizes[:, 1])
    back = row_to_batch(batch_to_row(batch))
    assert torch.equal(back.sizes, batch.sizes) and torch.equal(back.images, batch.images)
    assert all(len(labels) > 0 for labels in batch.labels)
