"""Which of the owed batches a round takes when not all fit: the oldest, whoever owes them."""

from dataclasses import dataclass
from pathlib import Path

from temporalio.testing import ActivityEnvironment

from activities.anchoring.seal import Sealing
from activities.anchoring.stores import Files
from tests.anchoring.scripted_ledger import EVM, ScriptedLedger, request
from vaultmesh.domain.aggregator.ledger_messages import AggregatorSettings
from vaultmesh.domain.aggregator.messages import Seal
from vaultmesh.domain.batches.batch import Batch, batch_document
from vaultmesh.domain.roots import MerkleRoot


@dataclass
class SmallRounds(ScriptedLedger):
    """A ledger whose rounds hold two leaves."""

    aggregation: str = "auto"


def write(root: Path, namespace: str, number: int, created_at: int) -> None:
    """Seal a batch of one namespace."""
    leaf = MerkleRoot(bytes([number]) * 32)
    batch = Batch(f"b{number}", leaf, (leaf,), created_at=created_at, namespace=namespace)
    place = root / "out/batches" / f"b{number}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(batch_document(batch))


async def test_a_backlog_of_one_namespace_does_not_keep_an_older_batch_of_another_out(
    tmp_path: Path,
) -> None:
    for number, created_at in ((1, 300), (2, 400), (3, 500)):
        write(tmp_path, "dao:backlog", number, created_at)
    write(tmp_path, "dao:waits", 9, 350)
    files = Files(tmp_path)
    ledger = SmallRounds(EVM, aggregator_settings=AggregatorSettings(max_leaves=2))
    sealing = Sealing(files, ledger)  # type: ignore[arg-type]
    order = Seal(target=EVM, requests=[request("dao:backlog"), request("dao:waits")])
    sealed = await ActivityEnvironment().run(sealing.seal, order)
    assert sealed.round is not None
    manifest = files.rounds(EVM).read_manifest(sealed.round.round_id)
    assert sorted(leaf.batch_id for leaf in manifest.leaves) == ["b1", "b9"]
    ids = [one.id for one in order.requests]
    assert (sealed.requests, sealed.partial) == (ids, ids[:1])
