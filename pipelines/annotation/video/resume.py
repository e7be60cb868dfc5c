"""Saved states of a video whose annotation is unfinished; any worker can continue from them.

    unfinished/<result name>/part-<first frame>-<digest>.parquet   rows of whole frames
    unfinished/<result name>/state-<frames>.safetensors            the tracker state after the rows

A state lists the preceding parts by digest, so parts from different workers cannot be mixed.
"""

import io
import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pipelines.annotation.ledger import STATE, UNFINISHED
from pipelines.storage.base import Storage, read_if_there
from vis_core.files import short_sha256
from vis_core.formats.mask_table import PART

_log = logging.getLogger(__name__)


@dataclass
class UnfinishedVideo:
    """The parts and the newest state of one video.

    This process also keeps the parts in a temporary file, since another job may finish the video
    first and delete the stored parts.
    """

    storage: Storage
    name: str
    sha256: str = ""  # digest of the video's file; empty if unknown
    num_frames: int = 0  # number of frames in the parts
    state: dict[str, Tensor] | None = None  # tracker state after them; None at the start
    _parts: list[str] = field(default_factory=list)
    _sizes: list[int] = field(default_factory=list)
    _spool: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    @classmethod
    def newest(cls, storage: Storage, name: str, sha256: str = "") -> "UnfinishedVideo":
        """Reads the newest complete state of earlier attempts, or returns an empty one.

        States of a file with another digest are ignored.
        """
        keys = {entry.key for entry in storage.list(f"{UNFINISHED}{name}/")}
        prefix = f"{UNFINISHED}{name}/{STATE}"
        for key in sorted((key for key in keys if key.startswith(prefix)), reverse=True):
            unfinished = cls(storage, name, sha256)
            if unfinished._read(key):
                return unfinished
            _log.warning("%s does not fit its parts, so it is ignored", key)
        return cls(storage, name, sha256)

    def save(self, num_frames: int, part: pa.Table, state: dict[str, Tensor]) -> None:
        """Saves the rows since the last part and the tracker state after ``num_frames``."""
        buffer = io.BytesIO()
        pq.write_table(part, buffer, compression="zstd")
        body = buffer.getvalue()
        key = f"{self._folder}part-{self.num_frames:012d}-{short_sha256(body)}.parquet"
        self.storage.write_once(key, body)
        self._keep(key, body)
        previous = self.num_frames
        self.num_frames, self.state = num_frames, None
        about = {"parts": json.dumps(self._parts), "num_frames": str(num_frames)}
        about["video_sha256"] = self.sha256
        self.storage.replace(self._state_key(num_frames), save(state, about))
        self.storage.delete(self._state_key(previous))

    def parts(self) -> Iterator[pa.Table]:
        """Yields the rows of all parts."""
        self._spool.seek(0)
        for size in self._sizes:
            yield pq.read_table(io.BytesIO(self._spool.read(size)))

    @property
    def _folder(self) -> str:
        return f"{UNFINISHED}{self.name}/"

    def _state_key(self, num_frames: int) -> str:
        return f"{self._folder}{STATE}{num_frames:012d}.safetensors"

    def _keep(self, key: str, body: bytes) -> None:
        self._parts.append(key)
        self._sizes.append(len(body))
        self._spool.write(body)

    def _read(self, state_key: str) -> bool:
        """Reads a state and its parts; returns whether they are complete."""
        body = read_if_there(self.storage, state_key)
        try:
            header = {} if body is None else _metadata(body)
            keys = json.loads(header["parts"])
            stored = header.get("video_sha256") or self.sha256
            if stored != (self.sha256 or stored):
                return False
            self.num_frames = int(header["num_frames"])
            self.state = load(body)
        except (SafetensorError, KeyError, ValueError):
            return False
        for key in keys:
            part = read_if_there(self.storage, key)
            if part is None:
                return False
            if short_sha256(part) not in key:
                self.storage.delete(key)  # otherwise no worker could write it again
                return False
            if pq.read_schema(io.BytesIO(part)) != PART:
                return False  # written by another release of this software
            self._keep(key, part)
        return True


def _metadata(body: bytes) -> dict[str, str]:
    """Reads the metadata in the header of a safetensors file."""
    length = int.from_bytes(body[:8], "little")
    return json.loads(body[8 : 8 + length])["__metadata__"]
