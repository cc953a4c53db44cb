"""Judges what a bearer token opens: here alone it is decided who is an administrator.

    gates = Gates.of(settings, users)
    person = await gates.admit(token)             # raises NotAdmitted, with a status and a text
    person = await gates.readmit(person)          # later, by the role that the person has by then

1. `ADMIN_TOKEN` is compared in constant time. Everything else must be a JWT of the issuer that the settings name.
2. A role that the users' database keeps is asked for each time, so that one that was taken away opens nothing more.
3. With neither configured, nobody is admitted.
"""

from collections.abc import Sequence
from typing import Protocol

from pydantic import SecretStr

from vaultmesh.api.administrators import (
    FORBIDDEN,
    UNAUTHORIZED,
    Administrator,
    NotAdmitted,
    is_same,
)
from vaultmesh.api.jwt_proof import JwtProof
from vaultmesh.process.api_settings import ApiSettings
from vaultmesh.storage.users import Users

__all__ = ["AdminProof", "Administrator", "Gates", "NotAdmitted", "StaticToken", "is_same"]


class AdminProof(Protocol):
    """One way to prove to be an administrator."""

    async def check(self, token: str) -> Administrator | None:
        """Return who holds a bearer token; None if it is none of this kind.

        Raises:
            NotAdmitted: it is of this kind, and opens nothing.
        """

    async def recheck(self, administrator: Administrator) -> None:
        """Refuse somebody whom this kind of proof admitted and who is no administrator any more; raises `NotAdmitted`."""

    async def close(self) -> None:
        """Give back what it holds."""


class StaticToken:
    """The one token of all administrators."""

    def __init__(self, token: SecretStr) -> None:
        """Know the token."""
        self._token = token.get_secret_value()

    async def check(self, token: str) -> Administrator | None:
        """Return its holder, who has no name."""
        return Administrator("token", "admin token") if is_same(token, self._token) else None

    async def recheck(self, administrator: Administrator) -> None:
        """Refuse nobody: the token is as it was."""

    async def close(self) -> None:
        """Hold nothing."""


class Gates:
    """Admits administrators by their tokens."""

    def __init__(
        self, *, static: AdminProof | None = None, signed: AdminProof | None = None
    ) -> None:
        """Take `ADMIN_TOKEN` by `static` and JWTs by `signed`; None closes that gate."""
        self._proofs: dict[str, AdminProof] = {}
        if static is not None:
            self._proofs["token"] = static
        if signed is not None:
            self._proofs["user"] = signed

    @classmethod
    def of(cls, settings: ApiSettings, users: Users | None = None) -> "Gates":
        """Return the gates that the settings ask for; `users` tell the roles of users, where no claim does."""
        token, jwt = settings.admin_token, settings.jwt
        static = None if token is None else StaticToken(token)
        signed = None if jwt is None else JwtProof(jwt, settings.allowed_origins, users=users)
        return cls(static=static, signed=signed)

    @property
    def kinds(self) -> Sequence[str]:
        """Which proofs are taken: `token`, `user`, both or none."""
        return tuple(self._proofs)

    async def admit(self, token: str) -> Administrator:
        """Return who holds a bearer token.

        Raises:
            NotAdmitted: nobody who may; says why.
        """
        self._refuse_if_closed()
        for proof in self._proofs.values():
            if (administrator := await proof.check(token)) is not None:
                return administrator
        raise NotAdmitted(UNAUTHORIZED, "Authentication required")

    async def readmit(self, administrator: Administrator) -> Administrator:
        """Return somebody who was admitted a while ago, if still an administrator.

        The role is looked up again where a database keeps it; whether the token has expired is left to the caller.

        Raises:
            NotAdmitted: no more; says why.
        """
        self._refuse_if_closed()
        proof = self._proofs.get(administrator.kind)
        if proof is None:
            raise NotAdmitted(UNAUTHORIZED, "Authentication required")
        await proof.recheck(administrator)
        return administrator

    async def close(self) -> None:
        """Give back what the proofs hold."""
        for proof in self._proofs.values():
            await proof.close()

    def _refuse_if_closed(self) -> None:
        if not self._proofs:
            text = "Admin access is closed here - set ADMIN_TOKEN, or CLERK_PUBLISHABLE_KEY or ADMIN_JWT_ISSUER"
            raise NotAdmitted(FORBIDDEN, text)
