"""Each slot is run by exactly one of two schedulers that share a database, whichever of them is stopped, and whenever."""

from datetime import UTC, datetime, timedelta

import pytest

from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.other_scheduler import BEGINS_WITHIN, LastBegun, slot_span

SLOT = datetime(2026, 3, 2, 3, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
DAILY, EACH_SECOND, MONTHLY = "0 3 * * *", "* * * * * *", "0 3 2 * *"


def test_a_run_of_the_slot_before_is_never_taken_for_one_of_this_slot() -> None:
    for cron, between in ((DAILY, DAY), (EACH_SECOND, SECOND), ("*/5 * * * * *", 5 * SECOND)):
        span = slot_span(read_cron(cron), SLOT)
        assert SLOT - between < span.begun_from < SLOT
        assert SLOT - span.begun_from <= BEGINS_WITHIN


def test_the_last_two_slots_are_watched_however_far_apart_they_are() -> None:
    span = slot_span(read_cron(MONTHLY), SLOT)
    assert span.watched_from == datetime(2026, 1, 2, 3, tzinfo=UTC) - BEGINS_WITHIN
    assert slot_span(read_cron(DAILY), SLOT).watched_from == SLOT - 2 * DAY - BEGINS_WITHIN


def test_an_expression_without_a_slot_before_has_a_span() -> None:
    first = datetime(1970, 1, 1, tzinfo=UTC)
    assert slot_span(read_cron("0 0 1 1 *"), first).begun_from < first


@pytest.mark.parametrize(
    ("began", "sign"),
    [
        (LastBegun(), None),
        (LastBegun(by_us=SLOT - DAY), None),
        (LastBegun(by_other=SLOT - DAY), SLOT - DAY),
        (LastBegun(by_other=SLOT - 2 * DAY, by_us=SLOT - DAY), None),
        (LastBegun(by_other=SLOT - DAY, by_us=SLOT - 2 * DAY), SLOT - DAY),
        (LastBegun(by_other=SLOT - DAY, by_us=SLOT - DAY + 20 * SECOND), SLOT - DAY),
        (LastBegun(of_any_job=SLOT - SECOND), SLOT - SECOND),
        (LastBegun(of_any_job=SLOT - SECOND, by_us=SLOT - DAY), None),
    ],
    ids=[
        "nobody", "we alone", "the other alone", "we ran the last one alone", "the other ran the last one alone",
        "both ran the last one", "nobody ran this one, and the other works", "the other never ran this one",
    ],
)  # fmt: skip
def test_another_scheduler_works_on_a_job_until_a_slot_was_run_here_alone(
    began: LastBegun, sign: datetime | None
) -> None:
    assert began.sign_of_other == sign


def test_what_began_before_the_slot_is_not_its_run() -> None:
    span = slot_span(read_cron(DAILY), SLOT)
    assert LastBegun(by_other=SLOT + SECOND).has_begun(span)
    assert LastBegun(by_other=SLOT - 20 * SECOND).has_begun(span)
    assert not LastBegun(by_other=SLOT - DAY).has_begun(span)
    assert not LastBegun(by_us=SLOT, of_any_job=SLOT).has_begun(span)
