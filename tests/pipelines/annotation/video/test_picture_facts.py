"""Facts in results about pictures that are not displayed as stored."""

import logging
import subprocess

import pytest

from pipelines.annotation.archive.listing import ArchivedVideo
from pipelines.annotation.video import whole_video
from pipelines.annotation.video.result import _video_entry
from pipelines.annotation.video.whole_video import ProcessedVideo, open_reader
from tests.helpers.display_matrices import EIGHT, set_matrix
from tests.helpers.videos import grey_frames, write_video
from vis_core.config.inference import InferenceConfig

USUAL = {"id", "name", "height", "width", "length", "rate", "rotation", "decoding"}


def entry_of(path):
    """Returns the entry of a video as a result has it."""
    with open_reader(path, InferenceConfig(), max_frames=None) as reader:
        num_frames = len(list(reader))
    size = reader.info.height, reader.info.width
    processed = ProcessedVideo(
        reader.info, reader.report, size, num_frames, 0.0, [], lambda: iter(())
    )
    return _video_entry(ArchivedVideo(path.name, 1, ""), processed)


@pytest.mark.parametrize("name", EIGHT)
def test_a_result_names_a_mirror_only_where_there_is_one(name, tmp_path):
    write_video(tmp_path / "plain.mp4", grey_frames(2))
    set_matrix(tmp_path / "plain.mp4", tmp_path / "turned.mp4", *EIGHT[name][0])
    entry = entry_of(tmp_path / "turned.mp4")
    is_mirrored = name in ("hflip", "vflip", "transpose", "antitranspose")
    assert set(entry) - USUAL == ({"mirrored"} if is_mirrored else set())
    upright = name in ("identity", "half", "hflip", "vflip")
    assert (entry["height"], entry["width"]) == ((48, 64) if upright else (64, 48))


def test_a_result_of_hdr_says_that_it_was_not_tone_mapped_and_the_log_says_it_once(
    tmp_path, caplog
):
    whole_video._warn_about_hdr.cache_clear()
    options = ["-c:v", "libx265", "-x265-params", "transfer=smpte2084:log-level=none"]
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x48:duration=0.2"]
    path = tmp_path / "hdr.mp4"
    subprocess.run(["ffmpeg", "-v", "error", *source, *options, path], check=True)
    with caplog.at_level(logging.WARNING):
        entry = entry_of(path)
        entry_of(path)
    assert entry["hdr"] == "smpte2084 (PQ)"
    assert entry["tone_mapping"] == "none"
    assert caplog.text.count("no tone mapping is applied") == 1
