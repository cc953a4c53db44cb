"""Lists whose receipts a round gives.

One for each namespace, batch and target: for the requests that the manifest names, for the late joiners that
the round's folder names, then for new ones.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from activities.anchoring.stores import Files
from vaultmesh.domain.aggregator.ledger_messages import RoundView
from vaultmesh.domain.aggregator.messages import Record
from vaultmesh.domain.depth import is_final, required_depth
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.receipts.receipt import (
    AnchorReceipt,
    Finality,
    ReceiptFinality,
    ReceiptMetadata,
    Status,
)
from vaultmesh.domain.rounds.leaf import Leaf
from vaultmesh.domain.rounds.manifest import (
    LateJoiner,
    LateJoiners,
    Manifest,
    RoundRequest,
    aggregation_evidence,
)
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
    is_late_joiner: bool = False
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


Part = tuple[int, Leaf, RoundRequest]
"""Position of the leaf that proves a batch, the batch, and the request that its receipt names."""


def entries(
    files: Files, order: Record, manifest: Manifest, least_depth: int = 0
) -> Iterator[Entry]:
    """Yield every receipt that the round gives; late joiners get at least `least_depth` blocks as their required depth."""
    seen: set[tuple[str, str]] = set()
    named = ((*part, False) for part in _asked_for(manifest))
    joined = (
        (*part, True)
        for part in (*_stored(files, manifest), *_joined_now(files, order, manifest, least_depth))
    )
    for index, leaf, request, is_late in chain(named, joined):
        if (request.namespace, leaf.batch_id) not in seen:
            seen.add((request.namespace, leaf.batch_id))
            yield Entry(manifest, index, leaf, request, is_late)


def _asked_for(manifest: Manifest) -> Iterator[Part]:
    for index, named in enumerate(manifest.leaves):
        for request in _one_per_namespace(named.requests):
            yield index, named.leaf, request


def _stored(files: Files, manifest: Manifest) -> Iterator[Part]:
    yield from late_joiners_in(
        files.rounds(manifest.target).late_joiners(manifest.round_id), manifest
    )


def late_joiners_in(joined: LateJoiners, manifest: Manifest) -> Iterator[Part]:
    """Yield what a round gives to its late joiners."""
    for joiner in joined.late_joiners:
        if joiner.index < len(manifest.leaves):
            leaf = Leaf(joiner.leaf_namespace, joiner.batch_id, manifest.leaves[joiner.index].root)
            yield (
                joiner.index,
                leaf,
                _request(joiner.namespace, joiner.cadence, joiner.slot, joiner.required_depth),
            )


def _joined_now(
    files: Files, order: Record, manifest: Manifest, least_depth: int
) -> Iterator[Part]:
    for late_joiner in _unique((*order.late_joiners, *order.waiting)):
        depth = required_depth([late_joiner.required_depth], least_depth)
        request = _request(late_joiner.namespace, late_joiner.cadence, late_joiner.slot, depth)
        for index, leaf in _joined(files, late_joiner, manifest):
            yield index, leaf, request


def _joined(
    files: Files, late_joiner: AnchorRequest, manifest: Manifest
) -> Iterator[tuple[int, Leaf]]:
    """Yield the batches of a late joiner's namespace that the round commits to."""
    for ref in files.owned(late_joiner.namespace, late_joiner.batches):
        leaf = Leaf(ref.leaf_namespace, ref.batch_id, ref.root)
        if leaf in manifest.positions:
            yield manifest.positions[leaf], leaf
        elif manifest.aggregation is None and leaf.root == manifest.commitment:
            yield 0, leaf


def _one_per_namespace(requests: Iterable[RoundRequest]) -> list[RoundRequest]:
    """Return one request for each namespace: its newest, with the largest depth that any of them requires."""
    chosen: dict[str, RoundRequest] = {}
    for request in requests:
        known = chosen.get(request.namespace)
        depth = required_depth([request.required_depth], known.required_depth if known else 0)
        chosen[request.namespace] = request.model_copy(update={"required_depth": depth})
    return list(chosen.values())


def _unique(requests: Iterable[AnchorRequest]) -> list[AnchorRequest]:
    return list({request.id: request for request in requests}.values())


def _request(namespace: str, cadence: str, slot: str, required_depth: int) -> RoundRequest:
    return RoundRequest(
        namespace=namespace, cadence=cadence, slot=slot, required_depth=required_depth
    )
