"""Folders of numbered pictures in an archive, each a video (``--frames-as-videos``)."""

import hashlib
import logging
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipelines.annotation.archive.file_version import file_version
from pipelines.annotation.archive.filters import VideoFilter
from pipelines.storage.base import Storage, StoredObject
from pipelines.storage.local import LocalStorage
from vis_core.errors import VideoDecodeError, shown_name
from vis_core.media.pictures import before_gaps, in_order, is_picture
from vis_core.media.video_files import reason_to_skip

# Bytes at each end of a local picture that identify its content; most pictures are read whole.
_END_BYTES = 1 << 21
_DOWNLOADS = 16  # at once
_PREFIX = "pictures-"  # of a folder's version, which no ETag has
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PictureFolder:
    """A folder whose pictures are the frames of a video."""

    key: str
    pictures: list[StoredObject]  # in order
    version: str  # changes with the rate, and with the name or content of a picture
    size: int  # bytes


@dataclass
class FoundFolders:
    """The folders of pictures in an archive."""

    folders: list[PictureFolder] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)  # name and reason
    num_unwanted: int = 0


@dataclass(frozen=True)
class PictureStorage:
    """A bucket prefix with folders of pictures, which are downloaded as local folders."""

    storage: Storage
    rate: float

    @property
    def uri(self) -> str:
        """The uri of the prefix."""
        return self.storage.uri

    @contextmanager
    def as_file(self, key: str, etag: str = "") -> Iterator[Path]:
        """Provides a video as a local file, or a folder's pictures as a local folder."""
        if not etag.startswith(_PREFIX):
            with self.storage.as_file(key, etag) as path:
                yield path
            return
        entries = [e for e in self.storage.list(f"{key}/") if _is_picture_of(e.key, key)]
        with tempfile.TemporaryDirectory(prefix="longtake-") as temporary:
            target = Path(temporary, "pictures")
            target.mkdir()

            def download(entry: StoredObject) -> None:
                with self.storage.as_file(entry.key, entry.etag) as path:
                    shutil.move(path, target / PurePosixPath(entry.key).name)

            if _version(self.storage, entries, self.rate) != etag:
                why = "its pictures changed since they were listed; run the same command again"
                raise VideoDecodeError(f"{shown_name(key)}: {why}", "changed")
            with ThreadPoolExecutor(_DOWNLOADS) as threads:
                list(threads.map(download, entries))
            yield target


def find_picture_folders(storage: Storage, wanted: VideoFilter, rate: float) -> FoundFolders:
    """Finds the folders that hold numbered pictures and no video; the key of the root is ".".

    A folder with another picture is skipped with a reason.
    """
    groups: dict[str, list[StoredObject]] = defaultdict(list)
    with_videos = set()
    for entry in storage.list():
        path = PurePosixPath(entry.key)
        if is_picture(path.name):
            groups[path.parent.as_posix()].append(entry)
        elif wanted.is_video(entry.key):
            with_videos.add(path.parent.as_posix())
    found = FoundFolders()
    for key, entries in sorted(groups.items()):
        try:
            if key in with_videos:
                raise ValueError("holds videos beside its pictures")
            folder = _folder(storage, key, entries, rate)
        except (ValueError, OSError) as error:
            found.skipped.append((shown_name(key), f"pictures are no video: {error}"))
            continue
        newest_s = max(entry.modified_s for entry in entries)
        if wanted.wants_name(key) and wanted.wants(folder.size, newest_s):
            found.folders.append(folder)
        else:
            found.num_unwanted += 1
    return found


def folder_version(folder: Path, rate: float) -> str:
    """Computes the version of a local folder, which its listing has, too."""
    storage = LocalStorage(folder)
    return _version(storage, [e for e in storage.list() if _is_picture_of(e.key, ".")], rate)


def _folder(
    storage: Storage, key: str, entries: Sequence[StoredObject], rate: float
) -> PictureFolder:
    """Returns a folder; raises ValueError if its pictures are not numbered or leave the archive."""
    by_name = {PurePosixPath(entry.key).name: entry for entry in entries}
    names = in_order(by_name)
    if isinstance(storage, LocalStorage):
        root = storage.root.resolve()
        for name in names:
            reason = reason_to_skip(storage.root / by_name[name].key, root)
            if reason is not None:
                raise ValueError(f"{shown_name(name)}: {reason}")
    for name in before_gaps(names):
        _log.warning("%s: a number is missing after %s", shown_name(key), shown_name(name))
    pictures = [by_name[name] for name in names]
    size = sum(entry.size for entry in pictures)
    return PictureFolder(key, pictures, _version(storage, pictures, rate), size)


def _is_picture_of(key: str, folder: str) -> bool:
    path = PurePosixPath(key)
    return path.parent.as_posix() == folder and is_picture(path.name)


def _version(storage: Storage, pictures: Sequence[StoredObject], rate: float) -> str:
    digest = hashlib.blake2b(repr(float(rate)).encode(), digest_size=16)
    for entry in sorted(pictures, key=lambda entry: entry.key):
        content = entry.etag.encode()
        if isinstance(storage, LocalStorage):
            with (storage.root / entry.key).open("rb") as file:
                content = file_version(file, entry.size, _END_BYTES).encode()
        name = PurePosixPath(entry.key).name.encode("utf-8", "surrogateescape")
        digest.update(b"%d %d " % (len(name), entry.size) + name + content)
    return _PREFIX + digest.hexdigest()
