"""The services and the admin page that used the scheduler before us send what they always sent, and get what they expect."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.running import ADMIN, SERVICE, RunningApi, running, settings

EMAIL = "email-service"
REGISTRATIONS: list[dict[str, Any]] = [
    {"name": "weekly-digest", "displayName": "Weekly Digest", "description": "Send the digest", "cronExpression": "0 9 * * 1", "enabled": True,
     "jobType": "email", "service": EMAIL, "endpoint": "/api/jobs/weekly-digest", "config": {"batchSize": 100, "maxEmails": 10000}},
    {"name": "re-engagement", "displayName": "Re-engagement Emails", "description": "Write to inactive users", "cronExpression": "0 10 * * *",
     "enabled": True, "jobType": "email", "service": EMAIL, "endpoint": "/api/jobs/re-engagement",
     "config": {"daysInactive": 7, "batchSize": 50, "maxEmails": 500}},
    {"name": "queue-cleanup", "displayName": "Email Queue Cleanup", "description": "Remove old mails", "cronExpression": "0 2 * * *",
     "enabled": True, "jobType": "cleanup", "service": EMAIL, "endpoint": "/api/jobs/queue-cleanup", "config": {"retentionDays": 30}},
    {"name": "deletion-cleanup", "displayName": "Account Deletion", "description": "Process deletion requests", "cronExpression": "0 2 * * *",
     "enabled": True, "jobType": "cleanup", "service": "user-service", "endpoint": "/api/jobs/process-deletions",
     "config": {"gracePeriodDays": 30, "batchSize": 100, "sendReminders": True}},
]  # fmt: skip
NAMES = ["deletion-cleanup", "queue-cleanup", "re-engagement", "weekly-digest"]


def as_node_sends(registration: dict[str, Any]) -> str:
    """Return a registration as `JSON.stringify` writes it."""
    return json.dumps(registration, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize("token", [SERVICE, {}], ids=["with token", "without"])
async def test_both_services_register_at_each_start(token: dict[str, str], tmp_path: Path) -> None:
    told = settings() if token else settings(service_token=None, anonymous_registration=True)
    async with running(tmp_path, told) as api:
        for _ in range(2):
            for registration in REGISTRATIONS:
                headers = {"Content-Type": "application/json", "Accept": "*/*", "Accept-Language": "*", "Sec-Fetch-Mode": "cors", "User-Agent": "node", **token}  # fmt: skip
                answer = await api.ask(
                    "POST", "/api/jobs/register", data=as_node_sends(registration), headers=headers
                )
                assert answer.json == {
                    "success": True,
                    "message": f"Job {registration['name']} registered successfully",
                }
        jobs = (await api.ask("GET", "/api/jobs")).json["jobs"]
        assert [job["name"] for job in jobs] == NAMES
        for registration in REGISTRATIONS:
            (job,) = [job for job in jobs if job["name"] == registration["name"]]
            assert {key: job[key] for key in registration} == registration
            assert job["nextRunAt"]


async def test_the_admin_page_does_all_it_can_do(api: RunningApi) -> None:
    origin = {"Origin": "http://localhost:3000"}
    page, sends = {**ADMIN, **origin}, {**ADMIN, **origin, "Content-Type": "application/json"}
    for registration in REGISTRATIONS:
        await api.ask("POST", "/api/jobs/register", registration, headers=SERVICE)

    async def asked(method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else as_node_sends(body)
        answer = await api.ask(method, path, data=data, headers=page if body is None else sends)
        assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.status == 200, answer.text
        return answer.json

    at = "/api/jobs/weekly-digest"
    assert [job["name"] for job in (await asked("GET", "/api/jobs"))["jobs"]] == NAMES
    assert (await asked("GET", at))["isRunning"] is True
    assert (await asked("GET", f"{at}/stats?days=30"))["period"]["days"] == 30
    assert (await asked("GET", f"{at}/history?limit=10&offset=0"))["pagination"]["limit"] == 10
    assert (await asked("POST", f"{at}/disable"))["message"]
    assert (await asked("GET", at))["nextRunAt"] is None
    assert (await asked("POST", f"{at}/enable"))["message"]
    assert (await asked("PUT", f"{at}/cron", {"cronExpression": "30 8 * * 1"}))[
        "cronExpression"
    ] == "30 8 * * 1"

    async def make(_: str, run: Any, user: str | None) -> None:
        assert user == "user_2abc"
        await api.made(run, items_processed=1)

    api.workflows.make = make
    api.parts.trigger_wait_seconds = 0.3
    assert (
        "triggered successfully"
        in (await asked("POST", f"{at}/trigger", {"userId": "user_2abc"}))["message"]
    )


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
async def test_a_browser_may_ask_before_it_sends(method: str, api: RunningApi) -> None:
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,content-type"}  # fmt: skip
    answer = await api.ask("OPTIONS", "/api/jobs/weekly-digest/cron", headers=headers)
    assert (answer.status, answer.text) == (204, "")
    assert method in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization,content-type"


async def test_a_page_of_another_origin_is_named_nowhere(api: RunningApi) -> None:
    for method in ("GET", "OPTIONS"):
        headers = {
            **ADMIN,
            "Origin": "https://evil.example",
            "Access-Control-Request-Method": "GET",
        }
        answer = await api.ask(method, "/api/jobs", headers=headers)
        assert "Access-Control-Allow-Origin" not in answer.headers
