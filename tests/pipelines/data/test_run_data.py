"""The data of a run: truth cut for cut videos, notes on every substitute."""

from pathlib import Path

import pytest

from pipelines.config.loading import load_run_config
from pipelines.config.run import SyntheticConfig
from pipelines.data.given_data import GivenData
from pipelines.data.run_data import prepare_data
from vis_core.errors import ConfigError
from vis_core.formats.coco import read_coco
from vis_core.formats.youtube_vis import read_youtube_vis

TINY_RUN = Path(__file__).resolve().parents[3] / "jobs" / "configs" / "tiny.yaml"
FEW = SyntheticConfig(
    images=4, train_videos=2, val_videos=2, test_videos=2, archive_videos=1, video_frames=6
)


def quiet(_: int) -> None:
    """Disables progress output."""


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


def test_few_frames_are_a_share_of_those_of_the_videos_and_nested(tmp_path: Path) -> None:
    chosen = {}
    for share in (0.25, 0.5, 1.0):
        config = load_run_config(
            TINY_RUN, [f"supervision.share={share}", "stages.2.clips=pseudo"]
        ).model_copy(update={"synthetic": FEW})
        folder = tmp_path / str(share)
        folder.mkdir()
        data = prepare_data(GivenData(), config, folder, quiet)
        records, categories = read_coco(data.images.annotations, data.images.folder)
        assert categories == data.categories
        chosen[share] = {Path(record.path).relative_to(data.images.folder) for record in records}
        truth = {
            v.file_names[t]: v for v in read_youtube_vis(data.videos.train)[0] for t in range(6)
        }
        for record in records:
            video = truth[str(Path(record.path).relative_to(data.images.folder))]
            t = video.file_names.index(str(Path(record.path).relative_to(data.images.folder)))
            shown = [track.segmentations[t] for track in video.tracks if track.segmentations[t]]
            assert list(record.segmentations) == shown
        assert "frames of the training videos" in data.notes[-1]
    assert {share: len(found) for share, found in chosen.items()} == {0.25: 3, 0.5: 6, 1.0: 12}
    assert chosen[0.25] < chosen[0.5] < chosen[1.0]


def test_few_frames_leave_no_videos_to_learn_from() -> None:
    with pytest.raises(ConfigError, match="stage videos trains on whole videos"):
        load_run_config(TINY_RUN, ["supervision.share=0.05"])
