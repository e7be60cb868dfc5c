"""Small video files, and readers of their manifests."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from tests.conftest import data_dir_or_none
from vis_core.media.sandbox.reader import read_frames_sandboxed
from vis_core.media.video_reader import read_frames

both_readers = pytest.mark.parametrize(
    "read", [read_frames, read_frames_sandboxed], ids=["inside", "apart"]
)


def write_video(path, frames, rate=10):
    """Encodes (H, W, 3) frames with so little loss that they stay distinguishable."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def grey_frames(count, height=48, width=64):
    return [np.full((height, width, 3), 10 * index % 250, np.uint8) for index in range(count)]


def manifest_videos():
    """Returns every entry of the raw videos' manifest."""
    manifest = (data_dir_or_none() or Path()) / "videos_raw" / "manifest.json"
    return json.loads(manifest.read_text())["videos"] if manifest.is_file() else []
