"""Tells Prometheus's rules how a namespace, a target and their workers fare, and asks which alerts about anchoring fire in each minute.

`promtool test rules` evaluates the rules as Prometheus does; nothing here knows what they say.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from devnet.promtool import promtool
from docs.alert_rules import ANCHOR_RULES

MINUTES = 60
"""That a scenario lasts unless it says otherwise; samples come each."""
DAY = 86_400
LONG_MINUTES = 1_000
"""From here on rules are evaluated each five minutes."""
NAMESPACE, EVM, AUTHORITY = "dao:one", "eip155:1", "rfc3161:tsa"
CADENCE = f'{{namespace="{NAMESPACE}", cadence="fast", target="{EVM}"}}'
TARGET, TSA = f'{{target="{EVM}"}}', f'{{target="{AUTHORITY}"}}'
JOB = "the name of the scrape job"
"""Stands for it in a summary."""
NEVER = "0x9999"
"""Samples that go on to the end of a scenario, which is put in place of 9999."""


def cause(name: str) -> str:
    """Return the labels of a cadence's batches with a cause."""
    return CADENCE.replace("}", f', cause="{name}"}}')


def certificate(kind: str) -> str:
    """Return the labels of the authority's certificates or lists of a kind."""
    return TSA.replace("}", f', kind="{kind}"}}')


def at(*values: tuple[int, float | str], end: int = MINUTES) -> str:
    """Return samples that take each value from a minute on; `stale` is the end of a series."""
    parts = []
    for (minute, value), (following, _) in zip(values, [*values[1:], (end + 1, 0)], strict=True):
        parts += [str(value)] * (following - minute)
    return " ".join(parts)


WELL: Mapping[str, str] = {
    "up": "1x9999",
    "last_tick_timestamp_seconds": "0+60x9999",
    f'backoff_state{{namespace="{NAMESPACE}"}}': NEVER,
    f'paused_cadences{{namespace="{NAMESPACE}"}}': NEVER,
    f'config_drift{{namespace="{NAMESPACE}"}}': NEVER,
    f"anchors_attempted_total{CADENCE}": "0+1x9999",
    f"anchors_succeeded_total{CADENCE}": "0+1x9999",
    f"anchors_failed_total{CADENCE}": NEVER,
    f"owed_batches{CADENCE}": NEVER,
    f"deadline_overdue_batches{cause('none')}": NEVER,
    f"deadline_at_risk_batches{cause('none')}": NEVER,
    f'anchor_failures_total{{target="{EVM}", kind="network"}}': NEVER,
    f'target_held{{target="{EVM}", cause="auth"}}': NEVER,
    f"target_paused{TARGET}": NEVER,
    f"target_unreachable{TARGET}": NEVER,
    f'balance{{target="{EVM}", unit="wei"}}': "1e18x9999",
    f'fees_paid_total{{target="{EVM}", unit="wei"}}': "0+1e12x9999",
    f"runway_anchors{TARGET}": "5000x9999",
    f"fee_cap_reached{TARGET}": NEVER,
    f"foreign_uses_total{TARGET}": NEVER,
    f'endpoint_errors_total{{target="{EVM}", host="node:8545"}}': NEVER,
    f"unreadable_rounds{TARGET}": NEVER,
    f"certificate_expiry_timestamp_seconds{certificate('root')}": "1e8x9999",
    f"certificate_expiry_timestamp_seconds{certificate('chain')}": "1e8x9999",
    f"certificate_expiry_timestamp_seconds{certificate('revocation_list')}": "1e6x9999",
    f"token_clock_skew_seconds{TSA}": "-2x9999",
    "namespaces_missing": NEVER,
    'workflows_failing{type="NamespaceWorkflow"}': NEVER,
    'workflows_failing{type="JobWorkflow"}': NEVER,
    'config_file_refused{file="namespaces.yaml"}': NEVER,
    'task_errors_total{task="probe"}': NEVER,
}
"""What a worker shows while all is well, without the prefix."""
GONE = dict.fromkeys(WELL, "stale")


@dataclass(frozen=True)
class Scrape:
    """How Prometheus scrapes: the labels of each worker, and what becomes of our label `namespace`."""

    workers: Sequence[Mapping[str, str]]
    namespace: str = "namespace"


HOST = Scrape([{"job": "scheduler", "instance": "a:9091"}])
CLUSTER = Scrape(
    [
        {
            "job": "endpoints",
            "namespace": "aurora",
            "service": "scheduler",
            "instance": f"{ip}:9091",
        }
        for ip in ("10.0.0.7", "10.0.0.8")
    ],
    "exported_namespace",
)
BOTH = (HOST, CLUSTER)
TWICE = Scrape(
    [
        {"job": job, "namespace": "aurora", "instance": "10.0.0.7:9091"}
        for job in ("kubernetes-pods", "kubernetes-service-endpoints")
    ],
    "exported_namespace",
)
"""One pod, by the annotations of its own and by those of its Service, as the usual configuration of a cluster does."""


