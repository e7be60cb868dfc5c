"""Decoding in a sandboxed process: the same frames, and any failure costs only one video."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.helpers.videos import grey_frames, write_video
from tests.helpers.waiting import wait_until
from vis_core.config.media import DecodeLimits
from vis_core.errors import DecoderError, VideoDecodeError
from vis_core.media.sandbox import process as decoder_process
from vis_core.media.sandbox.frame_ring import FrameRing, make_ring_file
from vis_core.media.sandbox.process import Decoder, decoders
from vis_core.media.sandbox.protocol import Channel, ProtocolError
from vis_core.media.sandbox.reader import read_frames_sandboxed
from vis_core.media.video_reader import read_frames

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's")


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, grey_frames(23))
    return path


@pytest.fixture
def _failing(monkeypatch):
    """Replaces the decoder by one that fails by file name; the files before and after are whole."""
    end_idle_decoder()
    monkeypatch.setattr(
        decoder_process, "WORKER_MODULE", "tests.vis_core.media.sandbox.failing_child"
    )
    yield
    end_idle_decoder()


def end_idle_decoder():
    decoder, decoders._idle = decoders._idle, None
    if decoder is not None:
        decoder.end()


def idle_process():
    return decoders._idle.process_id


def process_is_gone(process_id):
    """Returns whether a process has ended, even if it is not yet reaped."""
    try:
        return "State:\tZ" in Path(f"/proc/{process_id}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize(
    "options",
    [{}, {"max_frames": 7}, {"sample_fps": 4}, {"skip": 9}, {"skip": 30}]
    + [{"skip": 2, "sample_fps": 4, "max_frames": 5}],
    ids=str,
)
def test_both_readers_give_the_same(clip, options):
    with read_frames(clip, **options) as inside, read_frames_sandboxed(clip, **options) as apart:
        assert apart.info == inside.info
        for frame in inside:
            other = next(apart)
            assert np.array_equal(other.image, frame.image)
            assert other.image.flags.owndata
            assert (other.index, other.time_s) == (frame.index, frame.time_s)
            assert (apart.number, apart.report) == (inside.number, inside.report)
        assert next(apart, None) is None
        assert apart.report == inside.report


def test_frames_stay_as_they_are_when_the_ring_goes_round(clip):
    kept = list(read_frames_sandboxed(clip))
    for frame, expected in zip(kept, read_frames(clip), strict=True):
        assert np.array_equal(frame.image, expected.image)


def test_a_closed_reader_leaves_its_decoder_to_the_next_video(clip):
    list(read_frames_sandboxed(clip))
    process = idle_process()
    with read_frames_sandboxed(clip) as reader:
        next(reader)
    assert next(reader, None) is None
    with pytest.raises(VideoDecodeError):
        read_frames_sandboxed(clip.with_name("absent.mp4"))
    assert len(list(read_frames_sandboxed(clip))) == 23
    assert idle_process() == process


def test_two_readers_at_once_have_a_decoder_each(clip):
    with read_frames_sandboxed(clip) as first, read_frames_sandboxed(clip) as second:
        pairs = zip(first, second, strict=True)
        assert all(np.array_equal(one.image, two.image) for one, two in pairs)


def test_a_relative_name_is_shown_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("no video")
    for read in (read_frames, read_frames_sandboxed):
        with pytest.raises(VideoDecodeError, match=r"^text\.mp4: not a video") as refusal:
            read(Path("text.mp4"))
        assert refusal.value.kind == "not a video"


@linux_only
@pytest.mark.slow
@pytest.mark.usefixtures("_failing")
@pytest.mark.parametrize(
    "name, kind, message",
    [
        ("crashes", "decoder died", "signal SIGSEGV"),
        ("leaves", "decoder died", "exit code 7"),
        ("grows", "too large", "more than 256 MiB; raise inference.decoding.max_memory_mib"),
        ("hangs", "timed out", "no frame for 2 s"),
        ("babbles", "decoder died", "invalid message"),
        ("floods", "decoder died", "invalid message"),
    ],
)
def test_a_failing_decoder_costs_its_video_alone(clip, name, kind, message):
    limits = DecodeLimits(frame_timeout_s=2, max_memory_mib=256)
    assert len(list(read_frames_sandboxed(clip, limits=limits))) == 23
    process = idle_process()
    bad = clip.rename(clip.with_stem(name))
    frames = []
    with pytest.raises(VideoDecodeError, match=f"{name}.mp4: .*{message}") as failure:
        frames.extend(read_frames_sandboxed(bad, limits=limits))
    assert failure.value.kind == kind
    assert len(frames) in (2, 3)
    assert process_is_gone(process)
    bad.rename(clip)
    assert len(list(read_frames_sandboxed(clip, limits=limits))) == 23


@linux_only
def test_a_decoder_that_died_idle_is_replaced_without_a_word(clip):
    list(read_frames_sandboxed(clip))
    process = idle_process()
    os.kill(process, signal.SIGKILL)
    assert wait_until(lambda: process_is_gone(process))
    assert len(list(read_frames_sandboxed(clip))) == 23


@linux_only
@pytest.mark.usefixtures("_failing")
def test_a_decoder_writes_no_file(clip):
    bad = clip.rename(clip.with_stem("writes"))
    with pytest.raises(VideoDecodeError, match="SIGXFSZ|exit code"):
        list(read_frames_sandboxed(bad))
    written = bad.with_name("written")
    assert not written.exists() or written.stat().st_size == 0


@linux_only
def test_a_decoder_holds_no_secret_no_right_and_no_torch(clip, monkeypatch):
    end_idle_decoder()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-of-the-owner")
    list(read_frames_sandboxed(clip))
    process = Path("/proc") / str(idle_process())
    environment = process.joinpath("environ").read_bytes()
    names = {entry.split(b"=")[0] for entry in environment.split(b"\0") if entry}
    assert names <= {b"LD_LIBRARY_PATH", b"OPENBLAS_NUM_THREADS"}
    assert b"canary" not in process.joinpath("cmdline").read_bytes()
    assert "torch" not in process.joinpath("maps").read_text()
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    assert status["NoNewPrivs"].strip() == "1"
    assert int(status["CapEff"], 16) in (0, 4)  # none, or to read the files of others
    limits = (process / "limits").read_text()
    for name, value in [
        ("Max file size", "0"),
        ("Max core file size", "0"),
        ("Max open files", "32"),
    ]:
        assert limits.split(name)[1].split()[0] == value
    assert limits.split("Max address space")[1].split()[0].isdigit()


@linux_only
def test_a_decoder_has_no_network_where_the_kernel_lets_it_go(clip):
    able = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    if able.returncode != 0:
        pytest.skip("this kernel permits no network of one's own")
    end_idle_decoder()
    list(read_frames_sandboxed(clip))
    assert Path(f"/proc/{idle_process()}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


@linux_only
@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip", "hangs"])
def test_no_decoder_outlives_a_killed_owner(clip, name):
    path = clip.rename(clip.with_stem(name))
    program = (
        "import sys; from pathlib import Path;"
        "from vis_core.media.sandbox import process, reader as sandbox;"
        "process.WORKER_MODULE = 'tests.vis_core.media.sandbox.failing_child';"
        "reader = sandbox.read_frames_sandboxed(Path(sys.argv[1]));"
        "print(reader._decoder.process_id, flush=True);"
        "[None for _ in reader]; input()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with owner:
        process = int(owner.stdout.readline())
        time.sleep(0.5)
        assert not process_is_gone(process)
        owner.kill()
        assert wait_until(lambda: process_is_gone(process))


def count_frames(path):
    """Returns the number of frames and the decoding process, from another process."""
    return sum(1 for _ in read_frames_sandboxed(path)), idle_process()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_child_of_this_process_has_a_decoder_of_its_own(clip, method):
    list(read_frames_sandboxed(clip))
    with multiprocessing.get_context(method).Pool(1) as pool:
        count, process = pool.apply(count_frames, (clip,))
    assert count == 23
    assert process != idle_process()
    assert len(list(read_frames_sandboxed(clip))) == 23


def test_a_decoder_outlives_the_thread_that_asked_for_it(clip):
    end_idle_decoder()
    readers = []
    thread = threading.Thread(target=lambda: readers.append(read_frames_sandboxed(clip)))
    thread.start()
    thread.join()
    assert len(list(readers[0])) == 23


def test_a_machine_that_cannot_start_a_decoder_blames_no_video(clip, monkeypatch):
    end_idle_decoder()
    monkeypatch.setattr(decoder_process, "WORKER_MODULE", "tests.no_such_module")
    with pytest.raises(DecoderError, match="no_such_module"):
        read_frames_sandboxed(clip)


@pytest.mark.slow
@pytest.mark.usefixtures("_failing")
def test_many_passed_over_frames_are_no_hang(clip):
    """Checks that the timeout counts decoded frames, not returned ones."""
    limits = DecodeLimits(frame_timeout_s=1.5)
    slow = clip.rename(clip.with_stem("slow"))
    with read_frames_sandboxed(slow, limits=limits, skip=22) as reader:
        assert [frame.index for frame in reader] == [22]


def test_large_frames_have_few_slots_and_none_has_too_many():
    descriptor = make_ring_file(7680 * 4320)
    ring = FrameRing(descriptor)
    assert ring.num_slots(4320, 7680) == 2
    assert ring.num_slots(2160, 3840) == 2
    assert ring.num_slots(1080, 1920) == 8
    assert ring.num_slots(16, 16) == 8
    assert ring.num_slots(8640, 7680) == 0
    ring.slot(1, 4320, 7680)[:] = 7
    taken = os.fstat(descriptor).st_blocks * 512
    ring.release_memory()
    if sys.platform == "linux":
        assert os.fstat(descriptor).st_blocks * 512 <= taken // 100
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
    os.close(descriptor)


@pytest.mark.parametrize(
    "reply",
    [
        {"type": "refused", "message": "x", "kind": "no such kind"},
        {"type": "delivered", "slot": "0", "index": 0, "number": 0, "time_s": 0.0},
        {"type": "ready", "more": 1},
        [],
    ],
    ids=str,
)
def test_what_is_no_message_is_not_believed(reply):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Channel(theirs)._send(json.dumps(reply).encode())
        with pytest.raises(ProtocolError):
            Channel(ours).receive(5)


def test_a_message_that_comes_in_pieces_is_kept_while_the_rest_is_late():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        body = b'{"type":"alive"}'
        channel = Channel(ours)
        theirs.sendall(bytes([len(body), 0, 0, 0]) + body[:5])
        with pytest.raises(TimeoutError):
            channel.receive(0.05)
        theirs.sendall(body[5:])
        assert channel.receive(5).type == "alive"


def test_decoders_with_other_limits_are_others(clip):
    list(read_frames_sandboxed(clip, limits=DecodeLimits(max_pixels=10_000)))
    process = idle_process()
    list(read_frames_sandboxed(clip, limits=DecodeLimits(max_pixels=20_000)))
    assert idle_process() != process
    assert process_is_gone(process)


def test_an_ended_decoder_is_reaped():
    decoder = Decoder(DecodeLimits())
    assert decoder.is_waiting
    decoder.end()
    assert process_is_gone(decoder.process_id)
