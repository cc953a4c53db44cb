"""Verifies receipts and events offline: by what they carry and what the user trusts, by nothing else.

1. Every link is checked by itself: event to batch root, batch root to commitment, commitment to ledger.
2. What a scheme's evidence proves is found by its proof module, which its row in `vaultmesh.domain.schemes` names.
3. An event is proven by one ledger that proves it, while nothing that is carried is wrong.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

from vaultmesh.domain.batches import tree
from vaultmesh.domain.batches.batch import Batch
from vaultmesh.domain.batches.event_receipt import (
    INTERNAL_CHAIN,
    EventReceipt,
    derive_anchor,
    integrity,
    placeholder,
)
from vaultmesh.domain.checks import (
    OfflineCheck,
    OfflineVerdict,
    SchemeFindings,
    Standing,
    Trust,
    holds,
    holds_if,
    standing_of,
    stays_open,
    unproven,
    wrong,
)
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.receipts.receipt import AnchorReceipt, Status
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.manifest import round_id
from vaultmesh.domain.schemes import SCHEMES

LEGACY_WARNING = "legacy path without sides: it proves less than an inclusion proof does"


def verify_offline(
    receipt: AnchorReceipt, trust: Trust, batch: Batch | None = None
) -> OfflineVerdict:
    """Verify an anchor receipt; `batch` is its batch's file where that is at hand."""
    checks = [_status_check(receipt), *(_batch_checks(receipt, batch) if batch is not None else ())]
    try:
        commitment = receipt.proven_commitment()
    except InvalidValue as error:
        return _verdict([*checks, wrong("inclusion proof", str(error))], "")
    checks += [_inclusion_check(receipt, commitment), _round_check(receipt, commitment)]
    findings = _proof_module(receipt).find(receipt, commitment, trust)
    batch_id = receipt.metadata.batch_id
    named = f"the receipt calls it batch {batch_id}" if receipt.is_direct else f"batch {batch_id}"
    statement = (
        f"root {receipt.root.receipt_form} ({named}) was in {receipt.network} "
        f"by {findings.when}, under {findings.trust}"
    )
    return _verdict([*checks, *findings.checks], statement)


class ProofModule(Protocol):
    """What the proof module of a scheme offers."""

    def find(self, receipt: AnchorReceipt, commitment: MerkleRoot, trust: Trust) -> SchemeFindings:
        """Find out what a receipt proves of its commitment, under a trust."""


def _proof_module(receipt: AnchorReceipt) -> ProofModule:
    module: ProofModule = import_module(SCHEMES[receipt.network.scheme].proof)
    return module


def verify_event_offline(
    event: EventReceipt,
    anchors: Sequence[AnchorReceipt],
    trust: Trust,
    *,
    batch: Batch | None = None,
    event_id: str | None = None,
) -> OfflineVerdict:
    """Verify an event through the anchor receipts of its batch; ids are checked where they are given."""
    own = [_path_check(event), *_event_anchor_checks(event, anchors)]
    if event_id is not None:
        own += [_event_id_check(event, event_id, one) for one in anchors]
    own += _membership_checks(event, batch) if batch is not None else []
    own += [_same_batch_check(event, one) for one in anchors]
    verdicts = [verify_offline(one, trust) for one in anchors]
    checks = own + [
        OfflineCheck(f"{one.network} {check.name}", check.found, check.detail)
        for one, verdict in zip(anchors, verdicts, strict=True)
        for check in verdict.checks
    ]
    refuted = Standing.REFUTED in {standing_of(checks), standing_of(own)}
    proofs = [verdict.statement for verdict in verdicts if verdict.proven]
    if refuted or not proofs or standing_of(own) is not Standing.PROVEN:
        standing = Standing.REFUTED if refuted else Standing.CONSISTENT
        return OfflineVerdict(tuple(checks), standing, unproven(checks))
    statement = f"event {event.event_hash} ({LEGACY_WARNING}): " + "; ".join(proofs)
    return OfflineVerdict(tuple(checks), Standing.PROVEN, statement)


def _verdict(checks: Sequence[OfflineCheck], statement: str) -> OfflineVerdict:
    standing = standing_of(checks)
    proven = standing is Standing.PROVEN
    return OfflineVerdict(tuple(checks), standing, statement if proven else unproven(checks))


# --- anchor receipts ---------------------------------------------------------------------------


def _status_check(receipt: AnchorReceipt) -> OfflineCheck:
    says = f"{receipt.status}, {receipt.finality.state}"
    return holds_if("receipt status", says, condition=receipt.status is Status.VERIFIED)


