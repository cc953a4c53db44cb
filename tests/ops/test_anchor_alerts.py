"""Each alert about anchoring fires on its cause, once, not before, and ends when all is well; and no other fires with it."""

import re
from pathlib import Path

import pytest
import yaml

from docs.alert_rules import ANCHOR_RULES, adapted, cluster_place, cluster_rules
from docs.alert_rules import main as print_rules
from tests.ops.anchor_scenarios import (
    AUTHORITY,
    BOTH,
    CADENCE,
    DAY,
    EVM,
    GONE,
    HOST,
    JOB,
    MINUTES,
    NAMESPACE,
    TARGET,
    TSA,
    TWICE,
    Scenario,
    at,
    cause,
    certificate,
    check,
    judge,
    rules,
    series,
)
from vaultmesh.domain.promises import Cause

END = MINUTES + 1
OF_CADENCE = {"namespace": NAMESPACE, "cadence": "fast", "target": EVM}
FAILED, ATTEMPTED = f"anchors_failed_total{CADENCE}", f"anchors_attempted_total{CADENCE}"
BACKOFF = f'backoff_state{{namespace="{NAMESPACE}"}}'
KINDS = f'anchor_failures_total{{target="{EVM}", kind="network"}}'
HELD, UNREACHABLE = f'target_held{{target="{EVM}", cause="auth"}}', f"target_unreachable{TARGET}"
OVERDUE, AT_RISK = "deadline_overdue_batches", "deadline_at_risk_batches"
MISSED = "deadline_missed_total"
OWED = f"owed_batches{CADENCE}"
OLDEST, DUE = f"oldest_owed_timestamp_seconds{CADENCE}", f"owed_due_timestamp_seconds{CADENCE}"
PAUSED, TARGET_PAUSED = f'paused_cadences{{namespace="{NAMESPACE}"}}', f"target_paused{TARGET}"
HOST_ERRORS = f'endpoint_errors_total{{target="{EVM}", host="node:8545"}}'
RUNWAY, TICK = f"runway_anchors{TARGET}", "last_tick_timestamp_seconds"
SPENT = {
    f'balance{{target="{EVM}", unit="wei"}}': "400x9999",
    f'fees_paid_total{{target="{EVM}", unit="wei"}}': "0+1x9999",
}
"""The balance stays at 400 wei, while fees paid rise by one each minute."""
EXPIRY = "certificate_expiry_timestamp_seconds"
FAILS_FROM_10 = {
    FAILED: "0x10 1+1x28 29x99",
    BACKOFF: at((0, 0), (14, 6), (40, 0)),
    KINDS: "0x10 1+1x9999",
}
"""A target fails from the tenth minute on, the namespace's level passes 5 soon after, and is 0 again from the fortieth on."""
OLD_BATCH = {OWED: "1x9999", OLDEST: "0x9999", DUE: "600x9999"}
"""A batch that was sealed at the beginning, and due after ten minutes."""

