"""Reads whose JWTs prove an administrator: the issuer, where its keys are, for whom tokens are, and which claim is the role.

1. `CLERK_PUBLISHABLE_KEY` names issuer and keys; `ADMIN_JWT_ISSUER` and `ADMIN_JWT_JWKS_URL` count more.
2. An issuer alone has its keys at `/.well-known/jwks.json`.
3. No message holds a value.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from vaultmesh.domain.errors import InvalidValue

KEYS_PATH = "/.well-known/jwks.json"
LONGEST = 255
"""Characters of an issuer, an audience or a claim's name."""
CLERK, ISSUER, KEYS, AUDIENCE, ROLE_CLAIM = (
    "CLERK_PUBLISHABLE_KEY", "ADMIN_JWT_ISSUER", "ADMIN_JWT_JWKS_URL", "ADMIN_JWT_AUDIENCE", "ADMIN_ROLE_CLAIM"
)  # fmt: skip
_CLERK_KEY = re.compile(r"pk_(?:test|live)_([A-Za-z0-9+/]+)={0,2}")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}", re.IGNORECASE)
_VISIBLE = re.compile(r"[!-~]+")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def clerk_host(key: str) -> str:
    """Return the host that a publishable key of Clerk names: `pk_test_` or `pk_live_`, then base64 of the host and `$`.

    Raises:
        InvalidValue: another form.
    """
    match = _CLERK_KEY.fullmatch(key.strip())
    encoded = match[1] if match else ""
    try:
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode()
    except (binascii.Error, UnicodeError):
        decoded = ""
    host, end, rest = decoded.partition("$")
    if rest or not end or not _HOST.fullmatch(host):
        message = "is no publishable key of Clerk - copy it whole from its dashboard: pk_test_ or pk_live_, then letters and digits"
        raise InvalidValue(message)
    return host.lower()


def _visible(text: str) -> str:
    if not _VISIBLE.fullmatch(text) or len(text) > LONGEST:
        message = f"holds blanks, is empty or is too long - write at most {LONGEST} visible ASCII characters"
        raise InvalidValue(message)
    return text


def _claim(text: str) -> str:
    if not all(text.split(".")):
        message = (
            "is no path to a claim - write names with dots between them, such as metadata.role"
        )
        raise InvalidValue(message)
    return _visible(text)


def _keys_url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    if not _is_url(text) or "#" in text:
        message = (
            "is not a URL we can use - write https:// with a host, without user, password or #"
        )
        raise InvalidValue(message)
    return url


ClerkHost = Annotated[str, AfterValidator(clerk_host)]
Visible = Annotated[str, AfterValidator(_visible)]
ClaimPath = Annotated[str, AfterValidator(_claim)]
KeysUrl = Annotated[SecretStr, AfterValidator(_keys_url)]


@dataclass(frozen=True, slots=True)
class JwtSettings:
    """Whose JWTs are taken, and how they say that their holder is an administrator."""

    issuer: str
    """What `iss` must be, letter for letter."""
    keys_url: SecretStr
    """Of the JWKS."""
    audience: str | None = None
    """What `aud` must hold; None: an `azp` must be among the allowed origins."""
    role_claim: str | None = None
    """Path of the claim that holds the role; None: the role stands in the table `users`."""


def jwt_settings(
    clerk: str | None,
    issuer: str | None,
    keys: SecretStr | None,
    audience: str | None,
    role_claim: str | None,
) -> JwtSettings | None:
    """Return whose JWTs are taken; None if no issuer is named. `clerk` is the host that its key names.

    Raises:
        InvalidValue: the variables do not fit together; begins with the one to mend.
    """
    if issuer is None and clerk is not None:
        issuer = f"https://{clerk}"
        keys = keys or SecretStr(issuer + KEYS_PATH)
    if issuer is None:
        if keys is not None:
            message = f"{KEYS}: whose keys these are is not said - set {ISSUER} to what its tokens have as iss"
            raise InvalidValue(message)
        return None
    if keys is None:
        if not _is_url(issuer) or "?" in issuer or "#" in issuer:
            message = (
                f"{ISSUER}: is no URL, so that its keys can't be found by it - set {KEYS} as well"
            )
            raise InvalidValue(message)
        keys = SecretStr(issuer.rstrip("/") + KEYS_PATH)
    return JwtSettings(issuer, keys, audience, role_claim)


def jwt_warnings(settings: JwtSettings | None, environment: Mapping[str, str]) -> Iterator[str]:
    """Return a line for each thing that has no effect, or may let others in."""
    if settings is None:
        for name in (AUDIENCE, ROLE_CLAIM):
            if environment.get(name):
                yield f"{name} has no effect without {ISSUER} or {CLERK} - set one of them, or remove it"
        return
    url = urlsplit(settings.keys_url.get_secret_value())
    if url.scheme == "http" and url.hostname not in _LOOPBACK:
        yield f"{KEYS}: whoever is on the way can put keys in - use https"
    database = environment.get("JOBS_DATABASE_URL", "").strip()
    if (
        settings.role_claim is None
        and not environment.get("USERS_DATABASE_URL")
        and database in ("", "sqlite")
    ):
        yield f"the roles of users are looked up in the file of jobs, where nobody keeps users - set {ROLE_CLAIM} or USERS_DATABASE_URL"


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return sound and "@" not in parts.netloc and bool(_VISIBLE.fullmatch(text))
