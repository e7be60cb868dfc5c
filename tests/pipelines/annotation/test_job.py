"""An annotated archive: every video has one result or one reason."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.cli import main
from pipelines.registry.start_weights import TINY_WEIGHTS
from pipelines.results.document import read_result_document
from pipelines.results.youtube_vis import read_result_json
from tests.helpers.toy_archive import (
    annotate,
    statuses,
    toy_archive,
    toy_model,
    tree,
    write_clip,
)
from vis_core.clips.scenes import render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.inference import FusionConfig, InferenceConfig
from vis_core.errors import AnnotationError, ConfigError
from vis_core.files import write_json
from vis_core.formats.youtube_vis import read_youtube_vis
from vis_core.inference.online import annotate_views
from vis_core.media.video_reader import read_frames
from vis_core.models.systems.build import load_system
from vis_core.rle.segmentation import decode_rle

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


class Finished:
    """An annotated archive: three good videos and an empty one."""

    def __init__(self, folder):
        self.videos = toy_archive(folder / "videos")
        (self.videos / "empty\n.mp4").touch()
        self.out = folder / "out"
        self.model = toy_model(folder / "model")
        self.summary = annotate(self.videos, self.out, self.model)

    def document(self, row):
        return read_result_json(self.out / row.result)


@pytest.fixture(scope="module")
def finished(ray_cluster, tmp_path_factory):  # noqa: ARG001
    return Finished(tmp_path_factory.mktemp("finished"))


def test_every_video_has_a_result_of_youtube_vis_form(finished):
    summary = finished.summary
    assert summary.num_frames == 6 + 7 + 8
    assert [row.video for row in summary.having("done")] == [f"clip{n}.mp4" for n in range(3)]
    for row in summary.having("done"):
        document = finished.document(row)
        video = document["videos"][0]
        assert document["info"]["video"] == row.video == video["name"]
        assert document["info"]["model_version"] == 3
        assert [entry["category_id"] for entry in document["annotations"]] == [10, 20]
        assert video["length"] == len(video["file_names"]) == len(video["times_s"])
        assert video["decoding"]["completeness"] == "complete"
        for entry in document["annotations"]:
            assert len(entry["segmentations"]) == video["length"]
            assert decode_rle(entry["segmentations"][0]).shape == (32, 48)
            assert entry["areas"][0] > 20


def test_a_result_becomes_a_youtube_vis_file(finished, tmp_path):
    row = finished.summary.having("done")[0]
    write_json(tmp_path / "one.json", finished.document(row))
    records, categories = read_youtube_vis(tmp_path / "one.json")
    assert categories.names == ("r", "g", "b")
    assert [track.label for track in records[0].tracks] == [0, 1]


def test_results_are_exported_as_youtube_vis_files(finished, tmp_path, capsys):
    command = ["export", str(finished.out), "--to", str(tmp_path / "files")]
    assert main([*command, "--glob", "clip[01]*"]) == 0
    assert main(command) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"1 YouTube-VIS files written; 2 were there: {tmp_path / 'files'}"
    for row in finished.summary.having("done"):
        path = tmp_path / "files" / Path(row.result).name
        assert json.loads(path.read_text()) == finished.document(row)
        assert len(read_youtube_vis(path)[0][0].tracks) == 2
    assert main([*command, "--glob", "absent"]) == 2
    assert "none of them wanted" in capsys.readouterr().err


def test_masks_that_are_not_those_of_the_result_are_refused(finished, tmp_path):
    shutil.copytree(finished.out, tmp_path / "out")
    row = finished.summary.having("done")[0]
    masks = json.loads((tmp_path / "out" / row.result).read_text())["masks"]["file"]
    (tmp_path / "out" / masks).write_bytes(b"PAR1")
    with pytest.raises(AnnotationError, match="is not the file that its result names"):
        read_result_json(tmp_path / "out" / row.result)
    (tmp_path / "out" / masks).unlink()
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_result_json(tmp_path / "out" / row.result)


def test_a_new_version_takes_the_place_of_others(tmp_path, model):
    videos, out = toy_archive(tmp_path / "videos", count=2), tmp_path / "out"
    annotate(videos, out, model)
    annotate(videos, out, replace(model, name="other", digest="f" * 64))
    (videos / "clip1.mp4").unlink()
    newer = replace(model, version=4, digest="e" * 64)
    summary = annotate(videos, out, newer, redo="changed-model")
    assert summary.num_superseded == 1
    documents = [json.loads(path.read_text()) for path in (out / "results").iterdir()]
    left = {(found["info"]["model"], found["info"]["video"]) for found in documents}
    assert left == {
        ("toy", "clip0.mp4"),
        ("toy", "clip1.mp4"),
        ("other", "clip0.mp4"),
        ("other", "clip1.mp4"),
    }
    assert {found["masks"]["file"] for found in documents} == {
        f"masks/{path.name}" for path in (out / "masks").iterdir()
    }
    again = annotate(videos, out, newer, redo="changed-model")
    assert again.num_superseded == 0 and again.num_frames == 0


def test_the_manifest_lists_every_video_with_its_outcome(finished):
    manifest = json.loads((finished.out / "manifest.json").read_text())
    assert {row["video"]: row["status"] for row in manifest["videos"]} == {
        "clip0.mp4": "done",
        "clip1.mp4": "done",
        "clip2.mp4": "done",
        "empty\n.mp4": "failed",
    }


def test_a_lost_manifest_is_written_again(finished, tmp_path):
    shutil.copytree(finished.out, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    annotate(finished.videos, tmp_path / "out", finished.model)
    assert tree(tmp_path / "out") == tree(finished.out)


def test_a_second_run_does_nothing_and_says_so(finished, monkeypatch):
    before = tree(finished.out)
    monkeypatch.setattr("pipelines.annotation.job._annotate_pending", None)
    summary = annotate(finished.videos, finished.out, finished.model)
    assert tree(finished.out) == before
    assert summary.num_skipped == 4
    assert summary.num_frames == 0
    text = "\n".join(summary.describe())
    assert "4 videos: 3 done, 1 failed, 0 quarantined; 4 of them by an earlier run" in text
    assert "nothing to do" in text
    assert "failed: empty\\n.mp4: file is empty" in text


def test_a_new_video_is_all_that_a_later_run_does(finished, tmp_path):
    for name in ("videos", "out"):
        shutil.copytree(finished.videos.parent / name, tmp_path / name)
    shutil.copy(finished.videos / "clip0.mp4", tmp_path / "videos" / "new.mp4")
    summary = annotate(tmp_path / "videos", tmp_path / "out", finished.model)
    assert summary.num_frames == 6
    assert summary.num_skipped == 4
    assert len(summary.rows) == 5


def test_results_do_not_depend_on_the_number_of_workers(tmp_path, model):
    videos = toy_archive(tmp_path / "videos", 4)
    for workers in (1, 3):
        annotate(videos, tmp_path / f"out{workers}", model, workers=workers)
    assert tree(tmp_path / "out1") == tree(tmp_path / "out3")


def test_results_do_not_depend_on_the_number_of_segments(tmp_path, model, capsys):
    videos = toy_archive(tmp_path / "videos", count=2, frames=17)
    (videos / "broken.mp4").write_bytes(b"no video")
    annotate(videos, tmp_path / "whole", model, segments=1)
    annotate(videos, tmp_path / "cut", model, segments=3, save_every=4, workers=2)
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")
    capsys.readouterr()
    cut = annotate(videos, tmp_path / "cut", model, segments=2)
    assert cut.num_skipped == 3


def test_videos_at_once_have_the_results_that_each_has_alone(tmp_path, model):
    videos = toy_archive(tmp_path / "videos", count=5)
    (videos / "broken.mp4").write_bytes(b"no video")
    alone = annotate(videos, tmp_path / "alone", model)
    config = InferenceConfig(videos_at_once=3)
    shared = annotate(videos, tmp_path / "shared", model, config=config, workers=2)
    assert statuses(shared) == statuses(alone) and shared.num_frames == alone.num_frames
    entries = [
        {
            row.video: read_result_json(tmp_path / out / row.result)["annotations"]
            for row in summary.having("done")
        }
        for out, summary in (("alone", alone), ("shared", shared))
    ]
    assert entries[0] == entries[1] and len(entries[0]) == 5


def test_settings_shape_the_result_and_other_settings_write_beside_it(tmp_path, model):
    videos = toy_archive(tmp_path / "videos", 1)
    config = InferenceConfig.model_validate({"tracks": {"max_tracks": 1}})
    summary = annotate(videos, tmp_path / "out", model, config=config, max_frames=2)
    document = read_result_json(tmp_path / "out" / summary.rows[0].result)
    assert document["videos"][0]["length"] == 2
    assert document["videos"][0]["decoding"]["completeness"] == "partial"
    assert len(document["annotations"]) == 1
    annotate(videos, tmp_path / "out", model, max_frames=3)
    assert len(list((tmp_path / "out" / "results").iterdir())) == 2


@pytest.mark.slow
def test_views_of_a_video_file_are_fused(tmp_path):
    clip = render_scene(SceneSettings(), 5, 901)
    write_clip(tmp_path / "videos" / "scene.mp4", list(clip.images))
    options = ["--model", str(TINY_WEIGHTS), "--views", "96,128+flip", "--workers", "1"]
    settings = ["--set", "inference.fusion.score=max"]
    out = tmp_path / "out"
    code = main(["annotate", str(tmp_path / "videos"), "--out", str(out), *options, *settings])
    assert code == 0
    (path,) = (out / "results").iterdir()
    found = read_result_document(path)
    assert found.info["settings"]["views"] == ["96", "128+flip"]
    config = InferenceConfig(views=("96", "128+flip"), fusion=FusionConfig(score="max"))
    with read_frames(tmp_path / "videos" / "scene.mp4") as frames:
        expected = annotate_views(load_system(TINY_WEIGHTS), frames, config)
    # the last bits of a score depend on the number of threads
    assert [track.score for track in found.tracks] == pytest.approx(
        [track.score for track in expected.tracks], abs=1e-5
    )
    for track, wanted in zip(found.result().tracks[:5], expected.tracks, strict=False):
        assert (track.track_id, track.label) == (wanted.track_id, wanted.label)
        assert track.masks == wanted.masks
    assert len(found.result().tracks[0].masks)


def test_numbers_out_of_range_and_results_among_the_videos_are_refused(tmp_path, model):
    videos = toy_archive(tmp_path / "videos", 1)
    with pytest.raises(ConfigError, match="max_frames: expected at least 1, found 0"):
        annotate(videos, tmp_path / "out", model, max_frames=0)
    with pytest.raises(ConfigError, match="is the folder of the videos"):
        annotate(videos, videos, model)


def test_from_s3_to_s3(tmp_path, model, s3_bucket):
    from pipelines.storage.open import open_storage

    videos = toy_archive(tmp_path / "videos")
    source = open_storage(s3_bucket + "/in")
    for path in sorted(videos.iterdir()):
        source.write_once(f"odd name/{path.name}", path.read_bytes())
    source.write_once("empty.mp4", b"")
    source.write_once("notes.txt", b"no video")
    summary = annotate(s3_bucket + "/in", s3_bucket + "/out", model)
    assert statuses(summary) == {
        "empty.mp4": "failed",
        "odd name/clip0.mp4": "done",
        "odd name/clip1.mp4": "done",
        "odd name/clip2.mp4": "done",
    }
    out = open_storage(s3_bucket + "/out")
    document = json.loads(out.read(summary.having("done")[0].result))
    assert document["info"]["video"] == "odd name/clip0.mp4"
    again = annotate(s3_bucket + "/in", s3_bucket + "/out", model)
    assert again.num_frames == 0
    assert again.num_skipped == 4


@pytest.mark.data
def test_every_raw_video_has_a_result_or_a_reason(tmp_path, model, data_dir):
    raw = data_dir / "videos_raw"
    entries = json.loads((raw / "manifest.json").read_text())["videos"]
    summary = annotate(raw, tmp_path / "out", model, max_frames=2, workers=2)
    expected = {entry["file"]: "done" if entry["opens"] else "failed" for entry in entries}
    assert statuses(summary) == expected
    assert all(row.reason for row in summary.having("failed"))
    assert len(list((tmp_path / "out" / "results").iterdir())) == len(summary.having("done"))


@pytest.mark.data
def test_hostile_videos_cost_only_themselves(tmp_path, model, data_dir):
    summary = annotate(data_dir / "hostile_more" / "videos", tmp_path / "out", model, max_frames=9)
    listed = json.loads((data_dir / "hostile_more" / "expected.json").read_text())
    found = statuses(summary)
    for name, entry in listed.items():
        video = name.removeprefix("videos/")
        if video in found and entry["outcome"] == "quarantine":
            assert found[video] == "failed", video
        if video in found and entry["outcome"] == "ok":
            assert found[video] == "done", video


def test_a_sampled_video_keeps_its_times_and_the_numbers_of_its_frames(tmp_path, model):
    videos = toy_archive(tmp_path / "videos", count=1, frames=9)  # ten frames per second
    config = InferenceConfig(sample_fps=4.0)
    summary = annotate(videos, tmp_path / "out", model, config=config)
    (row,) = summary.having("done")
    document = read_result_json(tmp_path / "out" / row.result)
    (video,) = document["videos"]
    assert [int(Path(name).stem) for name in video["file_names"]] == [0, 3, 5, 8]
    assert [round(time_s, 3) for time_s in video["times_s"]] == [0.0, 0.3, 0.5, 0.8]
    assert video["decoding"]["decoded_frames"] == 9
    assert all(len(entry["segmentations"]) == 4 for entry in document["annotations"])
    read = read_result_document(tmp_path / "out" / row.result)
    assert read.num_frames == 4


def test_all_can_be_done_again_and_other_models_keep_theirs(tmp_path, model):
    videos, out = toy_archive(tmp_path / "videos", count=2), tmp_path / "out"
    annotate(videos, out, model)
    other = annotate(videos, out, replace(model, digest="e" * 64))
    before = tree(out)
    times = {path: path.stat().st_mtime_ns for path in (out / "results").iterdir()}
    again = annotate(videos, out, model, redo="all")
    assert again.num_skipped == 0 and again.num_frames == 6 + 7
    after = {name: body for name, body in tree(out).items() if name != "manifest.json"}
    assert after == {name: body for name, body in before.items() if name != "manifest.json"}
    kept = {row.result for row in other.rows}
    for path, time_ns in times.items():
        untouched = path.relative_to(out).as_posix() in kept
        assert (path.stat().st_mtime_ns == time_ns) == untouched
