"""Videos made by ffmpeg in many codecs and containers, and the times that ffprobe reads."""

import json
import shutil
import subprocess
from pathlib import Path

import av
import pytest

from tests.conftest import IN_CI

X265 = "log-level=none:pools=1:keyint=24"
CODECS = {
    "h264": ["libx264", "-preset", "veryfast", "-bf", "3", "-g", "24"],
    "h264_no_b": ["libx264", "-preset", "veryfast", "-bf", "0", "-g", "24"],
    "hevc": ["libx265", "-preset", "ultrafast", "-bf", "3", "-x265-params", X265],
    "av1": ["libsvtav1", "-preset", "12", "-g", "24"],
    "vp8": ["libvpx", "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "10"],
    "vp9": ["libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "12"],
    "mpeg4": ["mpeg4", "-bf", "2"],
    "mpeg2": ["mpeg2video", "-bf", "2"],
    "mjpeg": ["mjpeg", "-pix_fmt", "yuvj420p"],
    "ffv1": ["ffv1"],
    "flv1": ["flv"],
    "wmv2": ["wmv2"],
}
# file ending -> options of the muxer
CONTAINERS = {
    "mp4": [],
    "mkv": [],
    "avi": [],
    "ts": ["-f", "mpegts"],
    "flv": [],
    "wmv": ["-f", "asf"],
    "webm": [],
    "ogv": ["-f", "ogg"],
    "mov": [],
    "fragments.mp4": ["-movflags", "frag_keyframe+empty_moov"],
    "live.mkv": ["-f", "matroska", "-live", "1"],
}
# clock -> options before the input, options of the output
CLOCKS = {
    "constant": ([], []),
    "variable": ([], []),
    "trimmed": (["-ss", "0.35"], []),
    "offset": ([], ["-output_ts_offset", "1.5"]),
    "an hour later": ([], ["-output_ts_offset", "3600"]),
    "wrapped": ([], ["-output_ts_offset", "95441.7"]),  # a transport stream counts to 95443.7 s
}
# 20 frames at 12 fps, then longer steps
VARIABLE = ["-vf", "setpts='if(lt(N,20),N,20+(N-20)*7)/12/TB'", "-vsync", "vfr"]


def tool(name: str) -> str:
    """Returns the path of a program; without it the test is skipped, or fails in CI."""
    found = shutil.which(name)
    if found is None:
        message = f"no {name}: install ffmpeg"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    return found


def ffmpeg(*arguments: str | Path) -> bool:
    """Runs ffmpeg; returns whether it accepts the arguments."""
    command = [tool("ffmpeg"), "-v", "error", "-y", "-nostdin", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120).returncode == 0


def encoded(folder: Path, codec: str, clock: str) -> Path:
    """Returns a Matroska file of 3 s (40 frames if the rate is variable), made once per folder."""
    path = folder / f"{codec}_{clock == 'variable'}.mkv"
    if not path.exists():
        source = ["-f", "lavfi", "-i", "testsrc2=size=64x64:rate=12:duration=3"]
        settings = CODECS[codec]
        pixels = [] if "-pix_fmt" in settings else ["-pix_fmt", "yuv420p"]
        clock_options = VARIABLE if clock == "variable" else []
        assert ffmpeg(*source, *clock_options, "-c:v", *settings, *pixels, path)
    return path


def made_video(folder: Path, codec: str, container: str, clock: str) -> Path | None:
    """Copies an encoded stream into a container; returns None if the muxer refuses it."""
    source = encoded(folder, codec, clock)
    before, after = CLOCKS[clock]
    path = folder / f"{codec}_{clock}.{container}"
    ffmpeg(*before, "-i", source, "-c", "copy", *after, *CONTAINERS[container], path)
    return path if probed_times(path) else None


def probed_times(path: Path, stream: int | str = "v:0") -> list[float | None]:
    """Returns the times of all frames according to ffprobe; None where it finds none."""
    command = [tool("ffprobe"), "-v", "quiet", "-select_streams", str(stream), "-of", "json"]
    command += ["-show_entries", "frame=best_effort_timestamp_time", str(path)]
    found = json.loads(subprocess.run(command, capture_output=True, timeout=60).stdout or b"{}")
    times = [frame.get("best_effort_timestamp_time") for frame in found.get("frames", [])]
    return [None if time is None else float(time) for time in times]


def times_by_av(path: Path, stream: int) -> list[float | None]:
    """Returns the stored times as PyAV's plain decoding loop yields them."""
    with av.open(str(path)) as container:
        tick = container.streams[stream].time_base
        frames = container.decode(container.streams[stream])
        return [None if frame.pts is None else float(frame.pts * tick) for frame in frames]
