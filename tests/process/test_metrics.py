"""The metrics page: names, labels and types that dashboards and alerts rely on, and nothing stale."""

import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from bench.crowd import crowded
from devnet.promtool import promtool
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorOutcome, AnchorRequest, OutcomeStatus
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.namespaces.state import CadenceConfig
from vaultmesh.domain.status import CadenceMemo, HeldMemo, NamespaceMemo, SlotOutcome, TargetMemo
from vaultmesh.domain.tally import Tally, TargetFigures
from vaultmesh.domain.target import Target
from vaultmesh.process.counts import NamespaceCounts
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.promises import MOST_OVERDUE
from vaultmesh.process.target_metrics import StoredState, TargetLook

TARGET = Target.parse("eip155:31337")
LABELS = {"namespace": "dao:one", "cadence": "fast", "target": "eip155:31337"}
PREFIXED = {
    "anchors_attempted": ("counter", {"namespace", "cadence", "target"}),
    "anchors_succeeded": ("counter", {"namespace", "cadence", "target"}),
    "anchors_failed": ("counter", {"namespace", "cadence", "target"}),
    "anchor_failures": ("counter", {"target", "kind"}),
    "anchor_duration_seconds": ("histogram", {"namespace", "cadence", "target", "status"}),
    "slots": ("counter", {"namespace", "cadence", "outcome"}),
    "backoff_state": ("gauge", {"namespace"}),
    "last_anchor_timestamp_seconds": ("gauge", {"namespace", "cadence"}),
    "last_tick_timestamp_seconds": ("gauge", set()),
    "namespaces_missing": ("gauge", set()),
    "workflows_failing": ("gauge", {"type"}),
    "unreadable_rounds": ("gauge", {"target"}),
    "task_errors": ("counter", {"task"}),
    "target_held": ("gauge", {"target", "cause"}),
    "owed_batches": ("gauge", {"namespace", "cadence", "target"}),
    "oldest_owed_timestamp_seconds": ("gauge", {"namespace", "cadence", "target"}),
    "config_drift": ("gauge", {"namespace"}),
    "config_file_refused": ("gauge", {"file"}),
    "paused_cadences": ("gauge", {"namespace"}),
    "build_info": ("gauge", {"version", "build"}),
    "target_paused": ("gauge", {"target"}),
    "target_unreachable": ("gauge", {"target"}),
    "fee_bumps": ("counter", {"target"}),
    "reorganisations": ("counter", {"target"}),
    "foreign_uses": ("counter", {"target"}),
    "quorum_disagreements": ("counter", {"target"}),
    "fees_paid": ("counter", {"target", "unit"}),
    "balance": ("gauge", {"target", "unit"}),
    "current_bid": ("gauge", {"target", "unit"}),
    "runway_anchors": ("gauge", {"target"}),
    "fee_cap_reached": ("gauge", {"target"}),
    "certificate_expiry_timestamp_seconds": ("gauge", {"target", "kind"}),
    "open_rounds": ("gauge", {"target", "state"}),
    "target_look_timestamp_seconds": ("gauge", {"target"}),
    "endpoint_errors": ("counter", {"target", "host"}),
    "endpoint_duration_seconds": ("histogram", {"target", "host"}),
    "token_clock_skew_seconds": ("gauge", {"target"}),
    "signals_rejected": ("counter", {"type"}),
}
AUTHORITY = Target.parse("rfc3161:tsa")
SPEC = NamespaceSpec(
    name="dao:one",
    cadences={
        "fast": CadenceConfig(target=TARGET, every="1m"),
        "cold": CadenceConfig(target=AUTHORITY, every="1d"),
    },
)


def _request(seconds_ago: float = 3.0, kind: str = "") -> AnchorRequest:
    slot = f"{kind}{int(time.time() - seconds_ago)}"
    return AnchorRequest(namespace="dao:one", cadence="fast", slot=slot)


