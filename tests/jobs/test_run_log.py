"""The log says how each run ended, with its execution id, also where the worker that made it can't any more."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from activities.jobs.http_call import HttpCalls
from activities.jobs.run_job import JobRuns
from vaultmesh.domain.jobs.messages import CloseOrder, RunEnd
from vaultmesh.domain.jobs.run import WORKER_DIED
from vaultmesh.storage.job_store import JobStore

DRAIN = timedelta(minutes=1)


async def _logged(root: Path, end: RunEnd, caplog: pytest.LogCaptureFixture) -> list[object]:
    """Have an end written that its own worker did not write; return the ids whose end the log tells."""
    store = await JobStore.open(None, root)
    try:
        with caplog.at_level(logging.INFO):
            runs = JobRuns(store, cast("HttpCalls", object()), DRAIN)
            await runs.close_run(CloseOrder(job="nightly-report", ends=[end]))
    finally:
        await store.close()
    ended = [record for record in caplog.records if record.message == "job execution ended"]
    return [vars(record)["execution"] for record in ended]


async def test_the_end_of_a_run_whose_worker_died_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    end = RunEnd(run_id=str(uuid4()), error=WORKER_DIED, completed_at=datetime.now(UTC))
    assert await _logged(tmp_path, end, caplog) == [end.run_id]


async def test_an_end_that_its_worker_logged_is_not_logged_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime.now(UTC)
    end = RunEnd(run_id=str(uuid4()), error="HTTP 500: x", started_at=now, completed_at=now)
    assert await _logged(tmp_path, end, caplog) == []
