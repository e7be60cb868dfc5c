"""Opens local folders and s3:// prefixes as stores with a common interface.

Objects appear whole or not at all, and the first ``write_once`` of a key wins. Workers, jobs and
reruns are coordinated only by these two rules. The S3 store is in ``s3.py``.
"""

import os
import re
from pathlib import Path

from pipelines.storage.base import Storage
from pipelines.storage.local import LocalStorage
from vis_core.errors import ConfigError, shown_name


def open_storage(uri: Path | str) -> Storage:
    """Opens a folder or an s3:// prefix, without reading or writing anything yet.

    Raises ConfigError if the scheme is not supported, or the bucket name is not valid.
    """
    scheme, separator, rest = str(uri).partition("://")
    if not separator or isinstance(uri, Path):
        return LocalStorage(Path(uri))
    if scheme != "s3":
        raise ConfigError(f"{scheme}://…: expected a folder or s3://bucket/prefix")
    bucket, _, prefix = rest.partition("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise ConfigError(
            f"s3://{shown_name(bucket)}: not a valid name of a bucket; correct the uri"
        )
    from pipelines.storage.s3 import S3Storage
    from pipelines.storage.s3_client import RetryPolicy

    return S3Storage(bucket, prefix.strip("/"), _s3_endpoint(), RetryPolicy.of_environment())


def _s3_endpoint() -> str | None:
    """Reads the server's address from the AWS environment variables; None means AWS."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if endpoint := os.environ.get(name):
            endpoint = endpoint.strip()
            if not re.fullmatch(r"https?://[^/\s]\S*", endpoint):
                raise ConfigError(f"{name}: expected https://host or http://host:port")
            return endpoint
    return None


def absolute_uri(uri: str | None) -> str | None:
    """Makes a folder path absolute, since Ray workers run in other working directories."""
    if uri is None or "://" in uri:
        return uri
    return str(Path(uri).absolute())
