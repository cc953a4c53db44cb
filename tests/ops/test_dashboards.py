"""Dashboards are files that Grafana imports, made of one source; their queries are tried where a system runs."""

import json
import re

import pytest
from prometheus_client import CollectorRegistry

from docs.dashboard_picture import drawn
from docs.dashboards import COLUMNS, DASHBOARDS, FOLDER, MAINTENANCE, Dashboard, files, rendered
from vaultmesh.process.maintenance_metrics import MaintenanceMetrics


def test_there_is_a_file_for_each_as_the_source_has_it() -> None:
    assert {place: place.read_text(encoding="utf-8") for place in FOLDER.glob("*.json")} == files()
    assert [dashboard.name for dashboard in DASHBOARDS] == [
        "overview", "namespace", "target", "jobs", "maintenance",
    ]  # fmt: skip


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_panels_lie_beside_each_other_and_choose_by_variables_that_exist(
    dashboard: Dashboard,
) -> None:
    document = json.loads(rendered(dashboard, "vmsh"))
    taken = set[tuple[int, int]]()
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < COLUMNS
        taken |= cells
        for target in panel["targets"]:
            assert "scheduler_" not in target["expr"]
    variables = {variable["name"] for variable in document["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", "".join(dashboard.expressions)))
    assert used <= variables | {"__rate_interval"}


def test_metrics_of_maintenance_are_those_that_are_exported() -> None:
    registry = CollectorRegistry()
    MaintenanceMetrics(registry, "scheduler")
    exported = {metric.name for metric in registry.collect()}
    named = re.findall(r"\bscheduler_\w+", "".join(MAINTENANCE.expressions))
    assert {re.sub(r"_(total|sum|count)$", "", name) for name in named} <= exported


def test_a_picture_shows_the_numbers_that_it_was_given() -> None:
    series = {"metric": {"target": "eip155:1"}, "values": [[10, "0"], [20, "4"], [30, "2"]]}
    text = drawn(DASHBOARDS[0], lambda _: [series])
    assert text.count("<polyline") >= 12
    assert "eip155:1" in text
    assert ">2</text>" in text  # a number is the newest one
    assert "no data" in drawn(DASHBOARDS[0], lambda _: [])
