"""Reserves, signs and broadcasts a round: decides first, then acts.

Each step compares the storage with what its caller knows, and does nothing when the storage knows more (X11).
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from temporalio import activity

from activities.anchoring.evidence import candidate_of
from activities.anchoring.fill import free_sequences
from activities.anchoring.stores import Files
from activities.anchoring.targets import Targets
from activities.failures import decided_by_the_aggregator
from vaultmesh.domain.aggregator.ledger_messages import (
    Broadcasted,
    Bumped,
    Reservation,
    SignedCandidate,
)
from vaultmesh.domain.aggregator.messages import Broadcast, Bump, Reserve, Reserved, Sign, Signed
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure
from vaultmesh.domain.log_events import LogEvent, log_event
from vaultmesh.domain.rounds.manifest import round_id
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import Anchoring, StaleCaller, UnknownRounds
from vaultmesh.storage.fillers import FillerFiles
from vaultmesh.storage.rounds import Added


class Submitting:
    """Adapters of the ports `reserve`, `sign`, `broadcast` and `bump`."""

    def __init__(
        self, files: Files, targets: Targets, bumped: Callable[[Target], None] = lambda _: None
    ) -> None:
        """Write through the opened targets; `bumped` counts higher bids."""
        self._files = files
        self._targets = targets
        self._bumped = bumped

    @activity.defn(name="reserve")
    async def reserve(self, order: Reserve) -> Reserved:
        """Decide everything the signature will cover; changes nothing anywhere."""
        with decided_by_the_aggregator():
            anchoring = await self._targets.open(order.target)
            try:
                await asyncio.to_thread(self._files.require_known, order.target, order.rounds)
                commitment = order.commitment.digest
                if order.beyond is not None:
                    return await self._reserve_below(order.beyond, order, anchoring, commitment)
                reservation, terms = await anchoring.reserve(
                    commitment,
                    order.label,
                    last=order.last,
                    highest_stored=self._files.rounds(order.target).highest_sequence,
                    known=partial(self._is_accounted_for, order.target),
                )
            except UnknownRounds as unknown:
                await asyncio.to_thread(self._note_missing, order.target, unknown.commitments)
                return Reserved(stale=True)
            except StaleCaller as stale:
                activity.logger.warning(
                    "caller is behind the storage", extra={"reason": str(stale)}
                )
                return Reserved(stale=True)
        return Reserved(reservation=reservation, terms=terms)

    def _is_accounted_for(self, target: Target, commitment: bytes) -> bool:
        return self._files.rounds(target).is_accounted_for(round_id(target, commitment))

    def _note_missing(self, target: Target, commitments: Sequence[bytes]) -> None:
        """Store that rounds are missing: what they may hold is held back from now on, whoever seals."""
        for commitment in commitments:
            missing = round_id(target, commitment)
            extra = {"target": str(target), "round": missing}
            activity.logger.error("the ledger shows a round of ours that is gone", extra=extra)
            self._files.rounds(target).note_missing(missing)

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
            for round_id in rounds.open_rounds()
            for sequence in FillerFiles(self._files.store, f"{rounds.folder}/{round_id}").stored()
        }

    @activity.defn(name="sign")
    async def sign(self, order: Sign) -> Signed:
        """Sign, and store the candidate before anything is broadcast (X3); the same order gives the same bytes."""
        with decided_by_the_aggregator():
            anchoring = await self._targets.open(order.target)
            rounds = self._files.rounds(order.target)
            candidate = await anchoring.sign(order.reservation, order.terms, order.n)
            if not await asyncio.to_thread(self._store, order, candidate):
                return Signed(stale=True)
            number = await asyncio.to_thread(rounds.number_of, order.round_id)
        return Signed(candidate=candidate, number=number)

    def _store(self, order: Sign, candidate: SignedCandidate) -> bool:
        rounds = self._files.rounds(order.target)
        reservation = order.reservation.model_dump(mode="json")
        given_up = rounds.is_given_up(order.round_id, reservation)
        count = rounds.count(order.round_id)
        if given_up or len(rounds.candidates(order.round_id)) > order.n + 1 or count < order.n:
            return False
        is_further = bool(rounds.candidates_of(order.round_id, order.reservation))
        signed = candidate.model_copy(update={"terms": candidate.terms or order.terms})
        document = candidate_of(signed, reservation, order.number)
        added = rounds.add_candidate(order.round_id, document)
        if added is Added.CREATED:
            log_event(
                activity.logger,
                LogEvent.BUMPED if is_further else LogEvent.SIGNED,
                target=str(order.target),
                round=order.round_id,
                tx=candidate.tx_ref,
                candidate=order.n,
                sequence=order.reservation.sequence,
            )
            if is_further:
                self._bumped(order.target)
        return added is not Added.CONFLICT

    @activity.defn(name="broadcast")
    async def broadcast(self, order: Broadcast) -> Broadcasted:
        """Send a stored candidate's bytes; may be repeated at will (X4)."""
        with decided_by_the_aggregator():
            anchoring = await self._targets.open(order.target)
            await asyncio.to_thread(self._require_stored, order)
            return await anchoring.broadcast(order.reservation, order.candidate)

    def _require_stored(self, order: Broadcast) -> None:
        """See that the bytes are stored; those that are gone are stored again before they are sent (X3).

        Raises:
            ValidationFailure: others lie in their place, or an operator gave the round up.
        """
        rounds, wanted = self._files.rounds(order.target), order.candidate
        stored = rounds.candidates(order.round_id)
        if any(candidate.tx_ref == wanted.tx_ref for candidate in stored):
            return
        reservation = order.reservation.model_dump(mode="json")
        is_given_up = rounds.is_forgotten(order.round_id) or rounds.is_given_up(
            order.round_id, reservation
        )
        if not is_given_up and not rounds.has_candidate(order.round_id, wanted.n):
            extra = {"target": str(order.target), "round": order.round_id, "tx_ref": wanted.tx_ref}
            activity.logger.warning("a candidate was gone; stored again", extra=extra)
            rounds.add_candidate(order.round_id, candidate_of(wanted, reservation, order.number))
            return
        message = (
            f"candidate {wanted.n} of round {order.round_id} is not in the storage; "
            "nothing is broadcast that is not stored (restore out/rounds)"
        )
        raise ValidationFailure(message)

    @activity.defn(name="bump")
    async def bump(self, order: Bump) -> Bumped:
        """Decide a higher bid on the same reservation; changes nothing anywhere."""
        with decided_by_the_aggregator():
            anchoring = await self._targets.open(order.target)
            return await anchoring.bump(order.reservation, order.highest)
