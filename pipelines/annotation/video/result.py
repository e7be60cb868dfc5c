"""The canonical result of one video, a small JSON file of tracks and a Parquet file of masks.

    results/<name>.json              model, settings, video, tracks and the location of the masks
    masks/<name>-<digest>.parquet    one row per frame and track (``formats/mask_table.py``)

The masks are written first, under a name that contains their digest; the JSON is written once and
marks the video as done. All other formats are derived from the JSON and Parquet files.
"""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines.annotation.archive.listing import ArchivedVideo
from pipelines.annotation.ledger import Ledger
from pipelines.annotation.video.whole_video import ProcessedVideo
from pipelines.registry.mlflow_registry import ModelReference
from vis_core.config.inference import InferenceConfig
from vis_core.errors import StorageError
from vis_core.files import file_sha256
from vis_core.formats.categories import Categories
from vis_core.formats.mask_table import TableHeader, write_mask_table
from vis_core.formats.youtube_vis import quality_field
from vis_core.structures import Track

MASKS = "masks/"
# opens a file in the output folder by name, as a local file
OpenFile = Callable[[str], AbstractContextManager[Path]]


@dataclass(frozen=True)
class ResultAbout:
    """The content that all results of a job have in common."""

    model: ModelReference
    config: InferenceConfig
    max_frames: int | None  # frames to annotate per video, or None for all
    categories: Categories


def commit_result(
    ledger: Ledger,
    video: ArchivedVideo,
    video_sha256: str,
    processed: ProcessedVideo,
    about: ResultAbout,
) -> None:
    """Writes a video's masks, then the JSON that marks it as done.

    If two workers have different results, the first JSON stays, and the other worker's masks are
    deleted.
    """
    masks = _write_masks(ledger, video, video_sha256, processed, about)
    unused = {"stitching"} if processed.stitching is None else None
    info = {
        "video": video.key,
        "video_version": video.version,
        "video_sha256": video_sha256,
        "video_bytes": video.size,
        "model": about.model.name,
        "model_version": about.model.version,
        "model_digest": about.model.digest,
        "settings": about.config.model_dump(mode="json", exclude=unused),
        "max_frames": about.max_frames,
        "params_hash": ledger.run_digest,
        "software": f"longtake {version('longtake')}",
    }
    document = {
        "info": info,
        "videos": [_video_entry(video, processed)],
        "categories": about.categories.to_json(),
        "tracks": [_track_entry(track, about.categories) for track in processed.tracks],
        "masks": masks,
    }
    if processed.stitching is not None:
        document["stitching"] = processed.stitching
    if not ledger.commit(video, document) and ledger.masks_of(video) != masks:
        ledger.storage.delete(masks["file"])


def _write_masks(
    ledger: Ledger,
    video: ArchivedVideo,
    video_sha256: str,
    processed: ProcessedVideo,
    about: ResultAbout,
) -> dict[str, Any]:
    """Stores a video's mask table; returns the table's entry in the result."""
    header = TableHeader(
        video.key,
        video_sha256,
        processed.size,
        about.model.name,
        "" if about.model.version is None else str(about.model.version),
        ledger.run_digest,
        about.categories,
    )
    with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
        path = Path(folder) / "masks.parquet"
        num_rows = write_mask_table(path, processed.parts(), processed.tracks, header)
        sha256 = file_sha256(path)
        name = f"{MASKS}{ledger.result_name(video)}-{sha256[:32]}.parquet"
        masks = {"file": name, "sha256": sha256, "rows": num_rows, "bytes": path.stat().st_size}
        if not ledger.storage.write_once_file(name, path):
            raise StorageError(
                f"{ledger.storage.uri}/{name}: is damaged; delete it, then run the same command"
                " again"
            )
    return masks


def files_beside(path: Path) -> OpenFile:
    """Returns an ``OpenFile`` for the local output folder that contains the result ``path``."""
    return lambda file: nullcontext(path.parent.parent / file)


def _video_entry(video: ArchivedVideo, processed: ProcessedVideo) -> dict[str, Any]:
    height, width = processed.size
    info = processed.info
    # Written only where they differ from the usual case, so that other results keep their bytes.
    unusual = {
        "mirrored": info.mirrored,
        "pixel_aspect_ratio": info.pixel_aspect,
        "times": info.times,
        "hdr": info.hdr,
        "tone_mapping": "none" if info.hdr else "",
    }
    return {
        "id": 1,
        "name": video.key,
        "height": height,
        "width": width,
        "length": processed.num_frames,
        "rate": processed.info.rate,
        "rotation": processed.info.rotation,
        **{name: value for name, value in unusual.items() if value},
        "decoding": {
            **asdict(processed.report),
            "completeness": processed.report.completeness,
            "container": processed.info.container,
            "codec": processed.info.codec,
            "stream_index": processed.info.stream_index,
            "num_video_streams": processed.info.num_video_streams,
        },
    }


def _track_entry(track: Track, categories: Categories) -> dict[str, Any]:
    num_frames, first_frame, last_frame = track.shown_frames
    return {
        "track_id": track.track_id,
        "category_id": categories.id_of_index(track.label),
        "score": track.score,
        "num_frames": num_frames,
        "first_frame": first_frame,
        "last_frame": last_frame,
        **quality_field(track.predicted_quality),
    }
