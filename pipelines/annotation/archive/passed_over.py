"""Descriptions of the entries of an archive that a listing does not take."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from vis_core.media.pictures import PICTURE_SUFFIXES

_LONGEST_SUFFIX = 12  # with its dot; a longer one is part of a name, such as a date
_MOST_SUFFIXES = 8  # in one line
_MOST_NAMES = 3  # with one reason


def suffix_of(name: str) -> str:
    """Returns a file's suffix in lower case, with the dot; empty if there is none."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix[1:].isalnum() and len(suffix) <= _LONGEST_SUFFIX else ""


def describe_other_files(counts: Mapping[str, int]) -> str:
    """Returns the number of files without a video suffix and their suffixes, commonest first."""
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{suffix or 'no suffix'} {count}" for suffix, count in ranked[:_MOST_SUFFIXES]]
    more = ["..."] if len(ranked) > _MOST_SUFFIXES else []
    files = "other file" if total == 1 else "other files"
    has_pictures = any(counts.get(suffix) for suffix in PICTURE_SUFFIXES)
    mend = "; --frames-as-videos RATE takes folders of pictures" if has_pictures else ""
    return f"{total} {files} passed over ({', '.join(named + more)}{mend})"


def describe_skipped(skipped: Sequence[tuple[str, str]]) -> list[str]:
    """Returns a line for each reason, with the names that were skipped for it."""
    names: dict[str, list[str]] = {}
    for name, reason in skipped:
        names.setdefault(reason, []).append(name)
    lines = []
    for reason, alike in names.items():
        are_many = len(alike) > _MOST_NAMES
        shown = f"{len(alike)} entries such as {alike[0]}" if are_many else ", ".join(alike)
        lines.append(f"{shown}: {reason}")
    return lines
