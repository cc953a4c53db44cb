"""Makes requests, rounds and views of a target for the tests of its aggregator's state."""

from datetime import UTC, datetime

from vaultmesh.domain.aggregator.ledger_messages import (
    BlockRef,
    Reservation,
    RoundState,
    RoundView,
    SignedCandidate,
)
from vaultmesh.domain.aggregator.messages import SealedRound
from vaultmesh.domain.aggregator.open_round import OpenRound
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.target import Target

NOW = datetime(2026, 1, 15, 10, tzinfo=UTC)
TARGET = Target.parse("eip155:1")
ROUND = "ab" * 16


def request(number: int = 0, failures: int = 0) -> AnchorRequest:
    """Return a request by its number."""
    return AnchorRequest(namespace="dao:x", cadence="fast", slot=str(number), failures=failures)


def open_round(state: RoundState = RoundState.PENDING, **fields: object) -> OpenRound:
    """Return a round of two candidates that was sent, unless something else is said."""
    sealed = SealedRound(
        round_id=ROUND,
        commitment="0x" + "11" * 32,
        label="1",
        leaves=2,
        required_depths=[3],
        candidates=1,
    )
    round_ = OpenRound(
        sealed=sealed,
        reservation=Reservation(account="0xa", sequence=7, fields={}),
        candidates=[candidate(1), candidate(2)],
        since=NOW,
        signed_at=NOW,
        state=state,
        sent=True,
        open_depths=[3],
    )
    return round_.model_copy(update=fields)


def candidate(n: int) -> SignedCandidate:
    """Return a candidate by its number."""
    return SignedCandidate(n=n, tx_ref=f"0x{n}", raw="0x")


def numbered(sequence: int, **fields: object) -> OpenRound:
    """Return a round with its own id and place in the account's order."""
    row = open_round(**fields)  # type: ignore[arg-type]
    sealed = row.sealed.model_copy(update={"round_id": f"{sequence:032x}"})
    reservation = Reservation(account="0xa", sequence=sequence, fields={})
    return row.model_copy(update={"sealed": sealed, "reservation": reservation})


def in_block(state: RoundState = RoundState.INCLUDED) -> OpenRound:
    """Return a round that was seen in a block."""
    return open_round(state, view=included(depth=2))


def included(depth: int = 0, *, final: bool = False) -> RoundView:
    """Return a view of a round that is in a block."""
    block = BlockRef(number=79, hash="0xb", time=NOW)
    return seen(
        RoundState.INCLUDED, tx_ref="0x1", block=block, depth=depth, irrevocable=True, final=final
    )


def seen(state: RoundState, **fields: object) -> RoundView:
    """Return what a look says."""
    return RoundView.model_validate({"round_id": ROUND, "state": state, "height": 90, **fields})
