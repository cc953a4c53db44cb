"""Bad files while the system runs: one clear message, the others go on, and once mended everything is anchored once."""

import json
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from activities.anchoring.stores import Files
from bench.local_system import write_whole
from tests.support.evm_system import AGGREGATOR, TARGET, EvmSystem
from tests.support.marks import FAULTS
from tests.support.replays import COUNTED, cause_of, ends_by_termination
from vaultmesh.domain.paths import path_form
from vaultmesh.process.counts import count

pytestmark = FAULTS

OTHER = "dao:other"
WITHIN_SECONDS = 60.0
"""A request that missed an answer comes back on the backoff, so this is far above what any step takes by itself."""


class OwingSystem(EvmSystem):
    """Knows what it owes so far."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.owed: dict[str, list[str]] = defaultdict(list)
        self._files = Files(self.root)

    def owe(self, namespace: str) -> str:
        """Seal a batch that must be anchored."""
        batch = self.seal(namespace)
        self.owed[namespace].append(batch)
        return batch

    def anchored(self, namespace: str) -> str:
        """Seal a batch and wait until it is final."""
        batch = self.owe(namespace)
        self.wait_final(namespace, batch, seconds=WITHIN_SECONDS)
        return batch

    def problems(self, namespace: str) -> list[str]:
        return list(count(self._files.owed, namespace, TARGET, "").problems)

    def failure(self, namespace: str) -> str:
        flight = self.status(namespace)["cadences"]["fast"]["in_flight"]
        return str((flight["last_failure"] or {}).get("message", "")) if flight else ""

    def wait_problem(self, namespace: str, *words: str) -> str:
        """Wait for a namespace's one problem that holds all the words."""

        def problem() -> str:
            fitting = [text for text in self.problems(namespace) if has_all(text, words)]
            return fitting[0] if len(fitting) == 1 else ""

        return self.wait(problem, f"a problem of {namespace} with {words}", WITHIN_SECONDS)

    def wait_no_problem(self, namespace: str) -> None:
        self.wait(
            lambda: not self.problems(namespace), f"no problem of {namespace}", WITHIN_SECONDS
        )

    def wait_failure(self, namespace: str, *words: str) -> str:
        def failure() -> str:
            text = self.failure(namespace)
            return text if has_all(text, words) else ""

        return self.wait(failure, f"a failure of {namespace} with {words}", WITHIN_SECONDS)

    def wait_logged(self, *words: str) -> None:
        """Wait for a line of the log that holds all the words."""

        def is_logged() -> bool:
            logs = (worker.log.read_text(errors="replace") for worker in self.workers)
            return any(has_all(line, words) for log in logs for line in log.splitlines())

        self.wait(is_logged, f"a line of the log with {words}", WITHIN_SECONDS)

    def wait_held(self, *words: str) -> None:
        def held() -> bool:
            message = (self.aggregator()["held"] or {}).get("message", "")
            return has_all(message, words)

        self.wait(held, f"a held aggregator that says {words}", WITHIN_SECONDS)

    def command_json(self, *arguments: str) -> tuple[int, Any]:
        """Run `starter.py` with `--json`; returns exit code and document."""
        ended = self.command(*arguments, "--json")
        return ended.returncode, json.loads(ended.stdout)

    def assert_well(self) -> None:
        """Every batch anchored and paid once, no workflow failed, no workflow task failed."""
        for namespace, batches in self.owed.items():
            self.wait_final(namespace, *batches, seconds=WITHIN_SECONDS)
        self.assert_paid_once(self.owed)
        assert self.workers[-1].alive
        assert self.ask(_failed) == []


def has_all(text: str, words: Iterable[str]) -> bool:
    return all(word in text for word in words)


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
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwingSystem]:
    with OwingSystem(tmp_path_factory.mktemp("bad")) as running:
        running.start_worker()
        running.register(OTHER)
        yield running


# --- batches -----------------------------------------------------------------------------------------------------


def test_a_malformed_batch_file_is_named_and_anchored_once_mended(system: OwingSystem) -> None:
    namespace = "dao:malformed"
    system.register(namespace)
    batch, whole = system.batch()
    file = system.batch_file(batch)
    write_whole(file, whole[:-40])
    for name in (namespace, OTHER):
        problem = system.wait_problem(name, f"out/batches/{batch}.json", "not JSON")
        assert "write it anew or remove it" in problem
    system.anchored(OTHER)
    system.anchored(namespace)
    system.wait(
        lambda: any(batch in problem for problem in system.problems(namespace)),
        "the problem still shown",
    )
    _, document = system.command_json("status", namespace)
    assert f"out/batches/{batch}.json" in json.dumps(document)
    file.write_text(whole)
    for name in (namespace, OTHER):
        system.owed[name].append(batch)
        system.wait_no_problem(name)
    system.assert_well()


