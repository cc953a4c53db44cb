"""Somebody who is logged in to an admin page without a browser."""

from collections.abc import Mapping

from tests.api.running import ADMIN_TOKEN, Answer, RunningApi

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


async def log_in(api: RunningApi) -> None:
    """Have every later request send the session's cookie; the library keeps none of an address."""
    async with api.session.post(
        f"{api.url}/admin/log-in",
        data={"token": ADMIN_TOKEN},
        headers=SAME_ORIGIN,
        allow_redirects=False,
    ) as answer:
        assert answer.status == 303
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
    api.session.headers["Cookie"] = cookie


async def shown(api: RunningApi, place: str) -> tuple[int, str]:
    """Ask for a page."""
    answer = await api.ask("GET", f"/admin/{place}", headers={})
    return answer.status, answer.text


async def sent(api: RunningApi, form: str, fields: Mapping[str, str]) -> Answer:
    """Send a form as a browser does from the page itself; a redirect is not followed."""
    async with api.session.post(
        f"{api.url}/admin/{form}", data=fields, headers=SAME_ORIGIN, allow_redirects=False
    ) as answer:
        return Answer(answer.status, answer.headers, await answer.text())
