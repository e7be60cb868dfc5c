"""The masks of a video as a Parquet file: one row per frame and track, in the order of the frames.

Masks come frame by frame and leave memory in parts (``MaskRows``); what only the whole video tells,
the class and the score of a track, is added when the parts become the file (``write_mask_table``).
Neither holds more than some hundred frames. A frame without a track has one row without one, so
that the times of all frames are there.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vis_core.rle.segmentation import Rle, rle_boxes_xywh

# Frames of one row group: what is read at once. Groups begin at its multiples, so that equal
# results are equal bytes however often the work was interrupted.
GROUP_FRAMES = 256
_NO_TRACK = -1
_BOXES_AT_ONCE = 64  # rows; those that are left at the end of a video are waited for
# lists of any length: Parquet reads none of a fixed length that may be null
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


@dataclass(frozen=True)
class RowOwner:
    """Is what the rows of one track say of it.

    Attributes:
        track_id: Its identity.
        category_id: Of its best class.
        category_name: The same in words.
        score: Of the track with this class.
    """

    track_id: int
    category_id: int
    category_name: str
    score: float


@dataclass
class MaskRows:
    """Gathers the rows of the frames since it was last emptied; is the sink of a walk.

    Boxes are found on the way, beside the network that looks at the next frames, and not at the
    end, where nothing else would be left to do.

    Attributes:
        size: Height and width of every frame.
    """

    size: tuple[int, int]
    _rows: list[_PartRow] = field(default_factory=list)
    _boxes: list[list[float] | None] = field(default_factory=list)  # of the first rows
    _shown: dict[int, list[tuple[int, float, bytes]]] = field(default_factory=dict)

    def show(self, frame_index: int, serial: int, score: float, counts: str) -> None:
        """Takes the run lengths of a track in a frame, before or after ``frame`` tells of it."""
        self._shown.setdefault(frame_index, []).append((serial, score, counts.encode("ascii")))

    def drop(self, serial: int) -> None:
        """Does nothing: rows of lives that are not in the result are left out at the end."""

    def frame(self, frame_index: int, frame_number: int, time_s: float) -> None:
        """Closes a frame: all that it shows has been told.

        Args:
            frame_index: Among the annotated frames.
            frame_number: Among all frames of the file.
            time_s: Presentation time.
        """
        where = (frame_index, frame_number, time_s * 1000)
        self._rows.append((*where, _NO_TRACK, 0.0, None))
        self._rows += [(*where, *row) for row in self._shown.pop(frame_index, [])]
        if len(self._rows) - len(self._boxes) >= _BOXES_AT_ONCE:
            self._find_boxes()

    def take(self) -> pa.Table:
        """Gives the rows of the closed frames and forgets them."""
        assert not self._shown, "a frame is not closed"
        self._find_boxes()
        rows = [(*row, box) for row, box in zip(self._rows, self._boxes, strict=True)]
        columns = zip(*rows, strict=True) if rows else [()] * len(PART)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, PART.types, strict=True)]
        self._rows.clear()
        self._boxes.clear()
        return pa.Table.from_arrays(arrays, schema=PART)

    def _find_boxes(self) -> None:
        """Finds the boxes xywh of the rows that have none yet; a row without a mask has none."""
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
    """Is what all rows of a file say, and what is said of them.

    Attributes:
        video_uri: Where the video is.
        video_sha256: Of its bytes.
        size: Height and width of every frame.
        model_name: Of the model.
        model_version: Of the model; empty if it has none.
        params_hash: Names the model and the settings.
    """

    video_uri: str
    video_sha256: str
    size: tuple[int, int]
    model_name: str
    model_version: str
    params_hash: str


def renumbered(part: pa.Table, serials: Mapping[int, int]) -> pa.Table:
    """Gives the lives of a part other serials; the rows of those that have none leave.

    Args:
        part: As ``MaskRows.take`` gave it.
        serials: The new serial of each old one.
    """
    new = {**serials, _NO_TRACK: _NO_TRACK}
    old = part["serial"].to_pylist()
    part = part.filter(pa.array([serial in new for serial in old], pa.bool_()))
    column = pa.array([new[serial] for serial in old if serial in new], pa.int64())
    return part.set_column(part.schema.get_field_index("serial"), PART.field("serial"), column)


def write_mask_table(
    path: Path, parts: Iterable[pa.Table], owners: Mapping[int, RowOwner], header: TableHeader
) -> int:
    """Writes the file of a video from its parts; memory holds one part and one row group.

    Args:
        path: The file.
        parts: In the order of their frames, each of whole frames.
        owners: The tracks of the result by the serial of their life; other rows are left out.
        header: What all rows say.

    Returns:
        The number of rows.
    """
    num_rows = 0
    with pq.ParquetWriter(path, MASK_TABLE, compression="zstd") as writer:
        for group in _groups(parts):
            table = _finished(group, owners, header)
            writer.write_table(table, row_group_size=max(1, len(table)))
            num_rows += len(table)
    return num_rows


def read_mask_table(path: Path) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a file, some at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group).to_batches()


def _groups(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Cuts the rows of all parts anew, at multiples of the frames of a group."""
    held: list[pa.Table] = []
    group = 0
    for part in parts:
        groups = part["frame_index"].to_numpy() // GROUP_FRAMES
        starts = np.flatnonzero(np.diff(groups, prepend=group))
        for first, last in pairwise([0, *starts.tolist(), len(part)]):
            if first == last:
                continue
            if held and groups[first] != group:
                yield pa.concat_tables(held)
                held = []
            held.append(part.slice(first, last - first))
            group = int(groups[first])
    if held:
        yield pa.concat_tables(held)


def _finished(part: pa.Table, owners: Mapping[int, RowOwner], header: TableHeader) -> pa.Table:
    """Adds to the rows of a group what is known at the end; rows of no track of it leave."""
    serials, frames = part["serial"].to_numpy(), part["frame_index"].to_numpy()
    owned = np.isin(serials, np.fromiter(owners, np.int64, len(owners)))
    bare = (serials == _NO_TRACK) & ~np.isin(frames, frames[owned])
    part = part.filter(pa.array(owned | bare))
    rows = [owners.get(serial) for serial in part["serial"].to_pylist()]
    counts = part["rle_counts"].combine_chunks()
    columns = {
        "video_uri": header.video_uri,
        "video_sha256": header.video_sha256,
        "frame_index": part["frame_index"],
        "frame_number": part["frame_number"],
        "pts_ms": part["pts_ms"],
        "track_id": pa.array([row and row.track_id for row in rows], pa.int64()),
        "category_id": pa.array([row and row.category_id for row in rows], pa.int64()),
        "category_name": pa.array([row and row.category_name for row in rows], pa.string()),
        "score": pc.if_else(pc.is_valid(counts), part["score"], None),
        "track_score": pa.array([row and row.score for row in rows], pa.float64()),
        "bbox": part["bbox"],
        "rle_size": pa.array([list(header.size)] * len(rows), _SIZE),
        "rle_counts": counts,
        "model_name": header.model_name,
        "model_version": header.model_version,
        "params_hash": header.params_hash,
    }
    arrays = [
        pa.array([column] * len(rows), pa.string()) if isinstance(column, str) else column
        for column in columns.values()
    ]
    plain = pa.table(dict(zip(columns, arrays, strict=True)))
    return plain.cast(MASK_TABLE)
