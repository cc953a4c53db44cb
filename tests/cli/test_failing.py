"""One workflow that can't go on hides no other, and says why: in `status`, on /health and in the metrics."""

import json
import shlex
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console
from temporalio.client import Client

from devnet.temporal import temporal_cli
from tests.cli.conftest import NEVER, Command, Outcome, cadences, write_namespaces
from tests.support.broken import plant_unreplayable
from tests.support.evm_system import TARGET, EvmSystem
from vaultmesh.cli.demo import Demo
from vaultmesh.cli.demo_jobs import DemoJobs
from vaultmesh.cli.demo_table import Row, demo_table, plain_line
from vaultmesh.cli.dev import System as DevSystem
from vaultmesh.domain.aggregator.state import AggregatorInput
from vaultmesh.domain.names import AGGREGATOR_WORKFLOW, NAMESPACE_WORKFLOW
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration, NamespaceInput
from vaultmesh.domain.target import Target
from vaultmesh.process.settings import Settings

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.timeout(700)]
BROKEN, FINE, NEVER_STARTED, ELSEWHERE = "dao:broken", "dao:fine", "dao:never", "fin:elsewhere"
OTHER_TARGET = "eip155:999"
NONDETERMINISM = "non deterministic error: [TMPRL1100]"


def _configuration(namespace: str, target: str) -> NamespaceInput:
    cadence = CadenceConfig(target=Target.parse(target), every=NEVER, required_depth=2)
    return NamespaceInput(
        configuration=Configuration(namespace=namespace, cadences={"fast": cadence})
    )


async def _plant(client: Client) -> None:
    target = Target.parse(OTHER_TARGET)
    planted: dict[str, tuple[str, object]] = {
        f"namespace:{BROKEN}": (NAMESPACE_WORKFLOW, _configuration(BROKEN, TARGET)),
        f"aggregator:{OTHER_TARGET}": (AGGREGATOR_WORKFLOW, AggregatorInput(target=target)),
    }
    await plant_unreplayable(client, planted)
    await client.start_workflow(
        NAMESPACE_WORKFLOW,
        _configuration(ELSEWHERE, OTHER_TARGET),
        id=f"namespace:{ELSEWHERE}",
        task_queue="scheduler",
    )


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    """A namespace and an aggregator whose histories do not replay, beside others that run."""
    with EvmSystem(tmp_path_factory.mktemp("failing"), database=False) as running:
        write_namespaces(
            running.root / "vmsh/config/namespaces.yaml",
            {name: cadences() for name in (BROKEN, FINE, NEVER_STARTED)},
        )
        for workflow_id in (f"namespace:{BROKEN}", f"aggregator:{OTHER_TARGET}"):
            running.replays.plant_unreplayable(workflow_id)
        running.ask(_plant)
        running.start_worker(VMSH_REGISTER="report")  # one stays missing
        batch_id = running.seal(FINE)
        running.register(FINE, fast=NEVER, strong="2*fast")
        running.wait_final(FINE, batch_id)
        running.wait_idle(FINE)
        yield running


def _status(run: Command, system: EvmSystem, *arguments: str) -> Outcome:
    place = {"TEMPORAL_ADDRESS": system.temporal.address, "VMSH_ROOT": str(system.root)}
    return run("status", *arguments, **place)


def _page(system: EvmSystem, path: str) -> str:
    with urllib.request.urlopen(f"{system.workers[0].url}{path}", timeout=40) as answer:  # noqa: S310 - our own worker
        return str(answer.read().decode())


def _health(system: EvmSystem) -> dict[str, Any]:
    return dict(json.loads(_page(system, "/health")))


def test_a_history_that_does_not_replay_hides_no_other_namespace(
    run: Command, system: EvmSystem
) -> None:
    outcome = _status(run, system, "--json")
    views = {view["namespace"]: view for view in outcome.json()["namespaces"]}
    assert set(views) == {BROKEN, FINE, NEVER_STARTED, ELSEWHERE}
    broken = views[BROKEN]
    assert broken["state"] == "failing"
    assert broken["cause"].startswith(NONDETERMINISM)
    assert "\n" not in broken["cause"]
    assert broken["run_id"]
    assert broken["cadences"]["strong"]["every"] == "2*fast"
    assert {one["state"] for one in broken["cadences"].values()} == {"failing"}
    assert {one["next_due"] for one in broken["cadences"].values()} == {None}
    fine = views[FINE]
    assert (fine["state"], fine["cause"]) == ("running", "")
    assert fine["cadences"]["fast"]["last_anchor"]["finality"] == "finalized"
    assert views[NEVER_STARTED]["state"] == "missing"
    assert outcome.code == 1
    assert f"namespace:{BROKEN} is failing: {NONDETERMINISM}" in outcome.err
    assert f"temporal workflow reset --workflow-id namespace:{BROKEN}" in outcome.err


