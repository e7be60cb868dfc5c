"""The canonical result of one annotated video: a small JSON of its tracks, a Parquet of its masks.

    results/<name>.json                     what made it, the video, its tracks, where the masks are
    masks/<name>-<digest>.parquet           one row per frame and track (``formats/mask_table.py``)

The masks are written first, under a name with a digest of their content; the JSON, written once,
is what makes the video done. Every other format is derived from the two.
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
from pipelines.annotation.video.whole_video import EndedTrack, ProcessedVideo
from pipelines.registry.mlflow_registry import ModelReference
from vis_core.config.inference import InferenceConfig
from vis_core.errors import StorageError
from vis_core.files import file_sha256
from vis_core.formats.categories import Categories
from vis_core.formats.mask_table import RowOwner, TableHeader, write_mask_table
from vis_core.formats.youtube_vis import quality_field

MASKS = "masks/"
Lend = Callable[[str], AbstractContextManager[Path]]


@dataclass(frozen=True)
class ResultAbout:
    """Is what the results of a job have in common.

    Attributes:
        model: The model.
        config: How the videos are walked through.
        max_frames: Frames annotated of each video, or None for all.
        categories: Classes of the model.
    """

    model: ModelReference
    config: InferenceConfig
    max_frames: int | None
    categories: Categories


def commit_result(
    ledger: Ledger,
    video: ArchivedVideo,
    video_sha256: str,
    walked: ProcessedVideo,
    about: ResultAbout,
) -> None:
    """Writes the masks of a video, then the JSON that makes it done.

    Two workers on machines that compute differently may both come here: the first JSON stays, the
    masks of the other leave.
    """
    name, storage = ledger.name(video), ledger.storage
    with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
        path = Path(folder) / "masks.parquet"
        header = TableHeader(
            video.key,
            video_sha256,
            walked.size,
            about.model.name,
            "" if about.model.version is None else str(about.model.version),
            ledger.run_digest,
        )
        num_rows = write_mask_table(path, walked.parts(), _owners(walked, about), header)
        masks = {"file": "", "sha256": file_sha256(path), "rows": num_rows}
        masks["bytes"] = path.stat().st_size
        masks["file"] = f"{MASKS}{name}-{str(masks['sha256'])[:32]}.parquet"
        if not storage.write_once_file(str(masks["file"]), path):
            raise StorageError(
                f"{storage.uri}/{masks['file']}: is damaged; delete it, then run the same command"
                " again"
            )
    info = {
        "video": video.key,
        "video_version": video.version,
        "video_sha256": video_sha256,
        "video_bytes": video.size,
        "model": about.model.name,
        "model_version": about.model.version,
        "model_digest": about.model.digest,
        "settings": about.config.model_dump(mode="json", exclude={"stitching"}),
        "max_frames": about.max_frames,
        "params_hash": ledger.run_digest,
        "software": f"longtake {version('longtake')}",
    }
    document = {
        "info": info,
        "videos": [_video_entry(video, walked)],
        "categories": about.categories.to_json(),
        "tracks": [_track_entry(track, about.categories) for track in walked.tracks],
        "masks": masks,
    }
    if walked.stitching is not None:
        document["stitching"] = walked.stitching
    if not ledger.commit(video, document) and ledger.masks_of(video) != masks:
        storage.delete(str(masks["file"]))


def beside(path: Path) -> Lend:
    """Lends files of the folder that a result at ``path`` is a result of."""
    return lambda file: nullcontext(path.parent.parent / file)


def _owners(walked: ProcessedVideo, about: ResultAbout) -> dict[int, RowOwner]:
    """Who the rows of each life belong to; a track that is listed often is its best class."""
    owners: dict[int, RowOwner] = {}
    for track in walked.tracks:
        owner = RowOwner(
            track.track_id,
            about.categories.id_of_index(track.label),
            about.categories.names[track.label],
            track.score,
        )
        owners.setdefault(track.serial, owner)
    return owners


def _video_entry(video: ArchivedVideo, walked: ProcessedVideo) -> dict[str, Any]:
    height, width = walked.size
    return {
        "id": 1,
        "name": video.key,
        "height": height,
        "width": width,
        "length": walked.num_frames,
        "rate": walked.info.rate,
        "rotation": walked.info.rotation,
        "decoding": {
            **asdict(walked.report),
            "completeness": walked.report.completeness,
            "container": walked.info.container,
            "codec": walked.info.codec,
            "stream_index": walked.info.stream_index,
            "num_video_streams": walked.info.num_video_streams,
        },
    }


def _track_entry(track: EndedTrack, categories: Categories) -> dict[str, Any]:
    return {
        "track_id": track.track_id,
        "category_id": categories.id_of_index(track.label),
        "score": track.score,
        "num_frames": track.num_frames,
        "first_frame": track.first_frame,
        "last_frame": track.last_frame,
        **quality_field(track.predicted_quality),
    }
