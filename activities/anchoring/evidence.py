"""Forms what a round's folder keeps of its signature and its end, whoever stores it: at first, or again."""

from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import JsonValue

from vaultmesh.domain.aggregator.ledger_messages import Reservation, RoundView, SignedCandidate
from vaultmesh.domain.rounds.manifest import Candidate, Closed, RoundOutcome


def candidate_of(
    signed: SignedCandidate, reservation: Mapping[str, JsonValue], number: int
) -> Candidate:
    """Return a candidate of a round of that number as it is stored."""
    document = {
        "n": signed.n,
        "reservation": reservation,
        "terms": signed.terms,
        "raw": signed.raw,
        "hash": signed.tx_ref,
        "number": number,
    }
    return Candidate.model_validate(document)


def end_of(
    outcome: RoundOutcome,
    view: RoundView | None,
    reservation: Reservation | None,
    *,
    revision: int,
    candidates: int = 0,
    number: int = 0,
) -> Closed:
    """Return a round's end as it is stored; `view` is where it is final."""
    block = view.block if view is not None else None
    return Closed(
        outcome=outcome,
        tx_ref=view.tx_ref if view is not None else "",
        block=block.number if block is not None else 0,
        block_hash=block.hash if block is not None else "",
        block_time=block.time if block is not None else None,
        revision=revision,
        sequence=reservation.sequence if reservation else None,
        account=reservation.account if reservation else "",
        candidates=candidates,
        closed_at=datetime.now(UTC),
        number=number,
    )
