"""Defines the metrics of maintenance tasks, under the names of the scheduler that we replace.

They change when a row is closed, in the process that closes it: a run counts once over all workers, also one whose worker died.
"""

from collections.abc import Mapping
from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pydantic import JsonValue

from vaultmesh.domain.jobs.messages import RunEnd
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.jobs.tasks import is_task, task_name
from vaultmesh.domain.maintenance.outcomes import Outcome, Reason
from vaultmesh.process.run_metrics import BUCKETS

_SECOND = timedelta(seconds=1)
_OUTCOMES = frozenset(map(str, Outcome))
_REASONS = frozenset(map(str, Reason))
_FINE = frozenset({Outcome.DONE, Outcome.NOT_NEEDED, Outcome.RUNNING})
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
            "1 for each maintenance task whose last run ended well.",
            ("task",),
            registry=registry,
        )
        self._errors = Counter(
            f"{prefix}_errors",
            "Parts of maintenance tasks that failed or met a lock, by reason; one for a run that failed as a whole.",
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
        self._completed.labels(task).set(end.status is RunStatus.COMPLETED)
        for reason in _reasons(end, outcome):
            self._errors.labels(task, reason).inc()


def outcome_of(end: RunEnd) -> str:
    """Return a run's outcome; `failed` where nobody could say it."""
    said = _said(end.metadata, "outcome")
    return said if said in _OUTCOMES else str(Outcome.FAILED)


def _reasons(end: RunEnd, outcome: str) -> list[str]:
    """Return why parts of a run failed; of one that failed as a whole, why it did."""
    steps = None if end.metadata is None else end.metadata.get("steps")
    parts = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    bad = [_reason(step, str(Reason.SQL)) for step in parts if step.get("outcome") not in _FINE]
    if bad or outcome in _FINE:
        return bad
    return [_reason(end.metadata, OTHER)]


def _reason(said: Mapping[str, JsonValue] | None, other: str) -> str:
    reason = _said(said, "reason")
    return reason if reason in _REASONS else other


def _said(metadata: Mapping[str, JsonValue] | None, key: str) -> str:
    value = None if metadata is None else metadata.get(key)
    return value if isinstance(value, str) else ""
