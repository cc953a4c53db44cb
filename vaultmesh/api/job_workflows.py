"""Declares what the API asks of the workflows of jobs; `vaultmesh.process.job_workflows` speaks to Temporal."""

from collections.abc import Collection, Mapping
from typing import Protocol
from uuid import UUID

from vaultmesh.domain.jobs.records import JobRevision


class JobWorkflows(Protocol):
    """The workflows of jobs. Each call MUST return or raise within some 5 s."""

    async def tell(self, revision: JobRevision) -> None:
        """Tell a job's workflow how the job stands; one that is gone ends. A revision that it knows changes nothing.

        Raises:
            NotTold: Temporal can't be reached; the reconciler tells it later.
        """

    async def trigger(self, name: str, run: UUID, user: str | None) -> None:
        """Have a job run now, under this execution id; asked twice with one id, it runs once.

        A refusal that comes of a run which is just ending is no answer: it asks again, with the same id.

        Raises:
            AlreadyRunning: a run is under way.
            NotTold: Temporal can't be reached; nothing runs.
        """

    async def troubles(self, names: Collection[str]) -> Mapping[str, str]:
        """Return why workflows of jobs do not go on, in words, by the jobs' names; those that do are left out.

        What it says of many may be ten seconds old; of one job it asks at once.

        Raises:
            NotTold: Temporal can't be reached.
        """
