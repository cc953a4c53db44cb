"""One attempt at a maintenance task's run: what it leaves in the row, and when it asks for another attempt instead."""

import asyncio
import dataclasses
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.maintenance.run_task import AGAIN_AFTER, TaskRuns
from vaultmesh.domain.jobs.messages import JobKind, JobSpec, RunEnd, RunOrder
from vaultmesh.domain.jobs.records import Actor, RunRecord
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy
from vaultmesh.domain.maintenance.config import MaintenanceConfig, NamedTask, parse_maintenance
from vaultmesh.domain.maintenance.outcomes import Beat, Outcome, Reason, StepResult, TaskResult
from vaultmesh.domain.paths import JOBS_DATABASE
from vaultmesh.postgres.connection import Database, Order
from vaultmesh.storage.job_store import JobStore

JOB = "maintenance:tidy"
SLOT = datetime(2026, 3, 2, 12, tzinfo=UTC)
CONFIG = parse_maintenance(
    {
        "database": "postgresql://u:hush@db/shop",
        "tasks": {"tidy": {"kind": "vacuum", "tables": "all", "deadline": "30s", "lockedRuns": 2}},
    }
)
ADMIN = Actor(name="operator")
CANCELLED_BY_SOMEBODY = ActivityCancellationDetails(cancel_requested=True)


class Bench:
    """A store, a file, and a database that does as planned."""

    def __init__(self, store: JobStore, root: Path) -> None:
        self.store = store
        self.config: MaintenanceConfig | None = CONFIG
        self.outcome, self.reason = Outcome.DONE, None
        self.waits = False
        self.why_not_sealed = ""
        self.begun = asyncio.Event()
        self.file = root / JOBS_DATABASE
        self.asked: list[tuple[NamedTask, Order]] = []
        self.counted: list[tuple[str, RunEnd]] = []
        self.beats: list[dict[str, object]] = []
        self.runs = TaskRuns(
            store,
            lambda: self.config,
            root,
            lambda job, end: self.counted.append((job, end)),
            self._run_once,
            seal=self._seal,
        )
        self.order = RunOrder(
            spec=JobSpec(
                name=JOB,
                kind=JobKind.MAINTENANCE,
                cron="* * * * *",
                config={"kind": "vacuum"},
                timeout_seconds=60,
                attempts=3,
            ),
            run_id=str(uuid.uuid4()),
            slot=SLOT,
            began=SLOT + timedelta(seconds=1),
        )

    async def _run_once(
        self, database: Database, named: NamedTask, order: Order, beat: Beat
    ) -> TaskResult:
        assert database.url.get_secret_value().endswith("/shop")
        self.asked.append((named, order))
        beat("public.goods: for 0 s")
        self.begun.set()
        outcome, reason = self.outcome, self.reason
        if self.waits:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:  # as the real one does
                outcome = Outcome.CANCELLED
        return TaskResult(
            task=named.name, kind="vacuum", run=order.run, outcome=outcome, reason=reason
        )

    def _seal(self, named: NamedTask, result: TaskResult, now: int) -> TaskResult:
        assert (named.name, result.task) == ("tidy", "tidy")
        assert abs(now - datetime.now(UTC).timestamp()) < 3_600
        if not self.why_not_sealed:
            return result
        step = StepResult(subject="archive", outcome=Outcome.FAILED, detail=self.why_not_sealed)
        return result.model_copy(update={"outcome": Outcome.FAILED, "steps": (step,)})

    async def attempt(
        self,
        number: int = 1,
        *,
        cancelled: ActivityCancellationDetails | None = None,
        details: object = None,
    ) -> RunEnd:
        """Make an attempt; with `cancelled` it is cut off as soon as the database works."""
        env = ActivityEnvironment()
        env.info = dataclasses.replace(
            env.info, attempt=number, heartbeat_details=[] if details is None else [details]
        )
        env.on_heartbeat = self.beats.append
        if cancelled is None:
            end: RunEnd = await env.run(self.runs.run_task, self.order)
            return end
        self.waits = True
        self.begun.clear()
        running = asyncio.ensure_future(env.run(self.runs.run_task, self.order))
        await self.begun.wait()
        env.cancel(cancellation_details=cancelled)
        cut_off: RunEnd = await running
        return cut_off

    async def row(self) -> RunRecord | None:
        return await self.store.run(JOB, uuid.UUID(self.order.run_id))

    async def status(self) -> str:
        row = await self.row()
        return "none" if row is None else row.status

    async def left_open(self, seconds_ago: float = 5) -> datetime:
        """Leave the row of an attempt that died; return when that began."""
        with pytest.raises(ApplicationError):
            await self.attempt(
                cancelled=ActivityCancellationDetails(worker_shutdown=True),
            )
        self.waits = False
        began = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        with closing(sqlite3.connect(self.file)) as file, file:
            change = "UPDATE scheduled_jobs SET started_at = ? WHERE id = ?"
            file.execute(change, (began.isoformat(), self.order.run_id))
        self.asked.clear()
        return began


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = await JobStore.open(None, tmp_path)
    yield Bench(store, tmp_path)
    await store.close()


