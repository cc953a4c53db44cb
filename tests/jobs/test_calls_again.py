"""Calls that are made again, that wait, and that are cancelled."""

import asyncio
import logging
import time
from itertools import pairwise
from typing import Any

import pytest

from devnet.ports import LOOPBACK, free_port
from tests.jobs.calls import (
    BROKE,
    SUCCESS,
    WAITS,
    call_of,
    calls_to,
    end_of,
    error_of,
    job,
    until,
)
from tests.simulators.handlers import (
    DONE,
    Behaviour,
    Handler,
    answers,
    closes_after_request,
    closes_at_once,
    hangs,
    reply,
    resets_after_request,
    sends,
)

# --- jobs that can take the same call twice ------------------------------------------------------------------------

TWICE = {"idempotent": True, "maxAttempts": 2}


async def test_an_idempotent_job_is_called_again_with_the_same_id() -> None:
    async with Handler(resets_after_request, closes_at_once, answers(DONE)) as handler:
        end = await end_of(handler.url, policy={"idempotent": True, "maxAttempts": 5})
        assert end.is_completed
        assert (len(handler.connections), handler.calls) == (3, 2)
    first, _, last = handler.connections
    assert first.body == last.body
    assert first.headers["x-scheduler-execution-id"] == last.headers["x-scheduler-execution-id"]


async def test_a_cookie_of_a_first_attempt_is_not_sent_with_the_next_one() -> None:
    first = sends(reply(b"", "Set-Cookie: a=b; Path=/", status="503 Busy"))
    async with Handler(first, answers(DONE)) as handler:
        url = handler.url.replace(LOOPBACK, "localhost")
        assert (await end_of(url, policy=TWICE)).is_completed
    assert b"ookie" not in handler.connections[1].received


async def test_an_idempotent_job_is_called_as_often_as_it_says_and_not_more() -> None:
    async with Handler(closes_after_request) as handler:
        assert await error_of(handler.url, policy=TWICE) == BROKE
        assert handler.calls == 2


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "504 Slow"])
async def test_an_idempotent_job_is_called_again_where_a_gateway_answered(status: str) -> None:
    async with Handler(answers({}, status), answers(DONE)) as handler:
        assert (await end_of(handler.url, policy=TWICE)).is_completed
        assert handler.calls == 2


@pytest.mark.parametrize(
    "behaviour",
    [answers({}, "500 Internal Server Error"), answers({"success": False}), sends(reply(b"no"))],
    ids=["500", "no success", "not JSON"],
)
async def test_an_idempotent_job_that_answered_is_not_called_again(behaviour: Behaviour) -> None:
    async with Handler(behaviour) as handler:
        assert not (await end_of(handler.url, policy=TWICE)).is_completed
        assert handler.calls == 1


async def test_a_job_that_is_not_idempotent_is_called_once_whatever_its_attempts() -> None:
    async with Handler(closes_after_request) as handler:
        assert await error_of(handler.url, policy={"maxAttempts": 9}) == BROKE
        assert handler.calls == 1


async def test_a_call_that_may_have_been_received_is_never_said_not_to_be_called() -> None:
    async def breaks_and_is_gone(connection: Any) -> None:
        await connection.read_request()
        handler.stop_listening()
        connection.reset()

    async with Handler(breaks_and_is_gone) as handler:
        assert await error_of(handler.url, 3, policy=TWICE) == BROKE
        assert handler.calls == 1


async def test_an_attempt_that_found_no_connection_is_none_of_those_that_may_have_been_received(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    async def breaks_and_is_gone(connection: Any) -> None:
        await connection.read_request()
        handler.stop_listening()
        connection.reset()

    async with Handler(breaks_and_is_gone, port=free_port()) as handler:
        running = asyncio.create_task(end_of(handler.url, policy=TWICE))
        await until(lambda: caplog.messages.count(WAITS) == 2)
        async with Handler(port=handler.port) as restarted:
            assert (await running).is_completed
            assert (handler.calls, restarted.calls) == (1, 1)


async def test_all_attempts_together_end_with_the_time_out() -> None:
    async with Handler(closes_after_request, hangs) as handler:
        began = time.monotonic()
        error = await error_of(handler.url, 2, policy={"idempotent": True, "maxAttempts": 9})
        assert error == "no answer within 2 s; the job may go on"
        assert time.monotonic() - began >= 2
        assert handler.calls == 2


# --- waiting -------------------------------------------------------------------------------------------------------


async def test_a_call_that_is_answered_at_once_costs_the_server_no_beat() -> None:
    beats: list[float] = []
    async with Handler(answers(DONE)) as handler:
        end = await calls_to(handler.url).make(call_of(job()), lambda: beats.append(0.0))
    assert end.is_completed
    assert beats == []


async def test_it_beats_while_it_waits_and_not_afterwards() -> None:
    beats: list[float] = []

    async def waits(connection: Any) -> None:
        await connection.read_request()
        await until(lambda: len(beats) >= 3)
        await connection.send(reply(SUCCESS))

    async with Handler(waits) as handler:
        call = call_of(job())
        end = await calls_to(handler.url).make(call, lambda: beats.append(time.monotonic()))
    assert end.is_completed
    assert all(1.9 <= later - earlier < 10 for earlier, later in pairwise(beats))
    count = len(beats)
    await asyncio.sleep(2.5)
    assert len(beats) == count


async def test_a_cancelled_call_ends_at_once_and_closes_its_connection() -> None:
    async with Handler(hangs) as handler:
        running = asyncio.create_task(end_of(handler.url))
        await until(lambda: handler.calls > 0)
        began = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert time.monotonic() - began < 5
        await asyncio.wait_for(handler.only.closed.wait(), 30)


async def test_a_call_is_cancelled_while_it_waits_to_be_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    running = asyncio.create_task(end_of(f"http://{LOOPBACK}:{free_port()}"))
    await until(lambda: WAITS in caplog.messages)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_hundred_calls_wait_side_by_side() -> None:
    begun = 0

    async def waits_for_all(connection: Any) -> None:
        nonlocal begun
        await connection.read_request()
        begun += 1
        await until(lambda: begun == 150)
        await connection.send(reply(SUCCESS))

    async with Handler(waits_for_all) as handler:
        calls = calls_to(handler.url)
        ends = await asyncio.gather(*(calls.make(call_of(job()), lambda: None) for _ in range(150)))
        assert all(end.is_completed for end in ends)
        assert handler.calls == 150
