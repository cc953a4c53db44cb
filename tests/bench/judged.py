"""Runs benchmarks as `python -m bench` does, on servers whose histories are judged before they are killed.

`demo` starts a server of its own; the tests of `demo` judge what it leaves.
"""

import sys
from typing import Any

from typing_extensions import override

import bench.local_system
from bench import bare_worker, schedules_worker
from bench.__main__ import main
from devnet.temporal import TemporalServer
from tests.support.replays import Replays


class JudgedServer(TemporalServer):
    """A server whose histories are judged before it ends."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._replays = Replays(foreign=[bare_worker.WORKFLOW, schedules_worker.WORKFLOW])
        self._is_up = False

    @override
    def start(self) -> None:
        super().start()
        self._is_up = True

    @override
    def kill(self) -> None:
        try:
            if self._is_up:
                self._is_up = False
                self._replays.check_at(self.address)
        finally:
            super().kill()


if __name__ == "__main__":
    bench.local_system.TemporalServer = JudgedServer  # type: ignore[misc, attr-defined]
    sys.exit(main(sys.argv[1:]))
