"""Looks at every target that namespaces anchor on for its metrics: balance, bid and certificates by its ledger, open rounds by files.

1. Each is asked once a minute, beside the others; who does not answer keeps what it showed, and its age is a metric.
2. Targets are opened for it: their endpoints have series before anything is anchored.
"""

import asyncio
import time
from collections import Counter

from activities.anchoring.stores import Files
from activities.anchoring.targets import Targets
from vaultmesh.domain.errors import DomainError, InvalidValue
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.receipts.receipt import Status
from vaultmesh.domain.tally import TargetFigures
from vaultmesh.domain.target import Target
from vaultmesh.process.target_metrics import StoredState, TargetLook, TargetMetrics

TASK = "looking at targets"
PERIOD_SECONDS = 60.0
SOON_SECONDS = 5.0
"""While nothing is known to anchor anywhere."""
ANSWER_SECONDS = 20.0
"""A ledger that takes longer does not answer."""


class TargetLooks:
    """Looks for one process."""

    def __init__(
        self,
        files: Files,
        targets: Targets,
        metrics: TargetMetrics,
    ) -> None:
        """Look at what metrics know of, through the opened targets; they take what is seen."""
        self._files = files
        self._targets = targets
        self._metrics = metrics

    async def run(self) -> None:
        """Look every minute until cancelled."""
        while True:
            known = self._metrics.known()
            await asyncio.gather(*map(self.look, known))
            await asyncio.sleep(PERIOD_SECONDS if known else SOON_SECONDS)

    async def look(self, name: str) -> None:
        """Look at one target; a name that means nothing is told by who should anchor there."""
        try:
            target = Target.parse(name)
        except InvalidValue:
            return
        figures, rounds = await asyncio.gather(
            self._figures(target), asyncio.to_thread(self._rounds, target)
        )
        self._metrics.looked(name, TargetLook(time.time(), figures, rounds))

    async def _figures(self, target: Target) -> TargetFigures | None:
        """Return what the ledger shows; that it shows nothing is told by who anchors there."""
        try:
            anchoring = await self._targets.open(target)
            async with asyncio.timeout(ANSWER_SECONDS):
                return await anchoring.figures()
        except (DomainError, TimeoutError):
            return None

    def _rounds(self, target: Target) -> Counter[StoredState] | None:
        """Count open rounds; None if they can't be read."""
        try:
            rounds = self._files.rounds(target)
            return Counter(self._state(target, round_id) for round_id in rounds.open_rounds())
        except (AnchorError, InvalidValue, OSError):
            return None

    def _state(self, target: Target, round_id: str) -> StoredState:
        """Say what the receipt of a round's first leaf tells: all of them are written at inclusion."""
        leaf = self._files.rounds(target).read_manifest(round_id).leaves[0]
        receipt = self._files.receipts.read(leaf.requests[0].namespace, leaf.batch_id, target)
        is_here = receipt is not None and receipt.metadata.round == round_id
        is_included = is_here and receipt is not None and receipt.status is Status.VERIFIED
        return StoredState.INCLUDED if is_included else StoredState.PENDING
