"""A job store that is locked and a Temporal that dies, is put back or is lost, below one worker with all roles of jobs.

Whatever happens: each run is called once, none is left running, counters equal rows, and slots add up.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from tests.jobs.job_system import NEVER, JobSystem, kill
from tests.support.freezing import freeze, thaw
from vaultmesh.domain.jobs.run import is_fate_unknown
from vaultmesh.domain.names import job_workflow_id, namespace_workflow_id

pytestmark = [pytest.mark.server, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(700)]
NAMESPACE = "dao:beside"
NAMESPACES = {NAMESPACE: {"cadence": {"fast": {"target": "rfc3161:tsa", "every": "1s"}}}}
"""Anchors each second beside the jobs; nothing is owed, so no authority is asked."""
LOCKED_SECONDS = 20.0
"""Longer than a run waits for the store at its begin and its end, and than `close_run` waits until its second attempt."""
AWAY_SECONDS = 13.0
"""Longer than a heartbeat may be missed: then Temporal gives a run up, as after any longer time."""
PUT_BACK_SECONDS = 12.0
TICK_SECONDS = 4
MOST_LATER = timedelta(seconds=0.5)
"""How much later than before anchors may be on a busy machine; whoever waited for the store would be 2 s late."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobSystem]:
    with JobSystem(tmp_path_factory.mktemp("losses"), namespaces=NAMESPACES) as running:
        running.start_worker()
        yield running


def called(system: JobSystem, name: str, calls: int = 1, seconds: float = 180) -> str:
    """Wait until a job was called so often; return the id of its newest run."""
    return system.wait(
        lambda: len(system.handler.of(name)) >= calls and system.handler.of(name)[-1],
        f"call {calls} of {name}",
        seconds,
    )


def called_again(system: JobSystem, name: str, more: int, seconds: float = 180) -> None:
    """Wait for so many more calls."""
    called(system, name, len(system.handler.of(name)) + more, seconds)


