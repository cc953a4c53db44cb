"""What is decided on the page is decided as by the API; and a pause of all jobs gives back what was before."""

from tests.admin_page.samples import fill
from tests.admin_page.visitor import SAME_ORIGIN, Visitor, text_of
from tests.api.running import JOB, RunningApi

NAME = JOB["name"]


async def states(api: RunningApi) -> dict[str, tuple[bool, str, str | None]]:
    """Return what stands about each job: enabled, expression, and the reason of its pause."""
    return {
        job.name: (
            job.row.enabled is True,
            job.row.cron_expression or "",
            None if job.decisions.paused is None else job.decisions.paused.reason,
        )
        for job in await api.store.list()
    }


async def test_all_jobs_are_paused_with_a_reason_and_resume_gives_back_what_was_before(
    visitor: Visitor, api: RunningApi
) -> None:
    await fill(api)
    before = await states(api)
    asked = await visitor.see("pause")
    assert "6 jobs begin no run" in asked
    assert "1 is paused already, and keeps its own pause" in asked
    text = await visitor.send("pause-all", reason="the mail server moves")
    assert "6 jobs are paused." in text
    assert "6 jobs paused by admin token" in text
    assert "the mail server moves" in text
    during = await states(api)
    assert {reason for _, _, reason in during.values()} == {
        "the mail server moves",
        before["deletion-cleanup"][2],
    }
    assert {name: state[:2] for name, state in during.items()} == {
        name: state[:2] for name, state in before.items()
    }
    page = (await visitor.ask("GET", "jobs")).text
    paused_at = page.partition('name="paused_at" value="')[2].partition('"')[0]
    await api.register(name="came-later")
    text = await visitor.send("resume-all", paused_at=paused_at)
    assert "6 jobs are resumed." in text
    assert {
        name: state for name, state in (await states(api)).items() if name != "came-later"
    } == before


async def test_a_pause_that_somebody_set_meanwhile_is_not_ended_with_the_others(
    visitor: Visitor, api: RunningApi
) -> None:
    await api.register()
    await api.register(name="other", service="email-service")
    await visitor.send("pause-all", reason="first")
    page = (await visitor.ask("GET", "jobs")).text
    paused_at = page.partition('name="paused_at" value="')[2].partition('"')[0]
    await visitor.send("resume-job", name="other")
    await visitor.send("pause-job", name="other", reason="its own")
    assert f"{NAME} is resumed." in await visitor.send("resume-all", paused_at=paused_at)
    assert await states(api) == {
        NAME: (True, JOB["cronExpression"], None),
        "other": (True, JOB["cronExpression"], "its own"),
    }
    again = await visitor.send("resume-all", paused_at=paused_at)
    assert "No job was resumed." in again


async def test_a_pause_without_a_reason_is_refused(visitor: Visitor, api: RunningApi) -> None:
    await api.register()
    for form, more in (("pause-all", {}), ("pause-job", {"name": NAME})):
        answer = await visitor.ask("POST", form, {"reason": "  ", **more}, SAME_ORIGIN)
        assert answer.status == 400
        assert "reason" in text_of(answer.text)
    assert [line.action for line in await api.audited()] == ["register"]


async def test_workflows_hear_of_a_pause_of_all_and_what_is_not_heard_is_said(
    visitor: Visitor, api: RunningApi
) -> None:
    await api.register()
    api.workflows.calls.clear()
    await visitor.send("pause-all", reason="x")
    assert [call[:2] for call in api.workflows.calls] == [("configure", NAME)]
    api.workflows.away = True
    page = (await visitor.ask("GET", "jobs")).text
    paused_at = page.partition('name="paused_at" value="')[2].partition('"')[0]
    text = await visitor.send("resume-all", paused_at=paused_at)
    assert "1 of their workflows will hear of it when Temporal answers" in text


async def test_each_decision_is_that_of_the_api_and_stands_in_the_audit_with_who_and_what(
    visitor: Visitor, api: RunningApi
) -> None:
    await api.register()
    await visitor.send("disable", name=NAME)
    await visitor.send("enable", name=NAME)
    await visitor.send("set-cron", name=NAME, cron="30 8 * * 1-5")
    await visitor.send("pause-job", name=NAME, reason="a move")
    await visitor.send("resume-job", name=NAME)
    await visitor.send("reset", name=NAME)
    await visitor.send("trigger", name=NAME)
    await visitor.send("delete-job", name=NAME)
    await visitor.send("allow", name=NAME, **{"from": "jobs"})
    lines = (await api.audited())[1:]
    assert [(line.actor, line.action) for line in lines] == [
        ("admin token", action)
        for action in ("disable", "enable", "cron", "pause", "resume", "reset", "trigger", "delete", "allow")
    ]  # fmt: skip
    text = await visitor.see(f"audit?name={NAME}")
    for words in (
        "enabled: yes → no",
        "cron expression: 0 3 * * * → 30 8 * * 1-5",
        "paused: a move",
        "admin token",
    ):
        assert words in text


