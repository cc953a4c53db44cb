"""What is taken of another store: each row as it is there, or refused by name with its mend."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vaultmesh.domain.jobs.decisions import Job
from vaultmesh.domain.jobs.importing import (
    ENDS_WITHIN,
    Fate,
    NotTaken,
    SourceJob,
    Tally,
    imported,
    read_run,
    told_of_job,
    works_on,
)
from vaultmesh.domain.jobs.records import Decision, Decisions, JobRow, Pause
from vaultmesh.domain.jobs.refusals import DeletedJob
from vaultmesh.domain.jobs.run import is_fate_unknown

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ID = "5d3f6c1e-7f58-4b9c-9a3d-0d6ed1a3b001"
ROW = JobRow(
    job_name="digest",
    cron_expression="0 3 * * *",
    enabled=True,
    service="mail-service",
    endpoint="/x",
)
ADA = Decision(by="ada", at=NOW - DAY)


def source(row: JobRow | None = ROW, tally: Tally | None = None, **decided: Any) -> SourceJob:
    return SourceJob("digest", row, Decisions(**decided), {}, tally or Tally())


def run(**changes: Any) -> dict[str, Any]:
    return {
        "id": ID,
        "job_name": "digest",
        "status": "completed",
        "started_at": NOW - HOUR,
        **changes,
    }


# --- jobs ----------------------------------------------------------------------------------------------------------


def test_a_partial_row_is_completed_and_stays_as_it_is_when_it_comes_again() -> None:
    after = imported(Job("digest"), source(), NOW)
    assert after.row is not None
    assert (after.row.display_name, after.row.job_type, after.row.config) == ("digest", "other", {})
    assert imported(after, source(), NOW + DAY) is after


def test_the_first_slot_follows_the_newest_run_that_was_taken() -> None:
    ran = source(tally=Tally(newest_slot=NOW - DAY))
    assert imported(Job("digest"), ran, NOW).decisions.served == NOW - DAY
    assert imported(Job("digest"), source(), NOW).decisions.served == NOW
    later = Job("digest", None, Decisions(served=NOW - HOUR))
    assert imported(later, ran, NOW).decisions.served == NOW - HOUR


def test_decisions_come_along_and_revisions_do_not() -> None:
    pause = Pause(by="ada", at=NOW - DAY, reason="mail moves")
    there = source(paused=pause, cron=ADA, client_cron="0 9 * * *", revision=70, told=70)
    after = imported(Job("digest", None, Decisions(revision=3, told=2)), there, NOW).decisions
    assert (after.paused, after.cron, after.client_cron) == (pause, ADA, "0 9 * * *")
    assert (after.revision, after.told) == (3, 2)


def test_a_job_that_was_deleted_there_stays_deleted_unless_it_is_known_here() -> None:
    gone = source(None, deleted=ADA)
    assert imported(Job("digest"), gone, NOW).decisions.deleted == ADA
    known = Job("digest", ROW, Decisions(revision=1))
    assert imported(known, gone, NOW) is known


def test_a_job_that_was_deleted_here_does_not_come_back() -> None:
    with pytest.raises(DeletedJob, match="jobs allow digest"):
        imported(Job("digest", None, Decisions(revision=2, deleted=ADA)), source(), NOW)


def test_a_row_that_differs_is_refused_and_its_columns_are_named() -> None:
    here = imported(Job("digest"), source(), NOW)
    other = ROW.model_copy(update={"cron_expression": "0 4 * * *", "config": {"n": 1}})
    with pytest.raises(NotTaken, match="differs in cron_expression, config"):
        imported(here, source(other), NOW)
    told = told_of_job(source(other), here, NOW, lambda _: "")
    assert (told.fate, told.differences) == (Fate.REFUSED, ("cron_expression", "config"))


def test_counters_that_differ_from_rows_are_told_unless_the_store_accounts_for_them() -> None:
    row = ROW.model_copy(update={"total_runs": 9, "successful_runs": 9})
    there = source(row, Tally(completed=2))
    assert there.counters_beside() == {"total": 7, "successful": 7, "failed": 0}
    assert there.miscounts() == {"total": 7, "successful": 7}
    pruned = SourceJob(
        "digest", row, Decisions(), {}, Tally(completed=2), {"total": 7, "successful": 7}
    )
    assert pruned.miscounts() == {}


def test_a_job_that_never_runs_says_why() -> None:
    for changes, why in (
        ({"enabled": False}, "disabled"),
        ({"enabled": None}, "disabled"),
        ({"cron_expression": "0 0 31 2 *"}, "no date ever matches '0 0 31 2 *'"),
    ):
        told = told_of_job(source(ROW.model_copy(update=changes)), Job("digest"), NOW, lambda _: "")
        assert (told.why_idle, told.next_runs) == ((why,), ())


def test_another_scheduler_works_while_it_began_one_of_the_last_two_slots() -> None:
    monthly = ROW.model_copy(update={"cron_expression": "0 3 1 * *"})
    for ago, is_at_work in ((HOUR, True), (40 * DAY, False)):
        assert works_on(source(tally=Tally(newest_of_other=NOW - ago)), NOW) is is_at_work
    assert works_on(source(monthly, Tally(newest_of_other=NOW - 29 * DAY)), NOW)
    assert not works_on(source(), NOW)


# --- runs ----------------------------------------------------------------------------------------------------------


def test_a_run_is_taken_with_everything_that_a_table_holds() -> None:
    taken = read_run(
        run(id=ID.upper(), error_message="a\x00b", metadata={"n": 2**70}, items_failed=2**40), NOW
    )
    assert (taken["id"], taken["error_message"], taken["metadata"]) == (
        ID,
        "a\ufffdb",
        {"n": str(2**70)},
    )
    assert (taken["items_failed"], taken["items_processed"]) == (2**31 - 1, 0)
    assert (taken["job_type"], taken["triggered_by"], taken["triggered_by_user"]) == (
        "other",
        "scheduler",
        None,
    )
    assert taken["created_at"] == NOW - HOUR


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"id": "7"}, "its id is no UUID - give it one there"),
        ({"id": None}, "its id is no UUID"),
        ({"started_at": None}, "no instant in started_at - write one there"),
        ({"status": "done"}, "its status is 'done' - write completed, failed, running there"),
        ({"status": None}, "status: "),
        ({"triggered_by": "cron"}, "write admin, manual, scheduler there"),
        ({"job_name": ""}, "it names no job"),
        ({"job_name": "a\x00"}, "its job_name holds a NUL character"),
        ({"duration_ms": "soon"}, "duration_ms: "),
        ({"status": "running"}, "still under way there - import again when it has ended"),
    ],
)  # fmt: skip
def test_a_run_that_can_t_be_taken_says_what_is_wrong(
    changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(NotTaken) as refused:
        read_run(run(**changes), NOW)
    assert complaint in str(refused.value)


def test_a_run_that_a_crash_left_behind_has_an_unknown_fate() -> None:
    taken = read_run(run(status="running", started_at=NOW - ENDS_WITHIN), NOW)
    assert (taken["status"], taken["completed_at"]) == ("failed", NOW)
    assert is_fate_unknown(taken["error_message"])
