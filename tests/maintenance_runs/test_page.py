"""On the admin page of a real worker a task is paused, resumed and run, and each part of the run stands there."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from devnet.ports import LOOPBACK
from tests.admin_page.visitor import Visitor
from tests.jobs.job_system import ADMIN
from tests.maintenance_runs.task_system import TaskSystem
from vaultmesh.api.admin.pages import to

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(700)]


def visited(system: TaskSystem, look: Callable[[Visitor], Awaitable[str]]) -> str:
    """Log in to the page, and return what a look at it gives."""

    async def looked() -> str:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            visitor = Visitor(f"http://{LOOPBACK}:{system.api_port}/admin/", session)
            assert (await visitor.log_in(ADMIN)).status == 303
            return await look(visitor)

    return asyncio.run(looked())


def test_a_decision_on_the_page_reaches_the_workflow_and_a_run_shows_what_was_sent(
    system: TaskSystem,
) -> None:
    system.write({"tidy": {}})
    system.start_worker()
    system.says("tidy", lambda view: view["state"] == "waiting", "the task")
    system.wait(
        lambda: (
            "tidy vacuum waiting" in visited(system, lambda visitor: visitor.see("maintenance"))
        ),
        "the page to say so: Temporal's list of workflows lags",
        30,
    )
    text = visited(
        system, lambda visitor: visitor.send("pause-task", name="tidy", reason="a migration")
    )
    assert "paused by admin token" in text
    assert "hear of it" not in text
    system.says("tidy", lambda view: view["paused"] is not None, "the pause")
    visited(system, lambda visitor: visitor.send("run-task", name="tidy"))
    (row,) = system.ended("tidy")
    place = to("task-run", name="tidy", id=row["id"])
    text = visited(system, lambda visitor: visitor.see(place))
    assert "public.goods done" in text
    assert "VACUUM (ANALYZE" in text
    visited(system, lambda visitor: visitor.send("resume-task", name="tidy"))
    system.says("tidy", lambda view: view["paused"] is None, "the end of the pause")
    (report,) = system.command("status", "tidy")["tasks"]
    assert (report["state"], report["last_run"]["outcome"]) == ("waiting", "done")
    assert report["last_run"]["parts"] == {"done": 1}
