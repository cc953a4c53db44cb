"""Waits while replicas are behind: what is written here they have to write too."""

import asyncio
import time
from datetime import timedelta

from vaultmesh.postgres.work import Work

_LAG = "SELECT application_name, extract(epoch FROM replay_lag)::float8 FROM pg_stat_replication WHERE replay_lag > interval '{seconds} seconds' ORDER BY replay_lag DESC LIMIT 1"
_LOOK_SECONDS = 0.5


async def wait_for_replicas(work: Work) -> bool:
    """Wait until no replica is more than `maxLag` behind; False if one still is near the task's deadline.

    Lag is known to roles with `pg_monitor` or `pg_read_all_stats` alone; for others no replica is behind.
    """
    limit: timedelta = work.session.settings.max_lag
    if not limit:
        return True
    query = _LAG.format(seconds=limit.total_seconds())
    while rows := await work.session.rows(query):
        (name, lag), *_ = rows
        work.beat(f"waits: replica {name} is {lag:.0f} s behind")
        if time.monotonic() + 2 * _LOOK_SECONDS >= work.ends:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return True
