"""Shows namespaces, and takes what operators order: pause, resume, force.

Orders are the updates that `starter.py pause`, `resume` and `force` send. Who ordered stands in the audit, in the reason
where the order has one, and in the log.
"""

import asyncio
import logging
import uuid
from collections.abc import Mapping

from pydantic import JsonValue

from vaultmesh.api.admin import batches
from vaultmesh.api.admin.anchoring import anchoring_of, not_there, shared, who
from vaultmesh.api.admin.pages import Page, Redirect, View, Visit, to
from vaultmesh.api.answers import Refused
from vaultmesh.api.runs import NOTE_WITHIN_SECONDS
from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.domain.names import FORCE_ANCHOR, PAUSE, RESUME, namespace_workflow_id
from vaultmesh.overview.anchoring import Unknown
from vaultmesh.process.anchor_workflows import NotRunning, OrderRefused
from vaultmesh.process.orders import order_line, update_key

LONGEST_REASON = 400
"""Characters: who ordered stands behind it, and a workflow keeps 500."""
_LOG = logging.getLogger(__name__)


async def namespaces(visit: Visit) -> View:
    """Show namespaces, by name."""
    start = visit.argument("start")
    part = visit.argument("part")
    answer = await anchoring_of(visit).namespaces(int(start) if _is_number(start) else 0, part)
    known = shared(answer.source, answer.overview.silence)
    return View("namespaces.html", "Namespaces", {**known, "answer": answer, "part": part})


async def namespace(visit: Visit) -> View:
    """Show one namespace."""
    try:
        answer = await anchoring_of(visit).namespace(visit.argument("name"))
    except Unknown as error:
        raise not_there(error) from error
    known = shared(answer.source, answer.overview.silence)
    rests = {target.target: target for target in answer.overview.targets}
    values = {**known, "answer": answer, "view": answer.view, "targets": rests}
    return View("namespace.html", answer.view.namespace, {**values, "longest": LONGEST_REASON})


async def pause(visit: Visit) -> Redirect:
    """Have a namespace, or one of its cadences, start no new anchors."""
    reason = visit.field("reason")[:LONGEST_REASON]
    by = f"by {who(visit)}"
    await _order(visit, PAUSE, f"{reason} ({by})" if reason else by)
    return _done(visit, "is paused")


async def resume(visit: Visit) -> Redirect:
    """Have a namespace, or one of its cadences, start anchors again."""
    await _order(visit, RESUME)
    return _done(visit, "goes on")


async def force(visit: Visit) -> Redirect:
    """Have whatever is owed anchored now."""
    await _order(visit, FORCE_ANCHOR, f"by {who(visit)}")
    return _done(visit, "anchors now whatever is owed")


async def _order(visit: Visit, verb: str, reason: str = "") -> None:
    name, cadence = visit.field("name"), visit.field("cadence")
    update = str(uuid.uuid4())
    try:
        await anchoring_of(visit).order(name, verb, cadence, reason, update)
    except (NotRunning, Unknown) as error:
        raise Refused(404, "Nothing was changed", str(error)) from error
    except OrderRefused as error:
        raise Refused(400, "Nothing was changed", str(error)) from error
    except DomainError as error:
        message = f"{error}. Look at the namespace again: what it heard, it may still do."
        raise Refused(503, "Nobody answered", message) from error
    details = {"namespace": name, "cadence": cadence, "order": verb, "by": who(visit)}
    _LOG.info("administrator's order taken", extra={**details, "reason": reason})
    await _note(visit, verb, update, {"cadence": cadence, "reason": reason})


async def _note(visit: Visit, verb: str, update: str, argument: Mapping[str, str]) -> None:
    """Enter who ordered. Where the store is down, the line comes from the history, and names this process instead."""
    workflow = namespace_workflow_id(visit.field("name"))
    said: dict[str, JsonValue] = {key: value for key, value in argument.items() if value}
    line = order_line(visit.now, who(visit), verb, workflow, {"argument": said})
    try:
        async with asyncio.timeout(NOTE_WITHIN_SECONDS):
            await visit.parts.store.note(line, update_key(workflow, update))
    except (StoreError, TimeoutError) as error:
        extra = {"audit": line.model_dump(mode="json"), "err": str(error)}
        _LOG.warning("audit line not stored", extra=extra)


def _done(visit: Visit, what: str) -> Redirect:
    """Lead back to the namespace, and say what was done."""
    name, cadence = visit.field("name"), visit.field("cadence")
    subject = f"Cadence {cadence} of {name}" if cadence else name
    return Redirect(to("namespace", name=name), f"{subject} {what}.")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(10**9))


PAGES = (
    Page("namespaces", namespaces, heading="Namespaces", of_anchoring=True),
    Page("namespace", namespace),
    Page("pause-namespace", pause, method="POST"),
    Page("resume-namespace", resume, method="POST"),
    Page("force-namespace", force, method="POST"),
    *batches.PAGES,
)
