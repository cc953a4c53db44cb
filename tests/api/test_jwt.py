"""A JWT opens routes of administrators exactly if its issuer signed it for us, it holds now, and it says so of its holder."""

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest
from pydantic import JsonValue

from tests.api.issuer import (
    ISSUER,
    LEFT_OUT,
    ORIGIN,
    USER,
    Issuer,
    Key,
    claims,
    forged,
    issuing,
    sign,
)
from tests.api.running import ADMIN_TOKEN, JOB, Answer, RunningApi, running, settings
from vaultmesh.api.auth import Access
from vaultmesh.api.gates import Administrator, Gates, NotAdmitted
from vaultmesh.api.routes import ROUTES
from vaultmesh.process.jwt_settings import JwtSettings

NAME = JOB["name"]
Signing = Callable[[Issuer], str]


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as started:
        yield started


def serving(
    root: Path, told: JwtSettings, **changes: Any
) -> AbstractAsyncContextManager[RunningApi]:
    return running(root, settings(jwt=told, **changes))


async def ask(api: RunningApi, token: str, path: str = "/api/jobs", method: str = "GET") -> Answer:
    body: JsonValue = None if method == "GET" else {}
    return await api.ask(method, path, body, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
async def api(issuer: Issuer, tmp_path: Path) -> AsyncIterator[RunningApi]:
    async with serving(tmp_path, issuer.settings) as started:
        yield started


async def refusal(api: RunningApi, token: str) -> tuple[int, str, str]:
    answer = await ask(api, token)
    assert set(answer.json) == {"error", "message"}
    return answer.status, answer.json["error"], answer.json["message"]


# --- who is admitted -----------------------------------------------------------------------------------------------


async def test_a_session_token_with_exactly_clerks_claims_and_a_role_is_admitted(
    issuer: Issuer, api: RunningApi
) -> None:
    assert set(claims()) == {"azp", "exp", "fva", "iat", "iss", "nbf", "sid", "sts", "sub", "v"}
    for key in issuer.keys:  # RS256 and ES256
        assert (await ask(api, sign(key, metadata={"role": "admin"}))).status == 200, key.algorithm
    assert issuer.asked == 1


async def test_the_static_token_goes_on_beside_it_and_asks_nobody(
    issuer: Issuer, api: RunningApi
) -> None:
    assert (await ask(api, ADMIN_TOKEN)).status == 200
    assert (await ask(api, "another")).status == 401
    assert issuer.asked == 0


async def test_without_a_static_token_a_jwt_opens_every_route_of_administrators_and_nothing_else_does(
    issuer: Issuer, tmp_path: Path
) -> None:
    token = issuer.sign()
    async with serving(tmp_path, issuer.settings, admin_token=None) as api:
        for route in ROUTES:
            if route.access is not Access.ADMIN:
                continue
            path = route.path.replace("{jobName}", NAME).replace("{id}", "1")
            assert (await ask(api, token, path, route.method)).status not in {401, 403}, path
            for wrong in (ADMIN_TOKEN, f"{token}x", token[:-9], "", "a.b.c"):
                assert (await ask(api, wrong, path, route.method)).status == 401, path


@pytest.mark.parametrize("role", ["admin", "super_admin", ["member", "admin"]])
@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("role", lambda role: {"role": role}),
        ("metadata.role", lambda role: {"metadata": {"role": role}}),
        ("public_metadata.role", lambda role: {"public_metadata": {"role": role}}),
        ("realm_access.roles", lambda role: {"realm_access": {"roles": role}}),
        ("https://app.example/role", lambda role: {"https://app.example/role": role}),
    ],
)
async def test_the_role_is_found_at_the_path_that_the_setting_names(
    role: Any, path: str, shape: Callable[[Any], dict[str, Any]], issuer: Issuer, tmp_path: Path
) -> None:
    async with serving(tmp_path, replace(issuer.settings, role_claim=path)) as api:
        assert (await ask(api, sign(issuer.key, **shape(role)))).status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": LEFT_OUT},
        {"metadata": None},
        {"metadata": "admin"},
        {"metadata": ["admin"]},
        {"metadata": {}},
        {"metadata": {"role": None}},
        {"metadata": {"role": True}},
        {"metadata": {"role": {"admin": True}}},
        {"metadata": {"role": "Admin"}},
        {"metadata": {"role": "member"}},
        {"metadata": {"role": ["member", None, 1]}},
        {"metadata": LEFT_OUT, "role": "admin", "public_metadata": {"role": "admin"}},
    ],
)
async def test_a_valid_token_without_the_role_is_403(
    changes: dict[str, Any], issuer: Issuer, api: RunningApi
) -> None:
    status, error, message = await refusal(api, issuer.sign(**changes))
    assert (status, error) == (403, "Forbidden")
    assert message == f"User {USER} is no administrator"


