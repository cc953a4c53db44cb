"""Defines the state that operators see: the `status` query, the memo and `starter.py status --json`."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.freshness import Status, cadence_status, overdue
from vaultmesh.domain.instants import write_seconds

BACKING_OFF_ABOVE = 3
"""Health calls a namespace `backing_off` above this many consecutive failures; `status` from the first on."""


def _aware(value: object) -> object:
    return (
        value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
    )


Instant = Annotated[
    datetime, BeforeValidator(_aware), PlainSerializer(write_seconds, when_used="json")
]


class View(BaseModel):
    """Base of what is shown."""

    model_config = ConfigDict(extra="ignore")


class NamespaceState(StrEnum):
    """State of a namespace as a whole."""

    RUNNING = "running"
    PAUSED = "paused"
    """Every cadence is paused."""
    BACKING_OFF = "backing_off"
    """A cadence has failures."""
    MISSING = "missing"
    """Configured, but no workflow runs."""
    FAILING = "failing"
    """Its workflow task fails: it can't go on, and `cause` says why."""
    STOPPED = "stopped"
    """Unregistered, although the file still names it."""
    DRAINING = "draining"
    """Unregistered: it starts nothing more, and ends once what is in flight is done."""
    STALE = "stale"
    """Of a cadence alone: nothing ended well for too long."""
    OVERDUE = "overdue"
    """Of a cadence: its slot was due a while ago, and nobody took it up. Of a namespace: its workflow waits for a worker."""
    SILENT = "silent"
    """It runs, but did not answer; nothing more is known."""


class TargetState(StrEnum):
    """State of a target's aggregator."""

    RUNNING = "running"
    PAUSED = "paused"
    """Starts no new round until it is resumed."""
    HELD = "held"
    """Starts no new round until what `held` says is mended."""
    FAILING = "failing"
    """Its workflow task fails: it can't go on, and `cause` says why."""
    MISSING = "missing"
    """No workflow runs: the first request starts it."""


class SlotOutcome(StrEnum):
    """The one outcome of each due slot (S4)."""

    ANCHORED = "anchored"
    NOTHING_NEW = "nothing_new"
    COALESCED = "coalesced"
    PAUSED = "paused"


class PausedView(View):
    """Why and since when a cadence is paused."""

    reason: str = ""
    since: Instant


class FailureView(View):
    """The last failure of a request in flight."""

    kind: FailureKind
    message: str


class InFlightView(View):
    """A request that is not answered yet."""

    slot: str
    since: Instant
    failures: int = 0
    last_failure: FailureView | None = None
    next_retry: Instant | None = None


class AwaitingView(View):
    """What an anchor is still to reach."""

    level: str
    """`final`, or `included` if it was lost."""
    since: Instant | None = None
    depth: int | None = None
    required_depth: int | None = None
    reason: str = ""
    """Why it is awaited although there is a receipt."""

    @property
    def text(self) -> str:
        """The same in words: `final, 2 of 6, since 2026-01-15T10:00:00Z`."""
        parts = [self.level]
        if self.depth is not None:
            parts.append(f"{self.depth} of {self.required_depth}")
        parts.append(
            f"since {write_seconds(self.since)}" if self.since else "since an unknown time"
        )
        return ", ".join([*parts, self.reason] if self.reason else parts)


class LastAnchorView(View):
    """The newest anchor of a cadence."""

    slot: str
    target: str = ""
    """Where it lies; empty for one that was imported."""
    batch_ids: list[str] = Field(default_factory=list)
    batch_count: int = 0
    tx_ref: str = ""
    block: int = 0
    at: Instant | None = None
    anchored_at: Instant | None = None
    """When the namespace learnt of it."""
    finality: str = "observed"
    depth: int | None = None
    """Filled in by readers from the receipts."""
    required_depth: int | None = None
    awaiting: AwaitingView | None = None
    """Filled in by readers too; None if nothing is awaited."""

    def is_behind(self, other: "LastAnchorView") -> bool:
        """Whether it lies before another one on the same target; times of blocks are no order, since miners set them."""
        if self.target != other.target:
            return False
        if self.block or other.block:
            return self.block < other.block
        return self.at is not None and other.at is not None and self.at < other.at


