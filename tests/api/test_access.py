"""Who may call what: services and administrators by their tokens, in constant time, and nobody where nothing is set."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from typing_extensions import override

from tests.api.running import (
    ADMIN,
    ADMIN_TOKEN,
    JOB,
    SERVICE,
    SERVICE_TOKEN,
    RunningApi,
    running,
    settings,
)
from vaultmesh.api.administrators import is_same
from vaultmesh.api.auth import Access
from vaultmesh.api.gates import Administrator, Gates, NotAdmitted, StaticToken
from vaultmesh.api.routes import ROUTES

ADMINS = [route for route in ROUTES if route.access is Access.ADMIN]
NAME = JOB["name"]


def test_only_probes_and_registration_are_for_others_than_administrators() -> None:
    others = {(route.path, route.access) for route in ROUTES if route.access is not Access.ADMIN}
    assert others == {
        ("/health", Access.ANYBODY), ("/livez", Access.ANYBODY), ("/readyz", Access.ANYBODY),
        ("/api/jobs/register", Access.SERVICE),
    }  # fmt: skip


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", f"Bearer {ADMIN_TOKEN}x", f"Bearer {ADMIN_TOKEN[:-1]}", f"Bearer {ADMIN_TOKEN.upper()}", ADMIN_TOKEN,
     f"Basic {ADMIN_TOKEN}", f"Bearer {SERVICE_TOKEN}", "Bearer ä", f"Bearer {ADMIN_TOKEN} {ADMIN_TOKEN}"],
)  # fmt: skip
async def test_a_wrong_token_opens_no_route_of_administrators(header: str, api: RunningApi) -> None:
    await api.register()
    for route in ADMINS:
        path = route.path.replace("{jobName}", NAME).replace("{id}", "1")
        answer = await api.ask(route.method, path, {}, headers={"Authorization": header})
        assert (answer.status, answer.json["error"]) == (401, "Unauthorized"), path
    assert len(await api.audited()) == 1  # the registration


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_right_token_opens_them(scheme: str, api: RunningApi) -> None:
    assert (
        await api.ask("GET", "/api/jobs", headers={"Authorization": f"{scheme} {ADMIN_TOKEN}"})
    ).status == 200


async def test_without_a_configured_proof_every_route_of_administrators_is_403(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, settings(admin_token=None)) as api:
        for headers in ({}, ADMIN, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
            for route in ADMINS:
                path = route.path.replace("{jobName}", NAME).replace("{id}", "1")
                answer = await api.ask(route.method, path, {}, headers=headers)
                assert (answer.status, answer.json["error"]) == (403, "Forbidden"), path
        assert "ADMIN_TOKEN" in (await api.ask("GET", "/api/jobs")).json["message"]


async def test_without_a_service_token_nobody_registers_unless_that_is_allowed(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "closed", settings(service_token=None)) as api:
        for headers in ({}, SERVICE, {"X-Service-Token": ""}, {"X-Service-Token": "None"}):
            answer = await api.ask("POST", "/api/jobs/register", JOB, headers=headers)
            assert answer.status == 401
            assert "ALLOW_ANONYMOUS_REGISTRATION" in answer.json["message"]
    async with running(
        tmp_path / "open", settings(service_token=None, anonymous_registration=True)
    ) as api:
        assert (await api.ask("POST", "/api/jobs/register", JOB, headers={})).status == 200
        assert (await api.ask("GET", "/api/jobs", headers={})).status == 401


async def test_a_service_token_counts_also_where_registration_is_anonymous(tmp_path: Path) -> None:
    async with running(tmp_path, settings(anonymous_registration=True)) as api:
        assert (await api.ask("POST", "/api/jobs/register", JOB, headers={})).status == 401
        assert (await api.ask("POST", "/api/jobs/register", JOB, headers=SERVICE)).status == 200


async def test_the_audit_says_who_did_what_and_whom_the_body_claimed(api: RunningApi) -> None:
    await api.register()
    at = f"/api/jobs/{NAME}"
    await api.ask("POST", f"{at}/disable", {"userId": "user_2abc"})
    await api.ask("PUT", f"{at}/cron", {"cronExpression": "1 1 * * *", "userId": "user_3def"})
    await api.ask("POST", f"{at}/enable")
    await api.ask("DELETE", at, {"userId": 5})
    lines = [(line.actor, line.claimed_user) for line in await api.audited()]
    assert lines == [
        ("service report-service", None), ("admin token", "user_2abc"), ("admin token", "user_3def"),
        ("admin token", None), ("admin token", None),
    ]  # fmt: skip


async def test_another_proof_of_an_administrator_takes_its_place_beside_the_token(
    tmp_path: Path,
) -> None:
    class Signed(StaticToken):
        @override
        async def check(self, token: str) -> Administrator | None:
            return Administrator("user", "user_9", 1) if token == "signed" else None

    signing = Gates(signed=Signed(SecretStr("signed")))
    async with running(tmp_path, settings(), gates=signing) as api:
        await api.register()
        signed = {"Authorization": "Bearer signed"}
        assert (await api.ask("GET", "/api/jobs")).status == 401
        answer = await api.ask(
            "POST", f"/api/jobs/{NAME}/disable", {"userId": "user_1"}, headers=signed
        )
        assert answer.status == 200
        line = (await api.audited())[-1]
        assert (line.actor, line.claimed_user) == ("user_9", "user_1")


async def test_a_token_is_judged_outside_of_a_request_as_inside_of_one() -> None:
    gates = Gates.of(settings())
    holder = await gates.admit(ADMIN_TOKEN)
    assert holder == Administrator("token", "admin token", None)
    assert await gates.readmit(holder) == holder
    with pytest.raises(NotAdmitted) as caught:
        await gates.admit("another")
    assert (caught.value.status, caught.value.error) == (401, "Unauthorized")
    with pytest.raises(NotAdmitted) as caught:  # by a log-in that is closed by now
        await gates.readmit(Administrator("user", "user_9", 1))
    assert caught.value.status == 401
    with pytest.raises(NotAdmitted) as caught:
        await Gates.of(settings(admin_token=None)).admit(ADMIN_TOKEN)
    assert caught.value.status == 403


def test_a_secret_is_only_the_same_as_itself() -> None:
    secret = SecretStr(ADMIN_TOKEN).get_secret_value()
    assert is_same(secret, secret)
    assert not any(is_same(text, secret) for text in ("", secret[:-1], f"{secret} ", "\udcff", "ä"))


async def test_no_token_appears_in_an_answer_or_log(
    api: RunningApi, caplog: pytest.LogCaptureFixture
) -> None:
    await api.register()
    for path in ("/openapi.json", "/openapi", "/health", "/api/jobs", "/nowhere"):
        text = (await api.ask("GET", path)).text
        assert ADMIN_TOKEN not in text
        assert SERVICE_TOKEN not in text
    assert ADMIN_TOKEN not in caplog.text
