"""The contract that clients and the admin page rely on: each route, each status, each text of `error`."""

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from typing_extensions import override

from tests.api.running import ADMIN, JOB, SERVICE, RunningApi, running
from vaultmesh.api.models import JobsAnswer
from vaultmesh.domain.instants import read_time
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.paths import JOBS_DATABASE

NAME = JOB["name"]
AT = f"/api/jobs/{NAME}"
UNKNOWN = "/api/jobs/nobody"
ANY = re.compile(r"(?s).+")
"""Some text that is not empty."""


@dataclass(frozen=True)
class Row:
    """One row of the contract."""

    method: str
    path: str
    status: int
    body: Any
    sent: Any = None
    headers: dict[str, str] | None = field(default_factory=lambda: ADMIN)

    @override
    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status} {self.sent or ''}"[:80]


def error(error: str, message: Any = ANY) -> dict[str, Any]:
    return {"error": error, "message": message}


def changed(**changes: Any) -> dict[str, Any]:
    body = {**JOB, **changes}
    return {key: value for key, value in body.items() if value is not ...}


JOB_SHOWN = {
    **JOB, "isRunning": True, "lastRunAt": None, "nextRunAt": re.compile(r"\d{4}-\d\d-\d\dT03:00:00Z"), "lastRunStatus": None,
    "lastRunDuration": None, "totalRuns": 0, "successfulRuns": 0, "failedRuns": 0,
}  # fmt: skip
NO_RUNS = {
    "total_executions": 0, "successful_executions": 0, "failed_executions": 0, "avg_duration_ms": 0, "total_items_processed": 0,
}  # fmt: skip
REFUSED = "Failed to register job"
ROWS = [
    Row("GET", "/health", 200, {"status": "healthy", "service": "scheduler-service", "timestamp": ANY, "version": "1.0.0", "jobs": 1}, headers={}),
    Row("POST", "/api/jobs/register", 200, {"success": True, "message": f"Job {NAME} registered successfully"}, JOB, SERVICE),
    Row("POST", "/api/jobs/register", 200, {"success": True, "message": "Job other registered successfully"}, changed(name="other", config=...), SERVICE),
    Row("POST", "/api/jobs/register", 401, error("Unauthorized", "Invalid service token"), JOB, {}),
    Row("POST", "/api/jobs/register", 401, error("Unauthorized", "Invalid service token"), JOB, ADMIN),
    Row("POST", "/api/jobs/register", 401, error("Unauthorized", "Invalid service token"), JOB, {"X-Service-Token": "wrong"}),
    Row("POST", "/api/jobs/register", 400, error(REFUSED, re.compile("cronExpression: 61 is a invalid expression for minute")), changed(cronExpression="61 * * * *"), SERVICE),
    Row("POST", "/api/jobs/register", 400, error(REFUSED, re.compile("enabled: is missing - add it")), changed(enabled=...), SERVICE),
    Row("POST", "/api/jobs/register", 400, error(REFUSED, re.compile("no URL here - .*'report-service'")), changed(service="report-servise"), SERVICE),
    Row("GET", "/api/jobs", 200, {"jobs": [JOB_SHOWN]}),
    Row("GET", "/api/jobs", 401, error("Unauthorized", "Authentication required"), headers={}),
    Row("GET", AT, 200, JOB_SHOWN),
    Row("GET", UNKNOWN, 404, error("Job not found", "Job nobody does not exist")),
    Row("POST", f"{UNKNOWN}/trigger", 404, error("Job not found", "Job nobody does not exist"), {}),
    Row("POST", f"{AT}/trigger", 400, error("Failed to trigger job", re.compile("userId: is not a text")), {"userId": 5}),
    Row("POST", f"{AT}/trigger", 400, error("Failed to trigger job", re.compile("userId: is not a text")), {"userId": None}),
    Row("POST", f"{AT}/trigger", 400, error("Failed to trigger job", re.compile("the body is a list")), []),
    Row("POST", f"{AT}/trigger", 400, error("Failed to trigger job", re.compile("the body is empty"))),
    Row("POST", f"{AT}/enable", 200, {"message": f"Job {NAME} enabled successfully"}),
    Row("POST", f"{AT}/disable", 200, {"message": f"Job {NAME} disabled successfully"}),
    Row("POST", f"{UNKNOWN}/enable", 404, error("Failed to enable job", "Job nobody not found")),
    Row("POST", f"{UNKNOWN}/disable", 404, error("Failed to disable job", "Job nobody not found")),
    Row("DELETE", AT, 200, {"message": f"Job {NAME} deleted successfully"}),
    Row("DELETE", UNKNOWN, 200, {"message": "Job nobody deleted successfully"}),
    Row("GET", f"{AT}/history", 200, {"executions": [], "pagination": {"limit": 20, "offset": 0, "total": 0, "hasMore": False}}),
    Row("GET", f"{AT}/history?limit=100&offset=7&more=1", 200, {"executions": [], "pagination": {"limit": 100, "offset": 7, "total": 0, "hasMore": False}}),
    Row("GET", f"{UNKNOWN}/history", 200, {"executions": [], "pagination": {"limit": 20, "offset": 0, "total": 0, "hasMore": False}}),
    *(Row("GET", f"{AT}/history?{query}", 400, error("Failed to fetch execution history"))
      for query in ("limit=0", "limit=101", "limit=x", "limit=", "limit=1.5", "limit=-1", "limit=1&limit=2", "offset=-1", "offset=1e99", "limit=%00")),
    Row("GET", f"{AT}/stats", 200, {"stats": NO_RUNS, "period": {"days": 30, "from": ANY, "to": ANY}}),
    Row("GET", f"{UNKNOWN}/stats?days=365", 200, {"stats": NO_RUNS, "period": {"days": 365, "from": ANY, "to": ANY}}),
    *(Row("GET", f"{AT}/stats?days={days}", 400, error("Failed to fetch execution stats")) for days in ("0", "366", "x", "NaN", "")),
    Row("PUT", f"{AT}/cron", 200, {"message": f"Cron expression updated for job {NAME}", "cronExpression": " */5  * * * * "}, {"cronExpression": " */5  * * * * "}),
    Row("PUT", f"{AT}/cron", 400, error("Failed to update cron expression", re.compile("x is a invalid expression for minute")), {"cronExpression": "x * * * *"}),
    Row("PUT", f"{AT}/cron", 400, error("Failed to update cron expression"), {"cronExpression": ""}),
    Row("PUT", f"{AT}/cron", 400, error("Failed to update cron expression", "cronExpression: is missing - add it"), {}),
    Row("PUT", f"{AT}/cron", 400, error("Failed to update cron expression", re.compile("the body is empty"))),
    Row("PUT", f"{UNKNOWN}/cron", 404, error("Failed to update cron expression", "Job nobody not found"), {"cronExpression": "0 3 * * *"}),
    Row("POST", f"{AT}/reset", 200, {"message": f"Job {NAME} reset successfully"}),
    Row("POST", f"{UNKNOWN}/reset", 404, error("Failed to reset job", "Job nobody not found")),
    Row("POST", f"{AT}/allow", 200, {"message": f"Job {NAME} allowed successfully"}),
    Row("POST", f"{UNKNOWN}/allow", 404, error("Failed to allow job", "Job nobody not found")),
    Row("GET", f"{AT}/runs/{UUID(int=1)}", 404, error("Run not found")),
    Row("GET", f"{AT}/runs/1", 404, error("Run not found")),
    Row("GET", "/api/cron?expression=@daily", 400, error("Invalid cron expression", re.compile("write 0 0 \\* \\* \\*"))),
    Row("GET", "/api/cron", 400, error("Invalid cron expression", "expression: is missing - add it")),
    Row("GET", "/api/cron?expression=0+0+31+2+*", 200, {"cronExpression": "0 0 31 2 *", "nextRuns": []}),
    Row("GET", "/api/cron?expression=0+3+*+*+*", 200, {"cronExpression": "0 3 * * *", "nextRuns": [re.compile("T03:00:00Z$")] * 5}),
    Row("GET", "/livez", 200, {"status": "alive"}, headers={}),
    Row("GET", "/readyz", 200, {"status": "ready"}, headers={}),
    Row("GET", "/", 404, {"error": "Endpoint not found", "path": "/", "method": "GET"}),
    Row("POST", "/api/jobs?x=%20", 404, {"error": "Endpoint not found", "path": "/api/jobs?x=%20", "method": "POST"}, {}),
    Row("PATCH", AT, 404, {"error": "Endpoint not found", "path": AT, "method": "PATCH"}, {}),
]  # fmt: skip


