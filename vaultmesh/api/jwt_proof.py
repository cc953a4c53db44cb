"""Judges JWTs: whether the issuer signed one for us, whether it holds now, and whether its holder is an administrator.

1. RS256 and ES256 alone, by the issuer's own keys. What a header says of other keys (`jwk`, `jku`, `x5u`) is not looked at.
2. `aud` must hold our audience, if we have one. Else a token must have none, and an `azp` must be an allowed origin.
3. `exp` must be there; `exp` and `nbf` are read with `LEEWAY_SECONDS`, for clocks that differ.
4. What can't be known now, since keys or users are away, is 503 and never an admission.
"""

import logging
from collections.abc import Collection, Mapping
from typing import Any

import jwt
from pydantic import JsonValue

from vaultmesh.api.administrators import (
    FORBIDDEN,
    UNAUTHORIZED,
    UNAVAILABLE,
    Administrator,
    NotAdmitted,
)
from vaultmesh.api.issuer_keys import ALGORITHMS, IssuerKeys, KeysAway
from vaultmesh.domain.jobs.refusals import StoreError, StoreErrorKind
from vaultmesh.process.jwt_settings import JwtSettings
from vaultmesh.storage.users import Users

LEEWAY_SECONDS = 10
ADMIN_ROLES = frozenset({"admin", "super_admin"})
LONGEST_TOKEN = 16_384
"""Characters; no header that we read holds more."""
LONGEST_SUBJECT = 200
"""Characters of a user's id; it stands in the audit."""
_LONGEST_KID = 200
_DOTS = 2
_PENDING = "pending"
_MEANING: Mapping[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "The token has expired - get a new one",
    jwt.ImmatureSignatureError: "The token is not valid yet - see whether the clocks of both sides agree",
    jwt.InvalidSignatureError: "The token's signature is wrong",
    jwt.InvalidIssuerError: "The token comes from another issuer",
    jwt.InvalidAudienceError: "The token was made for somebody else (aud)",
}
_LOG = logging.getLogger(__name__)


class JwtProof:
    """Takes JWTs of one issuer as proof."""

    def __init__(
        self,
        settings: JwtSettings,
        origins: Collection[str],
        *,
        keys: IssuerKeys | None = None,
        users: Users | None = None,
    ) -> None:
        """Take the issuer's JWTs.

        Args:
            settings: whose, and how they tell a role.
            origins: who may have asked for a token, where there is no audience.
            keys: of the issuer; where the settings say, unless given.
            users: tell roles, if no claim does; without them nobody has one.
        """
        self._settings = settings
        self._origins = frozenset(origins)
        self._keys = keys or IssuerKeys(settings.keys_url)
        self._users = users

    async def check(self, token: str) -> Administrator | None:
        """Return the user who holds a token; None if it has not the form of a JWT."""
        if token.count(".") != _DOTS or not token.isascii():
            return None
        if len(token) > LONGEST_TOKEN:
            raise NotAdmitted(UNAUTHORIZED, "The token is too long")
        claims = self._claims(token, await self._key(token))
        subject = _subject(claims)
        if claims.get("sts") == _PENDING:
            raise NotAdmitted(UNAUTHORIZED, "The log-in is not complete: its session is pending")
        if self._settings.role_claim is None:
            await self._check_user(subject)
        else:
            _check_roles(subject, _at(claims, self._settings.role_claim))
        return Administrator("user", subject, int(claims["exp"]))

    async def recheck(self, administrator: Administrator) -> None:
        """Refuse a user who is no administrator any more; a role that was a claim stays as the token had it."""
        if self._settings.role_claim is None:
            await self._check_user(administrator.subject)

    async def close(self) -> None:
        """End what is under way."""
        await self._keys.close()
        if self._users is not None:
            await self._users.close()

    async def _key(self, token: str) -> jwt.PyJWK:
        """Return the key that a token says it is signed with, if it is one of the issuer's."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise NotAdmitted(UNAUTHORIZED, "The token can't be read") from error
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS.values():
            raise NotAdmitted(
                UNAUTHORIZED, "The token is signed in another way than RS256 or ES256"
            )
        if not isinstance(kid, str) or not 0 < len(kid) <= _LONGEST_KID:
            raise NotAdmitted(UNAUTHORIZED, "The token does not name its key (kid)")
        try:
            key = await self._keys.find(algorithm, kid)
        except KeysAway as error:
            raise NotAdmitted(UNAVAILABLE, str(error)) from error
        if key is None:
            raise NotAdmitted(
                UNAUTHORIZED, "The token is signed with a key that its issuer does not have"
            )
        return key

    def _claims(self, token: str, key: jwt.PyJWK) -> Mapping[str, Any]:
        settings = self._settings
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=settings.issuer,
                audience=settings.audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "sub"], "enforce_minimum_key_length": True},
            )
        except jwt.MissingRequiredClaimError as error:
            raise NotAdmitted(UNAUTHORIZED, f"The token lacks {error.claim}") from error
        except jwt.PyJWTError as error:
            raise NotAdmitted(
                UNAUTHORIZED, _MEANING.get(type(error), "The token can't be read")
            ) from error
        if settings.audience is None and "azp" in claims:
            self._check_party(claims["azp"])
        return claims

    def _check_party(self, party: JsonValue) -> None:
        if not isinstance(party, str) or party.rstrip("/").lower() not in self._origins:
            raise NotAdmitted(
                UNAUTHORIZED,
                "The token was made for a page that is not among ALLOWED_ORIGINS (azp)",
            )

    async def _check_user(self, subject: str) -> None:
        """Refuse a user who is no administrator by the table of users, as it is now."""
        try:
            role = None if self._users is None else await self._users.role(subject)
        except StoreError as error:
            if error.kind is not StoreErrorKind.VALUE:
                _LOG.warning("role not looked up", extra={"err": str(error)})
                text = "The role of this user can't be looked up now - the log says why; try again later"
                raise NotAdmitted(UNAVAILABLE, text) from error
            role = None  # no such user can be there
        _check_roles(subject, role)


def _subject(claims: Mapping[str, Any]) -> str:
    """Return whom a token names, in a form that the audit takes."""
    subject = claims["sub"]
    if (
        not isinstance(subject, str)
        or not subject.isprintable()
        or not 0 < len(subject) <= LONGEST_SUBJECT
    ):
        raise NotAdmitted(UNAUTHORIZED, "The token names nobody that we can write down (sub)")
    return subject


def _at(claims: Mapping[str, JsonValue], path: str) -> JsonValue:
    """Return the claim at a path; a claim of that whole name counts more, as URLs in use for names hold dots."""
    if path in claims:
        return claims[path]
    value: JsonValue = dict(claims)
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _check_roles(subject: str, roles: JsonValue) -> None:
    """Refuse a user none of whose roles is an administrator's; roles are one text, or a list."""
    held = roles if isinstance(roles, list) else [roles]
    if not any(isinstance(role, str) and role in ADMIN_ROLES for role in held):
        text = f"User {subject} is no administrator"
        raise NotAdmitted(FORBIDDEN, text)
