"""A video file that changes before or while it is read gives no result of mixed bytes."""

import errno
import json
import os
import struct
from pathlib import Path

import pytest

from pipelines.annotation.archive.file_version import END_BYTES
from pipelines.annotation.archive.filters import parse_filter
from pipelines.annotation.archive.listing import list_archive
from pipelines.annotation.video import source
from tests.helpers.segment_jobs import NUM_FRAMES, SegmentedJob
from tests.helpers.toy_archive import tree, write_clip
from tests.helpers.toy_loaders import ActingSystem
from tests.helpers.toy_system import square_frames
from vis_core.errors import StorageError, VideoDecodeError
from vis_core.files import file_sha256

MIDDLE = 2 * END_BYTES  # bytes that no listing reads


def write_padded(path: Path) -> Path:
    """Writes a video that is followed by enough ignored bytes for a middle that is not listed."""
    write_clip(path, [frame.image for frame in square_frames(NUM_FRAMES, labels=(0, 1, 2))])
    if path.suffix == ".mp4":
        add_padding(path)
    return path


def add_padding(path: Path) -> None:
    size = 4 * END_BYTES
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", size, b"free") + b"a" * (size - 8))


def replaced(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[-MIDDLE] ^= 1
    new = path.with_name("new")
    new.write_bytes(body)
    new.replace(path)


def replaced_by_the_same_bytes(path: Path) -> None:
    new = path.with_name("new")
    new.write_bytes(path.read_bytes())
    new.replace(path)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def edited(path: Path) -> None:
    """Changes a byte between equal ends."""
    with path.open("r+b") as file:
        file.seek(-MIDDLE, os.SEEK_END)
        file.write(b"b")


def edited_with_its_date_restored(path: Path) -> None:
    before = path.stat()
    edited(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def linked(path: Path) -> None:
    os.link(path, path.with_suffix(".link"))


def removed(path: Path) -> None:
    path.unlink()


CHANGES = [
    replaced,
    replaced_by_the_same_bytes,
    add_padding,
    truncated,
    edited,
    edited_with_its_date_restored,
]
NO_CHANGES = [removed, linked, lambda path: path.chmod(0o600), Path.touch]


def job_of(tmp_path, model, act=None, after=0, name="clip.mp4", **options):
    path = tmp_path / "videos" / name
    if not path.exists():
        write_padded(path)
    load = lambda _: ActingSystem(act and (lambda: act(path)), after)  # noqa: E731
    return SegmentedJob(tmp_path / "out", path.parent, model, load=load, **options)


def assert_done_by_the_next_run(tmp_path, model, sha256=None):
    """Annotates the file as it is now; the result names exactly its bytes."""
    job = job_of(tmp_path, model)
    assert job.annotator.annotate(job.video).status == "done"
    body = job.ledger.storage.read(job.ledger.result_key(job.video))
    about, path = json.loads(body)["info"], tmp_path / "videos" / "clip.mp4"
    assert about["video_sha256"] == (sha256 or file_sha256(path))
    assert about["video_bytes"] == path.stat().st_size


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("after", [0, NUM_FRAMES - 2])
def test_a_file_that_changes_while_it_is_read_is_left_to_the_next_run(
    change, after, tmp_path, model
):
    job = job_of(tmp_path, model, change, after)
    row = job.annotator.annotate(job.video)
    assert (row.status, row.kind, row.result) == ("failed", "changed", "")
    assert row.reason.startswith("changed while it was read: it was ")
    assert tree(tmp_path / "out") == {}
    if change is not truncated:
        assert_done_by_the_next_run(tmp_path, model)


@pytest.mark.parametrize("change", NO_CHANGES)
def test_a_file_whose_bytes_stay_the_same_keeps_its_result(change, tmp_path, model):
    job = job_of(tmp_path, model, change, after=2)
    sha256 = file_sha256(tmp_path / "videos" / "clip.mp4")
    assert job.annotator.annotate(job.video).status == "done"
    result = json.loads(job.ledger.storage.read(job.ledger.result_key(job.video)))
    assert result["info"]["video_sha256"] == sha256
    calm = SegmentedJob(tmp_path / "calm", write_padded(tmp_path / "same/clip.mp4").parent, model)
    assert calm.annotator.annotate(calm.video).status == "done"
    assert tree(tmp_path / "out") == tree(tmp_path / "calm")


@pytest.mark.parametrize("change", [add_padding, truncated, removed])
def test_a_file_that_changes_after_the_listing_is_not_read(change, tmp_path, model):
    job = job_of(tmp_path, model)
    change(tmp_path / "videos" / "clip.mp4")
    for row in (job.annotator.annotate(job.video), job.predict(0, 2)):
        assert (row.status, row.kind) == ("failed", "changed")
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize("segments", [1, 2])
def test_a_folder_that_goes_away_is_no_fault_of_its_videos(segments, tmp_path, model):
    job = job_of(tmp_path, model)
    (tmp_path / "videos").rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="the folder of the videos is gone"):
        job.predict(0, 2) if segments > 1 else job.annotator.annotate(job.video)
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts"])
def test_a_removed_file_is_never_called_unreadable(name, tmp_path, model):
    job = job_of(tmp_path, model, removed, name=name)
    row = job.annotator.annotate(job.video)
    assert (row.status, row.kind) in {("done", ""), ("failed", "changed")}


@pytest.mark.parametrize("change", CHANGES)
def test_all_segments_are_of_the_same_bytes(change, tmp_path, model):
    job = job_of(tmp_path, model)
    assert job.predict(0, 2) is None
    change(tmp_path / "videos" / "clip.mp4")
    row = job.predict(1, 2)
    if change is replaced_by_the_same_bytes:
        assert row is None and job.associate(2).status == "done"
        return
    assert (row.status, row.kind) == ("failed", "changed")
    assert tree(tmp_path / "out") == {}
    if change is not truncated:
        job = job_of(tmp_path, model)
        assert [job.predict(number, 2) for number in range(2)] == [None, None]
        assert job.associate(2).status == "done"
        assert_done_by_the_next_run(tmp_path, model)


@pytest.mark.parametrize("change", CHANGES)
def test_a_segment_whose_file_changes_stores_no_end(change, tmp_path, model):
    job = job_of(tmp_path, model, change)
    row = job.predict(1, 2)
    assert (row.status, row.kind) == ("failed", "changed")
    assert tree(tmp_path / "out") == {}


class Stop(BaseException):
    """The death of a worker."""


def test_a_saved_state_of_other_bytes_is_not_resumed(tmp_path, model):
    def stop(_):
        raise Stop

    job = job_of(tmp_path, model, stop, after=12)
    with pytest.raises(Stop):
        job.annotator.annotate(job.video)
    assert any("state-" in key for key in tree(tmp_path / "out"))
    edited(tmp_path / "videos" / "clip.mp4")
    counted = job_of(tmp_path, model)
    assert counted.annotator.annotate(counted.video).num_frames == NUM_FRAMES
    assert counted.annotator.num_frames() == NUM_FRAMES, "all frames were predicted again"
    assert_done_by_the_next_run(tmp_path, model)


def test_a_damaged_sector_is_recorded_for_its_video_alone(tmp_path, model, monkeypatch):
    def damaged(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    job = job_of(tmp_path, model)
    monkeypatch.setattr(source.hashlib, "file_digest", damaged)
    row = job.annotator.annotate(job.video)
    assert (row.status, row.kind) == ("failed", "unreadable")
    assert "Input/output error" in row.reason


def test_a_folder_of_pictures_that_changes_is_left_to_the_next_run(tmp_path):
    (tmp_path / "0.png").write_bytes(b"a")
    with source.open_source(tmp_path, None, "", "") as opened:
        (tmp_path / "0.png").touch()
    assert opened.sha256 == file_sha256(tmp_path)
    changed = pytest.raises(VideoDecodeError, match="changed while it was read")
    with changed, source.open_source(tmp_path, None, "", ""):
        (tmp_path / "1.png").write_bytes(b"b")


def test_a_folder_of_pictures_that_changed_since_its_listing_is_not_read(tmp_path):
    for number in range(3):
        (tmp_path / "vid" / f"{number}.png").parent.mkdir(exist_ok=True)
        (tmp_path / "vid" / f"{number}.png").write_bytes(bytes([number]) * 9)
    (video,) = list_archive(tmp_path, parse_filter(picture_rate=6)).videos
    with source.open_source(tmp_path / "vid", tmp_path, video.version, "", 6):
        pass
    (tmp_path / "vid" / "1.png").write_bytes(b"other    ")
    changed = pytest.raises(VideoDecodeError, match="changed since it was listed")
    with changed, source.open_source(tmp_path / "vid", tmp_path, video.version, "", 6):
        pass