class CadenceView(View):
    """One cadence."""

    target: str
    every: str
    """Empty if nobody can say."""
    state: NamespaceState | None = None
    """None from workflows of earlier versions; readers fill it in."""
    next_due: Instant | None = None
    overdue_seconds: int | None = None
    """For how long `next_due` is past, if it is overdue. Filled in by readers."""
    stale_at: Instant | None = None
    """From when on it is stale if nothing ends well before; None while it is paused."""
    unanchored: int | None = None
    """Batches that are owed. Readers count them from files; None if that is not possible."""
    oldest_owed: Instant | None = None
    """When the oldest of them was sealed. Filled in by readers."""
    deadline_seconds: int | None = None
    """Each batch is promised to be final so long after it was sealed; None without a promise. Filled in by readers."""
    in_flight: InFlightView | None = None
    last_anchor: LastAnchorView | None = None
    outcomes: dict[SlotOutcome, int] = Field(default_factory=dict)
    problems: list[str] | None = None
    """Batches that can't be anchored and what else is wrong, one line each. Filled in by readers."""


_STATES = {
    Status.OK: NamespaceState.RUNNING,
    Status.BACKING_OFF: NamespaceState.BACKING_OFF,
    Status.STALE: NamespaceState.STALE,
    Status.PAUSED: NamespaceState.PAUSED,
}


def cadence_state(failures: int, *, paused: bool) -> NamespaceState:
    """Return the state of one cadence, as its workflow tells it without a clock."""
    if failures:
        return NamespaceState.BACKING_OFF
    return NamespaceState.PAUSED if paused else NamespaceState.RUNNING


def read_at(view: "NamespaceView", now: datetime) -> "NamespaceView":
    """Return the answer of a workflow as it reads at an instant: what is stale or overdue by then.

    Of one that drains nothing is due any more.
    """
    if view.state is NamespaceState.DRAINING:
        return view
    cadences = {}
    for label, cadence in view.cadences.items():
        failures = cadence.in_flight.failures if cadence.in_flight else 0
        status = cadence_status(
            backs_off=failures > 0,
            paused=label in view.paused,
            stale_from=cadence.stale_at,
            now=now,
        )
        late = overdue(cadence.next_due, now)
        state = _STATES[status]
        if late is not None and state in (NamespaceState.RUNNING, NamespaceState.STALE):
            state = NamespaceState.OVERDUE
        seconds = None if late is None else int(late.total_seconds())
        update = {"state": state, "overdue_seconds": seconds}
        cadences[label] = cadence.model_copy(update=update)
    return view.model_copy(update={"cadences": cadences})


def past_unknown(since: datetime) -> str:
    """Say that a namespace began anew, and what that may mean."""
    return (
        f"began anew at {write_seconds(since)}, and Temporal had kept nothing of its last run: whether it was paused, "
        "or changed by set_cadence, is not known; `pause` or `resume` it to say what holds"
    )


class RejectedView(View):
    """The last message that was refused."""

    name: str
    at: Instant
    reason: str


class ChangeView(View):
    """The newest change of cadences by `set_cadence`."""

    at: datetime
    cadences: list[str] = Field(default_factory=list)
    memo: str = ""
    ignored: list[str] = Field(default_factory=list)
    """Keys of the payload that mean nothing here."""


