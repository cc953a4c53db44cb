"""Shows batches: what each ledger proves of one, and when what happened; gives receipts and proofs to keep."""

from vaultmesh.api.admin.anchoring import anchoring_of, not_there, shared
from vaultmesh.api.admin.axis import axis_of
from vaultmesh.api.admin.pages import Download, Page, View, Visit
from vaultmesh.api.answers import Refused
from vaultmesh.domain.paths import path_form
from vaultmesh.domain.target import Target
from vaultmesh.overview.anchoring import NamespaceAnswer, Unknown
from vaultmesh.overview.words import promises_of
from vaultmesh.verification.event_proof import NotProven

EVENTS_AT_ONCE = 100
_LONGEST_NUMBER = 9


async def batches(visit: Visit) -> View:
    """Show a namespace's batches, newest first."""
    answer = await _namespace(visit)
    page = await anchoring_of(visit).batches(answer.view, visit.argument("before"))
    known = shared(answer.source, answer.overview.silence)
    values = {**known, "view": answer.view, "page_of_batches": page}
    values["before"] = visit.argument("before")
    return View("batches.html", f"Batches of {answer.view.namespace}", values)


async def batch(visit: Visit) -> View:
    """Show one batch."""
    answer = await _namespace(visit)
    try:
        report = await anchoring_of(visit).batch(answer, visit.argument("id"))
    except Unknown as error:
        raise not_there(error) from error
    start = visit.argument("start")
    first = int(start) if start.isdecimal() and len(start) <= _LONGEST_NUMBER else 0
    events = report.batch.events if report.batch is not None else ()
    following = first + EVENTS_AT_ONCE
    values = {
        **shared(answer.source, answer.overview.silence),
        "view": answer.view,
        "report": report,
        "axis": axis_of(report, visit.now),
        "promises": promises_of(answer.view, report, visit.now),
        "events": list(enumerate(events))[first:following],
        "first": first,
        "following": following if following < len(events) else None,
    }
    return View("batch.html", f"Batch {report.batch_id}", values)


async def receipt(visit: Visit) -> Download:
    """Give an anchor receipt's file to keep."""
    namespace, batch_id = visit.argument("namespace"), visit.argument("id")
    target = visit.argument("target")
    try:
        content = await anchoring_of(visit).receipt(namespace, batch_id, target)
    except Unknown as error:
        raise not_there(error) from error
    parts = (path_form(batch_id)[:60], Target.parse(target).path, "receipt.json")
    return Download(".".join(parts), content)


async def proof(visit: Visit) -> Download:
    """Give the proof of an event to keep: one file, which anyone can check."""
    event_id = visit.argument("event")
    try:
        content = await anchoring_of(visit).proof(event_id)
    except NotProven as error:
        raise Refused(404, "There is no proof yet", str(error)) from error
    return Download(f"{path_form(event_id)[:100]}.proof.json", content.encode())


async def _namespace(visit: Visit) -> NamespaceAnswer:
    try:
        return await anchoring_of(visit).namespace(visit.argument("namespace"))
    except Unknown as error:
        raise not_there(error) from error


PAGES = (
    Page("batches", batches),
    Page("batch", batch),
    Page("receipt", receipt),
    Page("proof", proof),
)
