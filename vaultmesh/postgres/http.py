"""Sends one HTTP request on a connection of its own. The client is loaded when it is needed: most runs need none."""

from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlsplit

from pydantic import JsonValue

from vaultmesh.domain.errors import DomainError, in_one_line

RUN_HEADER = "X-Scheduler-Execution-Id"
_MOST_BYTES = 1_000_000
_LONGEST_REASON = 200


class NotAnswered(DomainError):
    """A URL did not answer as it has to."""


def place(url: str) -> str:
    """Return scheme, host, port and path of a URL, for people: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


async def ask(
    method: str,
    url: str,
    *,
    body: Mapping[str, JsonValue] | None = None,
    expect: str,
    within: timedelta,
    run: str | None = None,
) -> None:
    """Send one request, and read its answer to the end; no redirect is followed.

    Raises:
        NotAnswered: no answer in time, or another status than `expect`, which is `200` or `2xx`.
    """
    import aiohttp  # noqa: PLC0415 - see above

    headers = {RUN_HEADER: run} if run is not None else {}
    seconds = within.total_seconds()
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True),
                timeout=aiohttp.ClientTimeout(total=seconds),
                trust_env=False,
            ) as session,
            session.request(
                method, url, json=body, headers=headers, allow_redirects=False
            ) as answer,
        ):
            await answer.content.read(_MOST_BYTES)
            status, reason = answer.status, answer.reason or ""
    except TimeoutError as error:
        message = f"no answer within {seconds:g}s"
        raise NotAnswered(message) from error
    except aiohttp.ClientError as error:
        message = in_one_line(f"not called or not answered: {error}", _LONGEST_REASON)
        raise NotAnswered(message) from error
    if not _fits(status, expect):
        message = in_one_line(f"HTTP {status} {reason}, not {expect}", _LONGEST_REASON)
        raise NotAnswered(message)


def _fits(status: int, expect: str) -> bool:
    return str(status) == expect or (expect.endswith("xx") and str(status)[0] == expect[0])
