"""Folders and S3 prefixes: written once, whole, or not at all."""

import os
import threading
import tracemalloc

import pytest

from pipelines.storage.base import read_if_there
from pipelines.storage.local import LocalStorage
from pipelines.storage.open import open_storage
from vis_core.errors import ConfigError, MissingObjectError, StorageError, VideoDecodeError


@pytest.fixture(params=["folder", "s3"])
def storage(request, tmp_path):
    """Returns each kind of storage, below a prefix."""
    if request.param == "folder":
        return open_storage(tmp_path / "root")
    return open_storage(request.getfixturevalue("s3_bucket") + "/some/prefix")


def test_an_empty_storage_lists_nothing(storage):
    assert list(storage.list()) == []
    assert not storage.exists("a.json")


def test_the_first_writer_wins(storage):
    assert storage.write_once("results/a.json", b"first")
    assert not storage.write_once("results/a.json", b"second")
    assert storage.read("results/a.json") == b"first"
    assert storage.exists("results/a.json")


def test_the_same_content_again_counts_as_written(storage):
    assert storage.write_once("a", b"content")
    assert storage.write_once("a", b"content")


def test_a_file_is_written_once(storage, tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_bytes(b"ours" * 3_000_000)  # more than is copied at once
    theirs.write_bytes(b"rule" * 3_000_000)
    assert storage.write_once_file("results/a", ours)
    assert storage.write_once_file("results/a", ours)
    assert not storage.write_once_file("results/a", theirs)
    assert storage.write_once("results/a", ours.read_bytes())
    assert storage.read("results/a") == ours.read_bytes()


def test_a_large_file_is_written_in_little_memory(tmp_path):
    large = tmp_path / "large"
    large.write_bytes(bytes(60_000_000))
    tracemalloc.start()
    try:
        assert LocalStorage(tmp_path / "out").write_once_file("a", large)
        assert LocalStorage(tmp_path / "out").write_once_file("a", large)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_replace_replaces(storage):
    storage.replace("manifest.json", b"one")
    storage.replace("manifest.json", b"two")
    assert storage.read("manifest.json") == b"two"


def test_a_listing_has_keys_and_sizes_below_the_prefix(storage):
    for key in ("results/b", "results/a", "failed/c", "top"):
        storage.write_once(key, key.encode())
    assert [(entry.key, entry.size) for entry in storage.list("results/")] == [
        ("results/a", 9),
        ("results/b", 9),
    ]
    assert len(list(storage.list())) == 4


def test_an_object_is_lent_as_a_file(storage):
    storage.write_once("clip a.mp4", b"frames")
    with storage.as_file("clip a.mp4") as path:
        assert path.read_bytes() == b"frames"
        assert path.suffix == ".mp4"


def test_an_absent_object_is_named(storage):
    with pytest.raises(MissingObjectError, match="absent.json"):
        storage.read("absent.json")
    storage.write_once("a", b"1")
    with pytest.raises(MissingObjectError, match="a/b"):
        storage.read("a/b")
    assert read_if_there(storage, "absent.json") is None


def test_a_folder_in_place_of_a_file_is_not_absent(tmp_path):
    storage = LocalStorage(tmp_path)
    storage.write_once("a/b", b"1")
    with pytest.raises(StorageError, match="cannot read"):
        read_if_there(storage, "a")


def test_an_object_that_comes_just_after_it_was_asked_for_is_not_there(tmp_path):
    """Imitates a second job that writes an object just after this one found it missing."""

    class Late(LocalStorage):
        def read(self, key):
            try:
                return super().read(key)
            finally:
                self.write_once(key, b"late")

    storage = Late(tmp_path)
    assert read_if_there(storage, "end.json") is None
    assert read_if_there(storage, "end.json") == b"late"


def test_many_writers_have_one_winner(storage):
    results = {}

    def write(number):
        results[number] = storage.write_once("one", f"writer {number}".encode())

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for number, won in results.items() if won]
    assert len(winners) == 1
    assert storage.read("one") == f"writer {winners[0]}".encode()


def test_a_key_never_leaves_the_root(tmp_path):
    with pytest.raises(AssertionError, match="leaves the root"):
        LocalStorage(tmp_path).write_once("../escape", b"x")


