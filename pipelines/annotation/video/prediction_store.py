"""Stored predictions of a video that is processed in segments, kept until its association.

    unfinished/<result name>/seen-<first>-<last>-<digest>.safetensors   frame range, <last> excluded
    unfinished/<result name>/end.json                                   how decoding ended
    unfinished/<result name>/source.json                                digest of the video's file

Each block starts at a multiple of the block size; only the last one may be shorter. Blocks do not
depend on the worker or the number of segments, so any job can continue with existing blocks.
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
    """The predictions of consecutive frames."""

    first: int
    numbers: list[int]  # number of each frame in the file
    times_s: list[float]  # presentation time of each frame
    frames: list[FramePrediction]

    @property
    def last(self) -> int:
        """Index of the last frame plus one."""
        return self.first + len(self.frames)


@dataclass(frozen=True)
class VideoEnd:
    """Facts about a video that are known once its last frame is decoded."""

    num_frames: int  # annotated frames
    info: VideoInfo
    report: DecodeReport
    video_sha256: str  # digest of the file

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.info.height, self.info.width


@dataclass(frozen=True)
class PredictionStore:
    """The blocks of one video."""

    storage: Storage
    name: str
    block_frames: int

    def is_of(self, video_sha256: str) -> bool:
        """Returns whether all blocks are of a file with this digest; the first caller decides."""
        key = f"{UNFINISHED}{self.name}/source.json"
        return self.storage.write_once(key, json_bytes({"video_sha256": video_sha256}))

    def held(self) -> dict[int, str]:
        """Returns the keys of the existing blocks by their first frame."""
        keys: dict[int, str] = {}
        prefix = f"{UNFINISHED}{self.name}/{_SEEN}"
        for entry in self.storage.list(f"{UNFINISHED}{self.name}/"):
            if entry.key.startswith(prefix):
                first, last = map(int, entry.key.removeprefix(prefix).split("-")[:2])
                if first % self.block_frames == 0 and last - first <= self.block_frames:
                    keys.setdefault(first, entry.key)
        return keys

    def put(self, block: PredictionBlock) -> None:
        """Stores a block under a name with its digest, so that equal blocks are stored once."""
        packed = pack_predictions(block.frames)
        packed["numbers"] = torch.tensor(block.numbers, dtype=torch.int64)
        packed["times_s"] = torch.tensor(block.times_s, dtype=torch.float64)
        body = save(packed)
        name = f"{_SEEN}{block.first:012d}-{block.last:012d}-{short_sha256(body)}.safetensors"
        self.storage.write_once(f"{UNFINISHED}{self.name}/{name}", body)

    def read(self, key: str) -> PredictionBlock | None:
        """Reads a block; returns None if it is missing or damaged, and deletes a damaged one."""
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

    def complete(self, first: int, last: int, num_frames: int) -> Iterator[PredictionBlock | None]:
        """Yields the blocks from ``first`` to ``last`` (exclusive); ends with None at a gap."""
        held, step = self.held(), self.block_frames
        for begin in range(first // step * step, last, step):
            block = self.read(held[begin]) if begin in held else None
            if block is None or block.last != min(begin + step, num_frames):
                yield None
                return
            yield block

    def end(self) -> VideoEnd | None:
        """Reads the facts about the end of the video; returns None if no worker has reached it."""
        body = read_if_there(self.storage, self._end_key)
        if body is None:
            return None
        stored: dict[str, Any] = json.loads(body)
        info, report = VideoInfo(**stored["info"]), DecodeReport(**stored["report"])
        return VideoEnd(stored["num_frames"], info, report, stored["video_sha256"])

    def put_end(self, end: VideoEnd) -> None:
        """Stores the facts about the end of the video; the first write wins."""
        self.storage.write_once(self._end_key, json_bytes(asdict(end)))

    @property
    def _end_key(self) -> str:
        return f"{UNFINISHED}{self.name}/end.json"
