"""Keeps a namespace's schedule: what is due, in flight, paused, and how each slot ended.

1. Each due slot ends in exactly one outcome (S4); requests at registration (`r…`) and forced ones (`f…`) are not slots.
2. Slots missed while nothing ran, or while the cadence's previous request is unanswered, are coalesced.
3. The schedule is workflow state: it reads no clock and does no I/O; `now` is always an argument.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from vaultmesh.domain.errors import LONGEST_MESSAGE
from vaultmesh.domain.freshness import is_worth_telling, stale_at
from vaultmesh.domain.messages import (
    AnchorOutcome,
    AnchorRequest,
    FailureNote,
    OutcomeStatus,
    Wire,
)
from vaultmesh.domain.namespaces.cadence import last_slot, next_slot, slots_due
from vaultmesh.domain.namespaces.state import (
    CadenceConfig,
    CadenceState,
    Configuration,
    Decided,
    InFlight,
    NamespaceInput,
    ScheduleState,
)
from vaultmesh.domain.status import (
    ChangeView,
    FailureView,
    LastAnchorView,
    PausedView,
    RejectedView,
    SlotOutcome,
)

SHORTEST_ANCHOR_TIMEOUT = timedelta(seconds=15)
"""A worker that is only slow is not taken for a dead one."""


class Due(Wire):
    """What a cadence's wake-up found."""

    slots: int
    """Due slots that were not dealt with yet."""
    last: datetime
    """The last of them."""