class NamespaceView(View):
    """One namespace: the answer of its workflow's `status` query."""

    namespace: str
    state: NamespaceState = NamespaceState.RUNNING
    cause: str = ""
    """Why it is failing, or does not run; empty otherwise."""
    waiting_since: Instant | None = None
    """Since when its workflow waits for a worker. Filled in by readers where it did not answer."""
    workflow_id: str = ""
    run_id: str = ""
    batches: str = ""
    """Folder of its batches below the root; empty for the default one."""
    paused: dict[str, PausedView] = Field(default_factory=dict)
    cadences: dict[str, CadenceView] = Field(default_factory=dict)
    last_rejected: RejectedView | None = None
    last_change: ChangeView | None = None
    config_hash: str = ""
    """Hash of the configuration that was applied last."""
    unknown_since: Instant | None = None
    """When it began anew without anybody knowing what operators had decided before; None once they decide again."""
    drift: str = ""
    """How it differs from namespaces.yaml; empty if it does not, or nobody can say. Filled in by readers."""


class RoundStatus(View):
    """One open round as an aggregator shows it."""

    round_id: str
    state: str
    account: str
    sequence: int | None = None
    candidates: int = 0
    tx_ref: str = ""
    block: int | None = None
    depth: int = 0
    final: bool = False
    recorded: bool = False
    leaves: int = 0
    since: Instant


class HoldView(View):
    """Why an aggregator rests."""

    kind: FailureKind
    message: str
    since: Instant
    next_look: Instant


class AggregatorView(View):
    """The answer of an aggregator's `status` query."""

    target: str
    run_id: str = ""
    paused: PausedView | None = None
    waiting: int = 0
    """Requests that are in no round."""
    rounds: list[RoundStatus] = Field(default_factory=list)
    held: HoldView | None = None
    failures: int = 0
    last_failure: FailureView | None = None
    last_sequence: int | None = None
    last_rejected: RejectedView | None = None
    revision: int = 0
    problems: list[str] = Field(default_factory=list)
    """Signed rounds that can't be read, and rounds whose receipts can't be written, a line each."""


class TargetView(AggregatorView):
    """One target as `status` shows it: what its aggregator answered, and what is wrong with it."""

    state: TargetState
    cause: str = ""
    """Why it is failing; empty otherwise."""
    problems: list[str] = Field(default_factory=list)
    """One line each."""


class NamespaceMemo(View):
    """What a namespace's memo carries for metrics and health: one visibility list shows it for all."""

    namespace: str
    batches: str = ""
    """Folder of its batches below the root; empty for the default one."""
    cadences: dict[str, "CadenceMemo"] = Field(default_factory=dict)
    paused: list[str] = Field(default_factory=list)
    config_hash: str = ""
    """Hash of the file's part that was applied last."""
    stopping: bool = False
    """Whether it was stopped, and drains."""
    unknown_since: Instant | None = None
    """When it began anew without anybody knowing what operators had decided before."""

    def differs_only_in_counts(self, other: "NamespaceMemo") -> bool:
        """Whether another memo says the same, apart from how many slots ended how."""
        return self.without_counts() == other.without_counts()

    def without_counts(self) -> "NamespaceMemo":
        """Return the memo without how many slots ended how."""
        uncounted = {
            label: cadence.model_copy(update={"outcomes": {}})
            for label, cadence in self.cadences.items()
        }
        return self.model_copy(update={"cadences": uncounted})


class CadenceMemo(View):
    """One cadence in the memo."""

    target: str
    failures: int = 0
    last_anchor: int | None = None
    """Unix seconds at which the last successful anchor was learnt of."""
    stale_at: int | None = None
    """Unix seconds from which on it is stale if nothing ends well before; None while it is paused."""
    outcomes: dict[SlotOutcome, int] = Field(default_factory=dict)


class TargetMemo(View):
    """What an aggregator's memo carries for health and metrics: why it starts no new round."""

    target: str
    paused: PausedView | None = None
    held: "HeldMemo | None" = None

    @property
    def rests(self) -> bool:
        """Whether it starts no new round."""
        return self.paused is not None or self.held is not None


class HeldMemo(View):
    """Why an aggregator is held, without what changes at each look."""

    kind: FailureKind
    message: str
    since: Instant