def test_a_failing_aggregator_says_so_beside_those_that_answer(
    run: Command, system: EvmSystem
) -> None:
    targets = {one["target"]: one for one in _status(run, system, "--json").json()["targets"]}
    assert set(targets) == {TARGET, OTHER_TARGET}
    failing = targets[OTHER_TARGET]
    assert (failing["state"], failing["held"], failing["rounds"]) == ("failing", None, [])
    assert failing["cause"].startswith(NONDETERMINISM)
    assert failing["problems"] == [f"failing: {failing['cause']}"]
    fine = targets[TARGET]
    assert (fine["state"], fine["waiting"], fine["problems"]) == ("running", 0, [])


def test_one_namespace_asked_for_is_judged_by_itself_and_its_targets(
    run: Command, system: EvmSystem
) -> None:
    assert _status(run, system, FINE).code == 0
    broken = _status(run, system, BROKEN)
    assert broken.code == 1
    assert "failing" in broken.out
    elsewhere = _status(run, system, ELSEWHERE)
    assert elsewhere.code == 1
    assert f"aggregator:{OTHER_TARGET} is failing" in elsewhere.err


def test_the_table_names_each_cause_once_and_the_mend_stands_beside_it(
    run: Command, system: EvmSystem
) -> None:
    outcome = _status(run, system)
    assert outcome.out.count(f"failing: {NONDETERMINISM}") == 2
    assert "finalized" in outcome.out
    assert f"{OTHER_TARGET} is failing, see below" in outcome.out
    for workflow_id in (f"namespace:{BROKEN}", f"aggregator:{OTHER_TARGET}"):
        assert outcome.err.count(f"temporal workflow reset --workflow-id {workflow_id} ") == 1


def test_batches_of_a_failing_namespace_are_counted_all_the_same(
    run: Command, system: EvmSystem
) -> None:
    system.seal(BROKEN)
    (view,) = _status(run, system, BROKEN, "--json").json()["namespaces"]
    assert {one["unanchored"] for one in view["cadences"].values()} == {1}


def test_an_operator_of_a_failing_namespace_is_told_why_and_not_that_no_worker_runs(
    run: Command, system: EvmSystem
) -> None:
    place = {"TEMPORAL_ADDRESS": system.temporal.address, "VMSH_ROOT": str(system.root)}
    outcome = run("pause", BROKEN, **place)
    assert outcome.code == 1
    assert "is failing: " in outcome.err
    assert "no worker" not in outcome.err


def test_register_goes_on_with_the_others_and_says_which_is_failing(
    run: Command, system: EvmSystem, tmp_path: Path
) -> None:
    beside = ("aaa:first", BROKEN, "zzz:last")
    place = write_namespaces(tmp_path / "namespaces.yaml", {one: cadences() for one in beside})
    environment = {"TEMPORAL_ADDRESS": system.temporal.address, "VMSH_ROOT": str(system.root)}
    outcome = run("register", "--config", place, "--json", **environment)
    assert outcome.code == 1
    document = outcome.json()
    assert {one["namespace"] for one in document["namespaces"]} == {"aaa:first", "zzz:last"}
    (refused,) = document["refused"]
    assert refused["namespace"] == BROKEN
    assert f"failing: {NONDETERMINISM}" in refused["reason"]
    for name in ("aaa:first", "zzz:last"):
        assert run("unregister", name).code == 0


def test_health_is_degraded_by_what_fails_and_by_what_is_missing(system: EvmSystem) -> None:
    def shown() -> dict[str, Any] | None:
        found = _health(system)
        is_known = found["namespaces"].get(BROKEN, {}).get("status") == "failing"
        return found if is_known and "targets" in found else None

    document = system.wait(shown, "failing workflows on /health") or {}
    assert document["status"] == "degraded"
    assert document["namespaces"][BROKEN]["cause"].startswith(NONDETERMINISM)
    assert document["namespaces"][FINE]["status"] == "ok"
    assert document["namespaces"][NEVER_STARTED] == {
        "lastAnchor": {}, "backoff": 0, "status": "missing",
        "unanchored": {"fast": 0, "strong": 0},  # counted from files, without a workflow
    }  # fmt: skip
    assert document["targets"][OTHER_TARGET]["status"] == "failing"
    assert document["targets"][OTHER_TARGET]["cause"].startswith(NONDETERMINISM)
    assert document["namespaces"][FINE]["unanchored"] == {"fast": 0, "strong": 0}


