"""Hostile registrations and requests get one clear answer each; nothing is stored, nothing is wedged, nobody gets a 500."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from devnet.ports import LOOPBACK
from tests.api.running import ADMIN, JOB, SERVICE, RunningApi, ask_raw, running

DEEP = 10_000
REGISTER = {**SERVICE, "Content-Type": "application/json"}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


TEXTS: tuple[Any, ...] = (None, 5, "", [], {}, True, "a\x00b", "\ud800")
WRONG: dict[str, tuple[Any, ...]] = {
    "name": (*TEXTS, "maintenance:vacuum", " a", "a\n", "\x1b[31m", "n" * 300, "ä" * 101),
    "displayName": TEXTS,
    "description": TEXTS,
    "cronExpression": (*TEXTS, "@daily", "* * * *", "60 * * * *", "*/0 * * * *", "x" * 2_000, "0-99999999 * * * *", "TZ=UTC 0 9 * * *"),
    "enabled": (None, "true", 1, 0, [], ...),
    "jobType": (None, "", "Email", "cron", 1, ["email"]),
    "service": (*TEXTS, "nobody", "../etc", "http://evil.example", "DATABASE", "report_service", "REPORT-SERVICE"),
    "endpoint": (*TEXTS, "api/jobs/x", "http://evil.example/", "/a/../b", "/a/%2e%2e/b", "/a/%2E%2e%2fb", "/a\\b", "/a#b", "/a\r\nHost: evil",
                 "@evil.example/", "/./x"),
    "config": (None, [], "{}", 1, {"a": "\x00"}, {"\ud800": 1}, {"a": {"b": ["\ud800"]}}),
    "policy": (None, [], {"timeoutSeconds": 0}, {"timeoutSeconds": 1.5}, {"maxAttempts": 1e9}, {"retries": 3}),
}  # fmt: skip
"""Each is a value that can't be in the registration of the example, by its key."""


def test_there_are_many_hostile_registrations() -> None:
    assert sum(map(len, WRONG.values())) >= 60


async def test_each_hostile_registration_is_refused_with_its_key_and_stores_nothing(
    api: RunningApi,
) -> None:
    for key, value in ((key, value) for key, values in WRONG.items() for value in values):
        body = {name: held for name, held in {**JOB, key: value}.items() if held is not ...}
        answer = await api.ask(
            "POST", "/api/jobs/register", data=json.dumps(body), headers=REGISTER
        )
        assert answer.status == 400, (key, value, answer.text)
        assert answer.json.get("error") in ("Failed to register job", "Bad Request"), (key, value)
        message = answer.json["message"]
        assert (
            key in message or "no URL here" in message or answer.json["error"] == "Bad Request"
        ), message
        assert len(message) < 1_000, (key, value)
    assert (await api.ask("GET", "/api/jobs")).json == {"jobs": []}
    assert api.workflows.calls == []
    assert await api.audited() == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (json.dumps({**JOB, "config": {"a": "x" * 1_000_000}}).encode(), 413),
        (b"[" * DEEP + b"]" * DEEP, 400),
        (b'{"config":' * DEEP + b"1" + b"}" * DEEP, 400),
        (json.dumps({**JOB, "config": {"a": nested(300)}}).encode(), 400),
        (json.dumps(JOB).encode("utf-16"), 400),
        (json.dumps({**JOB, "name": "ä"}, ensure_ascii=False).encode("latin-1"), 400),
        (json.dumps(JOB).encode().replace(b"25", b"NaN"), 400),
        (json.dumps(JOB).encode().replace(b"25", b"-Infinity"), 400),
        (json.dumps(JOB).encode().replace(b"25", b"1e999"), 400),
        (json.dumps(JOB).encode().replace(b"25", b"1" * 5_000), 400),
        (json.dumps(JOB).encode() + b"{}", 400),
        (b"\x1f\x8b\x08\x00" + b"\x00" * 100, 400),
        (b"", 400),
        (b"null", 400),
        (b"[]", 400),
        (b'"x"', 400),
        (b"1", 400),
        (b"true", 400),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else str(value),
)  # fmt: skip
async def test_a_body_that_means_nothing_is_refused(
    data: bytes, status: int, api: RunningApi
) -> None:
    answer = await api.ask("POST", "/api/jobs/register", data=data, headers=REGISTER)
    assert answer.status == status, answer.text
    assert set(answer.json) >= {"error", "message"}
    assert len(answer.json["message"]) < 1_000
    assert (await api.ask("GET", "/api/jobs")).json == {"jobs": []}


