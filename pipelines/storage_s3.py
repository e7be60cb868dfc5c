"""An s3:// prefix on any server that knows conditional writes; the only place that uses boto3.

Credentials come from boto3's default chain alone and never leave it. What boto3 does not do by
itself is done here: bodies that are cut are read again, a conditional write whose answer was lost
is recognised as our own, and no exception of boto3 gets out.
"""

import hashlib
import io
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

from pipelines.masking import mask_secrets
from pipelines.storage import StoredObject
from vis_core.errors import StorageError, VideoDecodeError
from vis_core.formats.video_files import shown_name

Answer = TypeVar("Answer")
ROUNDS = 5  # outer retries, each with the 8 attempts of boto3's standard mode inside
FIRST_PAUSE_S = 0.2  # doubles each round
_DIGEST = "sha256"  # metadata of what we write
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class S3Storage:
    """Is a bucket and a prefix.

    Attributes:
        bucket: Name.
        prefix: Without slashes at its ends; may be empty.
        endpoint: Server other than AWS, or None.
    """

    bucket: str
    prefix: str
    endpoint: str | None

    @property
    def uri(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yields the objects below the prefix in the order of S3, page by page."""
        start = self._full(prefix)
        skip = len(self._full(""))
        token: dict[str, str] = {}
        while True:
            page = self._patiently("list", prefix, partial(self._page, start, token))
            for entry in page.get("Contents", []):
                key = entry["Key"][skip:]
                if key and not key.endswith("/"):
                    yield _object(key, entry["Size"], entry)
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def exists(self, key: str) -> bool:
        """Whether there is an object."""
        return self._head(key) is not None

    def stat(self, key: str) -> StoredObject | None:
        """Size, ETag and date of an object; None if there is none."""
        found = self._head(key)
        return None if found is None else _object(key, found["ContentLength"], found)

    def read(self, key: str) -> bytes:
        """The content of an object; a cut body is read again."""

        def get() -> bytes:
            answer = self._client.get_object(Bucket=self.bucket, Key=self._full(key))
            body: bytes = answer["Body"].read()
            return body

        return self._patiently("read", key, get)

    @contextmanager
    def as_file(self, key: str, etag: str = "") -> Iterator[Path]:
        """Lends a downloaded copy.

        Raises:
            VideoDecodeError: If the object is no longer the one with ``etag``.
        """
        with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
            path = Path(folder) / f"video{PurePosixPath(key).suffix}"

            def download() -> None:
                self._client.download_file(self.bucket, self._full(key), str(path))

            self._patiently("read", key, download)
            now = (self._head(key) or {}).get("ETag", "").strip('"')
            if etag and now != etag:
                raise VideoDecodeError(
                    f"{shown_name(path)}: changed while it was read (ETag {etag} -> "
                    f"{now or 'gone'}); run the same command again",
                    "changed",
                )
            yield path

    def write_once(self, key: str, body: bytes) -> bool:
        """Puts an object on the condition that there is none."""
        return self._put_once(key, io.BytesIO(body))

    def write_once_file(self, key: str, path: Path) -> bool:
        """Puts a file in one request on the condition that there is none, at most 5 GB."""
        with path.open("rb") as file:
            return self._put_once(key, file)

    def replace(self, key: str, body: bytes) -> None:
        """Puts an object."""
        digest = hashlib.sha256(body).hexdigest()
        self._patiently("write", key, lambda: self._put(key, body, digest))

    def replace_file(self, key: str, path: Path) -> None:
        """Puts a file in one request, at most 5 GB (the limit of S3 for one)."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()

            def put() -> None:
                file.seek(0)
                self._put(key, file, digest)

            self._patiently("write", key, put)

    def delete(self, key: str) -> None:
        """Deletes an object; S3 does not mind if there is none."""
        self._patiently(
            "delete",
            key,
            lambda: self._client.delete_object(Bucket=self.bucket, Key=self._full(key)),
        )

    def sweep(self) -> None:
        """Does nothing: S3 shows no half-written object."""

    @property
    def _client(self) -> Any:
        return _client(self.endpoint)

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _page(self, start: str, token: dict[str, str]) -> dict[str, Any]:
        page: dict[str, Any] = self._client.list_objects_v2(
            Bucket=self.bucket, Prefix=start, **token
        )
        return page

    def _put(self, key: str, body: bytes | BinaryIO, digest: str, **condition: str) -> None:
        self._client.put_object(
            Bucket=self.bucket,
            Key=self._full(key),
            Body=body,
            Metadata={_DIGEST: digest},
            **condition,
        )

    def _put_once(self, key: str, file: io.BytesIO | io.BufferedReader) -> bool:
        """Puts an object, or says whether the one that is there is the same.

        A refusal (412) may be about our own object, when the answer to an earlier attempt was
        lost: the digest in its metadata tells.
        """
        digest = hashlib.file_digest(file, "sha256").hexdigest()

        def put() -> bool:
            from botocore.exceptions import ClientError

            file.seek(0)
            try:
                self._put(key, file, digest, IfNoneMatch="*")
            except ClientError as error:
                if _status(error) != 412:
                    raise
                there = self._client.head_object(Bucket=self.bucket, Key=self._full(key))
                return there["Metadata"].get(_DIGEST) == digest
            return True

        return self._patiently("write", key, put)

    def _head(self, key: str) -> dict[str, Any] | None:
        def head() -> dict[str, Any] | None:
            from botocore.exceptions import ClientError

            try:
                found: dict[str, Any] = self._client.head_object(
                    Bucket=self.bucket, Key=self._full(key)
                )
            except ClientError as error:
                if _status(error) == 404:
                    return None
                raise
            return found

        return self._patiently("look up", key, head)

    def _patiently(self, what: str, key: str, action: Callable[[], Answer]) -> Answer:
        """Repeats an action that failed for a reason that may pass.

        Raises:
            StorageError: If the reason does not pass.
        """
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        pause_s = FIRST_PAUSE_S
        for attempt in range(1, ROUNDS + 1):
            try:
                return action()
            except NoCredentialsError as error:
                raise self._refused(
                    what, key, "no credentials; set a profile or AWS_ACCESS_KEY_ID"
                ) from error
            except ClientError as error:
                reason = _reason(error)
                if not _may_pass(error) or attempt == ROUNDS:
                    raise self._refused(what, key, reason) from error
            except BotoCoreError as error:
                reason = str(error)
                if attempt == ROUNDS:
                    raise self._refused(what, key, reason) from error
            _log.warning("%s of %s failed (%s), again", what, shown_name(key), mask_secrets(reason))
            time.sleep(pause_s)
            pause_s *= 2
        raise AssertionError("the last round returns or raises")

    def _refused(self, what: str, key: str, reason: str) -> StorageError:
        where = shown_name(f"s3://{self.bucket}/{self._full(key)}")
        why = mask_secrets(" ".join(reason.split()))
        return StorageError(
            f"cannot {what} {where}: {why}; mend it, then run the same command again"
        )


@lru_cache(maxsize=4)
def _client(endpoint: str | None) -> Any:
    """One client for each process and server; it is safe to share among threads."""
    import boto3
    from botocore.config import Config

    # boto3 picks bucket.host names for servers other than AWS too, which few of them know.
    style = {"addressing_style": "path" if endpoint else "auto"}
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 8},
        connect_timeout=5,
        read_timeout=60,
        s3=style,
    )
    return boto3.client("s3", endpoint_url=endpoint, config=config)


def _object(key: str, size: int, answer: dict[str, Any]) -> StoredObject:
    return StoredObject(key, size, answer["ETag"].strip('"'), answer["LastModified"].timestamp())


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _may_pass(error: Any) -> bool:
    """Server errors, throttling and a concurrent conditional write (409) may; refusals do not."""
    return _status(error) >= 500 or _status(error) in (409, 429)


def _reason(error: Any) -> str:
    detail = error.response.get("Error", {})
    return f"{detail.get('Code', 'error')} {detail.get('Message', '')} (HTTP {_status(error)})"
