"""The times of all frames equal those of ffprobe, whatever the codec, container and clock."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from tests.conftest import data_dir_or_none
from tests.helpers.made_videos import (
    CLOCKS,
    CODECS,
    CONTAINERS,
    ffmpeg,
    made_video,
    probed_times,
    times_by_av,
)
from tests.helpers.videos import both_readers
from vis_core.errors import VideoDecodeError
from vis_core.media.timestamps import VideoClock
from vis_core.media.video_reader import read_frames

SOME_CONTAINERS = ("mp4", "mkv", "avi", "ts", "flv", "wmv")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("made")


def read_times(path, **options):
    with read_frames(path, **options) as reader:
        return [frame.time_s for frame in reader], reader


def check_times(path):
    """Asserts that times increase and equal those of ffprobe, where it states them.

    ffprobe 5.1 shows some frames that an edit list hides; FFmpeg 8.1, which PyAV bundles, does not.
    Then the times that PyAV's own loop yields decide.
    """
    times, reader = read_times(path)
    stream = reader.info.stream_index
    probed = probed_times(path, stream)
    if len(times) != len(probed):
        probed = times_by_av(path, stream)
    assert len(times) == len(probed), path.name
    wrong = [
        (number, ours, theirs)
        for number, (ours, theirs) in enumerate(zip(times, probed, strict=True))
        if theirs is not None and abs(ours - theirs) > 2e-6
    ]
    if reader.info.container == "asf" and reader.info.codec == "mpeg2video":
        wrong = wrong[1:]  # ffprobe finds the first frame one frame early and leaves a hole
    assert wrong == [], path.name
    known = [time for time in probed if time is not None]
    if known == sorted(set(known)):  # a few copies have wrong times in their file
        assert times == sorted(set(times)), path.name
    assert reader.report.completeness in ("complete", "unknown"), path.name


@pytest.mark.parametrize("container", SOME_CONTAINERS)
def test_reordered_frames_have_their_own_times_under_every_clock(container, folder):
    paths = [made_video(folder, "h264", container, clock) for clock in CLOCKS]
    assert any(paths) or container == "avi"  # which refuses a copy of this stream
    for path in filter(None, paths):
        check_times(path)


@pytest.mark.parametrize("codec", CODECS)
def test_the_last_times_of_a_variable_rate_are_kept_whatever_the_codec(codec, folder):
    path = made_video(folder, codec, "mkv", "variable")
    check_times(path)
    assert read_times(path)[1].report.completeness == "complete"


@pytest.mark.slow
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("codec", CODECS)
def test_all_times_are_those_of_ffprobe(codec, container, folder):
    for clock in CLOCKS:
        path = made_video(folder, codec, container, clock)
        if path is not None:
            check_times(path)


def data_videos():
    """Returns the videos of the data folder; the larger ones are for the long form."""
    root = data_dir_or_none()
    folders = [root / "videos_raw", root / "field" / "videos"] if root else []
    paths = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    long = pytest.mark.slow
    return [
        pytest.param(path, marks=[long] if path.stat().st_size > 400_000 else [], id=path.name)
        for path in paths
    ]


@pytest.mark.data
@pytest.mark.parametrize("path", data_videos())
def test_the_times_of_a_file_of_the_data_folder_are_those_of_ffprobe(path):
    try:
        times, reader = read_times(path)
    except VideoDecodeError:
        return
    probed = probed_times(path, reader.info.stream_index)
    assert len(times) == len(probed)
    assert all(before < after for before, after in zip(times, times[1:], strict=False))
    for ours, theirs in zip(times, probed, strict=True):
        assert theirs is None or ours == pytest.approx(theirs, abs=2e-6)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video"])
def test_sampling_of_an_avi_with_b_frames_yields_its_share(codec, folder):
    path = folder / f"{codec}.avi"
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=2"]
    assert ffmpeg(*source, "-c:v", codec, "-bf", "2", "-pix_fmt", "yuv420p", path)
    check_times(path)
    for fps in (4, 5, 12.5):
        times, _ = read_times(path, sample_fps=fps)
        assert len(times) == 2 * fps
        steps = np.diff(times)
        assert steps.min() > 1 / fps - 1 / 25 and steps.max() < 1 / fps + 1 / 25


@both_readers
def test_sampling_and_skips_find_the_frames_at_the_end(read, folder):
    path = made_video(folder, "h264", "mkv", "variable")
    with read(path) as reader:
        every = [(reader.number, frame.time_s) for frame in reader]
    assert every[-1][1] - every[-2][1] == pytest.approx(7 / 12, abs=2e-3)
    with read(path, sample_fps=1) as reader:
        sampled = [(reader.number, frame.time_s) for frame in reader]
    assert sampled[-1][1] > every[-1][1] - 1
    assert set(sampled) <= set(every)
    for skip in (1, len(every) - 3, len(every) - 1):
        with read(path, skip=skip) as reader:
            assert [(reader.number, frame.time_s) for frame in reader] == every[skip:]


def test_a_single_frame_keeps_its_offset(tmp_path):
    path = tmp_path / "one.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        frame.pts, frame.time_base = 75, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    times, reader = read_times(path)
    assert times == [3.0]
    assert reader.report.completeness == "complete"


def followed(clock, frames):
    """Returns the times of (pts, dts) pairs; the frames without dts come last, as av's do."""
    tick = clock.tick_s
    return [
        clock.follow(
            SimpleNamespace(pts=pts, dts=dts, duration=1, time_base=None if dts is None else tick)
        )
        for pts, dts in frames
    ]


@pytest.mark.parametrize(
    "has_times, frames, expected",
    [
        # stored times, the last two flushed
        (True, [(0, 0), (1, 1), (50, None), (90, None)], [0, 1, 50, 90]),
        # guessed times: those of the packets count, and the flushed frames follow
        (False, [(1, 2), (4, 3), (3, 4), (2, None), (6, None)], [2, 3, 4, 5, 6]),
        (False, [(0, 0), (1, 1), (5, 5), (6, 6)], [0, 1, 5, 6]),
        (False, [(1, 2), (3, None), (2, None)], [2, 3, 4]),
        # times that go back, although the container should store them
        (True, [(1, 2), (4, 3), (3, 4), (5, 5), (2, 6)], [1, 4, 4, 5, 6]),
        # a joined file whose clock starts again
        (True, [(10, 10), (11, 11), (0, 0), (1, 1)], [10, 11, 0, 1]),
        (True, [(None, None), (None, None)], [0, 1]),
        (True, [(None, 3), (None, 4), (None, None)], [3, 4, 5]),
    ],
)
def test_the_more_plausible_time_counts(has_times, frames, expected):
    assert followed(VideoClock(1.0, Fraction(1), has_times), frames) == expected


def test_times_that_were_right_stay_equal_to_the_last_bit():
    """Checks the sum of frame periods that stands in earlier results."""
    clock = VideoClock(12.0, Fraction(1, 12))
    times = followed(clock, [(number, number) for number in range(22)] + [(22, None), (23, None)])
    assert times[-1] == 21 / 12 + 1 / 12 + 1 / 12
    assert times[-1] != 23 / 12
