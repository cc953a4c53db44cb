"""`status`: the exact shape that other programs read, and what people see."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.cli.conftest import NAMESPACES, NEVER, Command, cadences, write_namespaces
from tests.support.evm_system import TARGET, EvmSystem
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.settings import REPOSITORY
from vaultmesh.process.visibility import Visibility

pytestmark = [pytest.mark.server, pytest.mark.evm]
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_OUTCOMES = {"anchored", "nothing_new", "coalesced", "paused"}


@pytest.fixture(scope="module")
def anchored(system: EvmSystem) -> str:
    """Return a batch of the first namespace that is in the ledger for good."""
    batch_id = system.seal(NAMESPACES[0])
    system.register(NAMESPACES[0], fast="2s")
    system.wait_final(NAMESPACES[0], batch_id)
    system.wait_idle(NAMESPACES[0])
    return batch_id


async def _target_rests(client: Client) -> bool:
    """Whether a worker's health would list the target as paused, by the visibility list alone."""
    visibility = Visibility(client, Metrics())
    await visibility.refresh()
    memo = visibility.snapshot.targets.get(TARGET)
    return memo is not None and memo.rests


def _shown(operate: Command, namespace: str) -> dict[str, Any]:
    outcome = operate("status", namespace, "--json")
    assert outcome.code == 0
    (view,) = outcome.json()["namespaces"]
    assert isinstance(view, dict)
    return view


def test_json_has_every_key_of_the_interface(operate: Command, anchored: str) -> None:
    view = _shown(operate, NAMESPACES[0])
    assert view["namespace"] == NAMESPACES[0]
    assert view["workflow_id"] == f"namespace:{NAMESPACES[0]}"
    assert (view["state"], view["paused"], view["last_rejected"]) == ("running", {}, None)
    assert view["run_id"]
    assert view["cause"] == ""
    fast = view["cadences"]["fast"]
    assert (fast["state"], fast["problems"]) == ("running", [])
    assert (fast["target"], fast["every"], fast["unanchored"]) == (TARGET, "2s", 0)
    assert _TIME.fullmatch(fast["next_due"])
    assert fast["in_flight"] is None
    assert set(fast["outcomes"]) == _OUTCOMES
    assert all(isinstance(count, int) for count in fast["outcomes"].values())


def test_the_last_anchor_is_joined_with_what_the_receipt_says(
    operate: Command, system: EvmSystem, anchored: str
) -> None:
    receipt = system.receipt(NAMESPACES[0], anchored)
    assert receipt is not None
    anchor = _shown(operate, NAMESPACES[0])["cadences"]["fast"]["last_anchor"]
    assert anchor["batch_ids"] == [anchored]
    assert (anchor["tx_ref"], anchor["block"]) == (receipt["txRef"], receipt["blockNumber"])
    assert (anchor["at"], anchor["finality"]) == (receipt["anchorTs"], "finalized")
    assert anchor["depth"] >= anchor["required_depth"] == 2
    assert anchor["slot"]


def test_what_the_last_anchor_is_still_to_reach_is_told(
    operate: Command, system: EvmSystem, anchored: str
) -> None:
    assert _shown(operate, NAMESPACES[0])["cadences"]["fast"]["last_anchor"]["awaiting"] is None
    place = system.root / "out/anchors" / NAMESPACES[0].replace(":", "_") / anchored
    (place,) = place.iterdir()
    original = place.read_text()
    document = json.loads(original)
    document["finality"] |= {"state": "observed", "observedDepth": 2, "requiredDepth": 6}
    try:
        place.write_text(json.dumps(document))
        anchor = _shown(operate, NAMESPACES[0])["cadences"]["fast"]["last_anchor"]
        table = operate("status", NAMESPACES[0]).out
    finally:
        place.write_text(original)
    since = document["anchorTs"]
    assert anchor["finality"] == "observed"
    assert anchor["awaiting"] == {
        "level": "final", "since": since, "depth": 2, "required_depth": 6, "reason": "",
    }  # fmt: skip
    assert f"awaiting: final, 2 of 6, since {since}" in table


