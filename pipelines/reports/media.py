"""Pictures and videos in a report page, embedded if they fit and linked otherwise."""

import base64
import os
from pathlib import Path
from urllib.parse import quote

import av
import cv2

_TYPES = {".mp4": "video/mp4", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_POSTER_WIDTH = 640  # pixels
_BASE64 = 4 / 3  # characters per byte


class MediaBudget:
    """The space left for embedded files in a page; the limits are sizes in base64.

    Links are relative to the page's folder.
    """

    def __init__(self, page: Path, total_bytes: int, file_bytes: int) -> None:
        self._folder = page.parent
        self._left = total_bytes
        self._file_bytes = file_bytes

    def source(self, path: Path) -> str:
        """Returns the ``src`` attribute, either the file as a data URL or a relative link to it."""
        size = int(path.stat().st_size * _BASE64)
        if size > min(self._left, self._file_bytes):
            link = os.path.relpath(path.absolute(), self._folder.absolute())
            return quote(os.fsencode(link.replace(os.sep, "/")), safe="/")
        return self._embed(path.read_bytes(), _TYPES[path.suffix.lower()])

    def poster(self, video: Path) -> str:
        """Returns a video frame as a data URL, or an empty string if no frame decodes or fits."""
        frame = _poster_frame(video)
        if not frame or len(frame) * _BASE64 > self._left:
            return ""
        return self._embed(frame, "image/jpeg")

    def _embed(self, data: bytes, kind: str) -> str:
        text = base64.b64encode(data).decode()
        self._left -= len(text)
        return f"data:{kind};base64,{text}"


def is_video(path: Path) -> bool:
    """Returns whether a file's suffix is that of a video."""
    return _TYPES.get(path.suffix.lower(), "").startswith("video/")


def is_media(path: Path) -> bool:
    """Returns whether the file exists and a page can show it."""
    return path.suffix.lower() in _TYPES and path.is_file()


def _poster_frame(video: Path) -> bytes:
    """Returns the frame a third into a video as a JPEG; objects have usually appeared by then."""
    try:
        with av.open(str(video.absolute()), format="mp4") as container:
            stream = container.streams.video[0]
            poster_index = (stream.frames or 0) // 3
            for index, frame in enumerate(container.decode(stream)):
                if index == poster_index:
                    height = max(1, round(frame.height * _POSTER_WIDTH / frame.width))
                    image = frame.to_ndarray(format="bgr24")
                    small = cv2.resize(image, (_POSTER_WIDTH, height), interpolation=cv2.INTER_AREA)
                    return bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1])
    except (av.FFmpegError, IndexError):
        return b""  # a page without a poster is better than no page
    return b""
