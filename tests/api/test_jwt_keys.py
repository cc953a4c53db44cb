"""The issuer's keys are fetched rarely and once at a time, and an endpoint that misbehaves costs no more than a clear refusal."""

import asyncio
import base64
import contextlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from devnet.ports import LOOPBACK, free_port
from tests.api.issuer import ORIGIN, Issuer, Key, claims, forged, issuing
from tests.api.running import RunningApi, running, settings
from vaultmesh.api.gates import Gates
from vaultmesh.api.issuer_keys import (
    AGAIN_SECONDS,
    FETCH_SECONDS,
    FRESH_SECONDS,
    KEPT_SECONDS,
    LARGEST,
    IssuerKeys,
)
from vaultmesh.api.jwt_proof import JwtProof

STORM = 500


@dataclass
class Clock:
    """Seconds that a test moves."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Judged:
    """An API that takes the tokens of an issuer, by a clock of the test."""

    issuer: Issuer
    api: RunningApi
    clock: Clock

    async def ask(self, token: str) -> tuple[int, str]:
        answer = await self.api.ask(
            "GET", "/api/cron?expression=*+*+*+*+*", headers={"Authorization": f"Bearer {token}"}
        )
        return answer.status, answer.json.get("message", "")

    async def status(self, token: str | None = None) -> int:
        return (await self.ask(token or self.issuer.sign()))[0]

    async def storm(self, many: int = STORM) -> set[int]:
        """Ask with so many unknown key ids at once; return the statuses."""
        tokens = [self.issuer.sign({"kid": f"unknown-{number}"}) for number in range(many)]
        return set(await asyncio.gather(*map(self.status, tokens)))


@asynccontextmanager
async def judged(
    root: Path, issuer: Issuer, seconds: float = FETCH_SECONDS
) -> AsyncIterator[Judged]:
    clock = Clock()
    keys = IssuerKeys(SecretStr(issuer.url), clock=clock, fetch_seconds=seconds)
    gates = Gates(signed=JwtProof(issuer.settings, [ORIGIN], keys=keys))
    async with running(root, settings(), gates=gates) as api:
        yield Judged(issuer, api, clock)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as started:
        yield started


@pytest.fixture
async def system(issuer: Issuer, tmp_path: Path) -> AsyncIterator[Judged]:
    async with judged(tmp_path, issuer) as started:
        yield started


# --- how often -----------------------------------------------------------------------------------------------------


async def test_keys_are_asked_for_once_in_five_minutes(system: Judged) -> None:
    for _ in range(5):
        assert await system.status() == 200
    system.clock.now += FRESH_SECONDS - 1
    assert await system.status() == 200
    assert system.issuer.asked == 1
    system.clock.now += 1
    assert await system.status() == 200
    assert system.issuer.asked == 2


async def test_a_storm_of_unknown_key_ids_asks_the_issuer_once_a_minute(system: Judged) -> None:
    assert await system.storm() == {401}
    assert system.issuer.asked == 1
    assert await system.storm(20) == {401}
    system.clock.now += AGAIN_SECONDS - 1
    assert await system.storm(20) == {401}
    assert system.issuer.asked == 1
    system.clock.now += 1
    assert await system.storm(20) == {401}
    assert system.issuer.asked == 2


async def test_a_storm_upon_known_keys_asks_the_issuer_once_and_those_keys_go_on(
    system: Judged,
) -> None:
    assert await system.status() == 200
    assert await system.storm() == {401}
    assert await system.status() == 200
    assert system.issuer.asked == 2


async def test_a_storm_while_the_issuer_hangs_asks_once_and_delays_no_known_key(
    issuer: Issuer, tmp_path: Path
) -> None:
    async with judged(tmp_path, issuer, seconds=60) as system:
        assert await system.status() == 200
        issuer.hangs = True
        storm = asyncio.create_task(system.storm(50))
        await issuer.hanging.wait()
        assert await system.status() == 200
        assert not storm.done()
        issuer.released.set()
        assert await storm == {401}
        assert issuer.asked == 2


async def test_a_key_that_is_new_since_the_last_look_is_taken_at_once(system: Judged) -> None:
    assert await system.status() == 200
    system.issuer.keys = [Key.rsa("ins_next", 1), *system.issuer.keys]
    assert await system.status() == 200
    assert system.issuer.asked == 2
    system.issuer.keys = [Key.ec("ins_after_next")]
    assert await system.status() == 401  # within the same minute
    system.clock.now += AGAIN_SECONDS
    assert await system.status() == 200


async def test_everybody_who_comes_with_a_new_key_while_it_is_fetched_waits_for_it(
    system: Judged,
) -> None:
    assert await system.status() == 200
    system.issuer.keys = [Key.rsa("ins_next", 1)]
    system.issuer.hangs = True
    first = asyncio.create_task(system.status())
    await system.issuer.hanging.wait()
    others = [asyncio.create_task(system.status()) for _ in range(5)]
    await system.api.ask("GET", "/livez")  # they have come as well by then
    system.issuer.released.set()
    assert await asyncio.gather(first, *others) == [200] * 6
    assert system.issuer.asked == 2


async def test_a_key_that_its_issuer_withdrew_opens_nothing_after_five_minutes(
    system: Judged,
) -> None:
    old = system.issuer.sign()
    assert await system.status(old) == 200
    system.issuer.keys = [Key.rsa("ins_next", 1)]
    assert await system.status(old) == 200
    system.clock.now += FRESH_SECONDS
    assert await system.status(old) == 401
    assert await system.status() == 200


async def test_whoever_stops_waiting_for_keys_ends_the_fetch_for_nobody_else(
    issuer: Issuer,
) -> None:
    issuer.hangs = True
    keys = IssuerKeys(SecretStr(issuer.url))
    waiting = [asyncio.create_task(keys.find("RS256", "ins_rsa")) for _ in range(3)]
    await issuer.hanging.wait()
    waiting[0].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting[0]
    issuer.released.set()
    assert [key.key_id for key in await asyncio.gather(*waiting[1:]) if key] == ["ins_rsa"] * 2
    assert issuer.asked == 1
    await keys.close()


# --- an endpoint that misbehaves -----------------------------------------------------------------------------------


def _hang(issuer: Issuer) -> None:
    issuer.hangs = True


def _fail(issuer: Issuer, status: int = 500) -> None:
    issuer.status = status


def _lie(body: bytes) -> Callable[[Issuer], None]:
    def misbehave(issuer: Issuer) -> None:
        issuer.body = body

    return misbehave


def _away(issuer: Issuer) -> None:
    issuer.url = f"http://{LOOPBACK}:{free_port()}/"


def _huge() -> bytes:
    return json.dumps({"keys": [], "padding": "x" * LARGEST}).encode()


MISBEHAVIOURS: dict[str, tuple[Callable[[Issuer], None], str]] = {
    "hangs": (_hang, "no answer in time"),
    "fails": (_fail, "HTTP 500"),
    "not found": (lambda issuer: _fail(issuer, 404), "HTTP 404"),
    "redirects": (lambda issuer: _fail(issuer, 302), "HTTP 302"),
    "empty": (_lie(b""), "no JWKS"),
    "a page": (_lie(b"<html>"), "no JWKS"),
    "not UTF-8": (_lie(b"\xff\xfe{}"), "no JWKS"),
    "half": (_lie(b'{"keys": [{"kty": "RSA"'), "no JWKS"),
    "a list": (_lie(b"[]"), "no JWKS"),
    "no keys": (_lie(b'{"keys": []}'), "no RSA or P-256 key"),
    "keys of another form": (_lie(b'{"keys": {"kid": "ins_rsa"}}'), "no JWKS"),
    "keys that are none": (_lie(b'{"keys": [null, 1, "x", [], {}, {"kty": ["RSA"]}]}'), "no RSA"),
    "deep": (_lie(b"[" * 100_000), "no JWKS"),
    "huge": (_lie(_huge()), "more than 256 kB"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISBEHAVIOURS)
async def test_an_endpoint_that_misbehaves_costs_a_503_with_its_reason_and_later_comes_right(
    name: str, issuer: Issuer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    misbehave, words = MISBEHAVIOURS[name]
    good = Issuer(url=issuer.url)
    misbehave(issuer)
    async with judged(tmp_path, issuer, seconds=2 if name == "hangs" else 30) as system:
        with caplog.at_level(logging.WARNING):
            status, message = await system.ask(issuer.sign())
        assert (status, words in message) == (503, True), message
        assert "try again in 60 s" in message
        assert issuer.url not in message
        assert "issuer's keys not fetched" in caplog.text
        assert await system.status() == 503
        assert await system.storm(20) == {503}
        assert issuer.asked == 1
        issuer.hangs, issuer.status, issuer.body = good.hangs, good.status, good.body
        system.clock.now += AGAIN_SECONDS
        assert await system.status() == 200


@pytest.mark.parametrize("name", MISBEHAVIOURS)
async def test_known_keys_go_on_while_the_endpoint_misbehaves(
    name: str, issuer: Issuer, tmp_path: Path
) -> None:
    async with judged(tmp_path, issuer, seconds=2 if name == "hangs" else 30) as system:
        for key in issuer.keys:
            issuer.keys = [key, *(other for other in issuer.keys if other is not key)]
            assert await system.status() == 200
        MISBEHAVIOURS[name][0](issuer)
        for _ in range(1 if name == "hangs" else 3):
            system.clock.now += FRESH_SECONDS
            assert await system.status() == 200
        assert issuer.asked == (2 if name == "hangs" else 4)
        assert await system.status(issuer.sign({"kid": "unknown"})) == 503
        system.clock.now += KEPT_SECONDS
        assert await system.status() == 503  # not for ever


async def test_an_issuer_that_is_away_costs_a_503_and_the_static_token_goes_on(
    issuer: Issuer, tmp_path: Path
) -> None:
    token = issuer.sign()
    _away(issuer)
    async with running(tmp_path, settings(jwt=issuer.settings)) as api:
        answer = await api.ask("GET", "/api/jobs", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status, answer.json["error"]) == (503, "Authentication unavailable")
        assert "no connection" in answer.json["message"]
        assert (await api.ask("GET", "/api/jobs")).status == 200
        assert (await api.ask("GET", "/livez")).status == 200


async def test_an_answer_that_drips_is_given_up_in_time(issuer: Issuer, tmp_path: Path) -> None:
    given_up = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        given_up.set()

    async with await asyncio.start_server(drip, LOOPBACK, 0) as server:
        issuer.url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/"
        async with judged(tmp_path, issuer, seconds=0.5) as system:
            status, message = await system.ask(issuer.sign())
            assert (status, "no answer in time" in message) == (503, True)
        await given_up.wait()


# --- which keys are taken ------------------------------------------------------------------------------------------


def _symmetric(key: Key) -> dict[str, Any]:
    secret = base64.urlsafe_b64encode(b"s" * 32).decode().rstrip("=")
    return {"kty": "oct", "kid": key.kid, "k": secret, "alg": "HS256"}


UNUSABLE: dict[str, Callable[[Key], dict[str, Any]]] = {
    "symmetric": _symmetric,
    "symmetric as RS256": lambda key: {**_symmetric(key), "alg": "RS256"},
    "for encryption": lambda key: {**key.jwk, "use": "enc"},
    "for signing alone": lambda key: {**key.jwk, "key_ops": ["sign"]},
    "operations of another form": lambda key: {**key.jwk, "key_ops": "verify"},
    "of another algorithm": lambda key: {**key.jwk, "alg": "PS256"},
    "without an id": lambda key: {name: value for name, value in key.jwk.items() if name != "kid"},
    "an id of another form": lambda key: {**key.jwk, "kid": 1},
    "without its number": lambda key: {name: value for name, value in key.jwk.items() if name != "n"},
    "a number of another form": lambda key: {**key.jwk, "n": 5},
    "a number that is none": lambda key: {**key.jwk, "n": "ä"},
    "a huge number": lambda key: {**key.jwk, "n": "_" * 100_000},
    "a huge exponent": lambda key: {**key.jwk, "e": "_" * 1_000},
    "a tiny exponent": lambda key: {**key.jwk, "e": "AQ"},
    "as a curve": lambda key: {**key.jwk, "kty": "EC", "crv": "P-256"},
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSABLE)
async def test_a_key_that_is_none_for_us_is_passed_over_and_the_others_count(
    name: str, system: Judged
) -> None:
    first, second = system.issuer.keys
    entries = [UNUSABLE[name](first), second.jwk]
    system.issuer.body = json.dumps({"keys": entries}).encode()
    assert await system.status() == 401
    system.issuer.keys = [second]
    assert await system.status() == 200


async def test_a_symmetric_key_in_the_jwks_signs_nothing(system: Judged) -> None:
    entry = _symmetric(Key.ec("shared"))
    system.issuer.body = json.dumps({"keys": [entry, system.issuer.key.jwk]}).encode()
    header = {"alg": "HS256", "kid": "shared", "typ": "JWT"}
    unsigned = forged(header, claims(metadata={"role": "admin"}), b"").rstrip(".")
    signature = hmac.new(b"s" * 32, unsigned.encode(), sha256).digest()
    token = f"{unsigned}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    assert await system.status(token) == 401
    assert await system.status() == 200


@pytest.mark.parametrize(
    "weak",
    [Key("weak", rsa.generate_private_key(65537, 1024)),  # noqa: S505 - that is what must be refused
     Key("p384", ec.generate_private_key(ec.SECP384R1()))],
    ids=["RSA of 1024 bits", "P-384"],
)  # fmt: skip
async def test_keys_that_are_weak_or_of_another_curve_open_nothing(
    weak: Key, system: Judged
) -> None:
    public: Any = weak.private.public_key()
    name = "RS256" if isinstance(weak.private, rsa.RSAPrivateKey) else "ES384"
    by_type: Any = jwt.get_algorithm_by_name(name)
    entry = {"kid": weak.kid, **by_type.to_jwk(public, as_dict=True)}
    entry.pop("key_ops", None)
    system.issuer.body = json.dumps({"keys": [entry, system.issuer.key.jwk]}).encode()
    with (
        pytest.warns(jwt.InsecureKeyLengthWarning) if name == "RS256" else contextlib.nullcontext()
    ):
        private: Any = weak.private
        token = jwt.encode(claims(metadata={"role": "admin"}), private, name, {"kid": weak.kid})
    assert await system.status(token) == 401


async def test_one_id_of_two_keys_is_each_used_with_its_own_algorithm(system: Judged) -> None:
    system.issuer.keys = [Key.rsa("same"), Key.ec("same")]
    for key in list(system.issuer.keys):
        system.issuer.keys = [key, *(other for other in system.issuer.keys if other is not key)]
        assert await system.status() == 200


async def test_private_members_of_a_key_are_not_looked_at(system: Judged) -> None:
    entry = {**system.issuer.key.jwk, "d": "broken", "p": 5, "x5c": ["none"], "alg": "RS256"}
    system.issuer.body = json.dumps({"keys": [entry]}).encode()
    assert await system.status() == 200
