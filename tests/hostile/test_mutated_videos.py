"""No frame is lost silently: damaged videos are compared with their originals.

``LONGTAKE_MUTANTS=500`` creates that many of them; the suite creates a few.
"""

import os
from dataclasses import dataclass

import av
import numpy as np
import pytest

from vis_core.errors import VideoDecodeError
from vis_core.media.container import CONTAINERS_WITHOUT_LENGTH
from vis_core.media.video_reader import read_frames

NUM_MUTANTS = int(os.environ.get("LONGTAKE_MUTANTS", "44"))
FIRST_SEED = int(os.environ.get("LONGTAKE_FIRST_SEED", "0"))  # another value gives new mutants
FLAGGED_SHARE = 0.98
RAW = (
    "awkward/tiny_64x48.mp4",
    "awkward/vfr.mp4",
    "awkward/clip.flv",
    "awkward/clip.wmv",
    "awkward/mjpeg.avi",
    "awkward/mpeg2.mpg",
    "awkward/stream.ts",
    "awkward/wide_h265.mkv",
    "real/decord_video_0.mov",
    "real/moviepy_transparent.webm",
    "real/mmaction2_test.avi",
)
MADE = {
    "h.mkv": "libx264",
    "h.mov": "libx264",
    "v.webm": "libvpx-vp9",
    "m.mp4": "mpeg4",
    "f.avi": "ffv1",
    "h.flv": "libx264",
    "p.mpg": "mpeg2video",
    "h.ts": "libx264",
}


@dataclass(frozen=True)
class Outcome:
    """The outcome of one file.

    Attributes:
        num_frames: Frames that were returned.
        completeness: The report's word, or "failed".
        has_length: Whether the container declares its length.
    """

    num_frames: int
    completeness: str
    has_length: bool

    @property
    def is_flagged(self) -> bool:
        return self.completeness in ("failed", "truncated", "damaged")


def read(path):
    count = 0
    try:
        with read_frames(path) as reader:
            for _ in reader:
                count += 1
    except VideoDecodeError:
        return Outcome(count, "failed", True)
    has_length = reader.info.container not in CONTAINERS_WITHOUT_LENGTH
    return Outcome(count, reader.report.completeness, has_length and reader.report.length_known)


def made_videos(folder):
    """Writes small videos in several containers, with moving detail."""
    detail = np.random.default_rng(1).integers(0, 255, (144, 192, 3), np.uint8)
    for name, codec in MADE.items():
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=25, options={"g": "10"})
            stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
            for index in range(40):
                view = np.ascontiguousarray(detail[index : index + 96, index : index + 128])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
            container.mux(stream.encode())
        yield folder / name


def flip(data, generator):
    for place in generator.integers(0, len(data), generator.integers(1, 40)):
        data[place] ^= 1 << generator.integers(8)


def cut(data, generator):
    del data[generator.integers(len(data) // 20, len(data)) :]


def zero_block(data, generator):
    begin, size = generator.integers(len(data)), generator.integers(16, 4096)
    end = min(begin + size, len(data))
    data[begin:end] = bytes(end - begin)


def duplicate_block(data, generator):
    begin, size = generator.integers(len(data)), generator.integers(16, 4096)
    place = generator.integers(len(data))
    data[place:place] = data[begin : begin + size]


def spoil_header(data, generator):
    for place in generator.integers(0, min(len(data), 2048), generator.integers(1, 8)):
        data[place] = generator.integers(256)


MUTATIONS = (flip, cut, zero_block, duplicate_block, spoil_header)


@pytest.mark.data
@pytest.mark.slow
def test_lost_frames_are_flagged_or_the_container_cannot_tell(data_dir, tmp_path):
    sources = [data_dir / "videos_raw" / name for name in RAW] + list(made_videos(tmp_path))
    whole = {source: read(source) for source in sources}
    for source, outcome in whole.items():
        assert not outcome.is_flagged, f"{source.name} is whole"
    lost, silent = 0, []
    for seed in range(FIRST_SEED, FIRST_SEED + NUM_MUTANTS):
        source, mutate = sources[seed % len(sources)], MUTATIONS[seed % len(MUTATIONS)]
        data = bytearray(source.read_bytes())
        mutate(data, np.random.default_rng(seed))
        mutant = tmp_path / f"mutant{source.suffix}"
        mutant.write_bytes(data)
        outcome = read(mutant)
        if outcome.num_frames < whole[source].num_frames:
            lost += 1
            if not outcome.is_flagged:
                silent.append((seed, source.name, mutate.__name__, whole[source], outcome))
    print(f"{NUM_MUTANTS} mutants, {lost} lost frames, {len(silent)} of them in silence: {silent}")
    assert lost > NUM_MUTANTS // 5
    assert all(outcome.completeness == "unknown" for *_, outcome in silent), silent
    assert len(silent) <= max(1, (1 - FLAGGED_SHARE) * lost), silent
