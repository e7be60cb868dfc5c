"""Sources of training clips: still images, pseudo-videos (made on the fly or stored), real videos.

Every clip is a pure function of (index, seed), the same in any worker.
"""

import bisect
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vis_core.clips.augment import augment_clip
from vis_core.clips.pseudo import crop_pair, make_pseudo_clip
from vis_core.clips.readers import (
    first_instance_ids,
    read_still,
    read_video_frames,
    with_instances,
)
from vis_core.clips.rows import classes_of_schema, row_to_clip
from vis_core.clips.sampling import row_seed, sample_frame_indices, sample_near
from vis_core.config.clips import AugmentConfig, PseudoConfig
from vis_core.errors import AnnotationError, ImageError, StorageError
from vis_core.formats.coco import ImageRecord
from vis_core.formats.youtube_vis import VideoRecord
from vis_core.structures import Clip

_MAX_OPEN_FILES = 32  # each open file keeps a descriptor and a parsed footer

_log = logging.getLogger(__name__)


class ClipSource(Protocol):
    """A numbered set of clips."""

    def __len__(self) -> int:
        """Returns the number of clips."""
        ...

    def clip(self, index: int, seed: int) -> Clip:
        """Makes clip ``index``, varied by ``seed``; raises ImageError if an image is damaged."""
        ...


class _StillClips:
    """The still images that have instances, before augmentation."""

    def __init__(self, records: Sequence[ImageRecord], config: AugmentConfig) -> None:
        self._records = with_instances(records)
        self._config = config

    def __len__(self) -> int:
        return len(self._records)

    def is_portrait(self, index: int) -> bool:
        """Returns whether image ``index`` is taller than wide."""
        return self._records[index].height > self._records[index].width

    def _read(self, index: int, seed: int, kind: str) -> tuple[Clip, np.random.Generator]:
        record = self._records[index]
        still = replace(read_still(record), clip_id=f"{kind}:{record.image_id}:{seed}")
        return still, np.random.default_rng(row_seed(seed, record.image_id, 0))


class ImageClips(_StillClips):
    """Still images as clips of one frame."""

    def clip(self, index: int, seed: int) -> Clip:
        """Reads and augments image ``index``."""
        still, generator = self._read(index, seed, "image")
        return augment_clip(still, self._config, generator)


class PairClips(_StillClips):
    """Key-reference pairs made from still images on the fly (2nd place 2022, 2.2)."""

    def clip(self, index: int, seed: int) -> Clip:
        """Reads image ``index`` and makes two views of it."""
        still, generator = self._read(index, seed, "pair")
        return crop_pair(still, self._config, generator)


