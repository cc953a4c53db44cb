"""A task's own rhythm says by when it must have succeeded again."""

from datetime import UTC, datetime, timedelta

import pytest

from vaultmesh.domain.maintenance.figures import success_due

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("cron", "due"),
    [
        ("*/5 * * * *", NOON + timedelta(minutes=11)),
        ("0 1 * * *", datetime(2026, 3, 4, 1, 1, tzinfo=UTC)),
        ("*/20 * * * * *", NOON + timedelta(seconds=40 + 60)),
        ("0 4 * * 0", datetime(2026, 3, 15, 4, 1, tzinfo=UTC)),
    ],
)
def test_one_slot_may_fail_and_the_second_one_may_take_its_time(cron: str, due: datetime) -> None:
    assert success_due(cron, MINUTE, NOON) == due


def test_a_task_that_succeeds_at_its_slots_is_never_due() -> None:
    instant = NOON
    for _ in range(10):
        due = success_due("*/5 * * * *", MINUTE, instant)
        instant += 5 * MINUTE
        assert due is not None
        assert instant < due
