"""The verbs evaluate, validate, pack and split from the command line."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jobs.cli import main
from vis_core.formats.categories import numbered
from vis_core.formats.youtube_vis import TrackRecord, VideoRecord, write_results, write_youtube_vis
from vis_core.rle.segmentation import encode_mask


def _mask(left: int) -> dict:
    mask = np.zeros((8, 20), bool)
    mask[2:6, left : left + 6] = True
    return encode_mask(mask)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Writes gt.json with 6 videos of 2 and 3 frames, a perfect good.json and a wrong bad.json."""
    videos, good, bad = [], [], []
    for video in range(1, 7):
        frames = 2 + video % 2
        masks = [_mask(place + video) for place in range(frames)]
        tracks = (TrackRecord(video, video % 2, tuple(masks), False),)
        names = tuple(f"{video}/{frame}.jpg" for frame in range(frames))
        videos.append(VideoRecord(video, 8, 20, names, tracks))
        entry = {"video_id": video, "score": 0.9, "category_id": video % 2 + 1}
        good.append({**entry, "segmentations": masks})
        bad.append({**entry, "segmentations": [_mask(14)] * frames if video > 1 else masks})
    write_youtube_vis(tmp_path / "gt.json", videos, numbered(("cat", "dog")))
    write_results(tmp_path / "good.json", good)
    write_results(tmp_path / "bad.json", bad)
    return tmp_path


