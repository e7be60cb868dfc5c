"""The length of a video stream as its container declares it."""

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

# Matroska writers state each stream's end in a tag; mkvmerge adds the tag's language to its name.
_END_TAGS = ("DURATION", "DURATION-eng")
_TAG_TIME = re.compile(r"(\d{1,6}):(\d\d):(\d\d(?:\.\d+)?)")


@dataclass(frozen=True)
class DeclaredLength:
    """The length of a video stream according to its container."""

    duration_s: float
    begin_s: float | None  # None if the duration includes the time before the first frame
    is_own: bool  # else the length may be that of another stream

    @property
    def end_s(self) -> float:
        """End of the last frame on the stream's clock."""
        return self.duration_s + (self.begin_s or 0.0)


def declared_length(container: InputContainer, stream: VideoStream) -> DeclaredLength | None:
    """Returns the declared length of a stream, or else that of the file."""
    is_only_stream = len(container.streams) == 1
    file_s = max(container.duration or 0, 0) / av.time_base
    for tag in _END_TAGS:
        if found := _TAG_TIME.match(stream.metadata.get(tag, "")):
            hours, minutes, seconds = (float(part) for part in found.groups())
            own_s = 3600 * hours + 60 * minutes + seconds
            if 0 < own_s < file_s + 1:  # else the tag is that of another file
                return DeclaredLength(own_s, None, True)
    if stream.duration and stream.duration > 0 and stream.time_base:
        duration_s = float(stream.duration * stream.time_base)
        if container.format.name == "asf":  # states one duration, which libav copies to streams
            return DeclaredLength(duration_s, None, is_only_stream)
        return DeclaredLength(duration_s, start_s(stream), True)
    return DeclaredLength(file_s, None, is_only_stream) if file_s else None


def start_s(stream: VideoStream) -> float:
    """Returns the time of a stream's first frame; 0 if unknown."""
    return float((stream.start_time or 0) * (stream.time_base or 0))


def num_empty_chunks(path: Path, container: InputContainer, stream: VideoStream) -> int:
    """Counts a stream's empty chunks in an AVI index; each repeats the previous frame."""
    if container.format.name != "avi":
        return 0
    with path.open("rb") as file:
        file.seek(12)
        while len(header := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"idx1":
                entries = struct.iter_unpack("<4s8xI", file.read(size // 16 * 16))
                chunks = (b"%02ddc" % stream.index, b"%02ddb" % stream.index)
                return sum(name in chunks and size == 0 for name, size in entries)
            file.seek(size + size % 2, 1)
    return 0
