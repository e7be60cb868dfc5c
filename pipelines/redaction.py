"""Removal of secrets from text before it reaches a message, a log, a tracking store or a report."""

import re

_MASK = "***"
_SECRET = (
    r"(?:password|passwd|secret|token|signature|credential|(?:api|access|private)[_-]?key)"
    r"(?:[_-]?(?:key|id))*s?"
)
_PATTERNS = (
    # user:password@ in a URL: https://me:secret@host
    (re.compile(r"(?<=://)[^/\s'\"@]+(?=@)"), _MASK),
    # password=..., token: ..., X-Amz-Signature=... in queries, options and messages
    (re.compile(rf"(?i)\b([\w.-]*{_SECRET}[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;]+"), rf"\1{_MASK}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9+/=._~-]{8,}"), rf"\1 {_MASK}"),
    # AWS key ids: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), _MASK),
)
_SECRET_NAME = re.compile(rf"(?i){_SECRET}$")


def mask_secrets(text: str) -> str:
    """Replaces passwords, tokens and keys in ``text`` with ``***``."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def mask_value(name: str, value: object) -> str:
    """Formats a setting as text, fully masked if its (dotted) name marks it as a secret."""
    if isinstance(value, str) and value and _SECRET_NAME.search(name):
        return _MASK
    return mask_secrets(str(value))
