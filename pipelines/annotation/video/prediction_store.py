"""What the workers of the segments of one video have seen of it, until all of it can be named.

    unfinished/<name of the result>/seen-<first>-<last>-<digest>.safetensors   last is exclusive
    unfinished/<name of the result>/end.json                                   how decoding ended

A block holds a fixed number of frames from a multiple of it on, the last one fewer. It is the same
whoever makes it, and however many segments a video is cut into: another job, or the same one with
other workers, goes on with what is there.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from pipelines.annotation.ledger import UNFINISHED, json_bytes
from pipelines.storage.base import Storage, read_if_there
from vis_core.files import short_sha256
from vis_core.inference.predictions import FramePrediction, pack_predictions, unpack_predictions
from vis_core.media.decode_report import DecodeReport, VideoInfo

_SEEN = "seen-"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictionBlock:
    """Is some frames of a video as the network saw them.

    Attributes:
        first: Index of the first of them.
        numbers: Of each, among all frames of the file.
        times_s: Presentation time of each.
        frames: What was found in each.
    """

    first: int
    numbers: list[int]
    times_s: list[float]
    frames: list[FramePrediction]

    @property
    def last(self) -> int:
        """One after the index of the last of them."""
        return self.first + len(self.frames)


@dataclass(frozen=True)
class VideoEnd:
    """Is what is known of a video once its last frame was decoded.

    Attributes:
        num_frames: That are annotated.
        info: What the container says.
        report: What happened while it was decoded.
        video_sha256: Of its bytes.
    """

    num_frames: int
    info: VideoInfo
    report: DecodeReport
    video_sha256: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.info.height, self.info.width


@dataclass(frozen=True)
class PredictionStore:
    """Stores and finds the blocks of one video.

    Attributes:
        storage: Where the results are.
        name: Of the result.
        block_frames: Frames of a block.
    """

    storage: Storage
    name: str
    block_frames: int

    def held(self) -> dict[int, str]:
        """The key of each block that is there, by its first frame."""
        found: dict[int, str] = {}
        prefix = f"{UNFINISHED}{self.name}/{_SEEN}"
        for entry in self.storage.list(f"{UNFINISHED}{self.name}/"):
            if entry.key.startswith(prefix):
                first, last = map(int, entry.key.removeprefix(prefix).split("-")[:2])
                if first % self.block_frames == 0 and last - first <= self.block_frames:
                    found.setdefault(first, entry.key)
        return found

    def put(self, block: PredictionBlock) -> None:
        """Stores a block; of equal ones there is one."""
        body = save(
            {
                **pack_predictions(block.frames),
                "numbers": torch.tensor(block.numbers, dtype=torch.int64),
                "times_s": torch.tensor(block.times_s, dtype=torch.float64),
            }
        )
        where = f"{block.first:012d}-{block.last:012d}-{short_sha256(body)}"
        self.storage.write_once(f"{UNFINISHED}{self.name}/{_SEEN}{where}.safetensors", body)

    def read(self, key: str) -> PredictionBlock | None:
        """Reads a block; None if it has gone or, after it is removed, was damaged."""
        body = read_if_there(self.storage, key)
        if body is None:
            return None
        if short_sha256(body) in key:
            try:
                packed = load(body)
                first = int(key.removeprefix(f"{UNFINISHED}{self.name}/{_SEEN}").split("-")[0])
                numbers, times_s = packed["numbers"].tolist(), packed["times_s"].tolist()
                return PredictionBlock(first, numbers, times_s, unpack_predictions(packed))
            except (SafetensorError, KeyError) as error:
                _log.warning("%s cannot be read: %s", key, error)
        _log.warning("%s is damaged: it is removed and made again", key)
        self.storage.delete(key)
        return None

    def whole(self, first: int, last: int, num_frames: int) -> Iterator[PredictionBlock | None]:
        """Yields the blocks that hold some frames; None, and no more, for one that is not whole.

        Args:
            first: The first of the frames.
            last: After the last of them.
            num_frames: Of the video.
        """
        held, step = self.held(), self.block_frames
        for begin in range(first // step * step, last, step):
            block = self.read(held[begin]) if begin in held else None
            if block is None or block.last != min(begin + step, num_frames):
                yield None
                return
            yield block

    def end(self) -> VideoEnd | None:
        """What is known of the end; None if nobody has come there."""
        body = read_if_there(self.storage, self._end_key)
        if body is None:
            return None
        stored: dict[str, Any] = json.loads(body)
        return VideoEnd(
            stored["num_frames"],
            VideoInfo(**stored["info"]),
            DecodeReport(**stored["report"]),
            stored["video_sha256"],
        )

    def put_end(self, end: VideoEnd) -> None:
        """Stores what is known of the end; whoever comes there first has said it."""
        self.storage.write_once(self._end_key, json_bytes(asdict(end)))

    @property
    def _end_key(self) -> str:
        return f"{UNFINISHED}{self.name}/end.json"
