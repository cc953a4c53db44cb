"""Defines everything that travels between workflows and activities, apart from the aggregator's own activities.

Every message is a frozen pydantic model; fields are only ever added, with defaults, and never renamed or reused,
because old histories must replay. The aggregator's steps are in `vaultmesh.domain.aggregator.messages`.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vaultmesh.domain.failures import WEIGHT, FailureKind
from vaultmesh.domain.instants import is_tellable
from vaultmesh.domain.status import SlotOutcome
from vaultmesh.domain.target import Target

GOLDEN_RATIO = 1.618033988749895
MOST_BATCH_IDS_SHOWN = 100
"""Batch ids that an outcome carries into history; the receipts hold them all."""


class Wire(BaseModel):
    """Base of every message."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class AnchorRequest(Wire):
    """One due cadence that says "I am due"; identified by namespace, cadence and slot (X1)."""

    namespace: str
    cadence: str
    slot: str
    """Unix seconds of the due instant; `r<unix>` for the one at registration, `f<unix>` for a forced one."""
    required_depth: int = 0
    failures: int = 0
    """Consecutive reported failures of this cadence before this request was sent."""
    batches: str = ""
    """Folder of the namespace's batches below the root; empty for the default one."""
    root_id: str = ""
    """Marker of the root that the asking worker sees."""

    @property
    def id(self) -> str:
        """Request id, also the id of the `anchor` activity that waits for it."""
        return f"{self.namespace}/{self.cadence}/{self.slot}"

    @property
    def due(self) -> str:
        """The slot for people: `due 2026-01-15 10:00:00 UTC`, or `forced` or `registered` and the instant."""
        kind = {"f": "forced", "r": "registered"}.get(self.slot[:1], "due")
        try:
            instant = datetime.fromtimestamp(int(self.slot.lstrip("fr")), UTC)
        except (ValueError, OverflowError, OSError):
            return f"slot {self.slot}"
        return f"{kind} {instant:%Y-%m-%d %H:%M:%S} UTC"

    @property
    def is_forced(self) -> bool:
        """Whether an operator asked for it while nothing was in flight."""
        return self.slot.startswith("f")


class Backoff(Wire):
    """The golden backoff, fixed when a workflow is configured.

    Delay after the k-th consecutive failure = base · φ^min(k, cap) · weight(kind):
    8.1, 13.1, 21.2, 34.3, 55.5, 89.7, 145.2 s for base 5 s, cap 7 and weight 1.
    """

    base_seconds: float = 5.0
    cap: int = 7

    def delay(self, failures: int, kind: FailureKind) -> timedelta:
        """Return the wait after the `failures`-th consecutive failure (1 or more) of `kind`."""
        factor = GOLDEN_RATIO ** min(max(failures, 1), self.cap) * WEIGHT[kind]
        return timedelta(seconds=self.base_seconds) * factor


class AnchorAsk(Wire):
    """Input of `anchor`, `ask_again` and `withdraw`: a request and where it goes."""

    target: Target
    request: AnchorRequest
    backoff: Backoff = Backoff()
    continue_after_events: int = 4_000
    asked_before: bool = False
    """Whether an earlier call of `anchor` had this request: then receipts may answer it."""
    outcomes: dict[SlotOutcome, int] = Field(default_factory=dict)
    """How the cadence's slots ended so far: the worker that runs `anchor` shows it in its metrics."""
    moved: bool = False
    """Whether the cadence has another target by now: what is taken back does not wait for a signed round either."""


class OutcomeStatus(StrEnum):
    """How a request ended."""

    ANCHORED = "anchored"
    """Everything it owed is in the ledger, and the receipts say so."""
    NOTHING_OWED = "nothing_owed"
    """Nothing was owed when it was looked at, and no receipt exists either."""
    WITHDRAWN = "withdrawn"
    """It was taken back before its batches were in a round."""


class AnchorOutcome(Wire):
    """Result of `anchor`: what the receipts say."""

    status: OutcomeStatus
    batch_ids: list[str] = Field(default_factory=list)
    """At most `MOST_BATCH_IDS_SHOWN` of them."""
    batch_count: int = 0
    tx_ref: str = ""
    block: int = 0
    at: datetime | None = None
    """Time of the block or token, in UTC."""
    finality: str = "observed"

    @field_validator("at")
    @classmethod
    def _tellable(cls, at: datetime | None) -> datetime | None:
        """Refuse an instant that has no form in UTC: somebody completed the activity by hand."""
        if at is not None and not is_tellable(at):
            message = f"year {at.year} is out of range"
            raise ValueError(message)
        return at


class FailureNote(Wire):
    """Signal to a namespace: its request failed for the `failures`-th time in a row."""

    cadence: str
    slot: str
    failures: int
    kind: FailureKind
    message: str
    at: datetime
    next_retry: datetime


class ReportFailure(Wire):
    """Input of `report_failure`: tells the namespaces that wait; `failures` of each request is the new count."""

    target: Target
    requests: list[AnchorRequest]
    kind: FailureKind
    message: str
    backoff: Backoff = Backoff()


class Answer(Wire):
    """Input of `answer`: end these requests with what the receipts say, or as withdrawn."""

    target: Target
    requests: list[AnchorRequest]
    withdrawn: bool = False


class Nothing(Wire):
    """Result of an activity that has none."""
