"""Reads the audit, enters lines of what changes no job, and checks its chain."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import ValidationError
from sqlalchemy import select

from vaultmesh.domain.audit_chain import ChainCheck, Head, KeptHead
from vaultmesh.domain.deployment import DEPLOYMENTS
from vaultmesh.domain.jobs.records import AuditEntry, AuditLine, AuditReport
from vaultmesh.domain.jobs.refusals import StoreErrorKind
from vaultmesh.domain.names import aggregator_workflow_id, namespace_workflow_id
from vaultmesh.storage.job_tables import AUDIT, CHAIN, MARKS
from vaultmesh.storage.jobs import chain
from vaultmesh.storage.jobs.database import APPLICATION, Database
from vaultmesh.storage.jobs.rows import write_line

PRUNED_A_GO = 5_000
"""Lines of one transaction."""
FOLLOWED_A_GO = 2_000
"""Entries that are checked in one transaction."""
_NAMES = (namespace_workflow_id, aggregator_workflow_id, f"{DEPLOYMENTS}{{}}".format)
"""Under which names lines may be about what somebody asks for by its own."""


class Audit:
    """The audit in one database; every method blocks and may raise `StoreError`."""

    def __init__(self, database: Database) -> None:
        """Use a database whose tables are there."""
        self._database = database

    def entries(self, about: str | None, limit: int, offset: int) -> tuple[AuditEntry, ...]:
        """Return lines, newest first, with their entries in the chain."""
        columns = [AUDIT.c[key] for key in AuditLine.model_fields]
        numbers = AUDIT.c.id.label("line"), CHAIN.c.seq.label("entry"), CHAIN.c.hash
        lines = AUDIT.outerjoin(CHAIN, CHAIN.c.line == AUDIT.c.id)
        query = select(*columns, *numbers).select_from(lines)
        if about is not None:
            query = query.where(AUDIT.c.job_name.in_([about, *(make(about) for make in _NAMES)]))
        query = query.order_by(AUDIT.c.id.desc()).limit(limit).offset(offset)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        try:
            return tuple(AuditEntry.model_validate(dict(row)) for row in rows)
        except ValidationError as error:
            why = "a line of job_audit can't be read, so somebody changed it (see audit --verify)"
            raise self._database.failure(why, StoreErrorKind.SCHEMA) from error

    def note(self, line: AuditLine, key: str | None = None) -> bool:
        """Enter a line; tells whether it is new: one with a key is entered once."""
        return self.note_all([(line, key)]) > 0

    def note_all(self, lines: Sequence[tuple[AuditLine, str | None]]) -> int:
        """Enter lines, each with a key or without, in one transaction; returns how many are new."""
        with self._database.write() as connection:
            return sum([write_line(connection, line, key) for line, key in lines])

    def set_mark(self, name: str, at: datetime) -> None:
        """Note that what stands elsewhere was entered up to an instant."""
        values = self._database.insert(MARKS).values(name=name, at=at)
        with self._database.write() as connection:
            connection.execute(
                values.on_conflict_do_update(index_elements=["name"], set_={"at": at})
            )

    def mark(self, name: str) -> datetime | None:
        """Return up to when what stands elsewhere was entered; None if it never was."""
        with self._database.read() as connection:
            at: datetime | None = connection.execute(
                select(MARKS.c.at).where(MARKS.c.name == name)
            ).scalar()
        return at

    # --- the chain -------------------------------------------------------------------------------------------------

    def head(self) -> Head:
        """Return the end of the chain."""
        with self._database.read() as connection:
            return chain.head(connection)

    def holds(self, head: Head) -> bool:
        """Whether the chain has an entry as it was once; one that was pruned since counts as there."""
        with self._database.read() as connection:
            pruning = chain.last_pruning(connection)
            if pruning is not None and head.entry <= pruning.through.entry:
                return True
            return not head.entry or chain.hash_at(connection, head.entry) == head.hash

    def begin_check(self, heads: Sequence[KeptHead]) -> ChainCheck:
        """Return what follows the chain from its beginning."""
        with self._database.read() as connection:
            return ChainCheck.after(chain.last_pruning(connection), heads)

    def follow(self, check: ChainCheck) -> tuple[int, str]:
        """Check the next entries; returns how many there were, and what is wrong first."""
        with self._database.read() as connection:
            return chain.follow(connection, check, FOLLOWED_A_GO)

    def end_check(self, check: ChainCheck) -> AuditReport:
        """Return what came of a check that met nothing wrong on its way."""
        with self._database.read() as connection:
            problem = check.end() or chain.first_outsider(connection, check)
        return report_of(check, problem)

    def adopt(self, actor: str) -> int:
        """Chain the lines that stand outside; returns how many."""
        with self._database.write() as connection:
            return chain.adopt(connection, actor)

    def prune(self, before: datetime) -> int:
        """Delete old lines from the beginning of the chain; returns how many."""
        with self._database.write() as connection:
            return chain.prune(connection, APPLICATION, before, PRUNED_A_GO)


def report_of(check: ChainCheck, problem: str) -> AuditReport:
    """Return what a check came to."""
    return AuditReport(
        problem=problem, entries=check.entries, head=check.head, heads_agreed=check.agreed
    )
