"""Defines what a handler is sent: path, headers and body of one run's call, and the proof that it comes from us.

1. Every attempt of one run sends the same bytes; only the signature's time differs.
2. Handlers know the words `scheduler` and `manual`; who asked is left out when nobody knows.
"""

import hmac
import json
from dataclasses import dataclass
from urllib.parse import quote
from uuid import UUID

from pydantic import JsonValue

from vaultmesh.domain.jobs.job import JobDefinition
from vaultmesh.domain.jobs.run import TriggeredBy

EXECUTION_HEADER = "X-Scheduler-Execution-Id"
SIGNATURE_HEADER = "X-Scheduler-Signature"
_KEPT = "!$%&'()*+,-./:;=?@[]_~"
"""What stands in an endpoint as it was written; the rest is percent-encoded, as the original's client did."""


@dataclass(frozen=True, slots=True)
class JobCall:
    """The call of one run."""

    job: JobDefinition
    execution_id: UUID
    triggered_by: TriggeredBy
    user: str | None = None
    """Who asked for it, as the trigger said it; None if nobody knows."""

    @property
    def body(self) -> bytes:
        """The request's body: JSON in ASCII, so that no text can break it."""
        scheduled = self.triggered_by is TriggeredBy.SCHEDULER
        content: dict[str, JsonValue] = {
            "jobName": self.job.name,
            "config": self.job.config,
            "executionId": str(self.execution_id),
            "triggeredBy": TriggeredBy.SCHEDULER if scheduled else TriggeredBy.MANUAL,
        }
        if self.user:
            content["triggeredByUser"] = self.user
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def url_of(base: str, endpoint: str) -> str:
    """Return where a job is called: the endpoint behind a service's URL, in characters that a request line holds."""
    return base.rstrip("/") + quote(endpoint, safe=_KEPT)


def signature(key: str, unix_seconds: int, body: bytes) -> str:
    """Return the value of the signature's header: the time, and the HMAC-SHA256 of `<time>.<body>` in hex."""
    signed = b"%d.%b" % (unix_seconds, body)
    digest = hmac.new(key.encode(), signed, "sha256").hexdigest()
    return f"t={unix_seconds},v1={digest}"
