"""By its name, a message is one order for the cadences it means, or one refusal."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from vaultmesh.domain import pen_orders
from vaultmesh.domain.clock import CadenceConfig, Configuration
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.names import ENQUEUE, NOTE_FAILURE, RELEASE, WITHDRAW
from vaultmesh.domain.orders import (
    VERBS,
    Force,
    Note,
    Order,
    Pause,
    Resume,
    SetCadence,
    Stop,
    is_report,
    read,
    read_configuration,
    read_update,
)
from vaultmesh.domain.status import rfc3339
from vaultmesh.domain.target import Target

NOW = datetime(2026, 1, 15, 10, tzinfo=UTC)
CONFIGURATION = Configuration(
    namespace="dao:x",
    cadences={
        "fast": CadenceConfig(target=Target.parse("eip155:1"), every="89s"),
        "cold": CadenceConfig(target=Target.parse("rfc3161:tsa"), every="1d"),
    },
    schemes=["eip155", "rfc3161"],
)
BOTH = ["fast", "cold"]
NOTE: dict[str, JsonValue] = {
    "cadence": "fast",
    "slot": "1768471200",
    "failures": 1,
    "kind": "network",
    "message": "no answer",
    "at": "2026-01-15T10:00:00Z",
    "next_retry": "2026-01-15T10:00:08Z",
}
REQUEST: JsonValue = AnchorRequest(namespace="dao:x", cadence="fast", slot="1").model_dump(
    mode="json"
)


def ordered(name: str, *values: JsonValue) -> Order:
    """Read a signal."""
    return read(name, list(values), CONFIGURATION, NOW)


@pytest.mark.parametrize(
    ("name", "values", "order"),
    [
        ("pause", [], Pause(BOTH, "")),
        ("pause", ["fees"], Pause(BOTH, "fees")),
        ("pause", [{"cadence": "cold", "reason": "x"}], Pause(["cold"], "x")),
        ("resume", [], Resume(BOTH)),
        ("resume", ["cold"], Resume(["cold"])),
        ("force_anchor", [], Force(BOTH)),
        ("force_anchor", ["fast"], Force(["fast"])),
    ],
)
def test_a_verb_without_a_cadence_means_all_of_them(
    name: str, values: list[JsonValue], order: Order
) -> None:
    assert ordered(name, *values) == order
    assert read_update(name, values, CONFIGURATION, NOW) == order


def test_a_change_of_one_cadence_keeps_the_other() -> None:
    change: JsonValue = {"fast": {"target": "eip155:1", "every": "120s"}}
    order = ordered("set_cadence", {"namespace": "dao:x", "cadence": change})
    assert isinstance(order, SetCadence)
    assert order.cadences["fast"].every == "120s"
    assert order.cadences["cold"] == CONFIGURATION.cadences["cold"]


def test_a_change_to_a_scheme_that_no_worker_has_is_refused() -> None:
    change: JsonValue = {"fast": {"target": "btc:mainnet", "every": "1h"}}
    with pytest.raises(InvalidValue, match="btc"):
        ordered("set_cadence", {"namespace": "dao:x", "cadence": change})


def test_only_an_update_stops_a_clock_and_only_a_signal_reports_a_failure() -> None:
    assert read_update("stop", [], CONFIGURATION, NOW) == Stop()
    with pytest.raises(InvalidValue, match="no message 'stop'"):
        ordered("stop")
    assert isinstance(ordered(NOTE_FAILURE, NOTE), Note)
    with pytest.raises(InvalidValue, match="no update 'note_failure'"):
        read_update(NOTE_FAILURE, [NOTE], CONFIGURATION, NOW)


@given(st.text(max_size=20).filter(lambda name: name not in (*VERBS, NOTE_FAILURE, "stop")))
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    for reader in (read, read_update):
        with pytest.raises(InvalidValue) as refused:
            reader(name, [], CONFIGURATION, NOW)
        assert all(verb in str(refused.value) for verb in VERBS)


@pytest.mark.parametrize("key", ["at", "next_retry"])
@pytest.mark.parametrize(
    "instant",
    ["2026-01-15T10:00:00", "1969-12-31T23:59:59Z", "9001-01-01T00:00:00Z", "yesterday"],
)
def test_a_failure_of_no_instant_of_ours_is_refused(key: str, instant: str) -> None:
    with pytest.raises(InvalidValue):
        ordered(NOTE_FAILURE, NOTE | {key: instant})


@given(st.datetimes(), st.timezones() | st.none())
def test_every_failure_that_is_taken_can_be_shown(moment: datetime, zone: Any) -> None:
    written = moment.replace(tzinfo=zone).isoformat()
    with suppress(InvalidValue):
        order = ordered(NOTE_FAILURE, NOTE | {"at": written, "next_retry": written})
        assert isinstance(order, Note)
        assert rfc3339(order.note.at).endswith("Z")


def test_a_clock_that_drains_still_takes_reports_and_no_operators() -> None:
    assert [name for name in (*VERBS, NOTE_FAILURE) if is_report(name)] == [NOTE_FAILURE]


def test_a_configuration_is_taken_by_its_own_namespace_alone() -> None:
    sent: list[JsonValue] = [CONFIGURATION.model_dump(mode="json")]
    assert read_configuration(sent, "dao:x") == CONFIGURATION
    with pytest.raises(InvalidValue, match="dao:y"):
        read_configuration(sent, "dao:y")


@pytest.mark.parametrize("broken", [{"every": "2*absent"}, {"every": "1x"}, {"phase": "soon"}])
def test_a_configuration_that_could_not_run_is_refused(broken: dict[str, str]) -> None:
    sent = CONFIGURATION.model_dump(mode="json")
    sent["cadences"]["fast"] |= broken
    with pytest.raises(InvalidValue):
        read_configuration([sent], "dao:x")


# --- a target's pen


@pytest.mark.parametrize(
    ("name", "values", "order"),
    [
        ("pause", [], pen_orders.PausePen("")),
        ("pause", [None], pen_orders.PausePen("")),
        ("pause", ["fees"], pen_orders.PausePen("fees")),
        ("pause", [{"reason": "fees"}], pen_orders.PausePen("fees")),
        ("pause", ["x" * 501], pen_orders.PausePen("x" * 500)),
        ("resume", [], pen_orders.ResumePen()),
        ("bump_fee", [], pen_orders.BumpFee()),
        (ENQUEUE, [[]], pen_orders.Enqueue([])),
        (ENQUEUE, [[REQUEST]], pen_orders.Enqueue([AnchorRequest.model_validate(REQUEST)])),
        (WITHDRAW, [[REQUEST]], pen_orders.Withdraw([AnchorRequest.model_validate(REQUEST)])),
        (RELEASE, [[REQUEST]], pen_orders.Release([AnchorRequest.model_validate(REQUEST)])),
    ],
)
def test_a_pen_takes_what_it_knows(
    name: str, values: list[JsonValue], order: pen_orders.PenOrder
) -> None:
    assert pen_orders.read(name, values) == order


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("pause", [{"cadence": "fast"}], "reason"),
        ("pause", [{"reason": "x", "cadence": "fast"}], "reason"),
        ("pause", ["x", "y"], "reason"),
        ("resume", ["fast"], "no argument"),
        (ENQUEUE, [], "list of requests"),
        (ENQUEUE, [REQUEST], "enqueue"),
        (WITHDRAW, [[REQUEST, {"namespace": "dao:x"}]], "1.cadence"),
        ("force_anchor", [], "no signal 'force_anchor'"),
    ],
)
def test_a_pen_says_why_it_takes_something_else_not(
    name: str, values: list[JsonValue], words: str
) -> None:
    with pytest.raises(InvalidValue) as refused:
        pen_orders.read(name, values)
    assert words in str(refused.value)
