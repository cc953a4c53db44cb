"""Turns receipts into the answer to a request."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from activities.anchoring.stores import Files
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.messages import (
    MOST_BATCH_IDS_SHOWN,
    AnchorOutcome,
    AnchorRequest,
    OutcomeStatus,
)
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.target import Target

NEWEST_LOOKED_AT = 1_000
"""Batches whose receipts are searched for a slot: a round holds at most as many leaves."""


def outcome_of(files: Files, request: AnchorRequest, target: Target) -> AnchorOutcome:
    """Return what the receipts that can be read say of a request: those written for its cadence and slot."""
    owned = files.owned(request.namespace, request.batches)
    receipts = [
        receipt
        for ref in owned[-NEWEST_LOOKED_AT:]
        for receipt in files.receipts.of_batch(ref.batch_id, target, namespace=request.namespace)
        if _is_for(receipt, request)
    ]
    return anchored(receipts) if receipts else AnchorOutcome(status=OutcomeStatus.NOTHING_OWED)


def _is_for(receipt: AnchorReceipt, request: AnchorRequest) -> bool:
    return (receipt.metadata.cadence, receipt.metadata.slot) == (request.cadence, request.slot)


def anchored(receipts: Sequence[AnchorReceipt]) -> AnchorOutcome:
    """Return the outcome that one or more receipts of a request show; the newest one gives transaction and time."""
    newest = max(receipts, key=lambda receipt: receipt.anchor_ts)
    return AnchorOutcome(
        status=OutcomeStatus.ANCHORED,
        batch_ids=[receipt.metadata.batch_id for receipt in receipts[:MOST_BATCH_IDS_SHOWN]],
        batch_count=len(receipts),
        tx_ref=newest.tx_ref,
        block=newest.block_number,
        at=newest.anchor_ts,
        finality=newest.finality.state.value,
    )


@dataclass(slots=True)
class Done:
    """What a recorder wrote."""

    receipts: list[AnchorReceipt] = field(default_factory=list)
    newer: bool = False
    failed: dict[str, NetworkFailure] = field(default_factory=dict)
    """Namespaces with a receipt that could not be written."""
    blocked: list[NetworkFailure] = field(default_factory=list)
    """Why single receipts could not be written: something else lies in their place. They hold up nothing else."""
    behind: list[NetworkFailure] = field(default_factory=list)
    """Why what no answer needs does not say the same yet: event receipts, the Remembrancer, the round's list of late joiners."""

    @property
    def trouble(self) -> list[NetworkFailure]:
        """Return why not everything could be written: the round stays open, and is tried again."""
        return [*self.failed.values(), *self.blocked, *self.behind]

    @property
    def is_final(self) -> bool:
        """Whether every receipt that was written is final."""
        return all(receipt.is_final for receipt in self.receipts)

    def answers(
        self, waiting: Iterable[AnchorRequest]
    ) -> list[tuple[AnchorRequest, AnchorOutcome]]:
        """Return the outcome of each waiting request, except where a namespace's receipts could not be written."""
        by_namespace: dict[str, list[AnchorReceipt]] = {}
        for receipt in self.receipts:
            by_namespace.setdefault(receipt.metadata.namespace, []).append(receipt)
        return [
            (request, _outcome(request, by_namespace.get(request.namespace, [])))
            for request in waiting
            if request.namespace not in self.failed
        ]


def _outcome(request: AnchorRequest, receipts: list[AnchorReceipt]) -> AnchorOutcome:
    own = [
        receipt
        for receipt in receipts
        if (receipt.metadata.cadence, receipt.metadata.slot) == (request.cadence, request.slot)
    ]
    if own or receipts:
        return anchored(own or receipts)
    return AnchorOutcome(status=OutcomeStatus.NOTHING_OWED)
