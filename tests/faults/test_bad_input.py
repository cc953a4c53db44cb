"""Bad files while the system runs: one clear message, the others go on, and once mended everything is anchored once."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from activities import reload
from activities.files import Files
from tests.support.replays import COUNTED, cause_of, ends_by_termination
from tests.support.system import (
    REPOSITORY,
    TARGET,
    System,
    aggregator_workflow_id,
    free_port,
    write_whole,
)
from vaultmesh.domain.names import path_form
from vaultmesh.runtime.counts import count
from vaultmesh.runtime.settings import Settings

pytestmark = [
    pytest.mark.fault,
    pytest.mark.server,
    pytest.mark.evm,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

PEN = aggregator_workflow_id(TARGET)
OTHER = "dao:other"
RECEIPT_FILE = f"{TARGET.replace(':', '_')}.json"
WITHIN_SECONDS = 60.0
"""A request that missed an answer comes back on the ladder, so this is far above what any step takes by itself."""


class Place:
    """A running system and what it owes so far."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.owed: dict[str, list[str]] = defaultdict(list)
        self.worker = system.start_worker()
        self._files = Files(system.root)

    def register(self, namespace: str) -> None:
        """Start a namespace's clock."""
        self.system.register(namespace)

    def seal(self, namespace: str) -> str:
        batch = self.system.seal(namespace)
        self.owed[namespace].append(batch)
        return batch

    def anchored(self, namespace: str) -> str:
        """Seal a batch and wait until it is final."""
        batch = self.seal(namespace)
        self.system.wait_final(namespace, batch, seconds=WITHIN_SECONDS)
        return batch

    def batch_file(self, batch: str) -> Path:
        return self.system.batch_file(batch)

    def receipt_file(self, namespace: str, batch: str) -> Path:
        folder = self.system.root / "out/anchors" / path_form(namespace)
        return folder / path_form(batch) / RECEIPT_FILE

    def problems(self, namespace: str) -> list[str]:
        return list(count(self._files.owed, namespace, TARGET, "").problems)

    def failure(self, namespace: str) -> str:
        flight = self.system.status(namespace)["cadences"]["fast"]["in_flight"]
        return str((flight["last_failure"] or {}).get("message", "")) if flight else ""

    def wait_problem(self, namespace: str, *words: str) -> str:
        """Wait for a namespace's one problem that holds all the words."""

        def told() -> str:
            found = [one for one in self.problems(namespace) if all(word in one for word in words)]
            return found[0] if len(found) == 1 else ""

        return self.system.wait(told, f"a problem of {namespace} with {words}", WITHIN_SECONDS)

    def wait_no_problem(self, namespace: str) -> None:
        self.system.wait(
            lambda: not self.problems(namespace), f"no problem of {namespace}", WITHIN_SECONDS
        )

    def wait_failure(self, namespace: str, *words: str) -> str:
        def told() -> str:
            found = self.failure(namespace)
            return found if all(word in found for word in words) else ""

        return self.system.wait(told, f"a failure of {namespace} with {words}", WITHIN_SECONDS)

    def wait_logged(self, *words: str) -> None:
        """Wait for a line of the log that holds all the words."""
        log = self.system.folder / "logs"

        def told() -> bool:
            lines = (line for place in log.glob("worker-*.log") for line in _lines(place))
            return any(all(word in line for word in words) for line in lines)

        self.system.wait(told, f"a line of the log with {words}", WITHIN_SECONDS)

    def wait_held(self, *words: str) -> None:
        def held() -> bool:
            message = (self.system.pen()["held"] or {}).get("message", "")
            return all(word in message for word in words)

        self.system.wait(held, f"a held pen that says {words}", WITHIN_SECONDS)

    def command(self, *arguments: str) -> tuple[int, Any]:
        """Run `starter.py` with `--json`; returns exit code and document."""
        environment = {**os.environ, **self.system.environment(free_port())}
        ended = subprocess.run(
            [sys.executable, str(REPOSITORY / "starter.py"), *arguments, "--json"],
            capture_output=True,
            cwd=REPOSITORY,
            env=environment,
            timeout=60,
            check=False,
        )
        return ended.returncode, json.loads(ended.stdout)

    def assert_well(self) -> None:
        """Every batch anchored and paid once, no workflow failed, no workflow task failed."""
        for namespace, batches in self.owed.items():
            self.system.wait_final(namespace, *batches, seconds=WITHIN_SECONDS)
        self.system.assert_paid_once(self.owed)
        assert self.worker.alive
        assert self.system.ask(_failed) == []


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()


