"""Done, failed and pending videos, as determined from the listing of the results."""

import json

import pytest

from pipelines.annotation.archive.listing import ArchivedVideo, list_archive
from pipelines.annotation.ledger import Ledger, VideoRow
from pipelines.storage.local import LocalStorage
from tests.conftest import data_dir_or_none
from vis_core.errors import ConfigError

VIDEOS = [ArchivedVideo(f"v{number}.mp4", 10 + number, f"e{number}") for number in range(3)]


@pytest.fixture
def ledger(tmp_path):
    return Ledger(LocalStorage(tmp_path), "run")


def test_a_survey_follows_what_was_written(ledger):
    assert ledger.survey(VIDEOS).pending == VIDEOS
    assert ledger.commit(VIDEOS[0], {"tracks": 0})
    ledger.fail(VIDEOS[1], "failed", "file is empty", "empty")
    survey = ledger.survey(VIDEOS)
    assert (survey.done, survey.failed, survey.pending) == ([VIDEOS[0]], [VIDEOS[1]], [VIDEOS[2]])
    assert ledger.failure(VIDEOS[1]).reason == "file is empty"


def test_a_result_counts_more_than_an_earlier_failure(ledger):
    ledger.fail(VIDEOS[0], "quarantined", "lost its worker", "killed its worker")
    ledger.commit(VIDEOS[0], {})
    assert ledger.survey(VIDEOS[:1]).done == VIDEOS[:1]


def test_the_first_result_stays(ledger):
    assert ledger.commit(VIDEOS[0], {"worker": 1})
    assert not ledger.commit(VIDEOS[0], {"worker": 2})
    assert json.loads(ledger.storage.read(ledger.result_key(VIDEOS[0]))) == {"worker": 1}


def test_another_model_content_or_name_has_another_result(tmp_path):
    storage = LocalStorage(tmp_path)
    video = VIDEOS[0]
    names = {
        Ledger(storage, "run").result_key(video),
        Ledger(storage, "other").result_key(video),
        Ledger(storage, "run").result_key(ArchivedVideo("V0.mp4", video.size, video.version)),
        Ledger(storage, "run").result_key(ArchivedVideo(video.key, video.size, "changed")),
    }
    assert len(names) == 4


def test_the_manifest_names_every_outcome(ledger):
    rows = [
        VideoRow("b.mp4", "failed", "empty", "failed/x", kind="not a video"),
        VideoRow("a.mp4", "done", result="r"),
    ]
    ledger.write_manifest({"model": "m"}, rows)
    manifest = json.loads(ledger.storage.read("manifest.json"))
    assert manifest == {
        "model": "m",
        "videos": [
            {"video": "a.mp4", "status": "done", "result": "r"},
            {
                "video": "b.mp4",
                "status": "failed",
                "kind": "not a video",
                "reason": "empty",
                "result": "failed/x",
            },
        ],
    }


def odd_names():
    """Returns the hostile file names of both sets."""
    folder = data_dir_or_none()
    if folder is None:
        return []
    first = json.loads((folder / "hostile" / "names" / "object_keys.json").read_text())
    second = json.loads((folder / "hostile_more" / "names.json").read_text())
    lists = [
        first if isinstance(first, list) else next(v for v in first.values() if isinstance(v, list))
    ]
    lists.append(second["names"])
    return [name if isinstance(name, str) else name.get("key") for each in lists for name in each]


@pytest.mark.data
def test_hostile_names_share_no_result_and_lead_nowhere(ledger, data_dir):  # noqa: ARG001
    names = sorted(set(odd_names()))
    assert len(names) > 30
    keys = {ledger.result_key(ArchivedVideo(name, 1, "e")) for name in names}
    assert len(keys) == len(names)
    assert all(key.count("/") == 1 and key.isascii() and len(key) < 100 for key in keys)
    for name in names:
        assert "\n" not in ArchivedVideo(name, 1, "e").shown


def test_a_changed_file_has_another_version(tmp_path):
    path = tmp_path / "clip.mp4"
    versions = set()
    for content in (b"a" * 300_000, b"b" + b"a" * 299_999, b"a" * 299_999 + b"b", b"a" * 300_001):
        path.write_bytes(content)
        versions.add(list_archive(tmp_path).videos[0].version)
    assert len(versions) == 4


def test_an_archive_may_be_one_file(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    (tmp_path / "other.mp4").write_bytes(b"x")
    archive = list_archive(tmp_path / "clip.mp4")
    assert [video.key for video in archive.videos] == ["clip.mp4"]
    assert archive.storage.read("clip.mp4") == b"x"


def test_an_archive_without_a_video_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"x")
    with pytest.raises(ConfigError, match="no video file in it .1 other file passed over"):
        list_archive(tmp_path)
    with pytest.raises(ConfigError, match="absent: does not exist"):
        list_archive(tmp_path / "absent")
