"""Logs what holds a target and what frees it, when it is paused and resumed, and which rounds are opened again, once each."""

from collections.abc import Sequence

from vaultmesh.domain.aggregator.pace import Pace
from vaultmesh.domain.aggregator.rounds import OpenRounds
from vaultmesh.domain.log_events import LogEvent
from workflows.lines import Lines


class PaceLog:
    """Compares an aggregator's pace with what was logged of it; what an earlier run ended with was logged there."""

    def __init__(self, lines: Lines, rounds: OpenRounds, pace: Pace) -> None:
        """Take what is known at the start of a run as logged."""
        self._lines = lines
        self._rounds = rounds
        self._pace = pace
        self._blocked = pace.blocked
        self._paused = pace.paused
        self._held_round = lowest(rounds)

    def look(self) -> None:
        """Log what has changed."""
        blocked, before = self._pace.blocked, self._blocked
        self._blocked = blocked
        if blocked is None and before is not None:
            self._lines.log_event(LogEvent.FREED, round=self._held_round)
        elif blocked is not None and (before is None or before.kind is not blocked.kind):
            self._held_round = lowest(self._rounds)
            about = {"kind": blocked.kind.value, "err": blocked.message}
            self._lines.log_event(LogEvent.HELD, round=self._held_round, **about)
        paused, before_pause = self._pace.paused, self._paused
        self._paused = paused
        if paused is None and before_pause is not None:
            self._lines.log_event(LogEvent.RESUMED)
        elif paused is not None and paused != before_pause:
            self._lines.log_event(LogEvent.PAUSED, reason=paused.reason)


def lowest(rounds: OpenRounds) -> str:
    """Return the id of the lowest round that waits to be included; empty if none does."""
    return next((row.round_id for row in rounds.unincluded()), "")


def log_reopened(lines: Lines, rounds: OpenRounds, round_ids: Sequence[str]) -> None:
    """Log which closed rounds are opened again, unless somebody asked for that before."""
    for round_id in rounds.not_opened(round_ids):
        lines.log_event(LogEvent.REOPENED, round=round_id)
