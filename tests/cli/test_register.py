"""`setup` and `register`, against a real Temporal server and a worker process."""

import json
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Command, cadences, write_namespaces
from tests.simulators.threads import lying_provider
from tests.support.evm_system import TARGET, EvmSystem
from tests.support.replays import replayed_server
from vaultmesh.cli.import_state import read_state
from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.process.settings import REPOSITORY

pytestmark = pytest.mark.server


def test_setup_may_be_repeated_and_says_what_is_there(operate: Command) -> None:
    first, second = operate("setup"), operate("setup", "--json")
    assert (first.code, second.code) == (0, 0)
    assert "VmshNamespace" in first.out
    assert second.json()["created"] == []
    assert second.json()["retention_seconds"] > 0


def test_register_creates_then_changes_nothing_then_updates(
    operate: Command, tmp_path: Path
) -> None:
    place = tmp_path / "namespaces.yaml"
    write_namespaces(place, {"reg:a": cadences(), "reg:b": cadences()})
    assert operate("register", "--config", place).out.splitlines() == [
        "reg:a: created",
        "reg:b: created",
    ]
    assert operate("register", "--config", place).out.splitlines() == [
        "reg:a: unchanged",
        "reg:b: unchanged",
    ]
    write_namespaces(place, {"reg:a": cadences(fast="2h"), "reg:b": cadences()})
    document = operate("register", "--config", place, "--json").json()
    assert [(one["namespace"], one["change"]) for one in document["namespaces"]] == [
        ("reg:a", "updated"),
        ("reg:b", "unchanged"),
    ]


def test_what_the_environment_does_not_state_stays_as_it_is_in_a_running_clock(
    operate: Command, tmp_path: Path
) -> None:
    place = tmp_path / "namespaces.yaml"
    write_namespaces(place, {"reg:env": cadences()})

    def said(**variables: str) -> str:
        return operate("register", "--config", place, **variables).out.strip()

    assert said(VMSH_ANCHOR_TIMEOUT="15s", VMSH_BASE_BACKOFF="1") == "reg:env: created"
    assert said() == "reg:env: unchanged"
    assert said(VMSH_ANCHOR_TIMEOUT="15s") == "reg:env: unchanged"
    assert said(VMSH_ANCHOR_TIMEOUT="20s") == "reg:env: updated"
    assert said() == "reg:env: unchanged"
    assert said(VMSH_BASE_BACKOFF="1") == "reg:env: unchanged"
    assert said(VMSH_BASE_BACKOFF="5") == "reg:env: updated"


def test_register_says_so_when_a_changed_file_undoes_a_set_cadence(
    operate: Command, system: EvmSystem, tmp_path: Path
) -> None:
    place = write_namespaces(tmp_path / "namespaces.yaml", {"reg:undo": cadences()})
    operate("register", "--config", place)
    change = {"namespace": "reg:undo", "cadence": {"fast": cadences(fast="3h")["fast"]}}
    system.signal("namespace:reg:undo", "set_cadence", change)
    system.wait(
        lambda: system.status("reg:undo")["cadences"]["fast"]["every"] == "3h", "the change"
    )
    assert "unchanged" in operate("register", "--config", place).out
    write_namespaces(place, {"reg:undo": cadences(fast="4h")})
    assert "undid set_cadence of fast" in operate("register", "--config", place).out


def test_prune_stops_what_runs_but_is_not_configured(
    operate: Command, system: EvmSystem, tmp_path: Path
) -> None:
    place = write_namespaces(tmp_path / "namespaces.yaml", {"reg:kept": cadences()})
    write_namespaces(tmp_path / "more.yaml", {"reg:gone": cadences()})
    operate("register", "--config", tmp_path / "more.yaml")

    def is_listed() -> bool:
        shown = operate("status", "--json").json()["namespaces"]
        return "reg:gone" in [view["namespace"] for view in shown]

    system.wait(is_listed, "the namespace in visibility")
    outcome = operate("register", "--config", place, "--prune", "--json")
    assert outcome.code == 0
    assert "reg:gone" in outcome.json()["pruned"]
    system.wait(lambda: operate("status", "reg:gone").code == 1, "the end of the workflow")
    assert operate("status", "reg:kept", "--json").code == 0


