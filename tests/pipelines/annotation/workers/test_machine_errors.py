"""An error of the machine ends the work with its mend; no video is put aside for it."""

import errno
import io
import os
import resource
import tempfile

import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from pipelines.annotation.archive.listing import ArchivedVideo, list_archive
from pipelines.annotation.ledger import Ledger, Survey
from pipelines.annotation.machine_errors import machine_errors_named
from pipelines.annotation.options import AnnotateOptions
from pipelines.annotation.video import result, resume
from pipelines.annotation.work_queue import WorkQueue
from pipelines.annotation.worker import AnnotateJob, VideoAnnotator
from pipelines.storage import s3 as s3_module
from pipelines.storage.local import LocalStorage
from pipelines.storage.open import open_storage
from tests.helpers.toy_archive import outcome, toy_archive, tree
from tests.helpers.toy_loaders import ActingSystem, RememberingSystem
from vis_core.config.inference import InferenceConfig
from vis_core.errors import CheckpointError, MachineError, StorageError, VideoDecodeError
from vis_core.media.sandbox import process
from vis_core.models.systems.build import read_weights

CODES = ("ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ENFILE", "ENOMEM", "EIO", "ENOENT", "EACCES")
GPU_ERRORS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: device-side assert triggered\nsecond line"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA driver version is insufficient for CUDA runtime version"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("can't start new thread"),
    MemoryError(),
    pa.ArrowMemoryError("malloc of size 64 failed"),
)
WAYS = ((1, False), (2, False), (2, True))  # number of segments, whether they are stitched


def os_error(name):
    code = getattr(errno, name)
    return OSError(code, os.strerror(code), "/scratch/a\nb/longtake-1")


def annotator_of(tmp_path, model, load=None, stitched=False, videos=None):
    archive = list_archive(videos or toy_archive(tmp_path / "videos", 1, frames=9))
    ledger = Ledger(LocalStorage(tmp_path / "out"), "settings")
    join = "stitched" if stitched else "exact"
    options = AnnotateOptions(save_every=4, segments=2 if stitched else "auto", join=join)
    load = load or (lambda _: RememberingSystem())
    config = InferenceConfig(chunk_frames=2)
    annotator = VideoAnnotator(AnnotateJob(archive.storage, ledger, model, config, options, load))
    annotator.load()
    return annotator, archive.videos[0]


def assert_one_kind_line(error):
    text = str(error)
    assert error.exit_code == 4
    assert text.isprintable() and len(text) <= 400
    assert text.endswith("then run the same command again; no video was put aside for it")


def assert_nothing_recorded(folder):
    names = {key.split("/")[0] for key in tree(folder)}
    assert not names & {"failed", "results"}


def spool_fails(patch, fail):
    patch.setattr(resume.UnfinishedVideo, "__init__", fail)


PLACES = {
    "spool": spool_fails,
    "mask folder": lambda patch, fail: patch.setattr(tempfile, "TemporaryDirectory", fail),
    "mask table": lambda patch, fail: patch.setattr(result, "write_mask_table", fail),
    "decoder": lambda patch, fail: patch.setattr(process, "make_ring_file", fail),
}
# all errors in one place, then one error in all places and all ways of processing
CASES = [("spool", code, 1, False) for code in CODES]
CASES += [(place, "ENOSPC", *way) for place in PLACES for way in WAYS]


@pytest.mark.parametrize("place, code, segments, stitched", CASES)
def test_an_error_of_a_temporary_file_is_of_the_machine(
    place, code, segments, stitched, tmp_path, model, monkeypatch
):
    def fail(*_, **__):
        raise os_error(code)

    annotator, video = annotator_of(tmp_path, model, stitched=stitched)
    if place == "decoder" and process.decoders._idle is not None:
        process.decoders._idle.end()
    with monkeypatch.context() as patch:
        PLACES[place](patch, fail)
        with pytest.raises(MachineError, match="/scratch") as caught:
            outcome(annotator, video, segments, stitched)
    assert_one_kind_line(caught.value)
    assert_nothing_recorded(tmp_path / "out")
    if code == "ENOSPC":
        assert outcome(annotator, video, segments, stitched).status == "done"


@pytest.mark.parametrize("error", GPU_ERRORS, ids=str)
def test_an_error_of_a_gpu_or_of_memory_is_of_the_machine(error, tmp_path, model):
    def act():
        raise error

    annotator, video = annotator_of(tmp_path, model, lambda _: ActingSystem(act))
    with pytest.raises(MachineError) as caught:
        outcome(annotator, video, 1, False)
    assert_one_kind_line(caught.value)
    assert_nothing_recorded(tmp_path / "out")


