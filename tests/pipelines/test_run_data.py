"""What a run works on: cut truth for cut videos, notes for whatever stands in."""

from pathlib import Path

from pipelines.config import SyntheticConfig, load_run_config
from pipelines.given_data import GivenData
from pipelines.run_data import prepare_data
from vis_core.formats.youtube_vis import read_youtube_vis

TINY_RUN = Path(__file__).resolve().parents[2] / "jobs" / "configs" / "tiny.yaml"
FEW = SyntheticConfig(
    images=4, train_videos=2, val_videos=2, test_videos=2, archive_videos=1, video_frames=6
)


def quiet(_: int) -> None:
    """Shows no progress."""


def test_scores_of_first_frames_have_the_truth_of_first_frames(tmp_path: Path) -> None:
    config = load_run_config(TINY_RUN).model_copy(update={"synthetic": FEW})
    whole = prepare_data(GivenData(), config, tmp_path, quiet)
    cut = prepare_data(GivenData(), config, tmp_path, quiet, max_frames=2)
    assert cut.videos.train == whole.videos.train
    assert "first 2 frames" in cut.notes[-1]
    for long, short in zip(
        read_youtube_vis(whole.videos.test)[0], read_youtube_vis(cut.videos.test)[0], strict=True
    ):
        assert short.file_names == long.file_names[:2]
        kept = {track.annotation_id: track for track in short.tracks}
        for track in long.tracks:
            shown = any(track.segmentations[:2])
            assert (track.annotation_id in kept) == shown
            if shown:
                assert kept[track.annotation_id].segmentations == track.segmentations[:2]
                assert kept[track.annotation_id].areas == track.areas[:2]