async def _failed(client: Client) -> list[str]:
    """Return the workflows that ended by themselves, and the workflow tasks that failed.

    The end of the test replays all histories and names these too; here they are found where they happen. A task that a
    test's `terminate` cut short did not fail.
    """
    found = []
    async for one in client.list_workflows():
        if one.status is not None and one.status.name in ("FAILED", "TIMED_OUT", "COMPLETED"):
            found.append(f"{one.id}: {one.status.name}")
        history = await client.get_workflow_handle(one.id, run_id=one.run_id).fetch_history()
        for number, event in enumerate(history.events, start=1):
            if event.event_type != EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                continue
            cause = cause_of(event)
            if cause not in COUNTED and not ends_by_termination(history.events[number:]):
                message = event.workflow_task_failed_event_attributes.failure.message
                found.append(f"{one.id}: {cause}: {message}")
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with System(tmp_path_factory.mktemp("bad")) as system:
        found = Place(system)
        found.register(OTHER)
        yield found


# --- batches -----------------------------------------------------------------------------------------------------


def test_a_malformed_batch_file_is_named_and_anchored_once_mended(place: Place) -> None:
    namespace = "dao:malformed"
    place.register(namespace)
    batch, whole = place.system.batch()
    file = place.batch_file(batch)
    write_whole(file, whole[:-40])
    for one in (namespace, OTHER):
        said = place.wait_problem(one, f"out/batches/{batch}.json", "not JSON")
        assert "write it anew or remove it" in said
    place.anchored(OTHER)
    place.anchored(namespace)
    place.system.wait(
        lambda: any(batch in one for one in place.problems(namespace)), "the problem still shown"
    )
    _, document = place.command("status", namespace)
    assert f"out/batches/{batch}.json" in json.dumps(document)
    file.write_text(whole)
    for one in (namespace, OTHER):
        place.owed[one].append(batch)
        place.wait_no_problem(one)
    place.assert_well()


def test_a_folder_in_place_of_a_batch_file_is_named_and_anchored_once_mended(place: Place) -> None:
    namespace = "dao:folder"
    place.register(namespace)
    batch, whole = place.system.batch(namespace)
    file = place.batch_file(batch)
    file.mkdir(parents=True)
    place.wait_problem(namespace, f"out/batches/{batch}.json", "could not read")
    place.anchored(OTHER)
    file.rmdir()
    file.write_text(whole)
    place.owed[namespace].append(batch)
    for one in (namespace, OTHER):  # whose batch a folder would be, nobody can tell
        place.wait_no_problem(one)
    place.assert_well()


def test_a_batch_with_another_root_than_its_leaves_give_is_never_anchored(place: Place) -> None:
    namespace = "dao:mismatch"
    batch = place.system.seal(namespace)
    file = place.batch_file(batch)
    document = json.loads(file.read_text())
    wrong = secrets.token_hex(32)
    file.write_text(json.dumps({**document, "root": f"sha256:{wrong}"}))
    place.register(namespace)
    place.wait_problem(namespace, f"out/batches/{batch}.json", "root", "leaves")
    place.wait_failure(namespace, f"out/batches/{batch}.json")
    place.anchored(OTHER)
    assert place.problems(OTHER) == []
    assert place.system.receipt(namespace, batch) is None
    file.write_text(json.dumps(document))
    place.owed[namespace].append(batch)
    place.wait_no_problem(namespace)
    place.assert_well()
    assert f"0x{wrong}" not in place.system.commitments()


