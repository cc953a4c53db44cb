"""Seals what a browser keeps for the admin page: who logged in, and the notice that its next page shows.

1. Cookies are signed, and nothing is kept here: every replica with the same ADMIN_TOKEN takes them, another token ends them.
2. They have no Path. So browsers send them back below the folder that set them alone, also behind a stripped prefix,
   and never to `/api`, where no route reads cookies anyway.
"""

import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256

from aiohttp import web
from pydantic import JsonValue, SecretStr

from vaultmesh.api.administrators import Administrator

SESSION, NOTICE = "vmsh-admin", "vmsh-admin-notice"
SESSION_LASTS = {"token": timedelta(hours=8), "user": timedelta(hours=1)}
"""From the log-in on, by its kind; nothing prolongs a session. A user's role is looked up at each request."""
NOTICE_SECONDS = 60
"""A notice that no page showed by then is dropped."""
LONGEST_NOTICE = 600
"""Characters: browsers drop cookies above 4 kB."""
_KEY_OF = "vaultmesh admin page, version 1"


class Seal:
    """Signs cookies, and reads those that it signed."""

    def __init__(self, token: SecretStr | None) -> None:
        """Derive the key from ADMIN_TOKEN; without one it is made by chance, and known to this process alone."""
        secret = secrets.token_bytes(32) if token is None else token.get_secret_value().encode()
        self._key = hmac.digest(secret, _KEY_OF.encode(), sha256)

    def sign(self, purpose: str, document: Mapping[str, JsonValue]) -> str:
        """Return a document as a cookie's value, good for one purpose."""
        payload = _encoded(json.dumps(document, separators=(",", ":")).encode())
        return f"{payload}.{self._signature(purpose, payload)}"

    def read(self, purpose: str, value: str) -> Mapping[str, JsonValue] | None:
        """Return what was signed for a purpose; None if it was not signed here, or for another one."""
        payload, _, signature = value.partition(".")
        expected = self._signature(purpose, payload)
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
            return None
        document = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return document if isinstance(document, dict) else None

    def _signature(self, purpose: str, payload: str) -> str:
        signed = f"{purpose}.{payload}".encode(errors="replace")
        return _encoded(hmac.digest(self._key, signed, sha256))


def _encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


def session_of(seal: Seal, request: web.Request, now: datetime) -> Administrator | None:
    """Return who sends a request; None without a session, or if it ended."""
    document = seal.read(SESSION, request.cookies.get(SESSION, ""))
    if document is None:
        return None
    kind, subject, ends = document["kind"], document["subject"], document["ends"]
    if not isinstance(ends, int) or now.timestamp() >= ends:
        return None
    return Administrator("user" if kind == "user" else "token", str(subject), ends)


def keep_session(
    seal: Seal, request: web.Request, answer: web.Response, who: Administrator, now: datetime
) -> None:
    """Have the browser keep who logged in, until the session ends."""
    lasts = int(SESSION_LASTS[who.kind].total_seconds())
    session = replace(who, expires_at=int(now.timestamp()) + lasts)
    document = {"kind": session.kind, "subject": session.subject, "ends": session.expires_at}
    _set(request, answer, SESSION, seal.sign(SESSION, document), lasts)


def drop_session(request: web.Request, answer: web.Response) -> None:
    """Have the browser forget who logged in."""
    _set(request, answer, SESSION, "", 0)


def notice_of(seal: Seal, request: web.Request) -> str:
    """Return what the last form came to; empty if there is nothing to say."""
    document = seal.read(NOTICE, request.cookies.get(NOTICE, ""))
    return "" if document is None else str(document["text"])


def keep_notice(seal: Seal, request: web.Request, answer: web.Response, text: str) -> None:
    """Have the next page show a notice; an empty one drops what was kept."""
    value = seal.sign(NOTICE, {"text": text[:LONGEST_NOTICE]}) if text else ""
    _set(request, answer, NOTICE, value, NOTICE_SECONDS if text else 0)


def _set(request: web.Request, answer: web.Response, name: str, value: str, lasts: int) -> None:
    """Add a cookie without a path: the library would write one."""
    secure = "; Secure" if is_secure(request) else ""
    cookie = f"{name}={value}; Max-Age={lasts}; HttpOnly; SameSite=Strict{secure}"
    answer.headers.add("Set-Cookie", cookie)


def is_secure(request: web.Request) -> bool:
    """Whether the browser speaks TLS, to us or to a proxy before us."""
    forwarded = request.headers.get("X-Forwarded-Proto", "")
    return request.secure or forwarded.split(",")[0].strip().lower() == "https"
