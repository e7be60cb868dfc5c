"""A decoding process whose decoder fails at the third frame, in the way the file's name says."""

import os
import signal
import time
from pathlib import Path

from vis_core.media.sandbox import worker
from vis_core.media.video_reader import VideoReader


def main(*arguments: object) -> int:
    """Serves as the real process does, but for files of certain names."""
    real = VideoReader._decode

    def decode(reader: VideoReader):
        for number, stored in enumerate(real(reader)):
            if reader._path.stem == "slow":
                time.sleep(0.2)
            if number == 3:
                fail(reader._path, arguments[0])
            yield stored

    VideoReader._decode = decode
    return worker.main(*arguments)


def fail(path: Path, channel_file: int) -> None:
    if path.stem == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif path.stem == "hangs":
        time.sleep(1000)
    elif path.stem == "grows":
        held = []
        while True:
            held.append(bytearray(2**24))
    elif path.stem == "leaves":
        os._exit(7)
    elif path.stem == "babbles":
        os.write(channel_file, b"\x05\x00\x00\x00{'a'}")
    elif path.stem == "floods":
        os.write(channel_file, b"\xff\xff\xff\xff")
    elif path.stem == "writes":
        (path.parent / "written").write_bytes(b"x")
