"""The cost of a job, estimated from a sample: exact if all videos are opened; writes nothing."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.annotation.archive.listing import ArchivedVideo, list_archive
from pipelines.annotation.ledger import Ledger, json_digest
from pipelines.annotation.options import AnnotateOptions
from pipelines.annotation.plan import measure
from pipelines.annotation.plan.measure import Bench, Measured, SampledVideo, choose_sample
from pipelines.annotation.plan.plan import AnnotatePlan, Totals, _totals, plan_archive, plan_lines
from pipelines.storage.open import open_storage
from tests.helpers.plans import request_of
from tests.helpers.toy_archive import toy_archive, toy_model, tree, write_clip
from tests.helpers.toy_loaders import load_toy
from tests.helpers.toy_system import ToySystem, square_frames
from vis_core.config.inference import InferenceConfig
from vis_core.errors import ConfigError


class FullSystem(ToySystem):
    """A system that runs out of memory above a number of frames per batch."""

    most = 2

    def segment(self, images: list[Any]) -> list[Any]:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        time.sleep(0.02)  # a call costs more than a frame, so larger batches are tried
        return super().segment(images)


class EmptySystem(FullSystem):
    most = 0


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Writes videos of 6, 7, 8 and 9 frames at 10 per second, an empty one and a broken one."""
    folder = toy_archive(tmp_path / "videos", 4)
    (folder / "empty.mp4").touch()
    (folder / "no\nvideo.mp4").write_bytes(b"not a video" * 50)
    return folder


def plan_of(videos: Path, tmp_path: Path, load: Any = load_toy, **asked: Any) -> AnnotatePlan:
    model = toy_model(tmp_path / "model")
    request = request_of(**{"workers": 2, **asked})
    archive = list_archive(videos)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "load_system", lambda path, _: load(str(path)))
        return plan_archive(archive, tmp_path / "out", model, request)


def test_an_archive_that_is_opened_whole_is_estimated_exactly(videos: Path, tmp_path: Path) -> None:
    plan = plan_of(videos, tmp_path)
    assert plan.extrapolated is not None
    assert plan.extrapolated.frames == 30
    assert plan.extrapolated.video_s == pytest.approx(3.0)
    assert plan.extrapolated.unreadable == 2
    assert plan.videos["to_do"] == 6
    assert plan.workers == 2


def test_nothing_is_written(videos: Path, tmp_path: Path) -> None:
    before = tree(videos)
    threads = torch.get_num_threads()
    plan_of(videos, tmp_path)
    assert not (tmp_path / "out").exists()
    assert tree(videos) == before
    assert torch.get_num_threads() == threads


def test_a_video_that_cannot_be_read_is_named_with_its_reason(videos: Path, tmp_path: Path) -> None:
    plan = plan_of(videos, tmp_path)
    assert plan.measured is not None
    problems = {row.video.shown: row.problem for row in plan.measured.videos if row.problem}
    assert list(problems) == ["no\\nvideo.mp4"]
    assert problems["no\\nvideo.mp4"].startswith("not a video")


def video(number: int, size: int) -> ArchivedVideo:
    return ArchivedVideo(f"{number}.mp4", size, "")


def test_a_sample_is_the_largest_videos_and_every_nth_of_the_others() -> None:
    videos = [video(number, size) for number, size in enumerate([5, 0, 90, 10, 70, 60, 20, 80])]
    assert [one.size for one in choose_sample(videos, 4)] == [90, 80, 60, 5]
    assert [one.size for one in choose_sample(videos, 1)] == [90]
    assert [one.size for one in choose_sample(videos, 20)] == [90, 80, 70, 60, 20, 10, 5]


def totals_of(
    sampled: list[SampledVideo], others: list[ArchivedVideo], workers: int = 1, **cuts: int
) -> Totals:
    """Extrapolates some rows to all videos."""
    to_do = [row.video for row in sampled] + others
    measured = Measured("cpu", 0.5, sampled)
    plan = AnnotatePlan("out", "m", {}, 0.0, None, workers, measured)
    return _totals(plan, measured, to_do, {one.key: cuts.get(one.key[0], 1) for one in to_do})


SAMPLED = [
    SampledVideo(video(0, 100), "", 40, 4.0, result_bytes=200, start_s=2.0, rest_s=4.9),
    SampledVideo(video(1, 50), "", 10, 1.0, result_bytes=50, start_s=2.0, rest_s=1.4),
]