def test_one_namespace_of_the_file_can_be_registered(operate: Command, tmp_path: Path) -> None:
    place = write_namespaces(
        tmp_path / "namespaces.yaml", {"reg:this": cadences(), "reg:other": cadences()}
    )
    outcome = operate("register", "--config", place, "--namespace", "reg:this")
    assert outcome.out.splitlines() == ["reg:this: created"]
    assert operate("status", "reg:other").code == 1
    unknown = operate("register", "--config", place, "--namespace", "reg:nowhere")
    assert unknown.code == 2
    assert "reg:this, reg:other" in unknown.err


def test_unknown_targets_are_told_all_at_once_and_nothing_is_registered(
    operate: Command, tmp_path: Path
) -> None:
    wrong = {
        "fast": {"target": "eip155:4242", "every": "1h"},
        "strong": {"target": "eip155:4243", "every": "2h"},
    }
    place = write_namespaces(tmp_path / "namespaces.yaml", {"reg:wrong": wrong})
    outcome = operate("register", "--config", place)
    assert outcome.code == 2
    assert "anchors.yaml" in outcome.err
    assert "eip155" in outcome.err
    assert operate("status", "reg:wrong").code == 1


def test_a_state_file_lets_a_new_namespace_go_on_from_its_last_anchor(
    operate: Command, tmp_path: Path
) -> None:
    place = write_namespaces(tmp_path / "namespaces.yaml", {"reg:old": cadences()})
    state = tmp_path / "scheduler.json"
    state.write_text(
        json.dumps({"reg:old": {"last": {"fast": time.time() - 60}}, "reg:else": {"last": {}}})
    )
    outcome = operate("register", "--config", place, "--import-state", state)
    assert (outcome.code, outcome.out) == (0, "reg:old: created\n")
    again = operate("register", "--config", place, "--import-state", VMSH_STATE=str(state))
    assert "was not used" in again.err


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"a": 1}',
        '{"a": {"last": []}}',
        '{"a": {"last": {"hourly": 1}}}',
        '{"a": {"last": {"fast": "yesterday"}}}',
        '{"a": {"last": {"fast": 99999999999999}}}',
        '{"a": {"last": {"fast": NaN}}}',
        '{"a": {"last": {"fast": true}}}',
    ],
)
def test_a_broken_state_file_is_refused_by_name(content: str, tmp_path: Path) -> None:
    state = tmp_path / "scheduler.json"
    state.write_text(content)
    with pytest.raises(ConfigurationError, match=str(state)):
        read_state(state, now=1_800_000_000)


def test_within_ten_seconds_it_says_that_no_worker_polls(run: Command, tmp_path: Path) -> None:
    place = write_namespaces(tmp_path / "namespaces.yaml", {"reg:alone": cadences()})
    anchors = tmp_path / "anchors.yaml"
    section = {"rpcUrl": "http://127.0.0.1:1", "contract": "0x" + "1" * 40, "key": "${NONE}"}
    anchors.write_text(json.dumps({"eip155": {"default": section}}))
    with replayed_server(tmp_path) as server:
        for expected in ("reg:alone: created\n", ""):
            started = time.monotonic()
            outcome = run(
                "register",
                "--config",
                place,
                TEMPORAL_ADDRESS=server.address,
                VMSH_ROOT=str(REPOSITORY),
                VMSH_ANCHORS=str(anchors),
            )
            assert time.monotonic() - started < 10
            assert (outcome.code, outcome.out) == (1, expected)
            assert "no worker" in outcome.err


def test_register_says_which_endpoint_names_nothing_final(
    operate: Command, system: EvmSystem, tmp_path: Path
) -> None:
    place = write_namespaces(tmp_path / "namespaces.yaml", {"reg:never-final": cadences()})
    with lying_provider(system.anvil.url) as node:
        node.refuse(
            "eth_getBlockByNumber",
            "TAG [safe | finalized] not supported",
            code=-32602,
            unless=lambda params: params[0] != "finalized",  # type: ignore[index, call-overload]
        )
        anchors = tmp_path / "anchors.yaml"
        section = {"rpcUrl": node.url, "contract": "0x" + "1" * 40, "key": "${NONE}"}
        anchors.write_text(json.dumps({"eip155": {"default": section}}))
        outcome = operate("register", "--config", place, VMSH_ANCHORS=str(anchors))
        assert (outcome.code, outcome.out) == (0, "reg:never-final: created\n")
        assert f"{TARGET}: {node.url} refuses the tag 'finalized'" in outcome.err
        assert "finality: depth" in outcome.err
        again = operate("register", "--config", place, "--json", VMSH_ANCHORS=str(anchors))
        assert any("refuses the tag" in line for line in again.json()["warnings"])
