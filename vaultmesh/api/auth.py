"""Decides who may call a route: services by their token, administrators by theirs.

Tokens are compared in constant time. Another kind of proof of an administrator is one more `AdminProof`.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from aiohttp import web
from pydantic import SecretStr

from vaultmesh.api.answers import Refused
from vaultmesh.process.api_settings import ApiSettings

_UNAUTHORIZED, _FORBIDDEN = "Unauthorized", "Forbidden"
_SCHEME = "bearer "


class Access(StrEnum):
    """Who may call a route."""

    ANYBODY = "anybody"
    SERVICE = "service"
    """Who holds the services' token."""
    ADMIN = "admin"
    """Who proves to be an administrator."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls."""

    actor: str
    """Stands in the audit."""
    user: str | None = None
    """Id of the user that the proof names; None if it names none."""


ANYBODY = Caller("anonymous")


class AdminProof(Protocol):
    """One way to prove to be an administrator."""

    async def check(self, token: str) -> Caller | None:
        """Return who holds a bearer token; None if it is not known here, or not valid.

        Raises:
            Refused: it is valid, and its holder is no administrator (403).
        """


class StaticToken:
    """The one token of all administrators."""

    def __init__(self, token: SecretStr) -> None:
        """Know the token."""
        self._token = token.get_secret_value()

    async def check(self, token: str) -> Caller | None:
        """Return the holder, who has no name."""
        return Caller("admin token") if is_same(token, self._token) else None


def is_same(text: str, secret: str) -> bool:
    """Whether a text is a secret; how long it takes tells neither its length nor its beginning."""
    digests = (sha256(part.encode(errors="surrogateescape")).digest() for part in (text, secret))
    return hmac.compare_digest(*digests)


class Gate:
    """Lets callers through to routes."""

    def __init__(self, settings: ApiSettings, proofs: Sequence[AdminProof]) -> None:
        """Take administrators by any of these proofs; without one, none is taken."""
        self._settings = settings
        self._proofs = proofs

    @classmethod
    def of(cls, settings: ApiSettings) -> "Gate":
        """Return the gate that the settings ask for."""
        proofs = [] if settings.admin_token is None else [StaticToken(settings.admin_token)]
        return cls(settings, proofs)

    async def admit(self, request: web.Request, access: Access) -> Caller:
        """Return who calls.

        Raises:
            Refused: they may not, or can't prove that they may.
        """
        match access:
            case Access.ANYBODY:
                return ANYBODY
            case Access.SERVICE:
                return self._service(request.headers.get("X-Service-Token"))
            case Access.ADMIN:
                return await self._admin(request.headers.get("Authorization", ""))

    def _service(self, token: str | None) -> Caller:
        expected = self._settings.service_token
        if expected is None and self._settings.anonymous_registration:
            return ANYBODY
        if expected is None:
            message = "Invalid service token: none is set here - set SERVICE_TOKEN, or ALLOW_ANONYMOUS_REGISTRATION=true"
            raise Refused(401, _UNAUTHORIZED, message)
        if token is None or not is_same(token, expected.get_secret_value()):
            raise Refused(401, _UNAUTHORIZED, "Invalid service token")
        return Caller("service")

    async def _admin(self, header: str) -> Caller:
        if not self._proofs:
            message = "Admin access is closed here - set ADMIN_TOKEN"
            raise Refused(403, _FORBIDDEN, message)
        if header[: len(_SCHEME)].lower() == _SCHEME:
            token = header[len(_SCHEME) :].strip()
            for proof in self._proofs:
                if (caller := await proof.check(token)) is not None:
                    return caller
        raise Refused(401, _UNAUTHORIZED, "Authentication required")