@pytest.mark.parametrize("error", [*map(os_error, CODES), *GPU_ERRORS], ids=str)
def test_a_model_that_this_machine_cannot_load_is_no_bad_model(error, tmp_path, model):
    def load(_):
        raise error

    with pytest.raises(MachineError, match="while it loaded the model") as caught:
        annotator_of(tmp_path, model, load)
    assert_one_kind_line(caught.value)


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), RuntimeError("shapes differ")])
def test_an_error_of_the_program_stays_what_it_is(error):
    with pytest.raises(type(error)), machine_errors_named("while it worked"):
        raise error


def test_weights_that_cannot_be_read_for_lack_of_files_are_not_bad_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(MachineError), machine_errors_named("while loading"):
            read_weights(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with pytest.raises(CheckpointError), machine_errors_named("while it loaded the model"):
        (tmp_path / "bad.safetensors").write_bytes(b"bad")
        read_weights(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("code", ["EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ENOTCONN"])
def test_a_decoder_that_cannot_open_files_says_nothing_about_the_video(
    code, tmp_path, model, monkeypatch
):
    def fail(*_, **__):
        reason = os.strerror(getattr(errno, code))
        raise VideoDecodeError(f"v.mp4: cannot be opened ({reason}); expected one whole video file")

    annotator, video = annotator_of(tmp_path, model)
    monkeypatch.setattr("pipelines.annotation.video.whole_video.read_frames_sandboxed", fail)
    with pytest.raises(MachineError) as caught:
        annotator.do(WorkQueue([video], {video.key: 1}).take())
    assert_one_kind_line(caught.value)
    assert_nothing_recorded(tmp_path / "out")


@pytest.mark.parametrize("code", ["ENOSPC", "EROFS", "EIO", "ENOENT"])
def test_a_download_without_room_says_nothing_about_the_video(
    code, tmp_path, model, s3_bucket, monkeypatch
):
    (clip,) = toy_archive(tmp_path / "videos", 1).iterdir()
    open_storage(f"{s3_bucket}/in").write_once("clip.mp4", clip.read_bytes())
    annotator, video = annotator_of(tmp_path, model, videos=f"{s3_bucket}/in")

    class FullFile(io.BytesIO):
        def write(self, _):
            raise os_error(code)

    attempt = s3_module.Download.attempt

    def full(self):
        self._file = FullFile()
        attempt(self)

    with monkeypatch.context() as patch:
        patch.setattr(s3_module.Download, "attempt", full)
        with pytest.raises((MachineError, StorageError)) as caught:
            annotator.do(WorkQueue([video], {video.key: 1}).take())
    assert_one_kind_line(caught.value)
    assert_nothing_recorded(tmp_path / "out")
    assert annotator.annotate(video).status == "done"


LOST = "lost its worker 3 times ({}); out of memory?"
TAKEN_BACK = [
    *(
        ("killed its worker", LOST.format(f"{type(os_error(c)).__name__}: {os_error(c)}"))
        for c in CODES
    ),
    *(("killed its worker", LOST.format(f"{type(e).__name__}: {e}")) for e in GPU_ERRORS),
    ("killed its worker", LOST.format("OSError: [Errno 28] Error writing bytes to file")),
    ("killed its worker", LOST.format("ConnectionResetError: [Errno 104]")),
    ("unreadable", "cannot be opened (Too many open files); expected one whole video file"),
    ("unreadable", "cannot be read (Stale file handle)"),
    ("unreadable", "cannot be read (No such file or directory)"),
]
KEPT = [
    ("killed its worker", LOST.format("ActorDiedError: The actor died unexpectedly")),
    ("killed its worker", LOST.format("OutOfMemoryError: Task was killed due to the node")),
    ("killed its worker", LOST.format("WorkerCrashedError: The worker died unexpectedly")),
    ("decoder died", "the decoder died (signal SIGSEGV); the file is damaged, 3 times"),
    ("unreadable", "no permission to read it"),
    ("decode error", "not a video, or truncated before its index"),
    ("timed out", "no frame for 60 s, the decoder was ended"),
]


def test_redo_takes_back_the_failures_that_machines_caused(tmp_path):
    ledger, survey = Ledger(LocalStorage(tmp_path), "settings"), Survey([], [], [])
    for number, (kind, reason) in enumerate(TAKEN_BACK + KEPT):
        survey.failed.append(ArchivedVideo(str(number), 1, "v"))
        ledger.fail(survey.failed[-1], "quarantined", reason, kind)
    redone = {int(video.key) for video in ledger.to_redo(survey, "machine-errors")}
    assert redone == set(range(len(TAKEN_BACK)))
    assert ledger.to_redo(survey, "failed") == survey.failed
