"""Composes an anchor receipt from a round's manifest, the ledger's view and the target's evidence."""

from dataclasses import dataclass
from datetime import datetime

from vaultmesh.domain.aggregator.ledger_messages import RoundView
from vaultmesh.domain.aggregator.messages import Record
from vaultmesh.domain.depth import is_final
from vaultmesh.domain.receipts.receipt import (
    AnchorReceipt,
    Finality,
    ReceiptFinality,
    ReceiptMetadata,
    Status,
)
from vaultmesh.domain.rounds.late_joiners import LateJoiner
from vaultmesh.domain.rounds.leaf import Leaf
from vaultmesh.domain.rounds.manifest import Manifest, RoundRequest, aggregation_evidence
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.ledgers.driver import Evidence
from vaultmesh.process.version import VERIFIER


@dataclass(frozen=True, slots=True)
class Entry:
    """One receipt that a round gives."""

    manifest: Manifest
    index: int
    """Position of the leaf in the manifest that proves it."""
    leaf: Leaf
    """The batch; under a direct commitment it may be another one with the same root."""
    request: RoundRequest
    rides: bool = False
    """Whether the manifest does not name it."""

    @property
    def late_joiner(self) -> LateJoiner:
        """Return it as what the round's folder keeps of a late joiner."""
        return LateJoiner(
            namespace=self.request.namespace,
            cadence=self.request.cadence,
            slot=self.request.slot,
            required_depth=self.request.required_depth,
            leaf_namespace=self.leaf.namespace,
            batch_id=self.leaf.batch_id,
            index=self.index,
        )


def anchor_receipt(
    entry: Entry,
    order: Record,
    view: RoundView,
    evidence: Evidence,
    *,
    now: datetime,
    revision: int,
) -> AnchorReceipt:
    """Return the receipt of one batch for one namespace."""
    form = SCHEMES[order.target.scheme]
    required = entry.request.required_depth
    depth = view.depth if form.has_blocks else 0
    final = not form.has_blocks or is_final(depth, required, settled=view.irrevocable)
    proof = aggregation_evidence(entry.manifest, entry.index)
    return AnchorReceipt(
        root=entry.leaf.root,
        chain=form.chain,
        network=order.target,
        tx_scheme=form.tx_scheme,
        tx_ref=evidence.tx_ref,
        tx_hash=evidence.tx_hash,
        block_number=evidence.block_number,
        anchor_ts=evidence.anchor_ts,
        observed_at=now,
        status=Status.VERIFIED,
        finality=ReceiptFinality(
            observed_depth=depth,
            required_depth=required if form.has_blocks else 0,
            state=Finality.FINALIZED if final else Finality.OBSERVED,
        ),
        verifier=VERIFIER,
        evidence={
            "aggregation": proof.model_dump(mode="json", by_alias=True) if proof else None,
            form.evidence: dict(evidence.scheme),
        },
        metadata=_metadata(entry, order.round_id, revision),
    )


def _metadata(entry: Entry, round_id: str, revision: int) -> ReceiptMetadata:
    return ReceiptMetadata(
        namespace=entry.request.namespace,
        batch_id=entry.leaf.batch_id,
        cadence=entry.request.cadence,
        slot=entry.request.slot,
        round=round_id,
        revision=revision,
    )


def reorged(receipt: AnchorReceipt, revision: int, now: datetime) -> AnchorReceipt:
    """Return the receipt after its block left the chain."""
    return receipt.model_copy(
        update={
            "status": Status.REORGED,
            "finality": receipt.finality.model_copy(
                update={"state": Finality.REORGED, "observed_depth": 0}
            ),
            "observed_at": now,
            "metadata": receipt.metadata.model_copy(update={"revision": revision}),
        }
    )
