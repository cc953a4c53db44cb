"""Finds out why workflows of jobs do not go on: they are missing, they fail, or no worker takes their tasks.

1. About one job Temporal is asked at once. About several, one list says which run, and is kept for some seconds.
2. Then each is asked about; of many, those of which the server itself reports a problem.
3. One that the list lacks may have been started since, so it is asked about before it is called missing.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.names import JOB_WORKFLOW, job_workflow_id
from vaultmesh.process.failing import RUNNING_JOBS, Diagnosis, diagnose, reported

WITHIN = timedelta(seconds=3)
"""Of one question: whoever looks at a page waits for it."""
KEPT_SECONDS = 10.0
"""How long a list is good: pages are looked at again and again."""
WAITS_LONG = timedelta(seconds=10)
"""A task that no worker took for so long waits for one that is not there."""
MOST_ASKED = 20
"""Workflows that are asked about at once."""
MISSING = "its workflow does not run; a worker with role jobs starts it within 15 s"


class JobTroubles:
    """What one process knows of troubled workflows."""

    def __init__(self, client: Client) -> None:
        """Ask through a client."""
        self._client = client
        self._listed: frozenset[str] = frozenset()
        self._good_until = 0.0
        self._listing = asyncio.Lock()

    async def of(self, names: Collection[str]) -> Mapping[str, str]:
        """Return why workflows do not go on, by the names of their jobs.

        Raises:
            RPCError: Temporal did not answer.
        """
        ids = {name: job_workflow_id(name) for name in names}
        unlisted = ids
        if len(ids) > 1:
            running = await self._running()
            unlisted = {name: id_ for name, id_ in ids.items() if id_ not in running}
        missing = await self._missing(unlisted)
        suspects = ids
        if len(ids) > MOST_ASKED:
            problems = frozenset(await reported(self._client, [JOB_WORKFLOW]) or ())
            suspects = {
                name: workflow_id for name, workflow_id in ids.items() if workflow_id in problems
            }
        troubles = dict.fromkeys(sorted(missing), MISSING)
        asked = [name for name in sorted(suspects) if name not in missing][:MOST_ASKED]
        diagnoses = await asyncio.gather(
            *(diagnose(self._client, suspects[name]) for name in asked)
        )
        now = datetime.now(UTC)
        words = {
            name: _words(diagnosis, now) for name, diagnosis in zip(asked, diagnoses, strict=True)
        }
        return troubles | {name: text for name, text in words.items() if text}

    async def _missing(self, ids: Mapping[str, str]) -> set[str]:
        """Return the jobs whose workflows do not run; so many that it can't ask about each, it goes by the list alone."""
        asked = sorted(ids)[:MOST_ASKED]
        running = await asyncio.gather(*(self._runs(ids[name]) for name in asked))
        return set(ids) - {name for name, runs in zip(asked, running, strict=True) if runs}

    async def _runs(self, workflow_id: str) -> bool:
        try:
            described = await self._client.get_workflow_handle(workflow_id).describe(
                rpc_timeout=WITHIN
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return described.status is WorkflowExecutionStatus.RUNNING

    async def _running(self) -> frozenset[str]:
        """Return the ids of all workflows of jobs that run."""
        async with self._listing:
            if time.monotonic() >= self._good_until:
                executions = self._client.list_workflows(RUNNING_JOBS, rpc_timeout=WITHIN)
                self._listed = frozenset([execution.id async for execution in executions])
                self._good_until = time.monotonic() + KEPT_SECONDS
            return self._listed


def _words(diagnosis: Diagnosis, now: datetime) -> str:
    if diagnosis.failing is not None:
        return f"its workflow fails: {diagnosis.failing.cause} - {diagnosis.failing.mend}"
    since = diagnosis.waiting_since
    if since is not None and now - since > WAITS_LONG:
        return f"no worker with role workflows has taken its workflow's task since {write_seconds(since)} - start one"
    return ""
