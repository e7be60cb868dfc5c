"""A video's masks as a Parquet file: one row per frame and track, in frame order.

Masks arrive frame by frame and are taken out of memory in parts (``MaskRows``). A track's class and
score are known only after the last frame, so they are added when the parts are combined into the
file (``write_mask_table``). Both steps keep at most a few hundred frames in memory. A frame without
tracks has one row, so that the file contains the times of all frames.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vis_core.formats.categories import Categories
from vis_core.rle.segmentation import Rle, rle_boxes_xywh
from vis_core.structures import Track

# Frames per row group, the unit of reading. Groups begin at multiples of it, so that equal
# results give identical bytes, however often the work was interrupted.
GROUP_FRAMES = 256
_NO_TRACK = -1
_BOXES_AT_ONCE = 64  # rows; few, since the last batch delays the end of a video
# Lists of variable length: Parquet cannot read null lists of fixed length.
_BOX, _SIZE = pa.list_(pa.float32()), pa.list_(pa.int32())
_PartRow = tuple[int, int, float, int, float, bytes | None]
_NAME = pa.dictionary(pa.int32(), pa.string())

PART = pa.schema(
    [
        ("frame_index", pa.int64()),
        ("frame_number", pa.int64()),
        ("pts_ms", pa.float64()),
        ("serial", pa.int64()),
        ("score", pa.float64()),
        ("rle_counts", pa.binary()),
        ("bbox", _BOX),
    ]
)
MASK_TABLE = pa.schema(
    [
        ("video_uri", _NAME),
        ("video_sha256", _NAME),
        ("frame_index", pa.int64()),
        ("frame_number", pa.int64()),
        ("pts_ms", pa.float64()),
        ("track_id", pa.int64()),
        ("category_id", pa.int64()),
        ("category_name", _NAME),
        ("score", pa.float64()),
        ("track_score", pa.float64()),
        ("bbox", _BOX),
        ("rle_size", _SIZE),
        ("rle_counts", pa.binary()),
        ("model_name", _NAME),
        ("model_version", _NAME),
        ("params_hash", _NAME),
    ]
)


@dataclass
class MaskRows:
    """The rows of the frames added since the last ``take``; a ``MaskSink``.

    Boxes are computed while the network runs; computing them afterwards would delay the result.
    """

    size: tuple[int, int]  # height and width of every frame
    _rows: list[_PartRow] = field(default_factory=list)
    _boxes: list[list[float] | None] = field(default_factory=list)  # boxes of the first rows
    _open_frames: dict[int, list[tuple[int, float, bytes]]] = field(default_factory=dict)

    def add(self, frame_index: int, serial: int, score: float, counts: str) -> None:
        """Adds a track's run lengths in a frame; called before ``close_frame``."""
        row = serial, score, counts.encode("ascii")
        self._open_frames.setdefault(frame_index, []).append(row)

    def drop(self, serial: int) -> None:
        """Does nothing, since ``write_mask_table`` omits the rows of dropped tracks."""

    def close_frame(self, frame_index: int, frame_number: int, time_s: float) -> None:
        """Ends frame ``frame_index`` of the annotated frames, ``frame_number`` of the video."""
        frame = (frame_index, frame_number, time_s * 1000)
        self._rows.append((*frame, _NO_TRACK, 0.0, None))
        self._rows += [(*frame, *row) for row in self._open_frames.pop(frame_index, [])]
        if len(self._rows) - len(self._boxes) >= _BOXES_AT_ONCE:
            self._add_boxes()

    def take(self) -> pa.Table:
        """Returns the rows of the closed frames and clears them."""
        assert not self._open_frames, "a frame is not closed"
        self._add_boxes()
        rows = [(*row, box) for row, box in zip(self._rows, self._boxes, strict=True)]
        columns = zip(*rows, strict=True) if rows else [()] * len(PART)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, PART.types, strict=True)]
        self._rows.clear()
        self._boxes.clear()
        return pa.Table.from_arrays(arrays, schema=PART)

    def _add_boxes(self) -> None:
        """Computes the missing xywh boxes; a row without a mask gets no box."""
        texts = [counts for *_, counts in self._rows[len(self._boxes) :]]
        rles: list[Rle] = [
            {"size": list(self.size), "counts": text.decode("ascii")}
            for text in texts
            if text is not None
        ]
        boxes = iter(rle_boxes_xywh(rles).tolist())
        self._boxes += [None if text is None else next(boxes) for text in texts]


