"""Answers whether the API can do its work.

1. `/health` is 503 if the store or Temporal does not answer, or the store takes no writes.
2. `/readyz` looks at the store alone: without Temporal services can still register, and the reconciler tells it later.
3. `/livez` says that the process answers: nothing outside may restart it while calls are under way.
"""

import asyncio

from aiohttp import web

from vaultmesh.api.answers import json_answer
from vaultmesh.api.calls import Call
from vaultmesh.api.models import HealthAnswer, ProbeAnswer, UnhealthyAnswer
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.process.version import VERSION

ANSWER_WITHIN_SECONDS = 3.0
"""Probes wait 5 s at most."""


async def health(call: Call) -> HealthAnswer | web.Response:
    """Tell whether store and Temporal answer."""
    problems, jobs = [], 0
    try:
        async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
            jobs = await call.parts.store.count()
            await call.parts.store.check_writable()
    except StoreError as error:
        problems.append(f"the job store fails: {error}")
    except TimeoutError:
        problems.append(f"the job store did not answer within {ANSWER_WITHIN_SECONDS:g} s")
    if call.parts.temporal_silent():
        problems.append("Temporal does not answer")
    now = call.parts.now()
    if not problems:
        return HealthAnswer(status="healthy", timestamp=now, version=VERSION, jobs=jobs)
    unhealthy = UnhealthyAnswer(
        status="unhealthy", timestamp=now, version=VERSION, jobs=jobs, problems=tuple(problems)
    )
    return json_answer(unhealthy, 503)


async def live(call: Call) -> ProbeAnswer:
    """Tell that the process answers."""
    del call
    return ProbeAnswer(status="alive")


async def ready(call: Call) -> ProbeAnswer | web.Response:
    """Tell whether the store answers."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
            await call.parts.store.ping()
    except (StoreError, TimeoutError):
        return json_answer(ProbeAnswer(status="not ready"), 503)
    return ProbeAnswer(status="ready")
