"""Where clips come from: still images, pseudo-videos made on the fly or stored, real videos.

Every clip is a pure function of (index, seed), so any worker makes the same.
"""

import bisect
import logging
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vis_core.clips.augment import augment_clip, make_image_clip
from vis_core.clips.pseudo import crop_pair, make_pseudo_clip
from vis_core.clips.readers import read_still, read_video_frames, with_instances
from vis_core.clips.rows import classes_of_schema, row_to_clip
from vis_core.clips.sampling import row_seed, sample_frame_indices
from vis_core.config.clips import AugmentConfig, PairConfig, PseudoConfig
from vis_core.errors import AnnotationError, ImageError, StorageError
from vis_core.formats.coco import ImageRecord
from vis_core.formats.youtube_vis import VideoRecord
from vis_core.structures import Clip

Config = TypeVar("Config", bound=AugmentConfig)

# Open files that are kept: a descriptor and a parsed footer each.
_MAX_OPEN_FILES = 32

_log = logging.getLogger(__name__)


class ClipSource(Protocol):
    """Is a numbered set of clips."""

    def __len__(self) -> int:
        """How many clips it has."""
        ...

    def clip(self, index: int, seed: int) -> Clip:
        """Makes clip ``index``; another seed varies it another way.

        Raises:
            ImageError: If an image cannot be trusted; the message names it.
        """
        ...


class _StillClips(Generic[Config]):
    """Reads still images to be varied; images without instances are left out."""

    def __init__(self, records: Sequence[ImageRecord], config: Config) -> None:
        self._records = with_instances(records)
        self._config = config

    def __len__(self) -> int:
        return len(self._records)

    def _read(self, index: int, seed: int) -> tuple[Clip, np.random.Generator, int]:
        """Gives image ``index`` as a clip of one frame, what varies it, and its id."""
        record = self._records[index]
        generator = np.random.default_rng(row_seed(seed, record.image_id, 0))
        return read_still(record), generator, record.image_id


class ImageClips(_StillClips[AugmentConfig]):
    """Gives still images as clips of one frame."""

    def clip(self, index: int, seed: int) -> Clip:
        """Reads image ``index`` and varies it."""
        still, generator, image_id = self._read(index, seed)
        image, masks, name = still.images[0], still.masks[0], f"image:{image_id}:{seed}"
        return make_image_clip(image, masks, still.labels, self._config, generator, name)


class PairClips(_StillClips[PairConfig]):
    """Makes key-reference pairs of still images as they are asked for (2nd place 2022, 2.2)."""

    def clip(self, index: int, seed: int) -> Clip:
        """Reads image ``index`` and shows it twice."""
        still, generator, image_id = self._read(index, seed)
        image, masks, name = still.images[0], still.masks[0], f"pair:{image_id}:{seed}"
        return crop_pair(image, masks, still.labels, self._config, generator, name)


