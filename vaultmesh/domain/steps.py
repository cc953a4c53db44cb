"""The place where the inputs and results of the pen's steps are defined: seal, reserve, sign, broadcast, observe, record.

1. What a target decides about a reservation or a fee is opaque here (`Terms`): only the target's module reads it.
2. Every step names the rounds and candidates its caller knows. A step that finds others in the storage does nothing
   and answers `stale`; the caller then runs `recover` (a reset run cannot tell otherwise that it was reset).
"""

from datetime import datetime
from enum import StrEnum

from pydantic import Field, JsonValue

from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorRequest, BackoffSettings, Wire
from vaultmesh.domain.target import Target

Terms = dict[str, JsonValue]
"""What one target's module decided, as a JSON object; read by that module only."""


class PenSettings(Wire):
    """Settings of a target that the pen's workflow needs; read from the configuration at the start of each round."""

    window_seconds: float = 0.25
    window_max_seconds: float = 10.0
    max_leaves: int = 1_000


class KnownRound(Wire):
    """A round its caller knows to be open."""

    round_id: str
    candidates: int = 0
    """How many candidates of it the caller knows, over all its reservations."""
    recorded: bool = False
    """Whether its receipts have been written at least once."""


class Seal(Wire):
    """Input of `seal`."""

    target: Target
    requests: list[AnchorRequest]
    rounds: list[KnownRound] = Field(default_factory=list)
    reseal: list[str] = Field(default_factory=list)
    """Rounds that are lost for good, whose leaves are owed again."""


class SealedRound(Wire):
    """A manifest that exists now."""

    round_id: str
    commitment: str
    """32 bytes, `0x` and hex."""
    label: str
    """What the ledger's entry is labelled with: the first leaf's batch id, or the round id of a tree."""
    leaves: int
    required_depths: list[int]
    """The distinct required depths of its requests, ascending."""
    candidates: int = 0
    """Candidates that lie beside the manifest already: those of a reservation that was lost."""


class RoundRequests(Wire):
    """Requests, as positions in the input of `seal`, that a round answers."""

    round_id: str
    requests: list[int]


class Refusal(Wire):
    """A request, as a position in the input of `seal`, that owes only what can't be anchored."""

    request: int
    reason: str


class Sealed(Wire):
    """Result of `seal`."""

    stale: bool = False
    round: SealedRound | None = None
    requests: list[int] = Field(default_factory=list)
    """Positions of the requests that the new round answers, wholly or in part."""
    partial: list[int] = Field(default_factory=list)
    """Those of them, or of the riders, that owe more than fits: they stay in the queue."""
    riders: list[RoundRequests] = Field(default_factory=list)
    """Requests whose batches are in an open round that is not recorded yet, or in a closed one whose receipt is gone."""
    covered: list[int] = Field(default_factory=list)
    """Requests that owe nothing any more."""
    refused: list[Refusal] = Field(default_factory=list)
    resealed: list[str] = Field(default_factory=list)
    """Lost rounds all of whose leaves are in the new round or in another open one."""
    settings: PenSettings = PenSettings()


class Reservation(Wire):
    """The one consumable thing that makes a round's transaction unique on its ledger (X2)."""

    account: str
    """Address, wallet or authority that pays; recorded so that a changed key is noticed."""
    sequence: int | None = None
    """Place in the account's order, where the ledger has one (a nonce)."""
    fields: Terms
    """Everything but the fee that the signature will cover."""


class Reserve(Wire):
    """Input of `reserve`."""

    target: Target
    round_id: str
    commitment: str
    label: str
    rounds: list[KnownRound]
    last: Reservation | None = None
    """The highest reservation ever made on this target, from our own record."""


class Reserved(Wire):
    """Result of `reserve`: everything the signature will cover, in history before anything is signed."""

    stale: bool = False
    reservation: Reservation | None = None
    terms: Terms = Field(default_factory=dict)


class Sign(Wire):
    """Input of `sign`; the same input gives the same bytes."""

    target: Target
    round_id: str
    n: int
    reservation: Reservation
    terms: Terms


class SignedCandidate(Wire):
    """One signed version of a round's transaction."""

    n: int
    tx_ref: str
    raw: str
    """The signed bytes, in the ledger's usual text form."""
    terms: Terms = Field(default_factory=dict)


class Signed(Wire):
    """Result of `sign`."""

    stale: bool = False
    candidate: SignedCandidate | None = None


class Broadcast(Wire):
    """Input of `broadcast`."""

    target: Target
    round_id: str
    reservation: Reservation
    candidate: SignedCandidate


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


class Bump(Wire):
    """Input of `bump`: decide a higher bid on the same reservation."""

    target: Target
    round_id: str
    reservation: Reservation
    highest: Terms
    """Terms of the highest-paying candidate that is stored."""


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


class Observe(Wire):
    """Input of `observe`."""

    target: Target
    rounds: list[WatchedRound]


class Observed(Wire):
    """Result of `observe`: only rounds whose view differs from what the input says, in its order."""

    views: list[RoundView] = Field(default_factory=list)


class RecordState(StrEnum):
    """What the receipts of a round are to say."""

    INCLUDED = "included"
    REORGED = "reorged"
    LOST = "lost"
    """Closes the round; its receipts stay as they are."""
    CLOSED = "closed"
    """The round was closed earlier; its receipts are written again from the storage and the ledger."""


class Record(Wire):
    """Input of `record`."""

    target: Target
    round_id: str
    state: RecordState
    revision: int
    view: RoundView | None = None
    reservation: Reservation | None = None
    candidates: int = 0
    """How many candidates the round had when this was decided."""
    waiting: list[AnchorRequest] = Field(default_factory=list)
    """Requests to be answered once the receipts are written."""
    riders: list[AnchorRequest] = Field(default_factory=list)
    """Requests that the manifest does not name, whose receipts are written all the same."""
    backoff: BackoffSettings = BackoffSettings()


class Recorded(Wire):
    """Result of `record`."""

    receipts: int = 0
    newer: bool = False
    """A receipt with a higher revision exists: this caller is behind and MUST recover."""


class Recover(Wire):
    """Input of `recover`."""

    target: Target


class RecoveredRound(Wire):
    """An open round that the storage knows: what the pen needs to go on with it."""

    sealed: SealedRound
    reservation: Reservation
    candidates: list[SignedCandidate]
    """Those of the newest reservation, oldest first."""
    riders: list[AnchorRequest] = Field(default_factory=list)
    """Requests that have receipts from this round without being named in its manifest."""


class Recovered(Wire):
    """Result of `recover`."""

    rounds: list[RecoveredRound] = Field(default_factory=list)
    """In order of reservation."""
    last: Reservation | None = None
    revision: int = 0
    settings: PenSettings = PenSettings()
    problems: list[str] = Field(default_factory=list)


class Hold(Wire):
    """Why a pen rests, and when it looks again."""

    kind: FailureKind
    message: str
    since: datetime
    next_look: datetime
