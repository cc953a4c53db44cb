"""A run sends its four metrics to a collector; one that is away costs seconds and nothing else."""

import socket
import threading
import time
from collections.abc import Iterator
from gzip import decompress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from devnet.ports import free_port
from tests.postgres.shop import Shop
from vaultmesh.process.run_metrics import PUSH_SECONDS

TASKS = {
    "statistics": {"kind": "vacuum", "tables": "all"},
    "gone": {"kind": "vacuum", "tables": ["public.gone"]},
}


class Collector:
    """A collector that speaks OTLP over HTTP."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str | None, ExportMetricsServiceRequest]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = decompress(body)
                request = ExportMetricsServiceRequest.FromString(body)
                collector.requests.append((self.path, self.headers.get("x-team"), request))
                answer = ExportMetricsServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def metrics(self) -> dict[str, Any]:
        [(_, _, request)] = self.requests
        [of_resource] = request.resource_metrics
        return {
            metric.name: metric for scope in of_resource.scope_metrics for metric in scope.metrics
        }


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever)
    thread.start()
    yield collector
    collector.server.shutdown()
    thread.join()
    collector.server.server_close()


def attributes(point: Any) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in point.attributes}


def test_a_run_sends_the_four_metrics_of_the_scheduler_before(
    shop: Shop, collector: Collector
) -> None:
    shop.sql("CREATE TABLE goods AS SELECT 1 AS n")
    shop.write(TASKS)
    ran = shop.command(
        "run", "--once", OTEL_EXPORTER_OTLP_ENDPOINT=f"{collector.url}/",
        OTEL_EXPORTER_OTLP_HEADERS="x-team=battle%20scope", SERVICE_INSTANCE_ID="pod-7",
    )  # fmt: skip
    assert ran.code == 1, ran
    [(path, team, request)] = collector.requests
    assert (path, team) == ("/v1/metrics", "battle scope")
    resource = {
        pair.key: pair.value.string_value
        for pair in request.resource_metrics[0].resource.attributes
    }
    assert resource["service.name"] == "battlescope-scheduler"
    assert resource["service.instance.id"] == "pod-7"
    metrics = collector.metrics()
    runs = [
        (attributes(point), point.as_int)
        for point in metrics["scheduler_runs_total"].sum.data_points
    ]
    assert ({"task": "statistics", "outcome": "done"}, 1) in runs
    assert ({"task": "gone", "outcome": "failed"}, 1) in runs
    assert metrics["scheduler_runs_total"].sum.is_monotonic
    durations = metrics["scheduler_duration_seconds"].histogram.data_points
    assert {attributes(point)["task"] for point in durations} == {"statistics", "gone"}
    assert max(durations[0].explicit_bounds) == 3_600
    [completed] = metrics["scheduler_tasks_completed"].gauge.data_points
    assert completed.as_int == 1
    [error] = metrics["scheduler_errors_total"].sum.data_points
    assert attributes(error) == {"task": "gone", "reason": "sql"}


@pytest.mark.parametrize("how", ["refuses", "accepts and is silent", "is no host"])
def test_a_collector_that_is_away_costs_two_seconds_and_no_exit_code(shop: Shop, how: str) -> None:
    shop.sql("CREATE TABLE goods AS SELECT 1 AS n")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = {
            "refuses": f"127.0.0.1:{free_port()}",
            "accepts and is silent": f"127.0.0.1:{silent.getsockname()[1]}",
            "is no host": "collector.invalid:4318",
        }[how]
        begin = time.monotonic()
        ran = shop.command("run", "--once", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{place}")
        lasted = time.monotonic() - begin
    assert ran.code == 0, ran
    assert "metrics were not sent" in ran.errors
    assert PUSH_SECONDS < 2
    assert lasted < 30


def test_a_wrong_endpoint_is_told_by_its_variable(shop: Shop) -> None:
    ran = shop.command("run", "--once", OTEL_EXPORTER_OTLP_ENDPOINT="collector:4318")
    assert ran.code == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in ran.errors
