"""Real objects that occlude each other keep their identities when a video is cut into segments.

The bar is 95 % of the tracks, even for stitched segments; ``pytest -s`` prints the share reached.
"""

from collections import defaultdict
from pathlib import Path

import cv2
import pytest

from pipelines.registry.mlflow_registry import ModelReference
from pipelines.registry.start_weights import TINY_WEIGHTS
from tests.helpers.segment_jobs import SegmentedJob, StitchedJob
from tests.helpers.toy_archive import tree, write_clip
from vis_core.config.inference import InferenceConfig
from vis_core.config.stitching import StitchConfig
from vis_core.formats.mask_table import read_mask_table

SEGMENTS = (2, 4)
CONFIG = InferenceConfig(chunk_frames=4)


def composites(data_dir: Path) -> list[Path]:
    """Writes the frame folders of the composite videos."""
    return sorted((data_dir / "vis_mini").glob("JPEGImages/comp-*"))


@pytest.mark.data
@pytest.mark.slow
def test_tracks_of_composite_videos_are_those_of_one_pass(data_dir: Path, tmp_path: Path) -> None:
    model = ModelReference(TINY_WEIGHTS, "tiny", None, "d" * 64)
    options = {"config": CONFIG, "load": None, "stitch": StitchConfig()}
    num_tracks, num_kept, num_joined = 0, dict.fromkeys(SEGMENTS, 0), dict.fromkeys(SEGMENTS, 0)
    folders = composites(data_dir)
    assert len(folders) >= 6
    for folder in folders:
        images = [cv2.imread(str(path))[..., ::-1] for path in sorted(folder.glob("*.jpg"))]
        height, width = (side // 2 * 2 for side in images[0].shape[:2])
        videos = tmp_path / folder.name / "videos"
        write_clip(videos / "clip.mp4", [image[:height, :width].copy() for image in images])
        whole = SegmentedJob(videos.parent / "whole", videos, model, config=CONFIG, load=None)
        assert whole.annotator.annotate(whole.video).status == "done"
        wanted = tracks(videos.parent / "whole")
        num_tracks += len(wanted)
        for count in SEGMENTS:
            job = SegmentedJob(videos.parent / str(count), videos, model, config=CONFIG, load=None)
            for number in range(count):
                assert job.predict(number, count) is None
            assert job.associate(count).num_frames == len(images)
            num_kept[count] += len(wanted & tracks(videos.parent / str(count)))
            assert tree(videos.parent / str(count)) == tree(videos.parent / "whole")
            out = videos.parent / f"stitched {count}"
            assert StitchedJob(out, videos, model, **options).run(count) is not None
            num_joined[count] += len(wanted & tracks(out))
    for count, kept in num_kept.items():
        print(f"{count} segments: {kept} of {num_tracks} tracks as in one pass")
        print(f"{count} segments, stitched: {num_joined[count]} of {num_tracks}")
    assert num_tracks > 10
    assert min(*num_kept.values(), *num_joined.values()) >= 0.95 * num_tracks


def tracks(out: Path) -> set[str]:
    """Returns every track of a result, with its masks by frame."""
    (masks,) = (out / "masks").glob("*.parquet")
    shown: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for batch in read_mask_table(masks):
        for row in batch.select(["track_id", "frame_index", "rle_counts"]).to_pylist():
            if row["track_id"] is not None:
                shown[row["track_id"]].append((row["frame_index"], row["rle_counts"]))
    return {repr(rows) for rows in shown.values()}
