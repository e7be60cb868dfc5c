"""A video's properties according to its container, and the report of its decoding."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoInfo:
    """A video's properties according to its container, and the displayed frame size."""

    height: int  # after rotation
    width: int
    rotation: int  # degrees by which stored frames are turned counter-clockwise for display
    rate: float  # average frames per second; 0 if unknown
    duration_s: float | None
    declared_frames: int | None  # according to the container
    container: str  # name of the demuxer
    codec: str  # name of the decoder
    stream_index: int  # index of the stream that is read
    num_video_streams: int  # without cover pictures
    mirrored: bool = False  # left and right are exchanged for display, after the rotation
    pixel_aspect: str = ""  # displayed width and height of a pixel as "W:H"; empty if square
    times: str = ""  # where the times come from if the file stores none
    hdr: str = ""  # transfer function of HDR, to which no tone mapping is applied


@dataclass
class DecodeReport:
    """The decoding counts for one video; complete when its frames are exhausted."""

    declared_frames: int | None  # according to the container
    decoded_frames: int = 0  # returned, or skipped by sampling
    bad_packets: int = 0  # rejected by the demuxer or the decoder
    corrupt_frames: int = 0  # returned by the decoder and marked as corrupt
    error_lines: int = 0  # errors in libav's log during decoding
    resized_frames: int = 0  # resized because their size differed from that of the first frame
    truncated: bool = False  # fewer frames than declared, or an end before the declared duration
    stopped_early: bool = False  # at max_frames, before the end
    length_known: bool = True  # the container declares a length; else truncation is undetectable
    # Time steps of more than 1.5 frames, including the one before the declared end; counted if the
    # container declares no frame count. Causes: a variable rate, longer audio, or lost frames.
    gaps: int = 0

    @property
    def damaged(self) -> bool:
        """Returns whether the decoder reported errors, so that frames may be missing or wrong."""
        return self.bad_packets + self.corrupt_frames + self.error_lines > 0

    @property
    def completeness(self) -> str:
        """``truncated``, ``damaged``, ``partial`` (stopped early), ``unknown`` or ``complete``."""
        if self.truncated:
            return "truncated"
        if self.damaged:
            return "damaged"
        if self.stopped_early:
            return "partial"
        return "complete" if self.length_known and not self.gaps else "unknown"
