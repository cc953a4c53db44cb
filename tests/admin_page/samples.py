"""Fills a store with jobs of every kind, and with runs that ended in every way."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.api.running import RunningApi
from vaultmesh.domain.jobs.records import RunEnd, RunStart
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy, run_id

SCRIPT = "<script>alert(1)</script>"
LONG = "sync-with-a-very-long-name-that-never-seems-to-end-and-has-nothing-in-it-where-it-breaks".replace(
    "-", ""
)
HTML = '<img src=x onerror="alert(2)"><script>alert(3)</script>'
MISSING = "its workflow does not run; a worker with role jobs starts it within 15 s"
RUNS = 25


async def fill(api: RunningApi) -> None:
    """Register jobs, decide about them, and write runs."""
    mail = {"service": "email-service"}
    await api.register()
    await api.register(name="weekly-digest", cronExpression="0 9 * * 1", **mail)
    await api.register(name="queue-cleanup", cronExpression="*/5 * * * *", **mail)
    await api.register(name="deletion-cleanup", cronExpression="0 2 * * *", service="user-service")
    await api.register(name="re-engagement", cronExpression="0 10 * * *", **mail)
    await api.register(
        name=LONG, displayName=LONG, cronExpression="0,7,13 1-5 1,4,9-12 * *", **mail
    )
    await api.register(name=SCRIPT, displayName=HTML, description=HTML, endpoint="/<b>", cronExpression="0 0 31 2 *", config={HTML: HTML}, **mail)  # fmt: skip
    await api.register(name="old-job", **mail)
    await api.ask("DELETE", "/api/jobs/old-job")
    await api.ask("POST", "/api/jobs/re-engagement/disable", {"userId": HTML})
    await api.ask("PUT", "/api/jobs/weekly-digest/cron", {"cronExpression": "30 8 * * 1-5"})
    await api.ask("POST", "/api/jobs/deletion-cleanup/pause", {"reason": f"a move {HTML}"})
    api.workflows.trouble["queue-cleanup"] = MISSING
    for number in range(RUNS):
        await _ended(api, "nightly-report", number)
    await _ended(api, SCRIPT, 0)
    await api.store.open_run(start("weekly-digest", timedelta(minutes=3)))


def start(job: str, ago: timedelta) -> RunStart:
    """Return a run of ours that began a while ago."""
    at = datetime.now(UTC) - ago
    return RunStart(
        id=run_id(job, at), job_name=job, started_at=at, triggered_by=TriggeredBy.SCHEDULER
    )


async def _ended(api: RunningApi, job: str, number: int) -> None:
    began = start(job, timedelta(days=number, hours=2))
    await api.store.open_run(began)
    took = timedelta(seconds=1.5 + number)
    await api.store.close_run(
        RunEnd(start=began, completed_at=began.started_at + took, **_result(number))
    )


def _result(number: int) -> dict[str, Any]:
    if number % 7 == 0:
        text = f"the answer is not JSON (text/html, 4 kB) {HTML} {'x' * 90}"
        return {"status": RunStatus.FAILED, "error_message": text, "metadata": {HTML: [HTML]}}
    metadata = {"batch": number, "hosts": ["a", "b"], "note": "fine " * 30}
    return {
        "status": RunStatus.COMPLETED,
        "items_processed": 40 + number,
        "items_failed": number % 3,
        "metadata": metadata,
    }
