"""Reads what the storage knows of a target, for an aggregator without a past: open rounds, highest reservation.

`out/rounds` is evidence: what was signed lies there before it was broadcast, so nothing is ever signed beside it.
"""

import asyncio
from collections.abc import Iterable, Sequence

from temporalio import activity

from activities.anchoring.endpoints import shortcomings
from activities.anchoring.evidence import candidate_of, end_of
from activities.anchoring.stores import Files
from activities.anchoring.targets import Targets
from activities.failures import decided_by_the_aggregator
from vaultmesh.domain.aggregator.ledger_messages import Reservation, SignedCandidate
from vaultmesh.domain.aggregator.messages import (
    Recover,
    Recovered,
    RecoveredRound,
    RememberedRound,
    SealedRound,
)
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.receipts.receipt import AnchorReceipt, Status
from vaultmesh.domain.rounds.leaf import Leaf
from vaultmesh.domain.rounds.manifest import Candidate, LateJoiners, Manifest, RoundOutcome
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import Anchoring


class Recovery:
    """Adapter of the port `recover`."""

    def __init__(self, files: Files, targets: Targets) -> None:
        """Recover from the files."""
        self._files = files
        self._targets = targets

    @activity.defn(name="recover")
    async def recover(self, order: Recover) -> Recovered:
        """Read a target's open rounds, and those that the order opens again; store what an operator adopted. Idempotent."""
        with decided_by_the_aggregator():
            anchoring = await self._targets.open(order.target)
            recovered = await asyncio.to_thread(self._recover, order, anchoring)
            problems = [
                *recovered.problems,
                *await shortcomings(self._files, order.target, anchoring),
            ]
        return recovered.model_copy(
            update={"settings": anchoring.aggregator_settings, "problems": problems}
        )

    def _recover(self, order: Recover, anchoring: Anchoring) -> Recovered:
        target = order.target
        rounds = self._files.rounds(target)
        rounds.numbers.expect(order.number)
        rounds.look_again(order.reopened)
        self._open_again(target, order.left)
        for remembered in order.remembered:
            self._store_again(target, remembered)
        self._files.damaged(target).mend()
        problems = self._files.damaged(target).look()
        recovered: list[RecoveredRound] = []
        revisions = [rounds.highest_revision()]
        for round_id in rounds.open_rounds():
            rounds.complete_adoptions(round_id)
            late_joiners = self._stored_late_joiners(target, round_id)
            receipts = self._receipts(target, rounds.read_manifest(round_id), late_joiners)
            open_round = self._round(target, round_id, late_joiners)
            claim = _claim(anchoring, open_round.sealed, receipts)
            recovered.append(open_round.model_copy(update=claim))
            revisions.extend(receipt.metadata.revision for receipt in receipts)
        newest = rounds.newest_reservation()
        return Recovered(
            rounds=sorted(recovered, key=_sequence),
            unreadable=self._files.damaged(target).unreadable_open(),
            last=Reservation.model_validate(newest) if newest is not None else None,
            revision=max(revisions),
            number=rounds.numbers.highest,
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

        One that ended or was given up needs none, unless nothing is left of it, or it is here as lost and was signed again
        since: then its end is stored again too. Where an older copy has it without its end, it lacks perhaps the bid that won.
        A candidate that can't be read is left: the round is told as damage.
        """
        rounds = self._files.rounds(target)
        signed = max((candidate.n + 1 for candidate in known.candidates), default=0)
        if known.is_ended and rounds.is_end_gone(known.round_id, signed, lost=known.lost):
            self._store_end_again(target, known)
            return
        if known.is_ended and rounds.has_end(known.round_id):
            return
        reservation = known.reservation.model_dump(mode="json")
        for candidate in known.candidates:
            if rounds.has_candidate(known.round_id, candidate.n):
                continue
            if rounds.is_forgotten(known.round_id) or self._counted(target, known, candidate.n):
                continue
            extra = {"target": str(target), "round": known.round_id, "tx_ref": candidate.tx_ref}
            activity.logger.warning("a candidate was gone; stored again", extra=extra)
            rounds.add_candidate(known.round_id, candidate_of(candidate, reservation, known.number))

    def _store_end_again(self, target: Target, known: RememberedRound) -> None:
        """Store what was signed for a round that has ended: its batches may be in the ledger.

        Of one of which nothing is left the end comes first: nobody is to take it for open. One that is here as lost is open
        until its end is stored, so that an attempt that was cut off leaves nothing undone.
        """
        rounds = self._files.rounds(target)
        extra = {"target": str(target), "round": known.round_id}
        activity.logger.error(
            "a round that has ended was gone; what was signed is stored again", extra=extra
        )
        closed = end_of(
            RoundOutcome.FINAL if known.end is not None else RoundOutcome.LOST,
            known.end,
            known.reservation,
            revision=known.revision,
            candidates=max((candidate.n + 1 for candidate in known.candidates), default=0),
            number=known.number,
        )
        is_here_as_lost = rounds.has_end(known.round_id)
        if not is_here_as_lost:
            rounds.close(known.round_id, closed)
        reservation = known.reservation.model_dump(mode="json")
        for candidate in known.candidates:
            if not rounds.has_candidate(known.round_id, candidate.n):
                document = candidate_of(candidate, reservation, known.number)
                rounds.add_candidate(known.round_id, document)
        if is_here_as_lost:
            rounds.close(known.round_id, closed)

    def _counted(self, target: Target, known: RememberedRound, n: int) -> bool:
        """Whether a round's end counted a candidate: a lost one is open again with a later one."""
        closed = self._files.rounds(target).closed(known.round_id)
        if closed is None:
            return False
        return closed.outcome is RoundOutcome.FINAL or n < closed.candidates

    def _round(self, target: Target, round_id: str, stored: LateJoiners) -> RecoveredRound:
        rounds = self._files.rounds(target)
        manifest, candidates = rounds.read_manifest(round_id), rounds.candidates(round_id)
        newest = candidates[-1].reservation
        current = [candidate for candidate in candidates if candidate.reservation == newest]
        late_joiners = _late_joiners(stored)
        depths = {*manifest.required_depths, *(request.required_depth for request in late_joiners)}
        return RecoveredRound(
            sealed=SealedRound(
                round_id=round_id,
                commitment=manifest.commitment,
                label=manifest.label,
                leaves=len(manifest.leaves),
                required_depths=sorted(depths),
                candidates=len(candidates) - len(current),
                number=rounds.number_of(round_id),
            ),
            reservation=Reservation.model_validate(newest),
            candidates=[_signed(candidate) for candidate in current],
            late_joiners=late_joiners,
            lost=rounds.is_given_up(round_id, newest),
        )

    def _stored_late_joiners(self, target: Target, round_id: str) -> LateJoiners:
        """Return a round's late joiners; none if they can't be read: what is signed must go on all the same.

        `record` refuses the round until they can, and says where.
        """
        try:
            return self._files.rounds(target).late_joiners(round_id)
        except InvalidValue:
            return LateJoiners()

    def _receipts(
        self, target: Target, manifest: Manifest, stored: LateJoiners
    ) -> list[AnchorReceipt]:
        """Return the receipts of a round's batches and of its late joiners', also those that name an earlier round.

        Their revision counts as well: what is written next must be newer.
        """
        batches = dict.fromkeys(
            [
                *(leaf.batch_id for leaf in manifest.leaves),
                *(joiner.batch_id for joiner in stored.late_joiners),
            ]
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
        receipt
        for receipt in receipts
        if receipt.metadata.round == sealed.round_id and receipt.status is Status.VERIFIED
    ]
    newest = max(verified, key=lambda receipt: receipt.block_number, default=None)
    if newest is None or not newest.block_number:
        return {}
    commitment = sealed.commitment.digest
    return {
        "claimed_block": newest.block_number,
        "claimed_hash": str(newest.scheme_evidence.get("blockHash", "")),
        "claimed_tx": anchoring.proven(commitment, newest.scheme_evidence),
    }


def _late_joiners(stored: LateJoiners) -> list[AnchorRequest]:
    """Return the requests of whoever has receipts of a round without being named in its manifest."""
    requests = (
        AnchorRequest(
            namespace=joiner.namespace,
            cadence=joiner.cadence,
            slot=joiner.slot,
            required_depth=joiner.required_depth,
        )
        for joiner in stored.late_joiners
    )
    return list({request.id: request for request in requests}.values())


def _sequence(recovered: RecoveredRound) -> tuple[int, str]:
    return recovered.reservation.sequence or 0, recovered.sealed.round_id


def _signed(candidate: Candidate) -> SignedCandidate:
    return SignedCandidate(
        n=candidate.n, tx_ref=candidate.tx_ref, raw=candidate.raw, terms=candidate.terms
    )


def closed_rounds(files: Files, target: Target, requests: Iterable[AnchorRequest]) -> list[str]:
    """Return the final rounds that would give receipts which the requests' namespaces lack, those of the oldest batch first.

    Rounds with malformed files are passed over: whoever seals is told of them.
    """
    rounds = files.rounds(target)
    holders: dict[str, None] = {}
    folders = dict.fromkeys((request.namespace, request.batches) for request in requests)
    for namespace, folder in folders:
        for ref in files.owed(namespace, target, folder).owed:
            try:
                leaf = Leaf(ref.leaf_namespace, ref.batch_id, ref.root)
                holder = rounds.find_leaf(leaf) or rounds.find_root(leaf.root)
                closed = rounds.closed(holder) if holder is not None else None
            except InvalidValue:
                continue
            if holder is not None and closed is not None and closed.outcome is RoundOutcome.FINAL:
                holders[holder] = None
    return list(holders)
