"""Several results files are fused into one by video, completely or not at all."""

import json
import random
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.cli import main
from pipelines.results.document import read_result_document
from pipelines.results.youtube_vis import result_document
from tests.helpers.toy_archive import tree
from vis_core.formats.categories import Categories
from vis_core.formats.youtube_vis import read_youtube_vis
from vis_core.rle.packed import PackedMasks
from vis_core.rle.segmentation import encode_masks
from vis_core.structures import Track, VideoResult

Document = dict[str, Any]

HEIGHT, WIDTH, FRAMES = 12, 16, 4


def entry(video_id: int, seed: int, score: float, category: int = 1) -> dict[str, Any]:
    """Returns a square that depends on the seed, absent in one frame."""
    draw = np.random.default_rng(seed)
    top, left = draw.integers(0, 6, 2)
    masks = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    masks[:, top : top + 6, left : left + 8] = True
    rles: list[Any] = list(encode_masks(masks))
    rles[int(draw.integers(FRAMES))] = None
    return {
        "video_id": video_id,
        "score": score,
        "category_id": category,
        "segmentations": rles,
    }


def entries(seed: int) -> list[dict[str, Any]]:
    """Returns results of three videos, best score first within each."""
    scores = (0.9, 0.8, 0.1 + seed / 100)
    return [
        entry(video, 10 * video + number, score, 1 + number % 2)
        for video in (3, 5, 9)
        for number, score in enumerate(scores)
    ]


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def fuse(*inputs: Path, out: Path, options: tuple[str, ...] = ()) -> int:
    return main(["ensemble", "--inputs", *map(str, inputs), "--out", str(out), *options])


def test_a_file_fused_with_itself_is_unchanged(tmp_path: Path) -> None:
    found = entries(1)
    one = write(tmp_path / "a.json", found)
    shuffled = write(tmp_path / "b.json", random.Random(4).sample(found, len(found)))
    out = tmp_path / "out.json"
    assert fuse(one, shuffled, one, out=out) == 0
    assert json.loads(out.read_text()) == found
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "b.json", "out.json"}


def test_the_order_of_files_does_not_matter_and_settings_do(tmp_path: Path) -> None:
    one, two = (write(tmp_path / f"{seed}.json", entries(seed)) for seed in (1, 7))
    outs = [tmp_path / name for name in ("ab", "ba", "max")]
    assert fuse(one, two, out=outs[0]) == fuse(two, one, out=outs[1]) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert fuse(one, two, out=outs[2], options=("--set", "inference.fusion.score=max")) == 0
    scores = [sorted({e["score"] for e in json.loads(path.read_text())}) for path in outs[1:]]
    assert scores == [[pytest.approx(0.14), 0.8, 0.9], [pytest.approx(0.17), 0.8, 0.9]]


def test_a_video_that_one_file_lacks_stays_with_half_its_score(tmp_path: Path) -> None:
    everything = write(tmp_path / "a.json", [entry(1, 1, 0.8), entry(2, 2, 0.6)])
    less = write(tmp_path / "b.json", [entry(1, 1, 0.8)])
    nothing = write(tmp_path / "c.json", [])
    assert fuse(everything, less, out=tmp_path / "out.json") == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert [(e["video_id"], e["score"]) for e in found] == [(1, 0.8), (2, 0.3)]
    assert fuse(less, nothing, out=tmp_path / "out.json") == 0
    assert [e["score"] for e in json.loads((tmp_path / "out.json").read_text())] == [0.4]


