"""Measures how soon jobs go on after a kill, and how soon a trigger of a slow job is answered."""

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from bench.figures import Row, at_most
from bench.job_system import Api, JobBench, registration
from bench.system import BenchError

NEEDS = "server and two workers; about 3 minutes"
_CLOSED_SECONDS, _CALL_SECONDS, _TRIGGER_SECONDS = 20.0, 10.0, 26.0
_SLOW, _KILLED, _OFTEN = "slow", "killed", "often"
_NEVER, _EVERY_TWO_SECONDS = "0 0 31 2 *", "*/2 * * * * *"
_LONG_SECONDS = 60
"""A call that nothing here waits for."""
_AWAY_SECONDS, _AWAY_QUICK = 20.0, 2.0
_WITHIN_SECONDS = 90.0
_LOOK_SECONDS = 0.05


def measure(*, quick: bool) -> list[Row]:
    """Measure each once; quickly, with a server that is away for a moment."""
    with JobBench(survives=True) as system:
        system.start_jobs_worker()
        api = system.api()
        for name, cron, seconds in (
            (_SLOW, _NEVER, _LONG_SECONDS),
            (_KILLED, _NEVER, _LONG_SECONDS),
            (_OFTEN, _EVERY_TWO_SECONDS, 0),
        ):
            api.ask("POST", "/api/jobs/register", registration(name, cron, seconds=seconds))
        answered = _answered(api)
        called = _next_call(system, _AWAY_QUICK if quick else _AWAY_SECONDS)
        closed = _closed(system)
    return [
        at_most(
            "a run takes a minute: its trigger is answered after",
            answered,
            _TRIGGER_SECONDS,
            "{:.1f} s",
        ),
        at_most(
            "server killed, back after a while: the next call after",
            called,
            _CALL_SECONDS,
            "{:.1f} s",
        ),
        at_most(
            "worker killed in a call, another one there: the run's row is closed after",
            closed,
            _CLOSED_SECONDS,
            "{:.1f} s",
        ),
    ]


def _answered(api: Api) -> float:
    started = time.monotonic()
    answer = api.ask("POST", f"/api/jobs/{_SLOW}/trigger", {})
    if answer["result"]["metadata"].get("status") != "running":
        message = f"the run ended: {answer}"
        raise BenchError(message)
    return time.monotonic() - started


def _next_call(system: JobBench, away_seconds: float) -> float:
    """Kill the server, start it again, and return how long after it answers a job is called."""
    calls = system.handler.calls
    _until(lambda: any(call.body["jobName"] == _OFTEN for call in tuple(calls)), "a first call")
    os.kill(system.temporal.pid, signal.SIGKILL)
    time.sleep(away_seconds)
    before = len(calls)
    system.temporal.start()
    back = time.time()
    _until(lambda: len(calls) > before, "a call after the server is back")
    return max(0.0, calls[before].at - back)


def _closed(system: JobBench) -> float:
    """Kill the worker that makes a call, and return how long its run's row still says that it runs."""
    calls, before = system.handler.calls, len(system.handler.calls)
    trigger = threading.Thread(target=_triggered, args=(system.ports[0],), daemon=True)
    trigger.start()
    _until(
        lambda: any(call.body["jobName"] == _KILLED for call in calls[before:]),
        "the call of a worker that is to be killed",
    )
    victim = system.workers[0]
    system.start_jobs_worker()
    api = system.api()
    os.kill(victim.pid, signal.SIGKILL)
    killed = time.monotonic()
    _until(lambda: _last_status(api, _KILLED) != "running", "the end of the run")
    seconds = time.monotonic() - killed
    trigger.join()
    api.close()
    return seconds


def _triggered(port: int) -> None:
    """Ask for a run; the answer is cut off with the worker."""
    with suppress(BenchError, http.client.HTTPException):
        Api(port).ask("POST", f"/api/jobs/{_KILLED}/trigger", {})


def _last_status(api: Api, name: str) -> str:
    (run,) = api.ask("GET", f"/api/jobs/{name}/history?limit=1")["executions"]
    return str(run["status"])


def _until(is_so: Callable[[], bool], what: str) -> None:
    """Ask until it is so.

    Raises:
        BenchError: it was not so in time.
    """
    deadline = time.monotonic() + _WITHIN_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            message = f"waited {_WITHIN_SECONDS:g} s for {what}"
            raise BenchError(message)
        time.sleep(_LOOK_SECONDS)
