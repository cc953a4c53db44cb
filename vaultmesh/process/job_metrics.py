"""Shows what the store says of jobs as metrics: every replica shows the same, and a restart changes nothing.

1. The store is read at intervals. Whoever asks for the page waits for no database: it holds what was read last.
2. While the store is away, the page keeps what was read last; one gauge says that it is away, another how old that is.
3. A job that is gone has no series any more. One that is registered has all its counters, at 0.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from typing_extensions import override

from vaultmesh.domain.jobs.figures import DURATION_BOUNDS, LAG_BOUNDS, Histogram, JobFigures
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.process.metrics import Metrics

READ_SECONDS = 10.0
"""Between two looks at the store."""
REST_FACTOR = 20
"""A look takes at most one twentieth of the time: a rest of so many times its length follows it."""
TASK = "reading metrics of jobs"
_LABELS = ("job",)
_LOG = logging.getLogger(__name__)
Read = Callable[[], Awaitable[Sequence[JobFigures]]]
_Value = datetime | timedelta | float | None


class JobMetrics:
    """Metrics of jobs of one process, as it read them last."""

    def __init__(self, metrics: Metrics, read: Read, *, reconciles: bool) -> None:
        """Add them to a page; `reconciles`: whether this process brings workflows to what the store says."""
        self._read = read
        self._prefix = prefix = metrics.prefix
        self._shown: Sequence[JobFigures] | None = None
        self._page = b""
        metrics.add(lambda: self._page)
        registry = metrics.registry
        self._up = Gauge(
            f"{prefix}_job_store_up",
            "1 while this worker can read the store of jobs; 0: what is said of jobs is what it read last.",
            registry=registry,
        )
        self._read_at = Gauge(
            f"{prefix}_jobs_read_timestamp_seconds",
            "Unix time at which this worker last read the store of jobs; 0 if it never could.",
            registry=registry,
        )
        self._reconciled: tuple[Gauge, Gauge] | None = None
        if reconciles:
            self._reconciled = _reconciler_gauges(prefix, registry)

    async def run(self) -> None:
        """Read until cancelled; a store that is away is asked again."""
        while True:
            started = time.monotonic()
            await self.once()
            took = time.monotonic() - started
            await asyncio.sleep(max(READ_SECONDS, REST_FACTOR * took))

    async def once(self) -> None:
        """Read once, and keep what was read before if the store does not answer."""
        try:
            jobs = await self._read()
        except StoreError as error:
            _LOG.warning("metrics of jobs not read", extra={"err": str(error)})
            self._up.set(0)
            return
        if jobs != self._shown:
            self._page = await asyncio.to_thread(_page, self._prefix, jobs)
            self._shown = jobs
        self._up.set(1)
        self._read_at.set(time.time())

    def reconciled(self, behind: int) -> None:
        """Take that jobs were reconciled now, and how many workflows still differ from what the store says."""
        if self._reconciled is not None:
            last, differing = self._reconciled
            last.set(time.time())
            differing.set(behind)


def _reconciler_gauges(prefix: str, registry: CollectorRegistry) -> tuple[Gauge, Gauge]:
    last = Gauge(
        f"{prefix}_job_reconciler_last_success_timestamp_seconds",
        "Unix time at which this worker last compared jobs with their workflows; at first, when it started.",
        registry=registry,
    )
    last.set(time.time())
    differing = Gauge(
        f"{prefix}_jobs_not_in_agreement",
        "Jobs whose workflow is missing, or has not heard what the store says, after the last comparison.",
        registry=registry,
    )
    return last, differing


def _page(prefix: str, jobs: Sequence[JobFigures]) -> bytes:
    """Return what the page says of jobs. Takes some time where there are many; blocks."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_OfJobs(prefix, jobs))
    return generate_latest(registry)


_GAUGES: Sequence[tuple[str, str, Callable[[JobFigures], _Value]]] = (
    (
        "enabled",
        "1 for a job that is enabled.",
        lambda job: job.is_enabled,
    ),
    (
        "paused",
        "1 for a job that an operator paused.",
        lambda job: job.is_paused,
    ),
    (
        "consecutive_failures",
        "Newest runs of a job that failed in a row; 60 stands for more, too.",
        lambda job: job.consecutive_failures,
    ),
    (
        "last_success_timestamp_seconds",
        "Unix time at which the newest completed run of a job began; 0 if there is none.",
        lambda job: job.last_success or 0,
    ),
    (
        "last_duration_seconds",
        "Duration of the newest completed run of a job.",
        lambda job: job.last_duration,
    ),
    (
        "median_duration_seconds",
        "Median duration of the 20 completed runs of a job before the newest one.",
        lambda job: job.median_duration,
    ),
    (
        "running_since_timestamp_seconds",
        "Unix time at which the run of a job that is under way began.",
        lambda job: job.running_since,
    ),
    (
        "catch_up_seconds",
        "How late a slot of a job may be called.",
        lambda job: job.catch_up,
    ),
    (
        "due_timestamp_seconds",
        "Unix time of a job's first slot that no run has followed; it lies in the past where a slot is late.",
        lambda job: job.due,
    ),
    (
        "success_due_timestamp_seconds",
        "Unix time by which a run of a job must have succeeded: two slots after the last success, and what a run may take.",
        lambda job: job.success_due,
    ),
)
"""Name, help and value of each gauge of a job; a value that is None has no series."""


class _OfJobs(Collector):
    """The series of every job."""

    def __init__(self, prefix: str, jobs: Sequence[JobFigures]) -> None:
        self._prefix = f"{prefix}_job"
        self._jobs = jobs

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield the series."""
        yield from self._counters()
        yield self._histogram(
            "duration_seconds",
            "Time from a run's start to its end, as far as that is known.",
            DURATION_BOUNDS,
            lambda job: job.durations,
        )
        yield self._histogram(
            "lag_seconds",
            "Time from a slot to the start of its run.",
            LAG_BOUNDS,
            lambda job: job.lags,
        )
        for name, text, value_of in _GAUGES:
            gauge = GaugeMetricFamily(f"{self._prefix}_{name}", text, labels=_LABELS)
            for job in self._jobs:
                value = value_of(job)
                if value is not None:
                    gauge.add_metric((job.name,), _number(value))
            yield gauge

    def _counters(self) -> Iterator[Metric]:
        labels = (*_LABELS, "outcome")
        runs = CounterMetricFamily(
            f"{self._prefix}_runs", "Runs of jobs that ended, by outcome.", labels=labels
        )
        slots = CounterMetricFamily(
            f"{self._prefix}_slots", "Due slots of jobs by outcome.", labels=labels
        )
        for job in self._jobs:
            runs.add_metric((job.name, RunStatus.COMPLETED), job.completed)
            runs.add_metric((job.name, RunStatus.FAILED), job.failed)
            for outcome, count in job.slots.items():
                slots.add_metric((job.name, outcome), count)
        yield from (runs, slots)

    def _histogram(
        self,
        name: str,
        text: str,
        bounds: Sequence[float],
        values_of: Callable[[JobFigures], Histogram],
    ) -> Metric:
        family = HistogramMetricFamily(f"{self._prefix}_{name}", text, labels=_LABELS)
        for job in self._jobs:
            values = values_of(job)
            buckets = [(str(bound), values.up_to(bound)) for bound in bounds]
            buckets.append(("+Inf", values.up_to(float("inf"))))
            family.add_metric((job.name,), buckets, values.total)
        return family


def _number(value: datetime | timedelta | float) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    return value.total_seconds() if isinstance(value, timedelta) else value
