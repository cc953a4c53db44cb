"""Holds what a route works with: the parts of the API, and one call of it."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, JsonValue, ValidationError

from vaultmesh.api.auth import Caller
from vaultmesh.api.job_workflows import JobWorkflows
from vaultmesh.api.listing import JobListing
from vaultmesh.domain.errors import InvalidDocument, Problem, described, problems_of
from vaultmesh.domain.jobs.records import Actor, JobRevision
from vaultmesh.domain.jobs.refusals import NotTold, StoreError
from vaultmesh.overview.anchoring import AnchoringOverview
from vaultmesh.process.maintenance_source import MaintenanceSource
from vaultmesh.storage.job_store import JobStore

TELL_WITHIN_SECONDS = 5.0
"""So long a change waits for its job's workflow; then the reconciler tells it."""
LONGEST_USER = 200
"""Characters of a user's id that are kept as claimed."""
_LOG = logging.getLogger(__name__)
Form = TypeVar("Form", bound=BaseModel)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Parts:
    """What the routes of one process share."""

    store: JobStore
    workflows: JobWorkflows
    check_service: Callable[[str], object]
    """Raises `InvalidValue` for a service whose URL nobody named."""
    temporal_silent: Callable[[], bool]
    """Whether Temporal has not answered for too long."""
    anchoring: AnchoringOverview | None = None
    """What the admin page shows of anchoring; None where the process knows nothing of it."""
    maintenance: MaintenanceSource | None = None
    """maintenance.yaml of this process; None: what the store knows of its tasks is all there is."""
    now: Callable[[], datetime] = _now
    listing: JobListing = field(default_factory=JobListing)
    trigger_wait_seconds: float = 25.0
    """So long a trigger waits for the run's end: proxies end a request after 30 s."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is told to end: nobody waits any longer."""

    async def tell(self, revision: JobRevision) -> bool:
        """Tell a job's workflow what was decided; False if that is left to the reconciler."""
        try:
            async with asyncio.timeout(TELL_WITHIN_SECONDS):
                await self.workflows.tell(revision)
            await self.store.mark_told(revision.name, revision.revision)
        except (NotTold, StoreError, TimeoutError) as error:
            details = {"job": revision.name, "revision": revision.revision, "err": str(error)}
            _LOG.warning("job's workflow not told yet", extra=details)
            return False
        return True


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a route."""

    parts: Parts
    request: web.Request
    caller: Caller
    body: JsonValue = None
    path_values: Mapping[str, str] | None = None
    """What stands in for the path's parameters where a page asks; None: the path's own count."""
    query_values: Mapping[str, str] | None = None
    """What stands in for the query."""

    @property
    def name(self) -> str:
        """The job's name in the path; empty if the path has none."""
        return self.path_value("jobName")

    def path_value(self, key: str) -> str:
        """Return a parameter of the path; empty if the path has none of this name."""
        values = self.request.match_info if self.path_values is None else self.path_values
        return values.get(key, "")

    @property
    def actor(self) -> Actor:
        """Who calls, for the audit: whom the body names is claimed, and not proven."""
        named = self.body.get("userId") if isinstance(self.body, dict) else None
        claimed = named[:LONGEST_USER] if isinstance(named, str) and named else None
        return Actor(name=self.caller.user or self.caller.actor, claimed_user=claimed)

    def read(self, form: type[Form]) -> Form:
        """Return the body as a form.

        Raises:
            InvalidDocument: with everything that is wrong, each at its key.
        """
        if not isinstance(self.body, dict):
            what = "empty" if self.body is None else described(self.body)
            problem = (
                f"the body is {what} - send a JSON object with its content type, {{}} at least"
            )
            raise InvalidDocument([Problem((), problem)])
        return _read(form, self.body)

    def query(self, form: type[Form]) -> Form:
        """Return the query as a form; a key that is written twice is refused.

        Raises:
            InvalidDocument: with everything that is wrong, each at its key.
        """
        if self.query_values is not None:
            return _read(form, dict(self.query_values))
        query = self.request.query
        values: dict[str, JsonValue] = {}
        for key in query:
            every = query.getall(key)
            values[key] = every[0] if len(every) == 1 else list[JsonValue](every)
        return _read(form, values)


def _read(form: type[Form], values: dict[str, JsonValue]) -> Form:
    try:
        return form.model_validate(values, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidDocument(problems_of(error, form)) from None
