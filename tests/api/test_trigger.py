"""A trigger answers when its run ends, or in time to say that it still runs; whatever happens, it makes one run at most."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import aiohttp
import pytest

from tests.api.running import ADMIN, JOB, RunningApi, running
from vaultmesh.api.calls import Parts
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.storage.job_store import JobStore

NAME = JOB["name"]
TRIGGER = f"/api/jobs/{NAME}/trigger"


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[RunningApi]:
    """Run an API whose triggers wait half a second."""
    async with running(tmp_path, parts={"trigger_wait_seconds": 0.5}) as started:
        await started.register()
        yield started


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[RunningApi]:
    """Run an API whose triggers wait for a run's end also on a busy machine."""
    async with running(tmp_path, parts={"trigger_wait_seconds": 20.0}) as started:
        await started.register()
        yield started


def ends(api: RunningApi, **end: Any) -> None:
    """Have each run end this way."""

    async def make(_: str, run: UUID, __: str | None) -> None:
        await api.made(run, **end)

    api.workflows.make = make


@pytest.mark.parametrize(
    ("end", "result"),
    [
        ({"items_processed": 3, "items_succeeded": 2, "items_failed": 1, "metadata": {"a": 1}},
         {"success": True, "itemsProcessed": 3, "itemsSucceeded": 2, "itemsFailed": 1, "error": None, "metadata": {"a": 1}}),
        ({}, {"success": True, "error": None, "metadata": {}}),
        ({"status": RunStatus.FAILED, "items_processed": 0, "items_succeeded": 0, "items_failed": 0, "error_message": "HTTP 500: no"},
         {"success": False, "itemsProcessed": 0, "itemsSucceeded": 0, "itemsFailed": 0, "error": "HTTP 500: no", "metadata": {}}),
    ],
)  # fmt: skip
async def test_a_trigger_answers_200_with_how_the_run_ended(
    end: dict[str, Any], result: dict[str, Any], patient: RunningApi
) -> None:
    ends(patient, **end)
    answer = await patient.ask("POST", TRIGGER, {})
    assert answer.status == 200
    counted = ("itemsProcessed", "itemsSucceeded", "itemsFailed")
    shown = {
        key: value
        for key, value in answer.json["result"].items()
        if key in result or key not in counted or value
    }
    assert answer.json == {
        "message": f"Job {NAME} triggered successfully",
        "result": answer.json["result"],
    }
    assert shown == result


async def test_a_long_run_is_answered_before_the_proxy_gives_up_and_goes_on(
    hasty: RunningApi,
) -> None:
    ends(hasty, ended=False)
    answer = await hasty.ask("POST", TRIGGER, {})
    run = hasty.workflows.calls[-1][2]
    assert answer.status == 200
    assert answer.json["message"] == f"Job {NAME} triggered successfully; it still runs"
    assert answer.json["result"]["metadata"] == {"status": "running", "executionId": str(run)}
    assert (await hasty.ask("GET", f"/api/jobs/{NAME}/runs/{run}")).json["status"] == "running"


async def test_a_run_that_ends_while_somebody_waits_is_answered_at_once(api: RunningApi) -> None:
    await api.register()
    tasks = []

    async def make(_: str, run: UUID, __: str | None) -> None:
        async def later() -> None:
            await asyncio.sleep(0.3)
            await api.made(run, items_processed=1)

        tasks.append(asyncio.create_task(later()))

    api.workflows.make = make
    async with asyncio.timeout(15):  # it would wait for 25 s
        answer = await api.ask("POST", TRIGGER, {})
    assert answer.json["result"]["itemsProcessed"] == 1
    await asyncio.gather(*tasks)


async def test_a_trigger_while_a_run_is_under_way_is_409(hasty: RunningApi) -> None:
    hasty.workflows.busy = True
    answer = await hasty.ask("POST", TRIGGER, {})
    assert (answer.status, answer.json["error"]) == (409, "Job is already running")
    assert [line.action for line in await hasty.store.audit(NAME)].count("trigger") == 0


async def test_a_trigger_that_temporal_does_not_hear_fails_and_says_so(hasty: RunningApi) -> None:
    hasty.workflows.away = True
    answer = await hasty.ask("POST", TRIGGER, {})
    assert (answer.status, answer.json["error"]) == (500, "Failed to trigger job")
    assert "Temporal" in answer.json["message"]


async def test_a_disabled_job_may_be_triggered(hasty: RunningApi) -> None:
    await hasty.ask("POST", f"/api/jobs/{NAME}/disable")
    ends(hasty)
    assert (await hasty.ask("POST", TRIGGER, {})).json["result"]["success"] is True


async def test_the_handler_gets_the_user_that_the_page_names_and_the_audit_has_it_as_claimed(
    hasty: RunningApi,
) -> None:
    ends(hasty)
    await hasty.ask("POST", TRIGGER, {"userId": "user_2abc"})
    await hasty.ask("POST", TRIGGER, {})
    (_, _, first, user), (_, _, second, nobody) = hasty.workflows.calls[-2:]
    assert (user, nobody) == ("user_2abc", None)
    lines = [line for line in await hasty.store.audit(NAME) if line.action == "trigger"]
    assert [(line.execution_id, line.actor, line.claimed_user) for line in lines] == [
        (second, "admin token", None), (first, "admin token", "user_2abc"),
    ]  # fmt: skip


async def test_a_client_that_leaves_makes_no_second_run_and_keeps_no_handler_busy(
    api: RunningApi,
) -> None:
    await api.register()
    timeout = aiohttp.ClientTimeout(total=1)
    with pytest.raises(TimeoutError):
        async with api.session.post(api.url + TRIGGER, json={}, headers=ADMIN, timeout=timeout):
            pass
    assert [call[0] for call in api.workflows.calls].count("trigger") == 1
    async with asyncio.timeout(8):  # shorter than the 10 s that a handler under way would get
        await api.server.stop()


async def test_a_stop_answers_those_who_wait_that_their_run_goes_on(api: RunningApi) -> None:
    await api.register()
    asking = asyncio.create_task(api.ask("POST", TRIGGER, {}))
    async with asyncio.timeout(15):
        await api.workflows.asked.wait()
        await api.server.stop()
        answer = await asking
    assert (answer.status, answer.json["result"]["metadata"]["status"]) == (200, "running")


async def test_a_store_that_hangs_keeps_nobody_waiting_longer(hasty: RunningApi) -> None:
    class Hanging:
        """The store, but for looks at runs and audit: those never end."""

        def __getattr__(self, name: str) -> Any:
            return getattr(hasty.store, name)

        async def run(self, *_: Any) -> None:
            await asyncio.Event().wait()

        async def note(self, *_: Any) -> None:
            await asyncio.Event().wait()

    hasty.parts.store = cast("JobStore", Hanging())
    async with asyncio.timeout(20):
        answer = await hasty.ask("POST", TRIGGER, {})
    assert (answer.status, answer.json["result"]["metadata"]["status"]) == (200, "running")


def test_a_trigger_is_answered_before_proxies_give_up() -> None:
    (wait,) = [field.default for field in fields(Parts) if field.name == "trigger_wait_seconds"]
    assert wait == 25
