"""Holds who was admitted as an administrator, and how others are told that they are not."""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from vaultmesh.api.answers import Refused

UNAUTHORIZED, FORBIDDEN, UNAVAILABLE = 401, 403, 503
_HEADINGS = {
    UNAUTHORIZED: "Unauthorized",
    FORBIDDEN: "Forbidden",
    UNAVAILABLE: "Authentication unavailable",
}


@dataclass(frozen=True, slots=True)
class Administrator:
    """Somebody who proved to be an administrator."""

    kind: Literal["token", "user"]
    """`token`: holds ADMIN_TOKEN; `user`: holds a JWT."""
    subject: str
    """Stands in the audit: the JWT's `sub`, or that it was the token."""
    expires_at: int | None = None
    """Unix seconds of the JWT's `exp`; None if the proof does not expire."""


class NotAdmitted(Refused):
    """A token opens nothing: 401 not valid, 403 valid but of no administrator, 503 that can't be known now."""

    def __init__(self, status: int, text: str) -> None:
        """Say with which status and why; the text is for people and holds no secret."""
        super().__init__(status, _HEADINGS[status], text)


def is_same(text: str, secret: str) -> bool:
    """Whether a text is a secret; how long it takes tells neither its length nor its beginning."""
    digests = (sha256(part.encode(errors="surrogateescape")).digest() for part in (text, secret))
    return hmac.compare_digest(*digests)
