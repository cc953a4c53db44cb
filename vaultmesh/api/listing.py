"""Writes the list of all jobs. What is written of a job is kept until its row or its next slot changes: the page asks often."""

from collections.abc import Iterable
from datetime import datetime

from vaultmesh.domain.jobs.listing import job_view
from vaultmesh.domain.jobs.records import StoredJob


class JobListing:
    """Jobs as the API wrote them last; used by one event loop."""

    def __init__(self) -> None:
        """Have written none."""
        self._written: dict[str, tuple[StoredJob, datetime | None, str]] = {}

    def write(self, jobs: Iterable[tuple[StoredJob, datetime | None]]) -> str:
        """Return the JSON text of jobs with their next slots, as `JobsAnswer` has it; those left out are forgotten."""
        written = {job.name: self._entry(job, next_run) for job, next_run in jobs}
        self._written = written
        return f'{{"jobs":[{",".join(text for _, _, text in written.values())}]}}'

    def _entry(
        self, job: StoredJob, next_run: datetime | None
    ) -> tuple[StoredJob, datetime | None, str]:
        before = self._written.get(job.name)
        if before is not None and before[0] is job and before[1] == next_run:
            return before
        return job, next_run, job_view(job, next_run).model_dump_json(by_alias=True)
