"""Defines the inputs and results of an aggregator's activities: seal, reserve, sign, broadcast, observe, record.

Every step names the rounds and candidates its caller knows. A step that finds others in the storage does nothing
and answers `stale`; the caller then runs `recover` (a reset run cannot tell otherwise that it was reset).
"""

from enum import StrEnum

from pydantic import Field

from vaultmesh.domain.aggregator.decisions import Decision
from vaultmesh.domain.aggregator.ledger_messages import (
    AggregatorSettings,
    Reservation,
    RoundView,
    SignedCandidate,
    Terms,
    WatchedRound,
)
from vaultmesh.domain.messages import AnchorRequest, Backoff, Wire
from vaultmesh.domain.roots import ReceiptRoot
from vaultmesh.domain.target import Target


class KnownRound(Wire):
    """A round its caller knows to be open."""

    round_id: str
    candidates: int = 0
    """How many candidates of it the caller knows, over all its reservations."""
    recorded: bool = False
    """Whether its receipts have been written at least once."""
    lost: bool = False
    """Whether the caller knows it to be lost."""


class Seal(Wire):
    """Input of `seal`."""

    target: Target
    requests: list[AnchorRequest]
    rounds: list[KnownRound] = Field(default_factory=list)
    reseal: list[str] = Field(default_factory=list)
    """Rounds that are lost for good, whose leaves are owed again."""
    ended: list[KnownRound] = Field(default_factory=list)
    """The newest final rounds that the caller knows: where they are gone, the storage is an older copy."""
    number: int = 0
    """The highest number of a round that the caller knows to be signed."""


class SealedRound(Wire):
    """A manifest that exists now."""

    round_id: str
    commitment: ReceiptRoot
    label: str
    """What the ledger's entry is labelled with: the first leaf's batch id, or the round id of a tree."""
    leaves: int
    required_depths: list[int]
    """The distinct required depths of its requests, ascending."""
    candidates: int = 0
    """Candidates that lie beside the manifest already: those of a reservation that was lost."""
    number: int = 0
    """Its number among the signed rounds of the target; 0 if it was never signed."""

    def with_number(self, number: int) -> "SealedRound":
        """Return it with the number that its files have: one that no file has would be a round that is gone."""
        return self.model_copy(update={"number": number})


class RoundRequests(Wire):
    """Ids of the requests that a round answers."""

    round_id: str
    requests: list[str]


class Refusal(Wire):
    """A request, by its id, that owes only what can't be anchored."""

    request: str
    reason: str


class Sealed(Wire):
    """Result of `seal`."""

    stale: bool = False
    round: SealedRound | None = None
    requests: list[str] = Field(default_factory=list)
    """Ids of the requests that the new round answers, wholly or in part."""
    partial: list[str] = Field(default_factory=list)
    """Those of them, or of the late joiners, that owe more than fits: they stay in the queue."""
    late_joiners: list[RoundRequests] = Field(default_factory=list)
    """Requests whose batches are in an open round that is not recorded yet, or in a closed one whose receipt is gone."""
    rebuild: RoundRequests | None = None
    """A closed round with receipts that are gone, and the requests that miss some though another round answers them."""
    covered: list[str] = Field(default_factory=list)
    """Requests that owe nothing any more."""
    refused: list[Refusal] = Field(default_factory=list)
    resealed: list[str] = Field(default_factory=list)
    """Lost rounds all of whose leaves are in the new round or in another open one."""
    settings: AggregatorSettings = AggregatorSettings()
    problems: list[str] = Field(default_factory=list)
    """Signed rounds that can't be read, a line each."""
    number: int = 0
    """The highest number of a signed round that is known here."""


class Reserve(Wire):
    """Input of `reserve`."""

    target: Target
    round_id: str
    commitment: ReceiptRoot
    label: str
    rounds: list[KnownRound]
    last: Reservation | None = None
    """The highest reservation ever made on this target, from our own record."""
    beyond: Reservation | None = None
    """The round beyond a gap, whose lowest free sequence is to be reserved."""


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
    number: int = 0
    """The round's number among the signed rounds of the target."""


class Signed(Wire):
    """Result of `sign`."""

    stale: bool = False
    candidate: SignedCandidate | None = None
    number: int = 0
    """The round's number, as its files say; 0 where a worker signed that did not number rounds yet."""


class Broadcast(Wire):
    """Input of `broadcast`."""

    target: Target
    round_id: str
    reservation: Reservation
    candidate: SignedCandidate
    number: int = 0
    """The round's number among the signed rounds of the target."""


class Bump(Wire):
    """Input of `bump`: decide a higher bid on the same reservation."""

    target: Target
    round_id: str
    reservation: Reservation
    highest: Terms
    """Terms of the highest-paying candidate that is stored."""


