"""What a handler is sent, how often, and what becomes of each way to misbehave."""

import asyncio
import gzip
import hashlib
import hmac
import json
import logging
import random
import time
import tracemalloc
from typing import Any

import pytest

from tests.jobs.calls import (
    BROKE,
    EXECUTION,
    SUCCESS,
    call_of,
    calls_to,
    end_of,
    error_of,
    job,
)
from tests.simulators.handlers import (
    DONE,
    Behaviour,
    Handler,
    answers,
    answers_unread,
    breaks_in_mid_answer,
    closes_after_head,
    closes_after_request,
    closes_at_once,
    hangs,
    refusals_of_email_service,
    refusals_of_user_service,
    reply,
    resets_after_head,
    resets_after_request,
    resets_at_once,
    sends,
    sends_for_ever,
)
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy
from vaultmesh.process.version import VERIFIER

NOT_HTTP = "the answer is not HTTP; its fate is unknown"
PARTLY = reply(SUCCESS)[:-9]
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"

# --- what is sent --------------------------------------------------------------------------------------------------


async def test_a_handler_gets_exactly_what_the_original_sent() -> None:
    async with Handler() as handler:
        end = await end_of(f"{handler.url}/base/")
    assert end.result == {**DONE, "error": None, "metadata": {}}
    sent = handler.only
    assert sent.request_line == "POST /base/api/jobs/nightly-report HTTP/1.1"
    assert sent.headers == {
        "host": handler.url.removeprefix("http://"),
        "content-type": "application/json",
        "content-length": str(len(sent.body)),
        "x-scheduler-execution-id": str(EXECUTION),
        "user-agent": VERIFIER,
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
    }
    assert sent.content == {
        "jobName": "nightly-report",
        "config": {"batchSize": 25},
        "executionId": str(EXECUTION),
        "triggeredBy": "scheduler",
    }


@pytest.mark.parametrize("by", list(TriggeredBy))
@pytest.mark.parametrize("user", [None, "", "user_2abc", "é\ud83d\x00\n"])
async def test_the_known_handlers_take_every_call(by: TriggeredBy, user: str | None) -> None:
    async with Handler() as handler:
        await calls_to(handler.url).make(call_of(job(config={}), by, user), lambda: None)
    sent = handler.only
    for refusals in (refusals_of_email_service, refusals_of_user_service):
        assert refusals(sent.content, sent.headers["x-scheduler-execution-id"]) == []
    assert sent.content["config"] == {}
    assert sent.content.get("triggeredByUser") == (user or None)
    assert ("triggeredByUser" in sent.content) == bool(user)


@pytest.mark.parametrize(
    "broken",
    [
        {"triggeredBy": "admin"}, {"triggeredByUser": None}, {"config": None}, {"executionId": 1}, {"more": 1},
        {"executionId": "00000000-0000-0000-0000-000000000000"}, {"jobName": None},
    ],
)  # fmt: skip
def test_the_check_of_the_known_handlers_refuses_what_they_refuse(broken: dict[str, Any]) -> None:
    content = json.loads(call_of(job()).body)
    assert refusals_of_email_service(content, str(EXECUTION)) == []
    assert refusals_of_email_service({**content, **broken}, str(EXECUTION)) != []


async def test_a_call_proves_where_it_comes_from() -> None:
    secrets = {
        "REPORT_SERVICE_TOKEN": "token-of-report",
        "REPORT_SERVICE_HMAC_KEY": "key-of-report",
    }
    async with Handler() as handler:
        began = int(time.time())
        await calls_to(handler.url, **secrets).make(call_of(job()), lambda: None)
    sent = handler.only
    assert sent.headers["authorization"] == "Bearer token-of-report"
    stamp, _, proof = sent.headers["x-scheduler-signature"].partition(",v1=")
    at = stamp.removeprefix("t=")
    assert began <= int(at) <= time.time()
    signed = f"{at}.".encode() + sent.body
    assert proof == hmac.new(b"key-of-report", signed, hashlib.sha256).hexdigest()