class NamespaceSchedule:
    """The schedule of one namespace, with every rule about slots."""

    def __init__(self, start: NamespaceInput, now: datetime) -> None:
        """Begin empty, or as carried over."""
        self.configuration = start.configuration
        self.state = start.carried.model_copy(deep=True) if start.carried else ScheduleState()
        self._imported = start.imported
        decided = start.decided.beside(start.configuration)
        if decided.overridden:
            update = {"cadences": decided.cadences}
            self.configuration = start.configuration.model_copy(update=update)
            self.state.overridden = list(decided.overridden)
            self.state.last_change = decided.last_change
        if start.is_past_unknown:
            self.state.unknown_since = now
        self._adopt(now)
        for label, paused in decided.paused.items():
            self.cadence(label).paused = paused

    def _adopt(self, now: datetime) -> None:
        """Remember every cadence; drop removed ones once nothing of theirs is in flight."""
        self.periods = self.configuration.periods()
        self.phases = self.configuration.phases()
        for label in self.configuration.cadences:
            if label not in self.state.cadences:
                cadence = CadenceState(served=now, fresh_at=now)
                if (at := self._imported.get(label)) is not None:
                    cadence.last_anchor = LastAnchorView(
                        slot="", at=at, anchored_at=at, finality="imported"
                    )
                self.state.cadences[label] = cadence
        self.drop_removed()

    def drop_removed(self) -> None:
        """Forget cadences that are configured no more and have nothing in flight."""
        for label in list(self.state.cadences):
            if (
                label not in self.configuration.cadences
                and self.state.cadences[label].in_flight is None
            ):
                del self.state.cadences[label]

    @property
    def decided(self) -> Decided:
        """What operators decided that holds now."""
        paused = {
            label: cadence.paused
            for label, cadence in self.state.cadences.items()
            if cadence.paused is not None and label in self.configuration.cadences
        }
        if not self.state.overridden:
            return Decided(paused=paused)
        return Decided(
            paused=paused,
            cadences=self.configuration.cadences,
            overridden=self.state.overridden,
            last_change=self.state.last_change,
            config_hash=self.configuration.config_hash,
        )

    def cadence(self, label: str) -> CadenceState:
        """Return what is remembered of one cadence."""
        return self.state.cadences[label]

    # --- configuration -----------------------------------------------------------------------------------------

    def configure(self, configuration: Configuration, now: datetime) -> tuple[bool, list[str]]:
        """Apply a file's configuration; returns whether anything changed, and whose `set_cadence` it undid.

        A file with the content that was applied last changes nothing, also if `set_cadence` came after it; nor does
        what the configuration does not state.
        """
        configuration = configuration.over(self.configuration)
        same_file = bool(configuration.config_hash) and (
            configuration.config_hash == self.configuration.config_hash
        )
        if same_file:
            configuration = configuration.model_copy(
                update={"cadences": self.configuration.cadences}
            )
        if configuration == self.configuration:
            return False, []
        undone = [] if same_file else list(self.state.overridden)
        if not same_file:
            self.state.overridden = []
        self._switch(configuration, now)
        return True, undone

    def set_cadences(
        self,
        cadences: dict[str, CadenceConfig],
        now: datetime,
        memo: str = "",
        ignored: Sequence[str] = (),
    ) -> list[str]:
        """Apply a governance change, and remember its memo; returns the cadences that changed."""
        before = self.configuration.cadences
        changed = [label for label in cadences if cadences[label] != before.get(label)]
        self.state.overridden = sorted({*self.state.overridden, *changed})
        self.state.last_change = ChangeView(
            at=now, cadences=changed, memo=memo, ignored=list(ignored)
        )
        self._switch(self.configuration.model_copy(update={"cadences": cadences}), now)
        return changed

    def _switch(self, configuration: Configuration, now: datetime) -> None:
        periods, phases = self.periods, self.phases
        self.configuration = configuration
        self._adopt(now)
        for label, cadence in self.state.cadences.items():
            changed = (self.periods.get(label), self.phases.get(label)) != (
                periods.get(label),
                phases.get(label),
            )
            if changed and label in periods:
                cadence.served = cadence.fresh_at = now

    # --- slots -------------------------------------------------------------------------------------------------

    def next_due(self, label: str) -> datetime:
        """Return the first slot that was not dealt with yet."""
        return next_slot(self.cadence(label).served, self.periods[label], phase=self.phases[label])

    def take_due(self, label: str, now: datetime) -> Due:
        """Deal with every slot up to now: all but the last are coalesced, unless paused or in flight.

        Returns the slots whose outcome is still open: one, or none.
        """
        cadence, period, phase = self.cadence(label), self.periods[label], self.phases[label]
        slots = slots_due(cadence.served, now, period, phase=phase)
        last = last_slot(now, period, phase=phase)
        if slots:
            cadence.served = last
        if cadence.paused is not None:
            cadence.count(SlotOutcome.PAUSED, slots)
        elif cadence.in_flight is not None:
            cadence.count(SlotOutcome.COALESCED, slots)
        elif slots:
            cadence.count(SlotOutcome.COALESCED, slots - 1)
            return Due(slots=1, last=last)
        return Due(slots=0, last=last)

    def begin(self, label: str, slot: str, now: datetime, *, is_slot: bool) -> InFlight:
        """Open a request."""
        config, cadence = self.configuration.cadences[label], self.cadence(label)
        cadence.in_flight = InFlight(
            request=AnchorRequest(
                namespace=self.configuration.namespace,
                cadence=label,
                slot=slot,
                required_depth=config.required_depth,
                failures=cadence.failures,
                batches=self.configuration.batches,
            ),
            target=config.target,
            since=now,
            is_slot=is_slot,
        )
        return cadence.in_flight

    def anchor_timeout(self, label: str) -> timedelta:
        """Return the start-to-close of one attempt of a cadence's `anchor`.

        It is the cadence's period, so that a killed worker costs one slot at most; at least `SHORTEST_ANCHOR_TIMEOUT`,
        and never more than `anchor_timeout_seconds`, which also holds for a cadence that is configured no more.
        """
        longest = timedelta(seconds=self.configuration.anchor_timeout_seconds)
        return min(longest, max(SHORTEST_ANCHOR_TIMEOUT, self.periods.get(label, longest)))

    def note_failure(self, note: FailureNote) -> bool:
        """Remember a reported failure of the request in flight; returns whether it was that request's."""
        cadence = self.state.cadences.get(note.cadence)
        if (
            cadence is None
            or cadence.in_flight is None
            or cadence.in_flight.request.slot != note.slot
        ):
            return False
        cadence.failures = max(note.failures, cadence.failures)
        flight = cadence.in_flight
        flight.request = flight.request.model_copy(update={"failures": cadence.failures})
        flight.last_failure = FailureView(kind=note.kind, message=note.message[:LONGEST_MESSAGE])
        flight.next_retry = note.next_retry
        return True

    def moved(self) -> list[str]:
        """Return the cadences whose request in flight waits for a target that is theirs no more."""
        flights = {label: self.cadence(label).in_flight for label in self.configuration.cadences}
        return [
            label
            for label, flight in flights.items()
            if flight is not None and flight.target != self.configuration.cadences[label].target
        ]

    def force(self, label: str) -> bool:
        """Let a forced request follow the one in flight if that ends without an anchor; false if none is in flight."""
        flight = self.cadence(label).in_flight
        if flight is not None:
            flight.is_forced = True
        return flight is not None

    def forced_slot(self, label: str, now: datetime) -> str:
        """Return the name of a forced request, which no other of the cadence has."""
        cadence = self.cadence(label)
        cadence.forced = max(int(now.timestamp()), cadence.forced + 1)
        return f"f{cadence.forced}"

    def finish(self, label: str, outcome: AnchorOutcome, now: datetime) -> bool:
        """Close the request in flight and give its slot its outcome; returns whether another request is to follow at once.

        A slot whose cadence was paused while it was looked at, and that owed nothing, ends as paused: nobody can tell
        what it would have found a moment later. One that was taken back since its cadence moved to another target is
        coalesced: a request to that one follows, and covers what it owed.
        """
        has_moved = label in self.moved()
        cadence = self.cadence(label)
        flight, cadence.in_flight = cadence.in_flight, None
        if flight is None:
            return False
        if flight.is_slot:
            is_paused = cadence.paused is not None
            cadence.count(_slot_outcome(outcome.status, is_paused=is_paused, has_moved=has_moved))
        if outcome.status is not OutcomeStatus.WITHDRAWN:
            cadence.failures = 0
            self._ended_well(label, flight, outcome)
        if outcome.status is OutcomeStatus.ANCHORED:
            cadence.learn(_anchor(flight, outcome, now))
        if has_moved and outcome.status is OutcomeStatus.WITHDRAWN:
            return cadence.paused is None
        return flight.is_forced and outcome.status is not OutcomeStatus.ANCHORED

    def _ended_well(self, label: str, flight: InFlight, outcome: AnchorOutcome) -> None:
        """Note that all is well since a request began, or since the block of its anchor.

        It goes by no clock at its end: an answer that changes nothing else may be handled at another instant in a replay,
        and whether it is told would then differ.
        """
        cadence, period = self.cadence(label), self.periods.get(label)
        if period is None:
            return  # configured no more
        is_anchored = outcome.status is OutcomeStatus.ANCHORED or cadence.fresh_at is None
        at = max(flight.since, outcome.at or flight.since)
        if is_anchored or is_worth_telling(cadence.fresh_at or at, period, at):
            cadence.fresh_at = at

    def stale_at(self, label: str) -> datetime | None:
        """Return from when on a cadence is stale if nothing ends well before; None while it is paused or drains."""
        cadence = self.cadence(label)
        if cadence.paused is not None or cadence.fresh_at is None or self.state.stopping:
            return None
        return stale_at(cadence.fresh_at, self.periods[label])

    # --- operators ---------------------------------------------------------------------------------------------

    def pause(self, label: str, reason: str, now: datetime) -> None:
        """Let no new slot of a cadence start; what was forced before is forced no more."""
        cadence, self.state.unknown_since = self.cadence(label), None
        cadence.paused = PausedView(reason=reason, since=now)
        if cadence.in_flight is not None:
            cadence.in_flight.is_forced = False

    def resume(self, label: str, now: datetime) -> None:
        """Let slots start again."""
        cadence, self.state.unknown_since = self.cadence(label), None
        if cadence.paused is not None:
            cadence.paused, cadence.fresh_at = None, now

    def stop(self) -> bool:
        """Let nothing start any more; false if it was stopped before."""
        was_stopping, self.state.stopping = self.state.stopping, True
        return not was_stopping

    def reject(self, name: str, reason: str, now: datetime) -> None:
        """Remember the last message that was refused."""
        self.state.last_rejected = RejectedView(
            name=name[:100], at=now, reason=reason[:LONGEST_MESSAGE]
        )


def _anchor(flight: InFlight, outcome: AnchorOutcome, now: datetime) -> LastAnchorView:
    return LastAnchorView(
        slot=flight.request.slot,
        target=str(flight.target),
        batch_ids=outcome.batch_ids,
        batch_count=outcome.batch_count,
        tx_ref=outcome.tx_ref,
        block=outcome.block,
        at=outcome.at,
        anchored_at=now,
        finality=outcome.finality,
    )


def _slot_outcome(status: OutcomeStatus, *, is_paused: bool, has_moved: bool) -> SlotOutcome:
    match status:
        case OutcomeStatus.ANCHORED:
            return SlotOutcome.ANCHORED
        case OutcomeStatus.WITHDRAWN:
            moved = has_moved and not is_paused
            return SlotOutcome.COALESCED if moved else SlotOutcome.PAUSED
        case OutcomeStatus.NOTHING_OWED:
            return SlotOutcome.PAUSED if is_paused else SlotOutcome.NOTHING_NEW
