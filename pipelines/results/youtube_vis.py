"""Converts results in memory and canonical results on disk to the YouTube-VIS format."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.annotation.video.result import OpenFile, files_beside
from vis_core.errors import AnnotationError
from vis_core.files import file_sha256
from vis_core.formats.categories import Categories
from vis_core.formats.mask_table import read_mask_table
from vis_core.formats.strict_json import read_json
from vis_core.formats.youtube_vis import quality_field
from vis_core.inference.mask_sink import MasksInMemory
from vis_core.rle.segmentation import areas_and_boxes
from vis_core.structures import Track, VideoResult

_MEND = "give a result that `longtake annotate` wrote, with the folders beside it"


@dataclass
class _Table:
    """The content of a mask table: masks by track id, and each frame's time and number."""

    masks: MasksInMemory = field(default_factory=MasksInMemory)
    times_s: list[float] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        frame, track_id = row["frame_index"], row["track_id"]
        if frame == len(self.times_s):  # the frames come in order
            self.times_s.append(row["pts_ms"] / 1000)
            self.numbers.append(row["frame_number"])
        if track_id is not None:
            self.masks.add(frame, track_id, row["score"], row["rle_counts"].decode("ascii"))

    def track(self, entry: dict[str, Any]) -> Track:
        """Returns the track of a result entry; the track's label is the category id."""
        track_id, quality = entry["track_id"], entry.get("predicted_quality")
        masks, scores = self.masks.masks[track_id], self.masks.frame_scores[track_id]
        return Track(track_id, entry["category_id"], entry["score"], masks, scores, quality)


def result_document(
    info: dict[str, Any], video: dict[str, Any], categories: Categories, result: VideoResult
) -> dict[str, Any]:
    """Builds the YouTube-VIS form of a result.

    ``info`` describes the result's origin; ``video`` contains further fields of the video's entry.
    """
    size = {"height": result.height, "width": result.width, "length": result.num_frames}
    return {
        "info": info,
        "videos": [{"id": 1, **size, **video}],
        "categories": categories.to_json(),
        "annotations": [
            _annotation(number, size, track, categories.id_of_index(track.label))
            for number, track in enumerate(result.tracks, start=1)
        ],
    }


def youtube_vis_of(root: dict[str, Any], masks: Path) -> dict[str, Any]:
    """Converts a canonical result to a YouTube-VIS file with its origin in ``info``.

    ``file_names`` are the names of the frames if a tool extracts all of them; ``times_s`` are the
    frames' presentation times. Raises AnnotationError if the result and the masks do not belong
    together, or one is damaged.
    """
    try:
        if file_sha256(masks) != root["masks"]["sha256"]:
            raise AnnotationError(f"{masks}: is not the file that its result names; {_MEND}")
        (video,) = root["videos"]
        table = _Table()
        for batch in read_mask_table(masks):
            for row in batch.to_pylist():
                table.add(row)
        size = {name: video[name] for name in ("height", "width", "length")}
        annotations = [
            _annotation(number, size, table.track(entry), entry["category_id"])
            for number, entry in enumerate(root["tracks"], start=1)
        ]
        folder = f"video_{root['info']['video_version'][:12]}"
    except OSError as error:
        raise AnnotationError(f"{masks}: cannot be read ({error.strerror}); {_MEND}") from error
    except (KeyError, TypeError, ValueError, IndexError, pa.ArrowInvalid) as error:
        problem = f"its result does not fit it ({error!r})"
        raise AnnotationError(f"{masks}: {problem}; {_MEND}") from error
    file_names = [f"{folder}/{number:06d}.jpg" for number in table.numbers]
    return {
        "info": root["info"],
        "videos": [{**video, "file_names": file_names, "times_s": table.times_s}],
        "categories": root["categories"],
        "annotations": annotations,
    }


def read_result_json(path: Path, open_file: OpenFile | None = None) -> Any:
    """Reads a canonical or YouTube-VIS result and returns its YouTube-VIS form.

    ``open_file`` opens the mask file by name; None means the output folder of ``path``. Raises
    AnnotationError if the result cannot be read.
    """
    root = read_json(path)
    if not isinstance(root, dict) or "masks" not in root:
        return root
    masks = root["masks"]
    if not isinstance(masks, dict) or not isinstance(masks.get("file"), str):
        raise AnnotationError(f'{path} "masks": expected the file of the masks; {_MEND}')
    with (open_file or files_beside(path))(masks["file"]) as file:
        return youtube_vis_of(root, file)


def _annotation(
    number: int, size: dict[str, int], track: Track, category_id: int
) -> dict[str, Any]:
    num_frames = size["length"]
    segmentations = track.segmentations((size["height"], size["width"]), num_frames)
    areas, boxes = areas_and_boxes(segmentations)
    return {
        "id": number,
        "video_id": 1,
        **size,
        "track_id": track.track_id,
        "category_id": category_id,
        "score": track.score,
        "iscrowd": 0,
        "segmentations": segmentations,
        "areas": areas,
        "bboxes": boxes,
        "frame_scores": track.scores_by_frame(num_frames),
        **quality_field(track.predicted_quality),
    }
