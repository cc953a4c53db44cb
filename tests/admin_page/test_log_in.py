"""Who may come in, for how long, and what nobody can forge or read."""

import base64
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.admin_page.visitor import SAME_ORIGIN, Visitor, text_of
from tests.api.issuer import USER, Issuer, issuing, sign
from tests.api.running import ADMIN, ADMIN_TOKEN, JOB, RunningApi, running, settings
from vaultmesh.api.admin.cookies import NOTICE, SESSION
from vaultmesh.api.admin.site import PAGES
from vaultmesh.api.gates import Gates
from vaultmesh.storage.jobs.core import choose
from vaultmesh.storage.users import Users, users_place

PAGES_SEEN = sorted(page.name for page in PAGES if page.method == "GET")
FORMS = sorted(page.name for page in PAGES if page.method == "POST")
NAME = JOB["name"]


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def stranger(api: RunningApi) -> AsyncIterator[Visitor]:
    async with Visitor.of(api) as visitor:
        yield visitor


# --- coming in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES_SEEN)
async def test_whoever_is_not_logged_in_sees_no_page_and_comes_back_to_it(
    page: str, stranger: Visitor
) -> None:
    answer = await stranger.ask("GET", f"{page}?name=a%20b")
    assert answer.status == 303
    assert answer.headers["Location"] == f"log-in?next={page}%3Fname%3Da%2520b"
    form = await stranger.ask("GET", answer.headers["Location"])
    assert f'name="next" value="{page}?name=a%20b"' in form.text
    after = await stranger.log_in(next=f"{page}?name=a%20b")
    assert (after.status, after.headers["Location"]) == (303, f"{page}?name=a%20b")


@pytest.mark.parametrize("form", FORMS)
async def test_whoever_is_not_logged_in_changes_nothing(
    form: str, stranger: Visitor, api: RunningApi
) -> None:
    await api.register()
    fields = {"name": NAME, "reason": "x", "cron": "1 1 1 1 1", "paused_at": "2026-01-01T00:00:00Z"}
    answer = await stranger.ask("POST", form, fields, SAME_ORIGIN)
    assert (answer.status, answer.headers["Location"]) == (303, "log-in")
    assert "Nothing was changed" in await stranger.see("log-in")
    assert [line.action for line in await api.audited()] == ["register"]


@pytest.mark.parametrize(
    "place",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "log-out",
     "jobs/../../api/jobs", "jobs\r\nSet-Cookie: a=b", "nowhere", "trigger", "jobs?x=\u2028y", "../jobs"],
)  # fmt: skip
async def test_a_link_leads_nowhere_else_after_the_log_in(place: str, stranger: Visitor) -> None:
    answer = await stranger.log_in(next=place)
    assert (answer.status, answer.headers["Location"]) == (303, "jobs")


@pytest.mark.parametrize("token", ["", "x", ADMIN_TOKEN[:-1], f"{ADMIN_TOKEN}x", "ä", "\x00"])
async def test_a_wrong_token_opens_nothing_and_is_not_repeated(
    token: str, stranger: Visitor
) -> None:
    answer = await stranger.log_in(token)
    assert answer.status in (400, 401)
    assert SESSION not in stranger.cookies
    assert 'role="alert"' in answer.text
    assert len(token) < 2 or token not in answer.text


async def test_without_a_token_in_the_settings_the_page_is_closed_and_says_how_to_open_it(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, settings(admin_token=None)) as api, Visitor.of(api) as visitor:
        answer = await visitor.log_in()
        assert answer.status == 403
        assert "ADMIN_TOKEN" in text_of(answer.text)


