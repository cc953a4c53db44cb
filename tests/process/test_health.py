"""Health: what is unhealthy, degraded or healthy, by the ages and levels that are documented."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.status import CadenceMemo, HeldMemo, NamespaceMemo, PausedView, TargetMemo
from vaultmesh.process.counts import NamespaceCounts
from vaultmesh.process.desired import NO_WORKFLOW, OTHER_CONTENT, DesiredState
from vaultmesh.process.failing import Failing
from vaultmesh.process.health import health, namespace_health
from vaultmesh.process.visibility import Snapshot

NOW = 1_768_471_205.123


def _memo(failures: int = 0, stale: float = -100.0, *, paused: bool = False) -> NamespaceMemo:
    """Return a memo whose cadence anchored 100 s ago, and is stale since some seconds."""
    cadence = CadenceMemo(
        target="eip155:31337",
        failures=failures,
        last_anchor=int(NOW - 100),
        stale_at=None if paused else int(NOW - stale),
    )
    names = ["fast"] if paused else []
    return NamespaceMemo(namespace="dao:one", cadences={"fast": cadence}, paused=names)


def _status(*memos: NamespaceMemo, heard: float = 1.0) -> object:
    named = {f"dao:n{number}": memo for number, memo in enumerate(memos)}
    return health(Snapshot(NOW - heard, named), started=NOW - 10, now=NOW)["status"]


def test_the_document_has_the_documented_shape() -> None:
    snapshot = Snapshot(NOW - 5, {"dao:one": _memo(failures=4)})
    assert health(snapshot, started=NOW - 4_210.52, now=NOW) == {
        "status": "degraded",
        "uptime": 4_210.52,
        "lastTick": int((NOW - 5) * 1_000),
        "namespaces": {
            "dao:one": {
                "lastAnchor": {"fast": int(NOW - 100)},
                "backoff": 4,
                "status": "backing_off",
                "cadences": {"fast": "backing_off"},
            }
        },
    }


@pytest.mark.parametrize(
    ("failures", "stale", "status"),
    [
        (0, -100.0, "ok"),
        (3, -100.0, "ok"),
        (4, -100.0, "backing_off"),
        (0, 0.0, "ok"),
        (0, 2.0, "stale"),
        (3, 2.0, "stale"),
        (4, 2.0, "backing_off"),
    ],
)
def test_a_namespace_is_ok_unless_it_backs_off_or_is_stale(
    failures: int, stale: float, status: str
) -> None:
    assert namespace_health(_memo(failures, stale), int(NOW))["status"] == status


def test_one_bad_cadence_decides_for_the_namespace_and_marks_no_other() -> None:
    cadences = {
        "fast": CadenceMemo(target="eip155:1", failures=1, last_anchor=int(NOW - 90_000)),
        "strong": CadenceMemo(target="eip155:1", stale_at=int(NOW - 5)),
        "cold": CadenceMemo(target="rfc3161:tsa", failures=9, last_anchor=int(NOW - 5)),
    }
    shown = namespace_health(NamespaceMemo(namespace="dao:one", cadences=cadences), NOW)
    assert (shown["backoff"], shown["status"]) == (7, "backing_off")
    assert set(cast("dict[str, int]", shown["lastAnchor"])) == {"fast", "cold"}
    assert shown["cadences"] == {"fast": "ok", "strong": "stale", "cold": "backing_off"}


def test_without_namespaces_a_worker_that_hears_of_temporal_is_healthy() -> None:
    assert _status() == "healthy"


def test_one_namespace_that_is_not_ok_degrades() -> None:
    assert _status(_memo()) == "healthy"
    assert _status(_memo(), _memo(stale=2)) == "degraded"


@pytest.mark.parametrize(("heard", "status"), [(60.0, "healthy"), (60.5, "unhealthy")])
def test_a_worker_that_has_not_heard_of_temporal_for_a_minute_is_unhealthy(
    heard: float, status: str
) -> None:
    assert _status(_memo(), heard=heard) == status


def test_before_the_first_answer_of_temporal_it_is_unhealthy() -> None:
    document = health(Snapshot(), started=NOW, now=NOW)
    assert (document["status"], document["lastTick"]) == ("unhealthy", 0)


def _document(snapshot: Snapshot, **counts: NamespaceCounts) -> dict[str, Any]:
    named = {f"dao:{name}": found for name, found in counts.items()}
    return dict(health(snapshot, started=NOW, now=NOW, counts=named))


def test_failing_counts_more_than_missing_and_both_more_than_stale() -> None:
    failing = Failing("namespace:dao:one", "NamespaceWorkflow", "run", "it broke")
    both = Snapshot(
        NOW, {"dao:one": _memo(failures=9)}, {failing.workflow_id: failing}, ["dao:one"]
    )
    document = _document(both)
    assert document["status"] == "degraded"
    assert document["namespaces"]["dao:one"] == {
        "lastAnchor": {"fast": int(NOW - 100)},
        "backoff": 7,
        "status": "failing",
        "cause": "it broke",
        "cadences": {"fast": "backing_off"},
    }
    assert document["failing"] == ["dao:one"]
    missing = _document(Snapshot(NOW, {}, {}, ["dao:one"]))
    assert missing["namespaces"]["dao:one"] == {"lastAnchor": {}, "backoff": 0, "status": "missing"}
    assert (missing["status"], missing["missing"]) == ("degraded", ["dao:one"])


def test_a_failing_aggregator_degrades_although_every_namespace_is_ok() -> None:
    failing = Failing("aggregator:eip155:1", "AggregatorWorkflow", "run", "it broke")
    document = _document(Snapshot(NOW, {"dao:one": _memo()}, {failing.workflow_id: failing}))
    assert document["status"] == "degraded"
    assert document["namespaces"]["dao:one"]["status"] == "ok"
    assert document["targets"] == {"eip155:1": {"status": "failing", "cause": "it broke"}}


def test_what_is_owed_stands_beside_the_original_fields() -> None:
    counts = NamespaceCounts({"fast": 3}, ("b1: no JSON",))
    snapshot = Snapshot(NOW, {"dao:one": _memo(), "dao:two": _memo()})
    namespaces = _document(snapshot, one=counts)["namespaces"]
    assert namespaces["dao:one"] | {"unanchored": {"fast": 3}} == namespaces["dao:one"]
    assert namespaces["dao:one"]["problems"] == ["b1: no JSON"]
    assert set(namespaces["dao:two"]) == {"lastAnchor", "backoff", "status", "cadences"}


SINCE = datetime.fromtimestamp(NOW - 240, UTC)


def test_what_no_worker_takes_up_is_listed_as_overdue_with_the_time_since_it_was_due() -> None:
    waiting = {"namespace:dao:one": SINCE, "namespace:dao:new": SINCE, "aggregator:btc:main": SINCE}
    document = _document(Snapshot(NOW, {"dao:one": _memo()}, waiting=waiting))
    assert document["status"] == "degraded"
    assert document["overdue"] == ["dao:new", "dao:one", "target btc:main"]
    entry = document["namespaces"]["dao:one"]
    assert (entry["status"], entry["overdue_seconds"]) == ("overdue", 240)
    assert entry["cause"].startswith("due 4 min ago, at ")
    assert "no worker takes its tasks" in entry["cause"]


def test_held_and_paused_are_listed_by_name_and_a_paused_cadence_with_its_namespace() -> None:
    held = HeldMemo(kind=FailureKind.AUTH, message="no funds", since=SINCE)
    rest = PausedView(reason="maintenance", since=SINCE)
    half = _memo().model_copy(update={"paused": ["cold"]})
    half.cadences["cold"] = CadenceMemo(target="rfc3161:tsa")
    targets = {
        "btc:main": TargetMemo(target="btc:main", held=held, paused=rest),
        "eip155:1": TargetMemo(target="eip155:1", paused=rest),
        "rfc3161:tsa": TargetMemo(target="rfc3161:tsa"),
    }
    memos = {"dao:half": half, "dao:one": _memo(paused=True)}
    document = _document(Snapshot(NOW, memos, targets=targets))
    assert document["held"] == ["target btc:main"]
    assert document["paused"] == ["dao:half cold", "dao:one", "target eip155:1"]
    assert document["targets"]["btc:main"]["cause"] == "auth: no funds"
    assert set(document["targets"]) == {"btc:main", "eip155:1"}
    assert [document["namespaces"][name]["status"] for name in memos] == ["ok", "paused"]
    assert document["status"] == "degraded"


def test_a_paused_cadence_is_listed_also_where_its_namespace_is_overdue() -> None:
    half = _memo().model_copy(update={"paused": ["cold"]})
    half.cadences["cold"] = CadenceMemo(target="rfc3161:tsa")
    document = _document(Snapshot(NOW, {"dao:half": half}, waiting={"namespace:dao:half": SINCE}))
    assert (document["overdue"], document["paused"]) == (["dao:half"], ["dao:half cold"])


def test_where_nothing_is_wrong_nothing_is_listed() -> None:
    document = _document(Snapshot(NOW, {"dao:one": _memo()}))
    assert set(document) == {"status", "uptime", "lastTick", "namespaces"}


def _with_desired(**desired: Any) -> dict[str, Any]:
    snapshot = Snapshot(NOW - 1, {"dao:one": _memo()}, missing=["dao:two"] * ("drift" in desired))
    state = DesiredState(**desired)
    return cast("dict[str, Any]", health(snapshot, started=NOW - 10, now=NOW, desired=state))


def test_a_namespace_that_differs_from_its_file_degrades_and_says_how() -> None:
    document = _with_desired(drift={"dao:one": OTHER_CONTENT, "dao:two": NO_WORKFLOW})
    assert document["status"] == "degraded"
    assert document["namespaces"]["dao:one"]["status"] == "ok"
    assert document["namespaces"]["dao:one"]["drift"] == OTHER_CONTENT
    assert document["namespaces"]["dao:two"]["status"] == "missing"


def test_a_refused_file_and_an_entry_that_was_not_taken_degrade_and_say_why() -> None:
    document = _with_desired(refused={"namespaces.yaml": "why"})
    assert (document["status"], document["refused"]) == ("degraded", {"namespaces.yaml": "why"})
    document = _with_desired(problems={"dao:one": "why"})
    assert (document["status"], document["namespaces"]["dao:one"]["cause"]) == ("degraded", "why")


def test_what_an_operator_stopped_is_shown_and_degrades_nothing() -> None:
    document = _with_desired(stopped={"dao:gone": "why"})
    assert document["status"] == "healthy"
    entry = {"lastAnchor": {}, "backoff": 0, "status": "stopped", "cause": "why"}
    assert document["namespaces"]["dao:gone"] == entry
    assert "refused" not in document


def test_a_stop_that_did_not_reach_its_workflow_says_why() -> None:
    snapshot = Snapshot(NOW - 1, {"dao:one": _memo()}, running={"namespace:dao:one"})
    state = DesiredState(stopped={"dao:one": "unregistered"}, problems={"dao:one": "not stopped"})
    document = cast("dict[str, Any]", health(snapshot, started=NOW, now=NOW, desired=state))
    assert document["status"] == "degraded"
    assert document["namespaces"]["dao:one"]["cause"] == "unregistered; not stopped"


def test_a_target_whose_ledger_does_not_answer_is_named_unless_something_worse_is_known() -> None:
    held = HeldMemo(
        kind=FailureKind.AUTH, message="no funds", since=datetime(2026, 1, 1, tzinfo=UTC)
    )
    memos = {"eip155:1": TargetMemo(target="eip155:1", held=held)}
    unreachable = {"btc:regtest": "refused\nthe connection", "eip155:1": "silent"}
    snapshot = Snapshot(NOW, targets=memos)
    document = health(snapshot, started=NOW - 9, now=NOW, unreachable=unreachable)
    assert document["status"] == "degraded"
    targets = cast("dict[str, Any]", document["targets"])
    assert targets["btc:regtest"] == {"status": "unreachable", "cause": "refused the connection"}
    assert targets["eip155:1"]["status"] == "held"
    assert document["unreachable"] == ["target btc:regtest"]


def test_a_target_whose_signed_rounds_are_gone_is_named_though_nothing_is_owed() -> None:
    """The harm: as long as nobody asked for an anchor, only `status` and a metric said that rounds were gone."""
    gone, mended = {"eip155:1": 3, "btc:regtest": 0}, {"eip155:1": 0}
    document = health(Snapshot(NOW), started=NOW - 9, now=NOW, unreadable=gone)
    assert document["status"] == "degraded"
    assert document["unreadable"] == ["target eip155:1"]
    targets = cast("dict[str, Any]", document["targets"])
    assert "gone: 3; status names them" in targets["eip155:1"]["cause"]
    again = health(Snapshot(NOW), started=NOW - 9, now=NOW, unreadable=mended)
    assert again["status"] == "healthy"
    assert "targets" not in again
