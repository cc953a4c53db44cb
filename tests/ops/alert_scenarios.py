"""Tells Prometheus's rules what happens to a job, sample by sample, and asks which alerts fire in each minute.

`promtool test rules` evaluates the rules as Prometheus does; nothing here knows what they say.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from devnet.promtool import promtool
from docs.alert_rules import JOB_RULES

JOB = "nightly-report"
MINUTES = 30
"""That each scenario lasts; samples come each half."""
SAMPLES = 2 * MINUTES
DAY = 86_400
WELL: Mapping[str, str] = {
    "job_consecutive_failures": f"0x{SAMPLES}",
    "job_enabled": f"1x{SAMPLES}",
    "job_paused": f"0x{SAMPLES}",
    "job_due_timestamp_seconds": f"{DAY}x{SAMPLES}",
    "job_success_due_timestamp_seconds": f"{2 * DAY}x{SAMPLES}",
    "job_catch_up_seconds": f"60x{SAMPLES}",
    "job_last_duration_seconds": f"30x{SAMPLES}",
    "job_median_duration_seconds": f"30x{SAMPLES}",
}
"""Samples of a daily job that is well, by metric."""
WORKER: Mapping[str, str] = {
    "job_store_up": f"1x{SAMPLES}",
    "jobs_read_timestamp_seconds": f"0+30x{SAMPLES}",
    "jobs_not_in_agreement": f"0x{SAMPLES}",
    "job_reconciler_last_success_timestamp_seconds": f"0+30x{SAMPLES}",
}
"""Samples of a worker that is well, by metric."""
SCRAPED: Sequence[Sequence[Mapping[str, str]]] = (
    [{"job": "scheduler", "instance": "a:9091"}],
    [{"instance": "a:9091"}],
    [
        {"namespace": "aurora", "job": "scheduler", "instance": f"{host}:9091", "pod": host}
        for host in ("a", "b")
    ],
    [{"instance": "a:9091"}, {"instance": "a:9091", "service": "scheduler"}],
)
"""The labels of the workers that show a scenario: one, one that is scraped with honor_labels, two replicas in a cluster, one that is scraped twice."""
WORKERS = "so many workers"
"""Stands for their number in what an alert says."""


def changing(*values: tuple[int, str]) -> str:
    """Return samples that are one value up to a minute, then the next one; the last one holds to the end.

    Args:
        values: the minute at which each one ends, and the value; `stale` is the end of a series.
    """
    parts, begin = [], 0
    for minute, value in values:
        samples = 2 * minute - begin
        parts.append(
            " ".join(["stale"] * samples) if value == "stale" else f"{value}x{samples - 1}"
        )
        begin += samples
    return " ".join(parts)


@dataclass(frozen=True)
class Scenario:
    """What happens to one job, and the alert that it comes to."""

    name: str
    job: Mapping[str, str | None] = field(default_factory=dict)
    """Samples that differ from those of a job that is well; None: the job has no such series."""
    worker: Mapping[str, str] = field(default_factory=dict)
    alert: str | None = None
    """The one that fires, and no other."""
    fires: tuple[int, int] = (0, 0)
    """The first minute in which it fires, and the first one in which it does not any more."""
    value: str = ""
    """What its description says in numbers in the first minute."""


def check(scenario: Scenario, folder: Path) -> None:
    """Have promtool evaluate a scenario, in each way to scrape it; raises AssertionError."""
    tests = [_test(scenario, targets) for targets in SCRAPED]
    document = {"rule_files": [str(JOB_RULES)], "evaluation_interval": "30s", "tests": tests}
    file = folder / "scenario.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = subprocess.run(
        [str(promtool()), "test", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{scenario.name}: {done.stdout}{done.stderr}"


def _test(scenario: Scenario, targets: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return a scenario as the workers of these labels show it."""
    series = [
        {"series": _series(name, labels), "values": values}
        for labels in targets
        for name, values in _samples(scenario)
    ]
    firing = [_firing(scenario, minute, targets[0]) for minute in range(MINUTES + 1)]
    test: dict[str, Any] = {"interval": "30s", "input_series": series, "promql_expr_test": firing}
    if scenario.alert is not None:
        value = str(len(targets)) if scenario.value == WORKERS else scenario.value
        test["alert_rule_test"] = [_said(scenario, targets[0], value)]
    return test


def rules() -> Mapping[str, Mapping[str, Any]]:
    """Return the rules by the names of their alerts."""
    (group,) = yaml.safe_load(JOB_RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def _samples(scenario: Scenario) -> list[tuple[str, str]]:
    of_job, of_worker = WELL | dict(scenario.job), WORKER | dict(scenario.worker)
    return [(name, values) for name, values in (of_job | of_worker).items() if values is not None]


def _series(name: str, labels: Mapping[str, str]) -> str:
    shown = dict(labels)
    if name not in WORKER:
        shown |= _label_of_job(labels)
    inner = ", ".join(f"{key}={json.dumps(value)}" for key, value in shown.items())
    return f"scheduler_{name}{{{inner}}}"


def _label_of_job(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return what Prometheus makes of the label `job` of a page: it scrapes with or without honor_labels."""
    return {"exported_job": JOB} if "job" in labels else {"job": JOB}


def _alert_labels(scenario: Scenario, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of the alert; those that are about workers name no job."""
    shared = {key: value for key, value in labels.items() if key == "namespace"}
    if "exported_job" in rules()[str(scenario.alert)]["expr"]:
        shared |= {key: value for key, value in labels.items() if key == "job"}
        shared |= _label_of_job(labels)
    return shared | {"severity": rules()[str(scenario.alert)]["labels"]["severity"]}


def _firing(scenario: Scenario, minute: int, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return that in this minute exactly one alert fires, once, or none."""
    first, end = scenario.fires
    samples = []
    if first <= minute < end:
        shown = {"alertname": str(scenario.alert)} | _alert_labels(scenario, labels)
        inner = ", ".join(f"{key}={json.dumps(value)}" for key, value in shown.items())
        samples = [{"labels": f"{{{inner}}}", "value": 1}]
    every = 'count without (alertstate) (ALERTS{alertstate="firing"})'
    return {"expr": every, "eval_time": f"{minute}m", "exp_samples": samples}


def _said(scenario: Scenario, labels: Mapping[str, str], value: str) -> dict[str, Any]:
    """Return what the alert says in words in its first minute."""
    annotations = rules()[str(scenario.alert)]["annotations"]
    words = {key: _in_words(text, value) for key, text in annotations.items()}
    shown = {"exp_labels": _alert_labels(scenario, labels), "exp_annotations": words}
    return {
        "eval_time": f"{scenario.fires[0]}m",
        "alertname": scenario.alert,
        "exp_alerts": [shown],
    }


def _in_words(text: str, value: str) -> str:
    """Fill in what Prometheus does: the job's name, and the one number."""
    text = text.replace("{{ or $labels.exported_job $labels.job }}", JOB)
    begin, bracket, rest = text.partition("{{ $value")
    return begin + value + rest.partition("}}")[2] if bracket else text
