"""The presentation times of a video's frames, and detection of missing frames from them.

A time gap alone does not prove a loss, so the end of the last frame is compared with the declared
duration, rather than the frame count with duration x rate.
"""

import math
from dataclasses import dataclass

from av.video.frame import VideoFrame

# Frames by which the video may end before its declared duration, which muxers round to 1 ms.
DURATION_SLACK_FRAMES = 0.5
# A step longer than this many frames is a gap.
GAP_FRAMES = 1.5
# Seconds by which the video may end early if the duration may be that of longer audio.
AUDIO_SLACK_S = 1.0
# Seconds by which the first frame may start after the file begins.
LATE_START_S = 1.0


@dataclass
class VideoClock:
    """The presentation times of the frames decoded so far."""

    rate: float  # average frames per second; 0 if unknown
    time_s: float = 0.0  # of the last frame
    begin_s: float = 0.0  # of the first frame
    end_s: float = 0.0  # latest frame end
    gaps: int = 0  # steps that are so long that frames may be missing
    _num_frames: int = 0
    _shortest_s: float = math.inf

    def follow(self, stored: VideoFrame) -> float:
        """Adds a frame and returns its time in seconds, estimated if it has no timestamp."""
        step_s = 1 / self.rate if self.rate > 0 else 0.0
        before_s = self.time_s
        if stored.pts is not None and stored.time_base is not None:
            self.time_s = float(stored.pts * stored.time_base)
        elif self._num_frames > 0:
            self.time_s += step_s
        if self._num_frames == 0:
            self.begin_s = self.time_s
        else:
            self._add_step(self.time_s - before_s)
        self._num_frames += 1
        self.end_s = max(self.end_s, self.time_s + step_s)
        return self.time_s

    def _add_step(self, step_s: float) -> None:
        """Counts a gap if a step exceeds 1.5 frame periods (without a rate, 1.5 shortest steps)."""
        if step_s > 0:
            self._shortest_s = min(self._shortest_s, step_s)
        usual_s = 1 / self.rate if self.rate > 0 else self._shortest_s
        self.gaps += step_s > GAP_FRAMES * usual_s

    def ends_before(self, duration_s: float | None, *, may_be_audio: bool) -> bool:
        """Returns whether the frames fall short of the declared duration, so that some are missing.

        With ``may_be_audio``, the duration is that of the whole file, so it may be the audio's.
        """
        if duration_s is None or self.rate <= 0:
            return False
        slack_s = DURATION_SLACK_FRAMES / self.rate
        if may_be_audio:
            slack_s = max(slack_s, AUDIO_SLACK_S)
        if self.end_s < duration_s - slack_s:
            return True
        # Video may begin a little after audio; if it begins much later, its start is lost.
        return self.end_s - self.begin_s < duration_s - slack_s - LATE_START_S

    def may_end_before(self, duration_s: float | None) -> bool:
        """Returns whether the last frame ends so early that frames may be missing after it."""
        if duration_s is None or self.rate <= 0:
            return False
        return self.end_s < duration_s - GAP_FRAMES / self.rate