def _batch_checks(receipt: AnchorReceipt, batch: Batch) -> list[OfflineCheck]:
    namespace = receipt.metadata.namespace
    aggregation = receipt.aggregation
    named = batch.namespace if aggregation is None else aggregation.leaf.namespace
    roots = f"file {batch.root.receipt_form}, receipt {receipt.root.receipt_form}"
    fits = batch.namespace in ("", namespace) and named == batch.namespace
    whose = f"batch of {batch.namespace or 'any namespace'}, receipt of {namespace}"
    return [
        holds_if("batch root", roots, condition=batch.root == receipt.root),
        holds_if("batch namespace", whose, condition=fits),
    ]


def _inclusion_check(receipt: AnchorReceipt, commitment: MerkleRoot) -> OfflineCheck:
    aggregation = receipt.aggregation
    if aggregation is None:
        return holds("inclusion proof", "the root itself is committed")
    place = f"leaf {aggregation.index} of {aggregation.tree_size}"
    return holds("inclusion proof", f"{place} leads to {commitment.receipt_form}")


def _round_check(receipt: AnchorReceipt, commitment: MerkleRoot) -> OfflineCheck:
    named, expected = receipt.metadata.round, round_id(receipt.network, commitment.digest)
    return holds_if("round", f"named {named}, computed {expected}", condition=named == expected)


# --- events ------------------------------------------------------------------------------------


def _path_check(event: EventReceipt) -> OfflineCheck:
    path = [sibling.digest for sibling in event.path]
    try:
        leads = tree.leads_to(event.event_hash.digest, path, event.batch_root.digest)
    except InvalidValue as error:
        return wrong("event path", str(error))
    way = f"{len(path)} siblings lead {'' if leads else 'not '}to {event.batch_root}"
    return holds_if("event path", f"{way}; {LEGACY_WARNING}", condition=leads)


def _event_anchor_checks(
    event: EventReceipt, anchors: Sequence[AnchorReceipt]
) -> list[OfflineCheck]:
    """Compare the one anchor that the event receipt names with what its batch's anchors make of it."""
    checks: list[OfflineCheck] = []
    if not anchors:
        checks.append(stays_open("anchor", "no anchor receipt of the event's batch is at hand"))
    if event.anchor.chain == INTERNAL_CHAIN:
        return [*checks, *_placeholder_checks(event, anchors)]
    says = f"{event.anchor.chain} {event.anchor.tx}"
    derived = derive_anchor(one for one in anchors if one.root == event.batch_root)
    if derived is None:
        return [*checks, stays_open("event anchor", f"no final receipt of {says} is at hand")]
    detail = f"{says}; the receipts make it {derived.chain} {derived.tx}"
    return [*checks, holds_if("event anchor", detail, condition=derived == event.anchor)]


def _placeholder_checks(
    event: EventReceipt, anchors: Sequence[AnchorReceipt]
) -> list[OfflineCheck]:
    """Check that what the sealer left in an anchor's place names the batch."""
    says = (event.anchor.tx, event.anchor.block)
    expected = [placeholder(one.metadata.batch_id, event.anchor.ts) for one in anchors]
    wrongly = [one for one in expected if says != (one.tx, one.block)]
    if not wrongly:
        return [holds("event anchor", f"sealed in {event.anchor.tx}")] if anchors else []
    return [wrong("event anchor", f"sealed in {event.anchor.tx}, expected {wrongly[0].tx}")]


def _event_id_check(event: EventReceipt, event_id: str, anchor: AnchorReceipt) -> OfflineCheck:
    expected = integrity(anchor.metadata.batch_id, event_id)
    detail = f"{event.integrity}, expected {expected}"
    return holds_if(f"{anchor.network} event id", detail, condition=event.integrity == expected)


def _membership_checks(event: EventReceipt, batch: Batch) -> list[OfflineCheck]:
    roots = f"file {batch.root}, receipt {event.batch_root}"
    checks = [holds_if("event batch root", roots, condition=batch.root == event.batch_root)]
    if batch.leaves:
        is_leaf = event.event_hash in batch.leaves
        detail = f"{event.event_hash} is {'a leaf' if is_leaf else 'no leaf'} of batch {batch.id}"
        checks.append(holds_if("event leaf", detail, condition=is_leaf))
    return checks


def _same_batch_check(event: EventReceipt, anchor: AnchorReceipt) -> OfflineCheck:
    prefix = integrity(anchor.metadata.batch_id, "")
    same = event.batch_root == anchor.root and event.integrity.startswith(prefix)
    detail = (
        f"batch {anchor.metadata.batch_id} with root {anchor.root.receipt_form}, "
        f"event of {event.batch_root.receipt_form}"
    )
    return holds_if(f"{anchor.network} batch", detail, condition=same)