def same(expected: Any, found: Any) -> bool:
    """Whether an answer is the expected one, with exactly its keys; a pattern stands for a text."""
    match expected:
        case re.Pattern():
            return isinstance(found, str) and expected.search(found) is not None
        case dict():
            return isinstance(found, dict) and expected.keys() == found.keys() and all(
                same(value, found[key]) for key, value in expected.items()
            )  # fmt: skip
        case list():
            return (
                isinstance(found, list)
                and len(expected) == len(found)
                and all(map(same, expected, found))
            )
        case _:
            return bool(expected == found and isinstance(expected, bool) == isinstance(found, bool))


async def breaches(api: RunningApi) -> list[str]:
    """Return the rows that an API breaks; before each one there is the job of the example alone, as it was registered."""
    found = []
    for row in ROWS:
        for name in (NAME, "other"):
            await api.ask("POST", f"/api/jobs/{name}/allow")
        await api.ask("DELETE", "/api/jobs/other")
        assert (await api.register()).status == 200
        assert (await api.ask("POST", f"{AT}/reset")).status == 200
        answer = await api.ask(row.method, row.path, row.sent, headers=row.headers)
        kept = answer.headers["Content-Type"] == "application/json; charset=utf-8"
        if answer.status != row.status or not kept or not same(row.body, answer.json):
            found.append(f"{row}: {answer.status} {answer.text[:300]}")
    return found


