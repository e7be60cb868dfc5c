"""Lists an archive's videos, each with a version (its ETag, or a digest of size, start and end)."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from pipelines.annotation.archive.filters import VideoFilter
from pipelines.annotation.archive.picture_folders import PictureStorage, find_picture_folders
from pipelines.annotation.archive.uri_lists import ListedStorage, is_list, look_up, read_uris
from pipelines.storage.base import Storage
from pipelines.storage.local import LocalStorage
from pipelines.storage.open import absolute_uri, open_storage
from vis_core.errors import ConfigError, shown_name
from vis_core.media.video_files import search_videos

# Bytes at each end of a local file that, with its size, identify its content. Reading a whole
# archive only to skip its finished videos would take as long as annotating it.
FINGERPRINT_BYTES = 1 << 16
VideoStore = Storage | ListedStorage | PictureStorage
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArchivedVideo:
    """One video in an archive."""

    key: str  # name below the archive's root
    size: int  # bytes
    version: str  # changes with the content: the ETag, or a digest of a file's size and ends
    etag: str = ""  # the ETag, empty for a local file

    @property
    def shown(self) -> str:
        """The key on one line."""
        return shown_name(self.key)


@dataclass(frozen=True)
class Archive:
    """A listing of an archive."""

    storage: VideoStore
    videos: list[ArchivedVideo]  # sorted by key
    # names of omitted entries that might be videos, each with the reason
    skipped: list[tuple[str, str]]
    num_other: int  # entries without a video suffix
    num_unwanted: int = 0  # videos that the filter excluded


def list_archive(uri: Path | str, wanted: VideoFilter | None = None) -> Archive:
    """Lists the videos in a folder, a single file, an s3:// prefix, or a list of uris.

    A .txt, .csv or .parquet file is read as a list (``uri_lists.py``).

    Raises:
        ConfigError: The archive does not exist or contains no video that passes the filter.
        StorageError: The archive cannot be listed.
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
        if wanted.picture_rate is not None:
            archive = _with_picture_folders(archive, storage, wanted, wanted.picture_rate)
    if not archive.videos:
        unwanted = f", {archive.num_unwanted} not wanted" if archive.num_unwanted else ""
        raise ConfigError(
            f"{shown_name(str(uri))}: no video file in it ({archive.num_other} other files,"
            f" {len(archive.skipped)} skipped{unwanted}); expected .mp4, .mkv, .avi and the like"
        )
    for name, reason in archive.skipped:
        _log.warning("skipped %s: %s", name, reason)
    return archive


def _with_picture_folders(
    archive: Archive, storage: Storage, wanted: VideoFilter, rate: float
) -> Archive:
    """Adds the folders of pictures; pictures in the root alone are a video named after it."""
    found = find_picture_folders(storage, wanted, rate)
    parent, _, prefix = str(absolute_uri(storage.uri)).rpartition("/")
    is_alone = not archive.videos and [folder.key for folder in found.folders] == ["."]
    if is_alone and parent != "s3:/":
        storage = open_storage(parent or "/")
    else:
        prefix = ""
    is_local = isinstance(storage, LocalStorage)
    videos, skipped = list(archive.videos), [*archive.skipped, *found.skipped]
    for folder in found.folders:
        if folder.key == "." and not prefix:
            skipped.append((".", "pictures are no video: videos lie beside or below them"))
            continue
        etag = "" if is_local else folder.version
        videos.append(ArchivedVideo(prefix or folder.key, folder.size, folder.version, etag))
    return replace(
        archive,
        storage=storage if is_local else PictureStorage(storage, rate),
        videos=sorted(videos, key=lambda video: video.key),
        skipped=skipped,
        num_unwanted=archive.num_unwanted + found.num_unwanted,
    )


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
    """Finds the videos in a list; missing ones are skipped with a reason."""
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
            skipped.append((shown_name(uri), "does not exist, or is no regular file"))
        elif not wanted.wants(entry.size, entry.modified_s):
            counts["unwanted"] += 1
        elif entry.etag:
            videos.append(ArchivedVideo(uri, entry.size, entry.etag, entry.etag))
        else:
            videos.append(_local_video(uri, Path(uri), entry.size))
    videos.sort(key=lambda video: video.key)
    return Archive(storage, videos, skipped, counts["other"], counts["unwanted"])


def file_version(file: BinaryIO, size: int) -> str:
    """Computes a local file's version: a digest of its size and both ends."""
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    digest.update(file.read(FINGERPRINT_BYTES))
    if size > FINGERPRINT_BYTES:
        file.seek(max(FINGERPRINT_BYTES, size - FINGERPRINT_BYTES))
        digest.update(file.read(FINGERPRINT_BYTES))
    return digest.hexdigest()


def _local_video(key: str, path: Path, size: int) -> ArchivedVideo:
    with path.open("rb") as file:
        return ArchivedVideo(key, size, file_version(file, size))