def test_a_registered_job_fires_on_time_and_its_books_agree(system: JobSystem) -> None:
    system.register("tick", f"*/{TICK_SECONDS} * * * * *")
    called(system, "tick", 5)
    lags = sorted(call["at"] % TICK_SECONDS for call in list(system.handler.calls))
    assert lags[len(lags) // 2] < 1.5
    system.settle("tick")
    system.assert_kept("tick", period=TICK_SECONDS)


# --- store ---------------------------------------------------------------------------------------------------------


def test_a_locked_store_delays_no_anchor_and_hears_of_every_run_later(system: JobSystem) -> None:
    names = ("locked", "locked-too")
    for name in names:
        system.register(name)
    called(system, "locked-too", 3)
    assert isinstance(system.books.place, Path)
    with closing(sqlite3.connect(system.books.place, isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        begun, calls = time.time(), len(system.handler.calls)
        time.sleep(LOCKED_SECONDS)
        ended = time.time()
        locker.execute("ROLLBACK")
    meanwhile = system.handler.calls[calls:]
    assert {call["jobName"] for call in meanwhile} == set(names)
    system.settle(*names)
    system.assert_kept(*names, period=1)
    lags = system.temporal_says(anchors_lags)
    before = [lag for at, lag in lags if begun - LOCKED_SECONDS < at < begun]
    during = [lag for at, lag in lags if begun + 1 < at < ended]
    assert len(during) > LOCKED_SECONDS / 2
    assert typical(during) - typical(before) < MOST_LATER


async def anchors_lags(client: Client) -> list[tuple[float, timedelta]]:
    """Return when each anchor was due, and how much later it was answered."""
    scheduled: dict[int, Any] = {}
    lags = []
    handle = client.get_workflow_handle(namespace_workflow_id(NAMESPACE))
    async for event in handle.fetch_history_events():
        at = event.event_time.ToDatetime()
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled[event.event_id] = event
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            ordered = scheduled[
                event.activity_task_completed_event_attributes.scheduled_event_id
            ].event_time.ToDatetime()
            due = ordered.replace(microsecond=0)  # each slot is a whole second
            lags.append((event.event_time.ToSeconds(), at - due))
    return lags


def typical(lags: list[timedelta]) -> timedelta:
    """Return the lag that nine of ten keep."""
    return sorted(lags)[len(lags) * 9 // 10]


def test_a_store_put_back_behind_its_workflows_is_heeded_again(system: JobSystem) -> None:
    """The harm: a workflow heeds the highest revision that it heard, and so none of an older copy's next ones."""
    system.register("behind", NEVER)
    for verb in ("disable", "enable", "disable", "enable"):
        assert system.ask("POST", f"/api/jobs/behind/{verb}", {})[0] == 200
    assert isinstance(system.books.place, Path)
    with closing(sqlite3.connect(system.books.place, isolation_level=None)) as older:
        older.execute("UPDATE job_decisions SET revision = 1, told = 1 WHERE job_name = 'behind'")
    assert system.ask("POST", "/api/jobs/behind/disable", {})[0] == 200
    view = system.wait(
        lambda: not (view := system.status("behind"))["enabled"] and view, "a disabled job"
    )
    assert view["revision"] == system.books.decisions("behind")["revision"] > 5


def between_slots(system: JobSystem, name: str, period: int) -> bool:
    """Whether a job rests in the middle of two slots: what passes during a run is skipped, and not missed."""
    in_the_middle = period / 4 < time.time() % period < period / 2
    return in_the_middle and system.status(name)["running"] is None


# --- Temporal ------------------------------------------------------------------------------------------------------


def test_a_temporal_that_is_away_in_the_middle_of_a_call_changes_neither_its_end_nor_its_number(
    system: JobSystem,
) -> None:
    """The call outlasts the outage. The harm: then its connection was broken, and its end was lost."""
    policy = {"catchUpSeconds": 1}
    system.register("away")
    system.register("away-long", "*/5 * * * * *", policy=policy)
    called(system, "away", 2)
    system.handler.shut("away")
    run = called(system, "away", len(system.handler.of("away")) + 1)
    system.wait(lambda: between_slots(system, "away-long", 5), "a moment in which nothing runs")
    kill(system.temporal)
    time.sleep(AWAY_SECONDS)
    assert len(system.handler.of("away")) == len(set(system.handler.of("away")))
    worker = system.workers[-1].pid
    freeze(worker)  # else its next heartbeat may come before Temporal looks
    try:
        system.temporal.start()
        system.wait(lambda: system.temporal_says(has_given_up), "Temporal to miss the heartbeats")
    finally:
        thaw(worker)
    row = system.wait(
        lambda: (row := system.books.run("away", run))["status"] == "failed" and row,
        "Temporal to give the run up",
    )
    assert is_fate_unknown(row["error_message"])
    system.handler.open("away")
    system.wait(
        lambda: system.books.run("away", run)["status"] == "completed", "the true end of the run"
    )
    called_again(system, "away", 3)
    system.settle("away", "away-long")
    system.assert_kept("away", period=1)
    system.assert_kept("away-long", period=5)
    assert system.books.decisions("away-long")["missed"] >= 1


async def has_given_up(client: Client) -> bool:
    """Whether Temporal waits no longer for the call of `away`."""
    description = await client.get_workflow_handle(job_workflow_id("away")).describe()
    return not description.raw_description.pending_activities


def test_a_database_of_temporal_put_back_calls_no_slot_again_and_hears_what_it_forgot(
    system: JobSystem,
) -> None:
    """The harm: slots counted twice; a job enabled or changed meanwhile never fired, or by its former expression."""
    names = ("back", "back-in-call", "back-enabled", "back-changed")
    system.register("back")
    system.register("back-in-call")
    system.register("back-enabled", enabled=False)
    system.register("back-changed", NEVER)
    called(system, "back", 2)
    copy = system.temporal.copy_database(system.folder / "copy.db")
    began = time.monotonic()
    assert system.ask("POST", "/api/jobs/back-enabled/enable", {})[0] == 200
    cron = {"cronExpression": "* * * * * *"}
    assert system.ask("PUT", "/api/jobs/back-changed/cron", cron)[0] == 200
    called(system, "back-changed", 2)
    called(system, "back-enabled", 2)
    system.handler.shut("back-in-call")
    run = called(system, "back-in-call", len(system.handler.of("back-in-call")) + 1)
    time.sleep(max(0.0, PUT_BACK_SECONDS - (time.monotonic() - began)))
    system.replace_database(copy)
    for name in names[0], *names[2:]:
        called_again(system, name, 3)
    system.handler.open("back-in-call")
    system.wait(
        lambda: system.books.run("back-in-call", run)["status"] == "completed", "the end of the run"
    )
    called_again(system, "back-in-call", 2)
    system.settle(*names)
    system.assert_kept("back", "back-in-call", period=1)
    system.assert_kept(*names[2:])
    for name in names:
        view, row = system.status(name), system.books.schedule(name)
        assert (view["cron"], view["enabled"]) == (row["cron_expression"], row["enabled"])
        assert view["revision"] == system.books.decisions(name)["revision"]


def test_a_lost_database_of_temporal_brings_every_job_back_and_calls_no_slot_again(
    system: JobSystem,
) -> None:
    """With its worker alive, and one call under way."""
    system.register("lost")
    system.register("lost-in-call")
    called(system, "lost", 3)
    called(system, "lost-in-call", 2)
    system.handler.shut("lost-in-call")
    run = called(system, "lost-in-call", len(system.handler.of("lost-in-call")) + 1)
    system.replace_database()
    called_again(system, "lost", 3, 120)
    system.handler.open("lost-in-call")
    system.wait(
        lambda: system.books.run("lost-in-call", run)["status"] == "completed", "the end of the run"
    )
    called_again(system, "lost-in-call", 2)
    system.settle("lost", "lost-in-call")
    system.assert_kept("lost", "lost-in-call", period=1)
    assert system.temporal_says(runs_of_lost) == 1


async def runs_of_lost(client: Client) -> int:
    """Return how many workflows of the job there are on the new server."""
    query = f"WorkflowId = '{job_workflow_id('lost')}'"
    return (await client.count_workflows(query)).count
