"""Each alert about maintenance fires on its cause, not before, and ends when all is well, however the metrics arrive."""

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from devnet.promtool import promtool
from docs.tables import MAINTENANCE_CLUSTER_RULES, MAINTENANCE_RULES, cluster_rules
from tests.docs.readme import REPOSITORY
from vaultmesh.domain.maintenance.outcomes import GOOD, Outcome

FAILED, NOT_SUCCEEDED = "SchedulerMaintenanceFailed", "SchedulerMaintenanceNotSucceeded"
WRAPAROUND, NEAR = "SchedulerMaintenanceWraparound", "SchedulerMaintenanceWraparoundNear"
DEAD = "SchedulerMaintenanceDeadRowsStay"
RUNBOOK = (REPOSITORY / "docs/maintenance-alerts.md").read_text(encoding="utf-8")
RUNS = "scheduler_runs_total"
SUCCESS_DUE = "scheduler_task_success_due_timestamp_seconds"
AGE, HELD = "scheduler_database_oldest_age", "scheduler_rows_held_dead"
MINUTES = 120
EXPIRES = 5
"""Minutes after which a collector forgets what a process pushed."""


def pushed(*runs: tuple[int, float]) -> dict[int, str]:
    """Return the samples of processes that each push a value once, by the minute of the push; a collector shows each for a while."""
    return {
        minute: f"{'_x' + str(minute) + ' ' if minute else ''}{value:.0f}x{EXPIRES - 1} stale"
        for minute, value in runs
    }


@dataclass(frozen=True)
class Scenario:
    """What is seen of maintenance, and in which minutes which alert fires."""

    name: str
    pushed: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Series of processes that end, by metric and labels."""
    scraped: Mapping[str, str] = field(default_factory=dict)
    """Samples of a worker, one a minute, by metric and labels."""
    alert: str = ""
    fires: tuple[int, int] = (0, 0)
    """The first minute in which it fires, and the first one in which it does not any more."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def series(self) -> Iterable[dict[str, str]]:
        for series, runs in self.pushed.items():
            for minute, values in runs.items():
                instance = series.replace("{", f'{{instance="pod-{minute}", ')
                yield {"series": instance, "values": values}
        for series, values in self.scraped.items():
            yield {"series": series, "values": values}


def runs_of(outcome: str, task: str = "statistics") -> str:
    return f'{RUNS}{{job="battlescope-scheduler", task="{task}", outcome="{outcome}"}}'


def due(task: str = "statistics") -> str:
    return f'{SUCCESS_DUE}{{task="{task}"}}'


def every(minutes: int, value: float, *, until: int = MINUTES + 1) -> dict[int, str]:
    return pushed(*((minute, value) for minute in range(0, until, minutes)))


def due_after(minutes: Iterable[int], seconds: int = 660) -> dict[int, str]:
    """Return what runs that succeed in these minutes push: until when the next one must have."""
    return pushed(*((minute, 60 * minute + seconds) for minute in minutes))


GIGA = 1_000_000_000
HOLDER = '{database="shop", held_by="transaction"}'
SCENARIOS = (
    Scenario(
        "all runs of a CronJob end well",
        {
            **{runs_of(outcome): every(5, 1) for outcome in GOOD},
            due(): due_after(range(0, MINUTES, 5)),
            f'{AGE}{{database="shop"}}': every(5, 190_000_000),
            f"{HELD}{HOLDER}": every(5, 0),
        },
    ),
    *(
        Scenario(
            f"one run of a CronJob is {outcome}",
            {runs_of("done"): every(5, 1), runs_of(outcome): pushed((30, 1))},
            alert=FAILED,
            fires=(30, 40),
            labels={"task": "statistics", "outcome": outcome},
        )
        for outcome in sorted(set(Outcome) - GOOD)
    ),
    Scenario(
        "each run of a CronJob fails for an hour: one alert, without a gap",
        {runs_of("failed"): every(5, 1, until=60)},
        alert=FAILED,
        fires=(0, 65),
        labels={"task": "statistics", "outcome": "failed"},
    ),
    Scenario(
        "a worker's failure, long after its start",
        scraped={runs_of("failed"): f"0x29 1x{MINUTES}"},
        alert=FAILED,
        fires=(30, 40),
        labels={"task": "statistics", "outcome": "failed"},
    ),
    Scenario(
        "a worker that failed before Prometheus saw it first",
        scraped={runs_of("failed"): f"3x{MINUTES}"},
        alert=FAILED,
        fires=(0, 10),
        labels={"task": "statistics", "outcome": "failed"},
    ),
    Scenario(
        "no run succeeds for half an hour, since the CronJob was suspended",
        {due(): due_after((0, 5, 10, 60, 65, 70, 75, 80, 85, 90, 95, 100, 105, 110, 115, 120))},
        alert=NOT_SUCCEEDED,
        fires=(23, 60),
        labels={"task": "statistics"},
    ),
    Scenario(
        "a worker's task succeeds again after half an hour",
        scraped={due(): f"660x29 99999x{MINUTES}"},
        alert=NOT_SUCCEEDED,
        fires=(13, 30),
        labels={"task": "statistics"},
    ),
    Scenario("a daily backup that succeeded", {due("backup"): due_after((0,), 200_000)}),
    Scenario(
        "a table is not frozen in time",
        {f'{AGE}{{database="shop"}}': pushed((0, 4e8), (10, 6e8), (15, 4e8))},
        alert=WRAPAROUND,
        fires=(10, 30),
        labels={"database": "shop"},
    ),
    Scenario(
        "dead rows stay for an hour",
        {f"{HELD}{HOLDER}": {**every(5, 900, until=60)}},
        alert=DEAD,
        fires=(30, 75),
        labels={"database": "shop", "held_by": "transaction"},
    ),
    Scenario(
        "dead rows stay for a quarter of an hour", {f"{HELD}{HOLDER}": every(5, 900, until=15)}
    ),
)