# --- for how long, for whom, by whom -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"exp": -15}, "has expired"),
        ({"nbf": 15}, "not valid yet"),
        ({"iat": 15}, "not valid yet"),
        ({"exp": LEFT_OUT}, "lacks exp"),
        ({"exp": None}, "lacks exp"),
        ({"exp": "soon"}, "can't be read"),
        ({"exp": [1]}, "can't be read"),
        ({"iss": "https://clerk.other.example"}, "another issuer"),
        ({"iss": f"{ISSUER}/"}, "another issuer"),
        ({"iss": LEFT_OUT}, "lacks iss"),
        ({"azp": "https://evil.example"}, "azp"),
        ({"azp": f"{ORIGIN}.evil.example"}, "azp"),
        ({"azp": ""}, "azp"),
        ({"azp": None}, "azp"),
        ({"azp": [ORIGIN]}, "azp"),
        ({"aud": "another"}, "aud"),
        ({"sub": LEFT_OUT}, "lacks sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 5}, "can't be read"),
        ({"sub": "user\nadmin token"}, "sub"),
        ({"sub": "u" * 201}, "sub"),
        ({"sts": "pending"}, "pending"),
    ],
)
async def test_a_token_that_does_not_hold_now_or_for_us_is_401_and_says_why(
    changes: dict[str, Any], words: str, issuer: Issuer, api: RunningApi
) -> None:
    now = int(time.time())
    for name in {"exp", "nbf", "iat"} & set(changes):
        if isinstance(changes[name], int):
            changes = {**changes, name: now + changes[name]}
    if "iss" in changes or changes.get("sub") == 5:  # the library writes no such token
        body = claims(**{"metadata": {"role": "admin"}, **changes})
        token = resigned(issuer.key, {"alg": "RS256", "kid": issuer.key.kid}, body)
    else:
        token = issuer.sign(**changes)
    status, error, message = await refusal(api, token)
    assert (status, error) == (401, "Unauthorized")
    assert words in message


def resigned(key: Key, header: dict[str, Any], body: dict[str, Any]) -> str:
    """Return a token with a good signature over whatever it says."""
    unsigned = forged(header, body, b"").rstrip(".")
    algorithm: Any = jwt.get_algorithm_by_name(key.algorithm)
    signature = algorithm.sign(unsigned.encode(), key.private)
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


async def test_clocks_may_differ_by_some_seconds(issuer: Issuer, api: RunningApi) -> None:
    for offset in ({"exp": -1}, {"nbf": 8}, {"iat": 8}):
        changes: dict[str, Any] = {
            name: int(time.time()) + seconds for name, seconds in offset.items()
        }
        assert (await ask(api, issuer.sign(**changes))).status == 200, changes


async def test_claims_that_clerk_may_leave_out_are_not_asked_for(
    issuer: Issuer, api: RunningApi
) -> None:
    for name in ("azp", "nbf", "iat", "sid", "sts", "fva", "v"):
        assert (await ask(api, issuer.sign(**{name: LEFT_OUT}))).status == 200, name


async def test_any_allowed_origin_may_have_asked_for_the_token(
    issuer: Issuer, tmp_path: Path
) -> None:
    origins = ("https://admin.example", ORIGIN)
    async with serving(tmp_path, issuer.settings, allowed_origins=origins) as api:
        for party in (*origins, "https://Admin.example/"):
            assert (await ask(api, issuer.sign(azp=party))).status == 200
        assert (await ask(api, issuer.sign(azp="http://admin.example"))).status == 401


async def test_with_an_audience_that_counts_and_azp_does_not(
    issuer: Issuer, tmp_path: Path
) -> None:
    async with serving(tmp_path, replace(issuer.settings, audience="scheduler")) as api:
        for audience in ("scheduler", ["other", "scheduler"]):
            token = issuer.sign(aud=audience, azp="some-client-id")
            assert (await ask(api, token)).status == 200
        wrong: tuple[Any, ...] = (
            LEFT_OUT,
            "other",
            ["other"],
            "",
            [],
            ["scheduler", 5],
            {"scheduler": 1},
        )
        for party in wrong:
            status, _, message = await refusal(api, issuer.sign(aud=party))
            assert (status, "aud" in message) == (401, True), party


