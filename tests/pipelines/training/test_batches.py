"""A batch is a function of the seed and its place, in any process and at any time."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml

from pipelines.config.loading import parse_run_config, to_yaml
from pipelines.config.run import RunConfig
from pipelines.data.find_data import AnnotatedFiles, VideoFiles
from pipelines.data.run_data import RunData
from pipelines.training.batches import (
    BatchPlan,
    batch_to_row,
    prefetch,
    row_to_batch,
    stream_batches,
)
from pipelines.training.clip_sources import clip_source, with_instances_counted
from pipelines.training.stages import TrainingPlace, with_steps
from vis_core.clips.scenes import render_scene
from vis_core.clips.sources import ImageClips, PairClips, PseudoClips, VideoClips
from vis_core.config.clips import SceneSettings
from vis_core.config.systems import IdolConfig
from vis_core.errors import ConfigError
from vis_core.formats.categories import Categories
from vis_core.formats.coco import ImageRecord, read_coco, write_coco
from vis_core.formats.youtube_vis import (
    TrackRecord,
    VideoRecord,
    read_youtube_vis,
    write_youtube_vis,
)
from vis_core.media.images import encode_jpeg
from vis_core.rle.segmentation import encode_masks
from vis_core.structures import Clip, ClipBatch


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
    numbered = replace(batch, instance_ids=tuple(labels + 7 for labels in batch.labels))
    for one, other in zip(
        numbered.instance_ids, row_to_batch(batch_to_row(numbered)).instance_ids, strict=True
    ):
        assert torch.equal(one, other)


def test_the_id_head_gets_a_class_for_each_training_instance(tmp_path: Path) -> None:
    masks = tuple(encode_masks(np.ones((1, 8, 8), bool)))
    shown = TrackRecord(1, 0, masks, iscrowd=False, areas=(64.0,))
    tracks = tuple(replace(shown, annotation_id=number) for number in range(1, 5))
    crowd = replace(shown, annotation_id=9, iscrowd=True)
    video = VideoRecord(1, 8, 8, ("1.jpg",), (*tracks, crowd))
    write_youtube_vis(tmp_path / "train.json", [video], Categories((1,), ("thing",)))
    nowhere = VideoFiles(tmp_path / "train.json", tmp_path, tmp_path, tmp_path)
    data = RunData(AnnotatedFiles(tmp_path, tmp_path), nowhere, tmp_path, Categories((), ()), ())

    def head_size(**head: object) -> int | None:
        stage = {"name": "videos", "clips": "videos", "steps": 1}
        values = {"system": {"name": "idol", "id_head": head}, "stages": [stage]}
        system = with_instances_counted(parse_run_config(values, "run.yaml"), data).system
        assert isinstance(system, IdolConfig) and system.id_head is not None
        return system.id_head.num_instances

    assert head_size() == 4
    assert head_size(num_instances=9) == 9
    with pytest.raises(ConfigError, match=r"id_head.num_instances: expected at least 4.*found 3"):
        head_size(num_instances=3)


def few_images(folder: Path, clips: str, changes: dict[str, Any]) -> tuple[RunConfig, RunData]:
    """Returns a run with one stage on two small images."""
    records = []
    for image_id in (1, 2):
        scene = render_scene(SceneSettings(height=96, width=128), 1, image_id)
        path = folder / f"{image_id}.jpg"
        path.write_bytes(encode_jpeg(scene.images[0]))
        masks, labels = tuple(encode_masks(scene.masks[0])), (0,) * len(scene.labels)
        records.append(ImageRecord(image_id, str(path), 96, 128, labels, masks))
    categories = Categories((1,), ("thing",))
    annotations = folder / "instances.json"
    named = [replace(record, path=Path(record.path).name) for record in records]
    write_coco(annotations, named, categories)
    stage = {"name": clips, "clips": clips, "steps": 1}
    config = parse_run_config({"stages": [stage], **changes}, "run.yaml")
    nowhere = VideoFiles(folder, folder, folder, folder)
    images = AnnotatedFiles(annotations, folder)
    return config, RunData(images, nowhere, folder, categories, ())


def test_a_stage_of_pairs_makes_batches_whose_frames_have_sizes_of_their_own(
    tmp_path: Path,
) -> None:
    crop = {"name": "fraction", "min_fraction": 0.3}
    pairs = {"size": {"name": "short_side", "short_sides": [48, 64]}, "crop_size": crop}
    config, data = few_images(tmp_path, "pairs", {"pairs": pairs})
    make_source = clip_source(config, config.stages[0], data, tmp_path)
    batch = BatchPlan(make_source, "pairs", 3, 4, 2, 1).batch(0, 0)
    assert batch.sizes.shape == (2, 2, 2)
    assert not torch.equal(batch.sizes[:, 0], batch.sizes[:, 1])
    back = row_to_batch(batch_to_row(batch))
    assert torch.equal(back.sizes, batch.sizes) and torch.equal(back.images, batch.images)
    assert all(len(labels) > 0 for labels in batch.labels)


@pytest.mark.parametrize("changes", [{"stream_pseudo": True}, {}])
def test_streamed_pseudo_videos_are_those_that_would_be_written_and_new_in_each_epoch(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    config, data = few_images(tmp_path, "pseudo", changes)
    assert not config.needs_pseudo_videos
    source = clip_source(config, config.stages[0], data, tmp_path / "nowhere")()
    written = PseudoClips(read_coco(data.images.annotations, tmp_path)[0], config.pseudo)
    for index in range(len(source)):
        one, other = source.clip(index, 5), written.clip(index, 5)
        assert np.array_equal(one.images, other.images) and np.array_equal(one.masks, other.masks)
    key = f"streamed {changes}"
    plan = BatchPlan(partial(lambda given: given, source), key, 3, 4, len(source), 1)
    epochs = [plan.batch(0, epoch).clip_ids for epoch in (0, 1)]
    assert not set(epochs[0]) & set(epochs[1])


@pytest.mark.parametrize("clips, stream", [("pseudo", False), ("mixed", None)])
def test_pseudo_videos_are_stored_for_mixed_stages_or_on_request(
    clips: str, stream: bool | None
) -> None:
    mixed = {"pseudo_share": 0.5, "clip_frames": 8} if clips == "mixed" else {}
    stage = {"name": "one", "clips": clips, "steps": 1, **mixed}
    config = parse_run_config({"stages": [stage], "stream_pseudo": stream}, "run.yaml")
    assert config.needs_pseudo_videos


class TwoAspects(Scenes):
    """Six scenes of two aspects."""

    def is_portrait(self, index: int) -> bool:
        return index in (1, 2, 4, 5)

    def clip(self, index: int, seed: int) -> Clip:
        height, width = (96, 64) if self.is_portrait(index) else (64, 96)
        scene = render_scene(SceneSettings(height=height, width=width), 1, index)
        return replace(scene, clip_id=f"{index}:{seed}")


@pytest.mark.parametrize("world_size, batch_size", [(1, 2), (2, 2), (3, 1)])
def test_batches_of_one_aspect_show_each_clip_once_per_epoch(
    world_size: int, batch_size: int
) -> None:
    def batches(first_step: int) -> list[ClipBatch]:
        key = f"two aspects from {first_step}"  # opened anew, as after a restart
        plan = BatchPlan(
            partial(TwoAspects), key, 3, 6, batch_size, world_size, group_by_aspect=True
        )
        places = [(rank, step) for step in range(first_step, 6) for rank in range(world_size)]
        return [plan.batch(*place) for place in places]

    whole, resumed = batches(0), batches(3)
    assert all(batch.images.shape[-2:] in ((64, 96), (96, 64)) for batch in whole)
    shown = [int(name.split(":")[0]) for batch in whole for name in batch.clip_ids]
    for epoch in range(len(shown) // 6):
        assert sorted(shown[6 * epoch : 6 * epoch + 6]) == list(range(6))
    assert [batch.clip_ids for batch in resumed] == [b.clip_ids for b in whole[3 * world_size :]]


def test_the_aspect_is_that_of_the_source(tmp_path: Path) -> None:
    config, data = few_images(tmp_path, "pairs", {})
    records = read_coco(data.images.annotations, tmp_path)[0]
    turned = [records[0], replace(records[1], height=128, width=96)]
    sources = [ImageClips(turned, config.augment), PairClips(turned, config.pairs)]
    sources.append(PseudoClips(turned, config.pseudo))
    for source in sources:
        assert [source.is_portrait(index) for index in range(2)] == [False, True]
    (tmp_path / "videos").mkdir()
    files = labelled_videos(tmp_path / "videos", [2, 2])
    videos, _ = read_youtube_vis(files.train)
    turned_videos = [videos[0], replace(videos[1], height=64)]
    clips = VideoClips(turned_videos, tmp_path, 1, 1, config.augment, by_frame=True)
    assert [clips.is_portrait(index) for index in range(4)] == [False, False, True, True]


def labelled_videos(folder: Path, lengths: Sequence[int]) -> VideoFiles:
    """Writes videos of one track with these numbers of frames."""
    masks = encode_masks(np.ones((1, 32, 32), dtype=bool))
    (folder / "frames").mkdir()
    records = []
    for video_id, length in enumerate(lengths, 1):
        names = tuple(f"frames/{video_id}_{t}.jpg" for t in range(length))
        for t, name in enumerate(names):
            (folder / name).write_bytes(encode_jpeg(np.full((32, 32, 3), 9 * t, np.uint8)))
        track = TrackRecord(video_id, 0, tuple(masks * length), False)
        records.append(VideoRecord(video_id, 32, 32, names, (track,)))
    write_youtube_vis(folder / "train.json", records, Categories((1,), ("thing",)))
    return VideoFiles(folder / "train.json", folder, folder, folder)


LENGTHS = (3, 20, 1)


def stage_by_frame(folder: Path, **stage: Any) -> tuple[RunConfig, RunData]:
    files = labelled_videos(folder, LENGTHS)
    videos = {"name": "videos", "clips": "videos", "sampling": "frames", "clip_frames": 2}
    size = {"name": "fixed", "height": 32, "width": 32}
    values = {"stages": [videos | stage], "augment": {"size": size, "crop_probability": 0.0}}
    nothing = AnnotatedFiles(folder, folder)
    data = RunData(nothing, files, folder, Categories((1,), ("thing",)), ())
    return parse_run_config(values, "run.yaml"), data


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 4), (2, 3), (3, 2)])
def test_workers_share_the_frames_of_an_epoch_and_each_frame_is_a_key_frame_once(
    workers: int, batch_size: int, tmp_path: Path
) -> None:
    config, data = stage_by_frame(tmp_path, steps=1)
    frames = [(video, t) for video, n in enumerate(LENGTHS, 1) for t in range(n)]
    source = clip_source(config, config.stages[0], data, tmp_path)
    plan = BatchPlan(source, f"{tmp_path}", 3, 100, batch_size, workers)
    steps = 2 * len(frames) // (batch_size * workers)
    assert steps * batch_size * workers == 2 * len(frames), "two whole epochs"
    batches = {(s, r): plan.batch(r, s).clip_ids for s in range(steps) for r in range(workers)}
    names = [name for place in sorted(batches) for name in batches[place]]
    keys = [tuple(map(int, name.split(":")[1:3])) for name in names]
    first, second = keys[: len(frames)], keys[len(frames) :]
    assert sorted(first) == sorted(second) == frames
    assert first != second != frames
    again = BatchPlan(source, "resumed", 3, 100, batch_size, workers)
    last = max(batches)
    assert again.batch(last[1], last[0]).clip_ids == batches[last]


@pytest.mark.parametrize(
    ("stage", "workers", "steps"),
    [
        ({"epochs": 6, "batch_size": 2}, 8, 9),  # 6 * 24 / 16
        ({"epochs": 0.5, "batch_size": 5}, 1, 3),  # 12 / 5, rounded up
        ({"epochs": 2, "batch_size": 1, "sampling": "videos"}, 1, 6),
        ({"steps": 7}, 2, 7),
    ],
)
def test_epochs_become_steps_once_the_data_are_known(
    stage: dict[str, Any], workers: int, steps: int, tmp_path: Path
) -> None:
    config, data = stage_by_frame(tmp_path, **stage)
    ray = config.ray.model_copy(update={"num_workers": workers})
    config = config.model_copy(update={"ray": ray})
    counted = with_steps(config, TrainingPlace(tmp_path, data, tmp_path))
    (found,) = counted.stages
    assert (found.num_steps, found.epochs) == (steps, None)
    assert parse_run_config(yaml.safe_load(to_yaml(counted)), "again") == counted
    assert counted.stage_starts == {"videos": 0}
    assert config.stages[0].steps == stage.get("steps"), "the run file stays as it is"


def test_items_are_computed_ahead_and_errors_come_out() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 7:
                raise ValueError("the seventh")
            yield number

    stream = prefetch(items(), count=2)
    assert next(stream) == 0
    for _ in range(200):
        if len(made) >= 4:
            break
        time.sleep(0.01)
    assert 3 <= len(made) <= 4, "two wait, one more is in the making"
    with pytest.raises(ValueError, match="the seventh"):
        list(stream)


def test_a_stream_that_is_left_stops() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            made.append(number)
            yield number

    stream = prefetch(items(), count=2)
    next(stream)
    stream.close()
    time.sleep(1.2)
    count = len(made)
    time.sleep(0.3)
    assert len(made) == count < 10


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_ray_streams_the_batches_of_a_plan_from_any_step_on() -> None:
    whole = plan()
    for first_step in (0, 7):
        found = list(stream_batches(whole, 0, first_step, tasks=2))
        assert [step for step, _ in found] == list(range(first_step, 10))
        for step, batch in found:
            assert torch.equal(batch.images, whole.batch(0, step).images)
    assert list(stream_batches(whole, 0, 10, tasks=1)) == []


class LargeBatches(BatchPlan):
    """A plan of batches that fill the store long before a slow training has consumed them.

    Their key is a file, to which each process that makes batches appends its id.
    """

    def batch(self, rank: int, step: int) -> ClipBatch:  # noqa: ARG002
        with Path(self.key).open("a") as file:
            file.write(f"{os.getpid()}\n")
        return ClipBatch(
            images=torch.zeros((4, 1, 3, 512, 512), dtype=torch.uint8),
            masks=[torch.zeros((1, 0, 512, 512), dtype=torch.bool)] * 4,
            labels=[torch.zeros(0, dtype=torch.int64)] * 4,
            sizes=torch.full((4, 1, 2), 512),
            clip_ids=("blank",) * 4,
        )


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_stream_that_waits_for_the_training_takes_no_core_from_it(tmp_path: Path) -> None:
    """Checks that Ray Data's executor rests, which else takes nine tenths of a core.

    The makers must stay as well: else a new process makes every few batches.
    """
    others = set(coordinators())
    makers = tmp_path / "makers"
    large = LargeBatches(plan().make_source, str(makers), 0, 300, 4, 1)
    stream = stream_batches(large, 0, 0, tasks=1)
    for _ in range(3):
        next(stream)
    (executor,) = [process for process in coordinators() if process not in others]
    time.sleep(8)  # until the store is full
    before = sum(executor.cpu_times()[:2])
    time.sleep(5)
    assert sum(executor.cpu_times()[:2]) - before < 0.4 * 5
    made = len(makers.read_text().split())
    for _ in range(3):
        for _ in range(8):
            next(stream)
        time.sleep(3)
    numbers = makers.read_text().split()
    assert len(numbers) > made, "what was taken is made room for"
    assert len(set(numbers)) == 1
    assert len(list(stream)) == 300 - 3 - 3 * 8, "to its end: a left one outlasts Ray"


def coordinators() -> list[psutil.Process]:
    """Lists the executors of this process's Ray; other tests may run beside it."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if "SplitCoordinator" in " ".join(process.cmdline()):
                found.append(process)
    return found