async def test_another_services_secrets_are_not_sent() -> None:
    async with Handler() as handler:
        environment = {"EMAIL_SERVICE_TOKEN": "another-secret", "SERVICE_TOKEN": "opens-our-api"}
        await calls_to(handler.url, **environment).make(call_of(job()), lambda: None)
    assert b"another-secret" not in handler.only.received
    assert b"opens-our-api" not in handler.only.received


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        ("/a?b=c&d=%2B+x", "/a?b=c&d=%2B+x"),
        ("/A%41/~b;c=1/@d:8", "/A%41/~b;c=1/@d:8"),
        ("/ü é", "/%C3%BC%20%C3%A9"),
        ("//evil.example/x", "//evil.example/x"),
        ("/?url=http://evil.example/../x", "/?url=http://evil.example/../x"),
        ("/100%", "/100%"),
        ('/"<>{}|', "/%22%3C%3E%7B%7D%7C"),
    ],
)
async def test_an_endpoint_is_called_as_it_was_registered(endpoint: str, target: str) -> None:
    async with Handler() as handler:
        assert (await end_of(handler.url, endpoint=endpoint)).is_completed
    assert handler.only.request_line == f"POST {target} HTTP/1.1"
    assert handler.only.headers["host"] == handler.url.removeprefix("http://")


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Handler() as proxy, Handler() as handler:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert (await end_of(handler.url)).is_completed
    assert (len(proxy.connections), handler.calls) == (0, 1)


async def test_each_run_has_a_connection_of_its_own_and_leaves_none_open() -> None:
    async with Handler(sends(reply(SUCCESS, "Connection: keep-alive"), stays=True)) as handler:  # fmt: skip
        for _ in range(3):
            assert (await end_of(handler.url)).is_completed
        for connection in handler.connections:
            await asyncio.wait_for(connection.closed.wait(), 30)
        assert (len(handler.connections), handler.calls) == (3, 3)


async def test_a_service_without_a_url_is_not_called() -> None:
    async with Handler() as handler:
        error = await error_of(handler.url, service="reports-service")
        assert error == (
            "not called: 'reports-service' has no URL here - did you mean 'report-service'? "
            "Else set REPORTS_SERVICE_URL, or name it in JOBS_SERVICES"
        )
        assert handler.connections == []


# --- it may have been received -------------------------------------------------------------------------------------