def _unsigned(issuer: Issuer, algorithm: str = "none") -> str:
    body = claims(metadata={"role": "admin"})
    return forged({"alg": algorithm, "kid": issuer.key.kid, "typ": "JWT"}, body, b"")


def _hmac_by_public_key(issuer: Issuer, secret: Callable[[Key], bytes]) -> str:
    header = {"alg": "HS256", "kid": issuer.key.kid, "typ": "JWT"}
    unsigned = forged(header, claims(metadata={"role": "admin"}), b"").rstrip(".")
    signature = hmac.new(secret(issuer.key), unsigned.encode(), sha256).digest()
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def _pem(key: Key) -> bytes:
    return key.pem


def _pem_without_end(key: Key) -> bytes:
    return key.pem.rstrip()


def _jwk(key: Key) -> bytes:
    return json.dumps(key.jwk).encode()


def _nothing(key: Key) -> bytes:
    return b""


def _by_other_key(issuer: Issuer) -> str:
    return sign(Key.rsa(issuer.key.kid, 1), metadata={"role": "admin"})


def _by_embedded_key(issuer: Issuer) -> str:
    own = Key.rsa(issuer.key.kid, 1)
    return sign(own, {"jwk": own.jwk}, metadata={"role": "admin"})


def _with_other_algorithm(issuer: Issuer) -> str:
    """Sign as ES256 with a key of one's own, under the id of an RSA key."""
    return sign(Key.ec(issuer.key.kid), metadata={"role": "admin"})


def _rs512(issuer: Issuer) -> str:
    key: Any = issuer.key.private
    return jwt.encode(claims(metadata={"role": "admin"}), key, "RS512", {"kid": issuer.key.kid})


def _changed_after_signing(issuer: Issuer) -> str:
    header, _, signature = issuer.sign(metadata={"role": "member"}).split(".")
    body = json.dumps(claims(metadata={"role": "admin"})).encode()
    return f"{header}.{base64.urlsafe_b64encode(body).decode().rstrip('=')}.{signature}"


@pytest.mark.parametrize(
    "forge",
    [
        _unsigned,
        partial(_unsigned, algorithm="None"),
        partial(_unsigned, algorithm="NONE"),
        partial(_unsigned, algorithm=""),
        partial(_unsigned, algorithm="RS256"),
        partial(_unsigned, algorithm="ES256"),
        partial(_hmac_by_public_key, secret=_pem),
        partial(_hmac_by_public_key, secret=_pem_without_end),
        partial(_hmac_by_public_key, secret=_jwk),
        partial(_hmac_by_public_key, secret=_nothing),
        _by_other_key,
        _by_embedded_key,
        _with_other_algorithm,
        _rs512,
        _changed_after_signing,
        lambda issuer: issuer.sign({"kid": LEFT_OUT}),
        lambda issuer: issuer.sign({"kid": ""}),
        lambda issuer: issuer.sign({"kid": "unknown"}),
        lambda issuer: issuer.sign({"kid": "k" * 2_000}),
        lambda issuer: issuer.sign({"crit": ["b64"], "b64": True, "kid": "unknown"}),
        lambda issuer: resigned(issuer.key, {"alg": "RS256", "kid": 5}, claims()),
        lambda issuer: resigned(issuer.key, {"alg": ["RS256"], "kid": "ins_rsa"}, claims()),
        lambda issuer: resigned(issuer.key, {"kid": "ins_rsa"}, claims()),
        lambda issuer: resigned(issuer.key, {"alg": "RS256", "kid": "ins_rsa"}, ["admin"]),  # type: ignore[arg-type]
        lambda issuer: f"{issuer.sign()}.e30",
    ],
)  # fmt: skip
async def test_what_the_issuer_did_not_sign_in_a_way_that_we_take_is_401(
    forge: Signing, issuer: Issuer, api: RunningApi
) -> None:
    assert (await ask(api, issuer.sign())).status == 200
    status, error, message = await refusal(api, forge(issuer))
    assert (status, error) == (401, "Unauthorized")
    assert message


@pytest.mark.parametrize(
    "text",
    ["..", "a.b.c", "e30.e30.", "W10.e30.e30", "e30.e30.e30", f"{'W1tbW1tb' * 700}.e30.e30", "ä.b.c", "\udcff.b.c", "=.=.="],
)  # fmt: skip
async def test_what_is_hardly_a_token_is_401(text: str, api: RunningApi) -> None:
    status, error, _ = await refusal(api, text)
    assert (status, error) == (401, "Unauthorized")


ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1e300, 10**400, float("nan"), float("inf"), "", "x", "\ud800", "\0", "9" * 5_000, [], [None], {}, {"role": []},
)  # fmt: skip


