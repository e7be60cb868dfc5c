"""Search for video files in a folder by suffix.

This module neither opens videos nor imports torch, so a command can reject empty folders quickly.
"""

import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vis_core.errors import ConfigError, shown_name

logger = logging.getLogger(__name__)

# Playlists (m3u8, ffconcat) are included, so that each is refused by name when it is opened; files
# with other suffixes are only counted.
VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3g2", "3gp", "asf", "avi", "flv", "gif", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg"),
        *("mpg", "mts", "ogv", "ts", "vob", "webm", "wmv"),
        *("dv", "f4v", "ivf", "mxf", "nut", "y4m"),
        *("264", "265", "h264", "h265", "hevc", "m1v", "m2v", "mjpeg", "mjpg", "mpv", "obu"),
        *("ffconcat", "m3u", "m3u8"),
    )
)


@dataclass(frozen=True)
class FoundVideos:
    """The files found in a folder, sorted."""

    videos: list[Path]  # regular files with a video suffix
    skipped: list[tuple[Path, str]]  # possible videos, each with the reason for skipping it
    other_files: list[Path]  # regular files with another suffix


def find_videos(folder: Path) -> list[Path]:
    """Lists the video files under ``folder`` and logs the skipped ones."""
    found = search_videos(folder)
    for path, reason in found.skipped:
        logger.warning("skipped %s: %s", shown_name(path), reason)
    return found.videos


def search_videos(folder: Path, suffixes: frozenset[str] = VIDEO_SUFFIXES) -> FoundVideos:
    """Classifies the entries under ``folder``, including sub-folders, as videos or others.

    Links to folders are not followed. Links to files are followed only if the target is inside
    ``folder``, so that an archive cannot make a job read other files. ``suffixes`` must be
    lower case. Raises ConfigError if ``folder`` is not a folder.
    """
    if not folder.is_dir():
        fault = "is not a folder" if folder.exists() else "does not exist"
        raise ConfigError(f"{shown_name(folder)}: {fault}; name a folder of video files")
    root = folder.resolve()
    found = FoundVideos([], [], [])
    for path in _entries(folder, found.skipped):
        is_video = path.suffix.lower() in suffixes
        reason = reason_to_skip(path, root)
        if reason is not None:
            if is_video:
                found.skipped.append((path, reason))
        elif is_video:
            found.videos.append(path)
        else:
            found.other_files.append(path)
    return found


def _entries(folder: Path, skipped: list[tuple[Path, str]]) -> Iterator[Path]:
    """Yields the files below ``folder``, and the folders that are links or named like videos."""

    def skip_folder(error: OSError) -> None:
        skipped.append((Path(error.filename), f"folder cannot be read ({error.strerror})"))

    for parent, folders, files in os.walk(folder, onerror=skip_folder):
        folders.sort()
        linked = [name for name in folders if Path(parent, name).is_symlink()]
        video_like = [name for name in folders if Path(name).suffix.lower() in VIDEO_SUFFIXES]
        yield from (Path(parent, name) for name in sorted({*files, *linked, *video_like}))


def reason_to_skip(path: Path, root: Path) -> str | None:
    """Returns why an entry is not read, or None for a regular file inside ``root``."""
    try:
        mode = path.stat().st_mode
        inside = path.resolve().is_relative_to(root)
    except (OSError, RuntimeError) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    if not inside:
        return "link leaves the archive"
    return None if stat.S_ISREG(mode) else "not a regular file"
