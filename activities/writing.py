"""The place where a round is reserved, signed and broadcast: decide first, then act.

Each step compares the storage with what its caller knows, and does nothing when the storage knows more (X11).
"""

import asyncio

from temporalio import activity

from activities.anchors.contract import Anchoring, StaleCaller
from activities.failures import decided_by_the_pen
from activities.files import Files
from activities.filling import free_sequences
from activities.targets import Targets
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure
from vaultmesh.domain.ledger import Broadcasted, Bumped, Reservation, SignedCandidate
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds import Candidate
from vaultmesh.domain.steps import Broadcast, Bump, Reserve, Reserved, Sign, Signed
from vaultmesh.runtime.filler_files import FillerFiles
from vaultmesh.runtime.round_store import Added


class Writing:
    """Adapters of the ports `reserve`, `sign`, `broadcast` and `bump`."""

    def __init__(self, files: Files, targets: Targets) -> None:
        """Write through the opened targets."""
        self._files = files
        self._targets = targets

    @activity.defn(name="reserve")
    async def reserve(self, order: Reserve) -> Reserved:
        """Decide everything the signature will cover; changes nothing anywhere."""
        with decided_by_the_pen():
            anchoring = await self._targets.open(order.target)
            try:
                await asyncio.to_thread(self._files.require_known, order.target, order.rounds)
                commitment = MerkleRoot.parse_receipt_form(order.commitment).digest
                if order.beyond is not None:
                    return await self._reserve_below(order.beyond, order, anchoring, commitment)
                reservation, terms = await anchoring.reserve(
                    commitment,
                    order.label,
                    last=order.last,
                    highest_stored=self._files.rounds(order.target).highest_sequence,
                )
            except StaleCaller as stale:
                activity.logger.warning(
                    "caller is behind the storage", extra={"reason": str(stale)}
                )
                return Reserved(stale=True)
        return Reserved(reservation=reservation, terms=terms)

    async def _reserve_below(
        self, beyond: Reservation, order: Reserve, anchoring: Anchoring, commitment: bytes
    ) -> Reserved:
        """Reserve the lowest free sequence of a gap; a gap that is closed meanwhile makes the caller recover.

        Raises:
            NetworkFailure: the ledger counts otherwise now, or a filler for that sequence was signed already.
        """
        free = await free_sequences(self._files, anchoring, order.target, beyond, lost=False)
        if not free:
            return await self._none_to_take(beyond, order, anchoring)
        lowest = free[0]
        reservation, terms = await anchoring.reserve(
            commitment,
            order.label,
            last=beyond.model_copy(update={"sequence": lowest - 1}),
            highest_stored=lambda _: lowest - 1,
        )
        filled = await asyncio.to_thread(self._filled, order)
        if (reservation.account, reservation.sequence) != (
            beyond.account,
            lowest,
        ) or lowest in filled:
            message = f"nonce {lowest} below a gap can't be taken now; looking again"
            raise NetworkFailure(message)
        return Reserved(reservation=reservation, terms=terms)

    async def _none_to_take(
        self, beyond: Reservation, order: Reserve, anchoring: Anchoring
    ) -> Reserved:
        """Make the caller recover: the gap is closed.

        Raises:
            NetworkFailure: it is not, but what is free belonged to lost rounds.
        """
        if await free_sequences(self._files, anchoring, order.target, beyond, lost=True):
            message = (
                "the free nonces below a gap belonged to rounds that were lost: no round takes them, and transactions to "
                "ourselves do after gapFill (at once with `starter.py resolve --fill`)"
            )
            raise NetworkFailure(message)
        return Reserved(stale=True)

    def _filled(self, order: Reserve) -> set[int]:
        """Return the sequences for which fillers were signed below any open round."""
        rounds = self._files.rounds(order.target)
        return {
            sequence
            for one in rounds.open_rounds()
            for sequence in FillerFiles(self._files.store, f"{rounds.folder}/{one}").stored()
        }

    @activity.defn(name="sign")
    async def sign(self, order: Sign) -> Signed:
        """Sign, and store the candidate before anything is broadcast (X3); the same order gives the same bytes."""
        with decided_by_the_pen():
            anchoring = await self._targets.open(order.target)
            candidate = await asyncio.to_thread(
                anchoring.sign, order.reservation, order.terms, order.n
            )
            stored = await asyncio.to_thread(self._store, order, candidate)
        return Signed(candidate=candidate) if stored else Signed(stale=True)

    def _store(self, order: Sign, candidate: SignedCandidate) -> bool:
        rounds = self._files.rounds(order.target)
        reservation = order.reservation.model_dump(mode="json")
        given_up = rounds.is_given_up(order.round_id, reservation)
        if given_up or len(rounds.candidates(order.round_id)) > order.n + 1:
            return False
        document = Candidate.model_validate(
            {
                "n": candidate.n,
                "reservation": reservation,
                "terms": candidate.terms or order.terms,
                "raw": candidate.raw,
                "hash": candidate.tx_ref,
            }
        )
        return rounds.add_candidate(order.round_id, document) is not Added.CONFLICT

    @activity.defn(name="broadcast")
    async def broadcast(self, order: Broadcast) -> Broadcasted:
        """Send a stored candidate's bytes; may be repeated at will (X4)."""
        with decided_by_the_pen():
            anchoring = await self._targets.open(order.target)
            stored = await asyncio.to_thread(
                self._files.rounds(order.target).candidates, order.round_id
            )
            if not any(one.tx_ref == order.candidate.tx_ref for one in stored):
                message = (
                    f"candidate {order.candidate.n} of round {order.round_id} is not in the storage; "
                    "nothing is broadcast that is not stored (restore out/rounds)"
                )
                raise ValidationFailure(message)
            return await anchoring.broadcast(order.reservation, order.candidate)

    @activity.defn(name="bump")
    async def bump(self, order: Bump) -> Bumped:
        """Decide a higher bid on the same reservation; changes nothing anywhere."""
        with decided_by_the_pen():
            anchoring = await self._targets.open(order.target)
            return await anchoring.bump(order.reservation, order.highest)