def _memo(failures: int = 0) -> NamespaceMemo:
    cadence = CadenceMemo(
        target=str(TARGET),
        failures=failures,
        last_anchor=1_761_300_097,
        outcomes={SlotOutcome.ANCHORED: 12, SlotOutcome.NOTHING_NEW: 3},
    )
    return NamespaceMemo(namespace="dao:one", cadences={"fast": cadence})


def _used(prefix: str = "scheduler") -> Metrics:
    """Return metrics of which each has a series."""
    metrics = Metrics(prefix)
    metrics.task_failed("probing")
    metrics.failed(_request(), TARGET, FailureKind.AUTH)
    metrics.ended(_request(), TARGET, AnchorOutcome(status=OutcomeStatus.ANCHORED))
    held = HeldMemo(kind=FailureKind.AUTH, message="no funds", since=datetime.now(UTC))
    memo = _memo().model_copy(update={"paused": ["fast"]})
    metrics.listed({"dao:one": memo}, 0, {str(TARGET): TargetMemo(target=str(TARGET), held=held)})
    _look_at_targets(metrics)
    metrics.counted({"dao:one": NamespaceCounts({"fast": 16}, (), {"fast": 1_761_300_000})})
    metrics.talked_to_temporal(1_761_300_100.0)
    metrics.found_unreadable(TARGET, 1)
    metrics.compared({"dao:one": True}, {"namespaces.yaml": False})
    return metrics


def _look_at_targets(metrics: Metrics) -> None:
    """Have ledgers shown something of everything."""
    tally = Tally(clock_skew=timedelta(seconds=2))
    tally.endpoint("node:8545").durations.observe(0.2)
    metrics.targets.tallies = lambda: {str(TARGET): tally}
    figures = TargetFigures(7 * 10**17, 3e9, 3_888, ends={"root": datetime.now(UTC)})
    rounds = {StoredState.PENDING: 2}
    metrics.targets.looked(str(TARGET), TargetLook(1_761_300_100.0, figures, rounds))


def _families(metrics: Metrics) -> dict[str, Metric]:
    return {one.name: one for one in text_string_to_metric_families(metrics.page().decode())}


