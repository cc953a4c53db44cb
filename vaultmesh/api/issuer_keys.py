"""Keeps the public keys of the issuer of JWTs, by its JWKS.

1. Keys are fetched when the first is asked for, and again once they are older than `FRESH_SECONDS`.
2. A key id that is not among them has them fetched again at most once in `AGAIN_SECONDS`, however many ids are asked for.
   After a fetch that failed, nothing is asked for that long either.
3. At most one fetch is under way: whoever needs it waits for the same, at most `FETCH_SECONDS`.
4. While the endpoint is away, the keys that are known go on, at most for `KEPT_SECONDS`.
5. Only public RSA and P-256 keys that sign are taken: never a symmetric one, nor what a token names as its own key.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import jwt
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from pydantic import JsonValue, SecretStr
from pydantic_core import from_json

from vaultmesh.domain.errors import DomainError
from vaultmesh.process.request_log import logged

FRESH_SECONDS = 300.0
AGAIN_SECONDS = 60.0
FETCH_SECONDS = 5.0
KEPT_SECONDS = 86_400.0
"""A key that its issuer withdrew must not live for ever by keeping us from hearing of it."""
LARGEST = 256 * 1024
"""Bytes of a JWKS; usual ones have some thousands."""
_MOST_KEYS = 100
_LONGEST_MEMBER = 1_400
"""Characters of a number: an RSA key of 8192 bits. A longer one only takes time."""
_LONGEST_EXPONENT = 8
_OK = 200
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}
_UNUSABLE = (ClientError, TimeoutError, OSError, ValueError)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of key that is taken."""

    members: tuple[str, ...]
    curve: str | None = None


ALGORITHMS: Mapping[str, str] = {"RSA": "RS256", "EC": "ES256"}
"""By the type of key; no other is taken."""
_KINDS: Mapping[str, _Kind] = {"RSA": _Kind(("n", "e")), "EC": _Kind(("x", "y"), "P-256")}
Keys = Mapping[tuple[str, str], jwt.PyJWK]
"""By algorithm and id: a key is never used with another algorithm than its own."""


class KeysAway(DomainError):
    """Whether there is such a key can't be known now."""


class _NoKeys(ValueError):
    """What came is no set of keys; says why, in words of our own."""


class IssuerKeys:
    """The keys of one issuer; used by one event loop."""

    def __init__(
        self,
        url: SecretStr,
        *,
        clock: Callable[[], float] = time.monotonic,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        """Fetch nothing yet; `clock` gives seconds that never go back."""
        self._url = url
        self._clock = clock
        self._fetch_seconds = fetch_seconds
        self._keys: Keys = {}
        self._fetched: float | None = None  # when the newest fetch that succeeded began
        self._failed: float | None = None  # when the newest fetch began, if it failed
        self._missed: float | None = None  # when the newest fetch for an unknown id began
        self._failure = ""
        self._under_way: asyncio.Task[None] | None = None

    async def find(self, algorithm: str, kid: str) -> jwt.PyJWK | None:
        """Return the key with an id; None if the issuer has none for this algorithm.

        Raises:
            KeysAway: the issuer's keys can't be had, or are too old; says when they are asked for again.
        """
        name = (algorithm, kid)
        key = self._keys.get(name)
        if not (key is not None and self._is_younger(FRESH_SECONDS)) and self._may_ask(key):
            await self._fetch_once(is_unknown=key is None)
            key = self._keys.get(name)
        if key is None and self._failed is None:
            if self._missed is None:
                self._missed = self._fetched
            return None
        if key is None or not self._is_younger(KEPT_SECONDS):
            raise KeysAway(self._why_away())
        return key

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)

    def _is_younger(self, seconds: float) -> bool:
        return self._fetched is not None and self._clock() - self._fetched < seconds

    def _may_ask(self, key: jwt.PyJWK | None) -> bool:
        """Whether keys are fetched for somebody whose key is not known, or known and old."""
        if self._under_way is not None:
            return True
        if self._failed is not None:
            return self._clock() - self._failed >= AGAIN_SECONDS
        if key is not None or not self._is_younger(FRESH_SECONDS):
            return True
        return self._missed is None or self._clock() - self._missed >= AGAIN_SECONDS

    async def _fetch_once(self, *, is_unknown: bool) -> None:
        """Fetch the keys, or wait for the fetch that is under way; whoever stops waiting ends it for nobody else."""
        if self._under_way is None:
            if is_unknown and self._fetched is not None:
                self._missed = self._clock()
            self._under_way = asyncio.create_task(self._fetch())
        await asyncio.shield(self._under_way)

    async def _fetch(self) -> None:
        begun = self._clock()
        try:
            self._keys = _keys_of(await self._body())
            self._fetched, self._failed = begun, None
        except _UNUSABLE as error:
            self._failed, self._failure = begun, _reason(error)
            _LOG.warning("issuer's keys not fetched", extra={"err": self._failure})
        finally:
            self._under_way = None

    async def _body(self) -> bytes:
        limit = ClientTimeout(total=self._fetch_seconds)
        url = self._url.get_secret_value()
        with logged(url, "GET") as asked:
            async with (
                ClientSession(headers=_HEADERS, timeout=limit, auto_decompress=False) as session,
                session.get(url, allow_redirects=False) as answer,
            ):
                asked.answered(answer.status)
                return await _read(answer)

    def _why_away(self) -> str:
        since = self._clock() - (self._failed if self._failed is not None else self._clock())
        rest = max(1, round(AGAIN_SECONDS - since))
        return f"The issuer's keys can't be had now ({self._failure}) - try again in {rest} s"


