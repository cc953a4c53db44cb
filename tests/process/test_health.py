"""Health: what is unhealthy, degraded or healthy, by the ages and levels that are documented."""

from typing import Any, cast

import pytest

from vaultmesh.domain.status import CadenceMemo, NamespaceMemo
from vaultmesh.process.counts import NamespaceCounts
from vaultmesh.process.failing import Failing
from vaultmesh.process.health import health, namespace_health
from vaultmesh.process.visibility import Snapshot

NOW = 1_768_471_205.123


def _memo(failures: int = 0, age: float | None = 100.0) -> NamespaceMemo:
    last = None if age is None else int(NOW - age)
    cadence = CadenceMemo(target="eip155:31337", failures=failures, last_anchor=last)
    return NamespaceMemo(namespace="dao:one", cadences={"fast": cadence})


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
            }
        },
    }


@pytest.mark.parametrize(
    ("failures", "age", "status"),
    [
        (0, 100.0, "ok"),
        (3, 100.0, "ok"),
        (4, 100.0, "backing_off"),
        (0, 3_600.0, "ok"),
        (0, 3_602.0, "stale"),
        (0, None, "stale"),
        (4, None, "backing_off"),
    ],
)
def test_a_namespace_is_ok_unless_it_backs_off_or_is_stale(
    failures: int, age: float | None, status: str
) -> None:
    assert namespace_health(_memo(failures, age), int(NOW))["status"] == status


def test_the_newest_anchor_and_the_worst_cadence_count() -> None:
    cadences = {
        "fast": CadenceMemo(target="eip155:1", failures=1, last_anchor=int(NOW - 90_000)),
        "cold": CadenceMemo(target="rfc3161:tsa", failures=9, last_anchor=int(NOW - 5)),
    }
    shown = namespace_health(NamespaceMemo(namespace="dao:one", cadences=cadences), NOW)
    assert (shown["backoff"], shown["status"]) == (7, "backing_off")
    assert set(cast("dict[str, int]", shown["lastAnchor"])) == {"fast", "cold"}


def test_without_namespaces_a_worker_that_hears_of_temporal_is_healthy() -> None:
    assert _status() == "healthy"


def test_one_namespace_that_is_not_ok_degrades() -> None:
    assert _status(_memo()) == "healthy"
    assert _status(_memo(), _memo(age=None)) == "degraded"


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
    }
    missing = _document(Snapshot(NOW, {}, {}, ["dao:one"]))
    assert missing["namespaces"]["dao:one"] == {"lastAnchor": {}, "backoff": 0, "status": "missing"}
    assert missing["status"] == "degraded"


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
    assert set(namespaces["dao:two"]) == {"lastAnchor", "backoff", "status"}
