"""Holds the requests that wait for a target's aggregator and are in no round yet, and those that failed and come back."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice

from pydantic import BaseModel, Field

from vaultmesh.domain.messages import AnchorRequest

MOST_WAITING = 4_000
"""Requests that may wait; those beyond it are sent back, so that the carried state stays below 1.5 MB."""
MOST_REMEMBERED_FAILURES = 5_000
MOST_REMEMBERED_WITHDRAWALS = 1_000
WITHDRAWN_FOR = timedelta(minutes=10)
"""How long a withdrawal holds: twice what one attempt of `anchor` may take, which may still be on its way here."""


class WaitingRequests(BaseModel):
    """Requests by id, how often each failed, and which were taken back."""

    queue: dict[str, AnchorRequest] = Field(default_factory=dict)
    away: dict[str, AnchorRequest] = Field(default_factory=dict)
    """Requests that failed with the target, and come back by their own retry unless the target answers earlier."""
    failures: dict[str, int] = Field(default_factory=dict)
    """Consecutive reported failures by request id, also of requests that are in a round or come back later."""
    withdrawn: dict[str, datetime] = Field(default_factory=dict)
    """Requests that were taken back, and when: one that arrives later than its withdrawal is not taken up."""

    def counted(self, request: AnchorRequest) -> AnchorRequest:
        """Return a request with the failures that it brings or that are known, whichever are more."""
        failures = max(request.failures, self.failures.get(request.id, 0))
        return request.model_copy(update={"failures": failures})

    def enqueue(self, request: AnchorRequest) -> bool:
        """Let a request wait; returns false when too many do. Asking twice changes nothing (X1)."""
        if request.id not in self.queue and len(self.queue) >= MOST_WAITING:
            return False
        self.away.pop(request.id, None)
        self.queue[request.id] = self.counted(request)
        return True

    def carry(self, request: AnchorRequest) -> bool:
        """Let a request of an earlier run wait, and know its failures; returns false when too many wait."""
        if not self.enqueue(request):
            return False
        if request.failures:
            self.failures[request.id] = request.failures
        return True

    def take(self, requests: Iterable[AnchorRequest]) -> list[AnchorRequest]:
        """Return those of the requests that wait; they are in a round from now on."""
        return [request for request in requests if self.queue.pop(request.id, None) is not None]

    def failed(self, request: AnchorRequest) -> AnchorRequest:
        """Count a failure of a request, which waits no longer; returns it with the new count."""
        self.queue.pop(request.id, None)
        failures = self.counted(request).failures + 1
        if request.id in self.failures or len(self.failures) < MOST_REMEMBERED_FAILURES:
            self.failures[request.id] = failures
        return request.model_copy(update={"failures": failures})

    def failed_with_target(self, requests: Iterable[AnchorRequest]) -> None:
        """Remember requests whose failure is the target's own; those beyond the most come back by themselves alone."""
        room = MOST_WAITING - len(self.away)
        self.away |= {request.id: request for request in islice(requests, room)}

    def ended(self, request_id: str) -> None:
        """Forget a request that was answered."""
        self.away.pop(request_id, None)
        self.queue.pop(request_id, None)
        self.failures.pop(request_id, None)

    def withdraw(self, request_id: str, now: datetime) -> None:
        """Remember that a request was taken back; the oldest withdrawals are forgotten."""
        self.away.pop(request_id, None)
        lasting = [(key, at) for key, at in self.withdrawn.items() if now - at < WITHDRAWN_FOR]
        newest = lasting[-(MOST_REMEMBERED_WITHDRAWALS - 1) :]
        self.withdrawn = {**dict(newest), request_id: now}

    def is_withdrawn(self, request_id: str, now: datetime) -> bool:
        """Whether a request was taken back a short while ago."""
        at = self.withdrawn.get(request_id)
        return at is not None and now - at < WITHDRAWN_FOR


def merged(requests: Iterable[AnchorRequest]) -> dict[tuple[str, str], AnchorRequest]:
    """Return one request for each namespace and folder: its first, with the largest depth that any of them requires."""
    chosen: dict[tuple[str, str], AnchorRequest] = {}
    for request in requests:
        first = chosen.setdefault((request.namespace, request.batches), request)
        if request.required_depth > first.required_depth:
            deeper = {"required_depth": request.required_depth}
            chosen[request.namespace, request.batches] = first.model_copy(update=deeper)
    return chosen
