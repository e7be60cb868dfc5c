"""Opens the container of a video file that nobody vouches for, and says why it will not.

Containers that open other files (playlists, concat scripts) are refused, whatever their name.
Decoding is in ``media/video_reader.py``.
"""

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
# These hold no length: what is cut off their end cannot be missed.
CONTAINERS_WITHOUT_LENGTH = frozenset({"mpegts", "mpeg"})
# Bytes of a packet of a transport stream: plain, with a time code before it, with a check behind.
TRANSPORT_PACKET_BYTES = (188, 192, 204)
_PIECES_LOST = "freeing incomplete packet"


def open_container(path: Path) -> tuple[InputContainer, int]:
    """Opens a regular file whose container is allowed.

    Returns:
        The container, and how often its demuxer complained meanwhile: it reads ahead, and what it
        finds damaged then it does not mention again.

    Raises:
        VideoDecodeError: If it is not a regular file, is empty, or is no allowed container.
    """
    _check_regular_file(path)
    # libav keeps its complaints to itself below this level, and they are what tells of damage.
    av.logging.set_level(av.logging.INFO)
    # else the complaint of a video that ends like the one before it in this process is lost
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=True) as lines:
            container: InputContainer = av.open(
                # An absolute path starts with "/" and so is never read as a protocol ("concat:").
                str(path.absolute()),
                options={"format_whitelist": ALLOWED_CONTAINERS, "protocol_whitelist": "file"},
                metadata_errors="replace",
            )
        own = [line for line in lines if line[1] == container.format.name]
        return container, num_complaints(own)
    except FFmpegError as error:  # before MemoryError, EOFError, OSError, which it also may be
        kind, why = _open_failure(error)
        raise VideoDecodeError(
            f"{shown_name(path)}: {why}; expected one whole video file", kind
        ) from error


def num_complaints(lines: Iterable[tuple[int, str, str]]) -> int:
    """Counts what of libav's log tells of damage.

    That is its errors and one remark: the demuxer of ASF mentions a frame of which pieces are lost
    no louder than that it is done with it.

    Args:
        lines: Level, speaker and message of each.
    """
    return sum(
        level <= av.logging.ERROR or (speaker == "asf" and message.startswith(_PIECES_LOST))
        for level, speaker, message in lines
    )


def choose_stream(container: InputContainer, path: Path) -> VideoStream:
    """Picks the first video stream that is marked as default, else the first one.

    Raises:
        VideoDecodeError: If there is no video stream that can be read; a cover picture is none.
    """
    streams = moving_streams(container)
    if not streams:
        kinds = ", ".join(sorted({str(stream.type) for stream in container.streams})) or "none"
        raise VideoDecodeError(
            f"{shown_name(path)}: no video stream (streams: {kinds}); expected one",
            "no video stream",
        )
    readable = [stream for stream in streams if stream.codec_context is not None]
    if not readable:
        raise VideoDecodeError(
            f"{shown_name(path)}: no decoder for its video stream; convert it to h264, VP9 or AV1",
            "no decoder",
        )
    default = [stream for stream in readable if stream.disposition & Disposition.default]
    return (default or readable)[0]


def ends_within_packet(path: Path, container: InputContainer) -> bool:
    """Whether a transport stream is cut in the middle of a packet: all of them have one size."""
    if container.format.name != "mpegts":
        return False
    size = path.stat().st_size
    return all(size % packet_bytes for packet_bytes in TRANSPORT_PACKET_BYTES)


def moving_streams(container: InputContainer) -> list[VideoStream]:
    """Lists the video streams that are not a cover picture."""
    cover = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def _check_regular_file(path: Path) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoDecodeError(
            f"{shown_name(path)}: cannot be read ({reason})", "unreadable"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoDecodeError(
            f"{shown_name(path)}: not a regular file; a folder, pipe or device is no video",
            "unreadable",
        )
    if status.st_size == 0:
        raise VideoDecodeError(
            f"{shown_name(path)}: file is empty (0 bytes); copy it again", "not a video"
        )
    if not os.access(path, os.R_OK):
        raise VideoDecodeError(f"{shown_name(path)}: no permission to read it", "unreadable")


def _open_failure(error: FFmpegError) -> tuple[DecodeFailure, str]:
    """Says in words why libav did not open a file."""
    log: Any = error.log  # av's annotation names another shape than (level, source, line)
    _, source, line = log or (0, "", "")
    if "whitelist" in line.lower():
        return "not allowed", f'container "{source}" is not allowed, it may open other files'
    if isinstance(error, MemoryError):
        return "too large", "damaged header, it claims more than any memory holds"
    if isinstance(error, av.error.InvalidDataError):
        return "not a video", "not a video, or cut before its index"
    return "unreadable", f"cannot be opened ({error.strerror})"
