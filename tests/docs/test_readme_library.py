"""The README's way to verify from Python works as it stands, and loads nothing that could reach a network."""

import subprocess
import sys
from pathlib import Path

from tests.docs.readme import REPOSITORY, blocks
from tests.ledgers.rfc3161.core.test_offline import COMMITMENT, ROOT, receipt_with
from vaultmesh.domain.batches.event_receipt import EventReceipt, integrity, placeholder
from vaultmesh.domain.rounds.manifest import round_id
from vaultmesh.verification.proof_file import ProofFile, proof_document

FOREIGN = ("temporalio", "web3", "aiohttp", "httpx", "requests", "yaml", "ssl", "activities")


def _proof() -> ProofFile:
    """Return a proof of a batch of one event, which a time stamp holds."""
    receipt = receipt_with()
    named = receipt.metadata.model_copy(
        update={"round": round_id(receipt.network, COMMITMENT.digest)}
    )
    event = EventReceipt(
        event_hash=COMMITMENT,
        batch_root=COMMITMENT,
        path=(),
        anchor=placeholder(named.batch_id, 1),
        verifier="test/1",
        integrity=integrity(named.batch_id, "evt-1"),
    )
    anchors = (receipt.model_copy(update={"metadata": named}),)
    return ProofFile(event_id="evt-1", event=event, anchors=anchors)


def test_the_example_proves_with_a_stated_root_and_without_any_client_library(
    tmp_path: Path,
) -> None:
    (example,) = blocks("python")
    (tmp_path / "minutes.proof.json").write_text(proof_document(_proof()))
    (tmp_path / "roots.pem").write_bytes(ROOT.pem)
    ending = f"import sys\nprint([name for name in {FOREIGN} if name in sys.modules])\n"
    done = subprocess.run(
        [sys.executable, "-c", example + ending],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    verdict, loaded = done.stdout.splitlines()
    assert verdict.startswith("proven event sha256:")
    assert loaded == "[]"