def test_a_request_in_flight_shows_its_failures_and_its_next_retry(
    operate: Command, system: EvmSystem
) -> None:
    system.signal(f"aggregator:{TARGET}", "pause", "held for a test")
    system.seal("fly:one")
    system.register("fly:one", fast=NEVER)

    def in_flight() -> dict[str, Any] | None:
        found: dict[str, Any] | None = _shown(operate, "fly:one")["cadences"]["fast"]["in_flight"]
        return found

    flight = system.wait(in_flight, "the request") or {}
    assert set(flight) == {"slot", "since", "failures", "last_failure", "next_retry"}
    assert _TIME.fullmatch(flight["since"])
    everywhere = "".join(operate("status", "fly:one").out.split())
    assert f"{TARGET}ispausedsince" in everywhere
    assert "heldforatest" in everywhere
    system.signal(f"aggregator:{TARGET}", "resume")
    system.wait(lambda: in_flight() is None, "the anchor")


def test_a_rejected_signal_shows(operate: Command, system: EvmSystem, anchored: str) -> None:
    system.signal(f"namespace:{NAMESPACES[0]}", "pause", {"cadence": "hourly"})
    rejected = system.wait(
        lambda: _shown(operate, NAMESPACES[0])["last_rejected"], "the rejected signal"
    )
    assert rejected["name"] == "pause"
    assert _TIME.fullmatch(rejected["at"])
    assert "hourly" in rejected["reason"]
    operate("resume", NAMESPACES[0])


def test_a_configured_namespace_without_workflow_is_missing(operate: Command) -> None:
    view = _shown(operate, NAMESPACES[1])
    assert (view["state"], view["run_id"]) == ("missing", "")
    assert view["cadences"]["strong"]["every"] == "2*fast"
    assert view["cadences"]["strong"]["last_anchor"] is None


def test_a_namespace_that_runs_but_is_not_configured_is_shown_too(
    operate: Command, system: EvmSystem
) -> None:
    system.register("run:only", fast=NEVER)

    def names() -> bool:
        shown = operate("status", "--json").json()["namespaces"]
        return {*NAMESPACES, "run:only"} <= {view["namespace"] for view in shown}

    system.wait(names, "the namespace in visibility")


def test_an_unknown_namespace_is_a_clear_failure(operate: Command) -> None:
    outcome = operate("status", "no:body")
    assert (outcome.code, outcome.out) == (1, "")
    assert "'no:body'" in outcome.err
    assert "register" in outcome.err


def test_a_file_that_stands_in_for_a_missing_one_is_named_beside_the_data(
    operate: Command, system: EvmSystem, tmp_path: Path
) -> None:
    shipped = REPOSITORY / "vmsh/config/namespaces.yaml"
    outcome = operate("status", VMSH_ROOT=str(tmp_path))
    assert outcome.err == f"{tmp_path}/vmsh/config has no namespaces.yaml: {shipped} is used\n"
    assert "dao:vaultmesh" in outcome.out
    assert operate("status", "--json", VMSH_ROOT=str(tmp_path)).err == ""
    assert operate("status", VMSH_ROOT=str(system.root)).err == ""


def test_the_table_names_every_cadence_and_holds_no_colours_off_a_terminal(
    operate: Command, anchored: str
) -> None:
    outcome = operate("status")
    assert outcome.code == 0
    for expected in (*NAMESPACES, "strong 2*fast", "missing", "finalized"):
        assert expected in outcome.out
    assert "\x1b" not in outcome.out


def test_a_name_that_looks_like_markup_is_shown_as_written(
    operate: Command, tmp_path: Path
) -> None:
    place = write_namespaces(tmp_path / "namespaces.yaml", {"a:one:[b]": cadences()})
    assert "a:one:[b]" in operate("status", VMSH_NAMESPACES=str(place)).out


def test_a_broken_file_is_complained_of_beside_what_runs(
    operate: Command, system: EvmSystem, tmp_path: Path
) -> None:
    system.register("run:beside", fast=NEVER)
    system.wait(lambda: system.status("run:beside"), "the namespace")
    place = tmp_path / "namespaces.yaml"
    place.write_text("namespaces: nonsense\n")

    def shown() -> bool:
        outcome = operate("status", VMSH_NAMESPACES=str(place))
        assert outcome.code == 2
        assert str(place) in outcome.err
        return "run:beside" in outcome.out

    system.wait(shown, "the namespace in visibility")
    assert operate("status", "run:beside").code == 0
    assert operate("status", "run:nowhere").code == 2


