"""Sends one HTTP request, such as one that has another service begin its work."""

import time

from pydantic import JsonValue

from vaultmesh.domain.maintenance.config import CallTask
from vaultmesh.domain.maintenance.plan import Step
from vaultmesh.postgres import http
from vaultmesh.postgres.connection import Sent, Session
from vaultmesh.postgres.work import Work, attempt


async def plan(session: Session, task: CallTask) -> list[Step]:
    """Return what is called."""
    del session
    subject = http.place(task.url.get_secret_value())
    return [Step(subject, reason=f"{task.method}; fails unless {task.expect}")]


async def run(work: Work, task: CallTask) -> None:
    """Call once: what may have been received is not repeated."""
    [step] = await plan(work.session, task)
    body: dict[str, JsonValue] | None = None if task.method == "GET" else task.body

    async def action() -> Sent:
        begin = time.monotonic()
        url = task.url.get_secret_value()
        await http.ask(
            task.method, url, body=body, expect=task.expect, within=task.timeout, run=work.order.run
        )
        return Sent((), -1, (), time.monotonic() - begin)

    await attempt(work, step, action)
