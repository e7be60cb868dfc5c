"""2,000 structure-aware mutants of valid files: our own errors only, and no wrong mask."""

import copy
import json
import random
from pathlib import Path

import numpy as np
import pytest

from vis_core.errors import AnnotationError
from vis_core.formats.coco import read_coco
from vis_core.formats.youtube_vis import read_results, read_youtube_vis
from vis_core.rle.segmentation import decode_rle, encode_mask

BAD = [
    None, True, False, -1, 0, 1, 7, 1.5, -0.5, 1e8, 1e308, float("nan"), float("inf"), 2**31, 2**63,
    2**200, "", "1", "o", "ooooooooo", "\x00", "\ud800", "../x", "NaN", [], {}, [1], [[]], [[1, 2]],
    [None], {"size": [1, 1]}, {"size": [2**31, 2**31], "counts": "0"}, {"counts": []}, [1e9] * 6,
]  # fmt: skip
PER_KIND = 700


def _mask(seed: int) -> dict:
    return encode_mask(np.random.default_rng(seed).random((6, 7)) > 0.5)


def _coco() -> dict:
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 6, "width": 7}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 9.0,
             "bbox": [0, 0, 3, 3], "segmentation": [[0, 0, 3, 0, 3, 3], [2, 2, 6, 2, 6, 5]]},
            {"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": _mask(1)},
            {"id": 3, "image_id": 1, "category_id": 1, "iscrowd": 0,
             "segmentation": {"size": [6, 7], "counts": [10, 20, 12]}},
        ],
    }  # fmt: skip


def _videos() -> dict:
    names = ["v/0.jpg", "v/1.jpg"]
    return {
        "videos": [{"id": 1, "height": 6, "width": 7, "length": 2, "file_names": names}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "video_id": 1, "category_id": 1, "iscrowd": 0, "areas": [9, None],
             "bboxes": [[0, 0, 3, 3], None], "segmentations": [_mask(2), None]},
            {"id": 2, "video_id": 1, "category_id": 1, "iscrowd": 0,
             "segmentations": [{"size": [6, 7], "counts": [10, 20, 12]}, [[0, 0, 3, 0, 3, 3]]]},
        ],
    }  # fmt: skip


def _results() -> list:
    return [
        {"video_id": 1, "category_id": 1, "score": 0.5, "segmentations": [_mask(3), None]},
        {"video_id": 1, "category_id": 1, "score": 0.4, "segmentations": [_mask(4), _mask(5)]},
    ]


def _mutate(document: object, rng: random.Random) -> object:
    """Changes one to three places: another value, a missing or duplicate entry, a damaged text."""
    mutant = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(mutant))
        holder, key = rng.choice(places)
        kind = rng.randrange(5)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif kind == 2 and isinstance(holder[key], str) and holder[key]:
            letters = list(holder[key])
            letters[rng.randrange(len(letters))] = chr(rng.randrange(30, 130))
            holder[key] = "".join(letters)
        elif kind == 3 and type(holder[key]) is int:
            holder[key] += rng.choice((-1, 1, 2**32))
        else:
            holder[key] = copy.deepcopy(rng.choice(BAD))
        if not mutant:
            return mutant
    return mutant


def _places(value: object) -> list:
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += _places(inner)
    return found


def _read(kind: str, file: Path) -> list:
    if kind == "coco":
        return [rle for record in read_coco(file, None)[0] for rle in record.segmentations]
    if kind == "videos":
        tracks = [track for video in read_youtube_vis(file)[0] for track in video.tracks]
        return [rle for track in tracks for rle in track.segmentations]
    truth = file.with_name("truth.json")
    truth.write_text(json.dumps(_videos()))
    return [rle for e in read_results(file, *read_youtube_vis(truth)) for rle in e["segmentations"]]


@pytest.mark.parametrize("kind", ["coco", "videos", "results"])
def test_a_mutant_is_read_right_or_refused_by_our_own_error(kind: str, tmp_path: Path) -> None:
    original = {"coco": _coco, "videos": _videos, "results": _results}[kind]()
    rng = random.Random(kind)
    file = tmp_path / "mutant.json"
    read, refused = 0, 0
    for _ in range(PER_KIND):
        file.write_text(json.dumps(_mutate(original, rng)))
        try:
            rles = _read(kind, file)
        except AnnotationError as error:
            assert "mutant.json" in str(error)
            refused += 1
            continue
        read += 1
        for rle in rles:
            if rle is not None:
                assert rle["size"] == [6, 7] or kind != "results"
                mask = decode_rle(rle)
                assert mask.shape == tuple(rle["size"])
    assert read > 20
    assert refused > 200
