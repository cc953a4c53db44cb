"""Carries out the steps of a task one after another, and gives each its outcome.

1. What the server says decides: an error by its SQLSTATE, a command that succeeded with "skipping …" by that notice.
2. Locks, deadlocks and lost connections are tried again a few times; nothing else is.
3. One step's failure does not stop the next; a connection that can't be had again stops all.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

from vaultmesh.domain.errors import DomainError, in_one_line
from vaultmesh.domain.maintenance.figures import Figures
from vaultmesh.domain.maintenance.outcomes import Beat, Outcome, Reason, StepResult
from vaultmesh.domain.maintenance.plan import Step
from vaultmesh.postgres.connection import NoConnection, Notice, Order, Sent, Session
from vaultmesh.postgres.progress import Watcher

MOST_TRIES = 3
_AGAIN_SECONDS = 0.3
_BEAT_SECONDS = 2.0
_LONGEST_DETAIL = 300
_LOCK, _CANCELED, _READ_ONLY, _NO_RIGHT = "55P03", "57014", "25006", "42501"
_GONE = "42P01"
_PASSING = frozenset({"40001", "40P01", _LOCK})
_SHUTTING = frozenset({"57P01", "57P02", "57P03"})
_NEARLY = 0.9
"""Share of a time-out after which a statement that was ended was ended by it."""


class Stopped(Exception):
    """Nothing of the task can go on."""


@dataclass(slots=True)
class Work:
    """A run of a task: its connection, its results so far, and whom it tells."""

    session: Session
    beat: Beat
    results: list[StepResult] = field(default_factory=list)
    ends: float = math.inf
    """When its deadline is, on the clock of `time.monotonic`."""
    figures: Figures | None = None
    """What was seen of the database, for alerts."""

    @property
    def order(self) -> Order:
        """What the run was asked for."""
        return self.session.order

    def add(self, result: StepResult) -> StepResult:
        """Keep a result, and tell of it."""
        self.results.append(result)
        self.beat(f"{result.subject}: {result.outcome}")
        return result


Action = Callable[[], Awaitable[Sent]]


async def carry_out_all(work: Work, steps: Sequence[Step]) -> None:
    """Carry out steps in their order."""
    for step in steps:
        await carry_out(work, step)


async def carry_out(work: Work, step: Step) -> StepResult:
    """Send a step's statements, unless it is settled already, and keep its result.

    Raises:
        Stopped: the connection is gone and can't be had again.
    """
    if step.outcome is not None:
        return work.add(StepResult(subject=step.subject, outcome=step.outcome, detail=step.reason))

    async def send_all() -> Sent:
        sent: list[Sent] = [await work.session.send(statement) for statement in step.statements]
        return sent[-1]

    return await attempt(work, step, send_all)


async def attempt(work: Work, step: Step, action: Action) -> StepResult:
    """Do something until it succeeds or must not be tried again, and keep its result; raises as `carry_out` does."""
    begin = time.monotonic()
    try:
        result, stop = await tried(work, step, action)
    except asyncio.CancelledError:
        seconds = time.monotonic() - begin
        work.add(ended_early(step, seconds))
        raise
    work.add(result)
    if stop is not None:
        raise stop
    return result


def ended_early(step: Step, seconds: float, rows: int | None = None) -> StepResult:
    """Return the result of a step that was cancelled; at a task's deadline it becomes `timed out`."""
    return StepResult(
        subject=step.subject,
        outcome=Outcome.CANCELLED,
        statements=step.statements,
        seconds=seconds,
        rows=rows,
    )


async def tried(work: Work, step: Step, action: Action) -> tuple[StepResult, Stopped | None]:
    """Do something until it succeeds or must not be tried again; return how, and why nothing can go on after it."""
    begin = time.monotonic()
    result, stop = StepResult(subject=step.subject, outcome=Outcome.FAILED), None
    for number in range(1, MOST_TRIES + 1):
        since = time.monotonic()
        try:
            sent = await _while_beating(work, step.subject, action())
        except (psycopg.Error, DomainError) as error:
            result = result_of(step.subject, error, work, time.monotonic() - since)
            stop = await _reopened(work, step)
            if stop is None and number < MOST_TRIES and _is_passing(error):
                work.beat(f"{step.subject}: {result.detail}; tried again")
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
        else:
            result = _result_of_notices(step, sent)
        break
    more = {
        "statements": step.statements,
        "seconds": time.monotonic() - begin,
    }
    return result.model_copy(update=more), stop


