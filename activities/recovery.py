"""The place where a pen without a past learns what the storage knows of its target: open rounds, highest reservation.

`out/rounds` is evidence: what was signed lies there before it was broadcast, so nothing is ever signed beside it.
"""

import asyncio
from collections.abc import Sequence

from temporalio import activity

from activities.anchors.contract import Anchoring
from activities.failures import decided_by_the_pen
from activities.files import Files
from activities.memory import forgotten
from activities.targets import Targets
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.ledger import Reservation, SignedCandidate
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.receipt import AnchorReceipt, Status
from vaultmesh.domain.riders import Riders
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds import Candidate, Manifest, RoundOutcome
from vaultmesh.domain.steps import (
    Recover,
    Recovered,
    RecoveredRound,
    RememberedRound,
    SealedRound,
)
from vaultmesh.domain.target import Target


class Recovery:
    """Adapter of the port `recover`."""

    def __init__(self, files: Files, targets: Targets) -> None:
        """Recover from the files."""
        self._files = files
        self._targets = targets

    @activity.defn(name="recover")
    async def recover(self, order: Recover) -> Recovered:
        """Read a target's open rounds, and those that the order opens again; store what an operator adopted. Idempotent."""
        with decided_by_the_pen():
            anchoring = await self._targets.open(order.target)
            found = await asyncio.to_thread(self._recover, order, anchoring)
            problems = [*found.problems, *await forgotten(self._files, order.target, anchoring)]
        return found.model_copy(update={"settings": anchoring.pen_settings, "problems": problems})

    def _recover(self, order: Recover, anchoring: Anchoring) -> Recovered:
        target = order.target
        rounds = self._files.rounds(target)
        rounds.look_again(order.reopened)
        self._open_again(target, order.left)
        for remembered in order.remembered:
            self._store_again(target, remembered)
        problems = self._files.damaged(target).look()
        unreadable = rounds.unreadable()
        if unreadable:
            message = (
                f"an open round can't be read, and nothing is signed beside it: {unreadable[0]}"
            )
            raise InvalidValue(message)
        recovered: list[RecoveredRound] = []
        revisions = [rounds.highest_revision()]
        for round_id in rounds.open_rounds():
            rounds.complete_adoptions(round_id)
            riders = self._stored_riders(target, round_id)
            receipts = self._receipts(target, rounds.read_manifest(round_id), riders)
            one = self._round(target, round_id, riders)
            recovered.append(one.model_copy(update=_claim(anchoring, one.sealed, receipts)))
            revisions.extend(one.metadata.revision for one in receipts)
        newest = rounds.newest_reservation()
        return Recovered(
            rounds=sorted(recovered, key=_sequence),
            last=Reservation.model_validate(newest) if newest is not None else None,
            revision=max(revisions),
            problems=problems,
        )

    def _open_again(self, target: Target, round_ids: Sequence[str]) -> None:
        """Open the named rounds, whoever found out that they are not final after all; idempotent by their ids."""
        rounds = self._files.rounds(target)
        for round_id in round_ids:
            closed = rounds.closed(round_id)
            if closed is not None and closed.outcome is RoundOutcome.FINAL:
                rounds.reopen(round_id)

    def _store_again(self, target: Target, known: RememberedRound) -> None:
        """Store the candidates of a round that are gone, as its caller knows them; idempotent by their numbers.

        One that ended or was given up needs none. A candidate that can't be read is left: the round is told as damage.
        """
        rounds = self._files.rounds(target)
        reservation = known.reservation.model_dump(mode="json")
        for candidate in known.candidates:
            if rounds.has_candidate(known.round_id, candidate.n):
                continue
            if rounds.is_forgotten(known.round_id) or self._counted(target, known, candidate.n):
                continue
            document = {
                "n": candidate.n,
                "reservation": reservation,
                "terms": candidate.terms,
                "raw": candidate.raw,
                "hash": candidate.tx_ref,
            }
            told = {"target": str(target), "round": known.round_id, "tx_ref": candidate.tx_ref}
            activity.logger.warning("a candidate was gone; stored again", extra=told)
            rounds.add_candidate(known.round_id, Candidate.model_validate(document))

    def _counted(self, target: Target, known: RememberedRound, n: int) -> bool:
        """Whether a round's end counted a candidate: a lost one is open again with a later one."""
        closed = self._files.rounds(target).closed(known.round_id)
        if closed is None:
            return False
        return closed.outcome is RoundOutcome.FINAL or n < closed.candidates

    def _round(self, target: Target, round_id: str, stored: Riders) -> RecoveredRound:
        rounds = self._files.rounds(target)
        manifest, candidates = rounds.read_manifest(round_id), rounds.candidates(round_id)
        newest = candidates[-1].reservation
        current = [one for one in candidates if one.reservation == newest]
        riders = _riders(stored)
        depths = {*manifest.required_depths, *(one.required_depth for one in riders)}
        return RecoveredRound(
            sealed=SealedRound(
                round_id=round_id,
                commitment=manifest.commitment.receipt_form,
                label=manifest.label,
                leaves=len(manifest.leaves),
                required_depths=sorted(depths),
                candidates=len(candidates) - len(current),
            ),
            reservation=Reservation.model_validate(newest),
            candidates=[_signed(one) for one in current],
            riders=riders,
            lost=rounds.is_given_up(round_id, newest),
        )

    def _stored_riders(self, target: Target, round_id: str) -> Riders:
        """Return a round's riders; none if they can't be read: what is signed must go on all the same.

        `record` refuses the round until they can, and says where.
        """
        try:
            return self._files.rounds(target).riders(round_id)
        except InvalidValue:
            return Riders()

    def _receipts(self, target: Target, manifest: Manifest, stored: Riders) -> list[AnchorReceipt]:
        """Return the receipts of a round's batches and of its riders', also those that name an earlier round.

        Their revision counts as well: what is written next must be newer.
        """
        batches = dict.fromkeys(
            [*(one.batch_id for one in manifest.leaves), *(one.batch_id for one in stored.riders)]
        )
        return [
            receipt
            for batch_id in batches
            for receipt in self._files.receipts.of_batch(batch_id, target)
        ]


def _claim(
    anchoring: Anchoring, sealed: SealedRound, receipts: Sequence[AnchorReceipt]
) -> dict[str, object]:
    """Return what the verified receipt of the highest block says of a round, and what it proves."""
    verified = [
        one
        for one in receipts
        if one.metadata.round == sealed.round_id and one.status is Status.VERIFIED
    ]
    newest = max(verified, key=lambda one: one.block_number, default=None)
    if newest is None or not newest.block_number:
        return {}
    commitment = MerkleRoot.parse_receipt_form(sealed.commitment).digest
    return {
        "claimed_block": newest.block_number,
        "claimed_hash": str(newest.scheme_evidence.get("blockHash", "")),
        "claimed_tx": anchoring.proven(commitment, newest.scheme_evidence),
    }


def _riders(stored: Riders) -> list[AnchorRequest]:
    """Return the requests of whoever has receipts of a round without being named in its manifest."""
    requests = (
        AnchorRequest(
            namespace=one.namespace,
            cadence=one.cadence,
            slot=one.slot,
            required_depth=one.required_depth,
        )
        for one in stored.riders
    )
    return list({request.id: request for request in requests}.values())


def _sequence(one: RecoveredRound) -> tuple[int, str]:
    return one.reservation.sequence or 0, one.sealed.round_id


def _signed(candidate: Candidate) -> SignedCandidate:
    return SignedCandidate(
        n=candidate.n, tx_ref=candidate.tx_ref, raw=candidate.raw, terms=candidate.terms
    )
