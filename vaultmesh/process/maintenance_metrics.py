"""Defines the metrics of maintenance tasks, under the names of the scheduler that we replace (ADR 64).

They change when a row is closed, in the process that closes it: a run counts once over all workers, also one whose worker died.
"""

from collections.abc import Mapping
from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pydantic import JsonValue

from vaultmesh.domain.jobs.messages import RunEnd
from vaultmesh.domain.jobs.tasks import is_task, task_name
from vaultmesh.domain.maintenance.outcomes import GOOD, Outcome, Reason

BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1_200, 3_600)
"""Seconds: a run takes from a moment to hours."""
_SECOND = timedelta(seconds=1)
_OUTCOMES = frozenset(map(str, Outcome))
_REASONS = frozenset(map(str, Reason))
OTHER = "other"
"""Reason of a failure that names none: the worker died, or nobody took the run."""


class MaintenanceMetrics:
    """The metrics of maintenance tasks in one process."""

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        """Define them under a prefix."""
        self._runs = Counter(
            f"{prefix}_runs",
            "Runs of maintenance tasks that ended, by outcome.",
            ("task", "outcome"),
            registry=registry,
        )
        self._duration = Histogram(
            f"{prefix}_duration_seconds",
            "Time from the first start of a maintenance task's run to its end.",
            ("task",),
            registry=registry,
            buckets=BUCKETS,
        )
        self._completed = Gauge(
            f"{prefix}_tasks_completed",
            "Tables, indexes or other parts that the last run of a maintenance task completed.",
            ("task",),
            registry=registry,
        )
        self._errors = Counter(
            f"{prefix}_errors",
            "Runs of maintenance tasks that ended with an error, by reason.",
            ("task", "reason"),
            registry=registry,
        )

    def closed(self, job: str, end: RunEnd) -> None:
        """Count a run whose row was closed here; runs of jobs that are no maintenance tasks are left out."""
        if not is_task(job):
            return
        task, outcome = task_name(job), outcome_of(end)
        self._runs.labels(task, outcome).inc()
        if end.started_at is not None and end.completed_at is not None:
            self._duration.labels(task).observe((end.completed_at - end.started_at) / _SECOND)
        self._completed.labels(task).set(end.items_succeeded or 0)
        if outcome not in GOOD:
            self._errors.labels(task, _reason_of(end)).inc()


def outcome_of(end: RunEnd) -> str:
    """Return a run's outcome; `failed` where nobody could say it."""
    said = _said(end.metadata, "outcome")
    return said if said in _OUTCOMES else str(Outcome.FAILED)


def _reason_of(end: RunEnd) -> str:
    said = _said(end.metadata, "reason")
    return said if said in _REASONS else OTHER


def _said(metadata: Mapping[str, JsonValue] | None, key: str) -> str:
    value = None if metadata is None else metadata.get(key)
    return value if isinstance(value, str) else ""