async def test_of_a_key_that_is_written_twice_the_last_value_counts(api: RunningApi) -> None:
    data = json.dumps(JOB)[:-1] + ', "displayName": "The last"}'
    assert (await api.ask("POST", "/api/jobs/register", data=data, headers=REGISTER)).status == 200
    assert (await api.ask("GET", f"/api/jobs/{JOB['name']}")).json["displayName"] == "The last"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/xml"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": "text/plain"}, 400),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "br"}, 415),
        ({"Content-Type": "application/json; charset=utf-7"}, 200),
        ({}, 415),
    ],
    ids=str,
)
async def test_another_content_type_is_refused(
    headers: dict[str, str], status: int, api: RunningApi
) -> None:
    answer = await api.ask(
        "POST", "/api/jobs/register", data=json.dumps(JOB), headers={**SERVICE, **headers}
    )
    assert answer.status == status, answer.text


async def test_many_bytes_in_pieces_without_a_length_are_cut_off(api: RunningApi) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 10_000

    async with api.session.post(
        api.url + "/api/jobs/register", data=pieces(), headers=REGISTER
    ) as answer:
        assert answer.status == 413
        assert (await answer.json())["error"] == "Payload Too Large"


async def test_a_stranger_can_have_no_body_read(api: RunningApi) -> None:
    answer = await api.ask(
        "POST", "/api/jobs/register", data="{not json", headers={"Content-Type": "application/json"}
    )
    assert answer.status == 401


# --- names and paths ---------------------------------------------------------------------------------------------

