"""Starts the API on a free port with a real store, and speaks HTTP to it; the workflows of jobs are scripted."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
from pydantic import JsonValue, SecretStr

from devnet.ports import LOOPBACK, free_port
from vaultmesh.api.calls import Parts
from vaultmesh.api.server import ApiServer
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.jobs.job import unknown_service
from vaultmesh.domain.jobs.records import AuditLine, JobRevision, RunEnd, RunStart
from vaultmesh.domain.jobs.refusals import AlreadyRunning, NotTold
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy
from vaultmesh.process.api_settings import ApiSettings
from vaultmesh.storage.job_store import JobStore

ADMIN_TOKEN, SERVICE_TOKEN = "an-admin-token-of-tests", "a-service-token-of-tests"
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
SERVICE = {"X-Service-Token": SERVICE_TOKEN}
ANYWHERE = "0.0.0.0"  # noqa: S104 - all of 127.0.0.0/8 is this machine
SERVICES = ("report-service", "email-service", "user-service")
JOB: dict[str, Any] = {
    "name": "nightly-report",
    "displayName": "Nightly report",
    "description": "Mail the report",
    "cronExpression": "0 3 * * *",
    "enabled": True,
    "jobType": "analytics",
    "service": "report-service",
    "endpoint": "/api/jobs/nightly-report",
    "config": {"batchSize": 25},
}
"""The registration that JOBS.md shows."""
Making = Callable[[str, UUID, str | None], Awaitable[None]]


async def _no_run(name: str, run: UUID, user: str | None) -> None:
    """Take a trigger, and never get to it."""


@dataclass
class ScriptedWorkflows:
    """Workflows that keep what they were asked, are away on request, and make runs as a test says."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    away: bool = False
    busy: bool = False
    make: Making = _no_run
    trouble: dict[str, str] = field(default_factory=dict)
    """Why workflows of jobs do not go on."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first trigger."""

    async def tell(self, revision: JobRevision) -> None:
        if revision.is_gone:
            self._heard("stop", revision.name)
        else:
            work = revision.definition or revision.task
            self._heard("configure", revision.name, revision.revision, work)

    async def trigger(self, name: str, run: UUID, user: str | None) -> None:
        self._heard("trigger", name, run, user)
        self.asked.set()
        if self.busy:
            raise AlreadyRunning("a run is under way")
        await self.make(name, run, user)

    async def troubles(self, names: Collection[str]) -> Mapping[str, str]:
        if self.away:
            raise NotTold("Temporal does not say which workflows of jobs run")
        return {name: why for name, why in self.trouble.items() if name in names}

    def _heard(self, *call: Any) -> None:
        if self.away:
            raise NotTold("Temporal can't be reached - try again later")
        self.calls.append(call)


@dataclass(frozen=True)
class Answer:
    """What the API answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class RunningApi:
    """An API that answers."""

    server: ApiServer
    parts: Parts
    store: JobStore
    workflows: ScriptedWorkflows
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server.port}"

    async def ask(
        self,
        method: str,
        path: str,
        body: JsonValue = None,
        *,
        data: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request as an administrator, unless headers are given; `body` is sent as JSON."""
        sent = dict(ADMIN if headers is None else headers)
        if body is not None:
            data, sent = json.dumps(body), {"Content-Type": "application/json", **sent}
        skipped = [] if "Content-Type" in sent else ["Content-Type"]
        async with self.session.request(
            method, self.url + path, data=data, headers=sent, skip_auto_headers=skipped
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.text())

    async def register(self, **changes: JsonValue) -> Answer:
        """Register the job of the example, with some keys changed; those that are `...` are left out."""
        body = {key: value for key, value in {**JOB, **changes}.items() if value is not ...}
        return await self.ask("POST", "/api/jobs/register", body, headers=SERVICE)

    async def audited(self) -> list[AuditLine]:
        """Return the lines of audit about jobs, the oldest first."""
        return [line for line in reversed(await self.store.audit()) if line.job_name]

    async def made(self, run: UUID, *, ended: bool = True, **end: Any) -> None:
        """Write a run as a worker does: opened, then closed."""
        now = datetime.now(UTC)
        start = RunStart(
            id=run, job_name=JOB["name"], job_type="analytics", started_at=now, triggered_by=TriggeredBy.MANUAL
        )  # fmt: skip
        await self.store.open_run(start)
        if ended:
            end.setdefault("status", RunStatus.COMPLETED)
            await self.store.close_run(RunEnd(start=start, completed_at=datetime.now(UTC), **end))


def check_service(service: str) -> None:
    """Refuse a service whose URL nobody named, as a worker does."""
    if service not in SERVICES:
        raise InvalidValue(unknown_service(service, SERVICES))


def settings(**changes: Any) -> ApiSettings:
    """Return the settings of most tests."""
    told = {
        "host": LOOPBACK,
        "port": free_port(),
        "service_token": SecretStr(SERVICE_TOKEN),
        "admin_token": SecretStr(ADMIN_TOKEN),
    }
    return ApiSettings(**{**told, **changes})


@asynccontextmanager
async def running(
    root: Path,
    told: ApiSettings | None = None,
    *,
    database: str | None = None,
    parts: Mapping[str, Any] | None = None,
    **server: Any,
) -> AsyncIterator[RunningApi]:
    """Run an API over a store: a file below the folder, or a database of PostgreSQL."""
    store = await JobStore.open(database, root)
    workflows = ScriptedWorkflows()
    shared = Parts(store, workflows, check_service, lambda: workflows.away, **(parts or {}))
    api = ApiServer(told or settings(), shared, **server)
    await api.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield RunningApi(api, shared, store, workflows, session)
    finally:
        await api.stop()
        await store.close()


def ask_raw(
    port: int,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
    source: str = LOOPBACK,
) -> Answer:
    """Send a request whose path goes out as it is written, from an address of this machine."""
    connection = http.client.HTTPConnection(source, port, source_address=(source, 0), timeout=30)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        data = None if body is None else body.encode()
        if data is not None or method in ("POST", "PUT"):
            connection.putheader("Content-Length", str(len(data or b"")))
        connection.endheaders(data)
        answer = connection.getresponse()
        text = answer.read().decode()
        return Answer(
            answer.status, {key.lower(): value for key, value in answer.getheaders()}, text
        )
    finally:
        connection.close()
