"""Answers what is asked about jobs, and changes them: first the decision in the store, then word to the job's workflow."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime

from aiohttp import web

from vaultmesh.api.answers import Refused, text_answer
from vaultmesh.api.calls import TELL_WITHIN_SECONDS, Call, Parts
from vaultmesh.api.models import (
    CronAnswer,
    CronBody,
    CronQuery,
    DecidedAnswer,
    MessageAnswer,
    NextRunsAnswer,
    PauseBody,
    RegistrationAnswer,
    ResumeBody,
)
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.job import LONGEST_NAME, JobView, check_text, read_registration
from vaultmesh.domain.jobs.listing import job_view
from vaultmesh.domain.jobs.records import Actor, Change, StoredJob
from vaultmesh.domain.jobs.refusals import UnknownJob

TOLD_AT_ONCE = 10
"""Workflows of jobs that are told at a time."""
PREVIEWED_TIMES = 5
"""Next times that are shown of a cron expression before it is saved."""
Deciding = Callable[[str, Actor, datetime], Awaitable[Change]]


async def register(call: Call) -> RegistrationAnswer:
    """Register a job, or what changed of it. What administrators decided since stays, until they reset it."""
    definition = read_registration(call.body)
    call.parts.check_service(definition.service)
    by = call.actor.model_copy(update={"name": f"{call.caller.actor} {definition.service}"})
    change = await call.parts.store.register(definition, by, call.parts.now())
    await call.parts.tell(change.now)
    return RegistrationAnswer(message=f"Job {definition.name} registered successfully")


async def list_jobs(call: Call) -> web.Response:
    """List all jobs, by name."""
    store, now = call.parts.store, call.parts.now()
    jobs = [(job, await store.next_run(job, now)) for job in await store.list()]
    return text_answer(call.parts.listing.write(jobs))


async def show_job(call: Call) -> JobView:
    """Show one job."""
    return await _view(call.parts, await existing(call), call.parts.now())


async def enable(call: Call) -> MessageAnswer:
    """Let a job run at its times, from now on."""
    await _decide(call, call.parts.store.enable)
    return MessageAnswer(message=f"Job {call.name} enabled successfully")


async def disable(call: Call) -> MessageAnswer:
    """Keep a job from running at its times; a run under way goes on."""
    await _decide(call, call.parts.store.disable)
    return MessageAnswer(message=f"Job {call.name} disabled successfully")


async def set_cron(call: Call) -> CronAnswer:
    """Give a job another cron expression, from now on."""
    expression = call.read(CronBody).cron_expression
    read_cron(expression)

    async def decide(name: str, by: Actor, at: datetime) -> Change:
        return await call.parts.store.set_cron(name, expression, by, at)

    await _decide(call, decide)
    message = f"Cron expression updated for job {call.name}"
    return CronAnswer(message=message, cron_expression=expression)


async def delete(call: Call) -> MessageAnswer:
    """Delete a job. It stays deleted, also when its service registers it again, until it is allowed; its history stays."""
    try:
        change = await call.parts.store.delete(call.name, call.actor, call.parts.now())
    except UnknownJob:
        pass
    else:
        await call.parts.tell(change.now)
    return MessageAnswer(message=f"Job {call.name} deleted successfully")


async def reset(call: Call) -> MessageAnswer:
    """Give a job the cron expression and the state again that its service registered last."""
    await _decide(call, call.parts.store.reset)
    return MessageAnswer(message=f"Job {call.name} reset successfully")


async def allow(call: Call) -> MessageAnswer:
    """Let a deleted job be registered again, or let another service take a job's name over, once."""
    await _decide(call, call.parts.store.allow)
    return MessageAnswer(message=f"Job {call.name} allowed successfully")


async def pause(call: Call) -> MessageAnswer:
    """Let no slot of a job run until it is resumed, apart from whether it is enabled; a run under way goes on."""
    reason = call.read(PauseBody).reason

    async def decide(name: str, by: Actor, at: datetime) -> Change:
        return await call.parts.store.pause(name, reason, by, at)

    await _decide(call, decide)
    return MessageAnswer(message=f"Job {call.name} paused successfully")


async def resume(call: Call) -> MessageAnswer:
    """Let a paused job run at its times again; slots of the pause are not made up for."""
    await _decide(call, call.parts.store.resume)
    return MessageAnswer(message=f"Job {call.name} resumed successfully")


async def pause_all(call: Call) -> DecidedAnswer:
    """Pause every job that is not paused; those that are keep their own pause."""
    reason, parts = call.read(PauseBody).reason, call.parts
    changes = await parts.store.pause_all(reason, call.actor, parts.now())
    return await _decided(parts, "paused", changes)


async def resume_all(call: Call) -> DecidedAnswer:
    """Resume the jobs that were paused together at an instant; those with a pause of their own stay paused."""
    since, parts = call.read(ResumeBody).paused_at, call.parts
    changes = await parts.store.resume_paused(since, call.actor, parts.now())
    return await _decided(parts, "resumed", changes)


async def preview_cron(call: Call) -> NextRunsAnswer:
    """Show the next times of a cron expression, in UTC, before it is saved."""
    expression = call.query(CronQuery).expression
    times = read_cron(expression).upcoming(call.parts.now(), PREVIEWED_TIMES)
    return NextRunsAnswer(cron_expression=expression, next_runs=tuple(times))


async def existing(call: Call) -> StoredJob:
    """Return the job that the path names.

    Raises:
        Refused: there is none (404).
    """
    job = await call.parts.store.get(call.name)
    if job is None:
        raise no_such_job(call.name)
    return job


def check_name(name: str) -> None:
    """Refuse a name that no job can have, before any database is asked for it; raises `Refused`."""
    try:
        check_text(name)
        fits = len(name.encode()) <= LONGEST_NAME
    except ValueError:
        fits = False
    if not fits:
        raise no_such_job(name)


def no_such_job(name: str) -> Refused:
    """Return the refusal of a name that no job has."""
    return Refused(404, "Job not found", f"Job {name} does not exist")


async def _decide(call: Call, decide: Deciding) -> None:
    """Decide something about a job, and tell its workflow; what is not heard now the reconciler tells."""
    change = await decide(call.name, call.actor, call.parts.now())
    await call.parts.tell(change.now)


async def _decided(parts: Parts, what: str, changes: Sequence[Change]) -> DecidedAnswer:
    """Tell many workflows what was decided, within the time of one; returns what became of it."""
    at_once, heard = asyncio.Semaphore(TOLD_AT_ONCE), set[str]()

    async def tell(change: Change) -> None:
        async with at_once:
            if await parts.tell(change.now):
                heard.add(change.now.name)

    with suppress(TimeoutError):
        async with asyncio.timeout(TELL_WITHIN_SECONDS):
            await asyncio.gather(*map(tell, changes))
    names = tuple(change.now.name for change in changes)
    return DecidedAnswer(
        message=f"{len(names)} jobs {what} successfully",
        jobs=names,
        unheard=tuple(name for name in names if name not in heard),
    )


async def _view(parts: Parts, job: StoredJob, now: datetime) -> JobView:
    return job_view(job, await parts.store.next_run(job, now))
