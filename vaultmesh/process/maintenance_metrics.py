"""Defines the metrics of maintenance tasks, under the names of the scheduler that we replace.

They change when a row is closed, in the process that closes it: a run counts once over all workers, also one whose worker died.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pydantic import JsonValue
from pydantic_core import to_json

from vaultmesh.domain.jobs.messages import RunEnd
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.jobs.tasks import is_task, task_name
from vaultmesh.domain.maintenance.figures import Figures, Holder
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
        self._success_due = Gauge(
            f"{prefix}_task_success_due_timestamp_seconds",
            "Unix time by which a maintenance task must have succeeded again.",
            ("task",),
            registry=registry,
        )
        self._database = _DatabaseMetrics(registry, prefix)

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
        if (due := _said(end.metadata, "success_due")) != "":
            self._success_due.labels(task).set(datetime.fromisoformat(due).timestamp())
        if end.metadata is not None and end.metadata.get("figures") is not None:
            self._database.seen(task, Figures.model_validate_json(to_json(end.metadata["figures"])))


class _DatabaseMetrics:
    """What runs that vacuumed saw of their databases, as alerts need it."""

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self._oldest_age = Gauge(
            f"{prefix}_database_oldest_age",
            "Transactions since the oldest that a table still knows.",
            ("database",),
            registry=registry,
        )
        self._held_dead = Gauge(
            f"{prefix}_rows_held_dead",
            "Dead rows above the setting that VACUUM could not clean, by what holds them.",
            ("database", "task", "held_by"),
            registry=registry,
        )

    def seen(self, task: str, figures: Figures) -> None:
        """Take what a run saw; what holds nothing any more is 0."""
        self._oldest_age.labels(figures.database).set(figures.oldest_age)
        for holder in Holder:
            held = figures.held_dead if holder is figures.held_by else 0
            self._held_dead.labels(figures.database, task, holder.value).set(held)


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
