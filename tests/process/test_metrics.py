"""The metrics page: names, labels and types that dashboards and alerts rely on, and nothing stale."""

import subprocess
import time
from datetime import UTC, datetime

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from devnet.promtool import promtool
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorOutcome, AnchorRequest, OutcomeStatus
from vaultmesh.domain.status import CadenceMemo, HeldMemo, NamespaceMemo, SlotOutcome, TargetMemo
from vaultmesh.domain.target import Target
from vaultmesh.process.counts import NamespaceCounts
from vaultmesh.process.metrics import Metrics

TARGET = Target.parse("eip155:31337")
LABELS = {"namespace": "dao:one", "cadence": "fast", "target": "eip155:31337"}
PREFIXED = {
    "anchors_attempted": ("counter", {"namespace", "cadence", "target"}),
    "anchors_succeeded": ("counter", {"namespace", "cadence", "target"}),
    "anchors_failed": ("counter", {"namespace", "cadence", "target"}),
    "anchor_failures": ("counter", {"namespace", "cadence", "target", "kind"}),
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
}


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
    metrics.attempted(_request(), TARGET)
    metrics.failed(_request(), TARGET, FailureKind.AUTH)
    metrics.ended(_request(), TARGET, AnchorOutcome(status=OutcomeStatus.ANCHORED))
    held = HeldMemo(kind=FailureKind.AUTH, message="no funds", since=datetime.now(UTC))
    metrics.listed(
        {"dao:one": _memo()}, 0, {str(TARGET): TargetMemo(target=str(TARGET), held=held)}
    )
    metrics.counted({"dao:one": NamespaceCounts({"fast": 16}, (), {"fast": 1_761_300_000})})
    metrics.talked_to_temporal(1_761_300_100.0)
    metrics.found_unreadable(TARGET, 1)
    metrics.compared({"dao:one": True}, {"namespaces.yaml": False})
    return metrics


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


def test_a_held_target_has_a_series_while_it_is_held() -> None:
    metrics, labels = _used(), {"target": str(TARGET), "cause": "auth"}
    assert _value(metrics, "scheduler_target_held", **labels) == 1
    metrics.listed({}, 0, {str(TARGET): TargetMemo(target=str(TARGET))})
    assert _value(metrics, "scheduler_target_held", **labels) is None


def test_idle_slots_show_before_the_memo_says_so_and_go_with_their_namespace() -> None:
    metrics, idle = _used(), {"namespace": "dao:one", "cadence": "fast", "outcome": "nothing_new"}
    metrics.slots_ended("dao:one", "fast", {SlotOutcome.ANCHORED: 12, SlotOutcome.NOTHING_NEW: 9})
    assert _value(metrics, "scheduler_slots_total", **idle) == 9
    metrics.slots_ended("dao:one", "fast", {SlotOutcome.NOTHING_NEW: 1})
    assert _value(metrics, "scheduler_slots_total", **idle) == 3
    metrics.slots_ended("dao:one", "fast", {SlotOutcome.NOTHING_NEW: 90})
    metrics.listed({})
    metrics.listed({"dao:one": _memo()})
    assert _value(metrics, "scheduler_slots_total", **idle) == 3


def test_failed_and_attempted_have_the_same_labels_so_that_an_alert_can_divide_them() -> None:
    metrics = _used()
    assert _value(metrics, "scheduler_anchors_failed_total", **LABELS) == 1
    assert _value(metrics, "scheduler_anchors_attempted_total", **LABELS) == 1
    assert _value(metrics, "scheduler_anchor_failures_total", kind="auth", **LABELS) == 1


@pytest.mark.parametrize("status", [one for one in OutcomeStatus if one != "anchored"])
def test_only_an_anchor_counts_as_success(status: OutcomeStatus) -> None:
    metrics = Metrics()
    metrics.ended(_request(), TARGET, AnchorOutcome(status=status))
    assert _value(metrics, "scheduler_anchors_succeeded_total", **LABELS) is None
    assert (
        _value(metrics, "scheduler_anchor_duration_seconds_count", status="success", **LABELS)
        is None
    )


@pytest.mark.parametrize("kind", ["", "r", "f"])
def test_a_duration_runs_from_the_slot_also_of_a_registered_or_forced_one(kind: str) -> None:
    metrics = Metrics()
    anchored = AnchorOutcome(status=OutcomeStatus.ANCHORED)
    metrics.ended(_request(90.0, kind), TARGET, anchored)
    name = "scheduler_anchor_duration_seconds_bucket"
    assert _value(metrics, name, le="60.0", status="success", **LABELS) == 0
    assert _value(metrics, name, le="120.0", status="success", **LABELS) == 1


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
    first.attempted(_request(), TARGET)
    assert _value(second, "scheduler_anchors_attempted_total", **LABELS) is None


def test_failing_workflows_have_a_series_for_each_type_from_the_start() -> None:
    metrics = Metrics()
    for kind in ("NamespaceWorkflow", "AggregatorWorkflow"):
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
