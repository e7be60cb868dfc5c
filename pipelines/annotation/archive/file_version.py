"""The version of a local file, which changes with its content."""

import hashlib
from typing import BinaryIO

# Bytes at each end of a file that, with its size, identify its content. Reading a whole archive
# only to skip its finished videos would take as long as annotating it.
END_BYTES = 1 << 16


def file_version(file: BinaryIO, size: int, end_bytes: int = END_BYTES) -> str:
    """Computes a digest of a file's size and of ``end_bytes`` bytes at both of its ends."""
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    digest.update(file.read(end_bytes))
    if size > end_bytes:
        file.seek(max(end_bytes, size - end_bytes))
        digest.update(file.read(end_bytes))
    return digest.hexdigest()
