"""What an operator decided holds, whatever is away or older at that moment: real processes on a real Temporal server."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.cli.conftest import NEVER, cadences
from tests.support.broken import plant_unreplayable
from tests.support.evm_system import TARGET
from tests.support.marks import EVM_SYSTEM
from tests.support.reconciled import WITHIN_SECONDS, Reconciled, runs, write_namespaces
from tests.support.system import kill
from vaultmesh.domain.names import NAMESPACE_WORKFLOW, STOP, namespace_workflow_id
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration, NamespaceInput
from vaultmesh.domain.paths import STOPPED_FOLDER, path_form
from vaultmesh.domain.target import Target

pytestmark = EVM_SYSTEM


class Decided(Reconciled):
    """A system in which what operators decide is looked for."""

    def is_kept(self, name: str) -> bool:
        return (self.root / STOPPED_FOLDER / f"{path_form(name)}.json").exists()

    def runs(self, name: str) -> bool:
        return self.ask(lambda client: runs(client, name))

    def unregister(self, name: str, *arguments: str) -> str:
        """Unregister a namespace; returns what was said on both outputs."""
        done = self.command("unregister", name, *arguments)
        assert done.returncode == 0, done.stderr
        assert self.is_kept(name)
        return done.stdout + done.stderr

    def terminate(self, name: str) -> str:
        """End a workflow as an operator of Temporal may; returns the id of its run."""

        async def ended(client: Client) -> str:
            handle = client.get_workflow_handle(namespace_workflow_id(name))
            run_id = (await handle.describe()).run_id
            await handle.terminate("a test")
            return run_id

        return self.ask(ended)

    def wait_new_run(self, name: str, before: str) -> dict[str, Any]:
        def new() -> dict[str, Any] | None:
            view = self.status(name)
            return view if view["run_id"] != before else None

        return self.wait(new, f"a new run of {name}", WITHIN_SECONDS) or {}

    def shown(self, name: str) -> dict[str, Any]:
        """Return what `status` shows of a namespace."""
        document = json.loads(self.command("status", name, "--json").stdout)
        (view,) = [*document["namespaces"], *document["silent"]]
        return dict(view)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decided]:
    """No block is mined unless a test does: what was signed stays in flight."""
    with Decided(tmp_path_factory.mktemp("decisions"), block_seconds=None) as running:
        yield running


async def _plant(client: Client, name: str) -> None:
    cadence = CadenceConfig(target=Target.parse(TARGET), every=NEVER)
    start = NamespaceInput(configuration=Configuration(namespace=name, cadences={"fast": cadence}))
    await plant_unreplayable(client, {namespace_workflow_id(name): (NAMESPACE_WORKFLOW, start)})


def test_a_failing_namespace_that_was_unregistered_anchors_no_more_once_it_goes_on(
    system: Decided,
) -> None:
    name = "dao:failing"
    system.write(dao_failing=NEVER, dao_beside=NEVER)
    system.replays.plant_unreplayable(namespace_workflow_id(name))
    system.ask(lambda client: _plant(client, name))
    system.begin()
    system.wait_every("dao:beside", NEVER)
    system.wait_entry(name, "status", "failing")
    said = system.unregister(name, "--reason", "moved")
    assert "is failing" in said
    assert "the decision is kept" in said
    system.wait(
        lambda: "moved" in system.health()["namespaces"][name]["cause"],
        "the decision beside the failure",
        WITHIN_SECONDS,
    )
    view = system.shown(name)
    assert view["state"] == "failing"
    assert "moved" in view["cause"]
    system.reset(name)
    system.wait_ended(name)
    system.wait_entry(name, "status", "stopped")
    system.end()


def test_a_stop_that_was_ordered_while_temporal_was_away_is_carried_out_when_it_is_back(
    system: Decided,
) -> None:
    system.write(dao_away=NEVER)
    system.begin()
    system.wait_every("dao:away", NEVER)
    kill(system.temporal)
    done = system.command("unregister", "dao:away", "--reason", "moved")
    assert done.returncode == 1
    assert "the decision is kept" in done.stderr
    system.temporal.start()
    system.wait(lambda: not system.runs("dao:away"), "the end of the workflow", WITHIN_SECONDS)
    system.wait_entry("dao:away", "status", "stopped")
    assert system.health()["status"] == "healthy"
    system.end()


def test_a_namespace_that_no_worker_takes_is_stopped_by_the_next_worker(system: Decided) -> None:
    system.write(dao_silent=NEVER)
    system.begin()
    system.wait_every("dao:silent", NEVER)
    os.kill(system.workers[-1].pid, 9)
    said = system.unregister("dao:silent")
    assert "last poll" in said
    assert "no worker" not in said
    assert system.runs("dao:silent")
    system.begin()
    system.wait(lambda: not system.runs("dao:silent"), "the end of the workflow", WITHIN_SECONDS)
    system.end()


def test_what_drains_is_called_draining_and_neither_stale_nor_missing(system: Decided) -> None:
    name = "dao:drains"
    system.write(dao_drains=NEVER)
    batch = system.seal(name)
    system.begin()
    system.wait_pooled()
    system.unregister(name, "--reason", "moved")
    assert system.shown(name)["state"] == "draining"
    system.wait_entry(name, "status", "draining")
    entry = system.health()["namespaces"][name]
    assert "moved" in entry["cause"]
    assert "missing" not in system.health()
    assert {each["state"] for each in system.shown(name)["cadences"].values()} == {"draining"}
    system.mine_until_final(name, batch)
    system.wait(lambda: not system.runs(name), "the end of the workflow", WITHIN_SECONDS)
    system.wait_entry(name, "status", "stopped")
    assert system.shown(name)["state"] == "stopped"
    system.end()


def test_a_worker_with_an_older_file_does_not_start_what_was_stopped(
    system: Decided, tmp_path: Path
) -> None:
    name, old = "dao:older", tmp_path / "old.yaml"
    write_namespaces(old, {name: NEVER, "dao:mark": NEVER})
    system.write(dao_older="991d")
    system.begin(VMSH_NAMESPACES=str(old), VMSH_REGISTER="report")
    assert system.command("register", "--namespace", name).returncode == 0
    system.wait_every(name, "991d")
    system.unregister(name)
    system.wait_ended(name)
    system.end()
    system.begin(VMSH_NAMESPACES=str(old))
    system.wait_every("dao:mark", NEVER)
    system.wait_entry(name, "status", "stopped")
    assert system.is_kept(name)
    assert not system.runs(name)
    system.end()


def test_what_only_the_workers_file_names_stays_stopped_until_it_is_registered(
    system: Decided, tmp_path: Path
) -> None:
    name, file = "dao:elsewhere", tmp_path / "workers.yaml"
    write_namespaces(file, {name: NEVER})
    system.write(dao_shell=NEVER)
    system.begin(VMSH_NAMESPACES=str(file))
    system.wait_every(name, NEVER)
    system.unregister(name)
    system.wait_ended(name)
    system.wait_entry(name, "status", "stopped")
    assert "stopped" in system.command("register", "--config", str(file)).stdout
    assert not system.runs(name)
    done = system.command("register", "--config", str(file), "--namespace", name)
    assert "created" in done.stdout
    assert not system.is_kept(name)
    system.end()


# --- pauses and changed cadences -------------------------------------------------------------------


def test_a_paused_namespace_that_somebody_terminated_pays_for_no_anchor_when_it_comes_back(
    system: Decided,
) -> None:
    name = "dao:paused"
    system.write(dao_paused=NEVER)
    system.begin()
    system.wait_every(name, NEVER)
    change = {"namespace": name, "cadence": {"fast": cadences(fast="3s")["fast"]}, "memo": "faster"}
    assert system.command("pause", name, "--reason", "budget").returncode == 0
    system.signal(namespace_workflow_id(name), "set_cadence", change)
    system.wait_every(name, "3s")
    system.seal(name)
    for _ in range(2):  # the second time, what was taken over is what is known
        view = system.wait_new_run(name, system.terminate(name))
        assert view["paused"]["fast"]["reason"] == "budget"
        assert view["cadences"]["fast"]["every"] == "3s"
        assert view["last_change"]["memo"] == "faster"
    system.wait(
        lambda: system.status(name)["cadences"]["fast"]["outcomes"]["paused"] > 1, "paused slots"
    )
    assert system.pool() == []
    assert name in system.health()["paused"]
    system.end()
    system.begin(VMSH_REGISTER="report")
    before = system.terminate(name)
    done = system.command("register", "--namespace", name)
    assert "created" in done.stdout
    assert "fast stays paused (budget)" in done.stdout
    assert "fast stays as set_cadence left it" in done.stdout
    assert "fast" in system.wait_new_run(name, before)["paused"]
    system.end()


def test_a_changed_file_undoes_a_set_cadence_also_while_the_workflow_is_gone(
    system: Decided,
) -> None:
    name = "dao:changed"
    system.write(dao_changed=NEVER)
    system.begin()
    system.wait_every(name, NEVER)
    change = {"namespace": name, "cadence": {"fast": cadences(fast="3h")["fast"]}}
    system.signal(namespace_workflow_id(name), "set_cadence", change)
    system.wait_every(name, "3h")
    system.end()
    system.terminate(name)
    system.write(dao_changed="992d")
    system.begin()
    system.wait_every(name, "992d")
    system.end()


def test_an_unregistered_namespace_that_is_registered_again_is_paused_no_more(
    system: Decided,
) -> None:
    name = "dao:again"
    system.write(dao_again=NEVER)
    system.begin()
    system.wait_every(name, NEVER)
    assert system.command("pause", name).returncode == 0
    system.unregister(name)
    system.wait_ended(name)
    assert system.command("register", "--namespace", name).returncode == 0
    assert system.wait(lambda: system.status(name), "the new run")["paused"] == {}
    system.end()


def test_a_pause_survives_the_loss_of_temporals_database_if_a_worker_saw_it(
    system: Decided,
) -> None:
    name = "dao:lost"
    system.write(dao_lost=NEVER)
    system.begin()
    system.wait_every(name, NEVER)
    assert system.command("pause", name, "--reason", "budget").returncode == 0
    system.wait_entry(name, "status", "paused")
    system.wait_looked()
    system.lose_database()
    view = system.wait(lambda: system.status(name), "the new run", WITHIN_SECONDS)
    assert view["paused"]["fast"]["reason"] == "budget"
    assert view["unknown_since"] is None
    system.end()


def test_where_nobody_knows_what_had_been_decided_it_is_said_until_somebody_decides(
    system: Decided,
) -> None:
    name = "dao:unknown"
    system.write(dao_unknown=NEVER, dao_new=NEVER)
    place = system.root / "out/anchors" / path_form(name) / "1"
    place.mkdir(parents=True)
    system.begin()
    view = system.wait(lambda: system.status(name), "the run", WITHIN_SECONDS)
    assert view["unknown_since"] is not None
    system.wait(
        lambda: "is not known" in system.health()["namespaces"][name]["unknown"],
        "what is not known on /health",
        WITHIN_SECONDS,
    )
    system.wait(lambda: "dao:new" in system.health()["namespaces"], "the new one", WITHIN_SECONDS)
    assert "unknown" not in system.health()["namespaces"]["dao:new"]
    assert "is not known" in system.command("status", name).stdout
    assert system.command("resume", name).returncode == 0
    assert system.status(name)["unknown_since"] is None
    system.end()


def test_an_order_to_stop_that_comes_twice_changes_nothing(system: Decided) -> None:
    name = "dao:twice"
    system.write(dao_twice=NEVER)
    system.seal(name)
    system.begin()
    system.wait_pooled()
    system.unregister(name)
    handle = namespace_workflow_id(name)
    system.ask(lambda client: client.get_workflow_handle(handle).execute_update(STOP))
    assert system.status(name)["state"] == "draining"
    system.anvil.mine()
    system.wait(lambda: system.anvil.mine() or not system.runs(name), "the end", WITHIN_SECONDS)
    system.end()
