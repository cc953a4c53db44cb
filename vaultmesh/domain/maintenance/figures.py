"""What alerts are told of maintenance: numbers of the database, and by when a task must have succeeded again."""

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from vaultmesh.domain.jobs.cron import read_cron

PERIODS_WITHOUT_SUCCESS = 2
"""Slots that may pass: one run may fail, or meet a lock."""


class Holder(StrEnum):
    """What may still see dead rows, so that no VACUUM cleans them."""

    TRANSACTION = "transaction"
    PREPARED = "prepared transaction"
    SLOT = "replication slot"
    STANDBY = "standby"
    NOTHING_KNOWN = "nothing known"
    """It has gone since, or the role may not see it."""


class Figures(BaseModel):
    """Numbers of one database, after a run that vacuumed."""

    model_config = ConfigDict(frozen=True)

    database: str
    oldest_age: int
    """Transactions, or multixacts, since the oldest that any table still knows."""
    held_dead: int
    """Dead rows that VACUUM left in tables that are above their setting."""
    held_by: Holder
    """The oldest thing that may still see them."""


def success_due(cron: str, deadline: timedelta, succeeded: datetime) -> datetime | None:
    """Return by when a task must have succeeded again: its second slot from then on, and what a run may take.

    None if it has so few slots.
    """
    expression, instant = read_cron(cron), succeeded
    for _ in range(PERIODS_WITHOUT_SUCCESS):
        following = expression.next_after(instant)
        if following is None:
            return None
        instant = following
    return instant + deadline
