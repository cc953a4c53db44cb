"""Decides who may call a route: services by their token, administrators by what `gates` admits."""

from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

from vaultmesh.api.administrators import UNAUTHORIZED, Administrator, NotAdmitted, is_same
from vaultmesh.api.gates import Gates
from vaultmesh.process.api_settings import ApiSettings

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


class Gate:
    """Lets callers through to routes."""

    def __init__(self, settings: ApiSettings, gates: Gates) -> None:
        """Take services as the settings say, and administrators by these gates."""
        self._settings = settings
        self._gates = gates

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
                return _caller(await self._gates.admit(_bearer(request)))

    def _service(self, token: str | None) -> Caller:
        expected = self._settings.service_token
        if expected is None and self._settings.anonymous_registration:
            return ANYBODY
        if expected is None:
            message = "Invalid service token: none is set here - set SERVICE_TOKEN, or ALLOW_ANONYMOUS_REGISTRATION=true"
            raise NotAdmitted(UNAUTHORIZED, message)
        if token is None or not is_same(token, expected.get_secret_value()):
            raise NotAdmitted(UNAUTHORIZED, "Invalid service token")
        return Caller("service")


def _bearer(request: web.Request) -> str:
    """Return the bearer token that a request carries; empty, and so nobody's, if it carries none."""
    header = request.headers.get("Authorization", "")
    return header[len(_SCHEME) :].strip() if header[: len(_SCHEME)].lower() == _SCHEME else ""


def _caller(administrator: Administrator) -> Caller:
    user = administrator.subject if administrator.kind == "user" else None
    return Caller(administrator.subject, user)