async def test_a_run_opens_and_closes_its_row_once_and_is_counted_once(bench: Bench) -> None:
    end = await bench.attempt()
    row = await bench.row()
    assert row is not None
    assert (row.status, row.error_message, row.triggered_by) == ("completed", None, "scheduler")
    assert isinstance(row.metadata, dict)
    assert (row.metadata["outcome"], row.metadata["attempts"]) == ("done", 1)
    assert (end.status, end.outcome, end.is_written) == (RunStatus.COMPLETED, "done", True)
    ((_, asked),) = bench.asked
    assert (asked.run, asked.now) == (bench.order.run_id, SLOT)
    assert [job for job, _ in bench.counted] == [JOB]
    assert bench.beats[0]["attempt"] == 1
    again = await bench.attempt(2)  # its answer was lost on the way to Temporal
    assert (again.status, again.is_written, len(bench.asked)) == (RunStatus.COMPLETED, True, 1)
    assert again.outcome == "done"
    assert len(bench.counted) == 1


async def test_an_attempt_goes_on_with_the_row_and_the_deadline_of_the_one_that_died(
    bench: Bench,
) -> None:
    began = await bench.left_open(seconds_ago=40)
    assert await bench.status() == "running"
    end = await bench.attempt(2)
    assert end.started_at == began
    ((named, _),) = bench.asked
    assert timedelta(seconds=10) < named.task.deadline <= timedelta(seconds=20)
    row = await bench.row()
    assert row is not None
    assert row.duration_ms is not None
    assert row.duration_ms >= 40_000


async def test_an_attempt_after_the_deadline_sends_nothing_and_says_so(bench: Bench) -> None:
    await bench.left_open(seconds_ago=61)
    end = await bench.attempt(2)
    assert bench.asked == []
    assert end.error == "timed out: its deadline, 60s, passed before attempt 2"


async def test_a_first_attempt_that_meets_a_row_makes_the_run_no_second_time(bench: Bench) -> None:
    """A workflow that was reset asks for a slot again."""
    await bench.left_open()
    end = await bench.attempt(1)
    assert (end.is_dropped, bench.asked) == (True, [])
    assert await bench.status() == "running"


async def test_a_slot_of_a_task_that_was_paused_meanwhile_is_skipped_and_a_trigger_is_not(
    bench: Bench,
) -> None:
    await bench.store.pause(JOB, "a migration", ADMIN, SLOT)
    end = await bench.attempt()
    assert (end.is_dropped, end.is_skipped, bench.asked) == (True, True, [])
    bench.order = bench.order.model_copy(update={"slot": None, "triggered_by": TriggeredBy.MANUAL})
    assert (await bench.attempt()).status is RunStatus.COMPLETED
    ((_, asked),) = bench.asked
    assert asked.now == bench.order.began


async def test_a_worker_whose_file_does_not_name_the_task_leaves_it_to_another(
    bench: Bench,
) -> None:
    bench.config = None
    with pytest.raises(ApplicationError, match=r"attempt 1 of 3: maintenance.yaml of the worker"):
        await bench.attempt(1)
    assert await bench.status() == "running"
    end = await bench.attempt(3)
    assert end.error == (
        "failed: maintenance.yaml of the worker that took the run does not name it"
    )


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [(Outcome.FAILED, Reason.CONNECTION)],
)
async def test_a_database_that_is_away_is_tried_again_later_while_there_is_time(
    bench: Bench, outcome: Outcome, reason: Reason
) -> None:
    bench.outcome, bench.reason = outcome, reason
    for number in (1, 2):
        with pytest.raises(ApplicationError) as again:
            await bench.attempt(number)
        assert again.value.next_retry_delay == AGAIN_AFTER
        assert not again.value.non_retryable
    end = await bench.attempt(3)
    assert (end.status, end.error) == (RunStatus.FAILED, "failed")
    bench.order = bench.order.model_copy(
        update={
            "run_id": str(uuid.uuid4()),
            "spec": bench.order.spec.model_copy(update={"timeout_seconds": 5}),
        }
    )
    assert (await bench.attempt(1)).status is RunStatus.FAILED  # no time is left


