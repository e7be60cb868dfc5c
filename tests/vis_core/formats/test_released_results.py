"""Results entries against those of the IDOL release (reference idol/, section 7)."""

import json
from array import array

import numpy as np
import pytest

from tests.conftest import reference_cases
from vis_core.formats.categories import Categories
from vis_core.formats.youtube_vis import result_entries
from vis_core.rle.packed import PackedMasks
from vis_core.rle.segmentation import decode_rle, encode_masks
from vis_core.structures import Track, VideoResult


@pytest.mark.parity
@pytest.mark.parametrize(
    "path", reference_cases("idol/results_json*.json"), ids=lambda path: path.stem
)
def test_entries_are_those_of_the_release_but_for_null_in_missing_frames(path) -> None:
    for case, wanted in json.loads(path.read_text())["cases"].items():
        with np.load(path.parent / f"tracker_{case}.npz") as file:
            values = dict(file)
        shape = values["out_masks_shape"]
        bits = np.unpackbits(values["out_masks"], count=int(np.prod(shape)))
        masks = bits.reshape(shape).astype(bool)
        height, width = shape[2:].tolist()
        tracks = []
        for row, (frames, score) in enumerate(zip(masks, values["out_scores"], strict=True)):
            shown = frames.any(axis=(1, 2))
            rles = [
                rle if there else None
                for rle, there in zip(encode_masks(frames), shown, strict=True)
            ]
            scores = array("d", [float(score)] * int(shown.sum()))
            label = int(values["out_labels"][row])
            tracks.append(Track(row, label, float(score), PackedMasks.of(rles), scores))
        size = int(values["out_labels"].max()) + 1
        # the recorded ids are the labels, counted from 0; a file's ids start at 1
        categories = Categories(tuple(range(1, size + 1)), tuple(f"class {k}" for k in range(size)))
        result = VideoResult(height, width, int(shape[1]), tracks)
        found = result_entries(result, wanted[0]["video_id"], categories)
        wanted = sorted(wanted, key=lambda entry: -entry["score"])  # ours are sorted best first
        assert len(found) == len(wanted)
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.keys() == theirs.keys()
            assert ours["video_id"] == theirs["video_id"]
            assert ours["category_id"] == theirs["category_id"] + 1
            assert ours["score"] == pytest.approx(theirs["score"], abs=1e-6)
            for mine, other in zip(ours["segmentations"], theirs["segmentations"], strict=True):
                assert mine == other or (mine is None and not decode_rle(other).any())
