"""Runs APScheduler with its jobs in a database, each of which calls a handler.

Usage: python -m bench.apscheduler_process READY_FILE DATABASE URL SECONDS JOB...
"""

import json
import sys
import threading
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from typing_extensions import override

_THREADS = 50
_GRACE_SECONDS = 60
"""How late a job may still start: as late as ours."""


class _Telling(ThreadPoolExecutor):  # type: ignore[misc]
    """Gives a job the slot that it runs for."""

    @override
    def _do_submit_job(self, job: Any, run_times: Sequence[datetime]) -> None:
        job.kwargs = {"slot": int(run_times[-1].timestamp())}
        super()._do_submit_job(job, run_times)


def call(name: str, url: str, slot: int = 0) -> None:
    """Call the handler on a connection of its own, as our jobs do."""
    body = {"jobName": name, "executionId": str(uuid.uuid4()), "slot": slot}
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310 - our own
    with urlopen(request, timeout=300) as answer:  # noqa: S310 - our own
        answer.read()


def main(ready: Path, database: str, url: str, every: str, names: Sequence[str]) -> None:
    """Fire until killed."""
    scheduler = BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(f"sqlite:///{database}")},
        executors={"default": _Telling(_THREADS)},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": _GRACE_SECONDS},
        timezone="UTC",
    )
    for name in names:
        scheduler.add_job(call, "cron", [name, url], second=f"*/{every}", id=name)
    scheduler.start()
    ready.touch()
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