SCENARIOS = (
    Scenario("all is well", scrapes=(*BOTH, TWICE)),
    Scenario(
        "a worker that just started",
        {
            name: values
            for name, values in GONE.items()
            if name in {RUNWAY, f'balance{{target="{EVM}", unit="wei"}}'}
        },
    ),
    Scenario(
        "every worker stops answering, and comes back",
        {
            **dict.fromkeys(GONE),
            "up": at((0, 1), (10, 0), (30, 1)),
            TICK: f"0+60x9 {'stale ' * 20} 1800+60x99",
        },
        alert="SchedulerDown",
        fires=(12, 30),
        summary=f"No worker of the scheduler answers to the scrape job {JOB}",
        about_workers=True,
        scrapes=BOTH,
    ),
    Scenario(
        "the pods of every worker are gone",
        {
            **dict.fromkeys(GONE),
            "up": f"1x9 {'stale ' * 60}",
            TICK: f"0+60x9 {'stale ' * 60}",
        },
        alert="SchedulerDown",
        fires=(12, END),
        summary=f"No worker of the scheduler answers to the scrape job {JOB}",
        about_workers=True,
        scrapes=BOTH,
    ),
    Scenario(
        "one of two workers stops answering, and comes back",
        second={
            **dict.fromkeys(GONE),
            "up": at((0, 1), (10, 0), (30, 1)),
            TICK: f"0+60x9 {'stale ' * 20} 1800+60x99",
        },
        alert="SchedulerWorkerDown",
        fires=(12, 30),
        summary="The worker 10.0.0.8:9091 does not answer",
    ),
    Scenario(
        "one of two workers does not hear of Temporal",
        second={TICK: f"0+60x10 {'600 ' * 20} 1860+60x99"},
        alert="SchedulerWorkerDown",
        fires=(15, 31),
        summary="The worker 10.0.0.8:9091 has not heard of Temporal for 5m 0s",
    ),
    Scenario(
        "no worker talks to Temporal",
        {TICK: f"0+60x10 {'600 ' * 20} 1860+60x99"},
        alert="SchedulerNoRecentAnchors",
        fires=(18, 31),
        summary="No worker has heard of Temporal for 8m 0s",
        about_workers=True,
        scrapes=BOTH,
    ),
    Scenario("Temporal is away for six minutes", {TICK: f"0+60x10 {'600 ' * 6} 1020+60x99"}),
    Scenario(
        "anchors fail again and again",
        FAILS_FROM_10,
        alert="SchedulerHighBackoff",
        fires=(24, 40),
        labels={"namespace": NAMESPACE, "target": EVM},
        scrapes=(*BOTH, TWICE),
        summary=f"{NAMESPACE} backs off on {EVM}, at level 6",
    ),
    Scenario(
        "anchors fail for ten minutes",
        {FAILED: "0x10 1+1x9 10x99", BACKOFF: at((0, 0), (12, 6), (20, 0))},
    ),
    Scenario(
        "six of ten anchors fail, and others succeed in between",
        {FAILED: "0x10 0.6+0.6x29 18x99"},
        alert="SchedulerHighFailureRate",
        fires=(34, 42),
        labels=OF_CADENCE,
        scrapes=(*BOTH, TWICE),
        summary=f"60% of the anchors of {NAMESPACE} on {EVM} fail",
    ),
    Scenario("four of ten anchors fail", {FAILED: "0+0.4x9999"}),
    *(
        Scenario(
            f"batches are past their deadline: {why}",
            {
                f"{OVERDUE}{cause('none')}": at((0, 0), (20, "stale"), (30, 0)),
                f"{OVERDUE}{cause(why)}": at((0, "_"), (20, 2), (30, "stale")),
            },
            alert="SchedulerDeadlineMissed",
            fires=(20, 30),
            labels={**OF_CADENCE, "cause": why},
            scrapes=BOTH,
            summary=f"{NAMESPACE} missed a deadline on {EVM}: {why}",
        )
        for why in (Cause.STORAGE, Cause.CONFIRMATIONS)
    ),
    Scenario(
        "a batch misses its deadline and is final before anybody looks",
        {f"{MISSED}{cause('slot')}": at((0, "_"), (20, 1))},
        alert="SchedulerDeadlineMissed",
        fires=(20, 30),
        labels={**OF_CADENCE, "cause": "slot"},
        scrapes=BOTH,
        summary=f"{NAMESPACE} missed a deadline on {EVM}: slot",
    ),
    Scenario(
        "a batch will miss its deadline",
        {f"{AT_RISK}{cause('inclusion')}": at((0, "_"), (20, 1), (30, "stale"))},
        alert="SchedulerDeadlineAtRisk",
        fires=(21, 30),
        labels={**OF_CADENCE, "cause": "inclusion"},
        scrapes=BOTH,
        summary=f"{NAMESPACE} will miss a deadline on {EVM}: inclusion",
    ),
    Scenario(
        "some batches missed it, and others will",
        {
            f"{AT_RISK}{cause('inclusion')}": at((0, "_"), (20, 1)),
            f"{OVERDUE}{cause('inclusion')}": at((0, "_"), (20, 1)),
        },
        alert="SchedulerDeadlineMissed",
        fires=(20, END),
        labels={**OF_CADENCE, "cause": "inclusion"},
        scrapes=BOTH,
        summary=f"{NAMESPACE} missed a deadline on {EVM}: inclusion",
    ),
    Scenario(
        "a batch is left behind",
        OLD_BATCH,
        alert="SchedulerOwedTooLong",
        fires=(26, END),
        labels=OF_CADENCE,
        scrapes=BOTH,
        summary=f"A batch of {NAMESPACE} waits for {EVM} since 26m 0s",
    ),
    Scenario("a batch of a daily cadence waits for an hour", {**OLD_BATCH, DUE: f"{3 * DAY}x9999"}),
    Scenario(
        "a batch waits for a target that somebody paused", {**OLD_BATCH, TARGET_PAUSED: "1x9999"}
    ),
    Scenario(
        "a target is held, its namespace backs off, and batches wait",
        {
            **OLD_BATCH,
            **FAILS_FROM_10,
            HELD: at((0, 0), (10, 1), (40, 0)),
            BACKOFF: at((0, 0), (14, 6), (46, 0)),
            RUNWAY: "0x9999",
            f'balance{{target="{EVM}", unit="wei"}}': "1x9999",
        },
        alert="SchedulerTargetHeld",
        fires=(12, 40),
        labels={"target": EVM, "cause": "auth"},
        summary=f"{EVM} is held: auth",
        minutes=45,
    ),
    Scenario("a target is held for a minute", {HELD: at((0, 0), (10, 1), (11, 0))}),
    Scenario(
        "a ledger does not answer, its namespace backs off, and batches wait",
        {
            **OLD_BATCH,
            **FAILS_FROM_10,
            UNREACHABLE: at((0, 0), (10, 1), (40, 0)),
            BACKOFF: at((0, 0), (14, 6), (46, 0)),
        },
        alert="SchedulerTargetUnreachable",
        fires=(15, 40),
        labels={"target": EVM},
        summary=f"{EVM} does not answer",
        minutes=45,
    ),
    Scenario(
        "funds for 49 anchors are left, and somebody sends more",
        {RUNWAY: at((0, 50), (10, 49), (40, 5_000))},
        alert="SchedulerLowFunds",
        fires=(20, 40),
        labels={"target": EVM},
        summary=f"The funds on {EVM} pay for 49 more anchors",
    ),
    Scenario(
        "49 anchors are left, which are spent within two days",
        {RUNWAY: "49x9999", **SPENT},
        alert="SchedulerLowFunds",
        fires=(10, 401),
        labels={"target": EVM},
        summary=f"The funds on {EVM} pay for 49 more anchors",
        scrapes=(HOST,),
        minutes=400,
    ),
    Scenario(
        "a day's anchors cost a third of what is left, and more",
        SPENT,
        alert="SchedulerFundsLastDays",
        fires=(194, 401),
        labels={"target": EVM},
        summary=f"The funds on {EVM} last for 2.062 more days",
        scrapes=(HOST, TWICE),
        minutes=400,
    ),
    Scenario(
        "the fee cap is reached for 40 minutes",
        {f"fee_cap_reached{TARGET}": at((0, 0), (10, 1), (50, 0))},
        alert="SchedulerFeeCapReached",
        fires=(40, 50),
        labels={"target": EVM},
        summary=f"{EVM} asks for more than our fee cap",
    ),
    Scenario(
        "somebody else uses the key once",
        {f"foreign_uses_total{TARGET}": at((0, 0), (20, 1), end=120)},
        alert="SchedulerKeyUsedElsewhere",
        fires=(20, 80),
        labels={"target": EVM},
        summary=f"Somebody else uses the key of {EVM}",
        minutes=120,
    ),
    *(
        Scenario(
            f"a {kind} has {hours} hours left",
            {f"{EXPIRY}{certificate(kind)}": f"{hours * 3_600}x9999"},
            alert="SchedulerCertificateExpires",
            fires=(60, 100),
            labels={"target": AUTHORITY, "kind": kind},
            summary=f"A {kind} of {AUTHORITY} expires in {left}",
            minutes=99,
        )
        for kind, hours, left in (
            ("root", 700, "29d 3h 0m 0s"),
            ("chain", 100, "4d 3h 0m 0s"),
            ("revocation_list", 23, "22h 0m 0s"),
        )
    ),
    Scenario(
        "a revocation list has two days left",
        {f"{EXPIRY}{certificate('revocation_list')}": f"{2 * DAY}x99"},
        minutes=90,
    ),
    Scenario(
        "a chain has expired",
        {f"{EXPIRY}{certificate('chain')}": "1200x9999"},
        alert="SchedulerCertificateExpired",
        fires=(25, END),
        labels={"target": AUTHORITY, "kind": "chain"},
        summary=f"A chain of {AUTHORITY} has expired",
    ),
    Scenario(
        "a clock is wrong",
        {f"token_clock_skew_seconds{TSA}": at((0, -2), (10, -90), (40, 0))},
        alert="SchedulerTokenClockSkew",
        fires=(25, 40),
        labels={"target": AUTHORITY},
        summary=f"Time stamps of {AUTHORITY} are 1m 30s off our clock",
    ),
    Scenario(
        "what runs is not what the file says",
        {f'config_drift{{namespace="{NAMESPACE}"}}': at((0, 0), (10, 1), (40, 0))},
        alert="SchedulerConfigDrift",
        fires=(25, 40),
        labels={"namespace": NAMESPACE},
        scrapes=BOTH,
        summary=f"{NAMESPACE} runs otherwise than namespaces.yaml says",
    ),
    Scenario(
        "a rollout takes ten minutes",
        {f'config_drift{{namespace="{NAMESPACE}"}}': at((0, 0), (10, 1), (20, 0))},
    ),
    Scenario(
        "a file is refused",
        {'config_file_refused{file="namespaces.yaml"}': at((0, 0), (10, 1), (40, 0))},
        alert="SchedulerConfigFileRefused",
        fires=(12, 40),
        labels={"file": "namespaces.yaml"},
        summary="namespaces.yaml has a mistake and is refused",
    ),
    Scenario(
        "a workflow can't go on",
        {'workflows_failing{type="NamespaceWorkflow"}': at((0, 0), (10, 2), (40, 0))},
        alert="SchedulerWorkflowFailing",
        fires=(12, 40),
        labels={"type": "NamespaceWorkflow"},
        summary="2 workflow(s) of type NamespaceWorkflow can't go on",
    ),
    Scenario(
        "the workflow of a job can't go on",
        {'workflows_failing{type="JobWorkflow"}': at((0, 0), (10, 1), (40, 0))},
        alert="SchedulerWorkflowFailing",
        fires=(12, 40),
        labels={"type": "JobWorkflow"},
        summary="1 workflow(s) of type JobWorkflow can't go on",
    ),
    Scenario(
        "a namespace has no workflow",
        {"namespaces_missing": at((0, 0), (10, 1), (40, 0))},
        alert="SchedulerWorkflowMissing",
        fires=(12, 40),
        summary="1 configured namespace(s) have no workflow",
    ),
    Scenario("a namespace is started within a minute", {"namespaces_missing": at((0, 1), (1, 0))}),
    Scenario(
        "a namespace is paused for more than a day, and all workers restart once",
        {PAUSED: at((0, 0), (10, 1), (700, "stale"), (705, 1), (1_500, 0), end=1_600)},
        alert="SchedulerPausedTooLong",
        fires=(1_450, 1_510),
        labels={"namespace": NAMESPACE},
        summary=f"{NAMESPACE} is paused for a day",
        minutes=1_600,
    ),
    Scenario(
        "a target is paused for more than a day",
        {TARGET_PAUSED: at((0, 0), (10, 1), (1_500, 0), end=1_600)},
        alert="SchedulerPausedTooLong",
        fires=(1_450, 1_510),
        labels={"target": EVM},
        summary=f"The target {EVM} is paused for a day",
        minutes=1_600,
    ),
    Scenario(
        "a round on its way can't be read, which holds its target",
        {
            f"unreadable_rounds{TARGET}": at((0, 0), (10, 1), (40, 0)),
            f'target_held{{target="{EVM}", cause="validation"}}': at((0, 0), (10, 1), (40, 0)),
        },
        alert="SchedulerTargetHeld",
        fires=(12, 40),
        labels={"target": EVM, "cause": "validation"},
        summary=f"{EVM} is held: validation",
    ),
    Scenario(
        "signed rounds can't be read",
        {f"unreadable_rounds{TARGET}": at((0, 0), (10, 3), (40, 0))},
        alert="SchedulerUnreadableRounds",
        fires=(15, 40),
        labels={"target": EVM},
        summary=f"3 signed round(s) of {EVM} can't be read, or are gone",
    ),
    Scenario(
        "an error that nobody foresaw",
        {'task_errors_total{task="probe"}': at((0, 0), (20, 1))},
        alert="SchedulerTaskErrors",
        fires=(20, 35),
        labels={"task": "probe"},
        summary="The task probe of a worker met an error that nobody foresaw",
    ),
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_an_alert_fires_on_its_cause_alone_once_and_until_all_is_well(
    scenario: Scenario, tmp_path: Path
) -> None:
    check(scenario, tmp_path)


def test_every_alert_is_tried_and_says_whom_it_is_about() -> None:
    assert {scenario.alert for scenario in SCENARIOS} - {None} == set(rules())
    for rule in rules().values():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["description"].endswith(".")


def test_what_is_said_of_failures_names_their_kinds_and_hosts(tmp_path: Path) -> None:
    """Words that come from further queries: an error in one of them would stand in their place."""
    annotations = rules()["SchedulerHighBackoff"]["annotations"]
    failing = Scenario("fails", FAILS_FROM_10)
    silent = Scenario("silent", {UNREACHABLE: "1x9999", HOST_ERRORS: "0+3x9999"})
    backs_off = {
        "summary": f"{NAMESPACE} backs off on {EVM}, at level 6",
        "description": f"Anchors of {NAMESPACE} on {EVM} fail again and again, by kind: network. They are tried again every two to five minutes.",
        "runbook_url": annotations["runbook_url"],
    }
    does_not_answer = {
        "summary": f"{EVM} does not answer",
        "description": f"The ledger {EVM} has not answered for five minutes. Requests that failed within ten minutes: node:8545 (30). Nothing is lost, and it goes on by itself.",
        "runbook_url": rules()["SchedulerTargetUnreachable"]["annotations"]["runbook_url"],
    }
    about = {"target": EVM}
    expected = (
        (
            failing,
            30,
            "SchedulerHighBackoff",
            {**about, "namespace": NAMESPACE, "severity": "warning"},
            backs_off,
        ),
        (
            silent,
            20,
            "SchedulerTargetUnreachable",
            {**about, "severity": "critical"},
            does_not_answer,
        ),
    )
    tests = [
        {
            "interval": "1m",
            "input_series": list(series(scenario, HOST)),
            "alert_rule_test": [
                {
                    "eval_time": f"{minute}m",
                    "alertname": name,
                    "exp_alerts": [{"exp_labels": labels, "exp_annotations": words}],
                }
            ],
        }
        for scenario, minute, name, labels, words in expected
    ]
    judge(tests, tmp_path, ANCHOR_RULES)


def test_the_cluster_has_the_same_rules() -> None:
    text = cluster_place(ANCHOR_RULES).read_text(encoding="utf-8")
    assert text == cluster_rules(ANCHOR_RULES), "run python -m docs.tables"
    document = yaml.safe_load(text)
    assert document["kind"] == "PrometheusRule"
    assert document["spec"] == yaml.safe_load(ANCHOR_RULES.read_text(encoding="utf-8"))


def test_rules_are_adapted_to_a_site_and_expressions_stay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--prefix", "vmsh", "--runbooks", "https://wiki/", "--times", "0.001"]
    assert print_rules([*arguments, str(ANCHOR_RULES)]) == 0
    (group,) = yaml.safe_load(capsys.readouterr().out)["groups"]
    for rule in group["rules"]:
        original = rules()[rule["alert"]]
        assert rule["expr"] == re.sub(r"\bscheduler_", "vmsh_", original["expr"])
        assert rule["annotations"]["runbook_url"].startswith("https://wiki/docs/anchor-alerts.md#")
    lasting = {rule["alert"]: rule.get("for") for rule in group["rules"]}
    assert lasting["SchedulerDown"] == "120ms"
    assert lasting["SchedulerPausedTooLong"] == "86400ms"
    assert lasting["SchedulerDeadlineMissed"] is None
    text = ANCHOR_RULES.read_text(encoding="utf-8")
    assert yaml.safe_load(adapted(text)) == yaml.safe_load(text)
