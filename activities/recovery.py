"""The place where a pen without a past learns what the storage knows of its target: open rounds, highest reservation.

`out/rounds` is evidence: what was signed lies there before it was broadcast, so nothing is ever signed beside it.
"""

import asyncio
from collections.abc import Sequence

from temporalio import activity

from activities.failures import decided_by_the_pen
from activities.files import Files
from activities.targets import Targets
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.ledger import Reservation, SignedCandidate
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.rounds import Candidate, Manifest
from vaultmesh.domain.steps import Recover, Recovered, RecoveredRound, SealedRound
from vaultmesh.domain.target import Target


class Recovery:
    """Adapter of the port `recover`."""

    def __init__(self, files: Files, targets: Targets) -> None:
        """Recover from the files."""
        self._files = files
        self._targets = targets

    @activity.defn(name="recover")
    async def recover(self, order: Recover) -> Recovered:
        """Read a target's open rounds; only reads."""
        with decided_by_the_pen():
            anchoring = await self._targets.open(order.target)
            found = await asyncio.to_thread(self._recover, order.target)
        return found.model_copy(update={"settings": anchoring.pen_settings})

    def _recover(self, target: Target) -> Recovered:
        rounds = self._files.rounds(target)
        unreadable = rounds.unreadable()
        if unreadable:
            message = (
                f"an open round can't be read, and nothing is signed beside it: {unreadable[0]}"
            )
            raise InvalidValue(message)
        recovered = [self._round(target, round_id) for round_id in rounds.open_rounds()]
        newest = rounds.newest_reservation()
        return Recovered(
            rounds=sorted(recovered, key=_sequence),
            last=Reservation.model_validate(newest) if newest is not None else None,
            revision=max(rounds.highest_revision(), self._receipt_revision(target, recovered)),
            problems=rounds.problems(),
        )

    def _round(self, target: Target, round_id: str) -> RecoveredRound:
        rounds = self._files.rounds(target)
        manifest, candidates = rounds.read_manifest(round_id), rounds.candidates(round_id)
        newest = candidates[-1].reservation
        current = [one for one in candidates if one.reservation == newest]
        return RecoveredRound(
            sealed=SealedRound(
                round_id=round_id,
                commitment=manifest.commitment.receipt_form,
                label=manifest.label,
                leaves=len(manifest.leaves),
                required_depths=manifest.required_depths,
                candidates=len(candidates) - len(current),
            ),
            reservation=Reservation.model_validate(newest),
            candidates=[_signed(one) for one in current],
            riders=self._riders(target, manifest),
        )

    def _riders(self, target: Target, manifest: Manifest) -> list[AnchorRequest]:
        """Return the requests that have receipts of this round without being named in its manifest."""
        named = {
            (leaf.batch_id, one.namespace) for leaf in manifest.leaves for one in leaf.requests
        }
        riders: dict[str, AnchorRequest] = {}
        for leaf in manifest.leaves:
            for receipt in self._files.receipts.of_batch(leaf.batch_id, target):
                data = receipt.metadata
                if data.round == manifest.round_id and (leaf.batch_id, data.namespace) not in named:
                    request = AnchorRequest(
                        namespace=data.namespace,
                        cadence=data.cadence,
                        slot=data.slot,
                        required_depth=receipt.finality.required_depth,
                    )
                    riders[request.id] = request
        return list(riders.values())

    def _receipt_revision(self, target: Target, recovered: Sequence[RecoveredRound]) -> int:
        """Return the highest revision that the receipts of open rounds carry."""
        manifests = [
            self._files.rounds(target).read_manifest(one.sealed.round_id) for one in recovered
        ]
        batches = {leaf.batch_id for manifest in manifests for leaf in manifest.leaves}
        receipts = (
            one for batch_id in batches for one in self._files.receipts.of_batch(batch_id, target)
        )
        return max((one.metadata.revision for one in receipts), default=0)


def _sequence(one: RecoveredRound) -> tuple[int, str]:
    return one.reservation.sequence or 0, one.sealed.round_id


def _signed(candidate: Candidate) -> SignedCandidate:
    return SignedCandidate(
        n=candidate.n, tx_ref=candidate.tx_ref, raw=candidate.raw, terms=candidate.terms
    )
