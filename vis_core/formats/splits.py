"""Reproducible splits by video, and a check for leaks between the two sides."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from vis_core.errors import ConfigError
from vis_core.formats.youtube_vis import VideoRecord


def split_videos(
    videos: Sequence[VideoRecord], holdout: float, seed: str, group: str | None = None
) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """Splits videos into training and holdout sets by a hash of their folder and the seed.

    Groups are added to the holdout in hash order until the holdout has its share, so that most
    videos stay in their set when videos are added or removed.

    The share ``holdout`` is in (0, 1). A video's group is the part of its folder name that matches
    the regular expression ``group`` (or its first capture group); None means the whole name.
    Raises ConfigError if either set would be empty.
    """
    groups: dict[str, list[VideoRecord]] = defaultdict(list)
    for video in videos:
        groups[_group_of(video, group)].append(video)
    order = sorted(groups, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    wanted = holdout * len(videos)
    held: set[str] = set()
    count = 0
    for name in order:
        if count >= wanted:
            break
        held.add(name)
        count += len(groups[name])
    train = [video for video in videos if _group_of(video, group) not in held]
    kept = [video for video in videos if _group_of(video, group) in held]
    if not train or not kept:
        raise ConfigError(
            f"split: expected videos on both sides, found {len(train)} and {len(kept)} of "
            f"{len(groups)} groups; change --holdout or --group"
        )
    return train, kept


def leaks(
    train: Sequence[VideoRecord], holdout: Sequence[VideoRecord], image_folder: Path | None = None
) -> list[str]:
    """Lists holdout videos that share folder, frame files, masks or contents with training videos.

    If ``image_folder`` is given, the contents of the first, middle and last frames are compared.
    """
    shared: dict[tuple[int, int], list[str]] = defaultdict(list)
    for kind, keys_of in (
        ("folder", lambda video: [_folder(video)]),
        ("frame files", lambda video: list(video.file_names)),
        ("masks", _mask_keys),
        ("frame contents", lambda video: _frame_keys(video, image_folder)),
    ):
        train_video = {key: video for video in train for key in keys_of(video)}
        for video in holdout:
            twin = next((train_video[key] for key in keys_of(video) if key in train_video), None)
            if twin is not None:
                shared[twin.video_id, video.video_id].append(kind)
    return [
        f"videos {one} and {other} share {', '.join(kinds)}"
        for (one, other), kinds in shared.items()
    ]


def _folder(video: VideoRecord) -> str:
    return str(PurePosixPath(video.file_names[0]).parent)


def _group_of(video: VideoRecord, group: str | None) -> str:
    folder = _folder(video)
    if folder == ".":
        folder = video.file_names[0]
    try:
        match = None if group is None else re.search(group, folder)
    except re.error as error:
        message = f"--group: expected a regular expression, found {group!r}: {error}"
        raise ConfigError(message) from None
    if match is None:
        return folder
    return match.group(1) if match.re.groups else match.group(0)


def _mask_keys(video: VideoRecord) -> list[str]:
    """Returns digests of tracks with two or more masks; such a track identifies its video."""
    keys = []
    for track in video.tracks:
        counts = [rle["counts"] for rle in track.segmentations if rle is not None]
        if len(counts) > 1:
            text = f"{video.height} {video.width} " + " ".join(counts)
            keys.append(hashlib.sha256(text.encode()).hexdigest())
    return keys


def _frame_keys(video: VideoRecord, image_folder: Path | None) -> list[str]:
    if image_folder is None:
        return []
    names = video.file_names
    chosen = sorted({names[0], names[len(names) // 2], names[-1]})
    files = [image_folder / name for name in chosen]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]
