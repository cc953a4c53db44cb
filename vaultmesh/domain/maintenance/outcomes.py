"""Says how maintenance ends: for each statement or table, for a task, and for a process."""

from collections.abc import Callable, Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Outcome(StrEnum):
    """How the work on one table, or a whole task, ended."""

    DONE = "done"
    """The statement ran, and the server did not skip it."""
    NOT_NEEDED = "not needed"
    """Nothing was to do."""
    RUNNING = "skipped: running"
    """The same work is under way elsewhere."""
    LOCKED = "skipped: locked"
    """Somebody holds a lock that it needs."""
    DENIED = "denied"
    """The role may not do it."""
    TIMED_OUT = "timed out"
    """One of our own limits ended it."""
    CANCELLED = "cancelled"
    """Somebody ended it."""
    FAILED = "failed"
    """Anything else that went wrong."""


GOOD = frozenset({Outcome.DONE, Outcome.NOT_NEEDED, Outcome.RUNNING, Outcome.LOCKED})
"""Outcomes after which a process exits with 0."""
_BY_WEIGHT = (
    Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CANCELLED, Outcome.DENIED,
    Outcome.LOCKED, Outcome.RUNNING, Outcome.DONE, Outcome.NOT_NEEDED,
)  # fmt: skip
"""Of several outcomes the first in this order is the task's."""


class Reason(StrEnum):
    """Why something went wrong, for a metric's label."""

    LOCK = "lock"
    TIMEOUT = "timeout"
    PERMISSION = "permission"
    CONNECTION = "connection"
    SQL = "sql"


class StepResult(BaseModel):
    """What became of one table, index, file or question."""

    model_config = ConfigDict(frozen=True)

    subject: str
    """Its name, for people."""
    outcome: Outcome
    statements: tuple[str, ...] = ()
    """As they were sent, in this order."""
    detail: str = ""
    """One line: why, or what is left."""
    rows: int | None = None
    seconds: float = 0.0
    reason: Reason | None = None
    sqlstate: str | None = None


class TaskResult(BaseModel):
    """How a run of a task ended."""

    model_config = ConfigDict(frozen=True)

    task: str
    kind: str
    run: str
    outcome: Outcome
    detail: str = ""
    steps: tuple[StepResult, ...] = ()
    seconds: float = 0.0
    reason: Reason | None = None
    is_setting: bool = False
    """Whether another setting mends it, such as a user's password."""

    @property
    def is_good(self) -> bool:
        """Whether nothing has to be looked at."""
        return self.outcome in GOOD


Beat = Callable[[str], None]
"""Called with a line of progress, at least every few seconds; MUST NOT block."""


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the outcome of a task from those of its parts; of none, that nothing was to do."""
    return min(outcomes, key=_BY_WEIGHT.index, default=Outcome.NOT_NEEDED)
