"""Filters for archive entries by suffix, name, size and date, without storage access."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from vis_core.errors import ConfigError
from vis_core.media.video_files import VIDEO_SUFFIXES

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@dataclass(frozen=True)
class VideoFilter:
    """The conditions that an archive entry must meet."""

    suffixes: frozenset[str] = VIDEO_SUFFIXES  # video suffixes, in lower case and with the dot
    # patterns, one of which must match the name below the root (``*`` also matches ``/``); empty
    # allows any name
    globs: tuple[str, ...] = ()
    min_bytes: int = 0
    max_bytes: int | None = None
    after_s: float | None = None  # earliest modification time, in seconds since 1970, or None
    # pictures per second of folders of pictures, which are then videos; None lists files only
    picture_rate: float | None = None
    before_s: float | None = None  # exclusive upper bound of the modification time, or None

    def is_video(self, key: str) -> bool:
        """Returns whether a key has one of the filter's suffixes."""
        return PurePosixPath(key).suffix.lower() in self.suffixes

    def wants_name(self, key: str) -> bool:
        """Returns whether a name matches one of the patterns; True if there are none."""
        return not self.globs or any(fnmatchcase(key, pattern) for pattern in self.globs)

    def wants(self, size: int, modified_s: float) -> bool:
        """Returns whether an entry's size and date are within the limits."""
        return (
            size >= self.min_bytes
            and (self.max_bytes is None or size <= self.max_bytes)
            and (self.after_s is None or modified_s >= self.after_s)
            and (self.before_s is None or modified_s < self.before_s)
        )


def parse_filter(
    *,
    suffixes: Sequence[str] = (),
    globs: Sequence[str] = (),
    min_size: str | None = None,
    max_size: str | None = None,
    after: str | None = None,
    before: str | None = None,
    picture_rate: float | None = None,
) -> VideoFilter:
    """Parses options; raises ConfigError for an empty suffix or an unreadable size or date."""
    wanted = frozenset(f".{suffix.strip().lower().lstrip('.')}" for suffix in suffixes)
    if "." in wanted:
        raise ConfigError("--suffix: expected suffixes such as mp4,mkv, found an empty one")
    if picture_rate is not None and not 0.001 <= picture_rate <= 1000:
        raise ConfigError(
            f"--frames-as-videos {picture_rate:g}: expected pictures per second, 0.001 to 1000"
        )
    return VideoFilter(
        suffixes=wanted or VIDEO_SUFFIXES,
        globs=tuple(globs),
        min_bytes=0 if min_size is None else _bytes("--min-size", min_size),
        max_bytes=None if max_size is None else _bytes("--max-size", max_size),
        after_s=None if after is None else _seconds("--modified-after", after),
        before_s=None if before is None else _seconds("--modified-before", before),
        picture_rate=picture_rate,
    )


def _bytes(option: str, text: str) -> int:
    number, unit = text.strip().lower().removesuffix("b"), ""
    if number[-1:] in _UNITS:
        number, unit = number[:-1], number[-1:]
    if not number.isascii() or not number.isdigit():
        raise ConfigError(f"{option} {text}: expected bytes such as 500000, 500k, 20M or 3G")
    return int(number) * _UNITS[unit]


def _seconds(option: str, text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{option} {text}: expected a date such as 2026-11-25 or 2026-11-25T18:00+01:00"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