@pytest.mark.parametrize("uri", ["http://host/x", "s3://", "s3:///x", "gs://bucket/x"])
def test_other_uris_are_refused(uri):
    with pytest.raises(ConfigError, match="expected a folder|not a valid name of a bucket"):
        open_storage(uri)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="locked.*give access"):
        LocalStorage(tmp_path / "locked").write_once("a", b"x")


def test_a_folder_that_others_remove_meanwhile_is_made_again(tmp_path, monkeypatch):
    """Imitates a second job that has just finished the video to which these parts belong."""
    storage, link, begun = LocalStorage(tmp_path), os.link, []

    def disturbed_link(source, target):
        begun.append(target)
        if len(begun) in (1, 2):
            target.parent.rmdir()  # empty, between its creation and the link
        if len(begun) == 3:
            target.parent.rmdir()
            raise FileExistsError  # the other was first, and its file is already gone
        link(source, target)
        if len(begun) == 4:
            storage.delete("parts/a")  # before the folder is synced

    monkeypatch.setattr(os, "link", disturbed_link)
    assert storage.write_once("parts/a", b"1")
    assert len(begun) == 4
    assert storage.write_once("parts/a", b"1")
    assert storage.read("parts/a") == b"1"
    assert not list((tmp_path / ".partial").iterdir())


def test_a_name_that_leads_nowhere_is_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "nothing")
    with pytest.raises(StorageError, match="cannot write"):
        LocalStorage(tmp_path).write_once("a", b"1")


def test_jobs_that_write_and_clear_one_folder_do_not_disturb_each_other(tmp_path):
    storage, problems = LocalStorage(tmp_path), []

    def work(name):
        try:
            for _ in range(200):
                storage.write_once("parts/shared", b"1")
                storage.replace(f"parts/{name}", b"2")
                storage.delete("parts/shared")
                storage.delete(f"parts/{name}")
        except StorageError as error:
            problems.append(error)

    workers = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert problems == []
    assert list(storage.list()) == []


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "results").write_bytes(b"x")
    with pytest.raises(StorageError, match="results/a"):
        LocalStorage(tmp_path).write_once("results/a", b"x")


def test_a_living_writer_keeps_its_partial_file(tmp_path):
    storage = LocalStorage(tmp_path)
    partial = storage._write_partial([b"on its way"])
    storage.remove_stale_partials()
    assert partial.exists()


class Faults:
    """Planned faults in place of some server replies to boto3, before or after the server acts."""

    def __init__(self, monkeypatch, storage):
        from botocore.httpsession import URLLib3Session

        self.plan = []
        original = URLLib3Session.send
        faults = self

        def send(session, request):
            fault = faults.plan.pop(0) if faults.plan else None
            if fault is None:
                return original(session, request)
            return fault(lambda: original(session, request))

        monkeypatch.setattr(URLLib3Session, "send", send)
        storage.exists("warm up")


def refuse(status, code):
    """Returns a fault that answers with an error while the server does nothing."""

    def fault(_):
        from botocore.awsrequest import AWSResponse

        body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()

        class Raw:
            def stream(self, **_):
                yield body

            def read(self, *_):
                return body

        return AWSResponse("http://x", status, {"content-type": "application/xml"}, Raw())

    return fault


def lose_answer(act):
    """Loses the server's answer after it has acted."""
    from botocore.exceptions import ConnectionClosedError

    act()
    raise ConnectionClosedError(endpoint_url="http://x")


@pytest.fixture
def s3_storage(s3_bucket, monkeypatch):
    monkeypatch.setenv("LONGTAKE_S3_FIRST_PAUSE_S", "0")
    return open_storage(s3_bucket + "/out")


def test_a_lost_answer_to_our_own_write_is_a_success(s3_storage, monkeypatch):
    faults = Faults(monkeypatch, s3_storage)
    faults.plan = [lose_answer]
    assert s3_storage.write_once("a", b"ours")
    assert s3_storage.read("a") == b"ours"


def test_a_lost_answer_to_a_write_that_lost_is_no_success(s3_storage, monkeypatch):
    s3_storage.write_once("a", b"theirs")
    faults = Faults(monkeypatch, s3_storage)
    faults.plan = [lose_answer]
    assert not s3_storage.write_once("a", b"ours")
    assert s3_storage.read("a") == b"theirs"


