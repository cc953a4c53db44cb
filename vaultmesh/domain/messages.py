"""The place where everything that travels between workflows and activities is defined, apart from the pen's own steps.

Every message is a frozen pydantic model; fields are only ever added, with defaults, and never renamed or reused,
because old histories must replay. The pen's steps are in `vaultmesh.domain.steps`.
"""

from datetime import MAXYEAR, MINYEAR, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.status import SlotOutcome
from vaultmesh.domain.target import Target

MOST_BATCH_IDS_SHOWN = 100
"""Batch ids that an outcome carries into history; the receipts hold them all."""
LONGEST_MESSAGE = 500
"""Characters of a failure's message that are kept in workflow state."""


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


class BackoffSettings(Wire):
    """The golden ladder's settings, fixed when a workflow is configured."""

    base_seconds: float = 5.0
    cap: int = 7


class AnchorAsk(Wire):
    """Input of `anchor`, `ask_again` and `withdraw`: a request and where it goes."""

    target: Target
    request: AnchorRequest
    backoff: BackoffSettings = BackoffSettings()
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
        if at is not None and at.year in (MINYEAR, MAXYEAR):
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
    backoff: BackoffSettings = BackoffSettings()


class Answer(Wire):
    """Input of `answer`: end these requests with what the receipts say, or as withdrawn."""

    target: Target
    requests: list[AnchorRequest]
    withdrawn: bool = False


class Nothing(Wire):
    """Result of an activity that has none."""
