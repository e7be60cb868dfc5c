"""Follows the times of the frames of one video and judges by them whether frames are missing."""

import math
from dataclasses import dataclass

from av.video.frame import VideoFrame

# Frames by which the last one may end before the stated duration: muxers round it to 1 ms.
DURATION_SLACK_FRAMES = 0.5
# Frames between two times from which on others may be missing.
GAP_FRAMES = 1.5
# Seconds by which the last one may end early where the duration is that of the file and audio may
# be longer.
AUDIO_SLACK_S = 1.0
# Seconds by which the first frame may come after the start of the file.
LATE_START_S = 1.0


@dataclass
class VideoClock:
    """Knows the time of each frame, in the order in which they are decoded.

    Attributes:
        rate: Frames per second on average; 0 where the container does not say.
        time_s: Presentation time of the last frame.
        begin_s: Of the first frame.
        end_s: When the last frame to be shown is over.
        gaps: Steps between two frames in which others may be missing.
    """

    rate: float
    time_s: float = 0.0
    begin_s: float = 0.0
    end_s: float = 0.0
    gaps: int = 0
    _num_frames: int = 0
    _shortest_s: float = math.inf

    def follow(self, stored: VideoFrame) -> float:
        """Presentation time in seconds; where the file has none, one frame after the last."""
        step_s = 1 / self.rate if self.rate > 0 else 0.0
        before_s = self.time_s
        if stored.pts is not None and stored.time_base is not None:
            self.time_s = float(stored.pts * stored.time_base)
        elif self._num_frames > 0:
            self.time_s += step_s
        if self._num_frames == 0:
            self.begin_s = self.time_s
        else:
            self._note_step(self.time_s - before_s)
        self._num_frames += 1
        self.end_s = max(self.end_s, self.time_s + step_s)
        return self.time_s

    def _note_step(self, step_s: float) -> None:
        """Compares a step with that of the rate or, where none is stated, the shortest so far."""
        if step_s > 0:
            self._shortest_s = min(self._shortest_s, step_s)
        usual_s = 1 / self.rate if self.rate > 0 else self._shortest_s
        self.gaps += step_s > GAP_FRAMES * usual_s

    def ends_before(self, duration_s: float | None, *, may_be_audio: bool) -> bool:
        """Whether frames are missing: the last one ends before the stated duration.

        It is the end that is compared, not the count with duration x rate: a gap in the time is not
        a loss.

        Args:
            duration_s: What the container states, if it does.
            may_be_audio: The duration is that of the whole file, which has audio.
        """
        if duration_s is None or self.rate <= 0:
            return False
        slack_s = DURATION_SLACK_FRAMES / self.rate
        if may_be_audio:
            slack_s = max(slack_s, AUDIO_SLACK_S)
        if self.end_s < duration_s - slack_s:
            return True
        # Video may begin a little after audio does, but not much: then its start is lost.
        return self.end_s - self.begin_s < duration_s - slack_s - LATE_START_S

    def may_end_before(self, duration_s: float | None) -> bool:
        """Whether frames may be missing at the end, if the duration is not that of audio."""
        if duration_s is None or self.rate <= 0:
            return False
        return self.end_s < duration_s - GAP_FRAMES / self.rate
