"""A boto3 client that retries transient errors, fails fast on permanent ones and hides secrets.

boto3's own retries are off, because they do not cover interrupted bodies, flipped bits or
conditional writes (409). boto3's retries also share a quota; once an outage has used it up, no
request is repeated.
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
from pipelines.storage.s3_refusals import (
    MEND_CREDENTIALS,
    MEND_ENDPOINT,
    PermanentError,
    StorageSettingError,
    broken_connection,
    described,
    is_transient,
    refusal,
    require_s3,
)
from vis_core.errors import ConfigError

Answer = TypeVar("Answer")
_CONNECT_TIMEOUT_S = 5
_CONNECTIONS = 32  # open connections per process; lists look up 16 objects at a time
_LOG_EVERY_S = 60.0  # between two warnings about transient errors
_log = logging.getLogger(__name__)


class TransientError(Exception):
    """A failed attempt of a request that may succeed if it is repeated."""


@dataclass(frozen=True)
class RetryPolicy:
    """The number of attempts and the pauses between them, by default 53 to 105 s in total."""

    attempts: int = 12
    # seconds before the second attempt; doubles each time. Half of it is random, so that many
    # workers do not retry at the same moment
    first_pause_s: float = 0.2
    longest_pause_s: float = 20.0
    read_timeout_s: float = 60.0  # seconds of silence after which a connection counts as lost

    @classmethod
    def of_environment(cls) -> "RetryPolicy":
        """Reads the policy from LONGTAKE_S3_FIRST_PAUSE_S and LONGTAKE_S3_READ_TIMEOUT_S."""
        return cls(
            first_pause_s=_seconds("LONGTAKE_S3_FIRST_PAUSE_S", cls.first_pause_s),
            read_timeout_s=_seconds("LONGTAKE_S3_READ_TIMEOUT_S", cls.read_timeout_s),
        )

    def pause_s(self, attempt: int) -> float:
        """Returns the seconds to wait after an attempt; attempts count from 1."""
        longest = min(self.longest_pause_s, self.first_pause_s * 2 ** (attempt - 1))
        return longest * random.uniform(0.5, 1)


@lru_cache(maxsize=4)
def connect(endpoint: str | None, read_timeout_s: float) -> Any:
    """Returns a server's client for this process; threads may share the client."""
    import boto3
    from botocore.config import Config

    # otherwise boto3 uses bucket.host names, which few servers other than AWS support
    style = {"addressing_style": "path" if endpoint else "auto"}
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=read_timeout_s,
        max_pool_connections=_CONNECTIONS,
        s3=style,
    )
    # a new session: the default one keeps the first credentials that it found
    try:
        client = boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)
    except ValueError as error:
        raise ConfigError(f"S3: {error}; correct AWS_ENDPOINT_URL, its host and port") from error
    client.meta.events.register("before-parse.s3", require_s3)
    if os.environ.get("AWS_REQUEST_PAYER") == "requester":
        client.meta.events.register("before-call.s3", _pay)
    return client


def _pay(params: dict[str, Any], **_: object) -> None:
    params["headers"]["x-amz-request-payer"] = "requester"


def with_retries(
    action: Callable[[], Answer], label: str, policy: RetryPolicy, endpoint: str | None = None
) -> Answer:
    """Retries an action after transient errors; ``label`` names the action in the log.

    Raises PermanentError if the error is permanent, or every attempt failed.
    """
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    lost = (
        boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError,
        boto.FlexibleChecksumError,
    )  # fmt: skip
    for attempt in range(1, policy.attempts + 1):
        try:
            return action()
        except boto.ClientError as error:
            if not is_transient(error):
                raise refusal(error, endpoint) from error
            reason = described(error)
        except (*lost, ResponseParserError, HTTPError, TransientError) as error:
            if (broken := broken_connection(error)) is not None:
                raise broken from error
            reason = str(error)
        except boto.EndpointProviderError as error:
            raise PermanentError(str(error), MEND_ENDPOINT, StorageSettingError) from error
        except boto.BotoCoreError as error:  # the credentials or the settings are wrong
            raise PermanentError(str(error), MEND_CREDENTIALS) from error
        if attempt < policy.attempts:
            _retry_log.note(f"{label}: {reason}")
            time.sleep(policy.pause_s(attempt))
    raise PermanentError(f"{reason}; {policy.attempts} attempts", "wait until the server answers")


class _RetryLog:
    """A log of transient errors, with at most one line per minute and the count so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._logged_s = float("-inf")

    def note(self, text: str) -> None:
        with self._lock:
            self._count += 1
            now_s = time.monotonic()
            if now_s - self._logged_s < _LOG_EVERY_S:
                return
            self._logged_s = now_s
            count = self._count
        total = f"; {count} requests to S3 were repeated so far" if count > 1 else ""
        _log.warning("%s, retrying%s", mask_secrets(" ".join(text.split())), total)


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
