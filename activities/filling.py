"""The place where a gap below a round of ours is filled with transactions that commit to nothing (E4).

1. Only sequences that the ledger counts as free, and that no reservation of ours has but lost ones, are filled; the
   lowest first.
2. What was signed is stored before it is sent, and only stored bytes are sent: asking again sends the same ones.
3. The lowest one gets a higher bid when it is asked for again and again.
"""

import asyncio

from temporalio import activity

from activities.anchors.contract import Anchoring
from activities.failures import decided_by_the_pen
from activities.files import Files
from activities.targets import Targets
from vaultmesh.domain.ledger import Reservation, SignedCandidate, Terms
from vaultmesh.domain.rounds import Candidate
from vaultmesh.domain.steps import Fill, Filled
from vaultmesh.domain.target import Target
from vaultmesh.runtime.filler_files import FillerFiles

TRIES_PER_BID = 4
"""Orders after which the lowest filler is bid higher: about a minute."""


class Filling:
    """Adapter of the port `fill`."""

    def __init__(self, files: Files, targets: Targets) -> None:
        """Sign and send through the opened targets."""
        self._files = files
        self._targets = targets

    @activity.defn(name="fill")
    async def fill(self, order: Fill) -> Filled:
        """Fill the gap below a round; may be repeated at will."""
        with decided_by_the_pen():
            anchoring = await self._targets.open(order.target)
            free = await free_sequences(
                self._files, anchoring, order.target, order.reservation, lost=True
            )
            files = self._fillers(order)
            stored = await asyncio.to_thread(files.stored)
            sent: list[str] = []
            for place, sequence in enumerate(free):
                bids = stored.get(sequence, [])
                higher = not place and order.tries > 0 and order.tries % TRIES_PER_BID == 0
                if not bids or higher:
                    bids = [*bids, *await self._signed(anchoring, order, sequence, bids)]
                if bids:
                    sent.append(await self._send(anchoring, bids[-1]))
        return Filled(sent=sent)

    def _fillers(self, order: Fill) -> FillerFiles:
        folder = f"{self._files.rounds(order.target).folder}/{order.round_id}"
        return FillerFiles(self._files.store, folder)

    async def _signed(
        self, anchoring: Anchoring, order: Fill, sequence: int, bids: list[Candidate]
    ) -> list[Candidate]:
        """Return one more filler, stored; none at the fee cap."""
        before: Terms | None = dict(bids[-1].terms) if bids else None
        decided = await anchoring.filler(order.reservation, sequence, before)
        if decided is None:
            return []
        reservation, terms = decided
        signed = await asyncio.to_thread(anchoring.sign, reservation, terms, len(bids))
        document = Candidate.model_validate(
            {
                "n": signed.n,
                "reservation": reservation.model_dump(mode="json"),
                "terms": signed.terms or terms,
                "raw": signed.raw,
                "hash": signed.tx_ref,
            }
        )
        activity.logger.warning("gap filled", extra={"tx_ref": signed.tx_ref, "nonce": sequence})
        return [await asyncio.to_thread(self._fillers(order).add, sequence, document)]

    async def _send(self, anchoring: Anchoring, filler: Candidate) -> str:
        candidate = SignedCandidate(
            n=filler.n, tx_ref=filler.tx_ref, raw=filler.raw, terms=filler.terms
        )
        await anchoring.broadcast(Reservation.model_validate(filler.reservation), candidate)
        return filler.tx_ref


async def free_sequences(
    files: Files, anchoring: Anchoring, target: Target, beyond: Reservation, *, lost: bool
) -> list[int]:
    """Return the sequences below a reservation that neither the ledger nor a reservation of ours has used, ascending.

    With `lost` also those of lost rounds, where a reorganisation beyond finality undid what had used them: only a
    transaction to ourselves may take such a one, since what was signed for it could still be mined beside it.
    """
    free = await anchoring.free_below(beyond)
    ours = await asyncio.to_thread(files.rounds(target).sequences, beyond.account, lost=not lost)
    return [one for one in free if one not in ours]
