import json
from pathlib import Path

import numpy as np
import pytest

from vis_core.errors import AnnotationError
from vis_core.formats.categories import numbered
from vis_core.formats.youtube_vis import (
    VideoRecord,
    read_results,
    read_youtube_vis,
    result_entries,
    write_results,
    write_youtube_vis,
)
from vis_core.rle.packed import PackedMasks
from vis_core.rle.segmentation import encode_mask
from vis_core.structures import Track, VideoResult

MASK = encode_mask(np.eye(4, 5, dtype=bool))


def _document() -> dict:
    return {
        "videos": [{"id": 2, "height": 4, "width": 5, "length": 3,
                    "file_names": ["v/0.jpg", "v/5.jpg", "v/10.jpg"]}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}],
        "annotations": [
            {"id": 8, "video_id": 2, "category_id": 1, "iscrowd": 0, "length": 1,
             "segmentations": [MASK, None, {"size": [4, 5], "counts": [3, 17]}],
             "bboxes": [[0, 0, 4, 4], None, [0, 0, 5, 4]], "areas": [4, None, 17]},
            {"id": 9, "video_id": 2, "category_id": 3, "iscrowd": 1,
             "segmentations": [[[0, 0, 3, 0, 3, 3, 0, 3]], MASK, MASK]},
        ],
    }  # fmt: skip


def _write(folder: Path, document: object, name: str = "file.json") -> Path:
    (folder / name).write_text(json.dumps(document))
    return folder / name


def _error(tmp_path: Path, document: object) -> str:
    with pytest.raises(AnnotationError) as caught:
        read_youtube_vis(_write(tmp_path, document))
    return str(caught.value)


def test_tracks_of_every_mask_form_are_read(tmp_path: Path) -> None:
    videos, categories = read_youtube_vis(_write(tmp_path, _document()))
    assert categories.ids == (3, 1)
    first, second = videos[0].tracks
    assert (first.annotation_id, first.label, first.iscrowd) == (8, 1, False)
    assert first.segmentations[:2] == (MASK, None)
    assert isinstance(first.segmentations[2]["counts"], str)
    assert first.areas == (4, None, 17)
    assert second.iscrowd
    assert second.areas == ()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    videos, categories = read_youtube_vis(_write(tmp_path, _document()))
    write_youtube_vis(tmp_path / "again.json", videos, categories)
    again, same = read_youtube_vis(tmp_path / "again.json")
    assert same == categories
    assert [track.segmentations for track in again[0].tracks] == [
        track.segmentations for track in videos[0].tracks
    ]


def _change(path: str, value: object) -> dict:
    document = _document()
    place: object = document
    *keys, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in keys:
        place = place[key]
    place[last] = value
    return document


FAULTS = [
    ("videos.0.length", 4, '(id 2) "length"'),
    ("videos.0.file_names", [], '(id 2) "length"'),
    ("videos.0.file_names", "v/0.jpg", '(id 2) "file_names"'),
    ("videos.0.file_names", ["a.jpg", "a.jpg", "b.jpg"], "a.jpg twice"),
    ("videos.0.file_names.1", "../x.jpg", '"file_names"[1]'),
    ("videos.0.height", 0, '(id 2) "height"'),
    ("videos.0.width", 2**31, '"height" x "width"'),
    ("videos", {}, '"videos"'),
    ("categories.1.id", 3, "categories[0] has too"),
    ("annotations.0.video_id", 9, '(id 8) "video_id"'),
    ("annotations.0.category_id", True, '(id 8) "category_id"'),
    ("annotations.0.segmentations", [MASK], "a list of 3 entries, found a list of 1"),
    (
        "annotations.0.segmentations.0",
        {"size": [5, 4], "counts": MASK["counts"]},
        "[width, height]",
    ),
    ("annotations.0.segmentations.2", {"size": [4, 5], "counts": [3, 18]}, '"segmentations"[2]'),
    ("annotations.0.bboxes", [[0, 0, 1, 1]], '(id 8) "bboxes"'),
    ("annotations.0.areas.0", -1, '(id 8) "areas"[0]'),
    ("annotations.0.iscrowd", 2, '(id 8) "iscrowd"'),
    ("annotations.0.id", 9, '"id": expected a unique id'),
    ("annotations.0.id", 2**64, '"id": expected a 64-bit integer'),
]


@pytest.mark.parametrize(("path", "value", "words"), FAULTS)
def test_a_fault_is_named(path: str, value: object, words: str, tmp_path: Path) -> None:
    assert words in _error(tmp_path, _change(path, value))


def test_a_track_without_masks_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    document = _change("annotations.0.segmentations", [None, None, None])
    videos, _ = read_youtube_vis(_write(tmp_path, document))
    assert [track.annotation_id for track in videos[0].tracks] == [9]
    assert "(id 8)" in caplog.text


def _ground_truth(tmp_path: Path) -> tuple[list[VideoRecord], object]:
    return read_youtube_vis(_write(tmp_path, _document(), "gt.json"))


def test_results_of_a_video_are_written_and_read_back(tmp_path: Path) -> None:
    videos, categories = _ground_truth(tmp_path)
    tracks = [
        Track(0, 1, 0.25, PackedMasks.of([MASK, None, None])),
        Track(1, 0, 0.75, PackedMasks.of([None, MASK, MASK])),
    ]
    entries = result_entries(VideoResult(4, 5, 3, tracks), 2, categories)
    assert [(entry["category_id"], entry["score"]) for entry in entries] == [(3, 0.75), (1, 0.25)]
    write_results(tmp_path / "results.json", entries)
    assert read_results(tmp_path / "results.json", videos, categories) == entries


GOOD = {"video_id": 2, "score": 0.5, "category_id": 3, "segmentations": [MASK, None, None]}
RESULT_FAULTS = [
    ({**GOOD, "score": float("nan")}, '"score"'),
    ({**GOOD, "score": "0.5"}, '"score"'),
    ({**GOOD, "score": True}, '"score"'),
    ({**GOOD, "video_id": 3}, '"video_id"'),
    ({**GOOD, "category_id": 2}, '"category_id"'),
    ({**GOOD, "segmentations": [MASK]}, '"segmentations"'),
    ({**GOOD, "segmentations": [{**MASK, "size": [9, 9]}, None, None]}, '"segmentations"[0]'),
    ({**GOOD, "segmentations": [{**MASK, "counts": "5"}, None, None]}, "add up to 5"),
    ({"video_id": 2, "score": 0.5, "category_id": 3}, '"segmentations"'),
    ([], "results[0]: expected an object"),
]


@pytest.mark.parametrize(("entry", "words"), RESULT_FAULTS)
def test_a_faulty_result_is_named(entry: object, words: str, tmp_path: Path) -> None:
    videos, categories = _ground_truth(tmp_path)
    with pytest.raises(AnnotationError) as caught:
        read_results(_write(tmp_path, [entry]), videos, categories)
    assert words in str(caught.value)


def test_results_that_are_no_list_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="a list of results"):
        read_results(_write(tmp_path, {}), [], numbered(("cat",)))


@pytest.mark.data
def test_public_samples_are_read_or_refused_in_words(data_dir: Path) -> None:
    for file in sorted((data_dir / "vis_mini").glob("*.json")):
        assert read_youtube_vis(file)[0]
    with pytest.raises(AnnotationError, match="CocoVID"):
        read_youtube_vis(data_dir / "formats" / "mmdetection_vis_sample" / "vis_sample.json")
