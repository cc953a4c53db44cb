"""Has the Temporal SDK's own metrics on our page: it keeps them on a port of the loopback address, and we ask there.

The SDK counts in its own threads, so that a scrape costs our interpreter one small request and no update is ever lost;
its buffer for Python would have to be drained, and its histograms be counted, here.
"""

import re
import socket
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException

from temporalio.runtime import LoggingConfig, PrometheusConfig, Runtime, TelemetryConfig

from vaultmesh.domain.names import (
    AGGREGATOR_WORKFLOW,
    JOB_WORKFLOW,
    NAMESPACE_WORKFLOW,
    SIGNALS_REJECTED,
)
from vaultmesh.process.exposition import Page

_LOOPBACK = "127.0.0.1"
_TRIES = 5
"""Somebody else may take a port between our choice and the SDK's use."""
_ANSWER_SECONDS = 2.0
"""The SDK answers within milliseconds, except on a machine that has no time for it; the page does without it then."""
_TYPES = (NAMESPACE_WORKFLOW, AGGREGATOR_WORKFLOW, JOB_WORKFLOW)
_REJECTED = re.compile(rf'{SIGNALS_REJECTED}_total\{{.*workflow_type="(\w+)".*\}} (\d+)')


class SdkMetrics:
    """The SDK's metrics of one process."""

    def __init__(self) -> None:
        """Have none before the runtime is made."""
        self._port = 0

    def runtime(self, logging: LoggingConfig) -> Runtime:
        """Return a runtime that keeps metrics; one without, where no port of the loopback address can be had."""
        for _ in range(_TRIES):
            with socket.socket() as free:
                free.bind((_LOOPBACK, 0))
                port: int = free.getsockname()[1]
            metrics = PrometheusConfig(
                f"{_LOOPBACK}:{port}",
                counters_total_suffix=True,
                unit_suffix=True,
                durations_as_seconds=True,
            )
            try:
                telemetry = TelemetryConfig(
                    logging=logging, metrics=metrics, attach_service_name=False
                )
                runtime = Runtime(telemetry=telemetry)
            except ValueError:  # the port was taken meanwhile
                continue
            self._port = port
            return runtime
        return Runtime(telemetry=TelemetryConfig(logging=logging))

    def page(self, prefix: str) -> bytes:
        """Return the SDK's part of a page, and what workflows count through it under our prefix; blocks shortly."""
        lines = self._asked().decode(errors="replace").splitlines(keepends=True)
        own = Page(prefix)
        own.family(
            f"{SIGNALS_REJECTED}_total",
            "counter",
            "Signals that workflows ignored, because they mean nothing to them, by type of workflow.",
            ("type",),
            _rejected(lines),
        )
        kept = "".join(line for line in lines if f"{SIGNALS_REJECTED}_total" not in line)
        return own.content() + kept.encode()

    def _asked(self) -> bytes:
        if not self._port:
            return b""
        connection = HTTPConnection(_LOOPBACK, self._port, timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            return answer.read() if answer.status == 200 else b""  # noqa: PLR2004 - HTTP's OK
        except (OSError, HTTPException):
            return b""
        finally:
            connection.close()


def _rejected(lines: Iterable[str]) -> dict[tuple[str], int]:
    """Return how many signals each type of workflow rejected."""
    counted = {(name,): 0 for name in _TYPES}
    for line in lines:
        match = _REJECTED.match(line)
        if match is not None:
            counted[match[1],] = counted.get((match[1],), 0) + int(match[2])
    return counted