def test_videos_that_were_not_opened_have_their_share_of_bytes() -> None:
    totals = totals_of(SAMPLED, [video(2, 30), video(3, 0)])
    assert totals.frames == pytest.approx(50 + 30 * 50 / 150)
    assert totals.video_s == pytest.approx(5 + 30 * 5 / 150)
    assert totals.result_bytes == pytest.approx(5 * totals.frames)
    assert totals.unreadable == 1, "the empty one"
    # a start for each, and a share of the download and the other frames
    opened = (2 + 4.9) + (2 + 1.4)
    assert totals.work_s == pytest.approx(opened + 2 + 30 * (4.9 + 1.4) / 150)
    assert totals.wall_s == pytest.approx(totals.work_s + 0.5)


def test_videos_that_cannot_be_read_leave_their_share_out() -> None:
    bad = SampledVideo(video(4, 150), "not a video")
    totals = totals_of([*SAMPLED, bad], [video(2, 30)])
    assert totals.frames == pytest.approx(50 + 15 * 50 / 150), "half of the bytes are bad"
    assert totals.unreadable == pytest.approx(1 + 1 / 3)


def test_workers_share_the_work_unless_one_piece_takes_longer() -> None:
    alone, two = totals_of(SAMPLED, []), totals_of(SAMPLED, [], workers=2)
    assert alone.wall_s == pytest.approx(0.5 + 6.9 + 3.4)
    assert two.wall_s == pytest.approx(0.5 + 6.9), "the longest video"
    cut = totals_of(SAMPLED, [], workers=2, **{"0": 2})
    assert cut.wall_s == pytest.approx(0.5 + (6.9 + 3.4) / 2), "half of all work"


def test_a_part_of_an_archive_is_opened_and_the_estimate_is_near_the_truth(tmp_path: Path) -> None:
    folder = toy_archive(tmp_path / "videos", 12)
    plan = plan_of(folder, tmp_path, num_samples=4)
    assert plan.measured is not None and plan.extrapolated is not None
    assert len(plan.measured.videos) == 4
    assert plan.extrapolated.frames == pytest.approx(sum(range(6, 18)), rel=0.3)


def test_segments_are_counted_for_all_workers(tmp_path: Path) -> None:
    folder = toy_archive(tmp_path / "videos", 1)
    whole = plan_of(folder, tmp_path, workers=3)
    cut = plan_of(folder, tmp_path, workers=3, segments=3)
    assert (whole.workers, cut.workers) == (1, 3)


def test_memory_that_runs_out_limits_the_probes_too(videos: Path, tmp_path: Path) -> None:
    plan = plan_of(videos, tmp_path, load=lambda _: FullSystem())
    assert plan.measured is not None and plan.measured.batches is not None
    runs = plan.measured.batches.runs
    assert [run.frames for run in runs][-1] in (2, 4)
    assert plan.measured.chunk_frames == 2 or runs[-1].fits
    assert plan.extrapolated is not None and plan.extrapolated.frames == 30


