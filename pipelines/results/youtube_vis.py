"""Lays results out as YouTube-VIS files: those in memory, and the canonical ones on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.annotation.video.result import Lend, beside
from vis_core.errors import AnnotationError
from vis_core.files import file_sha256
from vis_core.formats.categories import Categories
from vis_core.formats.mask_table import read_mask_table
from vis_core.formats.strict_json import read_json
from vis_core.formats.youtube_vis import quality_field
from vis_core.rle.segmentation import Rle, areas_and_boxes
from vis_core.structures import VideoResult

_MEND = "give a result that `longtake annotate` wrote, with the folders beside it"


@dataclass
class _Shown:
    """Is what the table says of one track: a value for each frame, None where it is absent."""

    segmentations: list[Rle | None]
    scores: list[float | None]


@dataclass
class _Table:
    """Is the content of a table by track, and the time and number of each frame."""

    num_frames: int
    size: tuple[int, int]
    tracks: dict[int, _Shown] = field(default_factory=dict)
    times_s: list[float] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        """Takes a row; the frames come in order."""
        if row["frame_index"] == len(self.times_s):
            self.times_s.append(row["pts_ms"] / 1000)
            self.numbers.append(row["frame_number"])
        if row["track_id"] is None:
            return
        shown = self.of(row["track_id"])
        frame = row["frame_index"]
        counts = row["rle_counts"].decode("ascii")
        shown.segmentations[frame] = {"size": list(self.size), "counts": counts}
        shown.scores[frame] = row["score"]

    def of(self, track_id: int) -> _Shown:
        """What is known of a track; nothing in any frame at first."""
        nowhere: list[Any] = [None] * self.num_frames
        fresh = _Shown(list(nowhere), list(nowhere))
        return self.tracks.setdefault(track_id, fresh)


def result_document(
    info: dict[str, Any], video: dict[str, Any], categories: Categories, result: VideoResult
) -> dict[str, Any]:
    """Lays a result out as it is written; a function of its arguments.

    Args:
        info: What made it.
        video: What else is known of the video than id, size and length.
        categories: Classes of the model.
        result: The tracks.
    """
    size = {"height": result.height, "width": result.width, "length": result.num_frames}
    return {
        "info": info,
        "videos": [{"id": 1, **size, **video}],
        "categories": categories.to_json(),
        "annotations": [
            _annotation(
                number,
                size,
                {
                    "track_id": track.track_id,
                    "category_id": categories.id_of_index(track.label),
                    "score": track.score,
                    **quality_field(track.predicted_quality),
                },
                track.segmentations,
                track.frame_scores,
            )
            for number, track in enumerate(result.tracks, start=1)
        ],
    }


def youtube_vis_of(root: dict[str, Any], masks: Path) -> dict[str, Any]:
    """Lays a canonical result out as a YouTube-VIS file with what made it in ``info``.

    ``file_names`` names the frames as a tool that extracts them would; ``times_s`` is their true
    presentation time.

    Args:
        root: The JSON of the result.
        masks: Its masks.

    Raises:
        AnnotationError: The two do not belong together, or are not what was written.
    """
    try:
        if file_sha256(masks) != root["masks"]["sha256"]:
            raise AnnotationError(f"{masks}: is not the file that its result names; {_MEND}")
        (video,) = root["videos"]
        table = _Table(video["length"], (video["height"], video["width"]))
        for batch in read_mask_table(masks):
            for row in batch.to_pylist():
                table.add(row)
        size = {name: video[name] for name in ("height", "width", "length")}
        annotations = []
        for number, entry in enumerate(root["tracks"], start=1):
            shown = table.of(entry["track_id"])
            annotations.append(_annotation(number, size, entry, shown.segmentations, shown.scores))
        folder = f"video_{root['info']['video_version'][:12]}"
    except OSError as error:
        raise AnnotationError(f"{masks}: cannot be read ({error.strerror}); {_MEND}") from error
    except (KeyError, TypeError, ValueError, IndexError, pa.ArrowInvalid) as error:
        raise AnnotationError(
            f"{masks}: its result does not fit it ({error!r}); {_MEND}"
        ) from error
    frames = {
        "file_names": [f"{folder}/{number:06d}.jpg" for number in table.numbers],
        "times_s": table.times_s,
    }
    return {
        "info": root["info"],
        "videos": [{**video, **frames}],
        "categories": root["categories"],
        "annotations": annotations,
    }


def read_result_json(path: Path, lend: Lend | None = None) -> Any:
    """Reads a result in its YouTube-VIS form, whichever form it has.

    Args:
        path: The JSON.
        lend: Lends the masks by their name; None looks beside the folder of ``path``.

    Raises:
        AnnotationError: It cannot be read.
    """
    root = read_json(path)
    if not isinstance(root, dict) or "masks" not in root:
        return root
    masks = root["masks"]
    if not isinstance(masks, dict) or not isinstance(masks.get("file"), str):
        raise AnnotationError(f'{path} "masks": expected the file of the masks; {_MEND}')
    with (lend or beside(path))(masks["file"]) as file:
        return youtube_vis_of(root, file)


def _annotation(
    number: int,
    size: dict[str, int],
    entry: dict[str, Any],
    segmentations: Sequence[Rle | None],
    frame_scores: Sequence[float | None],
) -> dict[str, Any]:
    """Lays one track out; ``entry`` says which it is, its class and its score."""
    areas, boxes = areas_and_boxes(segmentations)
    return {
        "id": number,
        "video_id": 1,
        **size,
        "track_id": entry["track_id"],
        "category_id": entry["category_id"],
        "score": entry["score"],
        "iscrowd": 0,
        "segmentations": segmentations,
        "areas": areas,
        "bboxes": boxes,
        "frame_scores": frame_scores,
        **quality_field(entry.get("predicted_quality")),
    }
