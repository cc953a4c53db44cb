"""Fills a gap below a round of ours with transactions that commit to nothing (E4).

1. Only sequences that the ledger counts as free, and that no reservation of ours has but lost ones, are filled; the
   lowest first.
2. What was signed is stored before it is sent, and only stored bytes are sent: asking again sends the same ones.
3. The lowest one gets a higher bid when it is asked for again and again.
"""

import asyncio

from temporalio import activity

from activities.anchoring.stores import Files
from activities.anchoring.targets import Targets
from activities.failures import decided_by_the_aggregator
from vaultmesh.domain.aggregator.ledger_messages import Reservation, SignedCandidate, Terms
from vaultmesh.domain.aggregator.messages import Fill, Filled
from vaultmesh.domain.log_events import LogEvent, log_event
from vaultmesh.domain.rounds.manifest import Candidate
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import Anchoring
from vaultmesh.storage.fillers import FillerFiles

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
        with decided_by_the_aggregator():
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
        signed = await anchoring.sign(reservation, terms, len(bids))
        document = Candidate.model_validate(
            {
                "n": signed.n,
                "reservation": reservation.model_dump(mode="json"),
                "terms": signed.terms or terms,
                "raw": signed.raw,
                "hash": signed.tx_ref,
            }
        )
        stored = await asyncio.to_thread(self._fillers(order).add, sequence, document)
        if stored is document:
            log_event(
                activity.logger,
                LogEvent.FILLED,
                target=str(order.target),
                round=order.round_id,
                tx=stored.tx_ref,
                sequence=sequence,
            )
        return [stored]

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
    return [sequence for sequence in free if sequence not in ours]
