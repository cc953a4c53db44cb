"""Puts modules that wait longest first, so that no process is left with one of them at the end; what only waits has processes of its own.

A module that only waits sleeps until a minute of the clock is over, a period has passed or a time-out has come, and leaves the
processors to others. Four processes that compute keep two cores busy; two more that have nothing but such modules make none slower.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

LONGEST_FIRST = ("fault", "slow", "server", "btc", "evm")
"""Marks, from what takes minutes to what takes seconds; what is not quick comes next, and what is, last."""
ONLY_WAITING = (
    "tests/faults/test_restores.py",
    "tests/jobs/test_cut_over.py",
    "tests/faults/test_deadlines.py",
    "tests/faults/test_endpoints.py",
    "tests/jobs/test_moving_over.py",
    "tests/chain/test_bitcoin_anchors.py",
    "tests/jobs/test_kills.py",
    "tests/faults/test_changed_settings.py",
    "tests/jobs/test_losses.py",
    "tests/faults/test_ghosts.py",
)
"""Modules that take minutes and a tenth to a quarter of a processor, those that take longest first."""
BESIDE = 3
"""One of so many processes is set apart for them."""


class WaitingBeside(LoadFileScheduling):
    """Gives the modules that only wait to some processes, which have no others; the rest take what is left of them at the end."""

    _beside: "Sequence[WorkerController]" = ()

    @override
    def schedule(self) -> None:
        """Set processes apart before the first module is given out: the last ones, which are let go first where modules are few."""
        if self.collection is None:
            self._beside = self.nodes[len(self.nodes) - len(self.nodes) // BESIDE :]
        super().schedule()

    @override
    def _assign_work_unit(self, node: "WorkerController") -> None:
        module = self._next(node)
        if module is None:
            node.shutdown()
            return
        self.workqueue.move_to_end(module, last=False)
        super()._assign_work_unit(node)

    @override
    def _reschedule(self, node: "WorkerController") -> None:
        if self._next(node) is not None:
            super()._reschedule(node)
        elif not node.shutting_down:
            node.shutdown()

    def _next(self, node: "WorkerController") -> str | None:
        """Return the module that a process gets next."""
        if node in self._beside:
            return next((module for module in ONLY_WAITING if module in self.workqueue), None)
        computing = (module for module in self.workqueue if module not in ONLY_WAITING)
        return next(computing, next(iter(self.workqueue), None))


def put_long_modules_first(items: list[pytest.Item]) -> None:
    """Sort modules by the slowest mark in them; a module's tests stay together, in their order."""
    ranks: dict[str, int] = {}
    for item in items:
        module = item.nodeid.partition("::")[0]
        ranks[module] = min(rank_of(item), ranks.get(module, len(LONGEST_FIRST) + 1))
    items.sort(key=lambda item: ranks[item.nodeid.partition("::")[0]])


def rank_of(item: pytest.Item) -> int:
    """Return a test's place; 0 comes first."""
    marks: Iterable[str] = {mark.name for mark in item.iter_markers()}
    places = [place for place, name in enumerate(LONGEST_FIRST) if name in marks]
    return min(places, default=len(LONGEST_FIRST) + ("quick" in marks))
