"""Makes calls of jobs as a worker does, against handlers that tests run."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

from pydantic import JsonValue

from activities.jobs.http_call import HttpCalls
from tests.simulators.handlers import DONE
from vaultmesh.domain.jobs.answer import RunEnd
from vaultmesh.domain.jobs.call import JobCall
from vaultmesh.domain.jobs.job import JobDefinition, read_registration
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy
from vaultmesh.domain.messages import Backoff
from vaultmesh.process.services import Services

EXECUTION = UUID("38aeb3d1-82a4-529d-8a25-a9065081dcc8")
QUICK = Backoff(base_seconds=0.03)
WAITS = "job call failed, trying again"
BROKE = "the connection broke after the request was sent; its fate is unknown"
SUCCESS = json.dumps(DONE).encode()
PATIENT = 60
"""Seconds; a time-out that only a broken test reaches."""


def job(seconds: int = PATIENT, **changes: Any) -> JobDefinition:
    """Return a job of report-service."""
    policy: dict[str, JsonValue] = {"timeoutSeconds": seconds, **changes.pop("policy", {})}
    body: dict[str, JsonValue] = {
        "name": "nightly-report", "displayName": "Nightly report", "description": "Mail the report",
        "cronExpression": "0 3 * * *", "enabled": True, "jobType": "analytics", "service": "report-service",
        "endpoint": "/api/jobs/nightly-report", "config": {"batchSize": 25}, "policy": policy,
    }  # fmt: skip
    return read_registration({**body, **changes})


def call_of(
    definition: JobDefinition, by: TriggeredBy = TriggeredBy.SCHEDULER, user: str | None = None
) -> JobCall:
    """Return the call of one run."""
    return JobCall(definition, EXECUTION, by, user)


def calls_to(url: str, **environment: str) -> HttpCalls:
    """Return what calls report-service at a URL."""
    return HttpCalls(
        Services.from_environment({"REPORT_SERVICE_URL": url, **environment}), backoff=QUICK
    )


async def end_of(url: str, seconds: int = PATIENT, **changes: Any) -> RunEnd:
    """Return how a run ended."""
    return await calls_to(url).make(call_of(job(seconds, **changes)), beat=lambda: None)


async def error_of(url: str, seconds: int = PATIENT, **changes: Any) -> str:
    """Return why a run failed."""
    end = await end_of(url, seconds, **changes)
    assert end.status is RunStatus.FAILED
    assert end.error is not None
    assert (end.items_processed, end.items_succeeded, end.items_failed) == (0, 0, 0)
    assert end.metadata is None
    return end.error


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so; the test's own time-out ends what never comes."""
    while not is_so():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.01)
