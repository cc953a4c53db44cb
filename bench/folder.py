"""Looks at a folder with very many batches, as a slot does."""

import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from activities.anchoring.stores import Files
from bench.figures import Row, at_most, median, quantile, unlimited
from bench.system import TARGET, write_batch
from vaultmesh.domain.receipts.receipt import (
    AnchorReceipt,
    Finality,
    ReceiptFinality,
    ReceiptMetadata,
    Status,
    receipt_document,
    receipt_path,
)
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.schemes import SCHEMES

NEEDS = "disk alone; about 3 minutes"
_SLOT_MS = 50.0
_NAMESPACE = "dao:bench"
_FIRST = 1_700_000_000
_RUNS = 21


def measure(*, quick: bool) -> list[Row]:
    """Measure a slot of a folder where everything but one batch is anchored; quickly, with 2,000 batches."""
    count = 2_000 if quick else 100_000
    with tempfile.TemporaryDirectory(prefix="vaultmesh-bench-") as folder:
        root = Path(folder)
        _fill(root, count)
        files = Files(root)
        cold = _slot(files, owed=0)
        _slot(files, owed=0)
        unchanged = [_slot(files, owed=0) for _ in range(_RUNS)]
        fresh = []
        for number in range(1, _RUNS + 1):
            write_batch(root / "out" / "batches", _FIRST + count + number, _NAMESPACE)
            fresh.append(_slot(files, owed=number))
    what = f"a slot of a folder of {count:,} anchored batches"
    return [
        at_most(f"{what}, p50", median(unchanged), _SLOT_MS, "{:.1f} ms"),
        unlimited("  largest", f"{max(unchanged):.1f} ms"),
        at_most("  with one new file each, p50", median(fresh), _SLOT_MS, "{:.1f} ms"),
        unlimited("  p95, largest", f"{quantile(fresh, 0.95):.1f} ms, {max(fresh):.1f} ms"),
        unlimited("  the first one of a process", f"{cold / 1_000:.1f} s"),
    ]


def _slot(files: Files, *, owed: int) -> float:
    """Return how long a slot takes to find what is owed, in milliseconds."""
    started = time.perf_counter()
    slot = files.owed(_NAMESPACE, TARGET, "")
    taken = 1_000 * (time.perf_counter() - started)
    assert (len(slot.owed), len(slot.refused)) == (owed, 0)
    return taken


def _fill(root: Path, count: int) -> None:
    """Write batches and their receipts."""
    batches = root / "out" / "batches"
    batches.mkdir(parents=True)
    sample = _receipt()
    text = receipt_document(sample)
    for number in range(_FIRST, _FIRST + count):
        merkle_root = write_batch(batches, number, _NAMESPACE)
        place = root / receipt_path(_NAMESPACE, str(number), TARGET)
        place.parent.mkdir(parents=True)
        own = text.replace(sample.root.receipt_form, f"0x{merkle_root}")
        place.write_text(own.replace(json.dumps(sample.metadata.batch_id), f'"{number}"'))


def _receipt() -> AnchorReceipt:
    """Return a final receipt that the others are made from."""
    form = SCHEMES[TARGET.scheme]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    tx_hash = f"0x{'ab' * 32}"
    return AnchorReceipt(
        root=MerkleRoot(bytes(range(32))),
        chain=form.chain,
        network=TARGET,
        tx_scheme=form.tx_scheme,
        tx_ref=tx_hash,
        tx_hash=tx_hash,
        block_number=1,
        anchor_ts=now,
        observed_at=now,
        status=Status.VERIFIED,
        finality=ReceiptFinality(observed_depth=2, required_depth=2, state=Finality.FINALIZED),
        verifier="bench",
        evidence={"aggregation": None, form.evidence: {"blockHash": tx_hash}},
        metadata=ReceiptMetadata(
            namespace=_NAMESPACE, batch_id="sample", cadence="fast", slot="1", round="1", revision=1
        ),
    )
