"""What a job would take, told by a sample: exact where all is opened, and nothing is written."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.annotation.archive.listing import list_archive
from pipelines.annotation.ledger import Ledger, json_digest
from pipelines.annotation.options import AnnotateOptions
from pipelines.annotation.plan import plan as annotate_plan
from pipelines.annotation.plan.measure import Measured
from pipelines.annotation.plan.plan import AnnotatePlan, plan_archive
from pipelines.annotation.plan.probe import frames_of_settings
from pipelines.annotation.plan.request import PlanRequest
from pipelines.annotation.plan.sampling import Estimate
from pipelines.annotation.plan.text import plan_lines
from pipelines.storage.open import open_storage
from tests.pipelines.toy_archive import toy_archive, toy_model, tree, write_clip
from tests.pipelines.toy_loaders import load_toy
from tests.vis_core.inference.toy import ToySystem, square_frames
from vis_core.config.inference import InferenceConfig
from vis_core.errors import ConfigError


class FullSystem(ToySystem):
    """Has no memory for more than some frames at once."""

    most = 2

    def segment(self, images: list[Any]) -> list[Any]:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return super().segment(images)


class EmptySystem(FullSystem):
    most = 0


class Clock:
    """Goes on by a hundredth of a second whenever it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Videos of 6, 7, 8 and 9 frames at 10 a second, an empty one and one that is none."""
    folder = toy_archive(tmp_path / "videos", 4)
    (folder / "empty.mp4").touch()
    (folder / "no\nvideo.mp4").write_bytes(b"not a video" * 50)
    return folder


def request_of(**asked: Any) -> PlanRequest:
    """A request whose options are named beside its own fields."""
    own = {name: asked.pop(name) for name in list(asked) if name in PlanRequest.__annotations__}
    return PlanRequest(**own, options=AnnotateOptions(**asked))


def plan_of(videos: Path, tmp_path: Path, load: Any = load_toy, **asked: Any) -> AnnotatePlan:
    model = toy_model(tmp_path / "model")
    request = request_of(**{"workers": 2, **asked})
    archive = list_archive(videos)
    return plan_archive(archive, tmp_path / "out", model, request, load=load, clock=Clock())


def test_an_archive_that_is_opened_whole_is_told_exactly(videos: Path, tmp_path: Path) -> None:
    plan = plan_of(videos, tmp_path)
    assert plan.totals is not None
    assert plan.totals.frames == Estimate(30, 30, 30)
    assert plan.totals.video_s.value == pytest.approx(3.0)
    assert plan.totals.unreadable == Estimate(2, 2, 2)
    assert len(plan.to_do) == 6
    assert plan.num_workers == 2


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


def test_time_is_that_of_the_walks_for_all_frames_and_workers(videos: Path, tmp_path: Path) -> None:
    one, two = (plan_of(videos, tmp_path, workers=number) for number in (1, 2))
    assert one.measured is not None and one.totals is not None and two.totals is not None
    walks = one.measured.walks
    assert [walk.num_frames for walk in walks] == [9, 8, 7, 6]
    seconds = sum(row.fetch_s for row in one.measured.videos)
    seconds += sum(walk.open_s + walk.walk_s for walk in walks)
    assert one.totals.work_s.value == pytest.approx(seconds)
    assert one.totals.wall_s.value == pytest.approx(seconds + one.measured.load_s)
    assert two.totals.wall_s.value < one.totals.wall_s.value
    assert two.totals.wall_s.value > two.totals.longest_s


def test_segments_share_the_time_of_a_video(tmp_path: Path) -> None:
    folder = toy_archive(tmp_path / "videos", 1)
    whole = plan_of(folder, tmp_path, workers=3)
    cut = plan_of(folder, tmp_path, workers=3, segments=3)
    assert whole.totals is not None and cut.totals is not None and cut.measured is not None
    assert (whole.num_workers, whole.totals.longest_cut) == (1, 1)
    assert (cut.num_workers, cut.totals.longest_cut) == (3, 3)
    assert cut.totals.longest_s == pytest.approx(cut.totals.work_s.value)
    walking_s = cut.totals.wall_s.value - cut.measured.load_s
    assert walking_s == pytest.approx(cut.totals.work_s.value / 3)
    assert "; it is cut into 3 segments" in "\n".join(plan_lines(cut))
    assert "cut into" not in "\n".join(plan_lines(whole))


def test_an_interval_of_a_sample_holds_the_truth(tmp_path: Path) -> None:
    folder = toy_archive(tmp_path / "videos", 12)
    truth = sum(range(6, 18))
    for seed in range(3):
        plan = plan_of(folder, tmp_path, num_samples=4, seed=seed)
        assert plan.measured is not None and plan.totals is not None
        assert len(plan.measured.videos) == 4
        frames = plan.totals.frames
        assert frames.high is not None
        assert frames.low <= truth <= frames.high
        assert frames.value == pytest.approx(truth, rel=0.3)


def test_memory_that_ends_limits_the_walk_too(videos: Path, tmp_path: Path) -> None:
    plan = plan_of(videos, tmp_path, load=lambda _: FullSystem())
    assert plan.measured is not None and plan.measured.batches is not None
    runs = plan.measured.batches.runs
    assert [(run.frames, run.out_of_memory) for run in runs] == [(1, False), (2, False), (4, True)]
    assert plan.measured.chunk_frames == 2
    assert plan.totals is not None and plan.totals.frames.value == 30


def test_a_model_that_has_no_room_for_one_frame_is_refused(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one frame of 48 x 32 pixels does not fit"):
        plan_of(videos, tmp_path, load=lambda _: EmptySystem())


def test_of_a_video_that_is_cut_only_what_is_annotated_plays(videos: Path, tmp_path: Path) -> None:
    plan = plan_of(videos, tmp_path, max_frames=3)
    assert plan.totals is not None
    assert plan.totals.video_s.value == pytest.approx(4 * 0.3)


def test_settings_that_leave_frames_out_count(videos: Path, tmp_path: Path) -> None:
    plan = plan_of(videos, tmp_path, max_frames=5, config=InferenceConfig(sample_fps=5))
    assert plan.totals is not None
    assert plan.totals.frames.value == 3 + 4 + 4 + 5  # every second of 6, 7, 8 and 9
    assert plan.measured is not None
    assert [walk.num_frames for walk in plan.measured.walks] == [5, 4, 4, 3]


@pytest.mark.parametrize(
    "frames, seconds, fps, most, expected",
    [
        (30, 3.0, None, None, 30),
        (30, 3.0, None, 7, 7),
        (30, 3.0, 1.0, None, 3),
        (31, 3.1, 1.0, None, 4),  # the frame at 3.0 s
        (30, 3.0, 60.0, None, 30),
        (1, 0.0, 5.0, None, 1),
    ],
)
def test_frames_at_a_lower_rate_are_counted_as_the_reader_hands_them_out(
    frames: int, seconds: float, fps: float | None, most: int | None, expected: int
) -> None:
    assert frames_of_settings(frames, seconds, fps, most) == expected


def digest_of(model, config, max_frames):
    """What names a job of these."""
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
    assert (plan.num_done, plan.num_failed, len(plan.to_do)) == (1, 1, 4)
    assert plan.totals is not None and plan.totals.frames.value == 24
    assert len(plan_of(videos, tmp_path, redo="failed").to_do) == 5
    assert len(plan_of(videos, tmp_path, redo="all").to_do) == 6
    assert len(plan_of(videos, tmp_path, redo="changed-model").to_do) == 4
    assert tree(tmp_path / "out") == before


def test_an_archive_that_is_done_loads_no_model(tmp_path: Path) -> None:
    folder = toy_archive(tmp_path / "videos", 1)
    model = toy_model(tmp_path / "model")
    ledger = Ledger(open_storage(tmp_path / "out"), digest_of(model, InferenceConfig(), None))
    ledger.commit(list_archive(folder).videos[0], {})
    plan = plan_of(folder, tmp_path, load=None)
    assert (plan.num_done, plan.to_do, plan.measured, plan.totals) == (1, [], None, None)


def test_a_sample_of_which_nothing_can_be_read_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    plan = plan_of(tmp_path, tmp_path)
    assert plan.measured is not None and plan.measured.batches is None
    assert plan.totals is None and plan.cost() is None


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
    plan = plan_archive(archive, f"{s3_bucket}/out", model, request, load=load_toy)
    assert plan.totals is not None and plan.totals.frames.value == pytest.approx(36)
    assert len(fetched) == 2
    assert list(open_storage(f"{s3_bucket}/out").list()) == []


def test_a_plan_and_a_job_name_a_run_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.annotation import job

    seen = []
    monkeypatch.setattr(job, "_annotate_pending", lambda *_: None)
    monkeypatch.setattr(job, "Ledger", lambda *a: seen.append(a[1]) or Ledger(*a))
    folder, model = toy_archive(tmp_path / "videos", 1), toy_model(tmp_path / "model")
    config = InferenceConfig(chunk_frames=3)
    job.annotate_archive(folder, tmp_path / "out", model, config, AnnotateOptions(max_frames=2))
    assert seen == [digest_of(model, config, 2)]


def gpu_plan(**asked: Any) -> AnnotatePlan:
    hour = Estimate(3600.0, 1800.0, 7200.0)
    totals = annotate_plan.Totals(hour, hour, hour, hour, hour, 1.0, 1, hour)
    return AnnotatePlan(
        "out", "m", request_of(**asked), 0, 0, [], [], 4, None, Measured("cuda", 0.0), totals
    )


def test_gpu_hours_are_those_that_are_held_and_cost_their_price() -> None:
    plan = gpu_plan(gpus_per_worker=0.5, gpu_hour_cost=2.5)
    assert plan.gpu_hours() == Estimate(2.0, 1.0, 4.0)  # an hour, 4 workers, half a GPU each
    assert plan.cost() == Estimate(5.0, 2.5, 10.0)
    assert gpu_plan(gpus_per_worker=1.0).cost() is None


@pytest.mark.parametrize(
    "asked", [{"num_samples": 0}, {"workers": 0}, {"gpu_hour_cost": -1.0}, {"max_frames": 0}]
)
def test_a_number_out_of_range_is_named(
    asked: dict[str, Any], videos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=next(iter(asked))):
        plan_of(videos, tmp_path, **asked)
