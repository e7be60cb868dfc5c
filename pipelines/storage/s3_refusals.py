"""The reasons and mends of refusals by S3 servers, and answers that do not come from S3.

Requests are repeated in ``s3_client.py``. A refusal that the user must mend ends with exit code 2.
"""

from typing import Any
from urllib.parse import urlsplit

from pipelines.redaction import mask_secrets
from vis_core.errors import MissingObjectError, StorageError

# error codes, with a status below 500, for requests that arrived damaged or late
_TRANSIENT = {
    "BadDigest", "IncompleteBody", "OperationAborted", "RequestTimeout", "SlowDown", "Throttling",
    "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
}  # fmt: skip
# codes for missing permissions: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_CREDENTIALS = {
    "AccessDenied", "AuthorizationHeaderMalformed", "ExpiredToken", "InvalidAccessKeyId",
    "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip
MEND_CREDENTIALS = "renew or correct the credentials or the permission (profile or AWS_... names)"
MEND_ENDPOINT = "correct AWS_ENDPOINT_URL, the address of the S3 API"
_MEND_REGION = "set AWS_DEFAULT_REGION to the region of the bucket"
_MEND_PROXY = (
    "write its user and password into HTTP_PROXY and HTTPS_PROXY, or the host into NO_PROXY"
)
_MENDS = {
    "IllegalLocationConstraintException": _MEND_REGION,
    "InvalidObjectState": "restore the object from its archive (aws s3api restore-object)",
    "NoSuchBucket": "create the bucket or correct the uri",
    "RequestTimeTooSkewed": "set the clock of this machine",
}
_PAYER = "; if readers pay for this bucket, set AWS_REQUEST_PAYER=requester"
_TEXT = ("text/html", "text/plain", "application/json")


class StorageSettingError(StorageError):
    """A store that cannot be used until the user corrects an address or a setting."""

    exit_code = 2


class PermanentError(Exception):
    """A refusal by the server, or the last of too many transient errors; secrets are masked.

    ``kind`` is the error for the user.
    """

    def __init__(self, reason: str, mend: str, kind: type[StorageError] = StorageError) -> None:
        super().__init__(reason)
        self.reason = mask_secrets(" ".join(reason.split()))
        self.mend = mend
        self.kind = kind


def status(error: Any) -> int:
    """Returns the HTTP status of a boto3 error."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code(error: Any) -> str:
    """Returns an error's S3 code, or the HTTP status after a HEAD, which has no body."""
    return str(error.response.get("Error", {}).get("Code", "error"))


def described(error: Any) -> str:
    """Formats a boto3 error: code, message and HTTP status."""
    message = error.response.get("Error", {}).get("Message") or ""
    return f"{code(error)} {message} (HTTP {status(error)})"


def is_transient(error: Any) -> bool:
    """Returns whether an error may be temporary: a server error, throttling or a conflict (409)."""
    may_pass = status(error) >= 500 or status(error) in (408, 409, 429) or code(error) in _TRANSIENT
    return may_pass and status(error) != 501  # 501: not implemented


def refusal(error: Any, endpoint: str | None) -> PermanentError:
    """Explains a boto3 error that is not transient: its reason, its mend and its kind."""
    reason, path = described(error), urlsplit(endpoint or "").path.strip("/")
    kind: type[StorageError] = StorageSettingError
    mend = _MENDS.get(code(error), "correct the request")
    if code(error) == "NoSuchKey":
        kind = MissingObjectError
    elif 300 <= status(error) < 400 or (
        code(error) == "AuthorizationHeaderMalformed" and "region" in reason
    ):
        mend = _MEND_REGION
    elif code(error) not in _MENDS and (status(error) in (401, 403) or code(error) in _CREDENTIALS):
        kind, mend = StorageError, MEND_CREDENTIALS
        mend += _PAYER if code(error) in ("AccessDenied", "403") else ""
    if path and status(error) in (400, 404, 405):
        mend = f"take /{path} off AWS_ENDPOINT_URL (a bucket belongs into the s3:// uri)"
    return PermanentError(reason, mend, kind)


def broken_connection(error: Exception) -> PermanentError | None:
    """Explains an error of a connection that no retry mends; returns None for any other error."""
    text = f"{error} {getattr(error, 'kwargs', {}).get('error', '')}"
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
        mend = "the port does not speak TLS, write http:// in AWS_ENDPOINT_URL"
    elif "CERTIFICATE_VERIFY_FAILED" in text:
        mend = "correct the address, or name the server's authority in AWS_CA_BUNDLE"
    elif "407" in text and "roxy" in text:
        mend = _MEND_PROXY
    elif "Name or service not known" in text:
        text, mend = f"{error} (no such host)", MEND_ENDPOINT
    else:
        return None
    return PermanentError(text, mend, StorageSettingError)


def require_s3(operation_model: Any, response_dict: dict[str, Any], **_: object) -> None:
    """Raises PermanentError if an answer comes from a web page, a proxy or a redirection.

    A hook of boto3, called before it parses an answer; boto3 would follow a redirection without a
    region for ever. Server errors (5xx) pass, since a proxy may answer for a server that restarts.
    """
    http, headers = response_dict["status_code"], response_dict["headers"]
    if http == 407:
        reason, mend = "HTTP 407, a proxy asks for a password", _MEND_PROXY
    elif 300 <= http < 400 and http != 304 and "x-amz-bucket-region" not in headers:
        to = urlsplit(headers.get("location", ""))
        where = f"{to.scheme}://{to.netloc}" if to.netloc else "another address"
        reason = f"the server redirects to {where} (HTTP {http})"
        mend = f"{MEND_ENDPOINT}, or {_MEND_REGION}"
    elif _is_foreign(operation_model.name, response_dict):
        kind = headers.get("content-type", "something")
        reason = f"the server answers {kind} (HTTP {http}), which is not S3"
        mend = f"{MEND_ENDPOINT}, not of a console or a web site"
    else:
        return
    raise PermanentError(reason, mend, StorageSettingError)


def _is_foreign(operation: str, response_dict: dict[str, Any]) -> bool:
    """Returns whether an answer comes from a web server, not from S3."""
    http, headers = response_dict["status_code"], response_dict["headers"]
    if operation in ("GetObject", "HeadObject") and http < 300:
        return "etag" not in headers
    if operation == "HeadObject" or http >= 500 or http in (408, 429):
        return False
    known = any(name.lower().startswith(("x-amz", "x-goog")) for name in headers)
    body = response_dict["body"][:20].lstrip().lower()
    is_text = headers.get("content-type", "").split(";")[0].strip().lower() in _TEXT
    return not known and bool(body) and (is_text or body.startswith((b"<html", b"<!doctype")))