def test_evaluate_prints_a_table_and_writes_json(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", "--gt", str(files / "gt.json"), "--results", str(files / "good.json")]
    argv += ["--out", str(files / "stats.json"), "--per-class", "--split-by-length", "--identity"]
    assert main([*argv, "--long-from", "3", "--bootstrap", "20"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[1].split() == ["AP", "100.00", "100.00", "100.00"]
    assert "HOTA 100.00" in shown
    stats = json.loads((files / "stats.json").read_text())
    assert stats["stats"]["AP"] == pytest.approx(1)
    assert stats["classes"]["cat"]["AP50"] == pytest.approx(1)
    assert stats["length"]["long"]["videos"] == 3
    assert stats["identity"]["switches"] == 0
    assert stats["bootstrap"]["AP"]["low"] == pytest.approx(1)


def test_evaluate_says_whether_a_difference_is_significant(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", "--gt", str(files / "gt.json"), "--results", str(files / "good.json")]
    assert main([*argv, "--compare", str(files / "bad.json"), "--bootstrap", "50"]) == 0
    assert "the difference is significant" in capsys.readouterr().out
    assert main([*argv, "--compare", str(files / "good.json"), "--bootstrap", "50"]) == 0
    assert "the difference is not significant" in capsys.readouterr().out


def test_programs_read_one_document(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, good = ["--gt", str(files / "gt.json")], str(files / "good.json")
    assert main(["evaluate", *truth, "--results", good, "--identity", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["stats"]["AP"], scores["identity"]["HOTA"]) == (pytest.approx(1), 1)
    fused = str(files / "fused.json")
    assert main(["ensemble", "--inputs", good, good, "--out", fused, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": fused, "tracks": 6}
    assert main(["split", *truth, "--out", str(files / "parts"), "--json"]) == 0
    sides = json.loads(capsys.readouterr().out)
    assert sides["train"]["videos"] + sides["holdout"]["videos"] == 6


def test_images_are_scored_by_their_own_measure(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    square = {"image_id": 7, "category_id": 1, "bbox": [3, 2, 6, 4], "segmentation": _mask(3)}
    document = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 8, "width": 20}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{**square, "id": 1, "area": 24, "iscrowd": 0}],
    }
    (files / "coco.json").write_text(json.dumps(document))
    (files / "found.json").write_text(json.dumps([{**square, "score": 0.5}]))
    words = ["evaluate", "--gt", str(files / "coco.json"), "--results", str(files / "found.json")]
    assert main([*words, "--out", str(files / "stats.json")]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("segm  AP 100.00  AP50 100.00")
    assert json.loads((files / "stats.json").read_text())["bbox_AP"] == pytest.approx(1)
    for options, message in (
        (["--identity"], "the options of videos do not apply"),
        (["--model", "m"], "expected both or none"),
    ):
        assert main([*words, *options]) == 2
        assert message in capsys.readouterr().err
    videos = ["evaluate", "--gt", str(files / "gt.json"), "--results", str(files / "good.json")]
    assert main([*videos, "--model", "m", "--images", "i"]) == 2
    assert "only work with COCO ground truth" in capsys.readouterr().err


def test_evaluate_refuses_results_of_another_set_with_exit_code_2(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", "--gt", str(files / "gt.json"), "--results", str(files / "gt.json")]
    assert main(argv) == 2
    assert "a list of results" in capsys.readouterr().err
    assert main([*argv, "--out", str(files / "no" / "stats.json")]) == 2
    capsys.readouterr()
    assert main(["evaluate", "--gt", "absent.json", "--results", "r.json", "--per-class"]) == 2
    assert "absent.json: expected a JSON file" in capsys.readouterr().err


def test_validate_lists_every_fault_and_counts(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(files / "gt.json"), str(files / "good.json")]) == 0
    assert "6 videos, 6 tracks, 2 classes" in capsys.readouterr().out
    document = json.loads((files / "gt.json").read_text())
    for annotation in document["annotations"]:
        annotation["segmentations"][0] = {"size": [8, 20], "counts": "5"}
    (files / "broken.json").write_text(json.dumps(document))
    out = files / "faults.json"
    assert main(["validate", str(files / "broken.json"), "--out", str(out)]) == 2
    shown = capsys.readouterr().out
    assert shown.count(": error: ") == 1  # one cause, in one line with its count
    assert "cannot be used: 6 errors" in shown
    assert len(json.loads(out.read_text())[0]["errors"]) == 6


def test_validate_checks_results_against_their_videos(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = json.loads((files / "good.json").read_text())
    entries[0]["video_id"] = 77
    (files / "other.json").write_text(json.dumps(entries))
    assert main(["validate", str(files / "other.json")]) == 0
    argv = ["validate", str(files / "other.json"), "--gt", str(files / "gt.json")]
    assert main(argv) == 2
    assert '"video_id"' in capsys.readouterr().out


def test_pack_writes_the_same_zip_twice_and_refuses_faults(files: Path) -> None:
    argv = ["pack", "--results", str(files / "good.json"), "--out"]
    assert main([*argv, str(files / "a.zip"), "--gt", str(files / "gt.json")]) == 0
    assert main([*argv, str(files / "b.zip")]) == 0
    assert (files / "a.zip").read_bytes() == (files / "b.zip").read_bytes()
    with zipfile.ZipFile(files / "a.zip") as archive:
        assert archive.namelist() == ["results.json"]
        packed = json.loads(archive.read("results.json"))
    assert packed == json.loads((files / "good.json").read_text())
    (files / "none.json").write_text("[]")
    argv[2] = str(files / "none.json")
    assert main([*argv, str(files / "c.zip")]) == 2
    assert not (files / "c.zip").exists()


def test_split_writes_two_files_without_a_leak(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["split", "--gt", str(files / "gt.json"), "--out", str(files / "parts")]
    assert main([*argv, "--holdout", "0.5"]) == 0
    sides = [files / "parts" / name for name in ("train.json", "holdout.json")]
    ids = [{video["id"] for video in json.loads(side.read_text())["videos"]} for side in sides]
    assert ids[0] | ids[1] == set(range(1, 7))
    assert ids[0].isdisjoint(ids[1])
    check = ["split", "--gt", str(sides[0]), "--check"]
    assert main([*check, str(sides[1])]) == 0
    assert main([*check, str(files / "gt.json")]) == 2
    assert "share folder" in capsys.readouterr().err


def test_split_without_a_folder_or_with_a_wrong_share_is_refused(files: Path) -> None:
    assert main(["split", "--gt", str(files / "gt.json")]) == 2
    argv = ["split", "--gt", str(files / "gt.json"), "--out", str(files / "parts")]
    assert main([*argv, "--holdout", "1.5"]) == 2
    assert not (files / "parts").exists()