async def test_every_row_of_the_contract_is_kept(api: RunningApi) -> None:
    assert await breaches(api) == []


async def test_a_breach_would_be_found(api: RunningApi) -> None:
    for row, other in [(ROWS[0], {"status": "healthy"}), (ROWS[1], {"success": 1, "message": ANY})]:
        await api.register()
        answer = await api.ask(row.method, row.path, row.sent, headers=row.headers)
        assert same(row.body, answer.json)
        assert not same(other, answer.json)


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("data", ['{"a":', "nope", '{"userId": NaN}', "{'a': 1}", "", "\ufeff{}"])
async def test_malformed_json_is_one_answer_and_no_json_is_an_empty_object(
    method: str, data: str, api: RunningApi
) -> None:
    await api.register()
    path = f"{AT}/enable" if method == "POST" else f"{AT}/cron"
    headers = {**ADMIN, "Content-Type": "application/json"}
    answer = await api.ask(method, path, data=data, headers=headers)
    if data:
        assert answer.status == 400
        assert answer.json == {
            "statusCode": 400,
            "error": "Bad Request",
            "message": answer.json["message"],
        }
    else:
        assert answer.status == (200 if method == "POST" else 400)


async def test_no_handler_of_an_administrators_route_runs_without_its_token(
    api: RunningApi,
) -> None:
    await api.register()
    for row in ROWS:
        if row.headers == ADMIN and row.path.startswith("/api"):
            answer = await api.ask(
                row.method, row.path, row.sent, headers={"Authorization": "Bearer x"}
            )
            assert answer.status in (401, 404), row
            assert answer.json.get("error") in ("Unauthorized", "Endpoint not found"), row
    assert [call[0] for call in api.workflows.calls] == ["configure"]


# --- the list ----------------------------------------------------------------------------------------------------


async def test_the_list_says_of_each_job_what_its_own_page_says_after_every_change(
    api: RunningApi,
) -> None:
    async def agreed() -> list[Any]:
        answer = await api.ask("GET", "/api/jobs")
        JobsAnswer.model_validate_json(answer.text)
        listed: list[Any] = answer.json["jobs"]
        assert [(await api.ask("GET", f"/api/jobs/{job['name']}")).json for job in listed] == listed
        return listed

    assert await agreed() == []
    await api.register()
    await api.register(name="weekly-report", description='With "quotes" and é')
    assert [job["name"] for job in await agreed()] == [NAME, "weekly-report"]
    await api.ask("POST", f"{AT}/disable")
    assert [job["enabled"] for job in await agreed()] == [False, True]
    await api.ask("PUT", f"{AT}/cron", {"cronExpression": "1 2 * * *"})
    await api.made(uuid4(), items_processed=3)
    assert [(job["cronExpression"], job["totalRuns"]) for job in await agreed()] == [
        ("1 2 * * *", 1), ("0 3 * * *", 0),
    ]  # fmt: skip
    await api.ask("DELETE", AT)
    assert [job["name"] for job in await agreed()] == ["weekly-report"]