async def test_a_cron_expression_is_previewed_and_only_then_saved(
    visitor: Visitor, api: RunningApi
) -> None:
    await api.register()
    text = await visitor.see(f"job?name={NAME}&cron=30+8+*+*+1-5")
    assert "It would run at 08:30 on Monday to Friday" in text
    assert text.count("08:30:00") == 5
    assert (await states(api))[NAME][1] == JOB["cronExpression"]
    wrong = await visitor.ask("POST", "set-cron", {"name": NAME, "cron": "61 * * * *"}, SAME_ORIGIN)
    assert wrong.status == 400
    assert "61 is out of range" in text_of(wrong.text)
    assert 'value="61 * * * *"' in wrong.text
    assert (
        "At no time" in (never := await visitor.see(f"job?name={NAME}&cron=0+0+31+2+*"))
        or "at no time" in never
    )
    await visitor.send("set-cron", name=NAME, cron="30 8 * * 1-5")
    assert (await states(api))[NAME][1] == "30 8 * * 1-5"


async def test_every_reason_why_a_job_does_not_run_is_on_the_list(
    visitor: Visitor, api: RunningApi
) -> None:
    await fill(api)
    await api.register(name="gone-service", service="user-service")
    refused = api.parts.check_service

    def unknown(service: str) -> object:
        return refused("nobody-service" if service == "user-service" else service)

    api.parts.check_service = unknown
    text = await visitor.see("jobs")
    for words in (
        "disabled by admin token", "paused by admin token", "no date ever matches '0 0 31 2 *'",
        "its workflow does not run", "'nobody-service' has no URL here", "old-job deleted by admin token",
    ):  # fmt: skip
        assert words in text
    assert text.count("stuck") >= 2


async def test_the_list_is_narrowed_and_says_how_many(visitor: Visitor, api: RunningApi) -> None:
    await fill(api)
    table = (await visitor.ask("GET", "jobs?show=failed")).text.partition("<tbody>")[2]
    assert "nightly-report" in table
    assert "weekly-digest" not in table.partition("</tbody>")[0]
    assert "weekly-digest" in await visitor.see("jobs?find=DIGEST")
    assert "No job is like that" in await visitor.see("jobs?find=nobody")


async def test_a_long_list_comes_in_pages_and_none_is_left_out(
    visitor: Visitor, api: RunningApi
) -> None:
    names = [f"job-{number:03}" for number in range(120)]
    for name in names:
        await api.register(name=name)
    first, second = [(await visitor.ask("GET", f"jobs?page={page}")).text for page in ("1", "2")]
    assert [name for name in names if f">{name}<" in first] == names[:100]
    assert [name for name in names if f">{name}<" in second] == names[100:]
    assert "page 2 of 2" in await visitor.see("jobs?page=99")
    assert "job-119" in await visitor.see("jobs?find=job-119")


async def test_the_audit_is_read_page_by_page(visitor: Visitor, api: RunningApi) -> None:
    await api.register()
    for number in range(30):
        await api.ask("POST", f"/api/jobs/{NAME}/{'enable' if number % 2 else 'disable'}")
    await api.register(name="other", service="email-service")
    first = (await visitor.ask("GET", "audit")).text
    assert first.count("<tr>") == 1 + 33  # heading, tables made, 2 registered, 30 decided
    for number in range(30):
        await api.ask("POST", f"/api/jobs/{NAME}/{'enable' if number % 2 else 'disable'}")
    assert "Older" in await visitor.see("audit")
    second = (await visitor.ask("GET", "audit?page=2")).text
    assert second.count("<tr>") == 1 + 13
    assert "Newer" in text_of(second)
    assert "other" not in (await visitor.see(f"audit?name={NAME}"))
    for odd in ("0", "-1", "x", "9" * 30):
        assert (await visitor.ask("GET", f"audit?page={odd}")).status == 200