async def test_ten_wrong_log_ins_in_a_minute_are_the_last_also_with_the_right_token(
    stranger: Visitor,
) -> None:
    statuses = [(await stranger.log_in("wrong")).status for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    answer = await stranger.log_in()
    assert answer.status == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert "Try again in" in text_of(answer.text)
    assert SESSION not in stranger.cookies


async def test_right_log_ins_are_not_counted(stranger: Visitor) -> None:
    assert [(await stranger.log_in()).status for _ in range(15)] == [303] * 15


async def test_a_client_behind_a_trusted_proxy_locks_out_no_other(tmp_path: Path) -> None:
    told = settings(trusted_proxies=(ip_network("127.0.0.0/8"),), rate_limit=10_000)
    async with running(tmp_path, told) as api, Visitor.of(api) as visitor:
        for _ in range(11):
            headers = {**SAME_ORIGIN, "X-Forwarded-For": "192.0.2.1"}
            answer = await visitor.ask("POST", "log-in", {"token": "wrong"}, headers)
        assert answer.status == 429
        headers = {**SAME_ORIGIN, "X-Forwarded-For": "192.0.2.2"}
        assert (await visitor.ask("POST", "log-in", {"token": "x"}, headers)).status == 401


# --- the session ---------------------------------------------------------------------------------------------------


async def test_the_cookie_is_for_these_pages_alone(stranger: Visitor) -> None:
    await stranger.log_in()
    (cookie,) = stranger.set_cookies
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert attributes == {
        "max-age=28800",
        "httponly",
        "samesite=strict",
    }  # no path: that of the form


@pytest.mark.parametrize("forwarded", ["https", "HTTPS", "https,http"])
async def test_the_cookie_is_secure_behind_tls(forwarded: str, stranger: Visitor) -> None:
    headers = {**SAME_ORIGIN, "X-Forwarded-Proto": forwarded}
    await stranger.ask("POST", "log-in", {"token": ADMIN_TOKEN}, headers)
    assert all(cookie.endswith("; Secure") for cookie in stranger.set_cookies)
    assert stranger.set_cookies


async def test_the_cookie_opens_no_route_of_the_api(visitor: Visitor, api: RunningApi) -> None:
    await api.register()
    cookie = {"Cookie": f"{SESSION}={visitor.cookies[SESSION]}", **SAME_ORIGIN}
    bearer = {"Authorization": f"Bearer {visitor.cookies[SESSION]}"}
    for headers in (cookie, bearer):
        assert (await api.ask("GET", "/api/jobs", headers=headers)).status == 401
        assert (await api.ask("POST", f"/api/jobs/{NAME}/disable", headers=headers)).status == 401


async def test_a_bearer_token_opens_no_page(stranger: Visitor) -> None:
    assert (await stranger.ask("GET", "jobs", headers=ADMIN)).status == 303


def _flipped(text: str, place: int) -> str:
    return text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]


async def test_a_cookie_that_was_tampered_with_opens_nothing(visitor: Visitor) -> None:
    good = visitor.cookies[SESSION]
    assert (await visitor.ask("GET", "jobs")).status == 200
    payload, _, signature = good.partition(".")
    longer = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    longer["ends"] += 10**9
    forged = base64.urlsafe_b64encode(json.dumps(longer).encode()).decode().rstrip("=")
    bad = [_flipped(good, place) for place in range(0, len(good) - 1, 7)]
    bad += [
        f"{forged}.{signature}",
        payload,
        f"{payload}.",
        f".{signature}",
        "",
        ".",
        "é.é",
        "a" * 5_000,
    ]
    for cookie in bad:
        visitor.cookies[SESSION] = cookie
        assert (await visitor.ask("GET", "jobs")).status == 303, cookie


async def test_a_notice_does_not_pass_for_a_session(visitor: Visitor, api: RunningApi) -> None:
    await api.register()
    await visitor.ask("POST", "disable", {"name": NAME}, SAME_ORIGIN)
    visitor.cookies[SESSION] = visitor.cookies[NOTICE]
    assert (await visitor.ask("GET", "jobs")).status == 303


async def test_a_session_ends_after_eight_hours_whatever_was_done_in_it(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path, parts={"now": clock}) as api, Visitor.of(api) as visitor:
        await visitor.log_in()
        clock.now += timedelta(hours=7, minutes=59)
        assert (await visitor.ask("GET", "jobs")).status == 200
        clock.now += timedelta(minutes=2)
        assert (await visitor.ask("GET", "jobs")).status == 303


async def test_another_token_ends_all_sessions_and_the_same_one_keeps_them_on_every_replica(
    tmp_path: Path, visitor: Visitor
) -> None:
    async with running(tmp_path / "replica") as api, Visitor.of(api) as other:
        other.cookies = dict(visitor.cookies)
        assert (await other.ask("GET", "jobs")).status == 200
    rotated = settings(admin_token=SecretStr("another-token-of-tests"))
    async with running(tmp_path / "rotated", rotated) as api, Visitor.of(api) as other:
        other.cookies = dict(visitor.cookies)
        assert (await other.ask("GET", "jobs")).status == 303