def test_a_root_changed_after_it_was_anchored_is_refused_and_its_receipt_stays(
    place: Place,
) -> None:
    namespace = "dao:changed"
    place.register(namespace)
    batch = place.anchored(namespace)
    file, receipt = place.batch_file(batch), place.receipt_file(namespace, batch)
    whole, before = file.read_text(), receipt.read_bytes()
    other = json.loads(place.batch_file(place.system.seal("dao:nobody")).read_text())
    changed = {**json.loads(whole), "root": other["root"], "leaves": other["leaves"]}
    file.write_text(json.dumps(changed))
    place.wait_problem(
        namespace, f"out/batches/{batch}.json", other["root"], "was anchored", "restore"
    )
    sent = place.system.transactions()
    place.wait_failure(namespace, f"out/batches/{batch}.json")
    assert place.system.transactions() == sent
    place.anchored(namespace)
    place.anchored(OTHER)
    assert receipt.read_bytes() == before
    file.write_text(whole)
    place.wait_no_problem(namespace)
    place.assert_well()
    assert receipt.read_bytes() == before


# --- receipts ----------------------------------------------------------------------------------------------------


def test_edited_receipts_are_told_by_verify_and_nothing_is_paid_twice(place: Place) -> None:
    namespace = "dao:edited"
    place.register(namespace)
    lied, torn = place.anchored(namespace), place.anchored(namespace)
    files = [place.receipt_file(namespace, batch) for batch in (lied, torn)]
    before = [file.read_bytes() for file in files]
    document = json.loads(before[0])
    files[0].write_text(json.dumps({**document, "txRef": "0x" + secrets.token_hex(32)}))
    files[1].write_bytes(before[1][:-30])
    for batch in (lied, torn):
        code, answer = place.command("verify", "--batch", batch, "--namespace", namespace)
        assert code == 1
        (told,) = answer["receipts"]
        assert not told["passed"]
        assert any(not check["passed"] and check["detail"] for check in told["checks"]), told
    sent = place.system.transactions()
    place.worker.stop()
    place.worker = place.system.start_worker()
    place.system.wait(lambda: _whole(files[1]), "the torn receipt written anew", WITHIN_SECONDS)
    assert place.system.transactions() == sent
    files[0].write_bytes(before[0])
    place.anchored(namespace)
    place.anchored(OTHER)
    place.assert_well()
    code, _ = place.command("verify", "--batch", torn, "--namespace", namespace)
    assert code == 0


def _whole(file: Path) -> bool:
    return bool(json.loads(file.read_text())["txRef"])


def test_a_file_in_place_of_a_receipt_folder_holds_up_only_its_namespace(place: Place) -> None:
    namespace, beside = "dao:nofolder", "dao:beside"
    blocked = place.system.root / "out/anchors" / path_form(namespace)
    place.anchored(OTHER)
    blocked.write_text("not a folder")
    place.system.signal(PEN, "pause", "one round for both")
    first, second = place.seal(namespace), place.seal(beside)
    place.register(namespace)
    place.register(beside)
    place.system.wait(lambda: place.system.pen()["waiting"] >= 2, "both requests")
    place.system.signal(PEN, "resume")
    place.system.wait_final(beside, second, seconds=WITHIN_SECONDS)
    place.wait_failure(namespace, f"out/anchors/{path_form(namespace)}", "could not write")
    place.anchored(OTHER)
    place.anchored(beside)
    blocked.unlink()
    place.system.wait_final(namespace, first, seconds=WITHIN_SECONDS)
    place.assert_well()
    rounds = [
        json.loads(place.receipt_file(*one).read_text())["metadata"]["round"]
        for one in ((namespace, first), (beside, second))
    ]
    assert rounds[0] == rounds[1]


# --- rounds ------------------------------------------------------------------------------------------------------


