"""Registers sample jobs in the demonstration as a service would, and shows how they run.

1. One job works. One takes longer than its period, so that slots pass during its runs. One fails each time.
2. They are registered over the HTTP API, and read from the store, as `starter.py jobs list` does.
3. Where jobs can't run, that is said, and anchors are shown all the same.
"""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from devnet.sample_service import FAILS, SLOW, WAIT_KEY, WORKS
from vaultmesh.cli import job_orders, job_table, output
from vaultmesh.cli.dev_jobs import SAMPLE_SERVICE, DevJobs
from vaultmesh.cli.output import visible
from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.jobs.listing import JobReport
from vaultmesh.domain.jobs.records import RunRecord
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.domain.jobs.run import RunStatus

if TYPE_CHECKING:
    from vaultmesh.storage.job_store import JobStore

NAMES = WORKING, SLOW_ONE, FAILING = "sample-works", "sample-slow", "sample-fails"
_SLOW_SECONDS = 3
"""Longer than its period: in each run at least one slot passes."""
_ANSWER_SECONDS = 30.0
"""The API waits 5 s for a job's workflow; a busy machine takes a while."""


def _registration(
    name: str, title: str, cron: str, endpoint: str, config: Mapping[str, object]
) -> dict[str, object]:
    return {
        "name": name,
        "displayName": title,
        "description": f"{title}; from the demonstration",
        "cronExpression": cron,
        "enabled": True,
        "jobType": "other",
        "service": SAMPLE_SERVICE,
        "endpoint": endpoint,
        "config": config,
    }


REGISTRATIONS = (
    _registration(WORKING, "Works each time", "*/4 * * * * *", WORKS, {}),
    _registration(SLOW_ONE, "Is slow", "*/2 * * * * *", SLOW, {WAIT_KEY: _SLOW_SECONDS}),
    _registration(FAILING, "Fails each time", "*/8 * * * * *", FAILS, {}),
)


class DemoJobs:
    """The sample jobs, as they were read last."""

    def __init__(self, session: DevJobs) -> None:
        """Show jobs of a session of `dev`."""
        self._session = session
        self._store: JobStore | None = None
        self.trouble = ""
        """Why they do not run; empty if they do."""
        self._silence = ""
        """Why the store did not answer last; empty if it did."""
        self._reports: Sequence[JobReport] = ()
        self._runs: Mapping[str, RunRecord] = {}
        """The newest run of each that ended."""
        self._before: Mapping[str, JobReport] = {}
        """What there was before they were registered: a folder may be used again."""

    @staticmethod
    async def prepare() -> None:
        """Load what reads the store, while the parts of the system start."""
        await asyncio.to_thread(import_module, "vaultmesh.storage.job_store")

    @asynccontextmanager
    async def registered(self) -> AsyncIterator[None]:
        """Register them, and have them looked at until the end of the block; what fails is their trouble."""
        async with AsyncExitStack() as stack:
            self.trouble = self._session.trouble
            if not self.trouble:
                try:
                    self._store = await stack.enter_async_context(job_orders.opened())
                    await self._register()
                except DomainError as error:
                    self.trouble = str(error)
            yield

    async def _register(self) -> None:
        await self.look()
        self._before = {report.name: report for report in self._reports}
        for registration in REGISTRATIONS:
            await asyncio.to_thread(_send, self._session, registration)
        await self.look()

    # --- looking -------------------------------------------------------------------------------

    async def look(self) -> None:
        """Read the jobs; of a store that does not answer they stay as they were."""
        if self._store is None:
            return
        try:
            jobs = [job for job in await self._store.list() if job.name in NAMES]
            self._reports = await job_orders.reports(self._store, jobs)
            self._runs = {name: run for name in NAMES if (run := await self._newest(name))}
        except StoreError as error:
            self._silence = str(error)
        else:
            self._silence = ""

    async def _newest(self, name: str) -> RunRecord | None:
        assert self._store is not None  # noqa: S101 - whoever looks has it
        page = await self._store.history(name, 2, 0)
        ended = (run for run in page.executions if run.status != RunStatus.RUNNING)
        return next(ended, None)

    @property
    def are_shown(self) -> bool:
        """Whether each has ended a run since it was registered, and slots were skipped; also if none can run."""
        if self.trouble:
            return True
        return len(self._reports) == len(NAMES) and all(map(self._is_shown, self._reports))

    def _is_shown(self, job: JobReport) -> bool:
        before = self._before.get(job.name)
        runs = job.total_runs - (before.total_runs if before else 0)
        skipped = job.skipped - (before.skipped if before else 0)
        return runs > 0 and (skipped > 0 or job.name != SLOW_ONE)

    # --- what is shown -------------------------------------------------------------------------

    def blocks(self) -> list[RenderableType]:
        """Return what is shown of the jobs in 80 columns."""
        title = Text("jobs", style="bold")
        if said := self.trouble or self._silence:
            said = visible(f"do not run: {said}" if self.trouble else said)
            title = Text.assemble(title, "\n", (f"  {said}", "red"))
        if self.trouble:
            return [title]
        notes = {job.name: self._notes(job) for job in self._reports}
        return [title, *job_table.jobs_table(self._reports, (), datetime.now(UTC), notes)]

    def _notes(self, job: JobReport) -> list[str]:
        run = self._runs.get(job.name)
        notes = []
        if job.skipped:
            notes.append(f"{_slots(job.skipped)} passed during its runs: skipped")
        if run is not None and run.status == RunStatus.FAILED:
            notes.append(f"failed: {run.error_message}")
        return notes

    def lines(self) -> list[str]:
        """Return how each job's newest run ended, in lines that a program can read."""
        if self.trouble:
            return [visible(f"jobs do not run: {self.trouble}")]
        lines = [job_table.run_line(run) for run in self._runs.values()]
        return [
            *lines,
            *(f"{job.name}: {_slots(job.skipped)} skipped" for job in self._reports if job.skipped),
        ]


def _slots(count: int) -> str:
    return "1 slot" if count == 1 else f"{count} slots"


def _send(session: DevJobs, registration: Mapping[str, object]) -> None:
    """Register a job as a service does.

    Raises:
        Refusal: the API refuses it, or does not answer.
    """
    headers = {"Content-Type": "application/json"}
    if session.service_token:
        headers["X-Service-Token"] = session.service_token
    request = urllib.request.Request(  # noqa: S310 - our own
        f"{session.url}/api/jobs/register", json.dumps(registration).encode(), headers
    )
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS):  # noqa: S310 - our own
            return
    except urllib.error.HTTPError as error:
        why = _refusal(error.read())
    except OSError as error:
        why = str(error)
    message = f"{registration['name']} could not be registered: {why}"
    raise output.Refusal(message)


def _refusal(body: bytes) -> str:
    """Return what the API says of a refusal; what is not its form is shown as it came."""
    text = body.decode(errors="replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, TypeError, KeyError):
        return text