class Fill(Wire):
    """Input of `fill`: use up the free sequences below a round's reservation."""

    target: Target
    round_id: str
    reservation: Reservation
    tries: int = 0
    """Earlier orders for the same gap."""


class Filled(Wire):
    """Result of `fill`."""

    sent: list[str] = Field(default_factory=list)
    """The transactions that were sent."""


class Observe(Wire):
    """Input of `observe`."""

    target: Target
    rounds: list[WatchedRound]


class Observed(Wire):
    """Result of `observe`: only rounds whose view differs from what the input says, in its order."""

    views: list[RoundView] = Field(default_factory=list)
    reopened: list[str] = Field(default_factory=list)
    """Closed rounds whose block is no longer the ledger's: the caller MUST have `recover` open them again."""


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
    late_joiners: list[AnchorRequest] = Field(default_factory=list)
    """Requests that the manifest does not name, whose receipts are written all the same."""
    only_differing: bool = False
    """Whether a receipt that says the same stays as it is, with its lower revision: nothing else was ordered since."""
    tries: int = 0
    """Earlier orders for the same receipts that failed."""
    backoff: Backoff = Backoff()


class Recorded(Wire):
    """Result of `record`."""

    receipts: int = 0
    newer: bool = False
    """A receipt with a higher revision exists: this caller is behind and MUST recover."""
    reopened: list[str] = Field(default_factory=list)
    """Closed rounds that gave receipts which are not final yet: they are open again, and the caller MUST recover."""


class Resolve(Wire):
    """Input of `resolve`: an operator's decision about a round that evidence can't decide."""

    target: Target
    round_id: str
    decision: Decision
    tx_ref: str = ""
    """The transaction that is adopted."""
    by: str
    """Who decided."""
    notes: Terms = Field(default_factory=dict)
    """What looks at the round left, where the caller knows it."""
    number: int = 0
    """The highest number of a round that the caller knows to be signed."""


class Resolution(Wire):
    """Result of `resolve`."""

    path: str = ""
    """Where the decision lies; empty if it was made before."""
    lines: list[str] = Field(default_factory=list)
    """What was found, a line each."""


class RememberedRound(Wire):
    """A signed round that the caller of `recover` knows: its bytes may be on their way, whatever the storage has left."""

    round_id: str
    reservation: Reservation
    candidates: list[SignedCandidate]
    end: RoundView | None = None
    """Where it is final; None while it is open."""
    revision: int = 0
    """Of its end."""
    number: int = 0
    """Its number among the signed rounds of the target."""
    lost: bool = False
    """Whether it is lost, and other rounds hold its leaves."""

    @property
    def is_ended(self) -> bool:
        """Whether nothing is to be done about it any more."""
        return self.lost or self.end is not None


class Recover(Wire):
    """Input of `recover`."""

    target: Target
    reopened: list[str] = Field(default_factory=list)
    """Rounds that another worker may have opened again."""
    left: list[str] = Field(default_factory=list)
    """Closed rounds whose blocks left the chain: they are opened again here."""
    remembered: list[RememberedRound] = Field(default_factory=list)
    """Open rounds of the caller, and its newest final ones: what was signed of them and is gone is stored again."""
    number: int = 0
    """The highest number of a round that the caller knows to be signed."""


class RecoveredRound(Wire):
    """An open round that the storage knows: what the aggregator needs to go on with it."""

    sealed: SealedRound
    reservation: Reservation
    candidates: list[SignedCandidate]
    """Those of the newest reservation, oldest first."""
    late_joiners: list[AnchorRequest] = Field(default_factory=list)
    """Requests that have receipts from this round without being named in its manifest."""
    claimed_block: int | None = None
    """Highest block that a verified receipt of this round names; None if there is none, or the ledger has no blocks."""
    claimed_hash: str = ""
    """Its hash, as that receipt's evidence says."""
    claimed_tx: str = ""
    """The transaction that this evidence proves to be in the block; empty if it proves none by itself."""
    lost: bool = False
    """Whether an operator decided that it is lost: its leaves are owed again."""


class Recovered(Wire):
    """Result of `recover`."""

    rounds: list[RecoveredRound] = Field(default_factory=list)
    """In order of reservation."""
    unreadable: list[str] = Field(default_factory=list)
    """Open rounds that can't be read: a caller that knows them drives them on, and nothing is signed beside them."""
    last: Reservation | None = None
    revision: int = 0
    number: int = 0
    """The highest number of a signed round."""
    settings: AggregatorSettings = AggregatorSettings()
    problems: list[str] = Field(default_factory=list)
