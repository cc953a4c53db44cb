"""Each alert about jobs fires on its cause, once, not before, and ends when all is well; and no other fires with it."""

import re
from pathlib import Path

import pytest
import yaml

from docs.alert_rules import JOB_RULES, cluster_place, cluster_rules
from docs.tables import main
from tests.ops.alert_scenarios import (
    DAY,
    MINUTES,
    SAMPLES,
    WORKERS,
    Scenario,
    changing,
    check,
    rules,
)
from vaultmesh.domain.jobs.figures import COMPARED, START_GRACE
from vaultmesh.domain.jobs.job import JobPolicy

FAILING, LATE, NOT_RUN = "SchedulerJobFailing", "SchedulerJobLate", "SchedulerJobNotRun"
FAST, SLOW = "SchedulerJobTooFast", "SchedulerJobTooSlow"
BEHIND, STORE = "SchedulerJobReconcilerBehind", "SchedulerJobStoreUnreachable"
FAILURES = "job_consecutive_failures"
DUE, SUCCESS_DUE = "job_due_timestamp_seconds", "job_success_due_timestamp_seconds"
LAST, MEDIAN = "job_last_duration_seconds", "job_median_duration_seconds"
SINCE = "job_running_since_timestamp_seconds"
READ, UP = "jobs_read_timestamp_seconds", "job_store_up"
RECONCILED = "job_reconciler_last_success_timestamp_seconds"
DIFFERING = "jobs_not_in_agreement"
STALE = changing((MINUTES + 1, "stale"))
STOPPED_AT_10 = f"0+30x20 600x18 1200+30x{SAMPLES}"
"""An instant that is now, stands still from the tenth minute on, and is now again from the twentieth on."""

