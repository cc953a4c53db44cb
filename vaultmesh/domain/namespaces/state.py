"""Defines how a namespace is configured, and what its workflow carries from run to run."""

from datetime import datetime, timedelta

from pydantic import BaseModel, Field

from vaultmesh.domain.errors import LONGEST_MESSAGE
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import (
    AnchorRequest,
    Backoff,
    FailureNote,
    Wire,
)
from vaultmesh.domain.namespaces.cadence import parse_duration, resolve_periods
from vaultmesh.domain.status import (
    ChangeView,
    FailureView,
    LastAnchorView,
    NamespaceView,
    PausedView,
    RejectedView,
    SlotOutcome,
)
from vaultmesh.domain.target import Target

KEEPABLE = frozenset({"backoff", "anchor_timeout_seconds", "continue_after_events"})
"""Fields of `Configuration` that come from the environment of whoever configures."""


class CadenceConfig(Wire):
    """One cadence, as the namespace is told it."""

    target: Target
    every: str
    """`<n>s|m|h|d|w` or `<n>*<other cadence>`."""
    phase: str = "0s"
    required_depth: int = 0


class Configuration(Wire):
    """Everything a namespace's workflow is told; workflow code reads no environment."""

    namespace: str
    cadences: dict[str, CadenceConfig]
    batches: str = ""
    """Folder of the namespace's batches below the root; empty for the default one."""
    backoff: Backoff = Backoff()
    anchor_timeout_seconds: float = Field(default=300.0, gt=0, le=86_400, allow_inf_nan=False)
    """Most that one attempt of `anchor` may take: after it the same request is sent again."""
    continue_after_events: int = Field(default=4_000, ge=5, le=40_000)
    schemes: list[str] = Field(default_factory=list)
    """Schemes that a target may have, for `set_cadence`; not checked if empty."""
    config_hash: str = ""
    """Hash of the file's part that this came from: unchanged content changes nothing."""
    keeps: list[str] = Field(default_factory=list)
    """Fields that whoever configures does not state: a running namespace keeps its own."""

    def over(self, running: "Configuration") -> "Configuration":
        """Return this with what it does not state as it is in a running namespace."""
        kept = {name: getattr(running, name) for name in self.keeps if name in KEEPABLE}
        return self.model_copy(update={**kept, "keeps": []})

    def periods(self) -> dict[str, timedelta]:
        """Return each cadence's period."""
        return resolve_periods({label: cadence.every for label, cadence in self.cadences.items()})

    def phases(self) -> dict[str, timedelta]:
        """Return each cadence's phase."""
        return {label: parse_duration(cadence.phase) for label, cadence in self.cadences.items()}


class InFlight(BaseModel):
    """A request that is not answered yet."""

    request: AnchorRequest
    target: Target
    since: datetime
    is_slot: bool
    """Whether it serves a due slot, whose outcome is still to be counted."""
    asked: bool = False
    """Whether `anchor` was called for it, by this run or an earlier one."""
    is_forced: bool = False
    """Whether `force_anchor` came meanwhile: if it ends without an anchor, a forced request follows."""
    last_failure: FailureView | None = None
    next_retry: datetime | None = None


class CadenceState(BaseModel):
    """What the namespace remembers of one cadence."""

    served: datetime
    """The last instant up to which slots have been dealt with."""
    in_flight: InFlight | None = None
    failures: int = 0
    last_anchor: LastAnchorView | None = None
    fresh_at: datetime | None = None
    """When all was well with it, as far as that was told: it began, was resumed, or a request ended well."""
    outcomes: dict[SlotOutcome, int] = Field(default_factory=dict)
    paused: PausedView | None = None
    registered: bool = False
    """Whether the anchor at registration has been asked for."""
    forced: int = 0
    """Instant of the newest forced request, in unix seconds; two of one second are a second apart."""

    def count(self, outcome: SlotOutcome, slots: int = 1) -> None:
        """Count the outcome of some slots."""
        if slots > 0:
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + slots

    def learn(self, anchor: LastAnchorView) -> None:
        """Remember an anchor unless a later one is known: answers may overtake each other."""
        if self.last_anchor is None or not anchor.is_behind(self.last_anchor):
            self.last_anchor = anchor


class Decided(Wire):
    """What operators decided about a namespace and its file does not say; a run that begins anew goes on with it."""

    paused: dict[str, PausedView] = Field(default_factory=dict)
    cadences: dict[str, CadenceConfig] = Field(default_factory=dict)
    """Every cadence as it ran, if `set_cadence` changed one since the file was applied; empty otherwise."""
    overridden: list[str] = Field(default_factory=list)
    """Cadences that `set_cadence` changed."""
    last_change: ChangeView | None = None
    """The newest `set_cadence`, if its change holds."""
    config_hash: str = ""
    """Hash of the file's part that `set_cadence` changed: with another one the file is the later change."""

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was decided."""
        return not self.paused and not self.overridden

    def lines(self) -> list[str]:
        """Return what holds, a line each."""
        reasons = {label: paused.reason for label, paused in self.paused.items()}
        pauses = [
            f"{label} stays paused{f' ({reason})' if reason else ''}"
            for label, reason in reasons.items()
        ]
        return [*pauses, *(f"{label} stays as set_cadence left it" for label in self.overridden)]

    def beside(self, configuration: Configuration) -> "Decided":
        """Return what of it still holds for a configuration."""
        paused = {
            label: paused
            for label, paused in self.paused.items()
            if label in configuration.cadences
        }
        is_same = bool(self.config_hash) and self.config_hash == configuration.config_hash
        if is_same and self.overridden:
            return self
        return Decided(paused=paused)


class ScheduleState(BaseModel):
    """What a namespace carries into its next run."""

    cadences: dict[str, CadenceState] = Field(default_factory=dict)
    last_rejected: RejectedView | None = None
    last_change: ChangeView | None = None
    overridden: list[str] = Field(default_factory=list)
    """Cadences that `set_cadence` changed since the file was applied."""
    stopping: bool = False
    """Whether it was stopped: it drains, and ends then."""
    unknown_since: datetime | None = None
    """When it began anew without anybody knowing what operators had decided before."""


class NamespaceInput(Wire):
    """Input of a namespace's workflow."""

    configuration: Configuration
    carried: ScheduleState | None = None
    imported: dict[str, datetime] = Field(default_factory=dict)
    """Last anchors that another scheduler left behind, by cadence."""
    decided: Decided = Decided()
    """What operators had decided when its last run was ended."""
    is_past_unknown: bool = False
    """Whether it ran before, and nobody knows what had been decided."""


class ConfigureAnswer(NamespaceView):
    """Answer of the update `configure`: the new state, and what changed."""

    change: str = "unchanged"
    """`updated` or `unchanged`."""
    undone: list[str] = Field(default_factory=list)
    """Cadences whose `set_cadence` the new file undid."""


def failure_note(
    request: AnchorRequest,
    failures: int,
    kind: FailureKind,
    message: str,
    *,
    at: datetime,
    delay: timedelta,
) -> FailureNote:
    """Return the signal that tells a namespace of a failure."""
    return FailureNote(
        cadence=request.cadence,
        slot=request.slot,
        failures=failures,
        kind=kind,
        message=message[:LONGEST_MESSAGE],
        at=at,
        next_retry=at + delay,
    )
