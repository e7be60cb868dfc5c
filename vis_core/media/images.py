"""Strict reading of still images as stored, and JPEG encoding of frames."""

import errno
import logging
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from vis_core.errors import ImageError, StorageError
from vis_core.rle.decode import MAX_PIXELS

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
_PIL_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)
# Errors of a file; other errors of the system come from the disk or the machine.
_FILE_ERRORS = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM}
_FILE_ERRORS |= {errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
_READERS = 16  # threads, which mostly wait for a network disk

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageHeader:
    """An image's stored size and its EXIF orientation (1 to 8; 1: shown as stored)."""

    height: int
    width: int
    orientation: int


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a complete image of at most ``max_pixels`` as (H, W, 3) uint8 RGB.

    The pixels keep their stored orientation (EXIF is ignored, since COCO masks refer to stored
    pixels). Grey, palette, alpha, CMYK and 16-bit images are converted to 8-bit RGB. Only the first
    frame of an animation is read. The content determines the format, not the file name. Raises
    ImageError if the file is missing, truncated, damaged, too large or not an image.
    """
    with _open_image(path, max_pixels) as image:
        try:
            image.load()
            rgb = _as_rgb(image)
            damaged = image.format == "JPEG" and _is_damaged_jpeg(path)
        except _PIL_ERRORS as error:
            _raise_fault_of_machine(path, error)
            raise _damage_error(path, image, str(error)) from None
        if damaged:
            raise _damage_error(path, image, "the compressed data are inconsistent")
        if getattr(image, "is_animated", False):
            _log.warning("%s: has several frames; the first one is used", path)
    return rgb


def image_header(path: Path, *, whole: bool = False) -> ImageHeader:
    """Reads an image's header, and with ``whole`` its pixels; raises like ``read_image``."""
    if whole:
        read_image(path)
    with _open_image(path, MAX_PIXELS) as image:
        return ImageHeader(image.height, image.width, _orientation(image))


def image_headers(paths: Iterable[Path], *, whole: bool) -> Iterator[ImageHeader | ImageError]:
    """Yields the header of each image or the error in it, in order; reads ahead in threads."""
    with ThreadPoolExecutor(_READERS) as readers:
        yield from readers.map(partial(_header_or_error, whole=whole), paths)


def _header_or_error(path: Path, whole: bool) -> ImageHeader | ImageError:
    try:
        return image_header(path, whole=whole)
    except ImageError as error:
        return error


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow itself turns the pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # the method of PNG images would decode all pixels
            tag = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # malformed EXIF data raise errors of many kinds
        return 1
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1


def _open_image(path: Path, max_pixels: int) -> Image.Image:
    try:
        if not path.is_file():
            raise _refusal(path, "an image file", "none", "check the folder")
        if path.stat().st_size == 0:
            raise _refusal(path, "an image", "an empty file", "copy it again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        expected = f"an image ({', '.join(FORMATS)})"
        raise _refusal(path, expected, "other data", "replace the file or remove it") from None
    except Image.DecompressionBombError as error:
        expected = f"at most {max_pixels} pixels"
        raise _refusal(path, expected, f"more ({error})", "scale it down") from None
    except _PIL_ERRORS as error:
        _raise_fault_of_machine(path, error)
        raise _refusal(path, "an image", str(error), "copy it again") from None
    if image.width * image.height > max_pixels:
        size = f"{image.height} x {image.width}"
        image.close()
        raise _refusal(path, f"at most {max_pixels} pixels", size, "scale it down")
    return image


def _refusal(path: Path, expected: str, found: str, mend: str) -> ImageError:
    message = f"{path}: expected {expected}, found {found}; {mend}"
    return ImageError(message, (expected, found, mend))


def _raise_fault_of_machine(path: Path, error: BaseException) -> None:
    """Raises a StorageError for an error of the disk or the system, such as too many open files."""
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and number not in _FILE_ERRORS:
        raise StorageError(
            f"{path}: cannot be read ({error}); check the disk and the limits of this machine, "
            "then run the same command again"
        ) from error


def _damage_error(path: Path, image: Image.Image, reason: str) -> ImageError:
    expected, found = f"a complete {image.format} image", f"damaged data ({reason})"
    return _refusal(path, expected, found, "copy the file again")


def _is_damaged_jpeg(path: Path) -> bool:
    """Returns whether FFmpeg's strict decoder rejects the data; libjpeg fills gaps with grey."""
    codec = av.CodecContext.create("mjpeg", "r")
    codec.options = {"err_detect": "explode"}
    try:
        codec.decode(av.Packet(path.read_bytes()))
        codec.decode(None)
    except av.error.InvalidDataError:
        return True
    except av.error.FFmpegError:
        return False  # a JPEG variant that FFmpeg does not support; PIL read it
    return False


def _as_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith(("I", "F")):
        grey = _eight_bit(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("P", "LA", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _eight_bit(values: np.ndarray) -> np.ndarray:
    """Scales grey values in 0..65535 to 8 bits; also int32 in 0..255, float in 0..255 or 0..1."""
    highest = float(values.max(initial=0))
    scale = 1.0 if highest <= 255 and values.dtype != np.uint16 else 255 / 65535
    if values.dtype.kind == "f" and highest <= 1:
        scale = 255.0
    return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)


# Visually lossless; at 4:2:0 a 640 x 480 frame takes about 100 kB.
JPEG_QUALITY = 95


def encode_jpeg(image: np.ndarray, quality: int = JPEG_QUALITY) -> bytes:
    """Encodes an (H, W, 3) uint8 RGB image as JPEG."""
    swapped = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", swapped, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def decode_jpeg(data: bytes, where: str) -> np.ndarray:
    """Decodes an (H, W, 3) uint8 RGB image; raises ImageError if the bytes are not an image."""
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise ImageError(f"{where}: expected a JPEG frame, found other data; make the clips again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
