"""Holds the pace of an aggregator's own steps: how long it backs off, what blocks it, and who paused it."""

from datetime import datetime

from pydantic import BaseModel

from vaultmesh.domain.aggregator.ledger_messages import RoundView
from vaultmesh.domain.errors import LONGEST_MESSAGE
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import Backoff
from vaultmesh.domain.status import FailureView, HoldView, PausedView

LOSSES_THAT_PAUSE = 2
"""Rounds lost in a row by failed calls, or to somebody else's use of the account, after which an operator must resume."""


class Pace(BaseModel):
    """When the next own step may be taken, and why not earlier."""

    paused: PausedView | None = None
    blocked: HoldView | None = None
    """What an operator has to mend, or what only time decides; shown as `held`."""
    failures: int = 0
    """Failed steps in a row."""
    last_failure: FailureView | None = None
    not_before: datetime | None = None
    """Earliest instant of the next own step after a failure."""
    reverts: int = 0
    """Own calls that were reverted, in a row."""
    foreign_losses: int = 0
    """Rounds lost to somebody else's use of their reservations, in a row."""

    def is_backing_off(self, now: datetime) -> bool:
        """Whether the next own step has to wait."""
        return self.not_before is not None and self.not_before > now

    def pause(self, reason: str, now: datetime) -> None:
        """Seal no new round until an operator resumes."""
        self.paused = PausedView(reason=reason, since=now)

    def resume(self) -> None:
        """Seal rounds again."""
        self.paused = None

    def hurry(self) -> None:
        """Take the next step at once."""
        self.not_before = None

    def succeeded(self) -> None:
        """Leave the backoff."""
        self.failures = 0
        self.last_failure = None
        self.blocked = None
        self.not_before = None

    def failed(self, kind: FailureKind, message: str, backoff: Backoff, now: datetime) -> None:
        """Back off after a failed step; what an operator has to mend blocks the aggregator."""
        self.failures += 1
        self.last_failure = FailureView(kind=kind, message=message)
        self.not_before = now + backoff.delay(self.failures, kind)
        if kind in (FailureKind.AUTH, FailureKind.VALIDATION):
            self.block(kind, message, now)

    def block(self, kind: FailureKind, message: str, now: datetime) -> None:
        """Show why the aggregator can't go on, since it could not."""
        self.blocked = HoldView(
            kind=kind,
            message=message[:LONGEST_MESSAGE],
            since=self.blocked.since if self.blocked else now,
            next_look=self.not_before or now,
        )

    def unblock(self) -> None:
        """Show nothing any more: what was undecided is decided."""
        self.blocked = None

    def included(self) -> None:
        """Leave the backoff after a round was included; losses before it no longer count."""
        self.reverts = 0
        self.foreign_losses = 0
        self.succeeded()

    def lost(self, view: RoundView, now: datetime) -> None:
        """Count a lost round; after two in a row that were lost in one way, each further one would pay into the same."""
        self.unblock()
        if view.foreign:
            self.foreign_losses += 1
            self._pause_after(
                self.foreign_losses,
                FailureKind.AUTH,
                f"were lost to transactions that are none of ours: {view.message}; keep the key for this service alone",
                now,
            )
        else:
            self.reverts += 1
            self._pause_after(
                self.reverts,
                FailureKind.VALIDATION,
                f"were paid for and left no anchor: {view.message}; correct `contract` in anchors.yaml",
                now,
            )

    def _pause_after(self, losses: int, kind: FailureKind, words: str, now: datetime) -> None:
        if losses < LOSSES_THAT_PAUSE:
            return
        message = f"{losses} rounds in a row {words}, then resume the target"
        self.pause(message[:LONGEST_MESSAGE], now)
        self.block(kind, message, now)