@pytest.mark.parametrize("place", ["claim", "header"])
async def test_no_value_of_a_claim_or_of_the_header_costs_more_than_a_refusal(
    place: str, issuer: Issuer
) -> None:
    gates = Gates.of(settings(jwt=issuer.settings))
    good = {"alg": "RS256", "kid": issuer.key.kid, "typ": "JWT", "crit": LEFT_OUT, "b64": LEFT_OUT}
    body = claims(metadata={"role": "admin"}, aud=LEFT_OUT, jti="x")
    for name in [*body, "aud"] if place == "claim" else good:
        for value in ODD:
            changed = {**(body if place == "claim" else good), name: value}
            header = changed if place == "header" else good
            members = {key: member for key, member in header.items() if member is not LEFT_OUT}
            token = resigned(issuer.key, members, changed if place == "claim" else body)
            try:
                person = await gates.admit(token)
            except NotAdmitted as refused:
                assert refused.status in {401, 403}, (name, value)
            else:
                assert (person.kind, person.subject) == ("user", changed.get("sub", USER))
    await gates.close()


@pytest.mark.parametrize("member", ["jku", "x5u"])
async def test_a_header_that_names_other_keys_has_nobody_ask_there(
    member: str, issuer: Issuer, api: RunningApi
) -> None:
    async with issuing() as evil:
        evil.keys = [Key.rsa(issuer.key.kid, 1)]
        by_evil = evil.sign({member: evil.url})
        assert (await refusal(api, by_evil))[0] == 401
        assert (await ask(api, issuer.sign({member: evil.url}))).status == 200
        assert evil.asked == 0


# --- what is kept of it --------------------------------------------------------------------------------------------


async def test_the_audit_and_the_handler_have_the_tokens_subject_and_the_bodys_user_is_claimed(
    issuer: Issuer, api: RunningApi
) -> None:
    await api.register()
    at = f"/api/jobs/{NAME}"
    headers = {"Authorization": f"Bearer {issuer.sign()}"}
    claimed: JsonValue = {"userId": "user_of_the_body"}
    asked: list[tuple[str, str, JsonValue]] = [
        ("POST", "trigger", claimed), ("POST", "disable", claimed), ("POST", "enable", {}),
        ("PUT", "cron", {"cronExpression": "1 1 * * *", "userId": "user_of_the_body"}), ("POST", "reset", {}),
    ]  # fmt: skip
    api.parts.trigger_wait_seconds = 0
    for method, action, body in asked:
        assert (await api.ask(method, f"{at}/{action}", body, headers=headers)).status == 200
    assert (await api.ask("DELETE", at, claimed, headers=headers)).status == 200
    assert (await api.ask("POST", f"{at}/allow", {}, headers=headers)).status == 200
    lines = [(line.action, line.actor, line.claimed_user) for line in await api.audited()]
    user = "user_of_the_body"
    assert lines[1:] == [
        ("trigger", USER, user), ("disable", USER, user), ("enable", USER, None), ("cron", USER, user),
        ("reset", USER, None), ("delete", USER, user), ("allow", USER, None),
    ]  # fmt: skip
    (triggered,) = [call for call in api.workflows.calls if call[0] == "trigger"]
    assert triggered[3] == USER


async def test_with_the_static_token_the_bodys_user_is_audited_as_claimed(
    issuer: Issuer, api: RunningApi
) -> None:
    await api.register()
    await api.ask("POST", f"/api/jobs/{NAME}/disable", {"userId": USER})
    line = (await api.audited())[-1]
    assert (line.actor, line.claimed_user) == ("admin token", USER)


async def test_no_token_appears_in_an_answer_or_log(
    issuer: Issuer, api: RunningApi, caplog: pytest.LogCaptureFixture
) -> None:
    for token in (issuer.sign(), issuer.sign(metadata=None), _by_other_key(issuer)):
        assert token not in (await ask(api, token)).text
        assert token.split(".")[2] not in caplog.text


async def test_whoever_holds_a_token_is_known_outside_of_a_request_and_until_when(
    issuer: Issuer,
) -> None:
    gates = Gates.of(settings(jwt=issuer.settings))
    exp = int(time.time()) + 60
    person = await gates.admit(issuer.sign(exp=exp))
    assert person == Administrator("user", USER, exp)
    assert await gates.readmit(person) == person
    with pytest.raises(NotAdmitted) as caught:
        await gates.admit(issuer.sign(metadata={"role": "member"}))
    assert (caught.value.status, str(caught.value)) == (403, f"User {USER} is no administrator")
    await gates.close()