async def test_the_list_tells_the_next_slot_as_soon_as_one_has_passed(tmp_path: Path) -> None:
    clock = [datetime(2026, 3, 2, 2, 59, 59, tzinfo=UTC)]
    async with running(tmp_path, parts={"now": lambda: clock[0]}) as api:
        await api.register()

        async def next_run() -> str:
            (job,) = (await api.ask("GET", "/api/jobs")).json["jobs"]
            return str(job["nextRunAt"])

        assert await next_run() == "2026-03-02T03:00:00Z"
        clock[0] += timedelta(seconds=1)
        assert await next_run() == "2026-03-03T03:00:00Z"


# --- registering again -------------------------------------------------------------------------------------------


async def test_registering_again_keeps_what_an_administrator_changed(api: RunningApi) -> None:
    await api.register()
    await api.ask("PUT", f"{AT}/cron", {"cronExpression": "*/5 * * * *"})
    await api.ask("POST", f"{AT}/disable")
    await api.register(description="Another text")
    job = (await api.ask("GET", AT)).json
    assert (job["description"], job["cronExpression"], job["enabled"]) == (
        "Another text",
        "*/5 * * * *",
        False,
    )
    assert (job["isRunning"], job["nextRunAt"]) == (False, None)
    await api.ask("POST", f"{AT}/reset")
    job = (await api.ask("GET", AT)).json
    assert (job["cronExpression"], job["enabled"], job["isRunning"]) == ("0 3 * * *", True, True)


async def test_a_client_that_disables_its_job_stops_it(api: RunningApi) -> None:
    await api.register()
    await api.register(enabled=False)
    assert (await api.ask("GET", AT)).json["isRunning"] is False
    assert api.workflows.calls[-1][3].enabled is False


async def test_a_deleted_job_stays_deleted_when_its_service_starts_again_until_it_is_allowed(
    api: RunningApi,
) -> None:
    await api.register()
    await api.ask("DELETE", AT)
    assert api.workflows.calls[-1] == ("stop", NAME)
    refused = await api.register()
    assert (refused.status, refused.json["error"]) == (400, REFUSED)
    assert (await api.ask("GET", "/api/jobs")).json == {"jobs": []}
    assert (await api.ask("POST", f"{AT}/allow")).status == 200
    assert (await api.register()).status == 200
    assert (await api.ask("GET", AT)).status == 200


async def test_a_name_belongs_to_the_service_that_registered_it_first(api: RunningApi) -> None:
    await api.register()
    refused = await api.register(service="email-service")
    assert (refused.status, refused.json["error"]) == (400, REFUSED)
    assert "report-service" in refused.json["message"]
    assert (await api.ask("GET", AT)).json["service"] == "report-service"
    await api.ask("POST", f"{AT}/allow")
    assert (await api.register(service="email-service")).status == 200
    assert (await api.ask("GET", AT)).json["service"] == "email-service"


async def test_each_change_tells_the_workflow_a_higher_revision(api: RunningApi) -> None:
    await api.register()
    await api.ask("POST", f"{AT}/disable")
    await api.ask("PUT", f"{AT}/cron", {"cronExpression": "1 2 * * *"})
    await api.ask("POST", f"{AT}/enable")
    revisions = [call[2] for call in api.workflows.calls]
    assert revisions == sorted(set(revisions))
    assert [(call[3].cron_expression, call[3].enabled) for call in api.workflows.calls] == [
        ("0 3 * * *", True), ("0 3 * * *", False), ("1 2 * * *", False), ("1 2 * * *", True),
    ]  # fmt: skip
    assert await api.store.untold() == ()


