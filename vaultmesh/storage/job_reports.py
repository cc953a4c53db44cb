"""Puts together what operators see of jobs: rows, decisions, next slots, runs under way, and who else works on them."""

from collections.abc import Sequence
from datetime import datetime

from vaultmesh.domain.jobs.listing import JobReport, job_report
from vaultmesh.domain.jobs.records import StoredJob
from vaultmesh.storage.job_store import JobStore


async def job_reports(store: JobStore, jobs: Sequence[StoredJob], now: datetime) -> list[JobReport]:
    """Return jobs as operators see them; raises `StoreError`."""
    running = {run.job_name: run for run in await store.running(now)}
    left = await store.left_to_other(now)
    return [
        job_report(job, await store.next_run(job, now), running.get(job.name), left.get(job.name))
        for job in jobs
    ]
