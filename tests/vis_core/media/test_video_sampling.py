"""Sampling or skipping frames changes nothing in a video file's report."""

from fractions import Fraction

import av
import numpy as np
import pytest

from tests.helpers.videos import grey_frames, manifest_videos, write_video
from vis_core.errors import VideoDecodeError
from vis_core.media.video_reader import read_frames


def naive_sample(times_s, fps):
    """Returns the first frame, then the first at or after each further multiple of the period."""
    kept, due = [0], times_s[0] + 1 / fps
    for number, time_s in enumerate(times_s[1:], start=1):
        if time_s >= due - 1e-6:
            kept.append(number)
            while due <= time_s + 1e-6:
                due += 1 / fps
    return kept


@pytest.mark.parametrize("fps", [1, 2.5, 3, 4, 9.9, 10, 30])
def test_sampling_hands_out_what_is_due_and_counts_the_rest(tmp_path, fps):
    path = tmp_path / "a.mp4"
    frames = [np.full((32, 48, 3), 5 * number, np.uint8) for number in range(23)]
    write_video(path, frames)
    with read_frames(path) as reader:
        every = list(reader)
    with read_frames(path, sample_fps=fps) as reader:
        pairs = [(frame, reader.number) for frame in reader]
    wanted = naive_sample([frame.time_s for frame in every], fps)
    assert [number for _, number in pairs] == wanted
    assert [frame.index for frame, _ in pairs] == list(range(len(wanted)))
    for frame, number in pairs:
        assert frame.time_s == every[number].time_s
        assert np.array_equal(frame.image, every[number].image)
    assert reader.report.decoded_frames == 23 and reader.report.completeness == "complete"


def test_sampling_follows_the_clock_of_a_variable_rate_and_stops_where_it_is_told(tmp_path):
    path = tmp_path / "a.mkv"
    times = [0, 10, 20, 30, 1000, 1010, 2500, 2510, 2520, 2540]  # milliseconds
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=100)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time_ms in enumerate(times):
            frame = av.VideoFrame.from_ndarray(
                np.full((32, 48, 3), number, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with read_frames(path) as reader:
        stored = [frame.time_s for frame in reader]
    with read_frames(path, sample_fps=1) as reader:
        numbers = [reader.number for _ in reader]
    assert numbers == naive_sample(stored, 1) == [0, 4, 6]
    with read_frames(path, sample_fps=1, max_frames=2) as reader:
        assert [reader.number for _ in reader] == [0, 4]
    assert reader.report.completeness == "partial"


def test_every_raw_video_is_as_complete_when_it_is_sampled(data_dir):
    """Checks that skipped frames are decoded all the same, so that losses are noticed."""
    for entry in manifest_videos():
        path = data_dir / "videos_raw" / entry["file"]
        try:
            with read_frames(path) as reader:
                times = [frame.time_s for frame in reader]
        except VideoDecodeError:
            with pytest.raises(VideoDecodeError):
                list(read_frames(path, sample_fps=2))
            continue
        with read_frames(path, sample_fps=2) as sampled:
            count = sum(1 for _ in sampled)
        assert sampled.report.completeness == reader.report.completeness, entry["file"]
        assert sampled.report.decoded_frames == reader.report.decoded_frames == len(times)
        assert 1 <= count <= len(times)


@pytest.mark.parametrize("sample_fps", [None, 4])
@pytest.mark.parametrize("skip", [1, 5, 9, 22, 23, 40])
@pytest.mark.parametrize("max_frames", [None, 7, 9])
def test_after_a_skip_everything_is_as_in_a_full_read(tmp_path, sample_fps, skip, max_frames):
    path = tmp_path / "a.mp4"
    write_video(path, grey_frames(23))
    with read_frames(path, sample_fps=sample_fps, max_frames=max_frames) as whole:
        every = [(frame, whole.number) for frame in whole]
    with read_frames(path, sample_fps=sample_fps, max_frames=max_frames, skip=skip) as reader:
        pairs = [(frame, reader.number) for frame in reader]
    assert len(pairs) == max(0, len(every) - skip)
    for (frame, number), (expected, expected_number) in zip(pairs, every[skip:], strict=True):
        assert (frame.index, frame.time_s, number) == (
            expected.index,
            expected.time_s,
            expected_number,
        )
        assert np.array_equal(frame.image, expected.image)
    assert reader.report == whole.report
    assert reader.info == whole.info


@pytest.mark.data
def test_the_report_of_a_raw_video_does_not_depend_on_a_skip(data_dir):
    for name in ("awkward/truncated_tail.mp4", "real/decord_corrupted.mp4"):
        path = data_dir / "videos_raw" / name
        with read_frames(path) as whole:
            num_frames = sum(1 for _ in whole)
        with read_frames(path, skip=30) as reader:
            assert sum(1 for _ in reader) == num_frames - 30
        assert reader.report == whole.report


def test_a_frame_of_another_size_is_counted_although_it_is_skipped(tmp_path):
    parts = []
    for size in [(48, 64), (96, 80)]:
        write_video(tmp_path / "part.ts", grey_frames(5, *size))
        parts.append((tmp_path / "part.ts").read_bytes())
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    with read_frames(tmp_path / "joined.ts", skip=8) as reader:
        assert sum(1 for _ in reader) == 2
    assert reader.report.resized_frames == 5