async def test_what_temporal_does_not_hear_is_answered_200_and_left_to_the_reconciler(
    api: RunningApi,
) -> None:
    api.workflows.away = True
    assert (await api.register()).status == 200
    assert (await api.ask("POST", f"{AT}/disable")).status == 200
    assert (await api.ask("GET", AT)).json["enabled"] is False
    assert [job.name for job in await api.store.untold()] == [NAME]


# --- rows that somebody wrote by SQL -----------------------------------------------------------------------------


async def test_a_partial_row_by_sql_is_shown_and_one_that_cannot_run_hides_no_other(
    api: RunningApi, tmp_path: Path
) -> None:
    await api.register()
    with closing(sqlite3.connect(tmp_path / JOBS_DATABASE)) as file, file:
        for name, cron in [("auto-enhance-metadata", "0 4 * * *"), ("broken", "nonsense")]:
            file.execute(
                "INSERT INTO job_schedules (job_name, cron_expression, service, endpoint, config) VALUES (?, ?, 'crawler-service', '/api/enhance/auto', '{\"a\": 1}')",
                (name, cron),
            )
    jobs = {job["name"]: job for job in (await api.ask("GET", "/api/jobs")).json["jobs"]}
    assert list(jobs) == ["auto-enhance-metadata", "broken", NAME]
    partial = jobs["auto-enhance-metadata"]
    assert partial.keys() == jobs[NAME].keys()
    assert (partial["displayName"], partial["jobType"], partial["config"]) == (
        "auto-enhance-metadata",
        "other",
        {"a": 1},
    )
    assert (jobs["broken"]["cronExpression"], jobs["broken"]["nextRunAt"]) == ("nonsense", None)
    refused = await api.ask("POST", "/api/jobs/broken/trigger", {})
    assert (refused.status, refused.json["error"]) == (400, "Failed to trigger job")
    assert "nonsense" in refused.json["message"]


# --- history and stats -------------------------------------------------------------------------------------------


async def test_history_is_in_snake_case_newest_first_and_in_pages(api: RunningApi) -> None:
    await api.register()
    runs = [uuid4() for _ in range(3)]
    await api.made(
        runs[0], items_processed=5, items_succeeded=4, items_failed=1, metadata={"a": [1]}
    )
    await api.made(runs[1], status=RunStatus.FAILED, error_message="HTTP 500: no")
    await api.made(runs[2])
    page = (await api.ask("GET", f"{AT}/history?limit=2&offset=1")).json
    assert page["pagination"] == {"limit": 2, "offset": 1, "total": 3, "hasMore": False}
    assert [run["id"] for run in page["executions"]] == [str(runs[1]), str(runs[0])]
    first = page["executions"][1]
    read_time(first["started_at"])
    assert {**first, "started_at": 0, "completed_at": 0, "duration_ms": 0} == {
        "id": str(runs[0]), "job_name": NAME, "job_type": "analytics", "status": "completed", "started_at": 0, "completed_at": 0,
        "duration_ms": 0, "items_processed": 5, "items_succeeded": 4, "items_failed": 1, "error_message": None,
        "metadata": {"a": [1]}, "triggered_by": "manual", "triggered_by_user": None,
    }  # fmt: skip
    assert (await api.ask("GET", f"{AT}/history?limit=2")).json["pagination"]["hasMore"] is True
    assert (await api.ask("GET", f"{AT}/runs/{runs[0]}")).json == first
    assert (await api.ask("GET", f"{UNKNOWN}/runs/{runs[0]}")).status == 404
    stats = (await api.ask("GET", f"{AT}/stats?days=1")).json
    assert stats["stats"]["total_executions"] == 3
    assert (stats["stats"]["successful_executions"], stats["stats"]["failed_executions"]) == (2, 1)
    since, to = (read_time(stats["period"][key]) for key in ("from", "to"))
    assert to - since == timedelta(days=1)


async def test_the_next_times_of_an_expression_rise_and_lie_ahead(api: RunningApi) -> None:
    answer = (await api.ask("GET", "/api/cron?expression=*/7+*+*+*+*+*")).json
    times = [datetime.fromisoformat(text) for text in answer["nextRuns"]]
    assert times == sorted(times)
    assert all(time.second % 7 == 0 for time in times)
