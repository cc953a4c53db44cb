"""Issues JWTs as Clerk does, and serves the keys that they are signed with; misbehaves on request."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from devnet.ports import LOOPBACK
from vaultmesh.process.jwt_settings import JwtSettings

ORIGIN = "http://localhost:3000"
HOST = "clerk.issuer.example"
ISSUER = f"https://{HOST}"
USER = "user_2abcdefghijklmnopqrstuvwxyz"
LEFT_OUT: Any = object()
"""Of a claim or a member of the header."""
_RSA = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
"""Made once: it takes a while."""


def clerk_key(host: str, kind: str = "test") -> str:
    """Return the publishable key that names a host."""
    return f"pk_{kind}_{base64.b64encode(f'{host}$'.encode()).decode()}"


@dataclass(frozen=True)
class Key:
    """A key of the issuer."""

    kid: str
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

    @classmethod
    def rsa(cls, kid: str, which: int = 0) -> "Key":
        return cls(kid, _RSA[which])

    @classmethod
    def ec(cls, kid: str) -> "Key":
        return cls(kid, ec.generate_private_key(ec.SECP256R1()))

    @property
    def algorithm(self) -> str:
        return "RS256" if isinstance(self.private, rsa.RSAPrivateKey) else "ES256"

    @property
    def jwk(self) -> dict[str, Any]:
        """Return it as issuers publish it."""
        public: Any = self.private.public_key()
        by_type: Any = jwt.get_algorithm_by_name(self.algorithm)
        members = by_type.to_jwk(public, as_dict=True)
        members.pop("key_ops", None)
        return {"use": "sig", "kid": self.kid, "alg": self.algorithm, **members}

    @property
    def pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a session token of Clerk, version 2, with some changed."""
    now = int(time.time())
    told = {
        "azp": ORIGIN,
        "exp": now + 60,
        "fva": [7, -1],
        "iat": now,
        "iss": ISSUER,
        "nbf": now - 10,
        "sid": "sess_2abcdefghijklmnopqrstuvwxyz",
        "sts": "active",
        "sub": USER,
        "v": 2,
    }
    return {name: value for name, value in {**told, **changes}.items() if value is not LEFT_OUT}


def sign(key: Key, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Return a token, with some claims and members of its header changed."""
    told = {"cat": "cl_B7d4PD111AAA", "kid": key.kid, "typ": "JWT", **(header or {})}
    members = {name: value for name, value in told.items() if value is not LEFT_OUT}
    return jwt.encode(claims(**changes), key.private, key.algorithm, members)


def forged(header: dict[str, Any], body: dict[str, Any], signature: bytes) -> str:
    """Return a token as nobody's library would write it."""
    parts = [json.dumps(header).encode(), json.dumps(body).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


@dataclass
class Issuer:
    """An issuer whose keys are served on the loopback address."""

    keys: list[Key] = field(default_factory=lambda: [Key.rsa("ins_rsa"), Key.ec("ins_ec")])
    asked: int = 0
    """How often its keys were."""
    status: int = 200
    body: bytes | None = None
    """Served instead of the keys."""
    hangs: bool = False
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    """Set as soon as somebody waits for keys."""
    released: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    @property
    def key(self) -> Key:
        return self.keys[0]

    @property
    def settings(self) -> JwtSettings:
        return JwtSettings(ISSUER, SecretStr(self.url), role_claim="metadata.role")

    def sign(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Return a token of an administrator by its claim, signed with the first key."""
        return sign(self.key, header, **{"metadata": {"role": "admin"}, **changes})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        del request
        self.asked += 1
        if self.hangs:
            self.hanging.set()
            await self.released.wait()
        if self.status in (301, 302):
            return web.Response(status=self.status, headers={"Location": f"{self.url}/moved"})
        document = json.dumps({"keys": [key.jwk for key in self.keys]}).encode()
        body = document if self.body is None else self.body
        return web.Response(status=self.status, body=body, content_type="application/json")


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    """Serve the keys of an issuer."""
    issuer = Issuer()
    app = web.Application()
    app.router.add_get("/{path:.*}", issuer.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    issuer.url = f"http://{LOOPBACK}:{runner.addresses[0][1]}/.well-known/jwks.json"
    try:
        yield issuer
    finally:
        issuer.released.set()
        await runner.cleanup()
