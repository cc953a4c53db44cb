"""Takes a round through a ledger step by step, as an aggregator does, whatever its scheme."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from activities.anchoring.round_receipts import Entry, anchor_receipt
from tests.ledgers.conformance.bench import Bench
from vaultmesh.domain.aggregator.ledger_messages import (
    Reservation,
    RoundState,
    RoundView,
    SignedCandidate,
    Terms,
    Verdict,
    WatchedRound,
)
from vaultmesh.domain.aggregator.messages import Record, RecordState
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.manifest import Manifest, OwedLeaf, RoundRequest, compose
from vaultmesh.ledgers.driver import Anchoring, Claim, Evidence

MOST_BLOCKS = 12
"""Within so many blocks every bench's ledger is final."""


@dataclass(frozen=True, slots=True)
class Round:
    """One signed round and what it was made of."""

    manifest: Manifest
    watched: WatchedRound
    terms: Terms
    candidate: SignedCandidate

    @property
    def commitment(self) -> bytes:
        """What must be in the ledger."""
        return self.manifest.commitment.digest


class Trial:
    """One opened target with an account of its own."""

    def __init__(self, bench: Bench) -> None:
        """Open it."""
        self.bench = bench
        self.section = bench.section()
        self.target: Anchoring = bench.open(self.section)
        self.last: Reservation | None = None
        """The last one that was seen included: an aggregator reserves anew only then."""
        self.texts: list[str] = [repr(self.target)]
        """Whatever was shown to somebody; the end of each test looks for secrets in it."""

    def manifest(self, leaves: int = 1) -> Manifest:
        """Compose a round of fresh roots."""
        request = RoundRequest(
            namespace="dao:vaultmesh", cadence="fast", slot="1", required_depth=self.bench.DEPTH
        )
        owed = [
            OwedLeaf(
                namespace="dao:vaultmesh",
                batch_id=f"176130{number:04}",
                root=MerkleRoot(secrets.token_bytes(32)),
                requests=(request,),
            )
            for number in range(leaves)
        ]
        return compose(self.bench.TARGET, owed, "auto", lambda: secrets.token_bytes(32))

    async def reserve(self, manifest: Manifest) -> tuple[Reservation, Terms]:
        """Reserve, and remember nothing."""
        stored = self.last.sequence if self.last is not None else None
        reserved = await self.target.reserve(
            manifest.commitment.digest,
            manifest.label,
            last=self.last,
            highest_stored=lambda _: stored,
        )
        self.texts.append(repr(reserved))
        return reserved

    async def sign(self, leaves: int = 1) -> Round:
        """Reserve and sign."""
        manifest = self.manifest(leaves)
        reservation, terms = await self.reserve(manifest)
        candidate = await self.target.sign(reservation, terms, 0)
        watched = WatchedRound(
            round_id=manifest.round_id,
            commitment=manifest.commitment.receipt_form,
            label=manifest.label,
            reservation=reservation,
            tx_refs=[candidate.tx_ref],
            signed_at=datetime.now(UTC),
            depths=manifest.required_depths,
        )
        return Round(manifest, watched, terms, candidate)

    async def broadcast(self, signed: Round) -> Verdict:
        """Send the bytes."""
        done = await self.target.broadcast(signed.watched.reservation, signed.candidate)
        self.texts.append(repr(done))
        return done.verdict

    async def anchor(self, leaves: int = 1) -> Round:
        """Reserve, sign and broadcast."""
        signed = await self.sign(leaves)
        assert await self.broadcast(signed) is Verdict.ACCEPTED
        return signed

    async def look(self, signed: Round, depths: list[int] | None = None) -> RoundView:
        """Look once, with other required depths if given."""
        watched = signed.watched
        if depths is not None:
            watched = watched.model_copy(update={"depths": depths})
        (view,) = await self.target.look([watched])
        self.texts.append(repr(view))
        if view.state is RoundState.INCLUDED:
            self.last = watched.reservation
        return view

    async def until_final(self, signed: Round) -> list[RoundView]:
        """Let the ledger advance block by block; return every look, the last one final."""
        views: list[RoundView] = []
        for _ in range(MOST_BLOCKS):
            self.bench.advance()
            views.append(await self.look(signed))
            if views[-1].final:
                return views
        raise AssertionError(f"not final after {MOST_BLOCKS} blocks: {views[-1]}")

    async def final(self, leaves: int = 1) -> tuple[Round, RoundView]:
        """Anchor a round and wait until it is final."""
        signed = await self.anchor(leaves)
        view = (await self.until_final(signed))[-1]
        assert view.state is RoundState.INCLUDED
        return signed, view

    async def evidence(self, signed: Round, view: RoundView) -> Evidence:
        """Return what the round's receipts carry."""
        return await self.target.evidence(signed.watched, view, signed.candidate.raw)

    async def receipt(self, signed: Round, view: RoundView) -> AnchorReceipt:
        """Return the receipt of the round's first leaf."""
        manifest = signed.manifest
        leaf = manifest.leaves[0]
        order = Record(
            target=self.bench.TARGET,
            round_id=manifest.round_id,
            state=RecordState.INCLUDED,
            revision=1,
            view=view,
        )
        entry = Entry(manifest, 0, leaf.leaf, leaf.requests[0])
        found = await self.evidence(signed, view)
        return anchor_receipt(entry, order, view, found, now=datetime.now(UTC), revision=1)


def claim_of(receipt: AnchorReceipt) -> Claim:
    """Return what a receipt claims."""
    return Claim(
        commitment=receipt.proven_commitment().digest,
        tx_ref=receipt.tx_ref,
        block_number=receipt.block_number,
        anchor_ts=receipt.anchor_ts,
        required_depth=receipt.finality.required_depth,
        evidence=receipt.scheme_evidence,
    )