PATHS = [
    "/api/jobs/%00", "/api/jobs/a%00b", "/api/jobs/%ed%a0%80", "/api/jobs/%ff", "/api/jobs/%zz", "/api/jobs/%", "/api/jobs/..", "/api/jobs/%2e%2e",
    "/api/jobs/%2e%2e%2f%2e%2e", "/api/jobs/../../etc/passwd", "/api//jobs", "//api/jobs", "/api/jobs//trigger", "/api/jobs/a%2Ftrigger",
    "/api/jobs/" + "n" * 300, "/api/jobs/" + "%C3%A4" * 101, "/api/jobs/a;b=c", "/api/jobs/%7B%7D", "/api/jobs/'%20OR%201=1--", "/api/jobs/%252e%252e",
    "/API/JOBS", "/api/jobs/a/b/c", "/api/jobs/a/history/", "/./api/jobs", "/api/./jobs", "/openapi.json/..", "/%61pi/jobs/x%0a", "/api/jobs/a?limit=%zz",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_trick_in_a_path_reaches_no_other_route_and_no_500(
    method: str, api: RunningApi
) -> None:
    await api.register()
    for path in PATHS:
        answer = await asyncio.to_thread(ask_raw, api.server.port, method, path, headers=ADMIN)
        assert answer.status in (400, 404) or (method == "DELETE" and answer.status == 200), (
            path,
            answer.text,
        )
        assert answer.headers["content-type"] == "application/json; charset=utf-8", path
    assert len((await api.ask("GET", "/api/jobs")).json["jobs"]) == 1
    assert [call[0] for call in api.workflows.calls] == ["configure"]


@pytest.mark.parametrize(
    "name",
    [
        "a/b",
        "..",
        "a b",
        "ä€🎉",
        "{x}",
        "a%2Fb",
        "a?b=c",
        "a#b",
        "register",
        "'; DROP TABLE x",
        "a\\b",
        ".",
    ],
)
async def test_a_job_with_an_odd_name_can_be_used_like_any_other(
    name: str, api: RunningApi
) -> None:
    assert (await api.register(name=name)).status == 200
    quoted = "".join(f"%{byte:02X}" for byte in name.encode())
    answers = [
        await asyncio.to_thread(
            ask_raw, api.server.port, method, f"/api/jobs/{quoted}{rest}", headers=ADMIN
        )
        for method, rest in [
            ("GET", ""),
            ("POST", "/disable"),
            ("GET", "/history"),
            ("GET", "/stats"),
            ("DELETE", ""),
        ]
    ]
    assert [answer.status for answer in answers] == [200] * 5
    assert answers[0].json["name"] == name
    assert (await api.ask("GET", "/api/jobs")).json == {"jobs": []}


@pytest.mark.parametrize(
    "method", ["PATCH", "TRACE", "CONNECT", "PROPFIND", "POST", "PUT", "DELETE", "FOO"]
)
async def test_a_method_that_there_is_not_is_not_found(method: str, api: RunningApi) -> None:
    answer = await asyncio.to_thread(ask_raw, api.server.port, method, "/api/jobs", headers=ADMIN)
    assert answer.status in (400, 404)
    if answer.status == 404:
        assert answer.json == {"error": "Endpoint not found", "path": "/api/jobs", "method": method}


# --- on the wire -------------------------------------------------------------------------------------------------


async def raw(port: int, data: bytes, *, end: bool = False) -> bytes:
    """Return what the API answers to some bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(data)
        await writer.drain()
        if end:
            writer.write_eof()
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  /api/jobs HTTP/1.1\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(1_000)) + b"\r\n",
        b"POST /api/jobs/register HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/jobs/register HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /api/jobs/register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/jobs/register HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=lambda data: repr(data[:40]),
)  # fmt: skip
async def test_what_is_no_request_is_refused_and_the_next_one_is_served(
    data: bytes, api: RunningApi, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await raw(api.server.port, data, end=True)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer[:200]
    assert b"Traceback" not in answer
    assert (await api.ask("GET", "/livez")).status == 200
    assert caplog.records == []  # else strangers fill the log


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[RunningApi]:
    """Run an API that waits for nobody."""
    async with running(tmp_path, body_within_seconds=0.5, idle_seconds=1) as started:
        yield started


async def test_a_body_that_drips_is_cut_off(impatient: RunningApi) -> None:
    head = f"POST /api/jobs/register HTTP/1.1\r\nHost: x\r\nX-Service-Token: {SERVICE['X-Service-Token']}\r\n"
    data = f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode()
    answer = await raw(impatient.server.port, data)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"error":"Request Timeout"' in answer


async def test_a_head_that_never_ends_is_cut_off(impatient: RunningApi) -> None:
    assert await raw(impatient.server.port, b"GET /livez HTTP/1.1\r\nHost:") == b""


async def test_a_connection_that_sends_nothing_is_cut_off(impatient: RunningApi) -> None:
    assert await raw(impatient.server.port, b"") == b""


async def test_hundreds_of_slow_clients_keep_nobody_from_an_answer(api: RunningApi) -> None:
    slow = [await asyncio.open_connection(LOOPBACK, api.server.port) for _ in range(300)]
    for _, writer in slow:
        writer.write(b"POST /api/jobs/register HTTP/1.1\r\nHost: x\r\nContent-Le")
    async with asyncio.timeout(5):
        assert (await api.register()).status == 200
    for _, writer in slow:
        writer.close()


HEAD = (
    f"POST /api/jobs/register HTTP/1.1\r\nHost: x\r\nX-Service-Token: {SERVICE['X-Service-Token']}\r\nContent-Type: application/json\r\n"
).encode()


@pytest.mark.parametrize(
    "rest",
    [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ids=["length", "chunk", "no chunk"],
)  # fmt: skip
async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure_of_ours(
    rest: bytes, api: RunningApi, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        _, writer = await asyncio.open_connection(LOOPBACK, api.server.port)
        writer.write(HEAD + rest)
        await writer.drain()
        writer.transport.abort()
    answer = await raw(api.server.port, HEAD + rest, end=True)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400"), answer
    assert (await api.register()).status == 200
    await api.server.stop()
    assert [record.getMessage() for record in caplog.records] == []
