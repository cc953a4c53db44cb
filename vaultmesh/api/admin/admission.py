"""Declares how somebody who logs in proves to be an administrator; `StaticAdmission` knows the one token of all of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from pydantic import SecretStr

from vaultmesh.api.auth import Caller, is_same
from vaultmesh.domain.errors import DomainError

LONGEST_TOKEN = 8_192
"""Characters; servers take no longer header either."""


class AdministratorKind(StrEnum):
    """How an administrator proved to be one."""

    TOKEN = "token"  # noqa: S105 - a kind, and no token
    """By the one token of all administrators, which names nobody."""
    JWT = "jwt"
    """By a signed token that names its holder."""


SESSION_LASTS = {
    AdministratorKind.TOKEN: timedelta(hours=8),
    AdministratorKind.JWT: timedelta(hours=1),
}
"""From the log-in on; nothing prolongs a session."""


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who logged in."""

    kind: AdministratorKind
    subject: str
    """Whom the proof names; empty if it names nobody."""
    expires_at: datetime
    """When the session ends."""

    @property
    def caller(self) -> Caller:
        """As the job API and the audit know them."""
        return Caller("admin token") if not self.subject else Caller("user", user=self.subject)


class NotAdmitted(DomainError):
    """Somebody is no administrator, or can't prove it; `status` is 401, 403 or 503."""

    def __init__(self, message: str, status: int = 401) -> None:
        """Say why, and with which status."""
        super().__init__(message)
        self.status = status


class Admission(Protocol):
    """Tells who is an administrator."""

    async def admit(self, token: str, now: datetime) -> Administrator:
        """Return who logs in with a token.

        Raises:
            NotAdmitted: nobody does.
        """

    async def confirm(self, administrator: Administrator) -> None:
        """Look again whether somebody who logged in may still come in; asked at each request.

        Raises:
            NotAdmitted: not any more.
        """


class StaticAdmission:
    """Admits whoever knows ADMIN_TOKEN."""

    def __init__(self, token: SecretStr | None) -> None:
        """Know the token; None admits nobody."""
        self._token = token

    async def admit(self, token: str, now: datetime) -> Administrator:
        """Return the holder, who has no name; raises `NotAdmitted`."""
        if self._token is None:
            message = "Admin access is closed here - set ADMIN_TOKEN"
            raise NotAdmitted(message, 403)
        if not is_same(token, self._token.get_secret_value()):
            message = "That is not the token of administrators. Look it up where ADMIN_TOKEN is set, and paste it whole."
            raise NotAdmitted(message)
        kind = AdministratorKind.TOKEN
        return Administrator(kind, "", now + SESSION_LASTS[kind])

    async def confirm(self, administrator: Administrator) -> None:
        """Take every session: its cookie's key is derived from the token, so another token ends them all."""
        if self._token is None or administrator.kind is not AdministratorKind.TOKEN:
            message = "Log in again"
            raise NotAdmitted(message)
