"""The saved parts of an unfinished video are resumed, or ignored as a whole."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipelines.annotation.video.resume import UnfinishedVideo
from pipelines.storage.open import open_storage
from vis_core.formats.mask_table import MaskRows
from vis_core.rle.segmentation import encode_masks

STATE = {"identities": torch.arange(3)}


def rows_of_frames(first: int, last: int) -> pa.Table:
    rows = MaskRows((6, 8))
    for frame in range(first, last):
        mask = np.random.default_rng(frame).random((1, 6, 8)) > 0.5
        rows.add(frame, 0, 0.5, encode_masks(mask)[0]["counts"])
        rows.close_frame(frame, frame, frame / 10)
    return rows.take()


def test_parts_and_state_come_back(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    kept = UnfinishedVideo(storage, "video")
    kept.save(2, rows_of_frames(0, 2), STATE)
    kept.save(5, rows_of_frames(2, 5), STATE)
    found = UnfinishedVideo.newest(storage, "video")
    assert found.num_frames == 5 and found.state is not None
    assert torch.equal(found.state["identities"], STATE["identities"])
    assert pa.concat_tables(found.parts()) == rows_of_frames(0, 5)


def test_parts_of_another_release_are_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = open_storage(tmp_path)
    # as before parts had boxes
    part = rows_of_frames(0, 2).drop_columns(["bbox"])
    UnfinishedVideo(storage, "video").save(2, part, STATE)
    found = UnfinishedVideo.newest(storage, "video")
    assert found.num_frames == 0 and found.state is None and not list(found.parts())
    assert "does not fit its parts, so it is ignored" in caplog.text
