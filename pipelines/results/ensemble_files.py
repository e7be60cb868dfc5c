"""Fuses results files of the same videos, one video in memory at a time.

A first pass checks the entries of every file and sorts them by video into a spool folder next to
the output. A second pass fuses the videos one by one and writes each video's entries immediately.
"""

import json
import shutil
import uuid
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pipelines.progress import Progress
from pipelines.results.document import stated_quality
from vis_core.config.inference import FusionConfig
from vis_core.formats.defects import Defects
from vis_core.formats.json_stream import NotStreamableError, stream_objects
from vis_core.formats.result_checks import check_result, entries_alone, first_size
from vis_core.formats.strict_json import entry_name
from vis_core.formats.video_checks import VideoEntry, frame_segmentations
from vis_core.formats.youtube_vis import quality_field
from vis_core.inference.fusion import fuse_tracks
from vis_core.rle.packed import PackedMasks
from vis_core.structures import Track


@dataclass
class _Video:
    """A video's number of frames, height and width; 0 until they are known."""

    num_frames: int
    size: tuple[int, int]


def fuse_files(inputs: Sequence[Path], out: Path, config: FusionConfig) -> int:
    """Fuses YouTube-VIS results of the same videos; returns the number of tracks.

    The output appears whole or not at all, sorted by video and then by score (best first). Raises
    AnnotationError if an input is faulty, or the inputs differ in a video's size or length.
    """
    spool = out.with_name(f".{out.name}-{uuid.uuid4().hex}")
    spool.mkdir()
    try:
        videos: dict[int, _Video] = {}
        for number, path in enumerate(inputs):
            _write_spool(path, spool / str(number), videos)
        fused = spool / "fused.json"
        with fused.open("w", encoding="utf-8") as file:
            count = _fuse_videos(spool, len(inputs), videos, config, file)
        fused.replace(out)
        return count
    finally:
        shutil.rmtree(spool, ignore_errors=True)


def _fuse_videos(
    spool: Path, num_inputs: int, videos: dict[int, _Video], config: FusionConfig, file: TextIO
) -> int:
    """Writes the fused entries of every video; returns their number."""
    count = 0
    file.write("[")
    with Progress(len(videos), "videos", "ensemble") as progress:
        for video_id, video in sorted(videos.items()):
            results = [
                list(_read_spool(spool / str(number) / f"{video_id}.jsonl"))
                for number in range(num_inputs)
            ]
            for track in fuse_tracks(results, video.size, video.num_frames, config):
                entry = {
                    "video_id": video_id,
                    "score": track.score,
                    "category_id": track.label,
                    "segmentations": track.segmentations(video.size, video.num_frames),
                    **quality_field(track.predicted_quality),
                }
                file.write((",\n" if count else "") + json.dumps(entry))
                count += 1
            progress.update(1)
    file.write("]\n")
    return count


def _write_spool(path: Path, folder: Path, videos: dict[int, _Video]) -> None:
    """Checks the entries of a file and appends each to the spool of its video."""
    folder.mkdir()
    defects = Defects(path)
    try:
        for index, entry in enumerate(stream_objects(path)):
            _spool_entry(entry_name("results", index, entry), entry, folder, videos, defects)
    except NotStreamableError:
        entries_alone(path, defects)  # describes the defect
        defects.finish()
        # no defect: an empty list, which cannot be streamed
    defects.finish()


def _spool_entry(
    where: str, entry: dict[str, Any], folder: Path, videos: dict[int, _Video], defects: Defects
) -> None:
    masks = entry.get("segmentations")
    video_id, category = entry.get("video_id"), entry.get("category_id")
    known = {video_id: None} if type(video_id) is int else {}
    classes = {category} if type(category) is int else set()
    if not check_result(where, entry, known, classes, defects):  # type: ignore[arg-type]
        return
    stated = _Video(0, (0, 0))
    if isinstance(masks, list):
        stated = _Video(len(masks), first_size(masks) or (0, 0))
    assert type(video_id) is int
    video = videos.setdefault(video_id, stated)
    if video.size == (0, 0):
        video.size = stated.size
    expected = VideoEntry(*video.size, ("",) * video.num_frames)
    rles = frame_segmentations(where, entry, expected, defects)
    if rles is None or defects.error_count:
        return
    packed = PackedMasks.of(rles)
    line = {
        "label": category,
        "score": float(entry["score"]),
        "frame_indices": packed.frame_indices.tolist(),
        "counts": packed.counts.decode("ascii"),
        "ends": packed.ends.tolist(),
        "quality": stated_quality(where, entry, defects),
    }
    with (folder / f"{video_id}.jsonl").open("a", encoding="ascii") as file:
        file.write(json.dumps(line) + "\n")


def _read_spool(path: Path) -> Iterator[Track]:
    """Yields a video's tracks from the spool; yields nothing if the input lacks the video."""
    if not path.is_file():
        return
    with path.open(encoding="ascii") as file:
        for line in file:
            stored = json.loads(line)
            masks = PackedMasks(
                array("L", stored["frame_indices"]),
                bytearray(stored["counts"], "ascii"),
                array("Q", stored["ends"]),
            )
            yield Track(None, stored["label"], stored["score"], masks, None, stored["quality"])
