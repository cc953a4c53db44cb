"""Triggers runs, and answers what became of them.

A trigger asks the job's workflow for a run and then looks at the run's row, whichever process makes it. It answers when
the run ends, or shortly before proxies give up: then the run goes on, and its row tells.
"""

import asyncio
import logging
import uuid
from contextlib import suppress
from datetime import timedelta

from vaultmesh.api.answers import Refused
from vaultmesh.api.calls import Call
from vaultmesh.api.jobs import existing
from vaultmesh.api.models import (
    HistoryAnswer,
    HistoryQuery,
    Pagination,
    Period,
    RunResult,
    StatsAnswer,
    StatsQuery,
    TriggerAnswer,
    TriggerBody,
)
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.jobs.records import AuditLine, RunRecord
from vaultmesh.domain.jobs.refusals import AlreadyRunning, NotTold, StoreError
from vaultmesh.domain.jobs.run import RunStatus

LOOK_SECONDS = 0.1
"""Between two looks at the row."""
ASK_WITHIN_SECONDS = 10.0
"""Within this a workflow takes a trigger, also one that meets the end of another run."""
NOTE_WITHIN_SECONDS = 3.0
"""Within this the audit has its line, or the log has it."""
FAILURE = "Failed to trigger job"
_ENDED = frozenset(map(str, (RunStatus.COMPLETED, RunStatus.FAILED)))
_LOG = logging.getLogger(__name__)


async def trigger(call: Call) -> TriggerAnswer:
    """Run a job now, also a disabled one, and answer when it ended; after 25 s the answer says that it still runs."""
    until = asyncio.get_running_loop().time() + call.parts.trigger_wait_seconds
    run = await begin(call)
    record = await ended(call, run, until)
    message = f"Job {call.name} triggered successfully"
    if record is not None:
        return TriggerAnswer(message=message, result=RunResult.of(record))
    running = RunResult(
        success=True, metadata={"status": str(RunStatus.RUNNING), "executionId": str(run)}
    )
    return TriggerAnswer(message=f"{message}; it still runs", result=running)


async def begin(call: Call) -> uuid.UUID:
    """Have a job run now, and return the execution id of its run.

    Raises:
        Refused: there is no such job, a run is under way, or its workflow could not be asked.
        InvalidValue: its row can't be run.
    """
    body = call.read(TriggerBody)
    job = await existing(call)
    if job.definition is None:
        raise InvalidValue(job.problem)
    return await ask_for(call, call.caller.user or body.user_id or None)


async def ask_for(call: Call, user: str | None) -> uuid.UUID:
    """Have a job or a maintenance task that can be run run now, and return the execution id of its run.

    Raises:
        Refused: a run is under way, or its workflow could not be asked.
    """
    run = uuid.uuid4()
    await _ask(call, run, user)
    await _note(call, run)
    return run


async def ended_within(call: Call, run: uuid.UUID, seconds: float) -> RunRecord | None:
    """Return a run that ends within so many seconds; None if it goes on."""
    return await ended(call, run, asyncio.get_running_loop().time() + seconds)


async def history(call: Call) -> HistoryAnswer:
    """List some runs of a job, newest first."""
    query = call.query(HistoryQuery)
    page = await call.parts.store.history(call.name, query.limit, query.offset)
    return HistoryAnswer(
        executions=page.executions,
        pagination=Pagination(
            limit=query.limit,
            offset=query.offset,
            total=page.total,
            has_more=query.offset + query.limit < page.total,
        ),
    )


async def show_run(call: Call) -> RunRecord:
    """Show one run of a job."""
    written = call.path_value("id")
    try:
        record = await call.parts.store.run(call.name, uuid.UUID(written))
    except ValueError:
        record = None
    if record is None:
        message = f"Job {call.name} has no run {written}"
        raise Refused(404, "Run not found", message)
    return record


async def stats(call: Call) -> StatsAnswer:
    """Sum up the runs of a job that began in the last days."""
    days, now = call.query(StatsQuery).days, call.parts.now()
    sums = await call.parts.store.stats(call.name, days, now)
    period = Period(days=days, since=now - timedelta(days=days), to=now)
    return StatsAnswer(stats=sums, period=period)


async def _ask(call: Call, run: uuid.UUID, user: str | None) -> None:
    try:
        async with asyncio.timeout(ASK_WITHIN_SECONDS):
            await call.parts.workflows.trigger(call.name, run, user)
    except AlreadyRunning:
        message = f"A run of job {call.name} is under way - trigger it again when it has ended"
        raise Refused(409, "Job is already running", message) from None
    except NotTold as error:
        raise Refused(500, FAILURE, str(error)) from error
    except TimeoutError:
        message = f"Job {call.name} was asked to run and did not answer within {ASK_WITHIN_SECONDS:g} s - look at its history before you trigger it again"
        raise Refused(500, FAILURE, message) from None


async def _note(call: Call, run: uuid.UUID) -> None:
    """Enter who asked for a run; where the store is down the log has it, since the run goes on."""
    by, now = call.actor, call.parts.now()
    line = AuditLine(
        at=now, actor=by.name, action="trigger", job_name=call.name,
        claimed_user=by.claimed_user, execution_id=run,
    )  # fmt: skip
    try:
        async with asyncio.timeout(NOTE_WITHIN_SECONDS):
            await call.parts.store.note(line)
    except (StoreError, TimeoutError) as error:
        extra = {"audit": line.model_dump(mode="json"), "err": str(error)}
        _LOG.warning("audit line not stored", extra=extra)


async def ended(call: Call, run: uuid.UUID, until: float) -> RunRecord | None:
    """Return a run that ended while somebody waits for it, by the loop's clock until an instant."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            while not call.parts.stopping.is_set() and _is_connected(call):
                with suppress(StoreError):  # the run goes on without it
                    record = await call.parts.store.run(call.name, run)
                    if record is not None and record.status in _ENDED:
                        return record
                await asyncio.sleep(LOOK_SECONDS)
    return None


def _is_connected(call: Call) -> bool:
    transport = call.request.transport
    return transport is not None and not transport.is_closing()
