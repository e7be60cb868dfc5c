"""Lists an archive's videos, each with a version (its ETag, or a digest of size, start and end)."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pipelines.annotation.archive.file_version import file_version
from pipelines.annotation.archive.filters import VideoFilter
from pipelines.annotation.archive.passed_over import (
    describe_other_files,
    describe_skipped,
    suffix_of,
)
from pipelines.annotation.archive.picture_folders import PictureStorage, find_picture_folders
from pipelines.annotation.archive.uri_lists import (
    LIST_SUFFIXES,
    ListedStorage,
    is_list,
    look_up,
    read_uris,
)
from pipelines.storage.base import Storage
from pipelines.storage.local import LocalStorage
from pipelines.storage.open import absolute_uri, open_storage
from vis_core.errors import ConfigError, shown_name
from vis_core.media.video_files import VIDEO_SUFFIXES, search_videos

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
    others: dict[str, int]  # files without a video suffix, counted by their suffix
    num_unwanted: int = 0  # videos that the filter excluded


def list_archive(uri: Path | str, wanted: VideoFilter | None = None) -> Archive:
    """Lists the videos in a folder, an s3:// prefix, a single file or object, or a list of uris.

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
            archive = _list_bucket(storage, str(uri), wanted)
        # of a single file or object, the storage is its folder
        if wanted.picture_rate is not None and archive.storage == storage:
            archive = _with_picture_folders(archive, storage, wanted, wanted.picture_rate)
    if not archive.videos:
        raise ConfigError(f"{shown_name(str(uri))}: {_why_empty(archive, wanted)}")
    for line in describe_skipped(archive.skipped):
        _log.warning("skipped %s", line)
    return archive


def _why_empty(archive: Archive, wanted: VideoFilter) -> str:
    """Returns what a listing without a video passed over, and what it expected."""
    found = [describe_other_files(archive.others)] if archive.others else []
    found += [f"{archive.num_unwanted} not wanted"] if archive.num_unwanted else []
    in_bucket = not isinstance(archive.storage, LocalStorage | ListedStorage)
    nothing = "no object has this name or prefix" if in_bucket else "no other file"
    is_any = wanted.suffixes == VIDEO_SUFFIXES
    kinds = ".mp4, .mkv, .avi and the like" if is_any else ", ".join(sorted(wanted.suffixes))
    kinds += "; see --suffix" if archive.others and is_any else ""
    skipped = "".join(f"; skipped {line}" for line in describe_skipped(archive.skipped))
    return f"no video file in it ({', '.join(found) or nothing}); expected {kinds}{skipped}"


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
    others = Counter(archive.others)
    for folder in found.folders:
        if folder.key == "." and not prefix:
            skipped.append((".", "pictures are no video: videos lie beside or below them"))
            continue
        others.subtract(suffix_of(picture.key) for picture in folder.pictures)
        etag = "" if is_local else folder.version
        videos.append(ArchivedVideo(prefix or folder.key, folder.size, folder.version, etag))
    return replace(
        archive,
        storage=storage if is_local else PictureStorage(storage, rate),
        videos=sorted(videos, key=lambda video: video.key),
        skipped=skipped,
        others=dict(+others),
        num_unwanted=archive.num_unwanted + found.num_unwanted,
    )


def _list_folder(folder: Path, wanted: VideoFilter) -> Archive:
    if folder.is_file():
        root, paths, skipped, others = folder.parent, [folder], [], Counter[str]()
    else:
        found = search_videos(folder, wanted.suffixes)
        root, paths = folder, found.videos
        others = Counter(suffix_of(path.name) for path in found.other_files)
        skipped = [(shown_name(path.relative_to(folder)), reason) for path, reason in found.skipped]
    archive = Archive(LocalStorage(root), [], skipped, dict(others))
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


def _list_bucket(storage: Storage, uri: str, wanted: VideoFilter) -> Archive:
    """Lists a prefix or an object; a name like a video's, without a slash, is an object first."""
    is_object = wanted.is_video(uri) and not uri.endswith("/")
    archive = (_list_object(uri, wanted) if is_object else None) or _list_objects(storage, wanted)
    is_found = archive.videos or archive.num_unwanted
    return archive if is_object or is_found else _list_object(uri, wanted) or archive


def _list_objects(storage: Storage, wanted: VideoFilter) -> Archive:
    counts, others = Counter[str](), Counter[str]()

    def videos() -> Iterator[ArchivedVideo]:
        for entry in storage.list():
            if not wanted.is_video(entry.key):
                others[suffix_of(entry.key)] += 1
            elif wanted.wants_name(entry.key) and wanted.wants(entry.size, entry.modified_s):
                yield ArchivedVideo(entry.key, entry.size, entry.etag, entry.etag)
            else:
                counts["unwanted"] += 1

    found = sorted(videos(), key=lambda video: video.key)
    return Archive(storage, found, [], dict(others), counts["unwanted"])


def _list_object(uri: str, wanted: VideoFilter) -> Archive | None:
    """Returns an archive of the one object that a uri names, or None if there is none."""
    folder, _, name = uri.rstrip("/").rpartition("/")
    storage = open_storage(folder if folder != "s3:/" else uri)
    entry = storage.stat(name) if folder != "s3:/" else None
    if entry is None:
        return None
    if PurePosixPath(name).suffix.lower() in LIST_SUFFIXES:
        mend = "a list must be a file on this machine; download it first"
        raise ConfigError(f"{shown_name(uri)}: is an object, no prefix; {mend}")
    is_wanted = wanted.wants_name(name) and wanted.wants(entry.size, entry.modified_s)
    videos = [ArchivedVideo(name, entry.size, entry.etag, entry.etag)] if is_wanted else []
    return Archive(storage, videos, [], {}, num_unwanted=1 - len(videos))


def _list_named(path: Path, wanted: VideoFilter) -> Archive:
    """Finds the videos in a list; missing ones are skipped with a reason."""
    storage = ListedStorage(str(path))
    videos: list[ArchivedVideo] = []
    skipped: list[tuple[str, str]] = []
    counts, others = Counter[str](), Counter[str]()
    named = []
    for uri in read_uris(path):
        if not wanted.is_video(uri):
            others[suffix_of(uri)] += 1
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
    return Archive(storage, videos, skipped, dict(others), counts["unwanted"])


def _local_video(key: str, path: Path, size: int) -> ArchivedVideo:
    with path.open("rb") as file:
        return ArchivedVideo(key, size, file_version(file, size))
