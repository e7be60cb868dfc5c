"""Downloads an S3 object into a file, despite interrupted bodies and flipped bits.

Two versions of an object are never mixed.
"""

import hashlib
import logging
import re
from typing import Any, BinaryIO

from pipelines.storage.s3_client import TransientError
from pipelines.storage.s3_refusals import code, status
from vis_core.errors import shown_name

DIGEST = "sha256"  # metadata key of the objects that this project writes
_CHUNK = 1 << 20  # bytes read at once
_log = logging.getLogger(__name__)


class ObjectChangedError(Exception):
    """An error for an object that changed after its listing; ``now`` is its new ETag, or "gone"."""

    def __init__(self, now: str) -> None:
        super().__init__(now)
        self.now = now


class Download:
    """A resumable download of an object to an empty file; an empty ``etag`` allows any version."""

    def __init__(self, client: Any, place: dict[str, str], file: BinaryIO, etag: str = "") -> None:
        self._client = client
        self._place = place
        self._file = file
        self._wanted = etag
        self._wrong = ""  # MD5 of a complete body that did not match its ETag
        self._restart()

    def attempt(self) -> None:
        """Requests the missing part, then checks the whole content.

        Raises:
            ObjectChangedError: The object no longer has the wanted content.
            TransientError: The content is damaged; the next attempt starts over.
        """
        from botocore.exceptions import FlexibleChecksumError

        answer = self._request()
        if self._position and "ContentRange" not in answer:
            self._restart()  # a server without support for ranges sends the whole object
        self._etag = answer["ETag"].strip('"')
        try:
            for chunk in answer["Body"].iter_chunks(_CHUNK):
                self._file.write(chunk)
                self._position += len(chunk)
                self._md5.update(chunk)
                self._sha256.update(chunk)
        except FlexibleChecksumError:
            self._restart()
            raise
        self._check(answer)

    def _restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._position = 0
        self._etag = self._wanted
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def _request(self) -> Any:
        from botocore.exceptions import ClientError

        options = dict(self._place)
        if self._etag:
            options["IfMatch"] = f'"{self._etag}"'
        if self._position:
            options["Range"] = f"bytes={self._position}-"
        try:
            return self._client.get_object(**options)
        except ClientError as error:
            if self._wanted and (status(error) == 412 or code(error) == "NoSuchKey"):
                raise ObjectChangedError(self._etag_now()) from error
            if self._position and status(error) in (412, 416):
                self._restart()
                raise TransientError("it was replaced while it was read") from error
            raise

    def _etag_now(self) -> str:
        from botocore.exceptions import ClientError

        try:
            return self._client.head_object(**self._place)["ETag"].strip('"')
        except ClientError as error:
            if status(error) != 404:
                raise
            return "gone"

    def _check(self, answer: dict[str, Any]) -> None:
        """Compares the content with the stored digest or the server's ETag."""
        stated = answer["Metadata"].get(DIGEST, "")
        if re.fullmatch(r"[0-9a-f]{64}", stated):
            if self._sha256.hexdigest() != stated:
                self._restart()
                raise TransientError("it arrived damaged (sha256 differs)")
            return
        # the ETag of a multipart upload or an encrypted object is not an MD5
        encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256"
        is_md5 = re.fullmatch(r"[0-9a-f]{32}", self._etag) and "SSECustomerAlgorithm" not in answer
        md5 = self._md5.hexdigest()
        if not is_md5 or encrypted or md5 == self._etag:
            return
        if md5 == self._wrong:
            # the same bytes arrived twice, so this server's ETags are not MD5 digests
            _log.warning("%s: its ETag is no MD5, not checked", shown_name(self._place["Key"]))
            return
        self._wrong = md5
        self._restart()
        raise TransientError("it arrived damaged (MD5 differs)")