def test_a_model_that_has_no_room_for_one_frame_is_refused(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chunk_frames: 1 at once do not fit in memory"):
        plan_of(videos, tmp_path, load=lambda _: EmptySystem())


def test_of_a_video_that_is_cut_only_what_is_annotated_plays(videos: Path, tmp_path: Path) -> None:
    plan = plan_of(videos, tmp_path, max_frames=3)
    assert plan.extrapolated is not None
    assert plan.extrapolated.video_s == pytest.approx(4 * 0.3)


def test_settings_that_leave_frames_out_count(videos: Path, tmp_path: Path) -> None:
    plan = plan_of(videos, tmp_path, max_frames=4, config=InferenceConfig(sample_fps=5))
    assert plan.extrapolated is not None
    assert plan.extrapolated.frames == 3 + 4 + 4 + 4  # every second of 6, 7, 8 and 9


def digest_of(model, config, max_frames):
    """Returns the digest of a job's settings."""
    return json_digest([model.digest, AnnotateOptions(max_frames).settings_document(config)])


def test_what_has_an_outcome_is_not_to_do_unless_it_is_asked_for(
    videos: Path, tmp_path: Path
) -> None:
    model = toy_model(tmp_path / "model")
    ledger = Ledger(open_storage(tmp_path / "out"), digest_of(model, InferenceConfig(), None))
    by_key = {video.key: video for video in list_archive(videos).videos}
    ledger.commit(by_key["clip0.mp4"], {})
    ledger.storage.write_once(ledger.failed_key(by_key["empty.mp4"]), b"{}")
    before = tree(tmp_path / "out")
    plan = plan_of(videos, tmp_path)
    assert [plan.videos[name] for name in ("done", "failed", "to_do")] == [1, 1, 4]
    assert plan.extrapolated is not None and plan.extrapolated.frames == 24
    assert plan_of(videos, tmp_path, redo="failed").videos["to_do"] == 5
    assert plan_of(videos, tmp_path, redo="all").videos["to_do"] == 6
    assert plan_of(videos, tmp_path, redo="changed-model").videos["to_do"] == 4
    assert tree(tmp_path / "out") == before


def test_an_archive_that_is_done_loads_no_model(tmp_path: Path) -> None:
    folder = toy_archive(tmp_path / "videos", 1)
    model = toy_model(tmp_path / "model")
    ledger = Ledger(open_storage(tmp_path / "out"), digest_of(model, InferenceConfig(), None))
    ledger.commit(list_archive(folder).videos[0], {})
    (folder / "x.qqq").write_bytes(b"x")
    (folder / "link.mp4").symlink_to("/dev/null")
    plan = plan_of(folder, tmp_path, load=None)
    lines = "\n".join(plan_lines(asdict(plan)))
    assert "1 other file passed over (.qqq 1)" in lines
    assert "link.mp4: link leaves the archive" in lines
    assert (plan.videos["done"], plan.videos["to_do"]) == (1, 0)
    assert plan.measured is None and plan.extrapolated is None


def test_a_sample_of_which_nothing_can_be_read_has_no_estimate(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    plan = plan_of(tmp_path, tmp_path)
    assert plan.measured is not None and plan.measured.batches is None
    assert plan.extrapolated is None and plan.cost is None


def test_an_archive_in_a_bucket_is_sampled_by_what_is_drawn_alone(
    s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(f"{s3_bucket}/videos")
    for number in range(6):
        path = tmp_path / f"{number}.mp4"
        write_clip(path, [frame.image for frame in square_frames(6)])
        storage.write_once(path.name, path.read_bytes())
    archive = list_archive(f"{s3_bucket}/videos")
    fetched = []
    kind = type(archive.storage)
    lend = kind.as_file

    def noted(self: Any, key: str, etag: str = "") -> Any:
        fetched.append(key)
        return lend(self, key, etag)

    monkeypatch.setattr(kind, "as_file", noted)
    model = toy_model(tmp_path / "model")
    request = request_of(num_samples=2, workers=1)
    monkeypatch.setattr(measure, "load_system", lambda path, _: load_toy(str(path)))
    plan = plan_archive(archive, f"{s3_bucket}/out", model, request)
    assert plan.extrapolated is not None and plan.extrapolated.frames == pytest.approx(36)
    assert len(fetched) == 2
    assert list(open_storage(f"{s3_bucket}/out").list()) == []


def test_a_plan_and_a_job_name_a_run_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.annotation import job

    digests = []
    monkeypatch.setattr(job, "_annotate_pending", lambda *_: None)
    monkeypatch.setattr(job, "Ledger", lambda *a: digests.append(a[1]) or Ledger(*a))
    folder, model = toy_archive(tmp_path / "videos", 1), toy_model(tmp_path / "model")
    config = InferenceConfig(chunk_frames=3)
    job.annotate_archive(folder, tmp_path / "out", model, config, AnnotateOptions(max_frames=2))
    assert digests == [digest_of(model, config, 2)]


@pytest.mark.parametrize(
    "device, price, hours, cost",
    [("cuda", 2.5, 2.0, 5.0), ("cuda", None, 2.0, None), ("cpu", 2.5, None, None)],
)
def test_gpu_hours_are_those_that_are_reserved_and_cost_their_price(
    device: str,
    price: float | None,
    hours: float | None,
    cost: float | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = toy_archive(tmp_path / "videos", 4)

    def measured(_: Bench, videos: list[ArchivedVideo], _store: Any) -> Measured:
        # 4 workers take turns on two GPUs: half an hour each, an hour in all
        rows = [SampledVideo(one, "", 10, 1.0, start_s=0.0, rest_s=1800.0) for one in videos]
        return Measured(device, 0.0, rows)

    monkeypatch.setattr(Bench, "measure", measured)
    plan = plan_of(folder, tmp_path, workers=4, gpus_per_worker=0.5, gpu_hour_cost=price)
    assert (plan.gpu_hours, plan.cost) == (hours, cost)


@pytest.mark.parametrize(
    "asked", [{"num_samples": 0}, {"workers": 0}, {"gpu_hour_cost": -1.0}, {"max_frames": 0}]
)
def test_a_number_out_of_range_is_named(
    asked: dict[str, Any], videos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=next(iter(asked))):
        plan_of(videos, tmp_path, **asked)
