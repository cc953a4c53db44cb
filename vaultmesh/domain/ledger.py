"""The place where it is defined what a target's module and a pen tell each other: reservations, candidates, looks.

What a target decides about a reservation or a fee is opaque to everybody else (`Terms`).
"""

from datetime import datetime
from enum import StrEnum

from pydantic import Field, JsonValue

from vaultmesh.domain.messages import Wire

Terms = dict[str, JsonValue]
"""What one target's module decided, as a JSON object; read by that module only."""


class PenSettings(Wire):
    """Settings of a target that the pen's workflow needs; read from the configuration at the start of each round."""

    window_seconds: float = 0.25
    window_max_seconds: float = 10.0
    max_leaves: int = 1_000
    gap_fill_seconds: float = 600.0


class Reservation(Wire):
    """The one consumable thing that makes a round's transaction unique on its ledger (X2)."""

    account: str
    """Address, wallet or authority that pays; recorded so that a changed key is noticed."""
    sequence: int | None = None
    """Place in the account's order, where the ledger has one (a nonce)."""
    fields: Terms
    """Everything but the fee that the signature will cover."""


class SignedCandidate(Wire):
    """One signed version of a round's transaction."""

    n: int
    tx_ref: str
    raw: str
    """The signed bytes, in the ledger's usual text form."""
    terms: Terms = Field(default_factory=dict)


class Verdict(StrEnum):
    """What the ledger said to a broadcast; an unknown outcome is an error, never a verdict (X4)."""

    ACCEPTED = "accepted"
    """In the pool, or known already."""
    CONSUMED = "consumed"
    """The reservation is used up: by one of our candidates or by somebody else; `observe` tells."""
    FEE_TOO_LOW = "fee_too_low"
    """Not taken at this price; a higher bid may be."""
    GAP = "gap"
    """An earlier reservation of ours is missing in the pool."""


class Broadcasted(Wire):
    """Result of `broadcast`."""

    verdict: Verdict
    message: str = ""


class Bumped(Wire):
    """Result of `bump`; no terms when the cap is reached."""

    terms: Terms | None = None
    message: str = ""


class BlockRef(Wire):
    """A block, or for an authority its token's place: number 0."""

    number: int
    hash: str
    time: datetime


class RoundState(StrEnum):
    """What a look at the ledger says of one round."""

    PENDING = "pending"
    """A candidate is in the pool."""
    MISSING = "missing"
    """No candidate is in the pool or in a block; the reservation is free: broadcast again."""
    STUCK = "stuck"
    """In the pool for so long that a higher bid is due."""
    INCLUDED = "included"
    """A candidate is in a canonical block and says what it must (E7)."""
    DISPLACED = "displaced"
    """The reservation was consumed without our commitment; that can still be undone."""
    LOST = "lost"
    """The same, and it can't be undone any more (X6)."""


class WatchedRound(Wire):
    """One open round, as its workflow knows it."""

    round_id: str
    commitment: str
    label: str
    reservation: Reservation
    tx_refs: list[str]
    """Every candidate of the current reservation, oldest first; any may win (X5)."""
    signed_at: datetime
    """When the newest candidate was signed."""
    first_seen_block: int | None = None
    """Height at which the newest candidate was first watched; what `STUCK` counts from."""
    state: RoundState = RoundState.PENDING
    tx_ref: str = ""
    block: BlockRef | None = None
    depths: list[int] = Field(default_factory=list)
    """Required depths that are not final yet, ascending."""
    stored: Terms = Field(default_factory=dict)
    """What a receipt of it carries of the ledger already; only told where evidence is collected."""
    claimed_block: int | None = None
    """Block that receipts say it is in, where its workflow has not seen it included yet."""
    claimed_hash: str = ""
    """Its hash; empty where no receipt tells."""
    claimed_tx: str = ""
    """The transaction that the receipt proves to be in that block; empty where it proves none."""
    notes: Terms = Field(default_factory=dict)
    """What the target's module found out at earlier looks and needs again, such as how far it has searched."""
    undecided: str = ""
    """Why nobody could tell what became of it, at the look before."""
    gap: int = 0
    """Free sequences below it, at the look before."""


class RoundView(Wire):
    """What one look at the ledger says of one round."""

    round_id: str
    state: RoundState
    tx_ref: str = ""
    block: BlockRef | None = None
    depth: int = 0
    """As VaultMesh's verifiers count it."""
    irrevocable: bool = False
    """Whether the target's finality rule, apart from depth, is met."""
    final: bool = False
    """Whether the rule and every required depth are met."""
    foreign: bool = False
    """A displaced or lost reservation: consumed by a transaction that is none of ours, not by our own reverted call."""
    height: int = 0
    """The ledger's height at this look."""
    message: str = ""
    undecided: str = ""
    """Why nobody can tell what became of it: it is held and named until evidence or an operator decides."""
    gap: int = 0
    """Sequences below it that are free and that no round of ours has: it can't be included before those are used."""
    left_block: bool = False
    """Whether another block is in the place of the one that it was included in, whatever became of it since."""
    notes: Terms | None = None
    """What the next look is told; None: what this one was told."""


def refutes(view: RoundView, claimed_block: int | None) -> bool:
    """Whether a look shows that a round is not in the block that receipts claim; one at a ledger that lags does not."""
    return (
        claimed_block is not None
        and view.state is not RoundState.INCLUDED
        and view.height >= claimed_block
    )
