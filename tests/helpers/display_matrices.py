"""The eight display matrices and others, written into mp4 files, and ffmpeg's view of a video."""

import struct
import subprocess

import numpy as np

# name: (a, b, c, d) and the displayed picture, computed from the stored one
EIGHT = {
    "identity": ((1, 0, 0, 1), lambda image: image),
    "clockwise": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "half": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "counterclockwise": ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
    "hflip": ((-1, 0, 0, 1), np.fliplr),
    "vflip": ((1, 0, 0, -1), np.flipud),
    "transpose": ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    "antitranspose": ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
}
OTHERS = {
    "turned by 45 degrees": (0.7071, 0.7071, -0.7071, 0.7071),
    "turned by 2 degrees": (0.9994, 0.0349, -0.0349, 0.9994),
    "sheared": (1, 0, 0.5, 1),
    "doubled": (2, 0, 0, 2),
    "wider": (1.5, 0, 0, 1),
    "flat": (1, 0, 0, 0),
}


def set_matrix(source, target, a, b, c, d, shift=(0, 0)):
    """Copies an mp4 or mov with one track and writes the matrix into its tkhd."""
    data = bytearray(source.read_bytes())
    place = data.index(b"tkhd") + 4
    begin = place + (52 if data[place] == 1 else 40)
    numbers = [round(value * 65536) for value in (a, b, 0, c, d, 0, *shift)]
    data[begin : begin + 36] = struct.pack(">9i", *numbers, 1 << 30)
    target.write_bytes(data)


def pictures_of_ffmpeg(path, height, width, *options):
    """Returns the frames that ffmpeg shows, as (N, H, W, 3) RGB; options come before the input."""
    command = ["ffmpeg", "-v", "error", *options, "-i", str(path), "-vsync", "passthrough"]
    command += ["-sws_flags", "bilinear", "-pix_fmt", "rgb24"]
    output = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, check=True)
    return np.frombuffer(output.stdout, np.uint8).reshape(-1, height, width, 3)
