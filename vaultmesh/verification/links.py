"""Checks the links between event, batch, inclusion proof and round, without a ledger."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic_core import from_json

from vaultmesh.domain.batches import tree
from vaultmesh.domain.batches.batch import Batch
from vaultmesh.domain.batches.event_receipt import EventReceipt, LegacyAnchor
from vaultmesh.domain.checks import Found, Trust, lacking
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.receipts.receipt import AnchorReceipt, Status, write_time
from vaultmesh.domain.rounds.manifest import round_id
from vaultmesh.verification.offline import verify_offline

if TYPE_CHECKING:
    from vaultmesh.ledgers.driver import Check

LEGACY_WARNING = "legacy path without sides: it proves less than an inclusion proof does"
_CHECKED_ANYWAY = ("receipt status", "inclusion proof", "round")
_SCARCELY = "not final yet, as the receipt says"


def check(name: str, detail: str, *, passed: bool = True) -> "Check":
    """Return one line of a verification."""
    from vaultmesh.ledgers.driver import Check  # noqa: PLC0415 - only while a command runs

    return Check(name, passed, detail)


# --- anchor receipts ---------------------------------------------------------------------------


def status_check(receipt: AnchorReceipt) -> "Check":
    """Tell a receipt that itself says that its anchor is gone."""
    says = f"{receipt.status}, {receipt.finality.state}"
    return check("receipt status", says, passed=receipt.status is Status.VERIFIED)


def batch_checks(receipt: AnchorReceipt, batch: Batch) -> "list[Check]":
    """Check that a receipt is for the batch as its file is."""
    namespace = receipt.metadata.namespace
    aggregation = receipt.aggregation
    named = batch.namespace if aggregation is None else aggregation.leaf.namespace
    return [
        leaves_check(batch),
        check(
            "batch root",
            f"file {batch.root.receipt_form}, receipt {receipt.root.receipt_form}",
            passed=batch.root == receipt.root,
        ),
        check(
            "batch namespace",
            f"batch of {batch.namespace or 'any namespace'}, receipt of {namespace}",
            passed=batch.namespace in ("", namespace) and named == batch.namespace,
        ),
    ]


def leaves_check(batch: Batch) -> "Check":
    """Say that the leaves lead to the root: a batch is not read otherwise."""
    count = len(batch.leaves)
    return check("batch leaves", f"{count} lead to the root" if count else "the file names none")


def commitment_checks(receipt: AnchorReceipt) -> "list[Check]":
    """Check the way from the batch root to the commitment, and that the round is the commitment's."""
    try:
        commitment = receipt.proven_commitment()
    except InvalidValue as error:
        return [check("inclusion proof", str(error), passed=False)]
    aggregation = receipt.aggregation
    way = "the root itself is committed"
    if aggregation is not None:
        way = f"leaf {aggregation.index} of {aggregation.tree_size} leads to {commitment.receipt_form}"
    expected = round_id(receipt.network, commitment.digest)
    named = receipt.metadata.round
    return [
        check("inclusion proof", way),
        check("round", f"named {named}, computed {expected}", passed=named == expected),
    ]


def carried_check(receipt: AnchorReceipt) -> "Check":
    """Check what a receipt carries for others to verify without a ledger: the ledger itself says nothing of it."""
    every = verify_offline(receipt, Trust()).checks
    found = [one for one in every if one.name not in _CHECKED_ANYWAY]
    wrong = [f"{one.name}: {one.detail}" for one in found if one.found is Found.WRONG]
    lacks = ", ".join(one.name for one in lacking(found))
    detail = f"holds, but lacks {lacks}" if lacks else "holds by itself"
    return check("carried proof", "; ".join(wrong) or detail, passed=not wrong)


def not_final_yet(checks: "Sequence[Check]", informative: Sequence[str]) -> "list[Check]":
    """Turn failures that an observed anchor may have into information."""
    return [
        check(one.name, f"{one.detail} ({_SCARCELY})")
        if one.name in informative and not one.passed
        else one
        for one in checks
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


def path_check(event: EventReceipt) -> "Check":
    """Check that an event leads to its batch's root."""
    path = [sibling.digest for sibling in event.path]
    try:
        leads = tree.leads_to(event.event_hash.digest, path, event.batch_root.digest)
    except InvalidValue as error:
        return check("event path", str(error), passed=False)
    detail = f"{len(path)} siblings lead {'' if leads else 'not '}to {event.batch_root}; {LEGACY_WARNING}"
    return check("event path", detail, passed=leads)


def membership_checks(event: EventReceipt, batch: Batch) -> "list[Check]":
    """Check that an event is one of its batch's."""
    roots = f"file {batch.root}, receipt {event.batch_root}"
    found = [check("event batch root", roots, passed=batch.root == event.batch_root)]
    if batch.leaves:
        is_leaf = event.event_hash in batch.leaves
        what = f"{event.event_hash} is {'a leaf' if is_leaf else 'no leaf'} of batch {batch.id}"
        found.append(check("event leaf", what, passed=is_leaf))
    named = event.event_id_in(batch)
    if batch.events:
        detail = f"{event.integrity} {'is' if named in batch.events else 'is not'} in the batch"
        found.append(check("event id", detail, passed=named in batch.events))
    return found


def derived_check(anchor: LegacyAnchor, derived: LegacyAnchor) -> "Check":
    """Check that an event receipt says what the anchor receipts of its batch do."""
    same = anchor == derived
    detail = f"{derived.chain} {derived.tx}" + (
        "" if same else f", but it says {anchor.chain} {anchor.tx}"
    )
    return check("event anchor", detail, passed=same)
