"""The properties that a container states of a video, and the report of its decoding."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoInfo:
    """The properties that the container states of a video, and the displayed size of its frames.

    Attributes:
        height: Pixels, after rotation.
        width: Pixels, after rotation.
        rotation: Degrees by which the stored frames are turned counter-clockwise for display.
        rate: Frames per second on average; 0 if unknown.
        duration_s: Seconds, or None if unknown.
        declared_frames: Number of frames stated by the container, or None.
        container: Name of the demuxer.
        codec: Name of the decoder.
        stream_index: The stream that is read.
        num_video_streams: Video streams of the file without cover pictures.
    """

    height: int
    width: int
    rotation: int
    rate: float
    duration_s: float | None
    declared_frames: int | None
    container: str
    codec: str
    stream_index: int
    num_video_streams: int


@dataclass
class DecodeReport:
    """The counts of decoding one video; complete when its frames are exhausted.

    Attributes:
        declared_frames: Number of frames stated by the container, or None.
        decoded_frames: Frames that were returned, or skipped by sampling.
        bad_packets: Packets that the demuxer or the decoder refused.
        corrupt_frames: Frames that the decoder returned and marked as corrupt.
        error_lines: Errors in libav's log during decoding.
        resized_frames: Frames whose size differs from the first one and which were resized to it.
        truncated: Whether there are fewer frames than stated, or the end is before the duration.
        stopped_early: Whether the reader stopped at ``max_frames``, before the end.
        length_known: Whether the container states a length; otherwise truncation is undetectable.
        gaps: Time steps of more than 1.5 frames, also before the stated end, if the container
            states no number of frames. Causes: a variable rate, longer audio, or lost frames.
    """

    declared_frames: int | None
    decoded_frames: int = 0
    bad_packets: int = 0
    corrupt_frames: int = 0
    error_lines: int = 0
    resized_frames: int = 0
    truncated: bool = False
    stopped_early: bool = False
    length_known: bool = True
    gaps: int = 0

    @property
    def damaged(self) -> bool:
        """Returns whether the decoder reported errors: frames may be missing or wrong."""
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
