"""Several results files become one, by video, whole or not at all."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.cli import main
from vis_core.formats.rle import encode_masks

HEIGHT, WIDTH, FRAMES = 12, 16, 4


def entry(video_id: int, seed: int, score: float, category: int = 1) -> dict[str, Any]:
    """A square that depends on the seed, with a frame missing."""
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
    """Results of three videos, best score first within each."""
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


def test_the_output_is_no_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.json", [entry(3, 1, 0.5)])
    assert fuse(good, out=good) == 2
    assert "is one of the inputs" in capsys.readouterr().err
    assert fuse(good, out=tmp_path / "no" / "out.json") == 2