@pytest.mark.parametrize(
    "content, words",
    [
        ([entry(3, 1, 0.5) | {"score": "high"}], ["score", "a finite number"]),
        ([entry(3, 1, 0.5) | {"segmentations": [None] * 3}], ["segmentations", "4 entries"]),
        ([entry(3, 1, 0.5) | {"video_id": "x"}], ["video_id"]),
        ([entry(3, 1, 0.5) | {"category_id": None}], ["category_id"]),
        ([entry(3, 1, 0.5) | {"segmentations": [{"size": [5, 5], "counts": "1"}] * 4}], ["size"]),
        ({"results": []}, ["a list of results"]),
        ([1], ["an object"]),
    ],
)
def test_a_faulty_file_is_named_and_nothing_is_written(
    content: object, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path / "good.json", [entry(3, 1, 0.5)])
    bad = write(tmp_path / "bad.json", content)
    assert fuse(good, bad, out=tmp_path / "out.json") == 2
    message = capsys.readouterr().err
    assert "bad.json" in message
    assert all(word in message for word in words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.json", "good.json"]


def test_predicted_qualities_are_kept(tmp_path: Path) -> None:
    rated = [entry(1, 1, 0.8) | {"predicted_quality": 0.5}]
    files = [write(tmp_path / "a.json", rated), write(tmp_path / "b.json", [entry(1, 1, 0.8)])]
    assert fuse(*files, out=tmp_path / "out.json") == 0
    assert json.loads((tmp_path / "out.json").read_text()) == rated
    bad = write(tmp_path / "bad.json", [entry(1, 1, 0.8) | {"predicted_quality": "good"}])
    assert fuse(bad, out=tmp_path / "out.json") == 2


def document(seed: int, model: str = "a", video: str = "v.mp4", frames: int = FRAMES) -> Document:
    """Returns a result of ``annotate`` for a video: two tracks."""
    tracks = []
    for number, score in enumerate((0.9, 0.5 + seed / 100)):
        rles = entry(1, 10 * seed + number, score)["segmentations"][:frames]
        masks = PackedMasks.of(rles)
        scores = array("d", [score] * len(masks))
        quality = 0.25 if number else None
        tracks.append(Track(number, number, score, masks, scores, quality))
    names = [f"video/{index:06d}.jpg" for index in range(frames)]
    info = {"video": video, "video_version": f"e-{video}", "model": model, "max_frames": None}
    about = {"name": video, "file_names": names, "rate": 25.0}
    result = VideoResult(HEIGHT, WIDTH, frames, tracks)
    return result_document(info, about, Categories((10, 20), ("one", "two")), result)


def test_a_result_of_annotate_fused_with_itself_keeps_its_tracks(tmp_path: Path) -> None:
    found = document(1)
    one = write(tmp_path / "a.json", found)
    assert fuse(one, one, out=tmp_path / "out.json") == 0
    fused = json.loads((tmp_path / "out.json").read_text())
    for table in ("videos", "categories", "annotations"):
        assert fused[table] == found[table]
    assert fused["info"]["fused"] == [{"model": "a"}] * 2
    read_youtube_vis(tmp_path / "out.json")
    assert read_result_document(tmp_path / "out.json").info["video"] == "v.mp4"


def test_results_of_two_models_are_fused_in_any_order(tmp_path: Path) -> None:
    one = write(tmp_path / "a.json", document(1, "a"))
    two = write(tmp_path / "b.json", document(4, "b"))
    outs = [tmp_path / "ab", tmp_path / "ba"]
    assert fuse(one, two, out=outs[0]) == fuse(two, one, out=outs[1]) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    models = [info["model"] for info in json.loads(outs[0].read_text())["info"]["fused"]]
    assert sorted(models) == ["a", "b"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"info": {"video_version": "other"}}, ["video_version", "expected e-v.mp4"]),
        ({"categories": [{"id": 10, "name": "one"}, {"id": 20, "name": "2"}]}, ["same classes"]),
        ({"videos": []}, ["videos", "one video, found 0"]),
        ({"info": None}, ["info"]),
        ({"annotations": [{"id": 1}]}, ["video_id", "category_id", "score", "track_id"]),
    ],
)
def test_results_that_do_not_fit_are_refused(
    change: Document, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path / "good.json", document(1))
    bad = write(tmp_path / "bad.json", document(1) | change)
    assert fuse(good, bad, out=tmp_path / "out.json") == 2
    message = capsys.readouterr().err
    assert "bad.json" in message
    assert all(word in message for word in words)
    assert not (tmp_path / "out.json").exists()


def test_another_number_of_frames_is_refused(tmp_path: Path) -> None:
    good = write(tmp_path / "good.json", document(1))
    short = write(tmp_path / "short.json", document(1, frames=3))
    assert fuse(good, short, out=tmp_path / "out.json") == 2


def archive(folder: Path, model: str, *videos: str) -> Path:
    """Writes the output of ``annotate``: results and a manifest."""
    (folder / "results").mkdir(parents=True)
    rows = []
    for number, video in enumerate(videos):
        key = f"results/{model}{number}.json"
        write(folder / key, document(number, model, video))
        rows.append({"video": video, "status": "done", "result": key})
    rows.append({"video": "bad.mp4", "status": "failed", "reason": "x", "result": "failed/1.json"})
    write(folder / "manifest.json", {"model": model, "videos": rows})
    return folder


def test_archives_are_fused_video_by_video_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = archive(tmp_path / "a", "a", "x.mp4", "y.mp4")
    two = archive(tmp_path / "b", "b", "x.mp4", "y.mp4", "z.mp4")
    out = tmp_path / "out"
    assert fuse(one, two, out=out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"not fused: z.mp4: has no result in {one}"
    assert lines[1] == "3 videos: 2 fused, 1 not"
    before = tree(out)
    assert sum(name.startswith("results/") for name in before) == 2
    manifest = json.loads(before["manifest.json"])
    assert manifest["fused"] == [str(one), str(two)]
    for row in manifest["videos"][:2]:
        fused = read_result_document(out / row["result"])
        assert (fused.info["video"], len(fused.tracks)) == (row["video"], 2)
    # again, in another order, after the loss of a result
    (out / manifest["videos"][0]["result"]).unlink()
    assert fuse(two, one, out=out) == 0
    assert "2 fused, 1 not; 1 of them by an earlier run" in capsys.readouterr().out
    assert tree(out) == before
    # the output is an archive itself
    assert fuse(out, out, out=tmp_path / "again") == 0


def test_what_is_no_archive_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = archive(tmp_path / "a", "a", "x.mp4")
    (tmp_path / "b").mkdir()
    assert fuse(one, tmp_path / "b", out=tmp_path / "out") == 2
    assert "no result in results/; give the --out of" in capsys.readouterr().err
    (tmp_path / "b" / "results").mkdir()
    (tmp_path / "b" / "results" / "notes.json").write_text("[1]")
    assert fuse(one, tmp_path / "b", out=tmp_path / "out") == 2
    assert fuse(one, one, out=one) == 2
    assert not (tmp_path / "out").exists()


def test_the_output_is_no_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.json", [entry(3, 1, 0.5)])
    assert fuse(good, out=good) == 2
    assert "is one of the inputs" in capsys.readouterr().err
    assert fuse(good, out=tmp_path / "no" / "out.json") == 2
