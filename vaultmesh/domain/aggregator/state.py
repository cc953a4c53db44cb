"""Holds the state that a target's aggregator carries from run to run.

It is one state of three parts. The methods of a part alone write its fields; everybody else calls them, or reads.

1. `waiting`: the requests that are in no round. Only `workflows.aggregator.replies` holds it.
2. `rounds`: the open rounds, and what is known of the storage.
3. `pace`: when the aggregator may take its next step, and why not earlier.
"""

from datetime import datetime

from pydantic import BaseModel, Field

from vaultmesh.domain.aggregator.pace import Pace
from vaultmesh.domain.aggregator.rounds import OpenRounds
from vaultmesh.domain.aggregator.waiting import WaitingRequests
from vaultmesh.domain.messages import Backoff, Wire
from vaultmesh.domain.status import AggregatorView, PausedView, RejectedView
from vaultmesh.domain.target import Target

MOST_CARRIED_BYTES = 1_500_000
"""Of JSON: a server refuses 2 MB, and the refusal would end the workflow."""

_PUNCTUATION = 32
"""Quotes, commas and a number around what a request adds to the state."""


class AggregatorState(BaseModel):
    """What an aggregator carries into its next run."""

    waiting: WaitingRequests = Field(default_factory=WaitingRequests)
    rounds: OpenRounds = Field(default_factory=OpenRounds)
    pace: Pace = Field(default_factory=Pace)
    last_rejected: RejectedView | None = None

    def rejected(self, signal: str, reason: str, now: datetime) -> None:
        """Remember a signal that could not be read."""
        self.last_rejected = RejectedView(name=signal[:100], at=now, reason=reason[:500])

    def carried(self) -> "AggregatorState":
        """Return what the next run begins with: without the rounds when they are too many to carry.

        Requests that failed are left out first: they come back by themselves. That run recovers the rounds from the
        storage, as after the loss of a history. Requests that don't fit either come back too, with their failures.
        """
        waiting = self.waiting.model_copy(update={"away": {}})
        for state in (self, self.model_copy(update={"waiting": waiting})):
            if _bytes(state) <= MOST_CARRIED_BYTES:
                return state
        light = self._without_rounds()
        room = MOST_CARRIED_BYTES - _bytes(light)
        for request in (*self.waiting.queue.values(), *self.rounds.waiting()):
            counted = self.waiting.counted(request)
            names = 2 if counted.failures else 1
            room -= _bytes(counted) + names * len(request.id.encode()) + _PUNCTUATION
            if room < 0 or not light.waiting.carry(counted):
                break
        return light

    def _without_rounds(self) -> "AggregatorState":
        """Return a state that knows neither rounds nor requests, and recovers before anything else."""
        rounds = self.rounds.model_copy(update={"open": [], "recovered": False})
        waiting = WaitingRequests(withdrawn=self.waiting.withdrawn)
        return self.model_copy(update={"rounds": rounds, "waiting": waiting}).model_copy(deep=True)

    def view(self, target: Target, run_id: str) -> AggregatorView:
        """Return what `status` shows."""
        rounds, pace = self.rounds, self.pace
        return AggregatorView(
            target=str(target),
            run_id=run_id,
            paused=pace.paused,
            waiting=len(self.waiting.queue),
            rounds=[row.status() for row in rounds.open],
            held=pace.blocked,
            failures=pace.failures,
            last_failure=pace.last_failure,
            last_sequence=rounds.last.sequence if rounds.last else None,
            last_rejected=self.last_rejected,
            revision=rounds.revision,
            problems=[*rounds.problems, *(row.problem for row in rounds.open if row.problem)],
        )


def _bytes(part: BaseModel) -> int:
    return len(part.model_dump_json().encode())


class AggregatorInput(Wire):
    """Input of a target's workflow."""

    target: Target
    backoff: Backoff = Backoff()
    continue_after_events: int = 4_000
    carried: AggregatorState | None = None
    paused: PausedView | None = None
    """Why it was paused when its last run was ended, if it was; what is carried says it by itself."""

    def state(self) -> AggregatorState:
        """Return the state that a run begins with."""
        if self.carried is not None:
            return self.carried.model_copy(deep=True)
        return AggregatorState(pace=Pace(paused=self.paused))