def test_garbage_beside_the_rounds_stops_nothing(place: Place) -> None:
    place.anchored(OTHER)
    rounds = place.system.root / "out/rounds" / TARGET.replace(":", "_")
    (rounds / "notes.txt").write_text("garbage")
    (rounds / "garbage").mkdir()
    (rounds / "garbage" / "manifest.json").write_text("{")
    (rounds / "empty").mkdir()
    place.anchored(OTHER)
    place.worker.stop()
    place.system.ask(lambda client: client.get_workflow_handle(PEN).terminate("test"))
    place.worker = place.system.start_worker()
    place.anchored(OTHER)
    (rounds / "notes.txt").unlink()
    place.system.assert_paid_once(place.owed)


def test_a_malformed_candidate_holds_the_pen_until_it_is_mended(place: Place) -> None:
    namespace = "dao:candidate"
    place.register(namespace)
    rounds = place.system.root / "out/rounds" / TARGET.replace(":", "_")
    known = set(rounds.glob("*/candidate-0.json"))
    place.system.rpc("evm_setIntervalMining", 0)
    place.seal(namespace)
    (file,) = place.system.wait(
        lambda: set(rounds.glob("*/candidate-0.json")) - known, "a candidate"
    )
    place.system.wait(
        lambda: int(place.system.rpc("txpool_status")["pending"], 16) == 1, "the pool"
    )
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    name = f"{file.parent.name}/{file.name}"
    place.seal(OTHER)
    place.system.rpc("evm_setIntervalMining", 1)
    place.wait_held(name, "restore it")
    place.wait_logged(name, "restore it")
    place.wait_failure(OTHER, name)
    sent = place.system.transactions()
    time.sleep(2)
    assert place.system.transactions() == sent
    file.write_bytes(whole)
    place.assert_well()


# --- configuration -----------------------------------------------------------------------------------------------


def test_a_malformed_anchors_file_is_named_until_it_is_mended(place: Place) -> None:
    file = place.system.root / "vmsh/config/anchors.yaml"
    file.write_text("eip155: [")
    batch = place.seal(OTHER)
    place.wait_failure(OTHER, str(file))
    place.wait_held(str(file))
    assert place.system.receipt(OTHER, batch) is None
    _, document = place.command("status", OTHER)
    assert str(file) in json.dumps(document)
    place.system.write_anchors()
    place.assert_well()


def test_a_malformed_namespaces_file_changes_nothing_until_it_is_mended(place: Place) -> None:
    file = place.system.root / "vmsh/config/namespaces.yaml"
    file.write_text("namespaces:\n  dao:new:\n    cadence: {fast: {target: nowhere, evry: 2s}}\n")
    place.wait_logged(f"{file}:3", "evry", "namespaces file not applied")
    place.anchored(OTHER)
    code, document = place.command("status")
    assert code != 0
    assert OTHER in json.dumps(document)
    batch = place.seal("dao:new")
    file.write_text(
        "namespaces:\n  dao:new:\n    cadence:\n"
        f'      fast: {{target: "{TARGET}", every: "2s", confirmations: 2}}\n'
    )
    place.system.wait_final("dao:new", batch, seconds=WITHIN_SECONDS)
    place.wait_logged("namespace reloaded", "dao:new")
    place.assert_well()


def test_a_namespaces_file_that_is_gone_starts_no_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing file must not be taken for the repository's own, whose namespaces cost money."""
    file = tmp_path / "vmsh/config/namespaces.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("namespaces: {}\n")
    applied: list[object] = []

    async def register(client: object, specs: object, *given: object) -> Any:
        applied.append(specs)
        return
        yield

    monkeypatch.setattr(reload, "PERIOD_SECONDS", 0.02)
    monkeypatch.setattr(reload, "register", register)
    settings = Settings.from_environment({"VMSH_ROOT": str(tmp_path)})
    watching = reload.Reload(cast("Client", None), settings, ["eip155"])

    async def watch() -> None:
        task = asyncio.create_task(watching.run())
        await asyncio.sleep(0.2)
        file.unlink()
        await asyncio.sleep(0.3)
        assert applied == []
        write_whole(file, "namespaces: {}\n# again\n")
        async with asyncio.timeout(WITHIN_SECONDS):
            while not applied:  # noqa: ASYNC110 - what it calls has no event
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        task.cancel()

    asyncio.run(watch())
    assert applied == [{}]
