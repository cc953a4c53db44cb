"""What the page is told of anchoring where Temporal is away, files are missing, or a storage hangs."""

import asyncio
import json
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from typing_extensions import override

from devnet.ports import LOOPBACK, free_port
from tests.overview.recorded import (
    BATCH_ID,
    NAMESPACE,
    TARGETS,
    proof,
    receipts,
    recorded,
    settings,
    write,
    write_batch,
    write_namespaces,
)
from vaultmesh.domain.checks import Standing, Trust
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.instants import of_seconds
from vaultmesh.domain.status import NamespaceState
from vaultmesh.overview import words
from vaultmesh.overview.anchoring import AWAY, NAMESPACES_AT_ONCE, AnchoringOverview, Unknown
from vaultmesh.overview.readers import Readers
from vaultmesh.storage.batch_files import BatchFiles
from vaultmesh.storage.files import LocalStore
from vaultmesh.verification import verify
from vaultmesh.verification.event_proof import NotProven

EVENT = proof().event_id


async def overview(root: Path, files: BatchFiles | None = None) -> AnchoringOverview:
    """Return what a process knows whose Temporal does not answer."""
    client = await Client.connect(f"{LOOPBACK}:{free_port()}", lazy=True)
    return AnchoringOverview(client, settings(root), files or BatchFiles(root), lambda: True)


async def test_with_temporal_away_all_that_is_configured_is_shown_with_its_backlog(
    tmp_path: Path,
) -> None:
    recorded(tmp_path)
    write_namespaces(tmp_path, NAMESPACE, "dao:other")
    write_batch(tmp_path, "1", namespace="dao:other")
    answer = await (await overview(tmp_path)).namespaces()
    assert [view.namespace for view in answer.views] == ["dao:other", NAMESPACE]
    assert {view.state for view in answer.views} == {NamespaceState.SILENT}
    owed = {
        view.namespace: {cadence.unanchored for cadence in view.cadences.values()}
        for view in answer.views
    }
    assert owed == {"dao:other": {1}, NAMESPACE: {0}}
    assert AWAY in answer.overview.silence


async def test_what_is_promised_of_batches_is_shown_and_what_came_of_it(tmp_path: Path) -> None:
    """The harm: a promise that only metrics knew was missed before anybody looked there."""
    recorded(tmp_path)
    cadence = {"target": TARGETS["fast"], "every": "1h", "deadline": "30m"}
    document = {"namespaces": {NAMESPACE: {"cadence": {"fast": cadence}}}}
    write(tmp_path / "vmsh/config/namespaces.yaml", json.dumps(document))
    write_batch(tmp_path, "1795000000", namespace=NAMESPACE)
    anchoring = await overview(tmp_path)
    answer = await anchoring.namespace(NAMESPACE)
    fast = answer.view.cadences["fast"]
    assert words.promise(fast) == "final within 30 min of sealing"
    assert fast.oldest_owed == of_seconds(1_795_000_000)
    now = of_seconds(1_795_000_000) + timedelta(minutes=29)
    assert words.overdue_promise(fast, now) == ""
    late = words.overdue_promise(fast, now + timedelta(hours=3))
    assert late == "deadline missed 2 h ago by the oldest owed batch"
    kept = await anchoring.batch(answer, BATCH_ID)
    (came,) = words.promises_of(answer.view, kept, now)
    assert came[0] == TARGETS["fast"]
    assert "kept, final after" in came[1]
    owed = await anchoring.batch(answer, "1795000000")
    (open_still,) = words.promises_of(answer.view, owed, now)
    assert open_still[1].endswith("open, 60 s left")


async def test_with_temporal_away_batches_receipts_and_proofs_are_there(tmp_path: Path) -> None:
    recorded(tmp_path)
    anchoring = await overview(tmp_path)
    answer = await anchoring.namespace(NAMESPACE)
    (listed,) = (await anchoring.batches(answer.view)).batches
    assert listed.batch_id == BATCH_ID
    assert len((await anchoring.batch(answer, BATCH_ID)).receipts) == 3
    content = await anchoring.receipt(NAMESPACE, BATCH_ID, "btc:regtest")
    assert content == (tmp_path / receipts()["btc"].path).read_bytes()
    document = await anchoring.proof(EVENT)
    block = str(receipts()["eip155"].scheme_evidence["blockHash"])
    verdict = verify(document, Trust(blocks=frozenset({block})))
    assert verdict.standing is Standing.PROVEN


