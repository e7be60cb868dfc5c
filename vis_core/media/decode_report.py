"""What a container says of a video, and what happened while it was decoded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoInfo:
    """Is what the container says of a video, and the size of its frames as they are shown.

    Attributes:
        height: Pixels, after rotation.
        width: Pixels, after rotation.
        rotation: Degrees by which the stored frames are turned counter-clockwise to be shown.
        rate: Frames per second on average; 0 where the container does not say.
        duration_s: Seconds, or None where the container does not say.
        declared_frames: Frames that the container promises, or None where it does not say.
        container: Name of the demuxer.
        codec: Name of the decoder.
        stream_index: The stream that is read: the first that is marked as default.
        num_video_streams: Video streams of the file, cover pictures left out.
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
    """Is what happened while a video was decoded; complete when its frames are exhausted.

    Attributes:
        declared_frames: Frames that the container promises, or None where it does not say.
        decoded_frames: Frames that were handed out, or passed over by sampling.
        bad_packets: Packets that the demuxer or the decoder refused.
        corrupt_frames: Frames that the decoder marked as broken, yet gave.
        error_lines: Complaints of libav while it decoded.
        resized_frames: Frames of another size than the first, resized to it.
        truncated: Fewer frames than the container promises, or an end before its duration.
        stopped_early: The reader was told to stop (``max_frames``) before the end.
        length_known: Whether the container says how long it is; if not, a cut end cannot be seen.
        gaps: Steps in time of more than a frame and a half where the container promises no number
            of frames, also before its stated end: of a rate that varies, of audio that is longer,
            or of frames that were lost.
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
        """Whether the decoder complained: frames may be missing or their pixels wrong."""
        return self.bad_packets + self.corrupt_frames + self.error_lines > 0

    @property
    def completeness(self) -> str:
        """One word: truncated, damaged, partial (stopped early), unknown or complete."""
        if self.truncated:
            return "truncated"
        if self.damaged:
            return "damaged"
        if self.stopped_early:
            return "partial"
        return "complete" if self.length_known and not self.gaps else "unknown"