async def _read(answer: ClientResponse) -> bytes:
    """Return what an issuer answered.

    Raises:
        _NoKeys: it is no answer that can hold keys.
    """
    if answer.status != _OK:
        message = f"HTTP {answer.status}"
        raise _NoKeys(message)
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > LARGEST:
            message = f"more than {LARGEST // 1024} kB"
            raise _NoKeys(message)
    return bytes(body)


def _reason(error: BaseException) -> str:
    """Return in a few words why there are no keys; never the URL."""
    match error:
        case TimeoutError():
            return "no answer in time"
        case _NoKeys():
            return str(error)
        case ClientError() | OSError():
            return f"no connection: {type(error).__name__}"
        case _:
            return "no JWKS"


def _keys_of(body: bytes) -> Keys:
    """Return the keys of a JWKS that may be used; the first one counts where two have one name.

    Raises:
        ValueError: it is no JWKS, or has no such key.
    """
    document = from_json(body)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        message = "no JWKS"
        raise _NoKeys(message)
    keys: dict[tuple[str, str], jwt.PyJWK] = {}
    for name, key in _usable(entries[:_MOST_KEYS]):
        keys.setdefault(name, key)
    if not keys:
        message = "no RSA or P-256 key in its JWKS"
        raise _NoKeys(message)
    return keys


def _usable(entries: Sequence[JsonValue]) -> Iterator[tuple[tuple[str, str], jwt.PyJWK]]:
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        kid, public = entry.get("kid"), _public(entry)
        if public is None or not isinstance(kid, str) or not kid:
            continue
        algorithm = ALGORITHMS[public["kty"]]
        try:
            yield (algorithm, kid), jwt.PyJWK({**public, "kid": kid}, algorithm)
        except jwt.PyJWTError:
            continue


def _public(entry: Mapping[str, JsonValue]) -> dict[str, str] | None:
    """Return what is public of a key that signs tokens; None if it is of another kind, or for something else."""
    kty = entry.get("kty")
    kind = _KINDS.get(kty) if isinstance(kty, str) else None
    if kind is None or not isinstance(kty, str) or not _signs(entry, ALGORITHMS[kty]):
        return None
    if kind.curve is not None and entry.get("crv") != kind.curve:
        return None
    public = {"kty": kty} | ({"crv": kind.curve} if kind.curve else {})
    for member in kind.members:
        value = entry.get(member)
        longest = _LONGEST_EXPONENT if member == "e" else _LONGEST_MEMBER
        if not isinstance(value, str) or len(value) > longest:
            return None
        public[member] = value
    return public


def _signs(entry: Mapping[str, JsonValue], algorithm: str) -> bool:
    """Whether a key says that it is for signatures of this algorithm, or does not say what it is for."""
    operations = entry.get("key_ops", ["verify"])
    return (
        entry.get("use", "sig") == "sig"
        and entry.get("alg", algorithm) == algorithm
        and isinstance(operations, list)
        and "verify" in operations
    )
