"""Judges what a cadence promises of each batch: final on its target within `deadline` of sealing.

1. A promise is kept once the batch's receipt is final, missed once the time is over, and at risk shortly before.
2. The cause of a promise that is at risk or missed is the first that applies, from what stops everything to what merely
   takes its time; each is said in words that name the mend's place.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from vaultmesh.domain.freshness import in_words

RISK_SHARE = 0.8
"""A batch that is not final after so much of its time is at risk."""


class Standing(StrEnum):
    """How a promise stands."""

    OPEN = "open"
    AT_RISK = "at_risk"
    MISSED = "missed"


class Cause(StrEnum):
    """Why a batch is not final: a label of metrics."""

    STORAGE = "storage"
    """Its files can't be read."""
    MISSING = "missing"
    """The namespace has no workflow."""
    FAILING = "failing"
    """A workflow fails and can't go on."""
    PAUSED = "paused"
    HELD = "held"
    """The target's aggregator waits for an operator, or for a fee below the cap."""
    ENDPOINT = "endpoint"
    """The ledger does not answer."""
    BACKING_OFF = "backing_off"
    """Requests fail for another reason."""
    CONFIRMATIONS = "confirmations"
    """It is in the ledger, and not deep enough."""
    INCLUSION = "inclusion"
    """It was signed, and no block holds it."""
    SLOT = "slot"
    """It waits for its cadence's next slot: the deadline is shorter than the period, or a worker does not keep up."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A batch that is not final on a target."""

    batch_id: str
    sealed_at: int
    """Unix seconds."""
    is_signed: bool = False
    """Whether a round under way holds it."""
    depth: int | None = None
    """Of its receipt, as it was written last; None without a receipt."""
    required_depth: int | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a namespace's cadence and its target, each empty where all is well."""

    storage: str = ""
    missing: bool = False
    failing: str = ""
    paused: str = ""
    held: str = ""
    endpoint: str = ""
    failures: int = 0


def standing(batch: Unfinished, deadline: timedelta, now: float) -> Standing:
    """Return how the promise of a batch that is not final stands; `now` in Unix seconds."""
    waited = now - batch.sealed_at
    if waited >= deadline.total_seconds():
        return Standing.MISSED
    return Standing.AT_RISK if waited >= RISK_SHARE * deadline.total_seconds() else Standing.OPEN


def cause(batch: Unfinished, situation: Situation) -> tuple[Cause, str]:
    """Return why a batch is not final: the label, and the same in words."""
    for label, words in (
        (Cause.STORAGE, situation.storage),
        (Cause.MISSING, "its namespace has no workflow" if situation.missing else ""),
        (Cause.FAILING, situation.failing),
        (Cause.HELD, situation.held and f"its target is held: {situation.held}"),
        (Cause.PAUSED, situation.paused and f"paused: {situation.paused}"),
        (
            Cause.ENDPOINT,
            situation.endpoint and f"the ledger does not answer: {situation.endpoint}",
        ),
    ):
        if words:
            return label, words
    if batch.depth is not None:
        return Cause.CONFIRMATIONS, f"waiting for depth, {batch.depth} of {batch.required_depth}"
    if situation.failures:
        return Cause.BACKING_OFF, f"the request failed {situation.failures} times in a row"
    if batch.is_signed:
        return Cause.INCLUSION, "signed, and in no block yet"
    return Cause.SLOT, "waiting for its cadence's slot"


def outcome(
    sealed_at: datetime, deadline: timedelta, final_at: datetime | None, now: datetime
) -> str:
    """Say what came of the promise of one batch, as of an instant."""
    waited = (final_at or now) - sealed_at
    if final_at is not None:
        return f"{'kept' if waited <= deadline else 'missed'}, final after {in_words(waited)}"
    if waited <= deadline:
        return f"open, {in_words(deadline - waited)} left"
    return f"missed {in_words(waited - deadline)} ago, and not final"


def told(batch: Unfinished, deadline: timedelta, now: float) -> str:
    """Say what was promised and what came of it, for a log line."""
    late = timedelta(seconds=now - batch.sealed_at) - deadline
    when = f"{in_words(late)} over" if late >= timedelta(0) else f"{in_words(-late)} left"
    return f"to be final within {in_words(deadline)} of sealing; {when}"
