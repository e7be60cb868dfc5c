"""The videos of an archive: which there are, and what tells one content from another."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipelines.storage import LocalStorage, Storage, open_storage
from vis_core.errors import ConfigError
from vis_core.formats.video_files import VIDEO_SUFFIXES, search_videos, shown_name

# Bytes at either end of a local file that name its content, beside its size: reading all of an
# archive to skip it would cost as much as annotating it.
ENDS = 1 << 16
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArchivedVideo:
    """Is one video of an archive.

    Attributes:
        key: Name below the root of the archive.
        size: Bytes.
        version: Changes with the content: the ETag, or a digest of size and ends of a file.
        etag: The ETag, empty for a local file.
    """

    key: str
    size: int
    version: str
    etag: str = ""

    @property
    def shown(self) -> str:
        """The key on one line."""
        return shown_name(self.key)


@dataclass(frozen=True)
class Archive:
    """Is a listing of an archive.

    Attributes:
        storage: Where the videos are.
        videos: Sorted by key.
        skipped: Names and reasons of entries that were left out although they might be videos.
        num_other: Entries that are no videos by their suffix.
    """

    storage: Storage
    videos: list[ArchivedVideo]
    skipped: list[tuple[str, str]]
    num_other: int


def list_archive(uri: Path | str) -> Archive:
    """Lists a folder, a single file or an s3:// prefix.

    Raises:
        ConfigError: If it is not there or holds no video.
        StorageError: If it cannot be listed.
    """
    storage = open_storage(uri)
    if isinstance(storage, LocalStorage):
        archive = _list_folder(storage.root)
    else:
        archive = _list_objects(storage)
    if not archive.videos:
        raise ConfigError(
            f"{shown_name(str(uri))}: no video file in it ({archive.num_other} other files,"
            f" {len(archive.skipped)} skipped); expected .mp4, .mkv, .avi and the like"
        )
    for name, reason in archive.skipped:
        _log.warning("skipped %s: %s", name, reason)
    return archive


def _list_folder(folder: Path) -> Archive:
    if folder.is_file():
        root, paths, skipped, num_other = folder.parent, [folder], [], 0
    else:
        found = search_videos(folder)
        root, paths, num_other = folder, found.videos, len(found.other_files)
        skipped = [(shown_name(path.relative_to(folder)), reason) for path, reason in found.skipped]
    videos = []
    for path in paths:
        key = path.relative_to(root).as_posix()
        try:
            size = path.stat().st_size
            videos.append(ArchivedVideo(key, size, _version(path, size)))
        except OSError as error:
            skipped.append((shown_name(key), f"cannot be read ({error.strerror})"))
    return Archive(LocalStorage(root), videos, skipped, num_other)


def _list_objects(storage: Storage) -> Archive:
    num_other = 0

    def videos() -> Iterator[ArchivedVideo]:
        nonlocal num_other
        for entry in storage.list():
            if PurePosixPath(entry.key).suffix.lower() in VIDEO_SUFFIXES:
                yield ArchivedVideo(entry.key, entry.size, entry.etag, entry.etag)
            else:
                num_other += 1

    return Archive(storage, sorted(videos(), key=lambda video: video.key), [], num_other)


def _version(path: Path, size: int) -> str:
    """Names the content of a local file by its size and ends; no clock is asked."""
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        digest.update(file.read(ENDS))
        if size > ENDS:
            file.seek(max(ENDS, size - ENDS))
            digest.update(file.read(ENDS))
    return digest.hexdigest()