SCENARIOS = (
    Scenario(
        "three runs fail in a row, the fourth too, and then one completes",
        {FAILURES: changing((5, "0"), (8, "1"), (10, "2"), (15, "3"), (20, "4"), (31, "0"))},
        alert=FAILING,
        fires=(10, 20),
        value="3",
    ),
    Scenario(
        "a job that fails for two periods and longer has one alert",
        {FAILURES: changing((10, "2"), (31, "3")), SUCCESS_DUE: f"660x{SAMPLES}"},
        alert=FAILING,
        fires=(10, 31),
        value="3",
    ),
    Scenario(
        "no run follows the slot of the tenth minute until the twentieth",
        {DUE: changing((20, "600"), (31, str(DAY)))},
        alert=LATE,
        fires=(13, 20),
        value="1970-01-01 00:11:00 +0000 UTC",
    ),
    Scenario(
        "a run begins just within the window and the grace",
        {DUE: changing((12, "600"), (31, str(DAY)))},
    ),
    Scenario(
        "two failures of a job with long periods, and no success",
        {FAILURES: f"2x{SAMPLES}", SUCCESS_DUE: changing((20, "600"), (31, str(DAY)))},
        alert=NOT_RUN,
        fires=(11, 20),
        value="1970-01-01 00:10:00 +0000 UTC",
    ),
    Scenario(
        "one run is done in less than a fifth of the usual time",
        {LAST: changing((10, "30"), (20, "5.9"), (31, "29"))},
        alert=FAST,
        fires=(10, 20),
        value="5.9s",
    ),
    Scenario("one run is done in a fifth of the usual time", {LAST: f"6x{SAMPLES}"}),
    Scenario("a quick job is quicker", {LAST: f"0.01x{SAMPLES}", MEDIAN: f"0.9x{SAMPLES}"}),
    Scenario(
        "one run took more than five times the usual time",
        {LAST: changing((10, "30"), (20, "151"), (31, "31"))},
        alert=SLOW,
        fires=(10, 20),
        value="2m 31s",
    ),
    Scenario("one run took five times the usual time", {LAST: f"150x{SAMPLES}"}),
    Scenario("a quick job is slower", {LAST: f"0.9x{SAMPLES}", MEDIAN: f"0.01x{SAMPLES}"}),
    Scenario(
        "a run is under way for more than five times the usual time",
        {SINCE: changing((10, "stale"), (20, "600"), (31, "stale")), DUE: STALE},
        alert=SLOW,
        fires=(13, 20),
        value="3m 0s",
    ),
    Scenario(
        "nothing is compared any more",
        worker={RECONCILED: STOPPED_AT_10},
        alert=BEHIND,
        fires=(14, 20),
    ),
    Scenario(
        "some workflows can't be told",
        worker={DIFFERING: changing((10, "0"), (20, "3"), (31, "0"))},
        alert=BEHIND,
        fires=(12, 20),
    ),
    Scenario(
        "workflows are told within a minute",
        worker={DIFFERING: changing((10, "0"), (11, "3"), (31, "0"))},
    ),
    Scenario(
        "the store is away while a slot passes, and the ends of runs come when it is back",
        {DUE: changing((23, "720"), (31, str(DAY)))},
        {
            UP: changing((10, "1"), (20, "0"), (31, "1")),
            READ: STOPPED_AT_10,
            RECONCILED: STOPPED_AT_10,
        },
        alert=STORE,
        fires=(11, 20),
        value=WORKERS,
    ),
    Scenario(
        "the store does not answer for half a minute",
        worker={UP: f"1x20 0x0 1x{SAMPLES}"},
    ),
    Scenario("all is well"),
    Scenario(
        "a job that was just registered",
        dict.fromkeys((LAST, MEDIAN)),
    ),
    Scenario(
        "a disabled job that failed, and whose last run was odd",
        {
            "job_enabled": f"0x{SAMPLES}",
            FAILURES: f"5x{SAMPLES}",
            LAST: f"1000x{SAMPLES}",
            DUE: None,
            SUCCESS_DUE: None,
            "job_catch_up_seconds": None,
        },
    ),
    Scenario(
        "a paused job that failed, and whose last run was odd",
        {
            "job_paused": f"1x{SAMPLES}",
            FAILURES: f"5x{SAMPLES}",
            LAST: f"1x{SAMPLES}",
            DUE: None,
            SUCCESS_DUE: None,
            "job_catch_up_seconds": None,
        },
    ),
    Scenario(
        "a job that fails and is late is deleted",
        {
            **{
                name: changing((20, value), (31, "stale"))
                for name, value in (
                    (FAILURES, "3"),
                    ("job_enabled", "1"),
                    ("job_paused", "0"),
                    (LAST, "30"),
                    (MEDIAN, "30"),
                    (DUE, str(DAY)),
                    (SUCCESS_DUE, "600"),
                    ("job_catch_up_seconds", "60"),
                )
            }
        },
        alert=FAILING,
        fires=(0, 20),
        value="3",
    ),
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_an_alert_fires_on_its_cause_alone_once_and_until_all_is_well(
    scenario: Scenario, tmp_path: Path
) -> None:
    check(scenario, tmp_path)


def test_every_alert_has_a_scenario_and_says_in_words_whom_it_is_about() -> None:
    assert {scenario.alert for scenario in SCENARIOS} - {None} == set(rules())
    for name, rule in rules().items():
        annotations = rule["annotations"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert annotations["summary"]
        assert annotations["description"].endswith(".")
        assert annotations["runbook_url"] == f"docs/job-alerts.md#{name.lower()}"
        about_a_job = name not in {BEHIND, STORE}
        for text in (annotations["summary"], annotations["description"]):
            assert ("$labels.exported_job $labels.job" in text) is about_a_job


def test_rules_and_code_mean_the_same_numbers() -> None:
    late = rules()[LATE]
    assert late["for"] == f"{START_GRACE.total_seconds() / 60:g}m"
    assert f"the {COMPARED} before it" in rules()[FAST]["annotations"]["description"]
    assert JobPolicy().catch_up.total_seconds() == 60


def test_the_cluster_has_the_same_rules(tmp_path: Path) -> None:
    text = cluster_place(JOB_RULES).read_text(encoding="utf-8")
    assert text == cluster_rules(JOB_RULES), "run python -m docs.tables"
    assert main(["--check"]) == 0
    document = yaml.safe_load(text)
    assert document["kind"] == "PrometheusRule"
    (group,) = document["spec"]["groups"]
    assert {rule["alert"]: rule for rule in group["rules"]} == dict(rules())
    assert re.fullmatch(r"[a-z-]+", document["metadata"]["name"])
