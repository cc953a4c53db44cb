"""Visits the admin page over plain HTTP, as a browser does: keeps cookies, and says where its forms come from."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from re import findall
from typing import Self
from urllib.parse import urlencode

import aiohttp

from tests.api.running import ADMIN_TOKEN, Answer, RunningApi

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
FORM = "application/x-www-form-urlencoded"


@dataclass
class Visitor:
    """Somebody with a browser of their own."""

    url: str
    """Of the folder of all pages, with a slash at its end."""
    session: aiohttp.ClientSession
    cookies: dict[str, str] = field(default_factory=dict)
    set_cookies: list[str] = field(default_factory=list)
    """Headers `Set-Cookie` of the last answer."""

    @classmethod
    @asynccontextmanager
    async def of(cls, api: RunningApi) -> AsyncIterator[Self]:
        """Visit an API."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield cls(f"{api.url}/admin/", session)

    async def ask(
        self,
        method: str,
        page: str,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request with the cookies that were set; no redirect is followed."""
        sent = {"Cookie": "; ".join(f"{key}={value}" for key, value in self.cookies.items())}
        sent |= headers or {}
        data = None if fields is None else urlencode(fields)
        if data is not None:
            sent.setdefault("Content-Type", FORM)
        async with self.session.request(
            method, self.url + page, data=data, headers=sent, allow_redirects=False
        ) as answer:
            self.set_cookies = answer.headers.getall("Set-Cookie", [])
            for name, cookie in answer.cookies.items():
                if cookie["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = cookie.value
            return Answer(answer.status, answer.headers, await answer.text())

    async def see(self, page: str) -> str:
        """Return a page's text, as people read it."""
        answer = await self.ask("GET", page)
        assert answer.status == 200, (answer.status, answer.headers, answer.text)
        return text_of(answer.text)

    async def send(self, page: str, **fields: str) -> str:
        """Send a form of our own, and return the page that follows."""
        answer = await self.ask("POST", page, fields, SAME_ORIGIN)
        assert answer.status == 303, (answer.status, answer.text)
        return await self.see(answer.headers["Location"])

    async def log_in(self, token: str = ADMIN_TOKEN, **fields: str) -> Answer:
        """Log in with a token."""
        return await self.ask("POST", "log-in", {"token": token, **fields}, SAME_ORIGIN)


def text_of(html: str) -> str:
    """Return what a page says, in one line."""
    body = html.partition("<main")[2].partition("</main>")[0]
    return " ".join(unescape(" ".join(findall(r">([^<]+)<", f"{body}<"))).split())
