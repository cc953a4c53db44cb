"""Refreshes a materialized view, beside its readers where its indexes allow that; else it says why not."""

from vaultmesh.domain.maintenance.config import RefreshTask
from vaultmesh.domain.maintenance.outcomes import Outcome
from vaultmesh.domain.maintenance.plan import Step
from vaultmesh.postgres.catalog import missing, oid_of, place, relation_of
from vaultmesh.postgres.connection import Session
from vaultmesh.postgres.work import Work, carry_out_all

_VIEW = """
SELECT c.relispopulated, EXISTS (
  SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL)
FROM pg_class c WHERE c.oid = {oid}
"""


async def plan(session: Session, task: RefreshTask) -> list[Step]:
    """Return how the view is refreshed."""
    oid = await oid_of(session, task.view)
    if oid is None:
        return [Step(str(task.view), reason=missing(session, "view"), outcome=Outcome.FAILED)]
    view = await relation_of(session, oid)
    subject = str(view.name)
    if view.kind != "m":
        reason = f"is no materialized view - name one in {place(session, 'view')}"
        return [Step(subject, reason=reason, outcome=Outcome.FAILED)]
    [(is_populated, has_key)] = await session.rows(_VIEW.format(oid=oid))
    if is_populated and has_key:
        statement = f"REFRESH MATERIALIZED VIEW CONCURRENTLY {view.name.sql}"
        return [Step(subject, (statement,), "beside its readers", name=view.name)]
    why = (
        "it has no unique index on plain columns, so its readers wait - add one"
        if is_populated
        else "it was never populated, so this time its readers wait"
    )
    return [Step(subject, (f"REFRESH MATERIALIZED VIEW {view.name.sql}",), why, name=view.name)]


async def run(work: Work, task: RefreshTask) -> None:
    """Refresh the view."""
    await carry_out_all(work, await plan(work.session, task))
