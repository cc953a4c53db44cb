"""Judges what a bearer token opens: here alone it is decided who is an administrator.

    gates = Gates.of(settings, roles)
    person = await gates.admit(token)             # raises NotAdmitted, with a status and a text
    person = await gates.readmit(person)          # later, by the role that the person has by then

1. `ADMIN_TOKEN` is compared in constant time. Everything else must be a JWT of the issuer that the settings name.
2. A role that the users' database keeps is asked for each time, so that one that was taken away opens nothing more.
3. With neither configured, nobody is admitted.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, Protocol

from pydantic import SecretStr

from vaultmesh.api.answers import Refused
from vaultmesh.process.api_settings import ApiSettings

STATIC = "admin token"
"""Who comes with the token of all administrators, for the audit: that one names nobody."""
UNAUTHORIZED, FORBIDDEN, UNAVAILABLE = 401, 403, 503
_HEADINGS = {
    UNAUTHORIZED: "Unauthorized",
    FORBIDDEN: "Forbidden",
    UNAVAILABLE: "Service unavailable",
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
        return Administrator("token", STATIC) if is_same(token, self._token) else None

    async def recheck(self, administrator: Administrator) -> None:
        """Refuse nobody: the token is as it was."""

    async def close(self) -> None:
        """Hold nothing."""


def is_same(text: str, secret: str) -> bool:
    """Whether a text is a secret; how long it takes tells neither its length nor its beginning."""
    digests = (sha256(part.encode(errors="surrogateescape")).digest() for part in (text, secret))
    return hmac.compare_digest(*digests)


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
    def of(cls, settings: ApiSettings) -> "Gates":
        """Return the gates that the settings ask for."""
        token = settings.admin_token
        return cls(static=None if token is None else StaticToken(token))

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