@pytest.mark.parametrize("outcome", [Outcome.DENIED, Outcome.TIMED_OUT, Outcome.FAILED])
async def test_what_another_attempt_would_not_mend_ends_the_run(
    bench: Bench, outcome: Outcome
) -> None:
    bench.outcome, bench.reason = outcome, Reason.SQL
    end = await bench.attempt(1)
    assert (end.status, end.error) == (RunStatus.FAILED, str(outcome))
    assert await bench.status() == "failed"


async def test_a_lock_of_an_attempt_before_is_waited_for_and_one_of_others_is_an_outcome(
    bench: Bench,
) -> None:
    bench.outcome = Outcome.RUNNING
    await bench.left_open()
    bench.outcome = Outcome.RUNNING
    with pytest.raises(ApplicationError, match="an attempt before still holds the lock"):
        await bench.attempt(2)
    assert await bench.status() == "running"
    bench.order = bench.order.model_copy(update={"run_id": str(uuid.uuid4())})
    end = await bench.attempt(1)
    assert (end.status, end.error) == (RunStatus.COMPLETED, None)


@pytest.mark.parametrize(
    ("why", "error", "status"),
    [
        (CANCELLED_BY_SOMEBODY, None, "failed"),
        (ActivityCancellationDetails(worker_shutdown=True), ApplicationError, "running"),
        (ActivityCancellationDetails(paused=True), ApplicationError, "running"),
        (ActivityCancellationDetails(not_found=True), asyncio.CancelledError, "running"),
        (ActivityCancellationDetails(timed_out=True), asyncio.CancelledError, "running"),
    ],
)
async def test_only_a_cancel_that_somebody_asked_for_is_the_end_of_the_run(
    bench: Bench,
    why: ActivityCancellationDetails,
    error: type[BaseException] | None,
    status: str,
) -> None:
    if error is None:
        end = await bench.attempt(cancelled=why)
        assert (end.status, end.error, end.is_written) == (RunStatus.FAILED, "cancelled", True)
    else:
        with pytest.raises(error):
            await bench.attempt(cancelled=why)
    assert await bench.status() == status


async def test_a_store_that_is_away_holds_no_run_up_and_hears_of_it_later(bench: Bench) -> None:
    began = datetime.now(UTC) - timedelta(seconds=45)
    with closing(sqlite3.connect(bench.file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        end = await bench.attempt(2, details={"began": began.isoformat()})
        other.rollback()
    assert (end.status, end.is_written, end.started_at) == (RunStatus.COMPLETED, False, began)
    assert end.metadata is not None
    assert end.metadata["outcome"] == "done"
    assert bench.counted == []
    ((named, _),) = bench.asked
    assert named.task.deadline <= timedelta(seconds=15)


async def test_a_lock_that_keeps_out_more_runs_in_a_row_than_may_be_is_a_failure(
    bench: Bench,
) -> None:
    bench.outcome = Outcome.LOCKED
    ends: list[RunStatus] = []
    for _ in range(4):
        bench.order = bench.order.model_copy(update={"run_id": str(uuid.uuid4())})
        ends.append((await bench.attempt()).status)
    assert ends == [*[RunStatus.COMPLETED] * 2, *[RunStatus.FAILED] * 2]
    row = await bench.row()
    assert row is not None
    assert (
        row.error_message == "skipped: locked; more than 2 runs in a row - see who holds the lock"
    )


async def test_a_run_whose_archive_was_not_sealed_has_failed_and_says_why(bench: Bench) -> None:
    bench.why_not_sealed = "not sealed for dao:shop: no space"
    end = await bench.attempt()
    row = await bench.row()
    assert row is not None
    assert (end.status, row.status) == (RunStatus.FAILED, "failed")
    assert row.error_message == "failed: archive: not sealed for dao:shop: no space"
