"""Declares what the API asks of the workflows of jobs; an adapter speaks to Temporal."""

from typing import Protocol
from uuid import UUID

from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.jobs.job import JobDefinition


class NotTold(DomainError):
    """A workflow could not be told within its time; what was decided stands in the store."""


class AlreadyRunning(DomainError):
    """A run of the job is under way."""


class JobWorkflows(Protocol):
    """The workflows of jobs. Each call MUST return or raise within 5 s."""

    async def configure(self, name: str, revision: int, definition: JobDefinition) -> None:
        """Give a job's workflow a definition; a revision that it knows already changes nothing.

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

    async def stop(self, name: str) -> None:
        """End a job's workflow; a run under way ends by itself and is recorded.

        Raises:
            NotTold: Temporal can't be reached; the reconciler stops it later.
        """
