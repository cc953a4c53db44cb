"""Each table gets the first thing that it needs, and nothing while it is worked on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from vaultmesh.domain.maintenance.config import VacuumTask
from vaultmesh.domain.maintenance.outcomes import Outcome, worst
from vaultmesh.domain.maintenance.plan import Step, TableStatistics, decide
from vaultmesh.domain.maintenance.sql_names import SqlName

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TASK = VacuumTask(tables="all")
WELL = TableStatistics(SqlName("public", "t"), rows=1_000, pages=10, analyzed=NOON)
PARENT = replace(WELL, relkind="p", pages=0)


def verb(step: Step) -> str:
    return (
        step.statements[0].partition(" (")[0]
        + (" FREEZE" if "FREEZE" in step.statements[0] else "")
        if step.statements
        else str(step.outcome)
    )


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (WELL, "not needed"),
        (replace(WELL, dead=250), "not needed"),
        (replace(WELL, dead=251), "VACUUM"),
        (replace(WELL, inserted=1_201), "VACUUM"),
        (replace(WELL, changed=150), "not needed"),
        (replace(WELL, changed=151), "ANALYZE"),
        (replace(WELL, changed=151, dead=251), "VACUUM"),
        (replace(WELL, age=100_000_001, changed=999), "VACUUM FREEZE"),
        (replace(WELL, multixact_age=100_000_001), "VACUUM FREEZE"),
        (
            replace(WELL, age=50_001, options={"autovacuum_freeze_max_age": "100000"}),
            "VACUUM FREEZE",
        ),
        (
            replace(WELL, age=200_000_000, options={"autovacuum_freeze_max_age": "900000000"}),
            "not needed",
        ),
        (
            replace(
                WELL,
                multixact_age=50_001,
                options={"autovacuum_multixact_freeze_max_age": "100000"},
            ),
            "VACUUM FREEZE",
        ),
        (replace(WELL, dead=999, is_busy=True), "skipped: running"),
        (replace(WELL, analyzed=None), "ANALYZE"),
        (replace(WELL, analyzed=None, pages=0, rows=-1), "not needed"),
        (replace(WELL, dead=251, options={"autovacuum_vacuum_scale_factor": "0.5"}), "not needed"),
        (replace(WELL, dead=60, options={"autovacuum_vacuum_scale_factor": "0"}), "VACUUM"),
        (replace(WELL, dead=251, options={"autovacuum_vacuum_threshold": "5000"}), "not needed"),
        (replace(WELL, dead=60, options={"autovacuum_vacuum_max_threshold": "50"}), "VACUUM"),
        (replace(WELL, dead=60, options={"autovacuum_vacuum_max_threshold": "-1"}), "not needed"),
        (
            replace(WELL, inserted=10**6, options={"autovacuum_vacuum_insert_threshold": "-1"}),
            "not needed",
        ),
        (replace(PARENT, rows=-1), "ANALYZE"),
        (replace(PARENT, analyzed=None), "ANALYZE"),
        (PARENT, "not needed"),
        (replace(PARENT, partitions_analyzed=NOON + timedelta(hours=2)), "not needed"),
        (replace(PARENT, partitions_analyzed=NOON + timedelta(days=2)), "ANALYZE"),
    ],
)
def test_a_table_gets_what_it_needs_first(table: TableStatistics, expected: str) -> None:
    assert verb(decide(table, TASK)) == expected


def test_a_parent_is_named_without_its_children_where_the_server_would_take_them_along() -> None:
    for needs in ({"dead": 251}, {"changed": 151}, {"age": 100_000_001}):
        (statement,) = decide(replace(WELL, descends=True, **needs), TASK).statements
        assert statement.endswith(') ONLY "public"."t"')


def test_only_freezing_is_an_alert() -> None:
    assert decide(replace(WELL, age=10**9), TASK).is_alert
    assert not decide(replace(WELL, dead=10**6), TASK).is_alert


def test_the_worst_part_is_the_outcome_of_a_task() -> None:
    assert worst([]) is Outcome.NOT_NEEDED
    assert worst([Outcome.NOT_NEEDED, Outcome.DONE]) is Outcome.DONE
    assert worst([Outcome.DONE, Outcome.LOCKED]) is Outcome.LOCKED
    assert worst([Outcome.LOCKED, Outcome.DENIED, Outcome.DONE]) is Outcome.DENIED
    assert worst([Outcome.FAILED, Outcome.DENIED]) is Outcome.FAILED
