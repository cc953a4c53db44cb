"""Lists every route of the API: the server, its description and the tests read this one table."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel

from vaultmesh.api import health, jobs, runs
from vaultmesh.api.auth import Access
from vaultmesh.api.calls import Call
from vaultmesh.api.models import (
    CronAnswer,
    CronBody,
    CronQuery,
    DecidedAnswer,
    HealthAnswer,
    HistoryAnswer,
    HistoryQuery,
    JobsAnswer,
    MessageAnswer,
    NextRunsAnswer,
    PauseBody,
    ProbeAnswer,
    RegistrationAnswer,
    ResumeBody,
    StatsAnswer,
    StatsQuery,
    TriggerAnswer,
    TriggerBody,
)
from vaultmesh.domain.jobs.job import JobDefinition, JobView
from vaultmesh.domain.jobs.records import RunRecord

Handler = Callable[[Call], Awaitable[BaseModel | web.Response]]
_JOB = "/api/jobs/{jobName}"


@dataclass(frozen=True, slots=True)
class Route:
    """One route."""

    method: str
    path: str
    """With its parameters in braces."""
    handler: Handler
    """Its docstring says what the route does."""
    answer: type[BaseModel]
    """Form of the body of a 200."""
    access: Access = Access.ADMIN
    failure: str = "Internal server error"
    """`error` of what the route refuses for a reason of its own, or fails at."""
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    refusals: tuple[int, ...] = ()
    """Further statuses, beside those of bodies, access, rate limit and failures."""
    limited: bool = True
    """Whether the rate limit counts it."""


def _probe(path: str, handler: Handler, answer: type[BaseModel], *refusals: int) -> Route:
    return Route("GET", path, handler, answer, Access.ANYBODY, refusals=refusals, limited=False)


ROUTES = (
    _probe("/health", health.health, HealthAnswer, 503),
    _probe("/livez", health.live, ProbeAnswer),
    _probe("/readyz", health.ready, ProbeAnswer, 503),
    Route("POST", "/api/jobs/register", jobs.register, RegistrationAnswer, Access.SERVICE,
          "Failed to register job", body=JobDefinition, refusals=(400,)),
    Route("GET", "/api/jobs", jobs.list_jobs, JobsAnswer, failure="Failed to fetch job schedules"),
    Route("GET", _JOB, jobs.show_job, JobView, failure="Failed to fetch job details", refusals=(404,)),
    Route("POST", f"{_JOB}/trigger", runs.trigger, TriggerAnswer, failure=runs.FAILURE, body=TriggerBody,
          refusals=(400, 404, 409)),
    Route("POST", f"{_JOB}/enable", jobs.enable, MessageAnswer, failure="Failed to enable job", refusals=(404,)),
    Route("POST", f"{_JOB}/disable", jobs.disable, MessageAnswer, failure="Failed to disable job", refusals=(404,)),
    Route("DELETE", _JOB, jobs.delete, MessageAnswer, failure="Failed to delete job"),
    Route("GET", f"{_JOB}/history", runs.history, HistoryAnswer, failure="Failed to fetch execution history",
          query=HistoryQuery, refusals=(400,)),
    Route("GET", f"{_JOB}/runs/{{id}}", runs.show_run, RunRecord, failure="Failed to fetch execution", refusals=(404,)),
    Route("GET", f"{_JOB}/stats", runs.stats, StatsAnswer, failure="Failed to fetch execution stats",
          query=StatsQuery, refusals=(400,)),
    Route("PUT", f"{_JOB}/cron", jobs.set_cron, CronAnswer, failure="Failed to update cron expression",
          body=CronBody, refusals=(400, 404)),
    Route("POST", f"{_JOB}/reset", jobs.reset, MessageAnswer, failure="Failed to reset job", refusals=(404,)),
    Route("POST", f"{_JOB}/allow", jobs.allow, MessageAnswer, failure="Failed to allow job", refusals=(404,)),
    Route("POST", f"{_JOB}/pause", jobs.pause, MessageAnswer, failure="Failed to pause job", body=PauseBody, refusals=(400, 404)),
    Route("POST", f"{_JOB}/resume", jobs.resume, MessageAnswer, failure="Failed to resume job", refusals=(404,)),
    Route("POST", "/api/pause", jobs.pause_all, DecidedAnswer, failure="Failed to pause jobs", body=PauseBody, refusals=(400,)),
    Route("POST", "/api/resume", jobs.resume_all, DecidedAnswer, failure="Failed to resume jobs", body=ResumeBody, refusals=(400,)),
    Route("GET", "/api/cron", jobs.preview_cron, NextRunsAnswer, failure="Invalid cron expression",
          query=CronQuery, refusals=(400,)),
)  # fmt: skip
