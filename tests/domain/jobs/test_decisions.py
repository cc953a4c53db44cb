"""Which of client and administrator wins: any order of registrations and decisions keeps what was decided."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.jobs import decisions as rules
from vaultmesh.domain.jobs.decisions import Action, Job
from vaultmesh.domain.jobs.job import JobDefinition, read_registration
from vaultmesh.domain.jobs.records import Decision, JobRow
from vaultmesh.domain.jobs.refusals import DeletedJob

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CRONS = ("0 3 * * *", "*/5 * * * *", "0 9 * * 1")


def definition(cron: str = CRONS[0], *, enabled: bool = True) -> JobDefinition:
    return read_registration(
        {
            "name": "a-job",
            "displayName": "A job",
            "description": "It works",
            "cronExpression": cron,
            "enabled": enabled,
            "jobType": "other",
            "service": "a-service",
            "endpoint": "/x",
        }
    )


def decision(at: datetime = NOON) -> Decision:
    return Decision(by="admin", at=at)


REGISTER = st.tuples(st.just("register"), st.sampled_from(CRONS), st.booleans())
DECIDE = (
    st.tuples(st.just("cron"), st.sampled_from(CRONS), st.none())
    | st.tuples(st.just("enabled"), st.none(), st.booleans())
    | st.tuples(st.just("reset"), st.none(), st.none())
)


@given(st.lists(REGISTER | DECIDE, max_size=12))
def test_the_newest_decision_stands_until_a_reset_and_else_the_client(
    steps: list[tuple[str, str | None, bool | None]],
) -> None:
    first = definition()
    job = rules.registered(Job("a-job"), first, NOON)
    client = [first.cron_expression, first.enabled]
    decided: list[object] = [None, None]
    for kind, cron, enabled in steps:
        match kind:
            case "register":
                assert cron is not None
                assert enabled is not None
                job = rules.registered(job, definition(cron, enabled=enabled), NOON)
                client = [cron, enabled]
            case "cron":
                assert cron is not None
                job = rules.with_cron(job, cron, decision())
                decided[0] = cron
            case "enabled":
                assert enabled is not None
                job = rules.with_enabled(job, enabled, decision())
                decided[1] = enabled
            case _:
                job = rules.reset(job, decision())
                decided = [None, None]
        stands = [
            mine if mine is not None else its for mine, its in zip(decided, client, strict=True)
        ]
        assert job.row is not None
        assert [job.row.cron_expression, job.row.enabled] == stands
        kept = [job.decisions.client_cron, job.decisions.client_enabled]
        assert kept == client


def test_a_deleted_job_keeps_nothing_that_was_decided_before() -> None:
    job = rules.registered(Job("a-job"), definition(), NOON)
    job = rules.deleted(rules.with_enabled(job, False, decision()), decision())
    with pytest.raises(DeletedJob):
        rules.registered(job, definition(), NOON)
    back = rules.registered(rules.allowed(job, decision()), definition(), NOON)
    assert back.row is not None
    assert back.row.enabled is True


def test_a_slot_before_an_enabling_or_a_new_expression_does_not_exist() -> None:
    later = NOON + timedelta(days=7)
    job = rules.registered(Job("a-job"), definition(enabled=False), NOON)
    enabled = rules.with_enabled(job, True, decision(later))
    assert enabled.decisions.served == later
    same = rules.with_enabled(enabled, True, decision(later + timedelta(days=1)))
    assert same.decisions.served == later
    earlier = rules.with_cron(same, CRONS[1], decision(NOON))
    assert earlier.decisions.served == later  # a clock that goes back repeats no slot


@given(st.booleans(), st.booleans())
def test_a_row_that_was_there_before_its_client_keeps_what_differs(
    there: bool, client: bool
) -> None:
    row = JobRow(job_name="a-job", cron_expression=CRONS[1], enabled=there, service="a-service")
    taken, action = rules.taken_from_sql(Job("a-job", row), was_known=False, at=NOON)
    job = rules.registered(taken, definition(enabled=client), NOON)
    assert action is Action.TAKE_OVER
    assert job.row is not None
    assert (job.row.cron_expression, job.row.enabled) == (CRONS[1], there)
    assert (job.decisions.enabled is not None) == (there != client)


def test_a_row_has_the_same_hash_whatever_its_runs_wrote() -> None:
    row = JobRow(job_name="a-job", config={"b": 1, "a": [1.0]})
    same = row.model_copy(
        update={"total_runs": 9, "updated_at": NOON, "config": {"a": [1.0], "b": 1}}
    )
    assert rules.row_hash(row) == rules.row_hash(same)
    assert rules.row_hash(row) != rules.row_hash(row.model_copy(update={"enabled": False}))
