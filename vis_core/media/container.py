"""Opening untrusted video containers, or refusing them with a reason.

Containers that open other files (playlists, concat scripts) are refused, whatever their file name.
Decoding is in ``media/frame_decoder.py``.
"""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import av.logging
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from vis_core.errors import DecodeFailure, VideoDecodeError, shown_name

# Demuxers that read one file and nothing else. Without this list libav follows a playlist or a
# concat script to other files and hosts (CVE-2026-107695, -107697).
ALLOWED_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,gif,asf,ogg"
ALLOWED_CONTAINERS += ",mxf,dv,ivf,nut,yuv4mpegpipe,h264,hevc,mpegvideo,m4v,mjpeg,obu"
# Streams without a container, which store neither times nor a length.
RAW_STREAMS = frozenset({"h264", "hevc", "mpegvideo", "m4v", "mjpeg", "obu"})
# The average rate of these is a default or unknown, so libav's guess from the stream is used.
CONTAINERS_WITHOUT_RATE = RAW_STREAMS | {"ivf", "dv", "nut"}
# Demuxers that open the files or hosts that their file names; others are only not read here.
_OPENING_OTHERS = frozenset(
    {"hls", "dash", "concat", "imf", "sdp", "rtsp", "image2", "vobsub", "webm_dash_manifest"}
)
# These containers store no length, so a truncated end cannot be detected.
CONTAINERS_WITHOUT_LENGTH = frozenset({"mpegts", "mpeg"}) | RAW_STREAMS
# These containers store decoding times and no presentation times.
CONTAINERS_WITHOUT_TIMES = frozenset({"avi", "asf"})
# Transport packet bytes: plain, with a leading time code, with trailing error correction.
TRANSPORT_PACKET_BYTES = (188, 192, 204)
_PIECES_LOST = "freeing incomplete packet"


def open_container(path: Path) -> tuple[InputContainer, int]:
    """Opens a regular file whose container is allowed.

    Also counts the demuxer's complaints, since it reads ahead and reports each fault only once.
    Raises VideoDecodeError if the file is empty or not regular, or its container is not allowed.
    """
    check_regular_file(path)
    # At lower levels libav does not report damage.
    av.logging.set_level(av.logging.INFO)
    # Otherwise libav drops a complaint that repeats the last complaint about the previous video.
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=True) as lines:
            container: InputContainer = av.open(
                # An absolute path starts with "/" and so is never read as a protocol ("concat:").
                str(path.absolute()),
                options={"format_whitelist": ALLOWED_CONTAINERS, "protocol_whitelist": "file"},
                metadata_errors="replace",
            )
        demuxer_lines = [line for line in lines if line[1] == container.format.name]
        return container, num_complaints(demuxer_lines)
    except FFmpegError as error:  # may also be a MemoryError, EOFError or OSError
        kind, why = _open_failure(error)
        raise failure(path, f"{why}; expected one whole video file", kind) from error


def num_complaints(lines: Iterable[tuple[int, str, str]]) -> int:
    """Counts libav's log lines (level, source, message) that report damage.

    These are errors and one lower-level line: the ASF demuxer reports a frame with lost pieces as
    debug information.
    """
    return sum(
        level <= av.logging.ERROR or (source == "asf" and message.startswith(_PIECES_LOST))
        for level, source, message in lines
    )


def choose_stream(container: InputContainer, path: Path) -> VideoStream:
    """Selects the first readable video stream marked as default, or else the first readable one.

    Raises VideoDecodeError if no stream is readable; cover pictures do not count.
    """
    streams = moving_streams(container)
    if not streams:
        kinds = ", ".join(sorted({str(stream.type) for stream in container.streams})) or "none"
        why = f"no video stream (streams: {kinds}); expected one"
        raise failure(path, why, "no video stream")
    readable = [stream for stream in streams if stream.codec_context is not None]
    if not readable:
        why = "no decoder for its video stream; convert it to h264, VP9 or AV1"
        raise failure(path, why, "no decoder")
    default = [stream for stream in readable if stream.disposition & Disposition.default]
    return (default or readable)[0]


def ends_within_packet(path: Path, container: InputContainer) -> bool:
    """Returns whether a transport stream ends within a packet; all packets have the same size."""
    if container.format.name != "mpegts":
        return False
    size = path.stat().st_size
    return all(size % packet_bytes for packet_bytes in TRANSPORT_PACKET_BYTES)


def moving_streams(container: InputContainer) -> list[VideoStream]:
    """Returns the video streams except cover pictures."""
    cover = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def failure(path: Path, why: str, kind: DecodeFailure) -> VideoDecodeError:
    """Returns the error for a video file."""
    return VideoDecodeError(f"{shown_name(path)}: {why}", kind)


def check_regular_file(path: Path) -> None:
    """Raises VideoDecodeError unless a path names a readable, regular file that is not empty."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise failure(path, f"cannot be read ({reason})", "unreadable") from error
    if not stat.S_ISREG(status.st_mode):
        why = "not a regular file but a folder, pipe or device; name a video"
        raise failure(path, why, "unreadable")
    if status.st_size == 0:
        raise failure(path, "file is empty (0 bytes); copy it again", "not a video")
    if not os.access(path, os.R_OK):
        raise failure(path, "no permission to read it", "unreadable")


def _open_failure(error: FFmpegError) -> tuple[DecodeFailure, str]:
    log: Any = error.log  # av's type annotation differs from the actual (level, source, line)
    _, source, line = log or (0, "", "")
    if "whitelist" in line.lower() and source in _OPENING_OTHERS:
        return "not allowed", f'container "{source}" is not allowed, since it may open other files'
    if "whitelist" in line.lower():
        mend = "ffmpeg -i FILE -c copy OUT.mkv makes one that is"
        return "not allowed", f'container "{source}" is not read here; {mend}'
    if isinstance(error, MemoryError) or error.errno == errno.EBUSY:  # y4m: frames over 2 GiB
        return "too large", "damaged header, which asks for more memory than there is"
    if isinstance(error, av.error.InvalidDataError):
        return "not a video", "not a video, or truncated before its index"
    return "unreadable", f"cannot be opened ({error.strerror})"
