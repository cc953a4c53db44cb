"""Errors that nobody foresaw, of tasks beside the workers: they end no worker, and operators see them."""

import asyncio
import logging
from typing import cast

import pytest
from temporalio.client import Client
from typing_extensions import override

from vaultmesh.process import unforeseen
from vaultmesh.process.connection import Connection
from vaultmesh.process.health import health
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.unforeseen import Unforeseen, end_all
from vaultmesh.process.visibility import Snapshot

NOW = 1_768_471_205.0


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def errors(metrics: Metrics) -> Unforeseen:
    return Unforeseen(metrics)


class Failing:
    """A task that fails some times, and then ends."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)

    async def run(self) -> None:
        """Fail as planned."""
        if self.failures:
            raise self.failures.pop(0)


async def test_a_task_that_fails_is_begun_anew_and_its_error_logged_with_its_traceback_and_counted(
    errors: Unforeseen,
    metrics: Metrics,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(unforeseen, "SHORTEST_REST_SECONDS", 0.01)
    task = Failing(KeyError("weird"), TypeError("and again"))
    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(30):
            await errors.keep("probing", task.run)
    assert errors.shown() == {"probing": "TypeError: and again"}
    assert b'scheduler_task_errors_total{task="probing"} 2.0' in metrics.page()
    lines = [record for record in caplog.records if record.exc_info]
    assert [record.exc_info and record.exc_info[0] for record in lines] == [KeyError, TypeError]


async def test_a_task_that_fails_for_ever_rests_longer_each_time_and_ends_when_it_is_cancelled(
    errors: Unforeseen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unforeseen, "SHORTEST_REST_SECONDS", 0.05)
    failing = Failing(*(LookupError() for _ in range(1_000)))
    keeping = asyncio.create_task(errors.keep("visibility", failing.run))
    await asyncio.sleep(1)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    assert len(failing.failures) > 1_000 - 7


def test_an_error_degrades_health_until_it_did_not_come_back_for_a_while(
    errors: Unforeseen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def document() -> dict[str, object]:
        shown = errors.shown()
        return dict(health(Snapshot(NOW), started=NOW - 9, now=NOW, errors=shown))

    assert (document()["status"], "errors" in document()) == ("healthy", False)
    errors.note("probing", TypeError("a\nb"), "eip155:1")
    assert document()["status"] == "degraded"
    assert document()["errors"] == {"probing eip155:1": "TypeError: a b"}
    monkeypatch.setattr(unforeseen, "SHOWN_SECONDS", 0.0)
    assert (document()["status"], "errors" in document()) == ("healthy", False)


async def test_what_failed_in_a_group_of_tasks_is_shown_and_not_that_there_was_a_group(
    errors: Unforeseen,
) -> None:
    errors.note("probing", ExceptionGroup("unhandled", [ExceptionGroup("in it", [KeyError("a")])]))
    assert errors.shown() == {"probing": "KeyError: 'a'"}


async def test_a_watch_of_the_connection_that_fails_leaves_none_behind_when_it_is_begun_anew() -> (
    None
):
    """The harm: each failure left a call of several seconds behind, for ever repeated, until the server had thousands."""
    waits: list[str] = []

    class Weird(Connection):
        """A watch of which one half fails at once."""

        @override
        async def ask(self) -> None:
            """Fail."""
            await asyncio.sleep(0)
            message = "an answer of another version"
            raise LookupError(message)

        @override
        async def wait(self) -> None:
            """Wait as long as the test goes on."""
            waits.append("begun")
            try:
                await asyncio.sleep(60)
            finally:
                waits.append("ended")

    watch = Weird(cast("Client", None))
    for _ in range(2):
        with pytest.raises(ExceptionGroup):
            await watch.run()
    assert waits == ["begun", "ended"] * 2


class Deaf:
    """A task that takes its first cancellations for something else, and goes on."""

    def __init__(self, cancellations: int) -> None:
        self.left = cancellations
        self.ended = False

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                self.left -= 1
                if self.left < 0:
                    self.ended = True
                    raise


async def test_a_task_that_takes_a_cancellation_for_something_else_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unforeseen, "TOLD_AGAIN_SECONDS", 0.01)
    deaf = [Deaf(0), Deaf(1), Deaf(3)]
    tasks = [asyncio.create_task(each.run()) for each in deaf]
    await asyncio.sleep(0)
    await end_all(tasks)
    assert [each.ended for each in deaf] == [True, True, True]
    assert caplog.records == []


async def test_a_task_that_never_ends_keeps_no_worker_from_draining_and_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unforeseen, "TOLD_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(unforeseen, "ENDED_WITHIN_SECONDS", 0.1)
    deaf = Deaf(10_000)
    task = asyncio.create_task(deaf.run(), name="reconciler")
    await asyncio.sleep(0)
    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(10):
            await end_all([task])
    assert [record.__dict__["tasks"] for record in caplog.records] == [["reconciler"]]
    deaf.left = 0
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
