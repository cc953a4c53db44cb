"""Holds the dashboards for Grafana, and writes them as `ops/grafana/*.json`, by `python -m docs.tables`.

1. Workers show the same of each namespace and target, so gauges are joined by `max`; what each worker counts itself is summed.
2. Prometheus calls the page's label `namespace` `exported_namespace` where its own labels have one: the variable `label` says which it is.
3. Names have the default prefix; `rendered` has another one put in its place.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.with_name("ops") / "grafana"
DEFAULT_PREFIX = "scheduler"
GRAFANA_SCHEMA = 39
"""Of Grafana 11; newer ones read it and bring it up to date."""
COLUMNS = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and how its series are called."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a dashboard."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    """One of Grafana's units."""
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    help: str = ""


@dataclass(frozen=True, slots=True)
class Variable:
    """What whoever looks chooses: values of a label."""

    name: str
    query: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page of panels."""

    name: str
    title: str
    panels: Sequence[Panel]
    variables: Sequence[Variable] = ()

    @property
    def expressions(self) -> list[str]:
        """Every expression, in order."""
        return [query.expression for panel in self.panels for query in panel.queries]


def _panel(title: str, *queries: tuple[str, str], unit: str = "short", kind: str = "timeseries", width: int = 8, help_text: str = "") -> Panel:  # fmt: skip
    height = 4 if kind == "stat" else 7
    return Panel(title, [Query(*query) for query in queries], unit, kind, width, height, help_text)


_BY_CADENCE = "$label, cadence, target"
_OF_NAMESPACE, _OF_TARGET = '{$label=~"$namespace"}', '{target=~"$target"}'
_RATE = "[$__rate_interval]"


def _tries(selector: str, by: str) -> Sequence[tuple[str, str]]:
    return (
        (f"60 * sum by ({by}) (rate(scheduler_anchors_succeeded_total{selector}{_RATE}))", f"{{{{{by}}}}} well"),
        (f"60 * sum by ({by}) (rate(scheduler_anchors_failed_total{selector}{_RATE}))", f"{{{{{by}}}}} failed"),
    )  # fmt: skip


def _owed(selector: str, by: str) -> tuple[str, str]:
    return (
        f"sum by ({by}) (max by ({_BY_CADENCE}) (scheduler_owed_batches{selector}))",
        f"{{{{{by}}}}}",
    )


def _age(selector: str, by: str) -> tuple[str, str]:
    """Return the age of the oldest owed batch; 0 where nothing is owed."""
    return (
        f"max by ({by}) (time() - scheduler_oldest_owed_timestamp_seconds{selector}) or 0 * max by ({by}) (scheduler_owed_batches{selector})",
        f"{{{{{by}}}}}",
    )


def _rest(selector: str = "") -> Sequence[tuple[str, str]]:
    return (
        (f"max by (target, cause) (scheduler_target_held{selector})", "{{target}} held: {{cause}}"),
        (f"max by (target) (scheduler_target_unreachable{selector})", "{{target}} silent"),
        (f"max by (target) (scheduler_target_paused{selector})", "{{target}} paused"),
    )


OVERVIEW = Dashboard(
    "overview",
    "Scheduler",
    (
        _panel("Workers that hear of Temporal", ("count(time() - scheduler_last_tick_timestamp_seconds < 60) or vector(0)", "workers"), kind="stat", width=4),
        _panel("Namespaces", ("count(max by ($label) (scheduler_backoff_state))", "namespaces"), kind="stat", width=4),
        _panel("Batches past their deadline", ("sum(max by ($label, cadence, target, cause) (scheduler_deadline_overdue_batches)) or vector(0)", "batches"), kind="stat", width=4),
        _panel("Targets at rest", ("count(max by (target) (scheduler_target_held or scheduler_target_unreachable or scheduler_target_paused) > 0) or vector(0)", "targets"), kind="stat", width=4),
        _panel("Workflows missing or failing", ("max(scheduler_namespaces_missing) + sum(max by (type) (scheduler_workflows_failing))", "workflows"), kind="stat", width=4),
        _panel("Alerts", ('count(ALERTS{alertname=~"Scheduler.+", alertstate="firing"}) or vector(0)', "alerts"), kind="stat", width=4),
        _panel("Tries of anchors a minute", *_tries("", "target")),
        _panel("Owed batches", _owed("", "target")),
        _panel("Oldest owed batch", _age("", "target"), unit="s"),
        _panel("Time to finality", ("max by (target) (scheduler_finality_lag_seconds)", "{{target}}"), unit="s", help_text="How long ago the oldest batch was sealed that is anchored and not final."),
        _panel("Targets at rest", *_rest(), help_text="1 while it is so."),
        _panel("Anchors that the funds pay for", ("min by (target) (scheduler_runway_anchors)", "{{target}}")),
        _panel("Backoff level", ("topk(20, max by ($label) (scheduler_backoff_state))", "{{$label}}")),
        _panel("Memory of workers", ("process_resident_memory_bytes and on (instance) scheduler_build_info", "{{instance}}"), unit="bytes"),
        _panel("CPU of workers", (f"rate(process_cpu_seconds_total{_RATE}) and on (instance) scheduler_build_info", "{{instance}}"), unit="percentunit"),
    ),
)  # fmt: skip
NAMESPACE = Dashboard(
    "namespace",
    "Scheduler: namespace",
    (
        _panel("Tries of anchors a minute", *_tries(_OF_NAMESPACE, "cadence")),
        _panel("Owed batches", _owed(_OF_NAMESPACE, "cadence")),
        _panel("Oldest owed batch", _age(_OF_NAMESPACE, "cadence"), unit="s"),
        _panel("Batches past their deadline", (f"sum by (cadence, cause) (max by ($label, cadence, target, cause) (scheduler_deadline_overdue_batches{_OF_NAMESPACE}))", "{{cadence}}: {{cause}}")),
        _panel("Batches at risk", (f"sum by (cadence, cause) (max by ($label, cadence, target, cause) (scheduler_deadline_at_risk_batches{_OF_NAMESPACE}))", "{{cadence}}: {{cause}}")),
        _panel("Slots an hour, by outcome", (f"3600 * sum by (cadence, outcome) (max by ($label, cadence, outcome) (rate(scheduler_slots_total{_OF_NAMESPACE}{_RATE})))", "{{cadence}} {{outcome}}")),
        _panel("Since the last anchor", (f"time() - max by ($label, cadence) (scheduler_last_anchor_timestamp_seconds{_OF_NAMESPACE})", "{{cadence}}"), unit="s"),
        _panel("Backoff level", (f"max by ($label) (scheduler_backoff_state{_OF_NAMESPACE})", "level")),
        _panel("Paused cadences, drift", (f"max by ($label) (scheduler_paused_cadences{_OF_NAMESPACE})", "paused"), (f"max by ($label) (scheduler_config_drift{_OF_NAMESPACE})", "drift")),
    ),
    (Variable("namespace", "label_values(scheduler_backoff_state, $label)"),),
)  # fmt: skip
TARGET = Dashboard(
    "target",
    "Scheduler: target",
    (
        _panel("At rest", *_rest(_OF_TARGET)),
        _panel("Rounds under way", (f"max by (target, state) (scheduler_open_rounds{_OF_TARGET})", "{{target}} {{state}}")),
        _panel("Time to finality", (f"max by (target) (scheduler_finality_lag_seconds{_OF_TARGET})", "{{target}}"), unit="s"),
        _panel("Slot to answer, 90 % of tries", ('histogram_quantile(0.9, sum by (target, le) (increase(scheduler_anchor_duration_seconds_bucket{target=~"$target", status="success"}[1h])))', "{{target}}"), unit="s"),
        _panel("Failures a minute, by kind", (f"60 * sum by (target, kind) (rate(scheduler_anchor_failures_total{_OF_TARGET}{_RATE}))", "{{target}} {{kind}}")),
        _panel("Anchors that the funds pay for", (f"min by (target) (scheduler_runway_anchors{_OF_TARGET})", "{{target}}")),
        _panel("Balance", (f"max by (target, unit) (scheduler_balance{_OF_TARGET})", "{{target}} in {{unit}}")),
        _panel("Fees paid a day", (f"sum by (target, unit) (increase(scheduler_fees_paid_total{_OF_TARGET}[1d]))", "{{target}} in {{unit}}")),
        _panel("Current bid, and whether it meets the cap", (f"max by (target, unit) (scheduler_current_bid{_OF_TARGET})", "{{target}} in {{unit}}"), (f"max by (target) (scheduler_fee_cap_reached{_OF_TARGET})", "{{target}} at its cap")),
        _panel("Bumps, reorganisations, foreign uses of the key, in an hour", *((f"sum by (target) (increase(scheduler_{name}_total{_OF_TARGET}[1h]))", f"{{{{target}}}} {words}") for name, words in (("fee_bumps", "bumps"), ("reorganisations", "reorganisations"), ("foreign_uses", "foreign uses"), ("quorum_disagreements", "disagreements")))),
        _panel("Requests to endpoints: errors a minute", (f"60 * sum by (target, host) (rate(scheduler_endpoint_errors_total{_OF_TARGET}{_RATE}))", "{{target}} {{host}}")),
        _panel("Requests to endpoints: mean time", (f"sum by (target, host) (rate(scheduler_endpoint_duration_seconds_sum{_OF_TARGET}{_RATE})) / sum by (target, host) (rate(scheduler_endpoint_duration_seconds_count{_OF_TARGET}{_RATE}))", "{{target}} {{host}}"), unit="s"),
        _panel("Certificates and lists: time left", (f"min by (target, kind) (scheduler_certificate_expiry_timestamp_seconds{_OF_TARGET}) - time()", "{{target}} {{kind}}"), unit="s"),
        _panel("Clock of time stamps against ours", (f"max by (target) (scheduler_token_clock_skew_seconds{_OF_TARGET})", "{{target}}"), unit="s"),
    ),
    (Variable("target", "label_values(scheduler_target_held, target)"),),
)  # fmt: skip
_BY_JOB = "job, exported_job"
_JOB_NAME = "{{exported_job}}{{job}}"
JOBS = Dashboard(
    "jobs",
    "Scheduler: HTTP jobs",
    (
        _panel("Jobs", (f"count(max by ({_BY_JOB}) (scheduler_job_enabled))", "jobs"), kind="stat", width=6),
        _panel("Jobs that fail", (f"count(max by ({_BY_JOB}) (scheduler_job_consecutive_failures > 0)) or vector(0)", "jobs"), kind="stat", width=6),
        _panel("Workers without their store", ("count(scheduler_job_store_up == 0) or vector(0)", "workers"), kind="stat", width=6),
        _panel("Workflows not told yet", ("max(scheduler_jobs_not_in_agreement)", "workflows"), kind="stat", width=6),
        _panel("Runs in an hour, by outcome", (f"sum by (outcome) (max by ({_BY_JOB}, outcome) (increase(scheduler_job_runs_total[1h])))", "{{outcome}}")),
        _panel("Slots in an hour, by outcome", (f"sum by (outcome) (max by ({_BY_JOB}, outcome) (increase(scheduler_job_slots_total[1h])))", "{{outcome}}")),
        _panel("Failures in a row", (f"topk(20, max by ({_BY_JOB}) (scheduler_job_consecutive_failures))", _JOB_NAME)),
        _panel("Last run", (f"max by ({_BY_JOB}) (scheduler_job_last_duration_seconds)", _JOB_NAME), unit="s"),
        _panel("Slot to start, 90 % of an hour's runs", (f"histogram_quantile(0.9, sum by (le) (max by ({_BY_JOB}, le) (increase(scheduler_job_lag_seconds_bucket[1h]))))", "lag"), unit="s"),
        _panel("Since the last success", (f"time() - max by ({_BY_JOB}) (scheduler_job_last_success_timestamp_seconds > 0)", _JOB_NAME), unit="s"),
        _panel("Disabled or paused", (f"max by ({_BY_JOB}) (1 - scheduler_job_enabled)", f"{_JOB_NAME} disabled"), (f"max by ({_BY_JOB}) (scheduler_job_paused)", f"{_JOB_NAME} paused")),
        _panel("Since jobs were compared with their workflows", ("time() - max(scheduler_job_reconciler_last_success_timestamp_seconds)", "age"), unit="s"),
    ),
)  # fmt: skip
MAINTENANCE = Dashboard(
    "maintenance",
    "Scheduler: PostgreSQL maintenance",
    (
        _panel("Runs in an hour, by outcome", ("sum by (task, outcome) (increase(scheduler_runs_total[1h]))", "{{task}} {{outcome}}")),
        _panel("Time of a run", ("sum by (task) (increase(scheduler_duration_seconds_sum[1h])) / sum by (task) (increase(scheduler_duration_seconds_count[1h]))", "{{task}}"), unit="s"),
        _panel("Tasks whose last run ended well", ("max by (task) (scheduler_tasks_completed)", "{{task}}")),
        _panel("Parts that failed, in an hour", ("sum by (task, reason) (increase(scheduler_errors_total[1h]))", "{{task}} {{reason}}")),
        _panel("Left until a task must have succeeded again", ("max by (task) (scheduler_task_success_due_timestamp_seconds) - time()", "{{task}}"), unit="s"),
        _panel("Age of the oldest transaction", ("max by (database) (scheduler_database_oldest_age)", "{{database}}")),
        _panel("Dead rows that stay", ("max by (database, held_by) (scheduler_rows_held_dead)", "{{database}}: {{held_by}}")),
    ),
)  # fmt: skip
DASHBOARDS = (OVERVIEW, NAMESPACE, TARGET, JOBS, MAINTENANCE)


def rendered(dashboard: Dashboard, prefix: str = DEFAULT_PREFIX) -> str:
    """Return a dashboard as Grafana imports it."""
    panels, x, y, row = [], 0, 0, 0
    for number, panel in enumerate(dashboard.panels, start=1):
        if x + panel.width > COLUMNS:
            x, y, row = 0, y + row, 0
        place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
        panels.append(_rendered(panel, number, place))
        x, row = x + panel.width, max(row, panel.height)
    document = {
        "uid": f"{DEFAULT_PREFIX}-{dashboard.name}",
        "title": dashboard.title,
        "tags": [DEFAULT_PREFIX],
        "schemaVersion": GRAFANA_SCHEMA,
        "version": 1,
        "editable": True,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [{"type": "dashboards", "tags": [DEFAULT_PREFIX], "asDropdown": True, "title": "Scheduler"}],
        "templating": {"list": [*_SHARED, *map(_choice, dashboard.variables)]},
        "panels": panels,
    }  # fmt: skip
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    return re.sub(r"\bscheduler(?=_[a-z])", prefix, text)


def _rendered(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "gridPos": place,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0 if panel.unit == "short" else None}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": query.expression, "legendFormat": query.legend}
            for index, query in enumerate(panel.queries)
        ],
    }  # fmt: skip


def _choice(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


_SHARED = (
    {"name": "datasource", "type": "datasource", "query": "prometheus"},
    {
        "name": "label",
        "label": "label of our namespaces",
        "type": "custom",
        "query": "namespace,exported_namespace",
        "current": {"text": "namespace", "value": "namespace"},
    },
)


def files() -> dict[Path, str]:
    """Return the text of each dashboard's file."""
    return {FOLDER / f"{dashboard.name}.json": rendered(dashboard) for dashboard in DASHBOARDS}
