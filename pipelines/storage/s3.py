"""An s3:// prefix as a store, on any server with conditional writes.

Only this module and the modules ``s3_...py`` use boto3. Credentials come only from boto3's default
chain and never leave boto3; its exceptions never leave these modules.
"""

import base64
import hashlib
import io
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pipelines.storage.base import StoredObject
from pipelines.storage.s3_client import RetryPolicy, TransientError, connect, with_retries
from pipelines.storage.s3_download import DIGEST, Download, ObjectChangedError
from pipelines.storage.s3_refusals import PermanentError, StorageSettingError, status
from vis_core.errors import MissingObjectError, StorageError, VideoDecodeError, shown_name

Answer = TypeVar("Answer")
PAGE = 1000  # entries per page of a listing, the S3 maximum
PROBE_FOLDER = ".probe/"
_CHUNK = 1 << 20  # bytes read at once


@dataclass(frozen=True)
class S3Storage:
    """A bucket and a prefix."""

    bucket: str
    prefix: str  # without slashes at either end; may be empty
    endpoint: str | None  # address of a server other than AWS, or None
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def uri(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yields the objects below the prefix, page by page, in S3's order."""
        token = ""
        while True:
            entries, token = self._with_retries("list", prefix, partial(self._page, prefix, token))
            yield from entries
            if not token:
                return

    def exists(self, key: str) -> bool:
        """Returns whether an object exists."""
        return self._head(key) is not None

    def stat(self, key: str) -> StoredObject | None:
        """Returns an object's size, ETag and date, or None if it does not exist."""
        head = self._head(key)
        return None if head is None else _object(key, head["ContentLength"], head)

    def read(self, key: str) -> bytes:
        """Reads an object and checks it against its digest."""
        body = io.BytesIO()
        self._with_retries("read", key, Download(self._client, self._place(key), body).attempt)
        return body.getvalue()

    @contextmanager
    def as_file(self, key: str, etag: str = "") -> Iterator[Path]:
        """Provides a copy of an object, streamed to disk and checked against its digest.

        Raises VideoDecodeError if the object no longer has this ``etag``.
        """
        with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
            path = Path(folder) / f"video{PurePosixPath(key).suffix}"
            with path.open("w+b") as file:
                download = Download(self._client, self._place(key), file, etag)
                try:
                    self._with_retries("read", key, download.attempt)
                except ObjectChangedError as error:
                    raise VideoDecodeError(
                        f"{shown_name(key)}: changed while it was read (ETag {etag} ->"
                        f" {error.now}); run the same command again",
                        "changed",
                    ) from error
            yield path

    def write_once(self, key: str, body: bytes) -> bool:
        """Puts an object, provided that it does not exist yet."""
        return self._put_once(key, io.BytesIO(body))

    def write_once_file(self, key: str, path: Path) -> bool:
        """Puts a file of at most 5 GB in one request, provided that it does not exist yet."""
        with path.open("rb") as file:
            return self._put_once(key, file)

    def replace(self, key: str, body: bytes) -> None:
        """Puts an object."""
        self._replace(key, io.BytesIO(body))

    def replace_file(self, key: str, path: Path) -> None:
        """Puts a file of at most 5 GB (S3's limit) in one request."""
        with path.open("rb") as file:
            self._replace(key, file)

    def delete(self, key: str) -> None:
        """Deletes an object; succeeds even if it does not exist."""
        self._with_retries("delete", key, lambda: self._client.delete_object(**self._place(key)))

    def remove_stale_partials(self) -> None:
        """Does nothing, because S3 never lists a partial object."""

    def check_conditional_writes(self) -> None:
        """Writes a probe object twice and removes it, in four requests.

        Raises StorageError if the server accepts the second write, as old servers do, so that the
        last writer would silently win, or if it refuses a condition but not the write.
        """
        probe = f"{PROBE_FOLDER}{uuid.uuid4().hex}"
        fault = "ignores"
        try:
            self.write_once(probe, b"first")
        except StorageError as error:
            if not getattr(error.__cause__, "__cause__", None):
                raise  # an outage, not a refusal
            with suppress(StorageError):
                self.replace(probe, b"first")
                fault = "does not support"
            if fault == "ignores":
                raise
        try:
            is_supported = fault == "ignores" and not self.write_once(probe, b"second")
        finally:
            self.delete(probe)
        if not is_supported:
            raise StorageSettingError(
                f"{self.uri}: the server {fault} If-None-Match, so two writers could overwrite each"
                " other; update it, or write to a folder or to another server"
            )

    @property
    def _client(self) -> Any:
        return connect(self.endpoint, self.retry.read_timeout_s)

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._full(key)}

    def _page(self, prefix: str, token: str) -> tuple[Sequence[StoredObject], str]:
        """Returns a page of a listing and the next page's token, empty after the last page."""
        options = {"ContinuationToken": token} if token else {}
        skip = len(self._full(""))
        try:
            page = self._client.list_objects_v2(
                Bucket=self.bucket, Prefix=self._full(prefix), MaxKeys=PAGE, **options
            )
            entries = [
                _object(entry["Key"][skip:], entry["Size"], entry)
                for entry in page.get("Contents", [])
                if len(entry["Key"]) > skip and not entry["Key"].endswith("/")
            ]
            return entries, page["NextContinuationToken"] if page["IsTruncated"] else ""
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PermanentError(
                "the answer is no S3 listing", "correct AWS_ENDPOINT_URL", StorageSettingError
            ) from error

    def _replace(self, key: str, file: io.BytesIO | io.BufferedReader) -> None:
        self._with_retries("write", key, partial(self._put, key, file, **_digests(file)))

    def _put_once(self, key: str, file: io.BytesIO | io.BufferedReader) -> bool:
        """Puts an object unless it exists; returns whether the object has this content.

        A refusal (412) may be due to an earlier attempt whose response was lost; the digest in the
        object's metadata shows whether that attempt wrote the object.
        """
        digests = _digests(file)

        def put() -> bool:
            from botocore.exceptions import ClientError

            try:
                self._put(key, file, **digests, IfNoneMatch="*")
            except ClientError as error:
                if status(error) != 412:
                    raise
                head = self._request_head(key)
                if head is None:
                    raise TransientError("it was removed while it was written") from error
                return head["Metadata"].get(DIGEST) == digests["Metadata"][DIGEST]
            return True

        return self._with_retries("write", key, put)

    def _put(self, key: str, file: io.BytesIO | io.BufferedReader, **options: Any) -> None:
        """Uploads a whole file; the server refuses it if it arrives damaged."""
        file.seek(0)
        self._client.put_object(**self._place(key), Body=file, **options)

    def _head(self, key: str) -> dict[str, Any] | None:
        return self._with_retries("look up", key, partial(self._request_head, key))

    def _request_head(self, key: str) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        try:
            head: dict[str, Any] = self._client.head_object(**self._place(key))
        except ClientError as error:
            if status(error) == 404:
                return None
            raise
        return head

    def _with_retries(self, verb: str, key: str, action: Callable[[], Answer]) -> Answer:
        """Retries an action after transient errors; ``verb`` names the action in a StorageError."""
        where = shown_name(f"s3://{self.bucket}/{self._full(key)}")
        try:
            return with_retries(action, f"{verb} {where}", self.retry, self.endpoint)
        except PermanentError as error:
            # a listing has no key that could be missing
            is_wrong = verb == "list" and error.kind is MissingObjectError
            kind = StorageSettingError if is_wrong else error.kind
            raise kind(
                f"cannot {verb} {where}: {error.reason}; {error.mend}, then run the same command"
                " again"
            ) from error


def _digests(file: io.BytesIO | io.BufferedReader) -> dict[str, Any]:
    """Returns the options for a file's digests: an MD5, which every server checks, and SHA-256."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_CHUNK):
        md5.update(chunk)
        sha256.update(chunk)
    text = base64.b64encode(md5.digest()).decode()
    return {"ContentMD5": text, "Metadata": {DIGEST: sha256.hexdigest()}}


def _object(key: str, size: int, answer: dict[str, Any]) -> StoredObject:
    return StoredObject(key, size, answer["ETag"].strip('"'), answer["LastModified"].timestamp())