def test_a_folder_in_place_of_a_batch_file_is_named_and_anchored_once_mended(
    system: OwingSystem,
) -> None:
    namespace = "dao:folder"
    system.register(namespace)
    batch, whole = system.batch(namespace)
    file = system.batch_file(batch)
    file.mkdir(parents=True)
    system.wait_problem(namespace, f"out/batches/{batch}.json", "could not read")
    system.anchored(OTHER)
    file.rmdir()
    file.write_text(whole)
    system.owed[namespace].append(batch)
    for name in (namespace, OTHER):  # whose batch a folder would be, nobody can tell
        system.wait_no_problem(name)
    system.assert_well()


def test_a_batch_with_another_root_than_its_leaves_give_is_never_anchored(
    system: OwingSystem,
) -> None:
    namespace = "dao:mismatch"
    batch = system.seal(namespace)
    file = system.batch_file(batch)
    document = json.loads(file.read_text())
    wrong = secrets.token_hex(32)
    file.write_text(json.dumps({**document, "root": f"sha256:{wrong}"}))
    system.register(namespace)
    system.wait_problem(namespace, f"out/batches/{batch}.json", "root", "leaves")
    system.wait_failure(namespace, f"out/batches/{batch}.json")
    system.anchored(OTHER)
    assert system.problems(OTHER) == []
    assert system.receipt(namespace, batch) is None
    file.write_text(json.dumps(document))
    system.owed[namespace].append(batch)
    system.wait_no_problem(namespace)
    system.assert_well()
    assert f"0x{wrong}" not in system.commitments()


def test_a_root_changed_after_it_was_anchored_is_refused_and_its_receipt_stays(
    system: OwingSystem,
) -> None:
    namespace = "dao:changed"
    system.register(namespace)
    batch = system.anchored(namespace)
    file, receipt = system.batch_file(batch), system.receipt_file(namespace, batch)
    whole, before = file.read_text(), receipt.read_bytes()
    other = json.loads(system.batch_file(system.seal("dao:nobody")).read_text())
    changed = {**json.loads(whole), "root": other["root"], "leaves": other["leaves"]}
    file.write_text(json.dumps(changed))
    system.wait_problem(
        namespace, f"out/batches/{batch}.json", other["root"], "was anchored", "restore"
    )
    sent = system.transactions()
    system.wait_failure(namespace, f"out/batches/{batch}.json")
    assert system.transactions() == sent
    system.anchored(namespace)
    system.anchored(OTHER)
    assert receipt.read_bytes() == before
    file.write_text(whole)
    system.wait_no_problem(namespace)
    system.assert_well()
    assert receipt.read_bytes() == before


# --- receipts ----------------------------------------------------------------------------------------------------


def test_edited_receipts_are_told_by_verify_and_nothing_is_paid_twice(system: OwingSystem) -> None:
    namespace = "dao:edited"
    system.register(namespace)
    lied, torn = system.anchored(namespace), system.anchored(namespace)
    files = [system.receipt_file(namespace, batch) for batch in (lied, torn)]
    before = [file.read_bytes() for file in files]
    document = json.loads(before[0])
    files[0].write_text(json.dumps({**document, "txRef": "0x" + secrets.token_hex(32)}))
    files[1].write_bytes(before[1][:-30])
    for batch in (lied, torn):
        code, answer = system.command_json("verify", "--batch", batch, "--namespace", namespace)
        assert code == 1
        (receipt,) = answer["receipts"]
        assert not receipt["passed"]
        assert any(not check["passed"] and check["detail"] for check in receipt["checks"]), receipt
    sent = system.transactions()
    system.workers[-1].stop()
    system.start_worker()
    system.wait(lambda: _whole(files[1]), "the torn receipt written anew", WITHIN_SECONDS)
    assert system.transactions() == sent
    files[0].write_bytes(before[0])
    system.anchored(namespace)
    system.anchored(OTHER)
    system.assert_well()
    code, _ = system.command_json("verify", "--batch", torn, "--namespace", namespace)
    assert code == 0


