"""What runs is brought to what namespaces.yaml says, by workers alone: real processes on a real Temporal server."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from bench.local_system import write_whole
from tests.cli.conftest import NEVER, cadences
from tests.support.reconciled import WITHIN_SECONDS, Reconciled, runs, write_namespaces
from vaultmesh.domain.names import namespace_workflow_id
from vaultmesh.domain.paths import STOPPED_FOLDER, path_form
from vaultmesh.process import desired, reconcile, visibility
from vaultmesh.process.config_files import AnchorsSource, NamespacesSource, anchors_path
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.reconcile import Reconciler, Sources
from vaultmesh.process.settings import Settings
from vaultmesh.process.visibility import Visibility
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.receipts import ReceiptStore
from vaultmesh.storage.stopped import StoppedNamespaces

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow, pytest.mark.timeout(700)]


async def end_them(client: Client, cancelled: str, terminated: str) -> None:
    await client.get_workflow_handle(namespace_workflow_id(cancelled)).cancel()
    await client.get_workflow_handle(namespace_workflow_id(terminated)).terminate("test")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reconciled]:
    with Reconciled(tmp_path_factory.mktemp("reconcile")) as running:
        yield running


@pytest.fixture
def system(running: Reconciled) -> Iterator[Reconciled]:
    """The system; a worker that a failed test left would register what the next one writes."""
    yield running
    for worker in running.workers:
        if worker.alive:
            worker.kill()


def test_a_worker_alone_leads_an_empty_temporal_namespace_to_anchors(system: Reconciled) -> None:
    system.write(dao_alone="2s")
    batch = system.seal("dao:alone")
    system.begin()
    system.wait_final("dao:alone", batch)
    system.wait(lambda: system.diff() == (0, {}), "no difference")
    system.end()


def test_a_temporal_that_lost_its_database_gets_everything_back_from_the_running_worker(
    system: Reconciled,
) -> None:
    system.write(dao_lost="2s")
    system.begin()
    system.wait_every("dao:lost", "2s")
    system.lose_database()
    system.wait_every("dao:lost", "2s")
    system.wait_final("dao:lost", system.seal("dao:lost"))
    system.end()


def test_what_changed_while_no_worker_looked_is_applied_by_the_next_one(system: Reconciled) -> None:
    system.write(dao_changed=NEVER)
    system.begin()
    system.wait_every("dao:changed", NEVER)
    system.end()
    system.write(dao_changed="999d", dao_added=NEVER)
    differences = {"dao:changed": "changed", "dao:added": "missing", "dao:lost": "unlisted"}
    system.wait(lambda: system.diff() == (1, differences), "the differences")
    system.begin()
    system.wait_every("dao:changed", "999d")
    system.wait_every("dao:added", NEVER)
    system.wait(lambda: system.diff() == (1, {"dao:lost": "unlisted"}), "no other difference")
    system.end()


def test_workflows_that_somebody_ended_come_back(system: Reconciled) -> None:
    system.write(dao_cancelled=NEVER, dao_terminated=NEVER)
    system.begin()
    for name in ("dao:cancelled", "dao:terminated"):
        system.wait_every(name, NEVER)
    before = {name: system.status(name)["run_id"] for name in ("dao:cancelled", "dao:terminated")}
    system.ask(lambda client: end_them(client, *before))
    for name, run_id in before.items():
        system.wait(
            lambda name=name, run_id=run_id: (  # type: ignore[misc] # the defaults bind the loop's values
                system.ask(lambda client: runs(client, name))
                and system.status(name)["run_id"] != run_id
            ),
            f"a new run of {name}",
            WITHIN_SECONDS,
        )
    system.end()


def test_a_set_cadence_is_no_drift_and_stays(system: Reconciled) -> None:
    system.write(dao_governed=NEVER)
    system.begin()
    system.wait_every("dao:governed", NEVER)
    change = {"namespace": "dao:governed", "cadence": {"fast": cadences(fast="3h")["fast"]}}
    system.signal("namespace:dao:governed", "set_cadence", change)
    system.wait_every("dao:governed", "3h")
    system.end()
    system.begin()
    drift = 'scheduler_config_drift{namespace="dao:governed"} 0.0'
    system.wait(lambda: system.metric(drift), "a look", WITHIN_SECONDS)
    assert system.every("dao:governed") == "3h"
    assert "dao:governed" not in system.diff()[1]
    system.end()


def test_what_an_operator_stopped_stays_stopped_until_it_is_registered_or_its_entry_changes(
    system: Reconciled,
) -> None:
    system.write(dao_stopped=NEVER, dao_other=NEVER)
    system.begin()
    system.wait_every("dao:stopped", NEVER)
    done = system.command("unregister", "dao:stopped", "--reason", "moved")
    assert done.returncode == 0, done.stderr
    system.wait_ended("dao:stopped")
    system.end()
    system.begin()
    system.wait_entry("dao:stopped", "status", "stopped")
    system.wait_every("dao:other", NEVER)
    shown = json.loads(system.command("status", "--json").stdout)["namespaces"]
    (view,) = (each for each in shown if each["namespace"] == "dao:stopped")
    assert view["state"] == "stopped"
    assert "moved" in view["cause"]
    assert system.diff()[1]["dao:stopped"] == "stopped"
    assert "dao:stopped: stopped" in system.command("register").stdout
    assert not system.ask(lambda client: runs(client, "dao:stopped"))
    assert "created" in system.command("register", "--namespace", "dao:stopped").stdout
    assert "dao:stopped" not in system.diff()[1]
    system.command("unregister", "dao:stopped")
    system.wait_ended("dao:stopped")
    system.write(dao_stopped="998d", dao_other=NEVER)
    system.wait_every("dao:stopped", "998d")
    system.end()


def test_a_damaged_decision_starts_nothing_by_guess_and_stops_no_other(system: Reconciled) -> None:
    place = system.root / STOPPED_FOLDER / f"{path_form('dao:guess')}.json"
    write_whole(place, "{")
    system.write(dao_guess=NEVER, dao_sure=NEVER)
    system.begin()
    system.wait_every("dao:sure", NEVER)
    system.wait_entry("dao:guess", "status", "missing")
    system.wait(
        lambda: place.name in system.health()["namespaces"]["dao:guess"].get("cause", ""),
        "the damaged decision as its cause",
    )
    assert system.command("register", "--namespace", "dao:guess").returncode == 0
    system.wait_every("dao:guess", NEVER)
    system.end()


def test_a_refused_file_is_said_everywhere_and_the_last_good_one_stays(system: Reconciled) -> None:
    system.write(dao_good=NEVER)
    system.begin()
    system.wait_every("dao:good", NEVER)
    write_whole(
        system.file, "namespaces:\n  dao:good: {cadence: {fast: {evry: 1h}}}\n  dao:new: {}\n"
    )
    refused = 'scheduler_config_file_refused{file="namespaces.yaml"} 1.0'
    system.wait(lambda: system.metric(refused), "the metric", WITHIN_SECONDS)
    health = system.health()
    assert health["status"] == "degraded"
    assert "evry" in health["refused"]["namespaces.yaml"]
    assert system.every("dao:good") == NEVER
    shown = system.command("status", "--json")
    document = json.loads(shown.stdout)
    assert shown.returncode == 2
    assert "evry" in document["refused"]["namespaces.yaml"]
    assert "dao:good" in [view["namespace"] for view in document["namespaces"]]
    assert system.command("diff").returncode == 2
    unreachable = {"cadence": {"fast": {"target": "eip155:4242", "every": "1h"}}}
    write_whole(system.file, json.dumps({"namespaces": {"dao:unreachable": unreachable}}))
    system.wait(
        lambda: "eip155" in system.health()["refused"]["namespaces.yaml"],
        "a refusal of the target",
        WITHIN_SECONDS,
    )
    system.write(dao_good="997d")
    system.wait_every("dao:good", "997d")
    system.wait(lambda: "refused" not in system.health(), "nothing refused", WITHIN_SECONDS)
    system.end()


def test_a_worker_that_only_reports_offers_nothing(system: Reconciled) -> None:
    system.write(dao_reported=NEVER)
    system.begin(VMSH_REGISTER="report")
    drift = 'scheduler_config_drift{{namespace="dao:reported"}} {}'
    missing = "scheduler_namespaces_missing 1.0"
    system.wait(lambda: system.metric(missing), "the missing namespace", WITHIN_SECONDS)
    assert system.metric(drift.format("0.0"))  # what is missing has that metric alone
    assert system.health()["namespaces"]["dao:reported"]["status"] == "missing"
    assert system.command("register", "--namespace", "dao:reported").returncode == 0
    system.write(dao_reported="996d")
    system.wait_entry("dao:reported", "drift", desired.OTHER_CONTENT)
    system.wait(lambda: system.metric(drift.format("1.0")), "the drift", WITHIN_SECONDS)
    assert system.every("dao:reported") == NEVER
    (view,) = json.loads(system.command("status", "dao:reported", "--json").stdout)["namespaces"]
    assert f"fast.every {NEVER} -> 996d" in view["drift"]
    system.end()


async def test_two_workers_with_different_files_make_two_changes_at_most(
    system: Reconciled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, seconds in (
        (reconcile, "PERIOD_SECONDS", 0.2),
        (visibility, "PERIOD_SECONDS", 0.3),
        (desired, "LAG_SECONDS", 1.0),
        (desired, "SETTLED_SECONDS", 0.0),
    ):
        monkeypatch.setattr(module, name, seconds)
    system.begin(VMSH_REGISTER="report")
    client = await system.client()
    reconcilers = []
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number, every in enumerate(("995d", "994d")):
            file = tmp_path / f"namespaces-{number}.yaml"
            write_namespaces(file, {"dao:rollout": every})
            reconciler, seen = beside(client, system.root, file)
            reconcilers.append(reconciler)
            tasks += [group.create_task(seen.run()), group.create_task(reconciler.run())]
        await asyncio.sleep(
            15
        )  # ten looks of each; that nothing more is changed has no event to wait for
        for task in tasks:
            task.cancel()
    history = await client.get_workflow_handle("namespace:dao:rollout").fetch_history()
    accepted = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
    changes = [event for event in history.events if event.event_type == accepted]
    assert len(changes) <= 2
    drifting = [bool(reconciler.state.drift) for reconciler in reconcilers]
    assert sorted(drifting) == [False, True]
    system.end()


def beside(client: Client, root: Path, file: Path) -> tuple[Reconciler, Visibility]:
    """Return what a worker with a file of its own would run to reconcile it."""
    settings = Settings.from_environment({"VMSH_ROOT": str(root), "VMSH_NAMESPACES": str(file)})
    metrics = Metrics()
    sources = Sources(
        NamespacesSource(settings),
        AnchorsSource(anchors_path(settings)),
        StoppedNamespaces(LocalStore(root)),
        ReceiptStore(LocalStore(root)).has_any,
    )
    reconciler = Reconciler(
        client, settings, sources, metrics, lambda: seen.snapshot, is_offering=True
    )
    seen = Visibility(client, metrics, reconciler.expected)
    return reconciler, seen