class PseudoClips:
    """Makes pseudo-videos out of still images (CTVIS 3.4); images without instances are left out.

    Clips ``n * clips_per_image`` to ``(n + 1) * clips_per_image - 1`` are made of image ``n``.
    """

    def __init__(
        self, records: Sequence[ImageRecord], config: PseudoConfig, clips_per_image: int = 1
    ) -> None:
        self._records = with_instances(records)
        self._config = config
        self._clips_per_image = clips_per_image

    def __len__(self) -> int:
        return len(self._records) * self._clips_per_image

    def record(self, index: int) -> ImageRecord:
        """The image that clip ``index`` is made of."""
        return self._records[index // self._clips_per_image]

    def clip_id(self, index: int, seed: int) -> str:
        """The name of clip ``index``: image, number among its clips, seed."""
        replica = index % self._clips_per_image
        return f"pseudo:{self.record(index).image_id}:{replica}:{seed}"

    def clip(self, index: int, seed: int) -> Clip:
        """Makes clip ``index``; what is pasted comes from another image of the same set."""
        record = self.record(index)
        still = read_still(record)
        replica = index % self._clips_per_image
        generator = np.random.default_rng(row_seed(seed, record.image_id, replica))
        partner = self._partner(index // self._clips_per_image, generator)
        return make_pseudo_clip(
            still.images[0],
            still.masks[0],
            still.labels,
            self._config,
            generator,
            self.clip_id(index, seed),
            lambda: _read_partner(partner),
        )

    def _partner(self, own: int, generator: np.random.Generator) -> ImageRecord:
        """Draws another image uniformly; a lone image is its own partner."""
        step = int(generator.integers(1, max(2, len(self._records))))
        return self._records[(own + step) % len(self._records)]


class VideoClips:
    """Samples T frames of labelled videos (released CTVIS); videos without tracks are left out."""

    def __init__(
        self,
        videos: Sequence[VideoRecord],
        frames_folder: Path,
        clip_frames: int,
        frame_range: int,
        config: AugmentConfig,
    ) -> None:
        self._videos = [video for video in videos if any(not t.iscrowd for t in video.tracks)]
        if not self._videos:
            raise AnnotationError(
                f"{frames_folder}: expected a video with an instance, found none in "
                f"{len(videos)} videos; check the annotation file"
            )
        self._folder = frames_folder
        self._clip_frames = clip_frames
        self._frame_range = frame_range
        self._config = config

    def __len__(self) -> int:
        return len(self._videos)

    def clip(self, index: int, seed: int) -> Clip:
        """Draws T frames of video ``index`` and varies them together."""
        video = self._videos[index]
        generator = np.random.default_rng(row_seed(seed, video.video_id, 0))
        frames = sample_frame_indices(
            len(video.file_names), self._clip_frames, self._frame_range, generator
        )
        clip = read_video_frames(video, self._folder, frames, f"video:{video.video_id}:{seed}")
        return augment_clip(clip, self._config, generator)


class ParquetClips:
    """Gives stored clips by number, reading only the row group that holds the one asked for.

    Rows are ordered by file name and place. Rows with an error are passed over.

    Args:
        folder: Holds ``*.parquet`` of ``clips/rows.py``, written with small row groups.
        augment: How a clip is varied by its seed; None gives it as it was stored.
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
        first = _opened(self._files[0])
        self.categories = classes_of_schema(first.schema_arrow, str(self._files[0]))
        self._places = [place for path in self._files for place in self._sound_rows(path)]
        if not self._places:
            raise AnnotationError(
                f"{folder}: expected a clip, found only rows with an error; look at their column "
                '"error"'
            )

    def __len__(self) -> int:
        return len(self._places)

    def clip(self, index: int, seed: int) -> Clip:
        """Reads clip ``index``."""
        path, group, row = self._places[index]
        try:
            table = self._file(path).read_row_group(group)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{path}: cannot be read ({error}); make the clips anew") from error
        clip = row_to_clip(table.slice(row, 1).to_pylist()[0], self.categories)
        if self._augment is None:
            return clip
        generator = np.random.default_rng(row_seed(seed, clip.clip_id, 0))
        return augment_clip(clip, self._augment, generator)

    def _sound_rows(self, path: Path) -> list[tuple[Path, int, int]]:
        """Lists file, row group and place in it of every row that holds a clip."""
        file = _opened(path)
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
        """Opens a file, or finds it open; the one not used for longest is closed."""
        if path not in self._open:
            self._open[path] = _opened(path)
            if len(self._open) > _MAX_OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(path)
        return self._open[path]


class MixedClips:
    """Gives each clip from one of two sources, by chance and with replacement (released CTVIS).

    The seed of a clip decides, so a batch is the same at any parallelism.

    Args:
        first: Gives a clip with the chance ``share``.
        second: Gives the others.
        share: In (0, 1).
    """

    def __init__(self, first: ClipSource, second: ClipSource, share: float) -> None:
        self._sources = (first, second)
        self._share = share

    def __len__(self) -> int:
        return sum(len(source) for source in self._sources)

    def clip(self, index: int, seed: int) -> Clip:  # noqa: ARG002 (the seed decides)
        """Draws the source and the clip."""
        generator = np.random.default_rng(row_seed(seed, "mixed", 0))
        source = self._sources[int(generator.random() >= self._share)]
        return source.clip(int(generator.integers(len(source))), seed)


def _read_partner(record: ImageRecord) -> Clip:
    """Reads an image to paste from; one that cannot be read pastes nothing.

    Its own clips report it: a fault of one image must not spoil the clips of another.
    """
    try:
        return read_still(record)
    except ImageError as error:
        _log.warning("nothing is pasted from a faulty image: %s", error)
        blank = np.zeros((1, 1, 1, 3), dtype=np.uint8)
        return Clip(str(record.image_id), blank, np.zeros((1, 0, 1, 1), bool), np.zeros(0, int))


def _opened(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(
            f"{path}: expected a whole Parquet file, found damage ({error}); delete it and make "
            "the clips anew"
        ) from error