ACTIVITY_MARGIN_SECONDS = 15
"""So much longer than the call the activity around it may take: then Temporal ends it."""
AFTER_HEAD_OR_EARLIER: dict[str, Behaviour] = {
    "closes at once": closes_at_once,
    "resets at once": resets_at_once,
    "closes after the headers": closes_after_head,
    "resets after the headers": resets_after_head,
}
AFTER_REQUEST: dict[str, tuple[Behaviour, str]] = {
    "closes after the request": (closes_after_request, BROKE),
    "resets after the request": (resets_after_request, BROKE),
    "closes in mid-headers": (breaks_in_mid_answer(OK + b"Content-", resets=False), BROKE),
    "resets in mid-headers": (breaks_in_mid_answer(OK + b"Content-", resets=True), BROKE),
    "closes in mid-answer": (breaks_in_mid_answer(PARTLY, resets=False), BROKE),
    "resets in mid-answer": (breaks_in_mid_answer(PARTLY, resets=True), BROKE),
    "closes in mid-chunk": (breaks_in_mid_answer(CHUNKED + b"40\r\n{", resets=False), BROKE),
    "closes before the last chunk": (
        breaks_in_mid_answer(CHUNKED + b"2\r\n{}\r\n", resets=False),
        BROKE,
    ),
    "a chunk of no length": (sends(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"), NOT_HTTP),
    "speaks SSH": (sends(b"SSH-2.0-OpenSSH_9.6\r\n"), NOT_HTTP),
    "speaks TLS": (sends(b"\x15\x03\x01\x00\x02\x02\x46"), NOT_HTTP),
    "one long header": (sends_for_ever(OK + b"X: ", b"a" * 65_536), NOT_HTTP),
    "headers for ever": (sends_for_ever(OK, b"X-Again: a\r\n" * 1_000), NOT_HTTP),
    "two lengths": (sends(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), NOT_HTTP),
    "a negative length": (sends(OK + b"Content-Length: -2\r\n\r\n{}"), NOT_HTTP),
    "a length beyond everything": (
        sends(OK + b"Content-Length: 99999999999999999999999\r\n\r\n{}"),
        NOT_HTTP,
    ),
}


@pytest.mark.parametrize("name", AFTER_HEAD_OR_EARLIER)
async def test_a_connection_that_breaks_once_it_stood_is_not_called_again(name: str) -> None:
    async with Handler(AFTER_HEAD_OR_EARLIER[name]) as handler:
        assert await error_of(handler.url) == BROKE
        assert len(handler.connections) == 1


@pytest.mark.parametrize("name", AFTER_REQUEST)
async def test_a_handler_that_got_the_call_is_not_called_again(name: str) -> None:
    behaviour, error = AFTER_REQUEST[name]
    async with Handler(behaviour) as handler:
        assert await error_of(handler.url) == error
        assert len(handler.connections) == 1
    assert handler.only.content["executionId"] == str(EXECUTION)


@pytest.mark.parametrize(
    "behaviour",
    [
        hangs,
        sends_for_ever(OK + b"Content-Length: 900000\r\n\r\n", b" ", every=0.1),
        sends_for_ever(OK, b"X: a\r\n", every=0.1),
        sends_for_ever(CHUNKED, b"1\r\n \r\n", every=0.1),
        sends_for_ever(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n", every=0.01),
        sends(OK + b"Content-Length: 100\r\n\r\n{", stays=True),
        sends(reply(SUCCESS)[:30], stays=True),
    ],
    ids=["hangs", "drips a body", "drips headers", "drips chunks", "never final", "stops in its body", "stops in its headers"],
)  # fmt: skip
async def test_a_handler_that_does_not_come_to_an_end_is_left_in_time(behaviour: Behaviour) -> None:
    began = time.monotonic()
    async with Handler(behaviour) as handler:
        assert await error_of(handler.url, 1) == "no answer within 1 s; the job may go on"
        assert 1 <= time.monotonic() - began < 1 + ACTIVITY_MARGIN_SECONDS
        await asyncio.wait_for(handler.only.closed.wait(), 30)
        assert len(handler.connections) == 1
    assert handler.only.content["jobName"] == "nightly-report"


async def test_a_slow_handler_is_waited_for() -> None:
    async def slow(connection: Any) -> None:
        await connection.read_request()
        await asyncio.sleep(1.5)
        await connection.send(reply(SUCCESS))

    async with Handler(slow) as handler:
        assert (await end_of(handler.url)).is_completed
        assert handler.calls == 1


# --- what is too much ----------------------------------------------------------------------------------------------

MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "behaviour",
    [
        sends_for_ever(OK + b"Content-Length: 1000000000\r\n\r\n", b" " * 65_536),
        sends_for_ever(OK + b"\r\n", b" " * 65_536),
        sends_for_ever(CHUNKED, b"10000\r\n" + b" " * 65_536 + b"\r\n"),
        sends_for_ever(CHUNKED, (b"10\r\n" + b" " * 16 + b"\r\n") * 1_000),
    ],
    ids=["a gigabyte", "no length", "chunks for ever", "small chunks for ever"],
)
async def test_an_answer_without_end_is_not_taken_into_memory(behaviour: Behaviour) -> None:
    async with Handler(behaviour) as handler:
        tracemalloc.start()
        try:
            assert await error_of(handler.url) == "the answer is larger than 1 MB"
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await asyncio.wait_for(handler.only.closed.wait(), 30)
        assert handler.calls == 1
    assert peak < 12 * MEGABYTE
    assert handler.only.sent < 100 * MEGABYTE


async def test_an_answer_of_a_megabyte_is_taken_and_one_byte_more_is_not() -> None:
    padded = SUCCESS + b" " * (MEGABYTE - len(SUCCESS))
    async with Handler(sends(reply(padded)), sends(reply(padded + b" "))) as handler:
        assert (await end_of(handler.url)).is_completed
        assert await error_of(handler.url) == "the answer is larger than 1 MB"


async def test_a_compressed_answer_is_never_blown_up() -> None:
    bomb = gzip.compress(b" " * 100 * MEGABYTE)
    async with Handler(sends(reply(bomb, "Content-Encoding: gzip"))) as handler:
        tracemalloc.start()
        try:
            error = await error_of(handler.url)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert error == "the answer is not JSON (application/json as gzip, 97 kB)"
    assert peak < 10 * MEGABYTE


async def test_a_large_call_that_is_answered_unread_ends_with_the_answer() -> None:
    config = {"text": "a" * 5 * MEGABYTE}
    unread = answers_unread(reply(b"", status="413 Payload Too Large"))
    async with Handler(unread) as handler:
        began = time.monotonic()
        assert await error_of(handler.url, config=config) == "HTTP 413: Payload Too Large"
        assert time.monotonic() - began < 30
        assert len(handler.connections) == 1


def damaged(by: random.Random) -> bytes:
    """Return an answer with a few bytes lost, changed or put in."""
    parts = [
        b"\r\n", b"\n", b":", b"\x00", b"\xff", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n", b"HTTP/1.1 ", b"0\r\n\r\n", b"Set-Cookie: \xff=\x01\r\n", b"Connection: keep-alive\r\n",
    ]  # fmt: skip
    chunked = CHUNKED + b'5\r\n{"a":\r\n2;x=1\r\n1}\r\n0\r\nX: y\r\n\r\n'
    answer = bytearray(by.choice([reply(SUCCESS, "X: y", "Location: http://[x"), chunked]))
    for _ in range(by.randint(1, 4)):
        at, length = by.randrange(len(answer)), by.randint(0, 9)
        answer[at : at + length] = by.choice([b"", by.choice(parts), by.randbytes(length)])
    return bytes(answer)


async def test_no_damaged_answer_raises_or_is_asked_for_twice() -> None:
    by = random.Random(7)
    async with Handler(*(sends(damaged(by)) for _ in range(300))) as handler:
        for _ in range(300):
            end = await end_of(handler.url)
            assert end.error is None or end.error.isprintable()
        assert (len(handler.connections), handler.calls) == (300, 300)


# --- statuses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("500 Internal Server Error", "HTTP 500: Internal Server Error"),
        ("404 Not Found", "HTTP 404: Not Found"),
        ("503 Service Unavailable", "HTTP 503: Service Unavailable"),
        ("401 Go\x07 \x9b away", "HTTP 401: Go away"),
        ("500 ", "HTTP 500: Internal Server Error"),
        ("599 ", "HTTP 599: a status without a name"),
        ("500 caf\xe9; its fate is unknown", "HTTP 500: caf ; its fate is unknown."),
    ],
)
async def test_a_status_of_failure_is_told_and_its_body_is_not_waited_for(
    status: str, error: str
) -> None:
    begun = reply(b" " * 500, status=status)[:-400]
    async with Handler(sends(begun, stays=True)) as handler:
        assert await error_of(handler.url) == error
        assert handler.calls == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_above_all_not_to_ourselves(status: int) -> None:
    async with Handler() as other:
        redirect = reply(b"", f"Location: {other.url}/", status=f"{status} Elsewhere")
        async with Handler(sends(redirect)) as handler:
            error = f"HTTP {status}: Elsewhere (redirects are not followed)"
            assert await error_of(handler.url) == error
            assert handler.calls == 1
        assert other.connections == []


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "299 Odd"])
async def test_every_status_of_success_is_one(status: str) -> None:
    async with Handler(answers(DONE, status)) as handler:
        assert (await end_of(handler.url)).is_completed


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.0 200 OK\r\n\r\n" + SUCCESS, OK + b"\r\n" + SUCCESS, CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SUCCESS), SUCCESS)],
    ids=["HTTP 1.0", "until it closes", "chunked"],
)  # fmt: skip
async def test_every_way_to_end_an_answer_is_understood(answer: bytes) -> None:
    async with Handler(sends(*(answer[at : at + 7] for at in range(0, len(answer), 7)))) as handler:
        assert (await end_of(handler.url)).result == {**DONE, "error": None, "metadata": {}}


