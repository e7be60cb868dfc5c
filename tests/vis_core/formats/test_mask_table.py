"""A video's masks become a Parquet file, whatever parts they came in."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vis_core.formats.categories import Categories
from vis_core.formats.mask_table import (
    GROUP_FRAMES,
    MASK_TABLE,
    MaskRows,
    TableHeader,
    read_mask_table,
    write_mask_table,
)
from vis_core.rle.segmentation import decode_rle, encode_masks, rle_boxes_xywh
from vis_core.structures import Track

SIZE = (6, 7)
CATEGORIES = Categories((10, 20), ("cat", "dog"))
HEADER = TableHeader("a/b.mp4", "f" * 64, SIZE, "toy", "3", "d" * 64, CATEGORIES)
TRACKS = [Track(0, 0, 0.9, serial=0), Track(5, 1, 0.8, serial=2), Track(0, 1, 0.7, serial=0)]
OWNERS = {track.serial: track for track in TRACKS[:2]}
NUM_FRAMES = 2 * GROUP_FRAMES + 9


def shown(frame: int) -> list[tuple[int, np.ndarray]]:
    """Returns the serials and masks of each frame; some frames are empty."""
    generator = np.random.default_rng(frame)
    serials = [serial for serial in range(4) if generator.random() < 0.4]
    return [(serial, generator.random(SIZE) > 0.4) for serial in serials]


def parts(cuts: list[int]) -> list[pa.Table]:
    rows, tables = MaskRows(SIZE), []
    for first, last in pairwise([0, *cuts, NUM_FRAMES]):
        for frame in range(first, last):
            for serial, mask in shown(frame):
                (rle,) = encode_masks(mask[None])
                rows.add(frame, serial, serial + frame / 1000, rle["counts"])
            rows.close_frame(frame, 2 * frame, frame / 25)
        tables.append(rows.take())
    return tables


def test_rows_are_those_of_the_naive_loop(tmp_path: Path) -> None:
    path = tmp_path / "masks.parquet"
    count = write_mask_table(path, parts([]), TRACKS, HEADER)
    found = pq.read_table(path)
    assert found.schema.remove_metadata() == MASK_TABLE
    rows = iter(found.to_pylist())
    for frame in range(NUM_FRAMES):
        own = [(serial, mask) for serial, mask in shown(frame) if serial in OWNERS]
        for serial, mask in own or [(None, None)]:
            row = next(rows)
            assert row["frame_index"] == frame and row["frame_number"] == 2 * frame
            assert row["pts_ms"] == pytest.approx(frame * 40)
            assert row["video_uri"] == "a/b.mp4" and row["model_version"] == "3"
            if serial is None:
                assert row["track_id"] is row["score"] is row["bbox"] is row["rle_counts"] is None
                continue
            owner = OWNERS[serial]
            assert (row["track_id"], row["track_score"]) == (owner.track_id, owner.score)
            assert row["category_id"] == CATEGORIES.ids[owner.label]
            assert row["category_name"] == CATEGORIES.names[owner.label]
            assert row["score"] == serial + frame / 1000
            rle = {"size": row["rle_size"], "counts": row["rle_counts"].decode()}
            np.testing.assert_array_equal(decode_rle(rle), mask)
            assert row["bbox"] == rle_boxes_xywh([rle])[0].tolist()
    assert next(rows, None) is None
    assert count == len(found)


@pytest.mark.parametrize("cuts", [[1], [GROUP_FRAMES], [3, 3, 300, 400, 500], [NUM_FRAMES]])
def test_bytes_do_not_depend_on_the_parts(cuts: list[int], tmp_path: Path) -> None:
    write_mask_table(tmp_path / "whole", parts([]), TRACKS, HEADER)
    write_mask_table(tmp_path / "cut", parts(cuts), TRACKS, HEADER)
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
    assert pq.ParquetFile(tmp_path / "cut").num_row_groups == 3


def test_a_video_without_a_track_has_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "masks.parquet"
    assert write_mask_table(path, parts([]), [], HEADER) == NUM_FRAMES
    frames = [row for batch in read_mask_table(path) for row in batch["frame_index"].to_pylist()]
    assert frames == list(range(NUM_FRAMES))
