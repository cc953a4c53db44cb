"""Asks a query for a number that has limits, or a URL for a status."""

import math
import time
from dataclasses import replace
from decimal import Decimal

from vaultmesh.domain.errors import DomainError, in_one_line
from vaultmesh.domain.maintenance.config import CheckTask
from vaultmesh.domain.maintenance.plan import Step
from vaultmesh.postgres import http
from vaultmesh.postgres.connection import Sent, Session
from vaultmesh.postgres.work import Work, attempt

_LONGEST_SUBJECT = 80


class Alarm(DomainError):
    """What was asked for is not as it has to be."""


async def plan(session: Session, task: CheckTask) -> list[Step]:
    """Return what is asked."""
    del session
    if task.query is not None:
        limits = [
            f"{word} {limit:g}"
            for word, limit in (("above", task.fail_above), ("below", task.fail_below))
            if limit is not None
        ]
        subject = in_one_line(task.query, _LONGEST_SUBJECT)
        return [Step(subject, (task.query,), f"fails {' or '.join(limits)}")]
    assert task.url is not None  # noqa: S101 - one of both is set
    subject = http.place(task.url.get_secret_value())
    seconds = task.within.total_seconds()
    return [Step(subject, reason=f"GET; fails unless {task.expect} within {seconds:g}s")]


async def run(work: Work, task: CheckTask) -> None:
    """Ask, and compare."""
    [step] = await plan(work.session, task)
    if task.query is None:
        await attempt(work, step, lambda: _ask_url(task))
    else:
        query = task.query
        await attempt(work, step, lambda: _ask(work.session, task, query))


async def _ask(session: Session, task: CheckTask, query: str) -> Sent:
    """Ask the database; its transactions only read, and a second statement in the query is refused."""
    sent = await session.send(query, alone=True)
    if len(sent.rows) > 1:
        message = f"the query returned {len(sent.rows):,} rows, of which nobody would look at all but the first - let it return one row with one number"
        raise Alarm(message)
    value = sent.rows[0][0] if sent.rows and sent.rows[0] else None
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if value is None or not is_number or math.isnan(value):  # NaN is neither above nor below
        message = "the query's first column is no number - let it return one row with one number"
        raise Alarm(message)
    if task.fail_above is not None and float(value) > task.fail_above:
        message = f"{value:,} is above {task.fail_above:g}"
        raise Alarm(message)
    if task.fail_below is not None and float(value) < task.fail_below:
        message = f"{value:,} is below {task.fail_below:g}"
        raise Alarm(message)
    return replace(sent, words=f"{value:,}")


async def _ask_url(task: CheckTask) -> Sent:
    assert task.url is not None  # noqa: S101 - one of both is set
    begin = time.monotonic()
    await http.ask("GET", task.url.get_secret_value(), expect=task.expect, within=task.within)
    seconds = time.monotonic() - begin
    return Sent((), -1, (), seconds, words=f"answered in {seconds:.3f}s")
