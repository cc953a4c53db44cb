"""Enters lines in the audit, each with the next entry of its chain, in the transaction of what the line tells of.

1. One transaction at a time has the end of the chain: by an advisory lock of PostgreSQL, and by SQLite's one writer. Two entries
   of one number are refused by the table.
2. A line is hashed as the database gives it back, so that what it makes of a value can't look like a change.
3. A line with a key is entered once, whatever is repeated.
4. The lines of a database from before the chain are chained as they are when it is opened first.
5. Old lines go from the beginning of the chain, and the line that says so says after which entry the rest begins.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Row, Select, delete, or_, select
from sqlalchemy import text as sql

from vaultmesh.domain.audit_chain import (
    CHAIN_BEGUN,
    PRUNED,
    ChainCheck,
    Head,
    Link,
    Pruning,
    digest_of,
    link_after,
)
from vaultmesh.storage.job_tables import AUDIT, CHAIN, POSTGRESQL, TABLES_MADE

ADOPTED = "adopt"
"""Action of the line that says which lines from outside were chained."""
_Columns = dict[str, Any]
_LOCK = 7_301_002
"""Number of the advisory lock of whoever enters a line."""
_CHAINED_A_GO = 2_000
"""Lines from before the chain that are read at a time."""
_LINES = AUDIT.outerjoin(CHAIN, CHAIN.c.line == AUDIT.c.id)
_ENTRIES = CHAIN.outerjoin(AUDIT, CHAIN.c.line == AUDIT.c.id)


def enter(connection: Connection, values: _Columns, key: str | None = None) -> bool:
    """Enter a line at the end of the audit; tells whether it is new: one with a key is there once."""
    _lock(connection)
    if key is not None:
        there = select(CHAIN.c.seq).where(CHAIN.c.key == key)
        if connection.execute(there).first() is not None:
            return False
    row = connection.execute(AUDIT.insert().values(values).returning(*AUDIT.c)).mappings().one()
    _link(connection, [row], key)
    return True


def _lock(connection: Connection) -> None:
    """Be the only one who enters lines, until the transaction ends."""
    if connection.dialect.name == POSTGRESQL:
        connection.execute(sql(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def head(connection: Connection) -> Head:
    """Return the end of the chain."""
    query = select(CHAIN.c.seq, CHAIN.c.hash).order_by(CHAIN.c.seq.desc()).limit(1)
    row = connection.execute(query).first()
    return Head() if row is None else Head(entry=row[0], hash=row[1])


def hash_at(connection: Connection, seq: int) -> str | None:
    """Return the hash of an entry; None if it is not there."""
    value: str | None = connection.execute(select(CHAIN.c.hash).where(CHAIN.c.seq == seq)).scalar()
    return value


def _link(
    connection: Connection, rows: Iterable[Mapping[Any, Any]], key: str | None = None
) -> None:
    end = head(connection)
    links: list[_Columns] = []
    for row in rows:
        link = link_after(end, row["id"], key, digest_of(dict(row)))
        links.append(asdict(link))
        end = link.head
    if links:
        connection.execute(CHAIN.insert(), links)


# --- lines from before ---------------------------------------------------------------------------------------------


def is_begun(connection: Connection) -> bool:
    """Whether there is nothing to be chained, or the chain has entries already."""
    if connection.execute(select(CHAIN.c.seq).limit(1)).first() is not None:
        return True
    return connection.execute(select(AUDIT.c.id).limit(1)).first() is None


def begin(connection: Connection, actor: str) -> None:
    """Chain the lines that are there already, and say how many; does nothing if the chain has begun."""
    _lock(connection)
    if not is_begun(connection):
        lines = _chain_outsiders(connection)
        enter(connection, _own_line(actor, CHAIN_BEGUN, {"lines": len(lines)}))


def adopt(connection: Connection, actor: str) -> int:
    """Chain the lines that stand outside, such as those of an earlier version, and say which; returns how many."""
    _lock(connection)
    lines = _chain_outsiders(connection)
    if lines:
        said = {"lines": len(lines), "first": lines[0], "last": lines[-1]}
        enter(connection, _own_line(actor, ADOPTED, said))
    return len(lines)


def _chain_outsiders(connection: Connection) -> list[int]:
    """Chain every line without an entry, by their numbers."""
    pruning = last_pruning(connection)
    kept = [int(line) for line in pruning.kept] if pruning else []
    lines: list[int] = []
    while True:
        query = outsiders().where(AUDIT.c.id.not_in(kept)).limit(_CHAINED_A_GO)
        rows = connection.execute(query).mappings().all()
        if not rows:
            return lines
        _link(connection, rows)
        lines += [row["id"] for row in rows]


def _own_line(actor: str, action: str, detail: _Columns) -> _Columns:
    now = datetime.now(UTC)
    return {"at": now, "actor": actor, "action": action, "job_name": "", "detail": detail}


# --- pruning -------------------------------------------------------------------------------------------------------


def prune(connection: Connection, actor: str, before: datetime, most: int) -> int:
    """Delete at most so many lines from before an instant, from the beginning of the chain; returns how many.

    The line by which the database is known as ours stays, outside the chain.
    """
    _lock(connection)
    begins = last_pruning(connection)
    entries = connection.execute(_aged(before, most)).all()
    doomed = [entry.line for entry in entries if entry.id and entry.action != TABLES_MADE]
    outside = delete(AUDIT).where(AUDIT.c.id.in_(_aged_outsiders(before, most - len(doomed))))
    gone = len(doomed) + len(connection.execute(outside.returning(AUDIT.c.id)).all())
    if not doomed:
        return gone
    kept = dict(begins.kept) if begins else {}
    kept |= {str(entry.line): entry.digest for entry in entries if entry.action == TABLES_MADE}
    connection.execute(delete(AUDIT).where(AUDIT.c.id.in_(doomed)))
    connection.execute(delete(CHAIN).where(CHAIN.c.seq <= entries[-1].seq))
    said = Pruning(
        before=before,
        lines=gone,
        missing=sum(entry.id is None for entry in entries),
        through=Head(entry=entries[-1].seq, hash=entries[-1].hash),
        kept=kept,
    )
    # The end of the chain may have gone: what follows goes on after it all the same.
    row = _own_line(actor, PRUNED, said.model_dump(mode="json"))
    line = connection.execute(AUDIT.insert().values(row).returning(*AUDIT.c)).mappings().one()
    end = head(connection)
    after = end if end.entry else said.through
    link = link_after(after, line["id"], None, digest_of(dict(line)))
    connection.execute(CHAIN.insert(), [asdict(link)])
    return gone


def _aged(before: datetime, most: int) -> Select[Any]:
    """Return the query of the entries from the beginning of the chain up to the first young line."""
    young = AUDIT.c.at >= before, AUDIT.c.action != TABLES_MADE
    ordered = select(CHAIN.c.seq).select_from(_ENTRIES).where(*young).order_by(CHAIN.c.seq)
    first = ordered.limit(1).scalar_subquery()
    query = select(
        CHAIN.c.seq, CHAIN.c.line, CHAIN.c.digest, CHAIN.c.hash, AUDIT.c.id, AUDIT.c.action
    )
    aged = query.select_from(_ENTRIES).where(or_(first.is_(None), CHAIN.c.seq < first))
    return aged.order_by(CHAIN.c.seq).limit(most)


def _aged_outsiders(before: datetime, most: int) -> Select[Any]:
    aged = CHAIN.c.seq.is_(None), AUDIT.c.at < before, AUDIT.c.action != TABLES_MADE
    query = select(AUDIT.c.id).select_from(_LINES).where(*aged)
    return query.order_by(AUDIT.c.id).limit(most)


# --- reading -------------------------------------------------------------------------------------------------------


def outsiders() -> Select[Any]:
    """Return the query of the lines that have no entry, by their numbers."""
    query = select(*AUDIT.c).select_from(_LINES).where(CHAIN.c.seq.is_(None))
    return query.order_by(AUDIT.c.id)


def last_pruning(connection: Connection) -> Pruning | None:
    """Return what the newest pruning says; None if nothing was ever pruned."""
    chained = AUDIT.join(CHAIN, CHAIN.c.line == AUDIT.c.id)
    query = select(AUDIT.c.detail).select_from(chained).where(AUDIT.c.action == PRUNED)
    detail = connection.execute(query.order_by(CHAIN.c.seq.desc()).limit(1)).scalar()
    try:
        return None if detail is None else Pruning.model_validate(detail)
    except ValidationError:  # somebody changed it: the chain does not begin where it should
        return None


def follow(connection: Connection, check: ChainCheck, most: int) -> tuple[int, str]:
    """Have the next entries checked; returns how many there were, and what is wrong first."""
    columns = [*CHAIN.c, *(column.label(f"line_{column.name}") for column in AUDIT.c)]
    query = select(*columns).select_from(_ENTRIES).where(CHAIN.c.seq > check.head.entry)
    rows = connection.execute(query.order_by(CHAIN.c.seq).limit(most)).all()
    for row in rows:
        problem = check.take(*_entry(row))
        if problem:
            return len(rows), problem
    return len(rows), ""


def _entry(row: Row[Any]) -> tuple[Link, _Columns | None]:
    values = row._mapping  # noqa: SLF001 - its documented name
    link = Link(**{column.name: values[column.name] for column in CHAIN.c})
    line = {column.name: values[f"line_{column.name}"] for column in AUDIT.c}
    return link, None if line["id"] is None else line


def first_outsider(connection: Connection, check: ChainCheck) -> str:
    """Say what is wrong with the first line that has no entry and should have one; empty if there is none."""
    rows: Sequence[Mapping[Any, Any]] = (
        connection.execute(outsiders().limit(len(check.kept) + 1)).mappings().all()
    )
    return next(filter(None, (check.outside(row) for row in rows)), "")
