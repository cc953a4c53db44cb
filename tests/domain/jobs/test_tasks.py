"""What becomes of a maintenance task when its file changes: no slot of a time when it was not there runs, and pauses stay."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.jobs import decisions as rules
from vaultmesh.domain.jobs.decisions import Job
from vaultmesh.domain.jobs.records import Pause
from vaultmesh.domain.jobs.tasks import TaskSchedule, policy_of, read_task

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAME = "maintenance:tidy"
NIGHTLY = TaskSchedule(kind="vacuum", cron="0 3 * * *", timeout_seconds=90)


def test_the_same_again_changes_nothing() -> None:
    job = rules.offered(Job(NAME), NIGHTLY, NOON)
    assert rules.offered(job, NIGHTLY, NOON + HOUR) == job
    assert job.revision().task == NIGHTLY
    assert job.revision().served == NOON
    gone = rules.withdrawn(job)
    assert rules.withdrawn(gone) == gone
    assert rules.withdrawn(Job(NAME)) == Job(NAME)


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ({"cron": "0 4 * * *"}, True),
        ({"timeout_seconds": 10}, False),
        ({"kind": "retain"}, False),
        ({"version": "x"}, False),
        ({"enabled": False}, False),
    ],
)
def test_only_another_expression_begins_anew(change: dict[str, object], anew: bool) -> None:
    job = rules.offered(Job(NAME), NIGHTLY, NOON)
    later = rules.offered(job, NIGHTLY.model_copy(update=change), NOON + HOUR)
    assert later != job
    assert later.decisions.served == (NOON + HOUR if anew else NOON)


def test_a_task_that_is_enabled_again_or_comes_back_begins_then_and_keeps_its_pause() -> None:
    job = rules.offered(Job(NAME), NIGHTLY, NOON)
    pause = Pause(by="operator", at=NOON, reason="a migration")
    job = rules.paused(job, pause)
    off = rules.offered(job, NIGHTLY.model_copy(update={"enabled": False}), NOON)
    assert rules.offered(off, NIGHTLY, NOON + HOUR).decisions.served == NOON + HOUR
    gone = rules.withdrawn(job)
    assert gone.revision().is_gone
    back = rules.offered(gone, NIGHTLY, NOON + 2 * HOUR)
    assert (back.decisions.served, back.decisions.paused) == (NOON + 2 * HOUR, pause)
    assert not back.revision().is_gone


def test_a_task_that_was_only_paused_has_no_workflow_to_stop() -> None:
    job = rules.paused(Job(NAME), Pause(by="operator", at=NOON))
    assert not job.has_workflow
    assert rules.withdrawn(rules.offered(job, NIGHTLY, NOON)).has_workflow
    assert Job("a-job").has_workflow


def test_a_policy_of_a_job_is_never_taken_for_a_task() -> None:
    assert Job("a-job", policy=policy_of(NIGHTLY)).revision().task is None


@given(st.none() | st.integers() | st.lists(st.text()) | st.dictionaries(st.text(), st.integers()))
def test_whatever_somebody_wrote_into_the_policy_breaks_nothing(value: object) -> None:
    for policy in (value, {"task": value}):
        assert read_task(policy) is None  # type: ignore[arg-type]
