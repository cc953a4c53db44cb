"""Routing, CORS, security headers, rate limit and bodies are as the framework of the replaced scheduler has them.

`tests/vectors/fastify/answers.json` holds its answers. Each difference that is wanted stands here, with its reason.
"""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.api.running import ADMIN, ANYWHERE, Answer, RunningApi, ask_raw, running, settings

VECTORS = Path(__file__).parents[1] / "vectors" / "fastify" / "answers.json"
ANSWERS: list[dict[str, Any]] = json.loads(VECTORS.read_text(encoding="utf-8"))
KEPT_HEADERS = re.compile(
    r"access-control-|x-|vary|retry-after|cross-origin|origin-agent|referrer|strict"
)


def other(row: dict[str, Any]) -> int | None:
    """Return the status that we answer with on purpose where the framework has another one."""
    request = row["request"]
    body, headers = request.get("body"), request.get("headers") or {}
    if (
        request["path"].endswith("/trigger")
        and request["method"] == "POST"
        and row["status"] == 200
    ):
        # What its reader let through its route refused, with 500; a caller's mistake is 400.
        return (
            200
            if body in ("{}", "", '{"userId":"a","userId":"b"}') or (body is None and headers)
            else 400
        )
    if row["status"] == 414:
        return 404  # a name may have 200 bytes; no job has this one
    return None


@pytest.fixture
async def limited(tmp_path: Path) -> Any:
    """Run an API with the limit and the origins of the vectors, reachable from every address of loopback."""
    told = settings(
        host=ANYWHERE, rate_limit=3, allowed_origins=("http://localhost:3000", "https://admin.example")
    )  # fmt: skip
    async with running(tmp_path, told, parts={"trigger_wait_seconds": 0.3}) as started:
        for name in ("a", "a/b", "a b", "ä", "..", "a;b", "a+b", "x"):
            await started.register(name=name)
        yield started


async def test_every_answer_of_the_framework_is_ours_or_differs_for_a_reason(
    limited: RunningApi,
) -> None:
    differences = []
    for row in ANSWERS:
        request = row["request"]
        answer = await asyncio.to_thread(
            ask_raw,
            limited.server.port,
            request["method"],
            request["path"],
            headers={**(request.get("headers") or {}), **ADMIN},
            body=request.get("body"),
            source=request.get("from") or "127.0.0.1",
        )
        differences += [f"{request}: {line}" for line in differing(row, answer)]
    assert differences == []


def differing(row: dict[str, Any], answer: Answer) -> list[str]:
    """Return how an answer is another one than the framework's."""
    lines = []
    expected = other(row) or row["status"]
    if answer.status != expected and not (
        expected == 200 and answer.status == 404 and "Job not found" in answer.text
    ):
        lines.append(f"status {answer.status}, not {expected}: {answer.text[:200]}")
    if row["status"] not in (400, 414) or "vary" in row["headers"]:
        wanted = {key: value for key, value in row["headers"].items() if KEPT_HEADERS.match(key)}
        shown = {key: value for key, value in answer.headers.items() if KEPT_HEADERS.match(key)}
        if wanted != shown:
            lines.append(f"headers {sorted(shown.items() ^ wanted.items())}")
    said = row["status"] == expected and expected in (404, 429) and row["body"]
    if said and json.loads(row["body"]) != answer.json:
        lines.append(f"body {answer.text}")
    return lines
