"""Local folders and s3:// prefixes behind one small interface.

What is written once appears whole or not at all, and the first writer wins: that is the only
coordination between workers, jobs and reruns. S3 is in ``s3.py``.
"""

import os
import re
from pathlib import Path

from pipelines.storage.base import Storage
from pipelines.storage.local import LocalStorage
from vis_core.errors import ConfigError, shown_name


def open_storage(uri: Path | str) -> Storage:
    """Opens a folder or an s3:// prefix; nothing is read, written or made yet.

    Raises:
        ConfigError: If the scheme is another one, or the bucket has no name.
    """
    scheme, separator, rest = str(uri).partition("://")
    if not separator or isinstance(uri, Path):
        return LocalStorage(Path(uri))
    if scheme != "s3":
        raise ConfigError(f"{scheme}://…: expected a folder or s3://bucket/prefix")
    bucket, _, prefix = rest.partition("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise ConfigError(f"s3://{shown_name(bucket)}: no bucket has this name; correct the uri")
    from pipelines.storage.s3 import S3Storage
    from pipelines.storage.s3_client import RetryPolicy

    return S3Storage(bucket, prefix.strip("/"), _s3_endpoint(), RetryPolicy.of_environment())


def _s3_endpoint() -> str | None:
    """The server that the environment names, as every tool of AWS reads it; None means AWS."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if endpoint := os.environ.get(name):
            if not re.match("https?://[^/]", endpoint):
                raise ConfigError(f"{name}: expected https://host or http://host:port")
            return endpoint
    return None


def absolute_uri(uri: str | None) -> str | None:
    """Makes a folder mean the same in every process: workers of Ray run in folders of their own."""
    if uri is None or "://" in uri:
        return uri
    return str(Path(uri).absolute())