def rules() -> Mapping[str, Mapping[str, Any]]:
    (group,) = yaml.safe_load(MAINTENANCE_RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def _judged(tests: list[dict[str, Any]], folder: Path) -> None:
    document = {
        "rule_files": [str(MAINTENANCE_RULES)],
        "evaluation_interval": "1m",
        "tests": tests,
    }
    file = folder / "scenarios.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = subprocess.run(
        [str(promtool()), "test", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def _firing(scenario: Scenario, minute: int) -> dict[str, Any]:
    """Return that in this minute exactly one alert fires, once, or none."""
    first, end = scenario.fires
    samples = []
    if first <= minute < end:
        labels = {
            "alertname": scenario.alert,
            "severity": rules()[scenario.alert]["labels"]["severity"],
            **scenario.labels,
        }
        inner = ", ".join(f"{key}={json.dumps(value)}" for key, value in labels.items())
        samples = [{"labels": f"{{{inner}}}", "value": 1}]
    firing = 'count without (alertstate) (ALERTS{alertstate="firing"})'
    return {"expr": firing, "eval_time": f"{minute}m", "exp_samples": samples}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_exactly_the_alert_of_its_cause_fires_while_the_cause_lasts(
    scenario: Scenario, tmp_path: Path
) -> None:
    test = {
        "interval": "1m",
        "input_series": list(scenario.series),
        "promql_expr_test": [_firing(scenario, minute) for minute in range(MINUTES + 1)],
    }
    _judged([test], tmp_path)


def test_a_database_close_to_its_end_calls_somebody_beside_the_warning(tmp_path: Path) -> None:
    series = {
        "series": f'{AGE}{{database="shop"}}',
        "values": f"{13 * GIGA // 10}x{MINUTES}",
    }
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    both = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in (WRAPAROUND, NEAR)]
    expected = {"expr": firing, "eval_time": "10m", "exp_samples": both}
    _judged(
        [{"interval": "1m", "input_series": [series], "promql_expr_test": [expected]}], tmp_path
    )


def test_what_is_said_names_the_culprit_and_the_task(tmp_path: Path) -> None:
    annotations = rules()[DEAD]["annotations"]
    words = {
        key: text.replace("{{ $labels.database }}", "shop")
        .replace("{{ $labels.held_by }}", "replication slot")
        .replace("{{ $value | humanize }}", "1.2k")
        for key, text in annotations.items()
    }
    assert "the oldest replication slot" in words["description"]
    labels = {"database": "shop", "held_by": "replication slot", "severity": "warning"}
    alert = {
        "eval_time": "40m",
        "alertname": DEAD,
        "exp_alerts": [{"exp_labels": labels, "exp_annotations": words}],
    }
    series = {
        "series": f'{HELD}{{database="shop", held_by="replication slot"}}',
        "values": f"1200x{MINUTES}",
    }
    _judged([{"interval": "1m", "input_series": [series], "alert_rule_test": [alert]}], tmp_path)


def test_every_alert_is_tried_and_has_a_page_with_meaning_impact_check_and_mend() -> None:
    assert {scenario.alert for scenario in SCENARIOS} | {NEAR} == {"", *rules()}
    for name, rule in rules().items():
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (REPOSITORY / page).exists()
        (section,) = re.findall(
            rf"^## {anchor}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL | re.IGNORECASE
        )
        for part in ("Meaning", "Impact", "Check", "Mend"):
            assert f"**{part}.**" in section, (name, part)


def test_the_cluster_s_alerts_are_the_same_rules() -> None:
    text = MAINTENANCE_CLUSTER_RULES.read_text(encoding="utf-8")
    assert text == cluster_rules(MAINTENANCE_RULES), "run python -m docs.tables"
    document = yaml.safe_load(text)
    assert document["kind"] == "PrometheusRule"
    source = yaml.safe_load(MAINTENANCE_RULES.read_text(encoding="utf-8"))
    assert document["spec"] == source
