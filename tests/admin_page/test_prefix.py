"""Below a prefix that a proxy strips, as an ingress does, everything works as without."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import Browser

from devnet.ports import LOOPBACK
from tests.admin_page.samples import SCRIPT, fill
from tests.api.running import ADMIN_TOKEN, JOB, RunningApi
from vaultmesh.api.admin.cookies import SESSION

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]
PREFIX, NAME = "/scheduler", JOB["name"]
OWN = {"host", "content-length", "transfer-encoding", "connection", "content-encoding"}


@asynccontextmanager
async def proxy(upstream: str) -> AsyncIterator[str]:
    """Serve an API below the prefix; a path without it is 404. Returns the public URL of the API."""

    async def passed(request: web.Request) -> web.StreamResponse:
        path = request.raw_path
        if not path.startswith(f"{PREFIX}/"):
            return web.Response(status=404, text="the proxy knows no such path")
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in OWN
        }
        headers["X-Forwarded-Host"] = request.host
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session,
            session.request(
                request.method, upstream + path.removeprefix(PREFIX), headers=headers,
                data=await request.read(), allow_redirects=False,
            ) as answer,
        ):  # fmt: skip
            passed_on = web.Response(status=answer.status, body=await answer.read())
            for name, value in answer.headers.items():
                if name.lower() not in OWN | {"content-type"}:
                    passed_on.headers.add(name, value)
            passed_on.headers["Content-Type"] = answer.headers.get("Content-Type", "text/plain")
            return passed_on

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", passed)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    try:
        yield f"http://{LOOPBACK}:{runner.addresses[0][1]}{PREFIX}"
    finally:
        await runner.cleanup()


async def test_below_a_stripped_prefix_people_log_in_look_decide_and_log_out(
    browser: Browser, api: RunningApi
) -> None:
    await fill(api)
    async with proxy(api.url) as url:
        context = await browser.new_context(java_script_enabled=False)
        page = await context.new_page()
        wrong: list[str] = []
        page.on(
            "request",
            lambda request: (
                wrong.append(request.url) if not request.url.startswith(f"{url}/admin") else None
            ),
        )
        page.on(
            "response", lambda answer: wrong.append(answer.url) if answer.status >= 400 else None
        )
        await page.goto(f"{url}/admin")
        await page.fill("#token", ADMIN_TOKEN)
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{url}/admin/jobs")
        (cookie,) = [each for each in await context.cookies() if each.get("name") == SESSION]
        assert (cookie.get("path"), cookie.get("httpOnly"), cookie.get("sameSite")) == (
            f"{PREFIX}/admin",
            True,
            "Strict",
        )
        await page.get_by_role("link", name=SCRIPT).click()
        await page.get_by_role("link", name="All jobs").click()
        await page.get_by_role("link", name=NAME).click()
        await page.fill("#expression", "30 8 * * 1-5")
        await page.get_by_role("button", name="Preview").click()
        await page.get_by_role("button", name="Save").click()
        await page.get_by_text(f"{NAME} runs at 08:30 on Monday to Friday from now on.").wait_for()
        await page.locator("#runs tbody a").first.click()
        await page.get_by_text("What the service answered").wait_for()
        await page.get_by_role("link", name="Audit").click()
        await page.get_by_role("button", name="Log out").click()
        await page.get_by_text("You are logged out.").wait_for()
        assert page.url == f"{url}/admin/log-in"
        assert wrong == []
        await page.goto(f"{url}/admin/no/such/page")
        await page.get_by_role("link", name="Log in").click()
        assert page.url == f"{url}/admin/log-in"
        await context.close()
    job = await api.store.get(NAME)
    assert job is not None
    assert job.row.cron_expression == "30 8 * * 1-5"
