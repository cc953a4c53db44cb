"""A form of another site, or of nobody knows where, changes nothing."""

import pytest

from tests.admin_page.visitor import FORM, SAME_ORIGIN, Visitor, text_of
from tests.api.running import JOB, RunningApi
from vaultmesh.api.admin.site import PAGES

NAME = JOB["name"]
FORMS = sorted({page.name for page in PAGES if page.method == "POST"} | {"log-in", "log-out"})
FIELDS = {"name": NAME, "reason": "x", "cron": "1 1 1 1 1", "paused_at": "2026-01-01T00:00:00Z"}
FORGED = {
    "cross-site": {"Sec-Fetch-Site": "cross-site"},
    "of a sibling": {"Sec-Fetch-Site": "same-site"},
    "typed in": {"Sec-Fetch-Site": "none"},
    "cross-site with our origin": {"Sec-Fetch-Site": "cross-site", "Origin": "OURS"},
    "foreign origin": {"Origin": "https://evil.example"},
    "our host on another port": {"Origin": "http://127.0.0.1:1"},
    "our host as a part": {"Origin": "OURS.evil.example"},
    "no origin at all": {},
    "an origin that is nobody's": {"Origin": "null"},
    "no URL": {"Origin": "http://[::1"},
    "a file": {"Origin": "file://"},
    "plain HTTP behind TLS": {"Origin": "OURS", "X-Forwarded-Proto": "https"},
}


def ours(headers: dict[str, str], api: RunningApi) -> dict[str, str]:
    return {name: value.replace("OURS", api.url) for name, value in headers.items()}


@pytest.mark.parametrize("kind", FORGED)
async def test_a_forged_form_is_refused_whatever_it_asks_for(
    kind: str, visitor: Visitor, api: RunningApi
) -> None:
    await api.register()
    for form in FORMS:
        answer = await visitor.ask("POST", form, FIELDS, ours(FORGED[kind], api))
        assert answer.status == 403, form
        assert "another site" in text_of(answer.text)
    assert [line.action for line in await api.audited()] == ["register"]
    assert (await visitor.ask("GET", "jobs")).status == 200  # nobody was logged out


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": "OURS"},
        {"Origin": "https://public.example", "X-Forwarded-Host": "public.example"},
        {"Origin": "https://public.example:443", "Host": "public.example"},
    ],
)
async def test_a_form_of_our_own_is_taken(
    headers: dict[str, str], visitor: Visitor, api: RunningApi
) -> None:
    await api.register()
    answer = await visitor.ask("POST", "disable", {"name": NAME}, ours(headers, api))
    assert answer.status == 303
    assert (await api.audited())[-1].action == "disable"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_only_looked_at_changes_nothing(
    method: str, visitor: Visitor, api: RunningApi
) -> None:
    await api.register()
    for page in (page.name for page in PAGES):
        await visitor.ask(method, f"{page}?name={NAME}&reason=x&cron=1+1+1+1+1")
    assert [line.action for line in await api.audited()] == ["register"]
    assert api.workflows.calls[1:] == []


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "text/plain", ""])
async def test_a_body_that_is_no_form_is_refused_in_words(
    kind: str, visitor: Visitor, api: RunningApi
) -> None:
    await api.register()
    headers = {**SAME_ORIGIN, "Content-Type": kind}
    answer = await visitor.ask("POST", "disable", {"name": NAME}, headers)
    assert answer.status == 415
    assert FORM in text_of(answer.text)


@pytest.mark.parametrize("fields", [{}, {"nmae": "x"}, {"name": "nobody"}, {"name": "x" * 300}])
async def test_a_form_that_names_no_job_is_refused_in_words(
    fields: dict[str, str], visitor: Visitor
) -> None:
    for form in ("enable", "trigger", "reset", "pause-job", "set-cron"):
        sent = {**fields, "reason": "x", "cron": "1 1 1 1 1"}
        answer = await visitor.ask("POST", form, sent, SAME_ORIGIN)
        assert answer.status in (400, 404), form
        assert 'role="alert"' in answer.text