async def test_names_are_shown_a_page_at_a_time_and_found_by_a_part(tmp_path: Path) -> None:
    names = [f"dao:{number:03}" for number in range(NAMESPACES_AT_ONCE + 5)]
    write_namespaces(tmp_path, *names)
    anchoring = await overview(tmp_path)
    first = await anchoring.namespaces()
    assert [view.namespace for view in first.views] == names[:NAMESPACES_AT_ONCE]
    assert first.next_start == NAMESPACES_AT_ONCE
    second = await anchoring.namespaces(first.next_start)
    assert [view.namespace for view in second.views] == names[NAMESPACES_AT_ONCE:]
    assert second.next_start is None
    assert (await anchoring.namespaces(10**8)).start == NAMESPACES_AT_ONCE
    (found,) = (await anchoring.namespaces(part="DAO:007")).views
    assert found.namespace == "dao:007"
    assert (await anchoring.namespaces(part="nobody")).views == []


async def test_a_root_without_files_is_told_and_configuration_is_shown(tmp_path: Path) -> None:
    write_namespaces(tmp_path)
    answer = await (await overview(tmp_path)).namespaces()
    assert not answer.source.has_files
    assert [view.namespace for view in answer.views] == [NAMESPACE]


async def test_a_broken_configuration_is_told_and_files_are_shown(tmp_path: Path) -> None:
    recorded(tmp_path)
    write(tmp_path / "vmsh/config/namespaces.yaml", "namespaces: [")
    anchoring = await overview(tmp_path)
    refused = (await anchoring.namespaces()).source.refused
    assert any("namespaces.yaml" in problem for problem in refused)
    answer = await anchoring.namespace(NAMESPACE)  # it has receipts
    assert len((await anchoring.batch(answer, BATCH_ID)).receipts) == 3


@pytest.mark.parametrize(
    "name", ["", "../..", "a b", "no:body", "<script>", "ü" * 300, "a\0b", "dao:\ud800"]
)
async def test_a_name_that_no_namespace_has_is_unknown(tmp_path: Path, name: str) -> None:
    recorded(tmp_path)
    with pytest.raises(Unknown):
        await (await overview(tmp_path)).namespace(name)


@pytest.mark.parametrize("batch_id", ["", "..", "../" * 9 + "etc/passwd", "9", "x" * 300])
async def test_a_batch_that_is_not_there_is_unknown(tmp_path: Path, batch_id: str) -> None:
    recorded(tmp_path)
    anchoring = await overview(tmp_path)
    answer = await anchoring.namespace(NAMESPACE)
    with pytest.raises(Unknown):
        await anchoring.batch(answer, batch_id)
    with pytest.raises(Unknown):
        await anchoring.receipt(NAMESPACE, batch_id, "btc:regtest")


@pytest.mark.parametrize("target", ["", "../../..", "btc:../x", "btc"])
async def test_a_target_that_is_none_is_refused(tmp_path: Path, target: str) -> None:
    recorded(tmp_path)
    with pytest.raises(InvalidValue):
        await (await overview(tmp_path)).receipt(NAMESPACE, BATCH_ID, target)


@pytest.mark.parametrize("event", ["", "..", "../../vmsh/config/namespaces", "x" * 5_000, "a\0"])
async def test_an_event_that_is_not_there_has_no_proof(tmp_path: Path, event: str) -> None:
    recorded(tmp_path)
    with pytest.raises(NotProven):
        await (await overview(tmp_path)).proof(event)


async def test_an_event_that_would_not_verify_has_no_proof(tmp_path: Path) -> None:
    recorded(tmp_path)
    place = tmp_path / "out/receipts" / f"{EVENT}.json"
    event = proof().event
    place.write_text(place.read_text().replace(event.path[0].batch_form, "sha256:" + "00" * 32))
    with pytest.raises(NotProven, match="would not verify"):
        await (await overview(tmp_path)).proof(EVENT)


class HangingStore(LocalStore):
    """A store whose volume hangs."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.goes_on = threading.Event()

    @override
    def read(self, path: str) -> bytes | None:
        self.goes_on.wait()
        return super().read(path)


async def test_a_storage_that_hangs_ends_in_words_and_holds_up_nobody(tmp_path: Path) -> None:
    store = HangingStore(tmp_path)
    readers = Readers(threads=1, within_seconds=0.2)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    beating = asyncio.create_task(beat())
    for _ in range(3):  # the second and third wait for the only thread
        with pytest.raises(NetworkFailure, match="hangs"):
            await readers.run(store.read, "out/x")
    assert beats
    beating.cancel()
    store.goes_on.set()
    readers.close()
