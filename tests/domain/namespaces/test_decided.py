"""What operators decided, and how much of it a workflow that begins anew goes on with."""

from datetime import UTC, datetime

import pytest

from vaultmesh.domain.namespaces.slots import NamespaceSchedule
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration, Decided, NamespaceInput
from vaultmesh.domain.namespaces.views import namespace_memo, namespace_view
from vaultmesh.domain.status import NamespaceState, read_at
from vaultmesh.domain.target import Target

NOW = datetime(2026, 1, 15, 10, tzinfo=UTC)
LONG_AFTER = datetime(2027, 1, 15, 10, tzinfo=UTC)
TARGET = Target.parse("eip155:1")


def configuration(config_hash: str = "file", **every: str) -> Configuration:
    cadences = {
        label: CadenceConfig(target=TARGET, every=each)
        for label, each in (every or {"fast": "1h", "strong": "2*fast"}).items()
    }
    return Configuration(namespace="dao:one", cadences=cadences, config_hash=config_hash)


def decided_so_far() -> Decided:
    """Return what a run says in which one cadence was paused and another changed."""
    schedule = NamespaceSchedule(NamespaceInput(configuration=configuration()), NOW)
    schedule.pause("strong", "budget", NOW)
    schedule.set_cadences(dict(configuration(fast="3h", strong="5*fast").cadences), NOW, "calmer")
    return Decided.model_validate_json(schedule.decided.model_dump_json())


def begun(decided: Decided, wanted: Configuration) -> NamespaceSchedule:
    return NamespaceSchedule(NamespaceInput(configuration=wanted, decided=decided), NOW)


def test_a_run_that_begins_anew_is_paused_and_changed_as_the_last_one_was() -> None:
    schedule = begun(decided_so_far(), configuration())
    assert schedule.configuration.cadences["fast"].every == "3h"
    paused = schedule.cadence("strong").paused
    assert paused is not None
    assert (paused.reason, paused.since) == ("budget", NOW)
    assert schedule.cadence("fast").paused is None
    assert schedule.state.last_change is not None
    assert schedule.state.last_change.memo == "calmer"
    assert schedule.decided == decided_so_far()


def test_a_file_that_changed_meanwhile_is_the_later_change_and_ends_no_pause() -> None:
    schedule = begun(decided_so_far(), configuration("another"))
    assert schedule.configuration == configuration("another")
    assert schedule.state.overridden == []
    assert set(schedule.decided.paused) == {"strong"}


def test_a_cadence_that_is_configured_no_more_leaves_no_pause_behind() -> None:
    schedule = begun(decided_so_far(), configuration("another", fast="1h"))
    assert schedule.decided.is_nothing
    assert set(schedule.state.cadences) == {"fast"}


@pytest.mark.parametrize("config_hash", ["", "file"])
def test_what_nobody_decided_changes_nothing(config_hash: str) -> None:
    plain = NamespaceSchedule(NamespaceInput(configuration=configuration(config_hash)), NOW)
    assert plain.decided.is_nothing
    assert begun(plain.decided, configuration(config_hash)).state == plain.state


def test_what_holds_is_told_a_line_each() -> None:
    assert decided_so_far().lines() == [
        "strong stays paused (budget)",
        "fast stays as set_cadence left it",
        "strong stays as set_cadence left it",
    ]


def test_an_unknown_past_is_shown_until_somebody_decides() -> None:
    start = NamespaceInput(configuration=configuration(), is_past_unknown=True)
    for decide in (
        lambda schedule: schedule.pause("fast", "", NOW),
        lambda schedule: schedule.resume("fast", NOW),
    ):
        schedule = NamespaceSchedule(start, NOW)
        assert namespace_memo(schedule).unknown_since == NOW
        decide(schedule)
        assert namespace_memo(schedule).unknown_since is None


def test_nothing_of_a_namespace_that_drains_is_stale_or_overdue() -> None:
    schedule = NamespaceSchedule(NamespaceInput(configuration=configuration()), NOW)
    assert schedule.stop()
    assert not schedule.stop()
    view = read_at(namespace_view(schedule, "", ""), LONG_AFTER)
    assert view.state is NamespaceState.DRAINING
    assert {cadence.state for cadence in view.cadences.values()} == {NamespaceState.DRAINING}
    assert {cadence.overdue_seconds for cadence in view.cadences.values()} == {None}
    memo = namespace_memo(schedule)
    assert memo.stopping
    assert {cadence.stale_at for cadence in memo.cadences.values()} == {None}
