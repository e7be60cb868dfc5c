"""The presentation times of the frames of one video, and whether they show that frames are missing.

A gap in time is not by itself a loss, so the end of the last frame is compared with the stated
duration, not the number of frames with duration x rate.
"""

import math
from dataclasses import dataclass

from av.video.frame import VideoFrame

# Frames by which the last frame may end before the stated duration: muxers round it to 1 ms.
DURATION_SLACK_FRAMES = 0.5
# A step of more frames than this is a gap.
GAP_FRAMES = 1.5
# Seconds by which the last frame may end early if the duration may be that of longer audio.
AUDIO_SLACK_S = 1.0
# Seconds by which the first frame may start after the file does.
LATE_START_S = 1.0


@dataclass
class VideoClock:
    """The presentation times of the frames decoded so far."""

    rate: float  # frames per second on average; 0 if unknown
    time_s: float = 0.0  # of the last frame
    begin_s: float = 0.0  # of the first frame
    end_s: float = 0.0  # latest end of a frame
    gaps: int = 0  # steps between two frames in which others may be missing
    _num_frames: int = 0
    _shortest_s: float = math.inf

    def follow(self, stored: VideoFrame) -> float:
        """Adds a frame and returns its time in seconds; without one, a frame after the last."""
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
        """Compares a step with that of the rate or, without a rate, the shortest so far."""
        if step_s > 0:
            self._shortest_s = min(self._shortest_s, step_s)
        usual_s = 1 / self.rate if self.rate > 0 else self._shortest_s
        self.gaps += step_s > GAP_FRAMES * usual_s

    def ends_before(self, duration_s: float | None, *, may_be_audio: bool) -> bool:
        """Returns whether frames are missing, since the last one ends before the stated duration.

        With ``may_be_audio`` that is the duration of the whole file, which has audio.
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
        """Returns whether frames may be missing at the end if the duration is not of audio."""
        if duration_s is None or self.rate <= 0:
            return False
        return self.end_s < duration_s - GAP_FRAMES / self.rate
