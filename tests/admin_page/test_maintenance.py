"""The pages of maintenance say how every task stands and how it ended, and decide as the command does."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from tests.admin_page.samples import HTML, MISSING
from tests.admin_page.visitor import SAME_ORIGIN, Visitor, text_of
from tests.api.running import RunningApi, running
from vaultmesh.api.admin.pages import to
from vaultmesh.domain.jobs.records import Actor, RunEnd, RunStart
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy
from vaultmesh.domain.jobs.tasks import TaskSchedule, task_job_name
from vaultmesh.domain.maintenance.outcomes import Outcome
from vaultmesh.process.maintenance_source import MaintenanceSource
from vaultmesh.process.settings import Settings

FILE = Actor(name="maintenance.yaml")
AWAY = "workflow will hear of it when Temporal answers"


def step(subject: str, outcome: Outcome, detail: str = "", **more: JsonValue) -> JsonValue:
    return {"subject": subject, "outcome": outcome.value, "detail": detail, **more}


async def offered(api: RunningApi, name: str, kind: str = "vacuum", **more: Any) -> None:
    """Enter a task as workers do."""
    schedule = TaskSchedule(kind=kind, **{"cron": "0 3 * * *", **more})
    change = await api.store.offer_task(task_job_name(name), schedule, FILE, datetime.now(UTC))
    await api.store.mark_told(change.now.name, change.now.revision)


async def ran(
    api: RunningApi,
    name: str,
    metadata: dict[str, JsonValue] | None = None,
    error: str | None = None,
    *,
    ago: timedelta = timedelta(hours=2),
    run: uuid.UUID | None = None,
) -> str:
    """Write a run as workers do, and return its id; without metadata it still runs."""
    start = RunStart(
        id=run or uuid.uuid4(),
        job_name=task_job_name(name),
        started_at=datetime.now(UTC) - ago,
        triggered_by=TriggeredBy.SCHEDULER,
        needs_job=False,
    )
    await api.store.open_run(start)
    if metadata is not None:
        status = RunStatus.COMPLETED if error is None else RunStatus.FAILED
        end = RunEnd(
            start=start,
            status=status,
            completed_at=start.started_at + timedelta(seconds=4),
            error_message=error,
            metadata=metadata,
        )
        await api.store.close_run(end)
    return str(start.id)


DENIED: Mapping[str, JsonValue] = {
    "outcome": "denied",
    "kind": "vacuum",
    "parts": {"done": 3, "skipped: locked": 1, "denied": 2, "not needed": 40},
    "steps": [
        step("public.orders", Outcome.DENIED, "only its owner may vacuum it", statements=["VACUUM public.orders"]),
        step("public.users", Outcome.DONE, rows=12),
    ],
}  # fmt: skip
DEPTH: Mapping[str, JsonValue] = {
    "outcome": "done",
    "kind": "check",
    "parts": {"done": 1},
    "steps": [step("select count(*) from jobs", Outcome.DONE, "12; fails above 1000")],
}


async def test_without_tasks_the_page_says_how_to_add_one(visitor: Visitor) -> None:
    text = await visitor.see("maintenance")
    assert "There are no maintenance tasks." in text
    assert "vmsh/config/maintenance.yaml" in text
    assert 'href="maintenance"' in (await visitor.ask("GET", "jobs")).text


async def test_every_task_shows_its_state_and_how_it_ended(
    visitor: Visitor, api: RunningApi
) -> None:
    for name in ("tidy", "busy", "held", "old", "lost"):
        await offered(api, name)
    await offered(api, "off", enabled=False)
    await offered(api, "depth", "check", cron="*/5 * * * *")
    now = datetime.now(UTC)
    await api.store.pause("maintenance:held", "a migration", Actor(name="ada@host"), now)
    await api.store.withdraw_task("maintenance:old", FILE, now)
    await ran(api, "busy", ago=timedelta(minutes=3))
    await ran(api, "tidy", dict(DENIED), "denied: public.orders: only its owner may vacuum it")
    await ran(api, "tidy", {"outcome": "done", "parts": {"done": 1}}, ago=timedelta(days=1))
    await ran(api, "depth", dict(DEPTH))
    api.workflows.trouble["maintenance:lost"] = MISSING
    text = await visitor.see("maintenance")
    for words in (
        "tidy vacuum waiting at 03:00 every day next in",
        "denied 2 h ago denied: public.orders: only its owner may vacuum it 3 done , 1 skipped: locked , 2 denied , 40 not needed 50 % of 2",
        "busy vacuum running since 3 min ago",
        "held vacuum paused paused by ada@host,",
        "a migration",
        "off vacuum disabled",
        "old no kind known gone",
        f"lost vacuum stuck {MISSING}",
        "depth check waiting every 5 minutes",
        "12; fails above 1000",
    ):
        assert words in text, (words, text)


async def test_a_task_shows_what_each_part_came_to_and_its_runs(
    visitor: Visitor, api: RunningApi
) -> None:
    await offered(api, "tidy", timeout_seconds=90)
    for number in range(1, 23):
        await ran(api, "tidy", {"outcome": "not needed", "parts": {}}, ago=timedelta(days=number))
    run = await ran(
        api, "tidy", dict(DENIED), "denied: public.orders: only its owner may vacuum it"
    )
    text = await visitor.see(to("task", name="tidy"))
    for words in (
        "1 min 30 s",
        "up to 3 times",
        "What the last run did",
        "VACUUM public.orders",
        "1–20 of 23",
        "22 (95 %)",
    ):
        assert words in text, (words, text)
    assert "21–23 of 23" in await visitor.see(to("task", name="tidy", offset=20))
    one = await visitor.see(to("task-run", name="tidy", id=run))
    assert "public.orders denied – 0 ms only its owner may vacuum it VACUUM public.orders" in one
    assert "public.users done 12" in one


async def test_a_pause_needs_a_reason_and_is_audited_and_ends_with_resume(
    visitor: Visitor, api: RunningApi
) -> None:
    await offered(api, "tidy")
    missing = await visitor.ask("POST", "pause-task", {"name": "tidy", "reason": " "}, SAME_ORIGIN)
    assert missing.status == 400
    text = await visitor.send("pause-task", name="tidy", reason="a migration")
    assert "tidy is paused. A run under way goes on." in text
    assert "paused by admin token" in text
    assert AWAY not in text
    assert api.workflows.calls[-1][:2] == ("configure", "maintenance:tidy")
    text = await visitor.send("resume-task", name="tidy", **{"from": "maintenance"})
    assert "tidy is resumed." in text
    assert "tidy vacuum waiting" in text
    lines = [(line.action, line.job_name, line.actor) for line in await api.audited()][-2:]
    assert lines == [(what, "maintenance:tidy", "admin token") for what in ("pause", "resume")]
    audit = await visitor.ask("GET", to("audit", name="maintenance:tidy"))
    assert f'href="{to("task", name="tidy")}"' in audit.text


async def test_without_temporal_a_pause_stands_and_a_run_is_refused_in_words(
    visitor: Visitor, api: RunningApi
) -> None:
    await offered(api, "tidy")
    api.workflows.away = True
    assert "Temporal does not answer." in await visitor.see("maintenance")
    text = await visitor.send("pause-task", name="tidy", reason="a migration")
    assert AWAY in text
    assert "has not heard the newest decision yet" in text
    (stored,) = await api.store.tasks()
    assert stored.paused is not None
    assert stored.paused.reason == "a migration"
    answer = await visitor.ask("POST", "run-task", {"name": "tidy"}, SAME_ORIGIN)
    assert answer.status == 500
    assert "Temporal can't be reached" in text_of(answer.text)


async def test_a_task_that_is_run_now_shows_its_run(visitor: Visitor, api: RunningApi) -> None:
    await offered(api, "depth", "check")

    async def make(name: str, run: uuid.UUID, _: str | None) -> None:
        await ran(api, name.partition(":")[2], dict(DEPTH), ago=timedelta(), run=run)

    api.workflows.make = make
    text = await visitor.send("run-task", name="depth")
    assert "depth was asked to run." in text
    assert "12; fails above 1000" in text
    (line,) = [line for line in await api.audited() if line.action == "trigger"]
    assert (line.actor, line.job_name) == ("admin token", "maintenance:depth")
    assert line.execution_id is not None
    api.workflows.busy = True
    answer = await visitor.ask("POST", "run-task", {"name": "depth"}, SAME_ORIGIN)
    assert (answer.status, "under way" in answer.text) == (409, True)


async def test_what_no_worker_offers_is_not_asked_to_run(visitor: Visitor, api: RunningApi) -> None:
    await offered(api, "old")
    await api.store.withdraw_task("maintenance:old", FILE, datetime.now(UTC))
    assert "Run now" not in await visitor.see(to("task", name="old"))
    answer = await visitor.ask("POST", "run-task", {"name": "old"}, SAME_ORIGIN)
    assert (answer.status, "no file names it any more" in answer.text) == (409, True)
    assert not [call for call in api.workflows.calls if call[0] == "trigger"]


@pytest.mark.parametrize("name", ["nobody", "", "x" * 300, "<i>", "a\x00b"])
async def test_a_name_that_no_task_has_is_refused_in_words(name: str, visitor: Visitor) -> None:
    for page in ("task", "task-run"):
        answer = await visitor.ask("GET", to(page, name=name, id="x"))
        assert answer.status == 404
        assert 'role="alert"' in answer.text
    for form in ("pause-task", "resume-task", "run-task"):
        sent = {"name": name, "reason": "x"}
        answer = await visitor.ask("POST", form, sent, SAME_ORIGIN)
        assert answer.status in (400, 404), form


async def test_what_a_task_said_is_text(visitor: Visitor, api: RunningApi) -> None:
    await offered(api, "tidy")
    hostile: dict[str, JsonValue] = {
        "outcome": HTML,
        "kind": "vacuum",
        "parts": {HTML: 1},
        "steps": [step(HTML, Outcome.FAILED, HTML, statements=[HTML]), {"outcome": "?"}, HTML],
    }
    run = await ran(api, "tidy", hostile, f"failed: {HTML}")
    await visitor.send("pause-task", name="tidy", reason=HTML)
    for page in ("maintenance", to("task", name="tidy"), to("task-run", name="tidy", id=run)):
        answer = await visitor.ask("GET", page)
        assert answer.status == 200
        assert "<script" not in answer.text
        assert "<img" not in answer.text
        assert "alert(3)" in answer.text


async def test_a_row_that_says_nonsense_hides_no_task(visitor: Visitor, api: RunningApi) -> None:
    await offered(api, "tidy")
    nonsense: dict[str, JsonValue] = {"outcome": 7, "parts": [1], "steps": {"a": "b"}, "kind": []}
    run = await ran(api, "tidy", nonsense)
    for page in ("maintenance", to("task", name="tidy"), to("task-run", name="tidy", id=run)):
        assert "completed" in await visitor.see(page)


async def test_a_form_of_another_site_decides_nothing(visitor: Visitor, api: RunningApi) -> None:
    await offered(api, "tidy")
    for form in ("pause-task", "resume-task", "run-task"):
        for forged in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}):
            sent = {"name": "tidy", "reason": "x"}
            answer = await visitor.ask("POST", form, sent, forged)
            assert answer.status == 403, form
    assert [line.action for line in await api.audited()] == ["offer"]
    assert api.workflows.calls == []


async def test_the_file_of_this_process_shows_what_no_worker_took_up_and_why_it_is_refused(
    tmp_path: Path,
) -> None:
    file = tmp_path / "maintenance.yaml"
    database = "database: postgresql://u@db/shop\n"
    file.write_text(f"{database}tasks: {{fresh: {{kind: vacuum, tables: all}}}}\n")
    environment = {"VMSH_ROOT": str(tmp_path), "VMSH_MAINTENANCE": str(file)}
    source = MaintenanceSource(Settings.from_environment(environment), environment)
    async with running(tmp_path, parts={"maintenance": source}) as api, Visitor.of(api) as visitor:
        await visitor.log_in()
        text = await visitor.see("maintenance")
        assert "fresh vacuum not offered no worker with role jobs has taken it up yet" in text
        text = await visitor.send("pause-task", name="fresh", reason="not yet")
        assert "not yet" in text
        file.write_text(f"{database}tasks: {{fresh: {{kind: vacum}}}}\n")
        text = await visitor.see("maintenance")
        assert "The maintenance.yaml of this worker is refused." in text
        assert "vacuum" in text
