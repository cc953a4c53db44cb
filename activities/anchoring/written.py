"""Keeps what one order wrote, and what it answers to whom."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from activities.anchoring.outcomes import anchored
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.messages import AnchorOutcome, AnchorRequest, OutcomeStatus
from vaultmesh.domain.receipts.receipt import AnchorReceipt


@dataclass(slots=True)
class Done:
    """What a recorder wrote."""

    receipts: list[AnchorReceipt] = field(default_factory=list)
    newer: bool = False
    failed: dict[str, NetworkFailure] = field(default_factory=dict)
    """Namespaces with a receipt that could not be written."""

    @property
    def is_final(self) -> bool:
        """Whether nothing that was written is to change any more."""
        return all(one.is_final for one in self.receipts)

    def answers(
        self, waiting: Iterable[AnchorRequest]
    ) -> list[tuple[AnchorRequest, AnchorOutcome]]:
        """Return the outcome of each waiting request, but of those whose receipts could not be written."""
        by_namespace: dict[str, list[AnchorReceipt]] = {}
        for receipt in self.receipts:
            by_namespace.setdefault(receipt.metadata.namespace, []).append(receipt)
        return [
            (one, _outcome(one, by_namespace.get(one.namespace, [])))
            for one in waiting
            if one.namespace not in self.failed
        ]


def _outcome(request: AnchorRequest, receipts: list[AnchorReceipt]) -> AnchorOutcome:
    own = [
        one
        for one in receipts
        if (one.metadata.cadence, one.metadata.slot) == (request.cadence, request.slot)
    ]
    if own or receipts:
        return anchored(own or receipts)
    return AnchorOutcome(status=OutcomeStatus.NOTHING_OWED)
