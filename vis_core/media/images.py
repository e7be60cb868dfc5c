"""Strict reading of still images as stored, and JPEG encoding of frames."""

import logging
import warnings
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from vis_core.errors import ImageError
from vis_core.rle.decode import MAX_PIXELS

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
_PIL_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)

_log = logging.getLogger(__name__)


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
        except _PIL_ERRORS as error:
            raise _damage_error(path, image, str(error)) from None
        if image.format == "JPEG" and _is_damaged_jpeg(path):
            raise _damage_error(path, image, "the compressed data are inconsistent")
        if getattr(image, "is_animated", False):
            _log.warning("%s: has several frames; the first one is used", path)
    return rgb


def image_size(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Reads the stored height and width from an image's header; raises like ``read_image``."""
    with _open_image(path, max_pixels) as image:
        return image.height, image.width


def _open_image(path: Path, max_pixels: int) -> Image.Image:
    if not path.is_file():
        raise ImageError(f"{path}: expected an image file, found none; check the folder")
    if path.stat().st_size == 0:
        raise ImageError(f"{path}: expected an image, found an empty file; copy it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        raise ImageError(
            f"{path}: expected an image ({', '.join(FORMATS)}), found other data; "
            "replace the file or remove it"
        ) from None
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{path}: expected at most {max_pixels} pixels, found more ({error}); scale it down"
        ) from None
    except _PIL_ERRORS as error:
        raise ImageError(f"{path}: expected an image, found {error}; copy it again") from None
    if image.width * image.height > max_pixels:
        size = f"{image.height} x {image.width}"
        image.close()
        raise ImageError(
            f"{path}: expected at most {max_pixels} pixels, found {size}; scale it down"
        )
    return image


def _damage_error(path: Path, image: Image.Image, reason: str) -> ImageError:
    return ImageError(
        f"{path}: expected a complete {image.format} image, found damaged data ({reason}); "
        "copy the file again"
    )


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
