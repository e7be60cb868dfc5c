"""A client of boto3 that waits for what passes and says at once what does not; keeps secrets.

boto3's own retries are off: they leave out bodies, flipped bits and conditional writes (409), and
they share a quota that a bad hour uses up, after which nothing is tried again.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from pipelines.redaction import mask_secrets
from vis_core.errors import ConfigError

Answer = TypeVar("Answer")
_CONNECT_TIMEOUT_S = 5
_CONNECTIONS = 32  # that one process keeps open; look-ups of a list run 16 at a time
_SPEAK_EVERY_S = 60.0  # of faults that pass
# refusals below 500 that are about one attempt: the request was damaged or late on its way
_TRANSIENT = {
    "BadDigest", "IncompleteBody", "OperationAborted", "RequestTimeout", "SlowDown", "Throttling",
    "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
}  # fmt: skip
# refusals of who asks: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_CREDENTIALS = {
    "AccessDenied", "AuthorizationHeaderMalformed", "ExpiredToken", "InvalidAccessKeyId",
    "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip
_GIVE_CREDENTIALS = "renew or correct the credentials or the permission (profile or AWS_... names)"
_log = logging.getLogger(__name__)


class TransientError(Exception):
    """What arrived cannot be used, but may be if it is asked for again."""


class PermanentError(Exception):
    """The server says no, or stayed away for too long.

    Args:
        reason: Why, without secrets, in one line.
        mend: What a user can do.
        is_missing: Whether it says that there is no such object.
    """

    def __init__(self, reason: str, mend: str, *, is_missing: bool = False) -> None:
        super().__init__(reason)
        self.reason = mask_secrets(" ".join(reason.split()))
        self.mend = mend
        self.is_missing = is_missing


@dataclass(frozen=True)
class RetryPolicy:
    """Is how long a server is waited for; over 80 s in all if it refuses at once.

    Attributes:
        attempts: Of one request.
        first_pause_s: Seconds before the second attempt; doubles each time. Half of it is drawn,
            so that many workers do not come back at the same moment.
        longest_pause_s: Where the doubling ends, in seconds.
        read_timeout_s: Seconds of silence after which a connection counts as lost.
    """

    attempts: int = 12
    first_pause_s: float = 0.2
    longest_pause_s: float = 20.0
    read_timeout_s: float = 60.0

    @classmethod
    def of_environment(cls) -> "RetryPolicy":
        """The default, or what LONGTAKE_S3_FIRST_PAUSE_S and LONGTAKE_S3_READ_TIMEOUT_S say."""
        return cls(
            first_pause_s=_seconds("LONGTAKE_S3_FIRST_PAUSE_S", cls.first_pause_s),
            read_timeout_s=_seconds("LONGTAKE_S3_READ_TIMEOUT_S", cls.read_timeout_s),
        )

    def pause_s(self, attempt: int) -> float:
        """Seconds to wait after an attempt, counted from 1."""
        longest = min(self.longest_pause_s, self.first_pause_s * 2 ** (attempt - 1))
        return longest * random.uniform(0.5, 1)


@lru_cache(maxsize=4)
def connect(endpoint: str | None, read_timeout_s: float) -> Any:
    """One client for each process and server; it is safe to share among threads."""
    import boto3
    from botocore.config import Config

    # boto3 picks bucket.host names for servers other than AWS too, which few of them know.
    style = {"addressing_style": "path" if endpoint else "auto"}
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=read_timeout_s,
        max_pool_connections=_CONNECTIONS,
        s3=style,
    )
    # a session of its own: the one that boto3 shares keeps the credentials that it found first
    return boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)


def with_retries(action: Callable[[], Answer], what: str, patience: RetryPolicy) -> Answer:
    """Repeats an action that failed for a reason that may pass.

    Args:
        action: Asks the server.
        what: For the log.
        patience: How often, and with which pauses.

    Raises:
        PermanentError: If the reason does not pass.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    for attempt in range(1, patience.attempts + 1):
        try:
            return action()
        except ClientError as error:
            reason = _reason(error)
            if not _is_transient(error):
                missing = code(error) == "NoSuchKey"
                raise PermanentError(reason, _mend(error), is_missing=missing) from error
        except BotoCoreError as error:
            reason = str(error)
            if not _is_about_one_attempt(error):
                raise PermanentError(reason, _GIVE_CREDENTIALS) from error
        except (ResponseParserError, HTTPError, TransientError) as error:
            reason = str(error)
        if attempt < patience.attempts:
            _retry_log.note(f"{what}: {reason}")
            time.sleep(patience.pause_s(attempt))
    raise PermanentError(f"{reason}; {patience.attempts} attempts", "wait until the server is well")


def status(error: Any) -> int:
    """The HTTP status of an error of boto3."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code(error: Any) -> str:
    """What S3 calls an error; of a HEAD, which has no body, the status."""
    return str(error.response.get("Error", {}).get("Code", "error"))


def _reason(error: Any) -> str:
    message = error.response.get("Error", {}).get("Message") or ""
    return f"{code(error)} {message} (HTTP {status(error)})"


def _is_transient(error: Any) -> bool:
    """Server errors, throttling and a concurrent conditional write (409) may; refusals do not."""
    passing = status(error) >= 500 or status(error) in (408, 409, 429) or code(error) in _TRANSIENT
    return passing and status(error) != 501  # the server does not know how


def _mend(error: Any) -> str:
    if status(error) in (401, 403) or code(error) in _CREDENTIALS:
        return _GIVE_CREDENTIALS
    return "mend it"


def _is_about_one_attempt(error: Exception) -> bool:
    """Whether a request was lost; the rest is about credentials and settings."""
    from botocore.exceptions import FlexibleChecksumError, HTTPClientError, IncompleteReadError

    return isinstance(error, HTTPClientError | IncompleteReadError | FlexibleChecksumError)


class _RetryLog:
    """Speaks of faults that pass: of the first at once, then once a minute with their number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._spoke_s = float("-inf")

    def note(self, text: str) -> None:
        with self._lock:
            self._count += 1
            now_s = time.monotonic()
            if now_s - self._spoke_s < _SPEAK_EVERY_S:
                return
            self._spoke_s = now_s
            count = self._count
        often = f"; {count} requests to S3 had to be repeated so far" if count > 1 else ""
        _log.warning("%s, tried again%s", mask_secrets(" ".join(text.split())), often)


_retry_log = _RetryLog()


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name, "")
    try:
        number = float(text or default)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ConfigError(f"{name}={text}: expected seconds, such as {default:g}")
    return number
