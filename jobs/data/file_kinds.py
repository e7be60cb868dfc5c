"""Tells what kind of annotation file a path is, for verbs that take any of them."""

from pathlib import Path

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".svg")


def kind_of(file: Path) -> str:
    """Tells the kind by the suffix, or by the tables that the document has."""
    if file.suffix.lower() in _IMAGE_SUFFIXES:
        return "image"
    try:
        text = file.read_bytes()
    except OSError:
        return "coco"  # whose reader says what is wrong with the file
    if text.lstrip()[:1] == b"[":
        return "results"
    return "youtube_vis" if b'"videos"' in text and b'"images"' not in text else "coco"
