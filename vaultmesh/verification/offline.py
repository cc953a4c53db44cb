"""Verifies receipts and events offline: by what they carry and what the user trusts, by nothing else.

1. Every link is checked by itself: event to batch root, batch root to commitment, commitment to ledger.
2. What a scheme's evidence proves is found by its proof module, which its row in `vaultmesh.domain.schemes` names.
3. An event is proven by one ledger that proves it, while nothing that is carried is wrong.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Protocol

from vaultmesh.domain.batches.batch import Batch
from vaultmesh.domain.batches.event_receipt import (
    INTERNAL_CHAIN,
    EventReceipt,
    derive_anchor,
    integrity,
    placeholder,
)
from vaultmesh.domain.checks import (
    Check,
    SchemeFindings,
    Standing,
    Trust,
    Verdict,
    holds,
    holds_if,
    standing_of,
    stays_open,
    unproven,
    verdict_of,
    with_ledger,
    wrong,
)
from vaultmesh.domain.documents import canonical_json
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.verification import links


def verify_offline(receipt: AnchorReceipt, trust: Trust, batch: Batch | None = None) -> Verdict:
    """Verify an anchor receipt; `batch` is its batch's file where that is at hand."""
    checks = [links.status_check(receipt)]
    checks += links.batch_checks(receipt, batch) if batch is not None else []
    checks += links.commitment_checks(receipt)
    try:
        commitment = receipt.proven_commitment()
    except InvalidValue:
        lost = SchemeFindings((), "", "", place=receipt.tx_ref)
        return with_ledger(verdict_of(checks, ""), str(receipt.network), lost)
    findings = _proof_module(receipt).find(receipt, commitment, trust)
    batch_id = _as_name(receipt.metadata.batch_id)
    named = f"the receipt calls it batch {batch_id}" if receipt.is_direct else f"batch {batch_id}"
    statement = (
        f"root {receipt.root.receipt_form} ({named}) was in {receipt.network} "
        f"by {findings.when}, under {findings.trust}"
    )
    verdict = verdict_of([*checks, *findings.checks], statement, findings.caveat)
    findings = findings if findings.place else replace(findings, place=receipt.tx_ref)
    return with_ledger(verdict, str(receipt.network), findings)


_PLAIN_NAME = re.compile(r"[A-Za-z0-9._:@+-]+")


def _as_name(batch_id: str) -> str:
    """Return a batch id so that it can't pass for a part of the sentence: whoever makes a file chooses it."""
    return batch_id if _PLAIN_NAME.fullmatch(batch_id) else canonical_json(batch_id).decode()


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
) -> Verdict:
    """Verify an event through the anchor receipts of its batch; ids are checked where they are given."""
    own = [links.path_check(event), *_event_anchor_checks(event, anchors)]
    if event_id is not None:
        own += [_event_id_check(event, event_id, anchor) for anchor in anchors]
    own += links.membership_checks(event, batch) if batch is not None else []
    own += [_same_batch_check(event, anchor) for anchor in anchors]
    verdicts = [verify_offline(anchor, trust) for anchor in anchors]
    checks = own + [
        Check(f"{anchor.network} {check.name}", check.found, check.detail)
        for anchor, verdict in zip(anchors, verdicts, strict=True)
        for check in verdict.checks
    ]
    ledgers = tuple(part for verdict in verdicts for part in verdict.ledgers)
    refuted = Standing.REFUTED in {standing_of(checks), standing_of(own)}
    proofs = [verdict.statement for verdict in verdicts if verdict.proven]
    if refuted or not proofs or standing_of(own) is not Standing.PROVEN:
        standing = Standing.REFUTED if refuted else Standing.CONSISTENT
        return Verdict(tuple(checks), standing, unproven(checks), ledgers=ledgers)
    statement = f"event {event.event_hash} ({links.LEGACY_WARNING}): " + "; ".join(proofs)
    return Verdict(tuple(checks), Standing.PROVEN, statement, ledgers=ledgers)


# --- events ------------------------------------------------------------------------------------


def _event_anchor_checks(event: EventReceipt, anchors: Sequence[AnchorReceipt]) -> list[Check]:
    """Compare the one anchor that the event receipt names with what its batch's anchors make of it."""
    checks: list[Check] = []
    if not anchors:
        checks.append(stays_open("anchor", "no anchor receipt of the event's batch is at hand"))
    if event.anchor.chain == INTERNAL_CHAIN:
        return [*checks, *_placeholder_checks(event, anchors)]
    says = f"{event.anchor.chain} {event.anchor.tx}"
    derived = derive_anchor(anchor for anchor in anchors if anchor.root == event.batch_root)
    if derived is None:
        return [*checks, stays_open("event anchor", f"no final receipt of {says} is at hand")]
    detail = f"{says}; the receipts make it {derived.chain} {derived.tx}"
    return [*checks, holds_if("event anchor", detail, condition=derived == event.anchor)]


def _placeholder_checks(event: EventReceipt, anchors: Sequence[AnchorReceipt]) -> list[Check]:
    """Check that what the sealer left in an anchor's place names the batch."""
    says = (event.anchor.tx, event.anchor.block)
    expected = [placeholder(anchor.metadata.batch_id, event.anchor.ts) for anchor in anchors]
    wrongly = [sealed for sealed in expected if says != (sealed.tx, sealed.block)]
    if not wrongly:
        return [holds("event anchor", f"sealed in {event.anchor.tx}")] if anchors else []
    return [wrong("event anchor", f"sealed in {event.anchor.tx}, expected {wrongly[0].tx}")]


def _event_id_check(event: EventReceipt, event_id: str, anchor: AnchorReceipt) -> Check:
    expected = integrity(anchor.metadata.batch_id, event_id)
    detail = f"{event.integrity}, expected {expected}"
    return holds_if(f"{anchor.network} event id", detail, condition=event.integrity == expected)


def _same_batch_check(event: EventReceipt, anchor: AnchorReceipt) -> Check:
    prefix = integrity(anchor.metadata.batch_id, "")
    same = event.batch_root == anchor.root and event.integrity.startswith(prefix)
    detail = (
        f"batch {anchor.metadata.batch_id} with root {anchor.root.receipt_form}, "
        f"event of {event.batch_root.receipt_form}"
    )
    return holds_if(f"{anchor.network} batch", detail, condition=same)
