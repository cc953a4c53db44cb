"""The place where a round is reserved, signed and broadcast: decide first, then act.

Each step compares the storage with what its caller knows, and does nothing when the storage knows more (X11).
"""

import asyncio

from temporalio import activity

from activities.anchors.contract import StaleCaller
from activities.failures import decided_by_the_pen
from activities.files import Files
from activities.targets import Targets
from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.domain.ledger import Broadcasted, Bumped, SignedCandidate
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds import Candidate
from vaultmesh.domain.steps import Broadcast, Bump, Reserve, Reserved, Sign, Signed
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
                reservation, terms = await anchoring.reserve(
                    MerkleRoot.parse_receipt_form(order.commitment).digest,
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
