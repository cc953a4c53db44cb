"""Programs pause all jobs with a reason and give back what was before; each route keeps the API's forms."""

from tests.api.running import JOB, RunningApi
from vaultmesh.domain.instants import write_time

NAME = JOB["name"]


async def test_all_jobs_are_paused_and_resumed_by_the_instant_of_their_pause(
    api: RunningApi,
) -> None:
    await api.register()
    await api.register(name="before", service="email-service")
    await api.ask("POST", "/api/jobs/before/pause", {"reason": "its own"})
    answer = await api.ask("POST", "/api/pause", {"reason": "a move", "userId": "user_1"})
    assert answer.json == {"message": "1 jobs paused successfully", "jobs": [NAME], "unheard": []}
    line = (await api.audited())[-1]
    assert (line.action, line.claimed_user) == ("pause", "user_1")
    assert line.detail == {"paused": {"was": None, "is": "a move"}}
    stored = await api.store.get(NAME)
    assert stored is not None
    assert stored.decisions.paused is not None
    since = write_time(stored.decisions.paused.at)
    answer = await api.ask("POST", "/api/resume", {"pausedAt": since})
    assert answer.json["jobs"] == [NAME]
    assert (await api.ask("POST", "/api/resume", {"pausedAt": since})).json["jobs"] == []
    before = await api.store.get("before")
    assert before is not None
    assert before.decisions.paused is not None
    assert before.decisions.paused.reason == "its own"


async def test_what_could_not_be_told_is_named_and_stands_all_the_same(api: RunningApi) -> None:
    await api.register()
    api.workflows.away = True
    answer = await api.ask("POST", "/api/pause", {"reason": "a move"})
    assert (answer.status, answer.json["unheard"]) == (200, [NAME])
    stored = await api.store.get(NAME)
    assert stored is not None
    assert stored.decisions.paused is not None
    assert [revision.name for revision in await api.store.untold()] == [NAME]


async def test_a_pause_needs_a_reason_and_a_resume_an_instant(api: RunningApi) -> None:
    await api.register()
    at = f"/api/jobs/{NAME}"
    for path, body in (
        ("/api/pause", {}), ("/api/pause", {"reason": ""}), ("/api/pause", {"reason": "x" * 501}), ("/api/pause", {"reason": "\x00"}),
        (f"{at}/pause", {}), ("/api/resume", {}), ("/api/resume", {"pausedAt": "yesterday"}), ("/api/resume", {"pausedAt": 5}),
    ):  # fmt: skip
        answer = await api.ask("POST", path, body)
        assert (answer.status, answer.json["error"][:15]) == (
            400,
            "Failed to pause" if "pause" in path else "Failed to resum",
        ), body
    for verb in ("pause", "resume"):
        assert (await api.ask("POST", f"/api/jobs/nobody/{verb}", {"reason": "x"})).status == 404
    assert [line.action for line in await api.audited()] == ["register"]


async def test_a_job_is_paused_and_resumed_alone(api: RunningApi) -> None:
    await api.register()
    at = f"/api/jobs/{NAME}"
    assert (await api.ask("POST", f"{at}/pause", {"reason": "x"})).json[
        "message"
    ] == f"Job {NAME} paused successfully"
    assert (await api.ask("GET", at)).json["nextRunAt"] is not None  # it stays armed
    assert (await api.ask("POST", f"{at}/resume")).json[
        "message"
    ] == f"Job {NAME} resumed successfully"
    assert [line.action for line in await api.audited()] == ["register", "pause", "resume"]