async def test_an_answer_without_content_says_so() -> None:
    async with Handler(sends(b"HTTP/1.1 204 No Content\r\n\r\n", stays=True)) as handler:
        error = "the answer is not JSON (no content type, 0 bytes)"
        assert await error_of(handler.url) == error


async def test_a_page_is_no_answer() -> None:
    page = b"<!doctype html>" + b" " * 4_000
    async with Handler(sends(reply(page, kind="text/html; charset=utf-8"))) as handler:
        assert await error_of(handler.url) == "the answer is not JSON (text/html, 4 kB)"


# --- secrets -------------------------------------------------------------------------------------------------------


async def test_a_handler_that_repeats_our_secrets_brings_them_into_no_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = {"REPORT_SERVICE_TOKEN": 'repeated"token', "REPORT_SERVICE_HMAC_KEY": "repeated-key"}
    both = " and ".join(secrets.values())
    content = {
        "success": False, "error": f"bad token {both}", "metadata": {both: [both, {"a": both}], "n": 1},
    }  # fmt: skip
    async with Handler(
        answers(content), answers({}, f"500 {both}"), sends(reply(b"", kind=both)), resets_after_request
    ) as handler:  # fmt: skip
        calls = calls_to(handler.url, **secrets)
        ends = [await calls.make(call_of(job()), lambda: None) for _ in range(4)]
    told = json.dumps([end.model_dump(mode="json") for end in ends]) + caplog.text
    assert "repeated" not in told
    assert ends[0].error == "bad token [redacted] and [redacted]"
    assert ends[0].metadata is not None
    assert ends[0].metadata["n"] == 1
    assert ends[0].status is RunStatus.FAILED