@dataclass(frozen=True)
class Scenario:
    """What differs from all being well, and the alert that it comes to."""

    name: str
    series: Mapping[str, str | None] = field(default_factory=dict)
    """None: there is no such series."""
    second: Mapping[str, str | None] = field(default_factory=dict)
    """What differs of the second worker alone."""
    alert: str | None = None
    """The one that fires, and no other."""
    fires: tuple[int, int] = (0, 0)
    """The first minute in which it fires, and the first one in which it does not any more."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the alert, with our label `namespace`; those of the scrape come by themselves."""
    summary: str = ""
    scrapes: Sequence[Scrape] = (CLUSTER,)
    about_workers: bool = False
    """Whether the alert names the scrape job."""
    minutes: int = MINUTES


@cache
def rules() -> Mapping[str, Mapping[str, Any]]:
    """Return the rules by the names of their alerts."""
    (group,) = yaml.safe_load(ANCHOR_RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def check(scenario: Scenario, folder: Path) -> None:
    """Have promtool evaluate a scenario, in each way to scrape it; raises AssertionError."""
    every = "1m" if scenario.minutes < LONG_MINUTES else "5m"
    judge([_test(scenario, scrape) for scrape in scenario.scrapes], folder, every=every)


def judge(
    tests: Sequence[Mapping[str, Any]],
    folder: Path,
    rules_file: Path | None = None,
    every: str = "1m",
) -> None:
    """Have promtool run tests on rules, by default with summaries alone; raises AssertionError."""
    place = rules_file or folder / "rules.yaml"
    if rules_file is None:
        text = ANCHOR_RULES.read_text(encoding="utf-8")
        left_out = r"^ +(description|runbook_url|interval): .*\n"
        place.write_text(re.sub(left_out, "", text, flags=re.MULTILINE))
    document = {"rule_files": [str(place)], "evaluation_interval": every, "tests": list(tests)}
    file = folder / "scenario.yaml"
    file.write_text(json.dumps(document), encoding="utf-8")
    done = subprocess.run(
        [str(promtool()), "test", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def series(scenario: Scenario, scrape: Scrape) -> Iterator[dict[str, str]]:
    """Yield what each worker shows."""
    for number, worker in enumerate(scrape.workers):
        other = scenario.second if number else {}
        for name, values in ({**WELL, **scenario.series, **other}).items():
            if values is not None:
                yield {
                    "series": _series(name, worker, scrape.namespace),
                    "values": values.replace("9999", str(scenario.minutes + 1)),
                }


def _series(name: str, worker: Mapping[str, str], namespace: str) -> str:
    metric, _, inner = name.partition("{")
    own = re.sub(r"\bnamespace=", f"{namespace}=", inner.rstrip("}"))
    labels = ", ".join([*([own] if own else []), *_written(worker)])
    return f"{metric if metric == 'up' else f'scheduler_{metric}'}{{{labels}}}"


def _written(labels: Mapping[str, str]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in labels.items()]


def labels_of(scenario: Scenario, scrape: Scrape) -> dict[str, str]:
    """Return the labels of a scenario's alert, without its name."""
    own = {scrape.namespace if key == "namespace" else key: value for key, value in scenario.labels.items()}  # fmt: skip
    if scenario.second:
        shared = dict(scrape.workers[1])
    else:
        kept = {"namespace", "job", "service"} if scenario.about_workers else {"namespace"}
        shared = {key: value for key, value in scrape.workers[0].items() if key in kept}
    return {**shared, **own, "severity": rules()[str(scenario.alert)]["labels"]["severity"]}


def _test(scenario: Scenario, scrape: Scrape) -> dict[str, Any]:
    step = max(1, scenario.minutes // MINUTES)
    first, end = scenario.fires
    minutes = sorted({*range(0, scenario.minutes + 1, step), first, max(first - 1, 0), end})
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": list(series(scenario, scrape)),
        "promql_expr_test": [
            _firing(scenario, scrape, minute) for minute in minutes if minute <= scenario.minutes
        ],
    }
    if scenario.alert is not None:
        alert = {
            "exp_labels": labels_of(scenario, scrape),
            "exp_annotations": {"summary": scenario.summary.replace(JOB, scrape.workers[0]["job"])},
        }
        test["alert_rule_test"] = [
            {"eval_time": f"{first}m", "alertname": scenario.alert, "exp_alerts": [alert]}
        ]
    return test


def _firing(scenario: Scenario, scrape: Scrape, minute: int) -> dict[str, Any]:
    """Return that in this minute exactly one alert fires, once, or none."""
    first, end = scenario.fires
    samples = []
    if first <= minute < end:
        labels = {"alertname": str(scenario.alert), **labels_of(scenario, scrape)}
        samples = [{"labels": f"{{{', '.join(_written(labels))}}}", "value": 1}]
    every = 'count without (alertstate) (ALERTS{alertstate="firing"})'
    return {"expr": every, "eval_time": f"{minute}m", "exp_samples": samples}
