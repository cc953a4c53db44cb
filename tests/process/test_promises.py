"""Promises are judged from files and the last list: shown with their cause, logged once, and never by silence."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from vaultmesh.domain.failures import FailureKind, NetworkFailure
from vaultmesh.domain.instants import of_seconds
from vaultmesh.domain.namespaces.config import parse_namespaces
from vaultmesh.domain.promises import Unfinished
from vaultmesh.domain.status import CadenceMemo, HeldMemo, NamespaceMemo, TargetMemo
from vaultmesh.domain.target import Target
from vaultmesh.process.promises import (
    MOST_OVERDUE,
    FindUnfinished,
    Look,
    PromiseMetrics,
    Promises,
)
from vaultmesh.process.visibility import Snapshot

SPECS = parse_namespaces(
    {
        "namespaces": {
            "dao:one": {
                "cadence": {
                    "fast": {"target": "eip155:1", "every": "89s", "deadline": "10m"},
                    "cold": {"target": "rfc3161:tsa", "every": "1d"},
                }
            }
        }
    }
).specs
NOW = 100_000.0


def line(name: str, why: str) -> str:
    return f'scheduler_{name}{{namespace="dao:one",cadence="fast",target="eip155:1",cause="{why}"}}'


class Scene:
    """Promises over files and a list that a test writes."""

    def __init__(self) -> None:
        self.batches: list[Unfinished] = []
        self.broken = ""
        self.snapshot = Snapshot(taken_at=NOW, namespaces={"dao:one": memo()})
        self.unreachable: dict[str, str] = {}
        self.metrics = PromiseMetrics("scheduler")
        self.promises = Promises(
            lambda: SPECS,
            self._begin,
            lambda: self.snapshot,
            lambda: self.unreachable,
            self.metrics,
        )

    def _begin(self) -> FindUnfinished:
        def find(namespace: str, target: Target, folder: str) -> Sequence[Unfinished]:
            if self.broken:
                raise NetworkFailure(self.broken)
            return self.batches if target.scheme == "eip155" else []

        return find

    def look(self, now: float = NOW) -> dict[str, float]:
        asyncio.run(self.promises.look(now))
        rows = self.metrics.page().decode().splitlines()
        return {
            row.rpartition(" ")[0]: float(row.rpartition(" ")[2])
            for row in rows
            if not row.startswith("#")
        }


def memo(failures: int = 0, paused: Sequence[str] = ()) -> NamespaceMemo:
    cadences = {
        "fast": CadenceMemo(target="eip155:1", failures=failures),
        "cold": CadenceMemo(target="rfc3161:tsa"),
    }
    return NamespaceMemo(namespace="dao:one", cadences=cadences, paused=list(paused))


def test_a_cadence_with_a_deadline_has_its_series_before_anything_happens() -> None:
    """The harm: an alert over a series that does not exist yet never fires for the first miss."""
    rows = Scene().look()
    assert rows[line("deadline_overdue_batches", "none")] == 0
    assert rows[line("deadline_at_risk_batches", "none")] == 0
    assert rows['scheduler_finality_lag_seconds{target="eip155:1"}'] == 0
    assert not [row for row in rows if "cold" in row and "deadline" in row]


def test_a_missed_deadline_is_shown_with_its_cause_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    held = HeldMemo(kind=FailureKind.AUTH, message="insufficient funds", since=of_seconds(NOW))
    scene.snapshot.targets = {"eip155:1": TargetMemo(target="eip155:1", held=held)}
    scene.batches = [Unfinished("b1", int(NOW) - 601), Unfinished("b2", int(NOW) - 500)]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            rows = scene.look()
    assert rows[line("deadline_overdue_batches", "held")] == 1
    assert rows[line("deadline_at_risk_batches", "held")] == 1
    assert rows[line("deadline_missed_total", "held")] == 1
    said = [(record.message, record.batch) for record in caplog.records]  # type: ignore[attr-defined]
    assert sorted(said) == [("deadline at risk", "b2"), ("deadline missed", "b1")]
    assert caplog.records[0].detail == "its target is held: insufficient funds"  # type: ignore[attr-defined]


def test_what_became_final_is_shown_no_longer_and_counts_as_missed_all_the_same() -> None:
    scene = Scene()
    scene.batches = [Unfinished("b1", int(NOW) - 601)]
    scene.look()
    scene.batches = []
    rows = scene.look()
    assert rows[line("deadline_overdue_batches", "none")] == 0
    assert rows[line("deadline_missed_total", "slot")] == 1


def test_a_storage_that_can_not_be_read_keeps_no_promise() -> None:
    """The harm: batches that nobody could look at were shown as none overdue."""
    scene = Scene()
    scene.batches = [Unfinished("b1", int(NOW) - 300)]
    scene.look()
    scene.broken = "out/batches can't be listed: stale file handle"
    rows = scene.look(NOW + 400)
    assert rows[line("deadline_overdue_batches", "storage")] == 1


def test_each_cause_comes_from_what_the_process_knows() -> None:
    scene = Scene()
    scene.batches = [Unfinished("b1", int(NOW) - 601)]
    scene.snapshot.namespaces = {"dao:one": memo(paused=["fast"])}
    assert line("deadline_overdue_batches", "paused") in scene.look()
    scene.snapshot.namespaces = {"dao:one": memo(failures=3)}
    assert line("deadline_overdue_batches", "backing_off") in scene.look()
    scene.unreachable = {"eip155:1": "connection refused"}
    assert line("deadline_overdue_batches", "endpoint") in scene.look()
    scene.snapshot.missing = ["dao:one"]
    assert line("deadline_overdue_batches", "missing") in scene.look()


def test_the_lag_of_finality_is_that_of_the_oldest_batch_under_way() -> None:
    scene = Scene()
    scene.batches = [
        Unfinished("b1", int(NOW) - 90, is_signed=True, depth=1, required_depth=6),
        Unfinished("b2", int(NOW) - 500),
    ]
    assert scene.look()['scheduler_finality_lag_seconds{target="eip155:1"}'] == 90


def test_an_owed_batch_is_due_after_three_periods_unless_it_is_paused() -> None:
    """The harm: an age alone says nothing of a cadence that anchors once a day."""
    due = (
        'scheduler_owed_due_timestamp_seconds{namespace="dao:one",cadence="fast",target="eip155:1"}'
    )
    scene = Scene()
    assert due not in scene.look()
    anchored = Unfinished("b0", int(NOW) - 900, is_signed=True, depth=1, required_depth=6)
    scene.batches = [anchored, Unfinished("b1", int(NOW) - 90)]
    assert scene.look()[due] == NOW - 90 + 600  # three periods of 89 s are less than ten minutes
    scene.snapshot.namespaces = {"dao:one": memo(paused=["fast"])}
    assert due not in scene.look()
    scene.batches = [anchored]
    scene.snapshot.namespaces = {"dao:one": memo()}
    assert due not in scene.look()


def test_of_thousands_that_are_overdue_the_page_shows_those_that_wait_longest() -> None:
    """The harm: in an outage each cadence has one series more, and the page passes its 2 MB."""
    metrics, names = PromiseMetrics("scheduler"), [f"dao:{number}" for number in range(2_000)]
    due = {(name, "fast", "eip155:1"): NOW + 100 - at for at, name in enumerate(names)}
    metrics.looked(Look(NOW, due=due))
    rows = [row for row in metrics.page().decode().splitlines() if "_owed_due_" in row][2:]
    assert len(rows) == MOST_OVERDUE
    assert {row.split('"')[1] for row in rows} == set(names[-MOST_OVERDUE:])
    metrics.looked(Look(NOW, due=dict.fromkeys(due, NOW + 1)))
    assert "_seconds{" not in metrics.page().decode()