def _value(metrics: Metrics, name: str, **labels: str) -> float | None:
    found = [
        sample.value
        for family in _families(metrics).values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return found[0] if found else None


def test_promtool_accepts_the_page() -> None:
    checked = subprocess.run(
        [str(promtool()), "check", "metrics"],
        input=_used().page(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.parametrize("prefix", ["scheduler", "vmsh"])
def test_names_types_and_labels_are_the_documented_ones(prefix: str) -> None:
    families = _families(_used(prefix))
    shown = {
        name: (
            family.type,
            set().union(*(sample.labels for sample in family.samples)) - {"le"},
        )
        for name, family in families.items()
        if not name.startswith("process_")
    }
    assert shown == {f"{prefix}_{name}": form for name, form in PREFIXED.items()}
    assert all(family.documentation.endswith(".") for family in families.values())


def test_what_is_owed_is_what_files_say_and_what_can_not_be_counted_has_no_series() -> None:
    metrics = _used()
    assert _value(metrics, "scheduler_owed_batches", **LABELS) == 16
    assert _value(metrics, "scheduler_oldest_owed_timestamp_seconds", **LABELS) == 1_761_300_000
    metrics.counted({"dao:one": NamespaceCounts({"fast": None}), "dao:gone": NamespaceCounts()})
    assert _value(metrics, "scheduler_owed_batches", **LABELS) is None
    assert _value(metrics, "scheduler_oldest_owed_timestamp_seconds", **LABELS) is None


def test_a_held_target_stands_at_1_for_its_cause_alone_and_at_0_once_it_is_mended() -> None:
    metrics = _used()
    held = {
        kind: _value(metrics, "scheduler_target_held", target=str(TARGET), cause=kind)
        for kind in FailureKind
    }
    assert held == {kind: int(kind is FailureKind.AUTH) for kind in FailureKind}
    metrics.listed({}, 0, {str(TARGET): TargetMemo(target=str(TARGET))})
    assert _value(metrics, "scheduler_target_held", target=str(TARGET), cause="auth") == 0


def test_what_is_configured_has_its_series_at_0_before_anything_happened() -> None:
    metrics = Metrics()
    metrics.configured({"dao:one": SPEC})
    for name in ("attempted", "succeeded", "failed"):
        assert _value(metrics, f"scheduler_anchors_{name}_total", **LABELS) == 0
    for status in ("success", "failure"):
        name = "scheduler_anchor_duration_seconds_count"
        assert _value(metrics, name, status=status, **LABELS) == 0
    for outcome in SlotOutcome:
        slots = {"namespace": "dao:one", "cadence": "cold", "outcome": outcome.value}
        assert _value(metrics, "scheduler_slots_total", **slots) == 0
    assert _value(metrics, "scheduler_backoff_state", namespace="dao:one") == 0
    for target in (str(TARGET), str(AUTHORITY)):
        for name in ("fee_bumps", "reorganisations", "foreign_uses", "quorum_disagreements"):
            assert _value(metrics, f"scheduler_{name}_total", target=target) == 0
        for kind in FailureKind:
            name = "scheduler_anchor_failures_total"
            assert _value(metrics, name, target=target, kind=kind) == 0
            assert _value(metrics, "scheduler_target_held", target=target, cause=kind) == 0
        assert _value(metrics, "scheduler_unreadable_rounds", target=target) == 0
    paid = {"target": str(TARGET), "unit": "wei"}
    assert _value(metrics, "scheduler_fees_paid_total", **paid) == 0
    for kind in ("NamespaceWorkflow", "AggregatorWorkflow", "JobWorkflow"):
        assert _value(metrics, "scheduler_signals_rejected_total", type=kind) == 0


def test_a_worker_killed_in_an_outage_comes_back_with_no_more_failures_than_attempts() -> None:
    """The requests that its dead predecessor sent fail in its hands: an alert divides the one by the other."""
    restarted = Metrics()
    restarted.configured({"dao:one": SPEC})
    for _ in range(4):
        restarted.failed(_request(), TARGET, FailureKind.NETWORK)
    restarted.ended(_request(), TARGET, AnchorOutcome(status=OutcomeStatus.ANCHORED))
    names = ("attempted", "succeeded", "failed")
    counted = [_value(restarted, f"scheduler_anchors_{name}_total", **LABELS) for name in names]
    assert counted == [5, 1, 4]


def test_a_namespace_that_left_takes_its_series_along() -> None:
    metrics = _used()
    metrics.configured({})
    metrics.listed({})
    assert _value(metrics, "scheduler_anchors_failed_total", **LABELS) is None
    assert (
        _value(metrics, "scheduler_anchor_duration_seconds_count", status="failure", **LABELS)
        is None
    )


def test_a_look_that_fails_keeps_what_the_ledger_showed_before_and_its_age() -> None:
    metrics, target = _used(), str(TARGET)
    later = TargetLook(1_761_399_999.0, None, {StoredState.INCLUDED: 1})
    metrics.targets.looked(target, later)
    assert _value(metrics, "scheduler_runway_anchors", target=target) == 3_888
    assert _value(metrics, "scheduler_balance", target=target, unit="wei") == 7 * 10**17
    look = _value(metrics, "scheduler_target_look_timestamp_seconds", target=target)
    assert look == 1_761_300_100
    assert _value(metrics, "scheduler_open_rounds", target=target, state="included") == 1
    assert _value(metrics, "scheduler_open_rounds", target=target, state="pending") == 0


def test_names_with_quotes_and_backslashes_do_not_spoil_the_page() -> None:
    metrics, name = Metrics(), 'dao:"one"\\'
    metrics.listed({name: NamespaceMemo(namespace=name)})
    assert _value(metrics, "scheduler_backoff_state", namespace=name) == 0


def test_a_page_of_a_thousand_namespaces_that_all_fail_stays_below_2_megabytes() -> None:
    page = crowded(1_000, 3).page()
    assert len(page) < 2_000_000
    assert page.count(b"\nscheduler_anchors_failed_total{") == 3_000
    assert page.count(b"\nscheduler_owed_batches{") == 3_000
    assert page.count(b"\nscheduler_owed_due_timestamp_seconds{") == MOST_OVERDUE
    assert page.count(b"\nscheduler_anchor_duration_seconds_count{") == 3 * 2


IDLE = {"namespace": "dao:one", "cadence": "fast", "outcome": "nothing_new"}


def _idle(metrics: Metrics, count: int | None = None) -> float | None:
    """Have a cadence's workflow say how many slots had nothing new, if it does; returns what is shown of it."""
    if count is not None:
        said = {SlotOutcome.ANCHORED: 12, SlotOutcome.NOTHING_NEW: count}
        metrics.slots_ended("dao:one", "fast", said)
    return _value(metrics, "scheduler_slots_total", **IDLE)


def test_idle_slots_show_before_the_memo_says_so_and_go_with_their_namespace() -> None:
    metrics = _used()
    assert [_idle(metrics, count) for count in (4, 5, 9)] == [4, 5, 9]
    metrics.slots_ended("dao:one", "fast", {SlotOutcome.NOTHING_NEW: 1})
    assert _idle(metrics) == 3
    assert _idle(metrics, 90) == 90
    metrics.listed({})
    metrics.listed({"dao:one": _memo()})
    assert _idle(metrics) == 3


def test_slots_from_before_a_process_are_no_increase_of_its_counter() -> None:
    """The harm: after each restart a cadence that had been idle for a week showed a week's slots in one scrape."""
    metrics = _used()
    assert _idle(metrics) == 3
    assert [_idle(metrics, count) for count in (6_000, 6_001, 6_002)] == [3, 4, 5]
    memo = _memo()
    outcomes = {SlotOutcome.ANCHORED: 13, SlotOutcome.NOTHING_NEW: 6_003}
    memo.cadences["fast"] = memo.cadences["fast"].model_copy(update={"outcomes": outcomes})
    metrics.listed({"dao:one": memo})
    assert _idle(metrics) == 6
    assert _value(metrics, "scheduler_slots_total", **IDLE | {"outcome": "anchored"}) == 13
    metrics.slots_ended("dao:one", "fast", {SlotOutcome.NOTHING_NEW: 1})  # began anew
    metrics.listed(
        {
            "dao:one": NamespaceMemo(
                namespace="dao:one", cadences={"fast": CadenceMemo(target=str(TARGET))}
            )
        }
    )
    assert _idle(metrics) == 1


def test_failed_and_attempted_have_the_same_labels_so_that_an_alert_can_divide_them() -> None:
    metrics = _used()
    assert _value(metrics, "scheduler_anchors_failed_total", **LABELS) == 1
    assert _value(metrics, "scheduler_anchors_attempted_total", **LABELS) == 2
    failures = {"target": str(TARGET), "kind": "auth"}
    assert _value(metrics, "scheduler_anchor_failures_total", **failures) == 1


@pytest.mark.parametrize("status", [one for one in OutcomeStatus if one != "anchored"])
def test_only_an_anchor_counts_as_success(status: OutcomeStatus) -> None:
    metrics = Metrics()
    metrics.configured({"dao:one": SPEC})
    metrics.ended(_request(), TARGET, AnchorOutcome(status=status))
    assert _value(metrics, "scheduler_anchors_succeeded_total", **LABELS) == 0
    assert _value(metrics, "scheduler_anchors_attempted_total", **LABELS) == 0
    name = "scheduler_anchor_duration_seconds_count"
    assert _value(metrics, name, status="success", **LABELS) == 0


@pytest.mark.parametrize("kind", ["", "r", "f"])
def test_a_duration_runs_from_the_slot_also_of_a_registered_or_forced_one(kind: str) -> None:
    metrics = Metrics()
    metrics.configured({"dao:one": SPEC})
    anchored = AnchorOutcome(status=OutcomeStatus.ANCHORED)
    metrics.ended(_request(90.0, kind), TARGET, anchored)
    name = "scheduler_anchor_duration_seconds_bucket"
    assert _value(metrics, name, le="60", status="success", **LABELS) == 0
    assert _value(metrics, name, le="120", status="success", **LABELS) == 1


def test_buckets_reach_from_a_second_to_hours() -> None:
    shown = _families(_used())["scheduler_anchor_duration_seconds"].samples
    bounds = sorted({float(sample.labels["le"]) for sample in shown if "le" in sample.labels})
    assert (bounds[0], bounds[-2]) == (1.0, 6 * 3_600.0)


def test_slots_backoff_and_last_anchor_are_those_of_the_last_list() -> None:
    metrics = Metrics()
    metrics.listed({"dao:one": _memo(failures=5)})
    slots = {"namespace": "dao:one", "cadence": "fast", "outcome": "anchored"}
    assert _value(metrics, "scheduler_slots_total", **slots) == 12
    assert _value(metrics, "scheduler_backoff_state", namespace="dao:one") == 5
    last = _value(
        metrics, "scheduler_last_anchor_timestamp_seconds", namespace="dao:one", cadence="fast"
    )
    assert last == 1_761_300_097
    metrics.listed({"dao:one": _memo(failures=0)})
    assert _value(metrics, "scheduler_backoff_state", namespace="dao:one") == 0
    metrics.listed({})
    assert _value(metrics, "scheduler_backoff_state", namespace="dao:one") is None
    assert _value(metrics, "scheduler_slots_total", **slots) is None


def test_backoff_never_shows_more_than_level_7() -> None:
    metrics = Metrics()
    metrics.listed({"dao:one": _memo(failures=40)})
    assert _value(metrics, "scheduler_backoff_state", namespace="dao:one") == 7


def test_two_of_them_do_not_share_a_registry() -> None:
    first, second = Metrics(), Metrics()
    first.configured({"dao:one": SPEC})
    first.task_failed("probing")
    assert _value(second, "scheduler_task_errors_total", task="probing") is None
    assert _value(second, "scheduler_anchors_attempted_total", **LABELS) is None


def test_failing_workflows_have_a_series_for_each_type_from_the_start() -> None:
    metrics = Metrics()
    for kind in ("NamespaceWorkflow", "AggregatorWorkflow", "JobWorkflow"):
        assert _value(metrics, "scheduler_workflows_failing", type=kind) == 0
    metrics.found_failing(["NamespaceWorkflow", "NamespaceWorkflow"])
    assert _value(metrics, "scheduler_workflows_failing", type="NamespaceWorkflow") == 2
    metrics.found_failing([])
    assert _value(metrics, "scheduler_workflows_failing", type="NamespaceWorkflow") == 0


def test_missing_namespaces_are_those_of_the_last_list() -> None:
    metrics = Metrics()
    assert _value(metrics, "scheduler_namespaces_missing") == 0
    metrics.listed({}, 3)
    assert _value(metrics, "scheduler_namespaces_missing") == 3


def test_a_namespace_that_left_the_file_has_no_drift_any_more() -> None:
    metrics = Metrics()
    metrics.compared({"dao:one": True, "dao:two": False}, {"namespaces.yaml": True})
    assert _value(metrics, "scheduler_config_drift", namespace="dao:one") == 1
    assert _value(metrics, "scheduler_config_drift", namespace="dao:two") == 0
    assert _value(metrics, "scheduler_config_file_refused", file="namespaces.yaml") == 1
    metrics.compared({"dao:two": False}, {"namespaces.yaml": False})
    assert _value(metrics, "scheduler_config_drift", namespace="dao:one") is None
    assert _value(metrics, "scheduler_config_file_refused", file="namespaces.yaml") == 0
