"""A root with what a run left behind: one batch, and its real receipts of three ledgers."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vaultmesh.domain.batches.batch import Batch, batch_document
from vaultmesh.domain.namespaces.config import LABELS
from vaultmesh.domain.receipts.receipt import AnchorReceipt, parse_receipt
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.manifest import Candidate
from vaultmesh.process.settings import Settings
from vaultmesh.verification.proof_file import ProofFile, parse_proof

PROOF = Path(__file__).parents[1] / "verifier_page/files/sample.proof.json"
NAMESPACE, BATCH_ID = "fin:clearing", "1795886869"
SEALED_AT = datetime.fromtimestamp(int(BATCH_ID), UTC)
TARGETS = {"fast": "eip155:31337", "strong": "btc:regtest", "cold": "rfc3161:tsa"}


def proof() -> ProofFile:
    """Return the proof that the run gave."""
    return parse_proof(PROOF.read_text())


def receipts() -> dict[str, AnchorReceipt]:
    """Return the receipts, by scheme."""
    return {anchor.network.scheme: anchor for anchor in proof().anchors}


def settings(root: Path) -> Settings:
    """Return the settings of a process that reads a root."""
    return Settings.from_environment({"VMSH_ROOT": str(root)})


def write(place: Path, content: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content, encoding="utf-8")


def write_namespaces(root: Path, *names: str, targets: dict[str, str] | None = None) -> None:
    """Write a namespaces.yaml, which is JSON here."""
    cadence = {
        label: {"target": target, "every": "1h"}
        for label, target in sorted(
            (targets or TARGETS).items(), key=lambda at: LABELS.index(at[0])
        )
    }
    document = {"namespaces": {name: {"cadence": cadence} for name in names or (NAMESPACE,)}}
    write(root / "vmsh/config/namespaces.yaml", json.dumps(document))


def write_batch(root: Path, batch_id: str, /, **fields: Any) -> Batch:
    """Write a batch's file: of one leaf, unless its root is given."""
    leaf = MerkleRoot(bytes([len(batch_id) % 256]) * 32)
    fields = {"root": leaf, "leaves": (leaf,), "created_at": 1_795_000_000, **fields}
    batch = Batch(id=batch_id, **fields)
    write(root / "out/batches" / f"{batch_id}.json", batch_document(batch))
    return batch


def write_receipt(root: Path, content: str) -> Path:
    """Write a receipt at its own place."""
    place = root / parse_receipt(content).path
    write(place, content)
    return place


def write_sent(root: Path, receipt: AnchorReceipt, n: int, at: datetime, tx_ref: str = "") -> None:
    """Write what was signed for a receipt's round, stored at an instant."""
    candidate = Candidate(n=n, reservation={}, raw="0x00", hash=tx_ref or receipt.tx_ref)
    folder = root / "out/rounds" / receipt.network.path / receipt.metadata.round
    place = folder / f"candidate-{n}.json"
    write(place, candidate.document())
    os.utime(place, (at.timestamp(), at.timestamp()))


def recorded(root: Path) -> None:
    """Write all that is known of the run: configuration, batch, receipts, the event's receipt."""
    write_namespaces(root)
    document = json.loads(PROOF.read_text())
    root_of_batch = proof().anchors[0].root
    fields = {"root": root_of_batch, "leaves": (), "created_at": int(BATCH_ID)}
    write_batch(root, BATCH_ID, **fields, namespace=NAMESPACE)
    for anchor in document["anchors"]:
        write_receipt(root, json.dumps(anchor))
    write(root / "out/receipts" / f"{document['eventId']}.json", json.dumps(document["event"]))
