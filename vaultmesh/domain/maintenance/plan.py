"""Decides what a table needs: VACUUM, ANALYZE, or nothing.

First match:

1. The same work is under way: nothing now.
2. The oldest transaction or multixact is above `freezeAge`: `VACUUM (FREEZE)`, so that no emergency vacuum comes by itself.
3. Dead rows above `minDead` plus `deadRatio` of the table, or as many new rows as autovacuum waits for: `VACUUM (ANALYZE)`.
4. Changed rows above `minStale` plus `staleRatio` of the table, or never analysed: `ANALYZE`.
5. Else nothing.

A table's own storage parameters (`autovacuum_vacuum_scale_factor` and its like) count more than the file. Counters of
changes are lost in a crash: a table that has rows and no time of an analysis counts as never analysed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vaultmesh.domain.maintenance.config import VacuumTask
from vaultmesh.domain.maintenance.outcomes import Outcome
from vaultmesh.domain.maintenance.sql_names import SqlName

INSERT_THRESHOLD, INSERT_RATIO = 1_000, 0.2
"""As autovacuum has them: rows that were only inserted need VACUUM too, for index-only scans."""
PARENT_EVERY = timedelta(days=1)
"""A partitioned table is analysed again so long after, if a partition was since: autovacuum never does it."""
PARTITIONED = "p"
_VACUUM = "VACUUM (ANALYZE, SKIP_LOCKED, TRUNCATE false) {table}"
_FREEZE = "VACUUM (FREEZE, ANALYZE, SKIP_LOCKED, TRUNCATE false) {table}"
_ANALYZE = "ANALYZE (SKIP_LOCKED) {table}"


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """What the server says of a table."""

    name: SqlName
    relkind: str = "r"
    rows: float = 0.0
    """`reltuples`: -1 if it was never analysed."""
    pages: int = 0
    dead: int = 0
    changed: int = 0
    """Since the last analysis."""
    inserted: int = 0
    """Since the last vacuum."""
    age: int = 0
    """Transactions since `relfrozenxid`."""
    multixact_age: int = 0
    analyzed: datetime | None = None
    partitions_analyzed: datetime | None = None
    """Newest analysis of any partition."""
    is_busy: bool = False
    """Whether a VACUUM or ANALYZE of it is under way."""
    descends: bool = False
    """Whether the server does the same to its inheritance children unless it is told ONLY: from PostgreSQL 18 on."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Its storage parameters."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a task does: what, to what, why."""

    subject: str
    statements: tuple[str, ...] = ()
    """Exactly what is sent, in this order; none if nothing is to do."""
    reason: str = ""
    outcome: Outcome | None = None
    """How it ends without being sent; None if it is to be sent."""
    is_alert: bool = False
    """Whether somebody has to know."""
    name: SqlName | None = None
    """What it is done to, if that is one table or index."""


def decide(table: TableStatistics, task: VacuumTask) -> Step:
    """Return what a table needs."""
    subject = str(table.name)
    if table.is_busy:
        return Step(subject, reason="VACUUM or ANALYZE of it is under way", outcome=Outcome.RUNNING)
    if table.relkind == PARTITIONED:
        return _parent(table)
    for statement, reason, alert in (
        (_FREEZE, _freeze_reason(table, task), True),
        (_VACUUM, _vacuum_reason(table, task), False),
        (_ANALYZE, _analyze_reason(table, task), False),
    ):
        if reason:
            only = "ONLY " if table.descends else ""  # each child is a table with a step of its own
            sent = statement.format(table=f"{only}{table.name.sql}")
            return Step(subject, (sent,), reason, is_alert=alert, name=table.name)
    return Step(subject, reason=_numbers(table), outcome=Outcome.NOT_NEEDED)


def _parent(table: TableStatistics) -> Step:
    subject, statement = str(table.name), _ANALYZE.format(table=table.name.sql)
    if table.analyzed is None or table.rows < 0:
        reason = "never analysed; autovacuum leaves partitioned tables out"
        return Step(subject, (statement,), reason)
    newest = table.partitions_analyzed
    if newest is not None and newest - table.analyzed > PARENT_EVERY:
        return Step(subject, (statement,), "its partitions were analysed since, it was not")
    return Step(subject, reason="analysed like its partitions", outcome=Outcome.NOT_NEEDED)


def _freeze_reason(table: TableStatistics, task: VacuumTask) -> str:
    for what, age, option in (
        ("transaction", table.age, "autovacuum_freeze_max_age"),
        ("multixact", table.multixact_age, "autovacuum_multixact_freeze_max_age"),
    ):
        own = table.options.get(option)
        limit = task.freeze_age if own is None else int(own) // 2
        name = "freezeAge" if own is None else f"half of its {option},"
        if age > limit:
            return f"its oldest {what} is {age:,} back, above {name} {limit:,}"
    return ""


def _vacuum_reason(table: TableStatistics, task: VacuumTask) -> str:
    limit = _limit(table, "vacuum", task.min_dead, task.dead_ratio)
    if table.dead > limit:
        return f"{table.dead:,} dead rows, above {limit:,}"
    limit = _limit(table, "vacuum_insert", INSERT_THRESHOLD, INSERT_RATIO)
    if table.inserted > limit >= 0:
        return f"{table.inserted:,} rows inserted since the last vacuum, above {limit:,}"
    return ""


def _analyze_reason(table: TableStatistics, task: VacuumTask) -> str:
    limit = _limit(table, "analyze", task.min_stale, task.stale_ratio)
    if table.changed > limit:
        return f"{table.changed:,} rows changed since the last analysis, above {limit:,}"
    if table.analyzed is None and (table.pages > 0 or table.changed > 0):
        return "no time of an analysis is known: it is new, or the server lost its counters"
    return ""


def _limit(table: TableStatistics, what: str, threshold: int, ratio: float) -> int:
    """Return how many rows are too many; the table's own storage parameters count more."""
    threshold = int(table.options.get(f"autovacuum_{what}_threshold", threshold))
    ratio = float(table.options.get(f"autovacuum_{what}_scale_factor", ratio))
    if threshold < 0:
        return -1
    limit = int(threshold + ratio * max(table.rows, 0.0))
    most = int(table.options.get(f"autovacuum_{what}_max_threshold", -1))  # from PostgreSQL 18 on
    return min(limit, most) if most >= 0 else limit


def _numbers(table: TableStatistics) -> str:
    rows = f"{max(table.rows, 0):,.0f} rows"
    return f"{rows}, {table.dead:,} dead, {table.changed:,} changed since the last analysis"