@pytest.mark.parametrize(
    "status, code",
    [(409, "ConditionalRequestConflict"), (500, "InternalError"), (503, "SlowDown")],
)
def test_what_may_pass_is_tried_again(status, code, s3_storage, monkeypatch):
    faults = Faults(monkeypatch, s3_storage)
    faults.plan = [refuse(status, code)] * 3
    assert s3_storage.write_once("a", b"ours")
    assert s3_storage.read("a") == b"ours"


def test_a_refusal_is_said_at_once_with_bucket_and_key(s3_storage, monkeypatch):
    faults = Faults(monkeypatch, s3_storage)
    faults.plan = [refuse(403, "SignatureDoesNotMatch")] + [lose_answer] * 50
    with pytest.raises(StorageError, match="s3://bucket-.*/out/a.*SignatureDoesNotMatch"):
        s3_storage.read("a")
    assert len(faults.plan) == 50


def test_a_service_that_stays_away_is_an_error_in_the_end(s3_storage, monkeypatch):
    faults = Faults(monkeypatch, s3_storage)
    faults.plan = [refuse(503, "SlowDown")] * 100
    with pytest.raises(StorageError, match="503"):
        s3_storage.write_once("a", b"ours")


@pytest.mark.usefixtures("s3_bucket")
def test_a_missing_bucket_is_named():
    with pytest.raises(StorageError, match="NoSuchBucket"):
        list(open_storage("s3://no-such-bucket-here").list())


def test_an_object_that_changed_is_not_read_as_the_listed_one(s3_storage):
    s3_storage.write_once("a.mp4", b"one")
    etag = next(s3_storage.list()).etag
    with s3_storage.as_file("a.mp4", etag) as path:
        assert path.read_bytes() == b"one"
    s3_storage.replace("a.mp4", b"two")
    with (
        pytest.raises(VideoDecodeError, match="changed while it was read"),
        s3_storage.as_file("a.mp4", etag),
    ):
        pass


def test_an_object_that_is_gone_is_no_broken_service(s3_storage):
    with (
        pytest.raises(VideoDecodeError, match="changed while it was read .*-> gone"),
        s3_storage.as_file("a.mp4", "0" * 32),
    ):
        pass


def test_a_listing_is_read_page_by_page(s3_storage, monkeypatch):
    for number in range(5):
        s3_storage.write_once(f"k{number}", b"x")
    faults = Faults(monkeypatch, s3_storage)
    monkeypatch.setattr("pipelines.storage.s3.PAGE", 2)
    faults.plan = [lambda act: act(), refuse(503, "SlowDown"), lambda act: act(), lose_answer]
    assert [entry.key for entry in s3_storage.list()] == [f"k{number}" for number in range(5)]
    assert faults.plan == []  # three pages, two of them requested twice


def test_conditional_writes_are_checked(storage):
    storage.check_conditional_writes()
    assert list(storage.list()) == []


def test_a_server_that_ignores_conditions_is_refused(s3_storage):
    def drop_condition(request, **_):
        del request.headers["If-None-Match"]

    events = s3_storage._client.meta.events
    events.register("before-sign.s3.PutObject", drop_condition)
    try:
        with pytest.raises(StorageError, match="ignores If-None-Match.*update it"):
            s3_storage.check_conditional_writes()
    finally:
        events.unregister("before-sign.s3.PutObject", drop_condition)
    assert list(s3_storage.list()) == []


def test_an_etag_that_is_no_digest_is_not_believed(s3_storage, monkeypatch):
    s3_storage._client.put_object(Bucket=s3_storage.bucket, Key="out/a", Body=b"content")
    original = s3_storage._client.get_object

    def with_other_etag(**options):
        return {**original(**options), "ETag": '"' + "ab" * 16 + '"'}

    monkeypatch.setattr(s3_storage._client, "get_object", with_other_etag)
    assert s3_storage.read("a") == b"content"


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf"])
def test_a_pause_that_is_no_number_of_seconds_is_refused(value, monkeypatch):
    monkeypatch.setenv("LONGTAKE_S3_FIRST_PAUSE_S", value)
    with pytest.raises(ConfigError, match="LONGTAKE_S3_FIRST_PAUSE_S.*expected seconds"):
        open_storage("s3://bucket/prefix")


def test_an_endpoint_without_a_scheme_is_refused(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "localhost:9000")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL_S3: expected https"):
        open_storage("s3://bucket/prefix")
