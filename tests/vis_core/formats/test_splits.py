from pathlib import Path

import pytest

from vis_core.errors import ConfigError
from vis_core.formats.splits import leaks, split_videos
from vis_core.formats.youtube_vis import TrackRecord, VideoRecord

MASKS = ({"size": [2, 2], "counts": "04"}, {"size": [2, 2], "counts": "4"})


def _videos(*folders: str) -> list[VideoRecord]:
    return [
        VideoRecord(place, 2, 2, (f"{folder}/0.jpg", f"{folder}/1.jpg"), ())
        for place, folder in enumerate(folders)
    ]


def _ids(videos: list[VideoRecord]) -> list[int]:
    return [video.video_id for video in videos]


def test_a_split_repeats_and_covers_every_video_once() -> None:
    videos = _videos(*(f"v{place}" for place in range(40)))
    train, holdout = split_videos(videos, 0.25, "0")
    assert sorted(_ids(train) + _ids(holdout)) == list(range(40))
    assert len(holdout) == 10
    again = split_videos(videos[::-1], 0.25, "0")[1]
    assert sorted(_ids(again)) == _ids(holdout)
    assert _ids(split_videos(videos, 0.25, "1")[1]) != _ids(holdout)


def test_videos_of_one_source_stay_together() -> None:
    videos = _videos(*(f"source{place // 4}-part{place}" for place in range(24)))
    train, holdout = split_videos(videos, 0.3, "0", group=r"^(source\d+)-")
    sources = [{video.file_names[0].split("-")[0] for video in side} for side in (train, holdout)]
    assert sources[0].isdisjoint(sources[1])
    with pytest.raises(ConfigError, match="regular expression"):
        split_videos(videos, 0.3, "0", group="(")


def test_a_split_with_an_empty_side_is_refused() -> None:
    with pytest.raises(ConfigError, match="both sides"):
        split_videos(_videos("only"), 0.5, "0")


def test_a_shared_folder_is_a_leak() -> None:
    assert leaks(_videos("a", "b"), _videos("c")) == []
    found = leaks(_videos("a", "b"), _videos("b"))
    assert found == ["videos 1 and 0 share folder, frame files"]


def test_equal_masks_under_other_names_are_a_leak() -> None:
    tracks = (TrackRecord(1, 0, MASKS, False),)
    one = VideoRecord(5, 2, 2, ("a/0.jpg", "a/1.jpg"), tracks)
    other = VideoRecord(6, 2, 2, ("b/0.jpg", "b/1.jpg"), tracks)
    assert leaks([one], [other]) == ["videos 5 and 6 share masks"]


def test_equal_frames_under_other_names_are_a_leak(tmp_path: Path) -> None:
    for folder, content in (("a", b"x"), ("b", b"x"), ("c", b"z")):
        (tmp_path / folder).mkdir()
        for frame in range(2):
            (tmp_path / folder / f"{frame}.jpg").write_bytes(content + bytes([frame]))
    assert leaks(_videos("a"), _videos("b", "c"), tmp_path) == [
        "videos 0 and 0 share frame contents"
    ]
