"""What operators may send: every form of each verb, and one clear refusal for everything else."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.namespaces.cadence import resolve_periods
from vaultmesh.domain.namespaces.commands import (
    Force,
    Pause,
    Resume,
    Stop,
    parse_force_anchor,
    parse_model,
    parse_pause,
    parse_resume,
    parse_stop,
)
from vaultmesh.domain.namespaces.governance import (
    CadenceChange,
    SetCadence,
    merge_cadences,
    parse_set_cadence,
)
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration
from vaultmesh.domain.target import Target

NOW = datetime(2026, 1, 15, 10, tzinfo=UTC)
CADENCES = ("fast", "strong")
BOTH = ["fast", "strong"]
SCHEMES = ("btc", "eip155", "rfc3161")
CURRENT = {
    "fast": CadenceConfig(
        target=Target.parse("eip155:1"), every="89s", required_depth=3, phase="5s"
    ),
    "strong": CadenceConfig(target=Target.parse("btc:regtest"), every="34*fast", required_depth=6),
}


def set_cadence(payload: JsonValue) -> SetCadence:
    return parse_set_cadence(
        [payload], namespace="dao:example", current=CURRENT, now=NOW, known_schemes=SCHEMES
    )


def change(**cadence: JsonValue) -> dict[str, JsonValue]:
    return {"namespace": "dao:example", "cadence": dict(cadence)}


def periods(cadences: dict[str, CadenceConfig]) -> dict[str, int]:
    resolved = resolve_periods({label: cadence.every for label, cadence in cadences.items()})
    return {label: int(period.total_seconds()) for label, period in resolved.items()}


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        ([], Pause(BOTH)),
        ([None], Pause(BOTH)),
        ([{}], Pause(BOTH)),
        (["maintenance"], Pause(BOTH, "maintenance")),
        ([{"cadence": "fast"}], Pause(["fast"])),
        ([{"cadence": None, "reason": "x"}], Pause(BOTH, "x")),
        ([{"cadence": "strong", "reason": "fees"}], Pause(["strong"], "fees")),
    ],
)
def test_pause_takes_nothing_a_reason_or_an_object(
    arguments: list[JsonValue], order: Pause
) -> None:
    assert parse_pause(arguments, CADENCES) == order


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        ([], Resume(BOTH)),
        (["fast"], Resume(["fast"])),
        ([{"cadence": "fast"}], Resume(["fast"])),
    ],
)
def test_resume_takes_nothing_a_cadence_or_an_object(
    arguments: list[JsonValue], order: Resume
) -> None:
    assert parse_resume(arguments, CADENCES) == order


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        ([], Force(BOTH)),
        (["fast"], Force(["fast"])),
        ([{"cadence": "fast", "reason": "audit"}], Force(["fast"], "audit")),
        ([{"reason": "audit"}], Force(BOTH, "audit")),
    ],
)
def test_force_anchor_takes_nothing_a_cadence_or_an_object(
    arguments: list[JsonValue], order: Force
) -> None:
    assert parse_force_anchor(arguments, CADENCES) == order


def test_stop_takes_nothing_or_a_reason() -> None:
    assert parse_stop([]) == Stop()
    assert parse_stop([{"reason": "moved"}]) == parse_stop(["moved"]) == Stop(reason="moved")


@pytest.mark.parametrize(
    ("parse", "arguments", "words"),
    [
        (parse_pause, ["a", "b"], "2 arguments"),
        (parse_pause, [17], "a number is no order"),
        (parse_pause, [["fast"]], "a list is no order"),
        (
            parse_pause,
            [{"cadance": "fast"}],
            "unknown key 'cadance'; the object may hold cadence, reason",
        ),
        (parse_pause, [{"cadence": "cold"}], "there are: fast, strong"),
        (parse_pause, [{"cadence": ["fast"]}], "a list is none of its cadences"),
        (parse_pause, [{"cadence": ""}], "'' is none"),
        (parse_pause, [{"reason": 5}], "reason is a number"),
        (parse_resume, ["cold"], "there are: fast, strong"),
        (parse_resume, [{"cadence": "fast", "reason": "x"}], "unknown key 'reason'"),
        (parse_force_anchor, [True], "true is no order"),
        (parse_force_anchor, ["Fast"], "'Fast' is none of its cadences"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(
    parse: Callable[[list[JsonValue], tuple[str, ...]], object],
    arguments: list[JsonValue],
    words: str,
) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse(arguments, CADENCES)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reason_that_no_json_could_hold_is_made_to_fit() -> None:
    order = parse_pause([json.loads('"half \\ud800"') + "x" * 10_000], CADENCES)
    assert len(order.reason) == 500
    assert json.dumps(order.reason)


def test_a_full_payload_changes_what_it_names_and_keeps_the_rest() -> None:
    order = set_cadence(
        change(fast={"target": "eip155:8453", "every": "144s", "confirmations": 4})
        | {"memo": "calmer"}
    )
    assert order.memo == "calmer"
    assert str(order.cadences["fast"].target) == "eip155:8453"
    assert order.cadences["fast"].required_depth == 4
    assert order.cadences["fast"].phase == "5s"
    assert order.cadences["strong"] == CURRENT["strong"]
    assert periods(order.cadences) == {"fast": 144, "strong": 34 * 144}


def test_a_payload_may_name_the_target_of_one_cadence_alone() -> None:
    order = set_cadence(change(strong={"target": "btc:testnet"}))
    assert str(order.cadences["strong"].target) == "btc:testnet"
    assert order.cadences["strong"].every == "34*fast"
    assert order.cadences["fast"] == CURRENT["fast"]


def test_a_new_cadence_may_be_a_multiple_of_another_than_fast() -> None:
    order = set_cadence(
        change(cold={"target": "rfc3161:tsa", "every": "7*strong", "policyOID": ""})
    )
    assert list(order.cadences) == ["fast", "strong", "cold"]
    assert periods(order.cadences)["cold"] == 7 * 34 * 89


def test_a_policy_of_one_cadence_is_refused_with_where_it_belongs() -> None:
    with pytest.raises(InvalidValue, match=r"anchors\.yaml"):
        set_cadence(change(cold={"target": "rfc3161:tsa", "every": "1d", "policyOID": "1.2.3"}))


def test_keys_beside_the_change_are_ignored_and_listed() -> None:
    payload = change(fast={"target": "eip155:1", "every": "60s"})
    assert set_cadence(payload | {"proposal": 7}).ignored == ["proposal"]


@pytest.mark.parametrize("instant", ["2026-01-15T10:00:00Z", "2026-01-15T11:59:59+02:00"])
def test_a_change_that_is_effective_already_is_taken(instant: str) -> None:
    payload = change(fast={"target": "eip155:1", "every": "60s"})
    assert set_cadence(payload | {"effective_after": instant}).cadences["fast"].every == "60s"


FAST: dict[str, JsonValue] = {"target": "eip155:1", "every": "60s"}


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (None, "null is no change of cadences"),
        ("fast", "'fast' is no change of cadences"),
        ([], "a list is no change"),
        ({"cadence": {"fast": FAST}}, "namespace is null, but this is 'dao:example'"),
        ({"namespace": "dao:other", "cadence": {"fast": FAST}}, "namespace is 'dao:other'"),
        ({"namespace": "dao:example"}, "cadence is null; write at least one of fast, strong, cold"),
        (change(), "write at least one"),
        (change(warm=FAST), "'warm' is no cadence that namespaces.yaml could hold"),
        (change(fast=None), "fast is null; write at least its target"),
        (change(fast={"every": "60s"}), "write at least its target"),
        (change(fast={"target": "eip155"}), "fast.target: 'eip155' is not a target"),
        (change(fast={"target": "evm:1"}), "fast.target: 'evm:1' has an unknown scheme"),
        (change(fast=FAST | {"every": "60S"}), "fast.every: every '60S' has capitals"),
        (change(fast=FAST | {"every": "2*strong"}), "goes in a circle"),
        (change(fast=FAST | {"every": "0s"}), "out of range"),
        (change(fast=FAST | {"confirmations": -1}), "fast.confirmations"),
        (change(fast=FAST | {"confirmations": 1.5}), "fast.confirmations"),
        (change(fast=FAST | {"confirmation": 3}), "fast.confirmation: unknown key"),
        (change(cold={"target": "rfc3161:tsa"}), "cold is a new cadence and lacks every"),
        (change(fast=FAST) | {"memo": 1}, "memo is a number"),
        (change(fast=FAST) | {"effective_after": "2026-01-15T10:00:01Z"}, "lies ahead"),
        (change(fast=FAST) | {"effective_after": "tomorrow"}, "write an instant"),
        (change(fast=FAST) | {"effective_after": "2026-01-15T09:00:00"}, "write an instant"),
        (change(fast=FAST) | {"effective_after": 1768471200}, "write an instant"),
    ],
)
def test_what_the_configuration_could_not_say_is_refused(payload: JsonValue, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        set_cadence(payload)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(seconds=st.integers(1, 10**6), factor=st.integers(1, 100))
def test_multiples_follow_a_changed_cadence_in_the_same_step(seconds: int, factor: int) -> None:
    current = {
        **CURRENT,
        "strong": CURRENT["strong"].model_copy(update={"every": f"{factor}*fast"}),
    }
    merged = merge_cadences(current, {"fast": CadenceChange(every=f"{seconds}s")})
    assert periods(merged) == {"fast": seconds, "strong": factor * seconds}


def test_a_configuration_is_read_as_the_message_it_is() -> None:
    given_one = Configuration(namespace="dao:example", cadences=CURRENT)
    assert parse_model([given_one.model_dump(mode="json")], Configuration) == given_one


@pytest.mark.parametrize("arguments", [[], [None], ["x"], [{"namespace": 1}], [{}, {}]])
def test_a_malformed_configuration_is_refused(arguments: list[JsonValue]) -> None:
    with pytest.raises(InvalidValue):
        parse_model(arguments, Configuration)


LEAF = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=12)
    | st.sampled_from(
        ["fast", "dao:example", "89s", "2*fast", "eip155:1", "9999-12-31T23:59:59-23:59"]
    )
    | st.sampled_from(["0001-01-01T00:00:00+23:59", "2026-01-15T10:00:00Z"])
)
KEYS = (
    st.sampled_from(["cadence", "reason", "namespace", "fast", "cold", "target", "every", "phase"])
    | st.sampled_from(
        ["confirmations", "policyOID", "memo", "effective_after", "cadences", "backoff"]
    )
    | st.text(max_size=5)
)
ANY_JSON: st.SearchStrategy[JsonValue] = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
CHANGE: st.SearchStrategy[JsonValue] = st.fixed_dictionaries(
    {"namespace": st.just("dao:example"), "cadence": st.dictionaries(KEYS, ANY_JSON, max_size=3)},
    optional={"memo": ANY_JSON, "effective_after": ANY_JSON},
)


@given(st.lists(ANY_JSON | CHANGE, max_size=2))
def test_no_json_is_answered_otherwise_than_by_an_order_or_a_refusal(
    arguments: list[JsonValue],
) -> None:
    orders: list[Callable[[], object]] = [
        lambda: parse_pause(arguments, CADENCES),
        lambda: parse_resume(arguments, CADENCES),
        lambda: parse_force_anchor(arguments, CADENCES),
        lambda: parse_stop(arguments),
        lambda: parse_model(arguments, Configuration),
        lambda: parse_set_cadence(arguments, namespace="dao:example", current=CURRENT, now=NOW),
    ]
    for order in orders:
        with suppress(InvalidValue):
            order()


@given(st.lists(ANY_JSON | CHANGE, max_size=2))
def test_a_refusal_can_be_kept_in_workflow_state(arguments: list[JsonValue]) -> None:
    text = ""
    try:
        parse_set_cadence(arguments, namespace="dao:example", current=CURRENT, now=NOW)
    except InvalidValue as refusal:
        text = str(refusal)
    assert len(text.encode()) < 2_000
    assert "\n" not in text


def test_deeply_nested_json_is_refused() -> None:
    nested: JsonValue = {}
    for _ in range(900):
        nested = {"cadence": nested}
    with pytest.raises(InvalidValue):
        parse_pause([nested], CADENCES)
    with pytest.raises(InvalidValue):
        set_cadence(change(fast=nested))


def test_a_change_of_period_is_not_lost_by_its_phase() -> None:
    order = set_cadence(change(fast=FAST | {"phase": "90s"}))
    assert order.cadences["fast"].phase == "90s"
    assert timedelta(seconds=periods(order.cadences)["fast"]) == timedelta(seconds=60)