def test_targets_stand_beside_namespaces_and_follow_their_aggregator(
    operate: Command, system: EvmSystem, anchored: str
) -> None:
    def target() -> dict[str, Any]:
        (found,) = operate("status", NAMESPACES[0], "--json").json()["targets"]
        return dict(found)

    shown = target()
    assert (shown["target"], shown["state"], shown["held"]) == (TARGET, "running", None)
    assert (shown["waiting"], shown["problems"]) == (0, [])
    assert isinstance(shown["rounds"], list)
    system.signal(f"aggregator:{TARGET}", "pause", "maintenance")
    paused = system.wait(lambda: (one := target())["state"] == "paused" and one, "the pause")
    assert isinstance(paused, dict)
    assert "maintenance" in paused["problems"][0]
    system.signal(f"aggregator:{TARGET}", "resume")
    system.wait(lambda: target()["state"] == "running", "the end of the pause")


def test_a_paused_cadence_has_its_own_state(operate: Command, anchored: str) -> None:
    operate("register", "--namespace", NAMESPACES[1])
    operate("pause", NAMESPACES[1], "--cadence", "strong")
    cadences_shown = _shown(operate, NAMESPACES[1])["cadences"]
    assert {label: one["state"] for label, one in cadences_shown.items()} == {
        "fast": "running", "strong": "paused",
    }  # fmt: skip
    operate("unregister", NAMESPACES[1])


def test_what_is_owed_and_what_can_not_be_anchored_is_counted_from_files(
    operate: Command, system: EvmSystem, anchored: str
) -> None:
    system.signal(f"namespace:{NAMESPACES[0]}", "pause")
    owed, bad = system.seal(NAMESPACES[0]), system.root / "out/batches/bad.json"
    bad.write_text("{")
    try:
        fast = _shown(operate, NAMESPACES[0])["cadences"]["fast"]
        assert fast["unanchored"] == 1, owed
        assert len(fast["problems"]) == 1
        assert "out/batches/bad.json: not JSON" in fast["problems"][0]
        queried = system.status(NAMESPACES[0])["cadences"]["fast"]
        assert (queried["unanchored"], queried["problems"]) == (None, None)
    finally:
        bad.unlink()
        system.signal(f"namespace:{NAMESPACES[0]}", "resume")
    system.wait_final(NAMESPACES[0], owed)


def test_sixteen_batches_behind_one_round_are_sixteen_and_each_cadence_counts_its_own(
    operate: Command, system: EvmSystem
) -> None:
    system.register("fly:many", fast=NEVER, strong=NEVER)
    system.wait_idle("fly:many")
    system.signal(f"aggregator:{TARGET}", "pause", "full")
    batches = [system.seal("fly:many")]
    try:
        operate("force", "fly:many", "fast")
        system.wait(
            lambda: _shown(operate, "fly:many")["cadences"]["fast"]["in_flight"], "the request"
        )
        batches += [system.seal("fly:many") for _ in range(15)]
        shown = _shown(operate, "fly:many")["cadences"]
        assert [shown[label]["unanchored"] for label in ("fast", "strong")] == [16, 16]
        assert operate("status", "fly:many").out.count("16 unanchored") == 2

        system.wait(lambda: system.ask(_target_rests), "the pause in the aggregator's memo")
    finally:
        system.signal(f"aggregator:{TARGET}", "resume")
    system.wait(lambda: not system.ask(_target_rests), "the end of the pause in the memo")
    operate("force", "fly:many", "fast")
    system.wait_final("fly:many", *batches)
    assert _shown(operate, "fly:many")["cadences"]["strong"]["unanchored"] == 0


def test_a_storage_that_can_not_be_read_is_a_problem_and_hides_nothing(
    operate: Command, system: EvmSystem, anchored: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "out").mkdir(parents=True)
    (root / "out/batches").symlink_to("batches")
    outcome = operate("status", NAMESPACES[0], "--json", VMSH_ROOT=str(root))
    (view,) = outcome.json()["namespaces"]
    fast = view["cadences"]["fast"]
    assert (outcome.code, fast["unanchored"], view["state"]) == (0, None, "running")
    assert "batches can't be counted" in fast["problems"][0]
