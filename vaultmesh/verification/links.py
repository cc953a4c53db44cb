"""Checks the links between event, batch, inclusion proof and round, without a ledger."""

from collections.abc import Sequence

from pydantic_core import from_json

from vaultmesh.domain.batches import tree
from vaultmesh.domain.batches.batch import Batch
from vaultmesh.domain.batches.event_receipt import EventReceipt, LegacyAnchor
from vaultmesh.domain.checks import Check, holds, holds_if, wrong
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.instants import write_time
from vaultmesh.domain.receipts.receipt import AnchorReceipt, Status
from vaultmesh.domain.rounds.manifest import round_id

LEGACY_WARNING = "legacy path without sides: it proves less than an inclusion proof does"
_SCARCELY = "not final yet, as the receipt says"


# --- anchor receipts ---------------------------------------------------------------------------


def status_check(receipt: AnchorReceipt) -> Check:
    """Check that a receipt does not itself say that its anchor is gone."""
    says = f"{receipt.status}, {receipt.finality.state}"
    return holds_if("receipt status", says, condition=receipt.status is Status.VERIFIED)


def batch_checks(receipt: AnchorReceipt, batch: Batch) -> list[Check]:
    """Check that a receipt is for the batch as its file is."""
    namespace = receipt.metadata.namespace
    aggregation = receipt.aggregation
    named = batch.namespace if aggregation is None else aggregation.leaf.namespace
    return [
        holds_if(
            "batch root",
            f"file {batch.root.receipt_form}, receipt {receipt.root.receipt_form}",
            condition=batch.root == receipt.root,
        ),
        holds_if(
            "batch namespace",
            f"batch of {batch.namespace or 'any namespace'}, receipt of {namespace}",
            condition=batch.namespace in ("", namespace) and named == batch.namespace,
        ),
    ]


def leaves_check(batch: Batch) -> Check:
    """Say that the leaves lead to the root: a batch is not read otherwise."""
    count = len(batch.leaves)
    return holds("batch leaves", f"{count} lead to the root" if count else "the file names none")


def commitment_checks(receipt: AnchorReceipt) -> list[Check]:
    """Check the way from the batch root to the commitment, and that the round is the commitment's."""
    try:
        commitment = receipt.proven_commitment()
    except InvalidValue as error:
        return [wrong("inclusion proof", str(error))]
    aggregation = receipt.aggregation
    way = "the root itself is committed"
    if aggregation is not None:
        way = f"leaf {aggregation.index} of {aggregation.tree_size} leads to {commitment.receipt_form}"
    expected = round_id(receipt.network, commitment.digest)
    named = receipt.metadata.round
    return [
        holds("inclusion proof", way),
        holds_if("round", f"named {named}, computed {expected}", condition=named == expected),
    ]


def not_final_yet(checks: Sequence[Check], informative: Sequence[str]) -> list[Check]:
    """Turn failures that an observed anchor may have into information."""
    return [
        holds(check.name, f"{check.detail} ({_SCARCELY})")
        if check.name in informative and not check.passed
        else check
        for check in checks
    ]


def proven(receipt: AnchorReceipt) -> str:
    """Return what a receipt proves, and by when."""
    finality = receipt.finality
    return (
        f"root {receipt.root.receipt_form} of batch {receipt.metadata.batch_id} is in {receipt.network} "
        f"by {write_time(receipt.anchor_ts)} ({finality.state}); the time is what the ledger itself says"
    )


# --- event receipts ----------------------------------------------------------------------------


def is_event_receipt(content: bytes) -> bool:
    """Tell VaultMesh's event receipts from anchor receipts."""
    try:
        document = from_json(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "eventHash" in document


def path_check(event: EventReceipt) -> Check:
    """Check that an event leads to its batch's root."""
    path = [sibling.digest for sibling in event.path]
    try:
        leads = tree.leads_to(event.event_hash.digest, path, event.batch_root.digest)
    except InvalidValue as error:
        return wrong("event path", str(error))
    detail = f"{len(path)} siblings lead {'' if leads else 'not '}to {event.batch_root}; {LEGACY_WARNING}"
    return holds_if("event path", detail, condition=leads)


def membership_checks(event: EventReceipt, batch: Batch) -> list[Check]:
    """Check that an event is one of its batch's."""
    roots = f"file {batch.root}, receipt {event.batch_root}"
    checks = [holds_if("event batch root", roots, condition=batch.root == event.batch_root)]
    if batch.leaves:
        is_leaf = event.event_hash in batch.leaves
        what = f"{event.event_hash} is {'a leaf' if is_leaf else 'no leaf'} of batch {batch.id}"
        checks.append(holds_if("event leaf", what, condition=is_leaf))
    named = event.event_id_in(batch)
    if batch.events:
        detail = f"{event.integrity} {'is' if named in batch.events else 'is not'} in the batch"
        checks.append(holds_if("event id", detail, condition=named in batch.events))
    return checks


def derived_check(anchor: LegacyAnchor, derived: LegacyAnchor) -> Check:
    """Check that an event receipt says what the anchor receipts of its batch do."""
    same = anchor == derived
    detail = f"{derived.chain} {derived.tx}" + (
        "" if same else f", but it says {anchor.chain} {anchor.tx}"
    )
    return holds_if("event anchor", detail, condition=same)
