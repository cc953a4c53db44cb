"""Counts what one process meets at a target: requests to its endpoints, foreign uses of its key, and who disagrees.

A ledger's driver counts; what shows metrics reads. All of it begins anew when the target is opened anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

ENDPOINT_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds: a local node answers in milliseconds, and no request lasts longer than ten seconds."""


class Durations:
    """Counts durations by buckets."""

    __slots__ = ("bounds", "buckets", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Count none; `bounds` in seconds, rising."""
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        fitting = (place for place, bound in enumerate(self.bounds) if seconds <= bound)
        self.buckets[next(fitting, len(self.bounds))] += 1
        self.total += seconds


@dataclass(slots=True)
class Endpoint:
    """Requests to one host."""

    durations: Durations = field(default_factory=lambda: Durations(ENDPOINT_BOUNDS))
    """Of all requests, those that failed as well."""
    errors: int = 0
    """Requests without an answer, or with an HTTP status in its place."""


@dataclass(slots=True)
class Tally:
    """What was counted at one target since it was opened."""

    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    """By host and port."""
    foreign_uses: int = 0
    """Transactions by others with our key, as they came to light before a reservation."""
    disagreements: int = 0
    """Looks after which those that are asked did not agree."""
    clock_skew: timedelta | None = None
    """How far the clock of an authority was ahead of ours at its newest token."""
    ends: dict[str, Mapping[str, datetime]] = field(default_factory=dict)
    """When what the newest tokens rest on ends, by who sent it and kind."""

    def endpoint(self, host: str) -> Endpoint:
        """Return what is counted of a host, from now on at least."""
        return self.endpoints.setdefault(host, Endpoint())


@dataclass(frozen=True, slots=True)
class TargetFigures:
    """What one look at a target shows, beside its rounds; None where there is no such thing, or nobody could tell."""

    balance: int | None = None
    """In the scheme's least unit."""
    bid: float | None = None
    """What an anchor would bid now, by the unit that the ledger sells."""
    anchors: int | None = None
    """How many anchors the balance pays for at that bid."""
    is_cap_reached: bool = False
    """Whether the ledger asks more than the configured cap."""
    ends: Mapping[str, datetime] = field(default_factory=dict)
    """When what proofs rest on ends, the earliest of each kind."""
