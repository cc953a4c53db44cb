"""Opens the store of jobs for commands, tells workflows what was decided there, and has jobs run.

A decision stands as soon as the store has it. Whom a command can't tell, workers with role jobs tell later.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from temporalio.client import Client
from temporalio.service import RPCError

from vaultmesh.cli import output
from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.jobs.listing import JobReport
from vaultmesh.domain.jobs.records import Actor, AuditLine, Change, RunRecord, StoredJob
from vaultmesh.domain.jobs.refusals import (
    AlreadyRunning,
    NotTold,
    StoreError,
    StoreErrorKind,
    UnknownJob,
)
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.process import anchor_workflows
from vaultmesh.process.client import Unreachable, connect
from vaultmesh.process.job_settings import JobSettings
from vaultmesh.process.job_workflows import TemporalJobs

if TYPE_CHECKING:
    from vaultmesh.storage.job_store import JobStore

LOOK_SECONDS = 0.2
"""Between two looks at the row of a run that is waited for."""
TROUBLES_WITHIN = timedelta(seconds=4)
"""A list comes without what Temporal knows, if that takes longer."""
CLOSING = timedelta(seconds=90)
"""After a run's own time is over, whoever cleans up has written its end by then."""


def read_bounded(path: Path, most: int, mend: str) -> bytes:
    """Return what a file that an operator named holds, of at most so many bytes.

    Raises:
        ConfigurationError: it can't be read, or is larger; `mend` says what to do.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigurationError([f"{path}: can't be read: {error.strerror} - {mend}"]) from error
    if len(data) > most:
        raise ConfigurationError([f"{path}: is larger than {most} bytes - {mend}"])
    return data


@asynccontextmanager
async def opened() -> AsyncIterator["JobStore"]:
    """Open the store that the environment names.

    Raises:
        ConfigurationError: a variable can't be used.
        StoreError: the store can't be used.
    """
    from vaultmesh.storage.job_store import JobStore  # noqa: PLC0415 - loads SQLAlchemy

    root = output.settings_with_root().root
    settings = JobSettings.from_environment(os.environ)
    try:
        store = await JobStore.open(settings.stated_url, root, supabase=settings.is_supabase)
    except StoreError as error:
        if error.kind is StoreErrorKind.SETTING:
            raise ConfigurationError([str(error)]) from error
        raise
    try:
        yield store
    finally:
        await store.close()


def operator() -> Actor:
    """Return whoever runs this command, as the audit names them."""
    return Actor(name=output.operator())


async def existing(store: "JobStore", name: str) -> StoredJob:
    """Return a job.

    Raises:
        UnknownJob: there is none; says so if somebody deleted it.
    """
    job = await store.get(name)
    if job is not None:
        return job
    decisions = await store.decisions(name)
    if decisions is None or decisions.deleted is None:
        message = f"there is no job {name!r}; `python starter.py jobs list` names them"
        raise UnknownJob(message)
    deleted = decisions.deleted
    message = (
        f"job {name!r} was deleted by {deleted.by}, {write_seconds(deleted.at)}; "
        f"`python starter.py jobs allow {name}` lets it be registered again"
    )
    raise UnknownJob(message)


async def reports(store: "JobStore", jobs: Sequence[StoredJob]) -> list[JobReport]:
    """Return jobs as operators see them, now."""
    from vaultmesh.storage.job_reports import job_reports  # noqa: PLC0415 - loads SQLAlchemy

    return await job_reports(store, jobs, datetime.now(UTC))


async def warn_of_troubles(names: Sequence[str]) -> None:
    """Say of jobs why their workflows do not go on; what only Temporal knows is left out while it is away."""
    if not names:
        return
    try:
        async with asyncio.timeout(TROUBLES_WITHIN.total_seconds()):
            jobs = TemporalJobs(await connect(output.operator()))
            troubles = await jobs.troubles(names)
    except (Unreachable, ConfigurationError, NotTold, RPCError, TimeoutError):
        output.note("Temporal does not say which workflows of jobs go on")
        return
    output.warn([f"{name}: {why}" for name, why in sorted(troubles.items())])


# --- telling -------------------------------------------------------------------------------------------------------


async def tell(store: "JobStore", changes: Sequence[Change]) -> Mapping[str, str]:
    """Tell the workflows of jobs what was decided; returns why not, by the names of those that could not be told."""
    if not changes:
        return {}
    try:
        client = await connect(output.operator())
    except (Unreachable, ConfigurationError, RPCError) as error:
        return {change.now.name: str(error) for change in changes}
    jobs = TemporalJobs(client)
    at_once = asyncio.Semaphore(anchor_workflows.AT_ONCE)

    async def silence(change: Change) -> str:
        async with at_once:
            try:
                await jobs.tell(change.now)
                await store.mark_told(change.now.name, change.now.revision)
            except (NotTold, StoreError) as error:
                return str(error)
        return ""

    silences = await asyncio.gather(*map(silence, changes))
    return {
        change.now.name: reason for change, reason in zip(changes, silences, strict=True) if reason
    }


def warn_of_silence(silences: Mapping[str, str]) -> None:
    """Say which workflows have not heard of a decision, a line for each reason."""
    names: dict[str, list[str]] = {}
    for name, reason in silences.items():
        names.setdefault(reason, []).append(name)
    output.warn(
        f"{', '.join(unaware)}: decided, but not heard of yet: {reason}; workers with role jobs tell it later"
        for reason, unaware in names.items()
    )


# --- triggering ----------------------------------------------------------------------------------------------------


async def trigger(store: "JobStore", job: StoredJob) -> uuid.UUID:
    """Have a job run now, and return the execution id.

    Raises:
        Refusal: its row can't be run, or a run is under way.
        NotTold: its workflow could not be asked, or did not answer.
        Unreachable: Temporal is away; nothing was asked.
    """
    if job.definition is None:
        message = f"job {job.name!r} can't be run: {job.problem}"
        raise output.Refusal(message)
    return await ask_for(store, job.name, f"jobs history {job.name}")


async def ask_for(store: "JobStore", name: str, history: str) -> uuid.UUID:
    """Have a job or a maintenance task run now, as `trigger` does; `history` is the command that lists its runs."""
    client: Client = await connect(output.operator())
    run = uuid.uuid4()
    try:
        await TemporalJobs(client).trigger(name, run, None)
    except AlreadyRunning as error:
        message = f"a run of job {name!r} is under way - trigger it again when it has ended"
        raise output.Refusal(message) from error
    except NotTold as error:
        await _note(store, name, run)
        message = (
            f"{error} - if the order arrives later, the job runs then, as {run}: "
            f"look at `python starter.py {history}` before you trigger it again"
        )
        raise NotTold(message) from error
    await _note(store, name, run)
    return run


async def _note(store: "JobStore", name: str, run: uuid.UUID) -> None:
    """Enter who asked for a run; the run goes on without it."""
    by = operator().name
    line = AuditLine(
        at=datetime.now(UTC), actor=by, action="trigger", job_name=name, execution_id=run
    )
    try:
        await store.note(line)
    except StoreError as error:
        output.warn([f"the audit does not say who triggered it: {error}"])


async def ended(store: "JobStore", job: StoredJob, run: uuid.UUID) -> RunRecord:
    """Return a run once it has ended; raises as `end_of` does."""
    return await end_of(store, job.name, run, _longest(job), f"jobs history {job.name}")


async def end_of(
    store: "JobStore", name: str, run: uuid.UUID, longest: timedelta, history: str
) -> RunRecord:
    """Return a run of a job or task once it has ended; a store that is away for a while is asked again.

    Raises:
        Refusal: `longest` is over, and nobody has written how it ended; `history` is the command that will show it.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + longest.total_seconds()
    said, record = "", None
    while loop.time() < until:
        try:
            record = await store.run(name, run)
            state = "no worker has taken it yet" if record is None else "it runs"
        except StoreError as error:
            if not error.may_pass:
                raise
            state = str(error)
        if record is not None and record.status != RunStatus.RUNNING:
            return record
        if state != said:
            output.note(f"{name}: {state}")
        said = state
        await asyncio.sleep(LOOK_SECONDS)
    message = (
        f"nobody has written how run {run} of job {name!r} ended: {said}; does a worker with role jobs run? "
        f"`python starter.py {history}` shows it once it is known"
    )
    raise output.Refusal(message)


def _longest(job: StoredJob) -> timedelta:
    """Return after which time the end of a run is written, whatever happened."""
    if job.definition is None:
        return CLOSING
    policy = job.definition.policy
    return policy.catch_up + policy.timeout + CLOSING
