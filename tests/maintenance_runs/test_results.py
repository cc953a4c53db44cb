"""A run's row says what a task came to: its outcome, one line why, its parts; and metrics count it once under bounded names."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from activities.maintenance.results import MOST_STEPS, end_of, error_of, is_passing
from vaultmesh.domain.jobs.messages import RunEnd
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.maintenance.outcomes import Outcome, Reason, StepResult, TaskResult
from vaultmesh.process.maintenance_metrics import MaintenanceMetrics

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
GOOD = {Outcome.DONE, Outcome.NOT_NEEDED, Outcome.RUNNING, Outcome.LOCKED}


def result(outcome: Outcome, *steps: StepResult, **more: object) -> TaskResult:
    return TaskResult.model_validate(
        {"task": "tidy", "kind": "vacuum", "run": "r", "outcome": outcome, "steps": steps, **more}
    )


def step(name: str, outcome: Outcome, **more: object) -> StepResult:
    return StepResult.model_validate({"subject": name, "outcome": outcome, **more})


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_its_state_and_only_bad_ones_an_error(outcome: Outcome) -> None:
    end = end_of(result(outcome), 2)
    good = outcome in GOOD
    assert end.status is (RunStatus.COMPLETED if good else RunStatus.FAILED)
    assert (end.error is None) is good
    assert end.metadata is not None
    assert (end.metadata["outcome"], end.metadata["attempts"]) == (outcome.value, 2)


def test_parts_are_counted_and_the_first_that_went_wrong_is_named() -> None:
    ended = result(
        Outcome.FAILED,
        step("public.a", Outcome.DONE, rows=3, statements=("VACUUM public.a",)),
        step("public.b", Outcome.DENIED, detail="only its owner may"),
        step("public.c", Outcome.FAILED, detail="disk full", reason=Reason.SQL, sqlstate="53100"),
    )
    end = end_of(ended, 1)
    assert (end.items_processed, end.items_succeeded, end.items_failed) == (3, 1, 2)
    assert end.error == "failed: public.c: disk full (and 1 more)"
    assert end.metadata is not None
    steps = end.metadata["steps"]
    assert isinstance(steps, list)
    assert isinstance(steps[0], dict)
    kept = {"subject": "public.a", "outcome": "done", "statements": ["VACUUM public.a"], "rows": 3}
    assert steps[0] == steps[0] | kept
    assert error_of(result(Outcome.TIMED_OUT, detail="ended at its\ndeadline")).count("\n") == 0


def test_a_lock_that_keeps_out_run_after_run_becomes_a_failure() -> None:
    locked = result(Outcome.LOCKED, step("public.a", Outcome.LOCKED, detail="lock not available"))
    assert end_of(locked, 1).status is RunStatus.COMPLETED
    end = end_of(locked, 1, 12)
    assert end.status is RunStatus.FAILED
    assert (
        end.error
        == "skipped: locked: public.a: lock not available; more than 12 runs in a row - see who holds the lock"
    )


def test_of_many_parts_those_that_need_a_look_are_kept_in_their_order() -> None:
    """The harm: a run each five minutes filled the history with tables that needed nothing."""
    quiet = [step(f"public.t{number}", Outcome.NOT_NEEDED) for number in range(300)]
    done = [step(f"public.d{number}", Outcome.DONE) for number in range(2 * MOST_STEPS)]
    wrong = step("public.wrong", Outcome.FAILED, detail="x")
    end = end_of(result(Outcome.FAILED, *quiet, *done, wrong), 1)
    assert end.metadata is not None
    steps = end.metadata["steps"]
    assert isinstance(steps, list)
    names = [kept["subject"] for kept in steps if isinstance(kept, dict)]
    assert len(names) == MOST_STEPS
    assert (names[0], names[-1]) == ("public.d0", "public.wrong")
    assert end.metadata["parts"] == {"not needed": 300, "done": 2 * MOST_STEPS, "failed": 1}
    assert len(end_of(result(Outcome.NOT_NEEDED, *quiet), 1).model_dump_json()) < 500


@pytest.mark.parametrize(
    ("outcome", "reason", "passing"),
    [
        (Outcome.FAILED, Reason.CONNECTION, True),
        (Outcome.FAILED, Reason.SQL, False),
        (Outcome.DENIED, Reason.PERMISSION, False),
        (Outcome.TIMED_OUT, Reason.TIMEOUT, False),
        (Outcome.CANCELLED, Reason.CONNECTION, False),
        (Outcome.DONE, Reason.CONNECTION, False),
    ],
)
def test_only_a_database_that_is_away_is_worth_another_attempt(
    outcome: Outcome,
    reason: Reason,
    passing: bool,
) -> None:
    assert is_passing(result(outcome, reason=reason)) is passing


def page(*ends: tuple[str, RunEnd]) -> str:
    registry = CollectorRegistry()
    metrics = MaintenanceMetrics(registry, "scheduler")
    for job, end in ends:
        metrics.closed(job, end)
    return generate_latest(registry).decode()


def ended(metadata: object, **more: object) -> RunEnd:
    return RunEnd.model_validate(
        {
            "run_id": "r",
            "started_at": NOON,
            "completed_at": NOON + timedelta(seconds=3),
            "items_succeeded": 4,
            "metadata": metadata,
            **more,
        }
    )


def test_metrics_have_the_names_that_were_documented_and_count_each_end() -> None:
    done = ended({"outcome": "done"}, status="completed")
    denied = ended({"outcome": "denied", "reason": "permission"})
    steps = [
        {"outcome": "done"}, {"outcome": "failed", "reason": "sql"}, {"outcome": "skipped: locked", "reason": "lock"},
    ]  # fmt: skip
    mixed = ended({"outcome": "failed", "reason": "sql", "steps": steps})
    tidy, other = "maintenance:tidy", "maintenance:other"
    text = page((tidy, done), (tidy, denied), (tidy, mixed), (other, done), ("a-job", done))
    for line in (
        'scheduler_runs_total{outcome="done",task="tidy"} 1.0',
        'scheduler_runs_total{outcome="denied",task="tidy"} 1.0',
        'scheduler_duration_seconds_sum{task="tidy"} 9.0',
        'scheduler_tasks_completed{task="tidy"} 0.0',
        'scheduler_tasks_completed{task="other"} 1.0',
        'scheduler_errors_total{reason="permission",task="tidy"} 1.0',
        'scheduler_errors_total{reason="sql",task="tidy"} 1.0',
        'scheduler_errors_total{reason="lock",task="tidy"} 1.0',
    ):
        assert line in text
    assert "a-job" not in text


@pytest.mark.parametrize("metadata", [None, {}, {"outcome": 7}, {"outcome": "x", "reason": "y"}])
def test_a_run_of_which_nobody_said_more_is_a_failure_and_makes_no_new_label(
    metadata: object,
) -> None:
    text = page(("maintenance:tidy", ended(metadata, started_at=None)))
    assert 'scheduler_runs_total{outcome="failed",task="tidy"} 1.0' in text
    assert 'scheduler_errors_total{reason="other",task="tidy"} 1.0' in text


def test_what_alerts_read_of_a_database_goes_from_the_run_to_the_page() -> None:
    figures = {"database": "shop", "oldest_age": 7, "held_dead": 600, "held_by": "transaction"}
    held = result(Outcome.DONE, figures=figures, success_due=NOON)
    cleaned = result(Outcome.DONE, figures={**figures, "held_dead": 0, "held_by": "nothing known"})
    first, second = (ended(end_of(run, 1).metadata) for run in (held, cleaned))
    text = page(("maintenance:tidy", first))
    for line in (
        f'scheduler_task_success_due_timestamp_seconds{{task="tidy"}} {NOON.timestamp()}',
        'scheduler_database_oldest_age{database="shop"} 7.0',
        'scheduler_rows_held_dead{database="shop",held_by="transaction",task="tidy"} 600.0',
    ):
        # large numbers are written with an exponent
        name, _, value = line.rpartition(" ")
        written = next(row for row in text.splitlines() if row.startswith(name))
        assert float(written.rpartition(" ")[2]) == float(value)
    again = page(("maintenance:tidy", first), ("maintenance:tidy", second))
    assert 'held_by="transaction",task="tidy"} 0.0' in again