def _whole(file: Path) -> bool:
    return bool(json.loads(file.read_text())["txRef"])


def test_a_file_in_place_of_a_receipt_folder_holds_up_only_its_namespace(
    system: OwingSystem,
) -> None:
    namespace, beside = "dao:nofolder", "dao:beside"
    blocked = system.root / "out/anchors" / path_form(namespace)
    system.anchored(OTHER)
    blocked.write_text("not a folder")
    system.signal(AGGREGATOR, "pause", "one round for both")
    first, second = system.owe(namespace), system.owe(beside)
    system.register(namespace)
    system.register(beside)
    system.wait(lambda: system.aggregator()["waiting"] >= 2, "both requests")
    system.signal(AGGREGATOR, "resume")
    system.wait_final(beside, second, seconds=WITHIN_SECONDS)
    system.wait_failure(namespace, f"out/anchors/{path_form(namespace)}", "could not write")
    system.anchored(OTHER)
    system.anchored(beside)
    blocked.unlink()
    system.wait_final(namespace, first, seconds=WITHIN_SECONDS)
    system.assert_well()
    rounds = [
        json.loads(system.receipt_file(*batch).read_text())["metadata"]["round"]
        for batch in ((namespace, first), (beside, second))
    ]
    assert rounds[0] == rounds[1]


# --- rounds ------------------------------------------------------------------------------------------------------


def test_garbage_beside_the_rounds_stops_nothing(system: OwingSystem) -> None:
    system.anchored(OTHER)
    rounds = system.root / "out/rounds" / TARGET.replace(":", "_")
    (rounds / "notes.txt").write_text("garbage")
    (rounds / "garbage").mkdir()
    (rounds / "garbage" / "manifest.json").write_text("{")
    (rounds / "empty").mkdir()
    system.anchored(OTHER)
    system.workers[-1].stop()
    system.terminate_aggregator()
    system.start_worker()
    system.anchored(OTHER)
    (rounds / "notes.txt").unlink()
    system.assert_paid_once(system.owed)


def test_a_malformed_candidate_holds_the_aggregator_until_it_is_mended(system: OwingSystem) -> None:
    namespace = "dao:candidate"
    system.register(namespace)
    rounds = system.root / "out/rounds" / TARGET.replace(":", "_")
    known = set(rounds.glob("*/candidate-0.json"))
    system.rpc("evm_setIntervalMining", 0)
    system.owe(namespace)
    (file,) = system.wait(lambda: set(rounds.glob("*/candidate-0.json")) - known, "a candidate")
    system.wait_pooled()
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    name = f"{file.parent.name}/{file.name}"
    system.owe(OTHER)
    system.rpc("evm_setIntervalMining", 1)
    system.wait_held(name, "restore it")
    system.wait_logged(name, "restore it")
    system.wait_failure(OTHER, name)
    sent = system.transactions()
    time.sleep(2)
    assert system.transactions() == sent
    file.write_bytes(whole)
    system.assert_well()


# --- configuration -----------------------------------------------------------------------------------------------


def test_a_malformed_anchors_file_stops_no_anchor_and_is_named_until_it_is_mended(
    system: OwingSystem,
) -> None:
    system.anchored(OTHER)
    file = system.root / "vmsh/config/anchors.yaml"
    file.write_text("eip155: [")
    system.wait_logged("configuration file refused", str(file))
    system.anchored(OTHER)
    _, document = system.command_json("status", OTHER)
    assert str(file) in document["refused"]["anchors.yaml"]
    system.write_anchors()
    system.assert_well()


def test_a_malformed_namespaces_file_changes_nothing_until_it_is_mended(
    system: OwingSystem,
) -> None:
    file = system.root / "vmsh/config/namespaces.yaml"
    file.write_text("namespaces:\n  dao:new:\n    cadence: {fast: {target: nowhere, evry: 2s}}\n")
    system.wait_logged(f"{file}:3", "evry", "configuration file refused")
    system.anchored(OTHER)
    code, document = system.command_json("status")
    assert code != 0
    assert OTHER in json.dumps(document)
    batch = system.owe("dao:new")
    file.write_text(
        "namespaces:\n  dao:new:\n    cadence:\n"
        f'      fast: {{target: "{TARGET}", every: "2s", confirmations: 2}}\n'
    )
    system.wait_final("dao:new", batch, seconds=WITHIN_SECONDS)
    system.wait_logged("namespace registered", "dao:new")
    system.assert_well()
