"""Still images as annotation files mean them: stored pixels, whole, of a bearable size."""

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
_TROUBLES = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)

_log = logging.getLogger(__name__)


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads an image whole or not at all.

    The pixels stay as they are stored (no turn by EXIF, since COCO masks refer to stored pixels);
    grey, palette, alpha, CMYK and 16 bit become RGB of 8 bit, and of an animation the first frame.

    Args:
        path: The file; its content decides the format, not its name.
        max_pixels: Largest height x width that is decoded.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: If the file is missing, cut, damaged, too large or not an image.
    """
    with _opened(path, max_pixels) as image:
        try:
            image.load()
            rgb = _as_rgb(image)
        except _TROUBLES as error:
            raise _damaged(path, image, str(error)) from None
        if image.format == "JPEG" and _is_damaged_jpeg(path):
            raise _damaged(path, image, "the compressed data do not fit together")
        if getattr(image, "is_animated", False):
            _log.warning("%s: has several frames; the first one is used", path)
    return rgb


def image_size(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Reads height and width of the stored pixels from the header of an image.

    Raises:
        ImageError: If the file is missing, too large or not an image.
    """
    with _opened(path, max_pixels) as image:
        return image.height, image.width


def _opened(path: Path, max_pixels: int) -> Image.Image:
    if not path.is_file():
        raise ImageError(f"{path}: expected an image file, found none there; check the folder")
    if path.stat().st_size == 0:
        raise ImageError(f"{path}: expected an image, found an empty file; fetch it again")
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
    except _TROUBLES as error:
        raise ImageError(f"{path}: expected an image, found {error}; fetch it again") from None
    if image.width * image.height > max_pixels:
        size = f"{image.height} x {image.width}"
        image.close()
        raise ImageError(
            f"{path}: expected at most {max_pixels} pixels, found {size}; scale it down"
        )
    return image


def _damaged(path: Path, image: Image.Image, reason: str) -> ImageError:
    return ImageError(
        f"{path}: expected a whole {image.format} image, found damaged data ({reason}); "
        "fetch the file again"
    )


def _is_damaged_jpeg(path: Path) -> bool:
    """Whether FFmpeg's strict decoder refuses the data; libjpeg fills in grey and says nothing."""
    codec = av.CodecContext.create("mjpeg", "r")
    codec.options = {"err_detect": "explode"}
    try:
        codec.decode(av.Packet(path.read_bytes()))
        codec.decode(None)
    except av.error.InvalidDataError:
        return True
    except av.error.FFmpegError:
        return False  # a kind of JPEG that it does not know; PIL read it whole
    return False


def _as_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith(("I", "F")):
        grey = _eight_bit(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("P", "LA", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _eight_bit(values: np.ndarray) -> np.ndarray:
    """Scales 16-bit grey to 8 bit by its range and not by its brightest pixel."""
    highest = float(values.max(initial=0))
    scale = 1.0 if highest <= 255 and values.dtype != np.uint16 else 255 / 65535
    if values.dtype.kind == "f" and highest <= 1:
        scale = 255.0
    scaled: np.ndarray = np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
    return scaled


# Visually lossless; at 4:2:0 a frame of 640 x 480 takes about 100 kB.
JPEG_QUALITY = 95


def encode_jpeg(image: np.ndarray, quality: int = JPEG_QUALITY) -> bytes:
    """Encodes an RGB image (H, W, 3) of uint8."""
    swapped = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", swapped, [cv2.IMWRITE_JPEG_QUALITY, quality])
    encoded: bytes = data.tobytes()
    return encoded


def decode_jpeg(data: bytes, where: str) -> np.ndarray:
    """Decodes an RGB image (H, W, 3) of uint8.

    Raises:
        ImageError: If the bytes are no image.
    """
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise ImageError(f"{where}: expected a JPEG frame, found other bytes; make the clips anew")
    swapped: np.ndarray = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return swapped
