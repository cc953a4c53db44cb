"""`pause`, `resume`, `force` and `unregister`, against a real Temporal server and a worker process."""

import asyncio
import time
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from tests.cli.conftest import Command, cadences, write_namespaces
from tests.support.evm_system import EvmSystem
from tests.support.freezing import freeze, thaw
from tests.support.replays import replayed_server

pytestmark = [pytest.mark.server, pytest.mark.evm]


@pytest.fixture
def namespace(operate: Command, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Return a registered namespace of this test's own."""
    name = f"op:{abs(hash(request.node.name)):x}"
    place = write_namespaces(tmp_path / "namespaces.yaml", {name: cadences()})
    assert operate("register", "--config", place).code == 0
    return name


def test_pause_of_one_cadence_shows_its_reason_and_resume_ends_it(
    operate: Command, namespace: str
) -> None:
    outcome = operate("pause", namespace, "--cadence", "fast", "--reason", "upgrade")
    assert (outcome.code, outcome.out) == (0, f"{namespace} fast: paused (upgrade)\n")
    (view,) = operate("status", namespace, "--json").json()["namespaces"]
    assert view["paused"]["fast"]["reason"] == "upgrade"
    assert set(view["paused"]) == {"fast"}
    resumed = operate("resume", namespace, "--cadence", "fast", "--json")
    assert (resumed.code, resumed.json()["paused"]) == (0, {})


def test_pause_without_cadence_pauses_all_of_them(operate: Command, namespace: str) -> None:
    document = operate("pause", namespace, "--json").json()
    assert (document["state"], set(document["paused"])) == ("paused", {"fast", "strong"})
    assert operate("resume", namespace, "--json").json()["state"] == "running"


@pytest.mark.parametrize(
    "command",
    [("pause", "--cadence", "hourly"), ("resume", "--cadence", "cold"), ("force", "cold")],
)
def test_a_cadence_that_it_does_not_have_is_bad_usage(
    command: tuple[str, ...], operate: Command, namespace: str
) -> None:
    verb, *rest = command
    outcome = operate(verb, namespace, *rest)
    assert (outcome.code, outcome.out) == (2, "")
    assert "fast, strong" in outcome.err


@pytest.mark.parametrize("verb", ["pause", "resume", "force", "unregister"])
def test_an_unknown_namespace_is_a_clear_failure(verb: str, operate: Command) -> None:
    outcome = operate(verb, "no:body")
    assert (outcome.code, outcome.out) == (1, "")
    assert "'no:body'" in outcome.err


def test_force_wait_ends_when_everything_owed_is_in_the_ledger(
    operate: Command, system: EvmSystem, namespace: str
) -> None:
    batch_id = system.seal(namespace)
    outcome = operate("force", namespace, "strong", "--wait")
    assert outcome.code == 0
    receipt = system.receipt(namespace, batch_id)
    assert receipt is not None
    assert receipt["txRef"] in outcome.out
    assert "in flight" in outcome.err


def test_force_wait_ends_when_nothing_is_owed(operate: Command, namespace: str) -> None:
    assert operate("force", namespace, "--wait").code == 0


def test_unregister_ends_the_workflow(operate: Command, system: EvmSystem, namespace: str) -> None:
    assert operate("unregister", namespace).code == 0
    system.wait(lambda: operate("status", namespace).code == 1, "the end of the workflow")


async def _start_unanswered(address: str, namespace: str) -> None:
    """Start a namespace's workflow where no worker is."""
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    await client.start_workflow(
        "NamespaceWorkflow", id=f"namespace:{namespace}", task_queue="scheduler"
    )


def test_within_ten_seconds_each_says_that_no_worker_answers(run: Command, tmp_path: Path) -> None:
    write_namespaces(tmp_path / "vmsh/config/namespaces.yaml", {"op:lonely": cadences()})
    with replayed_server(tmp_path) as server:
        place = {"TEMPORAL_ADDRESS": server.address, "VMSH_ROOT": str(tmp_path)}
        run("setup", **place)
        asyncio.run(_start_unanswered(server.address, "op:lonely"))
        for command in (("pause", "op:lonely"), ("status", "op:lonely")):
            started = time.monotonic()
            outcome = run(*command, **place)
            assert time.monotonic() - started < 10
            assert outcome.code == 1
            assert "no worker polls" in outcome.err
        assert "no worker takes its tasks" in outcome.out
        document = run("status", "--json", **place).json()
        (silent,) = document["silent"]
        assert (silent["namespace"], silent["state"]) == ("op:lonely", "silent")
        assert silent["waiting_since"] is not None
        assert {one["unanchored"] for one in silent["cadences"].values()} == {0}
        assert document["unanswered"] == ["op:lonely"]


@pytest.mark.timeout(700)
def test_a_worker_that_is_busy_is_not_called_missing(
    operate: Command, system: EvmSystem, namespace: str
) -> None:
    """An operator who is told that none answers starts another one, or looks for a fault that is none."""
    worker = system.workers[0].pid
    freeze(worker)
    try:
        for command in ("pause", "force", "status"):
            started = time.monotonic()
            outcome = operate(command, namespace)
            assert time.monotonic() - started < 15
            assert outcome.code == 1
            assert "the worker is busy" in outcome.err
            assert "last poll" in outcome.err
            assert "no worker polls" not in outcome.err
        outcome = operate("unregister", namespace, "--json")
        assert outcome.code == 0
        assert outcome.json()["state"] == "draining"
        assert "the worker is busy" in outcome.err
        assert "the decision is kept" in outcome.err
    finally:
        thaw(worker)
    system.wait(lambda: operate("status", namespace).code == 1, "the end of the workflow", 90)


def test_a_namespace_that_does_not_run_yet_can_be_kept_from_running(
    operate: Command, tmp_path: Path
) -> None:
    place = write_namespaces(tmp_path / "namespaces.yaml", {"op:later": cadences()})
    environment = {"VMSH_NAMESPACES": str(place)}
    assert operate("unregister", "op:later", "--json", **environment).json()["state"] == "stopped"
    assert operate("status", "op:later", "--json").json()["namespaces"][0]["state"] == "stopped"
    assert "op:later: stopped" in operate("register").out
    assert operate("register", "--namespace", "op:later").out == "op:later: created\n"


def test_where_the_file_is_refused_what_runs_is_what_was_stopped(
    operate: Command, system: EvmSystem, tmp_path: Path
) -> None:
    place = write_namespaces(tmp_path / "namespaces.yaml", {"op:broken": cadences()})
    good = place.read_text()
    operate("register", VMSH_NAMESPACES=str(place))
    place.write_text("{")
    outcome = operate("unregister", "op:broken")
    assert outcome.code == 0
    assert str(place) in outcome.err
    place.write_text(good)
    state = lambda: operate("status", "op:broken", "--json").json()["namespaces"][0]["state"]  # noqa: E731
    system.wait(lambda: state() == "stopped", "the end of the workflow")