def test_metrics_count_what_fails_by_type_and_what_is_missing(system: EvmSystem) -> None:
    def shown() -> bool:
        lines = _page(system, "/metrics").splitlines()
        return {
            f'scheduler_workflows_failing{{type="{NAMESPACE_WORKFLOW}"}} 1.0',
            f'scheduler_workflows_failing{{type="{AGGREGATOR_WORKFLOW}"}} 1.0',
            "scheduler_namespaces_missing 1.0",
        } <= set(lines)

    system.wait(shown, "the metrics")


def test_a_namespace_that_no_worker_takes_hides_no_other_and_is_named(
    run: Command, system: EvmSystem
) -> None:
    system.ask(
        lambda client: client.start_workflow(
            NAMESPACE_WORKFLOW, id="namespace:dao:lonely", task_queue="nobody"
        )
    )

    def shown() -> Outcome | None:
        started = time.monotonic()
        outcome = _status(run, system, "--json")
        assert time.monotonic() - started < 12
        return outcome if "dao:lonely" in outcome.err else None

    outcome = system.wait(shown, "the namespace in visibility")
    assert outcome is not None
    assert outcome.code == 1
    assert "no answer from dao:lonely" in outcome.err
    assert "no worker polls" not in outcome.err
    document = outcome.json()
    assert document["unanswered"] == ["dao:lonely"]
    assert {BROKEN, FINE} <= {view["namespace"] for view in document["namespaces"]}
    assert "no answer" in _status(run, system).out


def test_a_target_without_a_first_request_is_told_without_alarm(
    run: Command, system: EvmSystem, tmp_path: Path
) -> None:
    fresh = {"fast": {"target": "eip155:1", "every": NEVER}}
    place = write_namespaces(tmp_path / "namespaces.yaml", {"dao:fresh": fresh})
    environment = {"TEMPORAL_ADDRESS": system.temporal.address, "VMSH_ROOT": str(system.root)}
    outcome = run("status", "dao:fresh", VMSH_NAMESPACES=str(place), **environment)
    assert outcome.code == 0
    assert "not started yet: its first request starts it" in outcome.out
    (target,) = run("status", "dao:fresh", "--json").json()["targets"]
    assert (target["target"], target["state"], target["problems"]) == ("eip155:1", "missing", [])


def test_the_demonstrations_table_shows_the_cause_beside_the_others(system: EvmSystem) -> None:
    async def rows(client: Client) -> list[Row]:
        settings = Settings.from_environment({"VMSH_ROOT": str(system.root)})
        local = SimpleNamespace(root=system.root, settings=settings, client=client)
        return await Demo(cast("DevSystem", local), cast("DemoJobs", None)).rows()

    shown = {(row.namespace, row.cadence): row for row in system.ask(rows)}
    assert shown[BROKEN, "fast"].cause.startswith(f"failing: {NONDETERMINISM}")
    assert shown[FINE, "fast"].cause == ""
    assert shown[FINE, "fast"].is_final
    console = Console(width=400, record=True, file=StringIO())
    console.print(demo_table(list(shown.values()), 0))
    assert NONDETERMINISM in console.export_text()
    assert NONDETERMINISM in plain_line(shown[BROKEN, "fast"])


def test_the_mend_that_is_told_mends(run: Command, system: EvmSystem) -> None:
    """What goes on may be held: nobody serves the other target's chain."""
    outcome = _status(run, system).err
    for workflow_id in (f"namespace:{BROKEN}", f"aggregator:{OTHER_TARGET}"):
        (line,) = [one for one in outcome.splitlines() if f" {workflow_id} is failing" in one]
        command = shlex.split(line[line.index("temporal workflow reset") :])
        subprocess.run(
            [str(temporal_cli()), *command[1:], "--address", system.temporal.address],
            check=True,
            capture_output=True,
            timeout=120,
        )

    def mended() -> bool:
        document = _status(run, system, "--json").json()
        states = {view["namespace"]: view["state"] for view in document["namespaces"]}
        targets = {one["target"]: one["state"] for one in document["targets"]}
        return states[BROKEN] == "running" and targets[OTHER_TARGET] in ("running", "held")

    system.wait(mended, "the mended workflows")
    system.wait(
        lambda: (
            f'scheduler_workflows_failing{{type="{NAMESPACE_WORKFLOW}"}} 0.0'
            in _page(system, "/metrics")
        ),
        "the metric",
    )