async def test_after_the_log_out_the_browser_has_no_session(visitor: Visitor) -> None:
    answer = await visitor.ask("POST", "log-out", {}, SAME_ORIGIN)
    assert answer.headers["Location"] == "log-in"
    assert SESSION not in visitor.cookies
    assert "logged out" in await visitor.see("log-in")
    assert (await visitor.ask("GET", "jobs")).status == 303


# --- log-in by JWT -------------------------------------------------------------------------------------------------


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as started:
        yield started


async def test_a_jwt_that_lasts_a_minute_logs_in_for_an_hour_and_names_who_decides(
    tmp_path: Path, issuer: Issuer
) -> None:
    clock, told = Clock(), settings(admin_token=None, jwt=issuer.settings)
    async with running(tmp_path, told, parts={"now": clock}) as api, Visitor.of(api) as visitor:
        await api.register()
        assert (await visitor.log_in("no.jwt.atall")).status == 401
        assert (await visitor.log_in(issuer.sign(metadata={"role": "member"}))).status == 403
        assert (await visitor.log_in(issuer.sign())).status == 303
        assert "max-age=3600" in visitor.set_cookies[0].lower()
        clock.now += timedelta(minutes=59)
        await visitor.send("disable", name=NAME)
        assert (await api.audited())[-1].actor == USER
        clock.now += timedelta(minutes=2)
        assert (await visitor.ask("GET", "jobs")).status == 303


async def test_a_role_that_was_taken_away_ends_the_session_at_the_next_request(
    tmp_path: Path, issuer: Issuer
) -> None:
    file = tmp_path / "users.db"
    told = settings(jwt=replace(issuer.settings, role_claim=None))
    users = Users(users_place(f"sqlite:///{file}", choose(None, tmp_path, supabase=False)))
    with closing(sqlite3.connect(file)) as table, table:
        table.execute("CREATE TABLE users (id TEXT PRIMARY KEY, clerk_user_id TEXT, role TEXT)")
        table.execute("INSERT INTO users VALUES ('1', ?, 'admin')", (USER,))
    gates = Gates.of(told, users)
    async with running(tmp_path, told, gates=gates) as api, Visitor.of(api) as visitor:
        assert (await visitor.log_in(sign(issuer.key))).status == 303
        assert (await visitor.ask("GET", "jobs")).status == 200
        with closing(sqlite3.connect(file)) as table, table:
            table.execute("UPDATE users SET role = 'user'")
        assert (await visitor.ask("GET", "jobs")).status == 303
        with closing(sqlite3.connect(file)) as table, table:
            table.execute("DROP TABLE users")
        assert (await visitor.ask("GET", "jobs")).status == 503


# --- what browsers are told ----------------------------------------------------------------------------------------


async def test_every_answer_forbids_scripts_frames_and_foreign_forms(visitor: Visitor) -> None:
    places = [*PAGES_SEEN, "log-in", "style.css", "nowhere", "a/b/c", ""]
    for place in places:
        headers = (await visitor.ask("GET", place)).headers
        assert headers["Content-Security-Policy"] == (
            "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ), place
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert place == "style.css" or headers["Cache-Control"] == "no-store"


async def test_no_page_has_a_script_or_a_style_of_its_own(
    visitor: Visitor, api: RunningApi
) -> None:
    await api.register()
    for page in [*PAGES_SEEN, "log-in"]:
        text = (await visitor.ask("GET", f"{page}?name={NAME}")).text
        assert not re.search(r"<script|<style|<iframe|<img| style=| on[a-z]+=|javascript:", text), (
            page
        )


async def test_an_allowed_origin_reads_no_page(visitor: Visitor) -> None:
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "GET"}
        answer = await visitor.ask(method, "jobs", headers=headers)
        assert not [name for name in answer.headers if name.startswith("Access-Control-Allow-O")]
        assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_whoever_comes_by_a_link_from_elsewhere_goes_on_without_a_second_log_in(
    visitor: Visitor,
) -> None:
    page = "log-in?next=audit%3Fname%3Dx"
    foreign = await visitor.ask("GET", page, headers={"Sec-Fetch-Site": "cross-site"})
    assert '<a href="audit?name=x">go on</a>' in foreign.text
    assert "go on" not in (await visitor.ask("GET", page)).text
