"""Turns what an outside ledger did wrong into a failure of its kind, in words that are safe to show."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from vaultmesh.domain.failures import (
    AnchorError,
    AuthFailure,
    FailureKind,
    NetworkFailure,
    ValidationFailure,
)

LONGEST_TEXT = 200
"""Characters of a foreign text that are shown; the rest tells an operator nothing more."""
_ADDRESS_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
_LONG_HEX = re.compile(r"[0-9a-fA-F]{65,}")
_MARKUP = re.compile(r"<[^>]*>")
_CLASSES = {
    FailureKind.NETWORK: NetworkFailure,
    FailureKind.AUTH: AuthFailure,
    FailureKind.VALIDATION: ValidationFailure,
}
_BY_URGENCY = (FailureKind.AUTH, FailureKind.VALIDATION, FailureKind.UNKNOWN)
"""Network failures come last: they may pass by themselves."""


def most_urgent(failures: Iterable[AnchorError]) -> FailureKind:
    """Return the kind of several failures that an operator must hear of first."""
    kinds = {failure.kind for failure in failures}
    return next((kind for kind in _BY_URGENCY if kind in kinds), FailureKind.NETWORK)


def failure_of(kind: FailureKind, message: str) -> AnchorError:
    """Return the failure of that kind."""
    return _CLASSES.get(kind, AnchorError)(message)


def shown(text: str) -> str:
    """Return a foreign text in a form that is safe to show: no paths of URLs, no signed bytes, no markup."""
    plain = _ADDRESS_IN_URL.sub(lambda match: public_url(match[0]), _MARKUP.sub(" ", text))
    return _LONG_HEX.sub("…", " ".join(plain.split()))[:LONGEST_TEXT]


def public_url(url: str) -> str:
    """Return scheme, host and port of a URL: what is left when user, password, path and query may be secret."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "a malformed URL"
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"
