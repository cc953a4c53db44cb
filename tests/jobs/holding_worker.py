"""A worker whose runs of some jobs stop at one point each and stay there, so that one kill meets every point.

`HOLD_AT` says which job stops where: before the row is opened, once it is open, once the connection stands and nothing is
written, when the answer is there, once the row is closed. Each job stops once, and leaves a file in `HOLD_MARKS`.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import worker
from activities.jobs import http_call
from vaultmesh.process.exiting import run_and_exit
from vaultmesh.storage.job_store import JobStore

HOLDS: dict[str, str] = json.loads(os.environ["HOLD_AT"])
MARKS = Path(os.environ["HOLD_MARKS"])


async def hold(point: str, job: str) -> None:
    """Stop for ever, if it is this job's point and the first time."""
    mark = MARKS / job
    if HOLDS.get(job) == point and not mark.exists():
        mark.touch()
        await asyncio.Event().wait()


class HoldingStore(JobStore):
    async def open_run(self, start: Any, *slots: Any) -> Any:
        await hold("before", start.job_name)
        opened = await super().open_run(start, *slots)
        await hold("opened", start.job_name)
        return opened

    async def close_run(self, end: Any) -> Any:
        await hold("answered", end.start.job_name)
        closing = await super().close_run(end)
        await hold("closed", end.start.job_name)
        return closing


class HoldingRun(http_call._Run):
    async def _note_connection(self, *arguments: Any) -> None:
        await super()._note_connection(*arguments)
        await hold("connected", self._call.job.name)


if __name__ == "__main__":
    from activities.jobs import roles, run_job, run_rows

    roles.JobStore = HoldingStore  # type: ignore[misc]
    http_call._Run = HoldingRun  # type: ignore[misc]
    # what is held is no store that is down
    run_job.STORE_SECONDS = run_rows.STORE_SECONDS = run_rows.CLOSE_SECONDS = 600.0
    run_and_exit(lambda: worker.main(sys.argv[1:]))
