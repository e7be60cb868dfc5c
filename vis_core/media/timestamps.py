"""The presentation times of a video's frames, and detection of missing frames from them.

A time gap alone does not prove a loss, so the end of the last frame is compared with the declared
end, rather than the frame count with duration x rate.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from av.video.frame import VideoFrame

from vis_core.media.declared_length import DeclaredLength

# Frames by which the video may end before its declared duration, which muxers round to 1 ms.
DURATION_SLACK_FRAMES = 0.5
# A step longer than this many frames is a gap.
GAP_FRAMES = 1.5
# So many gaps in a file without any damage are those of a variable rate.
VARIABLE_RATE_GAPS = 3
# Seconds by which the video may end early if the duration may be that of longer audio.
AUDIO_SLACK_S = 1.0
# Seconds by which the first frame may come after the stream's declared begin.
LATE_START_S = 1.0
# Seconds that count as equal; ticks of all containers are longer.
_ROUNDING_S = 1e-9


@dataclass
class VideoClock:
    """The presentation times of the frames decoded so far."""

    rate: float  # average frames per second; 0 if unknown
    tick_s: Fraction  # of the stream, since av states none for the frames at the end
    has_times: bool = True  # the container stores presentation times
    time_s: float = 0.0  # of the last frame
    begin_s: float = 0.0  # of the first frame
    end_s: float = 0.0  # latest frame end
    gaps: int = 0  # steps that are so long that frames may be missing
    _num_frames: int = 0
    _shortest_s: float = math.inf
    _longest_s: float = 0.0
    _num_estimated: int = 0
    _ticks: int | None = None  # time of the last frame
    _step: int = 0  # ticks from the frame before to the last frame
    _last_pts: float = -math.inf
    _last_dts: float = -math.inf
    _faulty_pts: int = 0
    _faulty_dts: int = 0

    def follow(self, stored: VideoFrame) -> float:
        """Adds a frame and returns its time in seconds, estimated if it has no timestamp."""
        step_s = 1 / self.rate if self.rate > 0 else 0.0
        before_s = self.time_s
        self.time_s += step_s if self._num_frames > 0 else 0.0
        ticks = self._best_ticks(stored)
        if ticks is not None:
            self._step = 0 if self._ticks is None else ticks - self._ticks
            self._ticks = ticks
            stated_s = float(ticks * self.tick_s)
            # Earlier versions summed frame periods at the end; equal times stay byte-identical.
            if stored.time_base is not None or abs(stated_s - self.time_s) > _ROUNDING_S:
                self.time_s = stated_s
        if self._num_frames == 0:
            self.begin_s = self.time_s
        else:
            self._add_step(self.time_s - before_s)
        self._num_frames += 1
        self.end_s = max(self.end_s, self.time_s + step_s)
        return self.time_s

    def _best_ticks(self, stored: VideoFrame) -> int | None:
        """Returns the time of a frame as libav's ``guess_correct_pts`` chooses it.

        ``dts``, the decoding time of the packet that released the frame, is in the order of
        presentation. ``pts`` is not if the container stores none and the demuxer guessed it.
        """
        pts = stored.dts if stored.pts is None else stored.pts
        dts = stored.pts if stored.dts is None else stored.dts
        if pts is None or dts is None:
            return None
        self._faulty_pts += stored.pts is not None and pts <= self._last_pts
        self._faulty_dts += stored.dts is not None and dts <= self._last_dts
        self._last_pts, self._last_dts = pts, dts
        if self._faulty_pts + (not self.has_times) <= self._faulty_dts:
            return pts
        if stored.dts is not None or self._ticks is None:
            return dts
        self._num_estimated += 1  # the frames at the end have no ``dts``
        return self._ticks + (self._step or stored.duration)

    def _add_step(self, step_s: float) -> None:
        """Counts a gap if a step exceeds 1.5 frame periods (without a rate, 1.5 shortest steps)."""
        if step_s > 0:
            self._shortest_s = min(self._shortest_s, step_s)
        self._longest_s = max(self._longest_s, step_s)
        usual_s = 1 / self.rate if self.rate > 0 else self._shortest_s
        self.gaps += step_s > GAP_FRAMES * usual_s

    def ends_before(self, declared: DeclaredLength, others_end_s: float) -> bool:
        """Returns whether the frames end before the declared end, so that some are missing.

        If the end may be that of another stream, ``others_end_s`` is the end of these.
        """
        if self.rate <= 0:
            return False
        slack_s = (DURATION_SLACK_FRAMES + self._num_estimated) / self.rate
        if not declared.is_own:
            if others_end_s >= declared.end_s - AUDIO_SLACK_S:
                return False
            slack_s = max(slack_s, AUDIO_SLACK_S)
        # The last frame of a variable rate may last as long as any other.
        last_end_s = max(self.end_s, self.time_s + self._longest_s)
        is_late = declared.begin_s is not None and self.begin_s > declared.begin_s + LATE_START_S
        return last_end_s < declared.end_s - slack_s or is_late

    def may_end_before(self, declared: DeclaredLength) -> bool:
        """Returns whether the last frame ends so early that frames may be missing after it."""
        return self.rate > 0 and self.end_s < declared.end_s - GAP_FRAMES / self.rate
