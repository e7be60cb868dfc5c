"""The folder of pseudo-videos: manifest, checks of existing shards, and final renaming."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config.loading import flatten
from vis_core.config.clips import PseudoConfig
from vis_core.errors import ConfigError, ImageError, StorageError
from vis_core.files import write_json
from vis_core.formats.categories import Categories
from vis_core.formats.coco import ImageRecord

_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class PseudoVideos:
    """A finished folder of pseudo-videos.

    Attributes:
        folder: Folder of the shards, which ``vis_core/clips/sources.py::ParquetClips`` reads.
        failed: Clip id and reason for every clip that could not be created.
        made: Whether this call created the folder; False if it was already finished.
    """

    folder: Path
    num_clips: int
    failed: tuple[tuple[str, str], ...]
    made: bool


def settings_of(
    records: list[ImageRecord],
    categories: Categories,
    config: PseudoConfig,
    seed: int,
    clips_per_image: int,
) -> dict[str, Any]:
    """Returns everything that the clips depend on, by the name used in messages."""
    inputs = {
        "seed": seed,
        "clips_per_image": clips_per_image,
        "images and annotations": _fingerprint(records),
        "classes": [f"{entry['id']} {entry['name']}" for entry in categories.to_json()],
    }
    return inputs | {f"pseudo.{key}": value for key, value in flatten(config).items()}


def _fingerprint(records: list[ImageRecord]) -> str:
    """Returns a digest of the records, independent of the image folder."""
    hashed = hashlib.sha256()
    for record in records:
        content = (record.image_id, Path(record.path).name, record.labels, record.segmentations)
        hashed.update(repr(content).encode())
    return hashed.hexdigest()[:12]


def finished_folder(out: Path, settings: dict[str, Any]) -> PseudoVideos | None:
    """Returns the pseudo-videos at ``out``, or None if nothing exists there.

    Raises ConfigError if ``out`` contains other files, or clips with other settings.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        manifest = json.loads((out / _MANIFEST).read_text())
        found, clips, failed = (manifest[key] for key in ("settings", "num_clips", "failed"))
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{out}: expected an empty or new folder, found other files; choose another folder"
        ) from None
    plain = json.loads(json.dumps(settings))
    changes = [
        f"{key} is {found.get(key)!s:.60} there, now {plain.get(key)!s:.60}"
        for key in sorted({*plain, *found})
        if plain.get(key) != found.get(key)
    ]
    if changes:
        raise ConfigError(
            f"{out}: holds other pseudo-videos: {'; '.join(changes)}; choose another folder or "
            "delete it"
        )
    return PseudoVideos(out, clips, tuple((row[0], row[1]) for row in failed), made=False)


def errors_of(path: Path) -> list[tuple[str, str]]:
    """Returns the clip id and reason of each failed row in a shard."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["clip_id", "error"])
    return [(row["clip_id"], row["error"]) for row in table.to_pylist() if row["error"] is not None]


def is_whole(path: Path) -> bool:
    """Returns whether an earlier run's shard is readable and has no failed clips."""
    import pyarrow as pa

    try:
        return not errors_of(path)
    except (OSError, pa.ArrowException):
        return False


def publish_folder(
    partial: Path, out: Path, shards: list[str], num_rows: int, settings: dict[str, Any]
) -> PseudoVideos:
    """Writes the manifest and renames the folder to its final name."""
    failed = [error for shard in shards for error in errors_of(partial / shard)]
    num_clips = num_rows - len(failed)
    if num_clips == 0:
        shutil.rmtree(partial)
        raise ImageError(f"none of {len(failed)} pseudo-videos could be made; {failed[0][1]}")
    write_json(
        partial / _MANIFEST, {"settings": settings, "num_clips": num_clips, "failed": failed}
    )
    for leftover in partial.glob(".*.part"):  # from a run killed while writing
        leftover.unlink()
    try:
        partial.rename(out)
    except OSError as error:
        again = finished_folder(out, settings)  # another process may have been faster
        if again is None:
            raise StorageError(f"{out}: cannot be created ({error.strerror}); run again") from error
        shutil.rmtree(partial)
        return again
    return PseudoVideos(out, num_clips, tuple(failed), made=True)
