"""A worker that kills itself at one step: `CRASH_AT=before:broadcast`, once, marked by the file `CRASH_MARK`.

"before" is before the step does anything, "after" when it has done everything and the server does not know yet.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import temporalio.worker
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

import worker
from tests.faults.impatient import notice_the_dead_soon
from vaultmesh.process.exiting import run_and_exit

WHEN, _, STEP = os.environ["CRASH_AT"].partition(":")
MARK = Path(os.environ["CRASH_MARK"])


class Crashing(Interceptor):
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's own name
        return _Crash(next)


class _Crash(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's own name
        mine = activity.info().activity_type == STEP
        if mine and WHEN == "before":
            crash()
        try:
            return await super().execute_activity(input)
        finally:
            if mine and WHEN == "after":
                crash()


def crash() -> None:
    if not MARK.exists():
        MARK.touch()
        os.kill(os.getpid(), signal.SIGKILL)


class CrashingWorker(temporalio.worker.Worker):
    def __init__(self, *arguments: Any, interceptors: Any = (), **options: Any) -> None:
        super().__init__(*arguments, interceptors=[Crashing(), *interceptors], **options)


if __name__ == "__main__":
    worker.Worker = CrashingWorker
    notice_the_dead_soon()  # its own death
    run_and_exit(lambda: worker.main(sys.argv[1:]))
