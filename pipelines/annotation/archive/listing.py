"""The videos of an archive: which there are, and what tells one content from another."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.annotation.archive.filters import VideoFilter
from pipelines.annotation.archive.uri_lists import ListedStorage, is_list, look_up, read_uris
from pipelines.storage.base import Storage
from pipelines.storage.local import LocalStorage
from pipelines.storage.open import open_storage
from vis_core.errors import ConfigError, shown_name
from vis_core.media.video_files import search_videos

# Bytes at either end of a local file that name its content, beside its size: reading all of an
# archive to skip it would cost as much as annotating it.
FINGERPRINT_BYTES = 1 << 16
VideoStore = Storage | ListedStorage
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
        num_unwanted: Videos that the filter left out.
    """

    storage: VideoStore
    videos: list[ArchivedVideo]
    skipped: list[tuple[str, str]]
    num_other: int
    num_unwanted: int = 0


def list_archive(uri: Path | str, wanted: VideoFilter | None = None) -> Archive:
    """Lists a folder, a single file, an s3:// prefix, or what a list of uris names.

    Args:
        uri: Where the videos are; a .txt, .csv or .parquet file is a list (``uri_lists.py``).
        wanted: Which of them; None means all that look like videos.

    Raises:
        ConfigError: If it is not there or holds no video that is wanted.
        StorageError: If it cannot be listed.
    """
    wanted = wanted or VideoFilter()
    if is_list(uri):
        archive = _list_named(Path(uri), wanted)
    else:
        storage = open_storage(uri)
        if isinstance(storage, LocalStorage):
            archive = _list_folder(storage.root, wanted)
        else:
            archive = _list_objects(storage, wanted)
    if not archive.videos:
        unwanted = f", {archive.num_unwanted} not wanted" if archive.num_unwanted else ""
        raise ConfigError(
            f"{shown_name(str(uri))}: no video file in it ({archive.num_other} other files,"
            f" {len(archive.skipped)} skipped{unwanted}); expected .mp4, .mkv, .avi and the like"
        )
    for name, reason in archive.skipped:
        _log.warning("skipped %s: %s", name, reason)
    return archive


def _list_folder(folder: Path, wanted: VideoFilter) -> Archive:
    if folder.is_file():
        root, paths, skipped, num_other = folder.parent, [folder], [], 0
    else:
        found = search_videos(folder, wanted.suffixes)
        root, paths, num_other = folder, found.videos, len(found.other_files)
        skipped = [(shown_name(path.relative_to(folder)), reason) for path, reason in found.skipped]
    archive = Archive(LocalStorage(root), [], skipped, num_other)
    unwanted = 0
    for path in paths:
        key = path.relative_to(root).as_posix()
        try:
            found_file = path.stat()
            if wanted.wants_name(key) and wanted.wants(found_file.st_size, found_file.st_mtime):
                archive.videos.append(_local_video(key, path, found_file.st_size))
            else:
                unwanted += 1
        except OSError as error:
            skipped.append((shown_name(key), f"cannot be read ({error.strerror})"))
    videos = sorted(archive.videos, key=lambda video: video.key)
    return replace(archive, videos=videos, num_unwanted=unwanted)


def _list_objects(storage: Storage, wanted: VideoFilter) -> Archive:
    counts = Counter[str]()

    def videos() -> Iterator[ArchivedVideo]:
        for entry in storage.list():
            if not wanted.is_video(entry.key):
                counts["other"] += 1
            elif wanted.wants_name(entry.key) and wanted.wants(entry.size, entry.modified_s):
                yield ArchivedVideo(entry.key, entry.size, entry.etag, entry.etag)
            else:
                counts["unwanted"] += 1

    found = sorted(videos(), key=lambda video: video.key)
    return Archive(storage, found, [], counts["other"], counts["unwanted"])


def _list_named(path: Path, wanted: VideoFilter) -> Archive:
    """Looks up what a list names; what is not there is said, and the others are taken."""
    storage = ListedStorage(str(path))
    videos: list[ArchivedVideo] = []
    skipped: list[tuple[str, str]] = []
    counts = Counter[str]()
    named = []
    for uri in read_uris(path):
        if not wanted.is_video(uri):
            counts["other"] += 1
        elif wanted.wants_name(uri):
            named.append(uri)
        else:
            counts["unwanted"] += 1
    for uri, entry in look_up(named, storage):
        if entry is None:
            skipped.append((shown_name(uri), "is not there, or no regular file"))
        elif not wanted.wants(entry.size, entry.modified_s):
            counts["unwanted"] += 1
        elif entry.etag:
            videos.append(ArchivedVideo(uri, entry.size, entry.etag, entry.etag))
        else:
            videos.append(_local_video(uri, Path(uri), entry.size))
    videos.sort(key=lambda video: video.key)
    return Archive(storage, videos, skipped, counts["other"], counts["unwanted"])


def _local_video(key: str, path: Path, size: int) -> ArchivedVideo:
    return ArchivedVideo(key, size, _version(path, size))


def _version(path: Path, size: int) -> str:
    """Names the content of a local file by its size and ends; no clock is asked."""
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        digest.update(file.read(FINGERPRINT_BYTES))
        if size > FINGERPRINT_BYTES:
            file.seek(max(FINGERPRINT_BYTES, size - FINGERPRINT_BYTES))
            digest.update(file.read(FINGERPRINT_BYTES))
    return digest.hexdigest()