@dataclass(frozen=True)
class TableHeader:
    """The values shared by all rows of a file."""

    video_uri: str
    video_sha256: str
    size: tuple[int, int]  # height and width of every frame
    model_name: str
    model_version: str  # empty if the model has none
    params_hash: str  # digest of the model and settings
    categories: Categories


def renumber_serials(part: pa.Table, serials: Mapping[int, int]) -> pa.Table:
    """Replaces a part's serials with ``serials[old]``; removes rows whose serial is not a key."""
    new = {**serials, _NO_TRACK: _NO_TRACK}
    old = part["serial"].to_pylist()
    part = part.filter(pa.array([serial in new for serial in old], pa.bool_()))
    column = pa.array([new[serial] for serial in old if serial in new], pa.int64())
    return part.set_column(part.schema.get_field_index("serial"), PART.field("serial"), column)


def write_mask_table(
    path: Path, parts: Iterable[pa.Table], tracks: Iterable[Track], header: TableHeader
) -> int:
    """Writes a video's file from its parts and returns the number of rows.

    The parts are in frame order and contain only whole frames. The tracks are sorted by score, best
    first; rows whose serial belongs to no track are omitted. A track with several labels is written
    with the first one.
    """
    owners: dict[int, Track] = {}
    for track in tracks:
        owners.setdefault(track.serial, track)
    num_rows = 0
    with pq.ParquetWriter(path, MASK_TABLE, compression="zstd") as writer:
        for group in _groups(parts):
            table = _finished_rows(group, owners, header)
            writer.write_table(table, row_group_size=max(1, len(table)))
            num_rows += len(table)
    return num_rows


def read_mask_table(path: Path) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a file in batches."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group).to_batches()


def _groups(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Regroups the rows of all parts at multiples of ``GROUP_FRAMES``."""
    pending: list[pa.Table] = []
    group = 0
    for part in parts:
        groups = part["frame_index"].to_numpy() // GROUP_FRAMES
        starts = np.flatnonzero(np.diff(groups, prepend=group))
        for first, last in pairwise([0, *starts.tolist(), len(part)]):
            if first == last:
                continue
            if pending and groups[first] != group:
                yield pa.concat_tables(pending)
                pending = []
            pending.append(part.slice(first, last - first))
            group = int(groups[first])
    if pending:
        yield pa.concat_tables(pending)


def _finished_rows(part: pa.Table, owners: Mapping[int, Track], header: TableHeader) -> pa.Table:
    """Adds the track and header columns to a group; removes rows whose serial has no track."""
    serials, frames = part["serial"].to_numpy(), part["frame_index"].to_numpy()
    owned = np.isin(serials, np.fromiter(owners, np.int64, len(owners)))
    empty = (serials == _NO_TRACK) & ~np.isin(frames, frames[owned])
    part = part.filter(pa.array(owned | empty))
    tracks = [owners.get(serial) for serial in part["serial"].to_pylist()]
    ids, names = header.categories.ids, header.categories.names
    counts = part["rle_counts"].combine_chunks()
    columns = {
        "video_uri": header.video_uri,
        "video_sha256": header.video_sha256,
        "frame_index": part["frame_index"],
        "frame_number": part["frame_number"],
        "pts_ms": part["pts_ms"],
        "track_id": pa.array([t and t.track_id for t in tracks], pa.int64()),
        "category_id": pa.array([t and ids[t.label] for t in tracks], pa.int64()),
        "category_name": pa.array([t and names[t.label] for t in tracks], pa.string()),
        "score": pc.if_else(pc.is_valid(counts), part["score"], None),
        "track_score": pa.array([t and t.score for t in tracks], pa.float64()),
        "bbox": part["bbox"],
        "rle_size": pa.array([list(header.size)] * len(tracks), _SIZE),
        "rle_counts": counts,
        "model_name": header.model_name,
        "model_version": header.model_version,
        "params_hash": header.params_hash,
    }
    arrays = [
        pa.array([column] * len(tracks), pa.string()) if isinstance(column, str) else column
        for column in columns.values()
    ]
    return pa.table(dict(zip(columns, arrays, strict=True))).cast(MASK_TABLE)
