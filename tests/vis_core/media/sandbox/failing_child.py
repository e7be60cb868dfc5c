"""A decoding process whose decoder fails at the third frame, in a way set by the file name."""

import os
import signal
import time
from pathlib import Path

from vis_core.media.frame_decoder import FrameDecoder
from vis_core.media.sandbox import worker


def main(*arguments: object) -> int:
    """Serves as the real process does, except for files with certain names."""
    real = FrameDecoder._decode

    def decode(decoder: FrameDecoder):
        for number, stored in enumerate(real(decoder)):
            if decoder.path.stem == "slow":
                time.sleep(0.2)
            if number == 3:
                fail(decoder.path, arguments[0])
            yield stored

    FrameDecoder._decode = decode
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
