"""Runs a maintenance task once, or says what a run would do; the same for an activity and for a command.

The task's lock is taken first: two runs of it never work beside each other, whoever began them. A task may be run again
after any end.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from vaultmesh.domain.errors import DomainError, in_one_line
from vaultmesh.domain.maintenance.config import WITHOUT_DATABASE, CheckTask, Kind, NamedTask, Task
from vaultmesh.domain.maintenance.figures import Figures, success_due
from vaultmesh.domain.maintenance.outcomes import (
    Beat,
    Outcome,
    Reason,
    StepResult,
    TaskResult,
    worst,
)
from vaultmesh.domain.maintenance.plan import Step
from vaultmesh.postgres import backup, call, check, refresh, reindex, retain, vacuum
from vaultmesh.postgres.connection import Database, NoConnection, Order, Refused, Session
from vaultmesh.postgres.work import Stopped, Work, result_of

_LONGEST_DETAIL = 300
_LOG = logging.getLogger(__name__)
_SUCCESSES = frozenset({Outcome.DONE, Outcome.NOT_NEEDED})
"""Outcomes after which the task's work is done: what was skipped is still to do."""


class Unforeseen(DomainError):
    """Something went wrong with a task that nobody foresaw."""


@dataclass(frozen=True, slots=True)
class _Doing:
    """How a kind plans, and how it runs."""

    plan: Callable[[Session, Any], Awaitable[list[Step]]]
    run: Callable[[Work, Any], Awaitable[None]]


_KINDS: Mapping[Kind, _Doing] = {
    Kind.VACUUM: _Doing(vacuum.plan, vacuum.run),
    Kind.RETAIN: _Doing(retain.plan, retain.run),
    Kind.REINDEX: _Doing(reindex.plan, reindex.run),
    Kind.REFRESH: _Doing(refresh.plan, refresh.run),
    Kind.CHECK: _Doing(check.plan, check.run),
    Kind.CALL: _Doing(call.plan, call.run),
    Kind.BACKUP: _Doing(backup.plan, backup.run),
}


async def plan_task(database: Database, named: NamedTask, order: Order) -> list[Step]:
    """Return the statements that a run would send now; nothing is changed, and no lock is taken.

    Raises:
        DomainError: the database can't be reached, or refuses us.
    """
    session = _session(database, named, order)
    try:
        async with asyncio.timeout(named.task.deadline.total_seconds()):
            if _needs_database(named.task):
                await session.open()
            return await _KINDS[named.task.kind].plan(session, named.task)
    except psycopg.Error as error:
        raise NoConnection(in_one_line(str(error), _LONGEST_DETAIL)) from error
    except TimeoutError as error:
        message = f"{named.name}: what to do was not known within its deadline - raise it"
        raise NoConnection(message) from error
    except DomainError:
        raise
    except Exception as error:
        raise Unforeseen(_words(error)) from error
    finally:
        await session.close()


@dataclass(slots=True)
class _Ending:
    """Why a run ended as a whole, where that is not the sum of its steps."""

    outcome: Outcome | None = None
    detail: str = ""
    reason: Reason | None = None
    is_setting: bool = False
    steps: list[StepResult] = field(default_factory=list)
    figures: Figures | None = None


async def run_task(database: Database, named: NamedTask, order: Order, beat: Beat) -> TaskResult:
    """Run a task once. Cancelled, it has the server end its statement, and returns what was done until then.

    Args:
        database: where.
        named: what.
        order: its id, the instant from which ages are counted, the folder of files.
        beat: told of progress every few seconds.
    """
    begin = time.monotonic()
    ending = _Ending()
    deadline = named.task.deadline.total_seconds()
    try:
        async with asyncio.timeout(deadline):
            await _run(database, named, order, beat, ending)
    except TimeoutError:
        ending.outcome, ending.reason = Outcome.TIMED_OUT, Reason.TIMEOUT
        ending.detail = f"ended at its deadline, {deadline:g}s"
        ending.steps = [_timed_out(step, ending.detail) for step in ending.steps]
    except asyncio.CancelledError:
        ending.outcome, ending.detail = Outcome.CANCELLED, "ended before its time"
    outcome = ending.outcome or worst(step.outcome for step in ending.steps)
    return TaskResult(
        task=named.name,
        kind=named.task.kind,
        run=order.run,
        outcome=outcome,
        detail=ending.detail,
        steps=tuple(ending.steps),
        seconds=round(time.monotonic() - begin, 3),
        reason=ending.reason or _reason(outcome, ending.steps),
        is_setting=ending.is_setting,
        figures=ending.figures,
        success_due=_success_due(named, order) if outcome in _SUCCESSES else None,
    )


async def _run(
    database: Database, named: NamedTask, order: Order, beat: Beat, ending: _Ending
) -> None:
    session = _session(database, named, order)
    work = Work(session, beat, ending.steps)
    work.ends = time.monotonic() + named.task.deadline.total_seconds()
    try:
        if _needs_database(named.task):
            await session.open()
            if not await session.lock():
                ending.outcome = Outcome.RUNNING
                ending.detail = "another run of this task is under way"
                return
        await _KINDS[named.task.kind].run(work, named.task)
    except Refused as error:
        ending.outcome, ending.detail, ending.reason = Outcome.FAILED, str(error), Reason.PERMISSION
        ending.is_setting = True
    except (NoConnection, Stopped) as error:
        ending.outcome, ending.detail, ending.reason = Outcome.FAILED, str(error), Reason.CONNECTION
    except psycopg.Error as error:
        result = result_of(named.name, error, work, 0.0)
        ending.outcome, ending.detail, ending.reason = result.outcome, result.detail, result.reason
    except DomainError as error:
        ending.outcome, ending.detail = Outcome.FAILED, in_one_line(str(error), _LONGEST_DETAIL)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one task stops no other
        _LOG.exception("maintenance task failed unforeseen", extra={"task": named.name})
        ending.outcome, ending.detail = Outcome.FAILED, _words(error)
    finally:
        ending.figures = work.figures
        await session.close()


def _words(error: Exception) -> str:
    why = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    return in_one_line(why, _LONGEST_DETAIL)


def _success_due(named: NamedTask, order: Order) -> datetime | None:
    return success_due(named.task.cron, named.task.deadline, order.now)


def _session(database: Database, named: NamedTask, order: Order) -> Session:
    reads = isinstance(named.task, CheckTask)
    return Session(database, named.name, named.task, order, read_only=reads)


def _needs_database(task: Task) -> bool:
    asks_url = isinstance(task, CheckTask) and task.url is not None
    return task.kind not in WITHOUT_DATABASE and not asks_url


def _timed_out(step: StepResult, why: str) -> StepResult:
    if step.outcome is not Outcome.CANCELLED:
        return step
    return step.model_copy(
        update={"outcome": Outcome.TIMED_OUT, "detail": why, "reason": Reason.TIMEOUT}
    )


def _reason(outcome: Outcome, steps: list[StepResult]) -> Reason | None:
    return next((step.reason for step in steps if step.outcome is outcome and step.reason), None)