def result_of(subject: str, error: Exception, work: Work, seconds: float) -> StepResult:
    """Return what an error means for a step that took so many seconds."""
    state = getattr(error, "sqlstate", None)
    outcome: Outcome = Outcome.FAILED
    reason: Reason | None = Reason.SQL
    detail = in_one_line(_words(error), _LONGEST_DETAIL)
    if state in (_NO_RIGHT, _READ_ONLY):
        outcome, reason = Outcome.DENIED, Reason.PERMISSION
    elif state == _LOCK:
        outcome, reason = Outcome.LOCKED, Reason.LOCK
    elif state == _CANCELED:
        limit = work.session.settings.statement_timeout.total_seconds()
        own = seconds >= _NEARLY * limit
        outcome = Outcome.TIMED_OUT if own else Outcome.CANCELLED
        reason = Reason.TIMEOUT
        detail = f"ended after statementTimeout, {limit:g}s" if own else detail
    elif work.session.is_broken or _is_lost(error):
        reason = Reason.CONNECTION
    elif state is None:
        reason = None
    return StepResult(
        subject=subject, outcome=outcome, detail=detail, reason=reason, sqlstate=state
    )


def skipped(notices: Sequence[Notice]) -> tuple[Outcome, str] | None:
    """Return how a command ended that succeeded without doing what it was for; None if it did it.

    Messages may be in any language: what counts is SQLSTATE, and which function of the server speaks.
    """
    for notice in notices:
        message = in_one_line(notice.message, _LONGEST_DETAIL)
        if notice.severity not in ("WARNING", "NOTICE", "INFO"):
            continue
        if notice.sqlstate == _LOCK:
            return Outcome.LOCKED, message
        if notice.sqlstate == _GONE:
            return Outcome.NOT_NEEDED, message
        if notice.sqlstate == _NO_RIGHT or notice.function.startswith("vacuum_is_"):
            return Outcome.DENIED, message
        if "skipping" in message:
            return Outcome.DENIED if "owner" in message else Outcome.FAILED, message
    return None


def _result_of_notices(step: Step, sent: Sent) -> StepResult:
    passed_over = skipped(sent.notices)
    if passed_over is None:
        rows = sent.count if sent.count >= 0 else None
        detail = f"{sent.words}; {step.reason}" if sent.words else step.reason
        return StepResult(subject=step.subject, outcome=Outcome.DONE, detail=detail, rows=rows)
    outcome, message = passed_over
    reasons = {
        Outcome.LOCKED: Reason.LOCK,
        Outcome.DENIED: Reason.PERMISSION,
        Outcome.FAILED: Reason.SQL,
    }
    return StepResult(
        subject=step.subject, outcome=outcome, detail=message, reason=reasons.get(outcome)
    )


def _words(error: Exception) -> str:
    diagnostic = getattr(error, "diag", None)
    message = (diagnostic.message_primary if diagnostic is not None else None) or str(error)
    hint = diagnostic.message_hint if diagnostic is not None else None
    return f"{message} ({hint})" if hint else message


def _is_lost(error: Exception) -> bool:
    state = getattr(error, "sqlstate", None) or ""
    lost = isinstance(error, NoConnection) or state in _SHUTTING or state.startswith("08")
    return lost or (isinstance(error, psycopg.OperationalError) and not state)


def _is_passing(error: Exception) -> bool:
    return getattr(error, "sqlstate", None) in _PASSING or _is_lost(error)


async def _reopened(work: Work, step: Step) -> Stopped | None:
    """Connect again if the connection broke, and lock again; return why that can't be done."""
    if not work.session.is_broken:
        return None
    try:
        await work.session.open()
        if await work.session.lock():
            return None
        why = "the lock of this task was taken while the connection was lost"
    except (DomainError, psycopg.Error) as error:
        why = in_one_line(str(error), _LONGEST_DETAIL)
    return Stopped(f"after {step.subject}: {why}")


async def _while_beating(work: Work, subject: str, action: Awaitable[Sent]) -> Sent:
    """Wait for something, and tell every few seconds that it goes on."""
    begin = time.monotonic()
    watcher = Watcher(work.session)

    async def tell() -> None:
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            so_far = await watcher.look()
            waited = f"{subject}: for {time.monotonic() - begin:.0f} s"
            work.beat(f"{waited}, {so_far}" if so_far else waited)

    telling = asyncio.ensure_future(tell())
    try:
        return await action
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
        await watcher.close()