class PseudoClips:
    """Pseudo-videos from images with instances (CTVIS 3.4), ``clips_per_image`` from each."""

    def __init__(
        self, records: Sequence[ImageRecord], config: PseudoConfig, clips_per_image: int = 1
    ) -> None:
        self._records = with_instances(records)
        self._config = config
        self._clips_per_image = clips_per_image

    def __len__(self) -> int:
        return len(self._records) * self._clips_per_image

    def record(self, index: int) -> ImageRecord:
        """Returns the image that clip ``index`` is made from."""
        return self._records[index // self._clips_per_image]

    def is_portrait(self, index: int) -> bool:
        """Returns whether the image of clip ``index`` is taller than wide."""
        return self.record(index).height > self.record(index).width

    def clip_id(self, index: int, seed: int) -> str:
        """Returns the name of clip ``index``: image, number among the image's clips, seed."""
        replica = index % self._clips_per_image
        return f"pseudo:{self.record(index).image_id}:{replica}:{seed}"

    def clip(self, index: int, seed: int) -> Clip:
        """Makes clip ``index``; pasted instances come from another image of the set."""
        record = self.record(index)
        still = replace(read_still(record), clip_id=self.clip_id(index, seed))
        replica = index % self._clips_per_image
        generator = np.random.default_rng(row_seed(seed, record.image_id, replica))
        partner = self._partner(index // self._clips_per_image, generator)
        return make_pseudo_clip(still, self._config, generator, lambda: _read_partner(partner))

    def _partner(self, image: int, generator: np.random.Generator) -> ImageRecord:
        """Draws another image uniformly; a single image is its own partner."""
        step = int(generator.integers(1, max(2, len(self._records))))
        return self._records[(image + step) % len(self._records)]


class VideoClips:
    """Clips of T frames from labelled videos with tracks, one per video as in the CTVIS release.

    With ``by_frame``, each annotated frame is the first frame of one clip (CrossVIS).
    """

    def __init__(
        self,
        videos: Sequence[VideoRecord],
        frames_folder: Path,
        clip_frames: int,
        frame_range: int,
        config: AugmentConfig,
        *,
        by_frame: bool = False,
    ) -> None:
        self._videos = [video for video in videos if any(not t.iscrowd for t in video.tracks)]
        if not self._videos:
            raise AnnotationError(
                f"{frames_folder}: expected a video with an instance, found none in "
                f"{len(videos)} videos; check the annotation file"
            )
        names = (video.video_id for video in self._videos)
        self._first_ids = dict(zip(names, first_instance_ids(self._videos), strict=False))
        self._folder = frames_folder
        self._clip_frames = clip_frames
        self._frame_range = frame_range
        self._config = config
        # each with its key frame and the frames near which others are drawn, if ``by_frame``
        self._clips: list[tuple[VideoRecord, int | None, list[int]]] = []
        for video in self._videos:
            frames = _annotated_frames(video) if by_frame else []
            self._clips += [(video, key, frames) for key in (frames if by_frame else [None])]

    def __len__(self) -> int:
        return len(self._clips)

    def is_portrait(self, index: int) -> bool:
        """Returns whether the video of clip ``index`` is taller than wide."""
        video = self._clips[index][0]
        return video.height > video.width

    def clip(self, index: int, seed: int) -> Clip:
        """Samples the T frames of clip ``index`` and augments them together."""
        video, key, near = self._clips[index]
        place = f"{video.video_id}" if key is None else f"{video.video_id}:{key}"
        generator = np.random.default_rng(row_seed(seed, place, 0))
        frames = self._frames(video, key, near, generator)
        first_id = self._first_ids[video.video_id]
        clip = read_video_frames(video, self._folder, frames, f"video:{place}:{seed}", first_id)
        return augment_clip(clip, self._config, generator)

    def _frames(
        self, video: VideoRecord, key: int | None, near: list[int], generator: np.random.Generator
    ) -> list[int]:
        """Draws a clip's frames: in order if ``key`` is None, else ``key`` and frames near it."""
        if key is None:
            return sample_frame_indices(
                len(video.file_names), self._clip_frames, self._frame_range, generator
            )
        return [key, *sample_near(near, key, self._clip_frames - 1, self._frame_range, generator)]


class ParquetClips:
    """Clips in Parquet files (see ``clips/rows.py``); to read a clip, only its row group is read.

    Rows are ordered by file name and position; rows with an error are skipped. Without ``augment``,
    the clips are returned as stored.
    """

    def __init__(self, folder: Path, augment: AugmentConfig | None = None) -> None:
        self._augment = augment
        self._files = sorted(folder.glob("*.parquet"))
        if not self._files:
            raise StorageError(
                f"{folder}: expected pseudo-videos (*.parquet), found none; make them with "
                "longtake pseudo"
            )
        self._open: OrderedDict[Path, pq.ParquetFile] = OrderedDict()
        first = _open_parquet(self._files[0])
        self.categories = classes_of_schema(first.schema_arrow, str(self._files[0]))
        self._places = [place for path in self._files for place in self._sound_rows(path)]
        if not self._places:
            raise AnnotationError(
                f'{folder}: expected a clip, found only rows with errors; see the column "error"'
            )

    def __len__(self) -> int:
        return len(self._places)

    def clip(self, index: int, seed: int) -> Clip:
        """Reads and augments clip ``index``."""
        path, group, row = self._places[index]
        try:
            table = self._file(path).read_row_group(group)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{path}: cannot be read ({error}); make the clips again") from error
        clip = row_to_clip(table.slice(row, 1).to_pylist()[0], self.categories)
        if self._augment is None:
            return clip
        generator = np.random.default_rng(row_seed(seed, clip.clip_id, 0))
        return augment_clip(clip, self._augment, generator)

    def _sound_rows(self, path: Path) -> list[tuple[Path, int, int]]:
        """Lists the file, row group and position in the group of every row with a clip."""
        file = _open_parquet(path)
        classes = classes_of_schema(file.schema_arrow, str(path))
        if classes != self.categories:
            raise AnnotationError(
                f"{path}: expected the classes of {self._files[0].name}, found others; keep clips "
                "of different class lists in different folders"
            )
        sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
        ends = list(accumulate(sizes))
        failed = file.read(columns=["error"]).column("error").is_valid().to_pylist()
        places = []
        for row in range(file.metadata.num_rows):
            if not failed[row]:
                group = bisect.bisect_right(ends, row)
                places.append((path, group, row - (ends[group] - sizes[group])))
        file.close()
        return places

    def _file(self, path: Path) -> Any:
        """Returns an open file; closes the least recently used one if there are too many."""
        if path not in self._open:
            self._open[path] = _open_parquet(path)
            if len(self._open) > _MAX_OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(path)
        return self._open[path]


class MixedClips:
    """Clips drawn at random from two sources, with replacement (CTVIS release).

    The seed selects the source; the first source has probability ``share`` in (0, 1).
    """

    def __init__(self, first: ClipSource, second: ClipSource, share: float) -> None:
        self._sources = (first, second)
        self._share = share

    def __len__(self) -> int:
        return sum(len(source) for source in self._sources)

    def clip(self, index: int, seed: int) -> Clip:  # noqa: ARG002 (the seed decides)
        """Draws the source and makes one of its clips."""
        generator = np.random.default_rng(row_seed(seed, "mixed", 0))
        source = self._sources[int(generator.random() >= self._share)]
        return source.clip(int(generator.integers(len(source))), seed)


def _annotated_frames(video: VideoRecord) -> list[int]:
    """Lists the frames that show at least one instance, not counting crowd regions."""
    tracks = [track.segmentations for track in video.tracks if not track.iscrowd]
    return [t for t in range(len(video.file_names)) if any(track[t] for track in tracks)]


def _read_partner(record: ImageRecord) -> Clip:
    """Reads an image to paste from; a damaged image is returned blank, with a warning."""
    try:
        return read_still(record)
    except ImageError as error:
        _log.warning("nothing is pasted from a faulty image: %s", error)
        blank = np.zeros((1, 1, 1, 3), dtype=np.uint8)
        return Clip(str(record.image_id), blank, np.zeros((1, 0, 1, 1), bool), np.zeros(0, int))


def _open_parquet(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(
            f"{path}: expected a whole Parquet file, found damage ({error}); delete it and make "
            "the clips again"
        ) from error
