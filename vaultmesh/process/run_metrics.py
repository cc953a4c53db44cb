"""Sends the metrics of a process that runs tasks once to a collector, by OTLP over HTTP.

1. OpenTelemetry's SDK takes a second to load, so it is loaded beside the tasks.
2. A collector that does not answer costs two seconds and a line of log, never the exit code.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vaultmesh.domain.maintenance.outcomes import Outcome, Reason, TaskResult
from vaultmesh.process.maintenance_settings import Telemetry

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

PUSH_SECONDS = 1.8
"""For everything that a collector does."""
_LOAD_SECONDS = 20.0
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600)
"""Upper bounds of durations, in seconds."""
_PATH = "/v1/metrics"
_LOG = logging.getLogger(__name__)


class Pushing:
    """Loads what it needs at once, and sends results when they are there."""

    def __init__(self, telemetry: Telemetry) -> None:
        """Begin to load, in a thread of its own."""
        self._telemetry = telemetry
        self._sent = False
        self._loading = threading.Thread(target=_load, daemon=True)
        self._loading.start()

    def push(self, results: Sequence[TaskResult]) -> bool:
        """Send what became of a run's tasks; return whether the collector took it."""
        self._loading.join(_LOAD_SECONDS)
        if self._loading.is_alive():
            _LOG.warning("metrics were not sent: their library was not loaded in time")
            return False
        sending = threading.Thread(target=self._send, args=(results,), daemon=True)
        begin = time.monotonic()
        sending.start()
        sending.join(PUSH_SECONDS)
        if not self._sent:
            waited = round(time.monotonic() - begin, 1)
            _LOG.warning(
                "metrics were not sent: the collector did not take them", extra={"seconds": waited}
            )
        return self._sent

    def _send(self, results: Sequence[TaskResult]) -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415 - see the module
            OTLPMetricExporter,
        )
        from opentelemetry.sdk.metrics.export import MetricExportResult  # noqa: PLC0415

        exporter = OTLPMetricExporter(
            endpoint=self._telemetry.endpoint.get_secret_value().rstrip("/") + _PATH,
            headers=dict(self._telemetry.headers),
            timeout=PUSH_SECONDS,
        )
        data = measured(self._telemetry, results)
        self._sent = exporter.export(data) is MetricExportResult.SUCCESS


def measured(telemetry: Telemetry, results: Sequence[TaskResult]) -> "MetricsData":
    """Return the four metrics of a run, by the names that the scheduler before us documented."""
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - see the module
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    reader = InMemoryMetricReader()
    resource = Resource.create(
        {
            "service.name": telemetry.service,
            "service.instance.id": telemetry.instance,
            "service.version": telemetry.version,
        }
    )
    meter = MeterProvider([reader], resource, shutdown_on_exit=False).get_meter("vaultmesh")
    runs = meter.create_counter("scheduler_runs_total", description="runs of tasks")
    errors = meter.create_counter(
        "scheduler_errors_total", description="parts of tasks that failed"
    )
    durations = meter.create_histogram(
        "scheduler_duration_seconds", unit="s", description="duration of tasks",
        explicit_bucket_boundaries_advisory=BUCKETS,
    )  # fmt: skip
    completed = meter.create_gauge("scheduler_tasks_completed", description="tasks that ended well")
    for result in results:
        runs.add(1, {"task": result.task, "outcome": result.outcome.value})
        durations.record(result.seconds, {"task": result.task})
        for reason in _errors(result):
            errors.add(1, {"task": result.task, "reason": reason.value})
    completed.set(sum(result.is_good for result in results))
    data = reader.get_metrics_data()
    assert data is not None  # noqa: S101 - something was measured
    return data


def _errors(result: TaskResult) -> list[Reason]:
    """Return why parts of a task failed; of a task that failed as a whole, why it did."""
    bad = {Outcome.DENIED, Outcome.TIMED_OUT, Outcome.CANCELLED, Outcome.FAILED, Outcome.LOCKED}
    of_steps = [step.reason or Reason.SQL for step in result.steps if step.outcome in bad]
    if not of_steps and result.outcome in bad:
        return [result.reason or Reason.SQL]
    return of_steps


def _load() -> None:
    """Load the library; whoever uses it then waits for nothing."""
    import opentelemetry.exporter.otlp.proto.http.metric_exporter  # noqa: PLC0415
    import opentelemetry.sdk.metrics.export  # noqa: PLC0415, F401
