"""Modules that only wait go to processes of their own, and no process is idle while there is work for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.order import ONLY_WAITING, WaitingBeside
from vaultmesh.process.settings import REPOSITORY

GivesOut = Callable[[Sequence[str], int], list[list[str]]]
COMPUTING = [f"tests/computes/test_{number}.py" for number in range(6)]


@dataclass(eq=False)
class Process:
    """One of xdist's processes, as the scheduler knows it."""

    gateway: Any
    scheduler: WaitingBeside
    modules: list[str] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    shutting_down: bool = False

    def send_runtest_some(self, places: Sequence[int]) -> None:
        """Take tests."""
        assert not self.shutting_down
        self.waiting += places
        collected = self.scheduler.registered_collections[self]  # type: ignore[index]
        self.modules += dict.fromkeys(collected[place].split("::")[0] for place in places)

    def shutdown(self) -> None:
        """Take no more."""
        self.shutting_down = True

    def run(self) -> bool:
        """End a test, which a process does only if it knows the next one or that there is none; returns whether it did."""
        if not self.waiting or (len(self.waiting) == 1 and not self.shutting_down):
            return False
        self.scheduler.mark_test_complete(self, self.waiting.pop(0))  # type: ignore[arg-type]
        return True


@pytest.fixture
def give_out(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> GivesOut:
    """Return what lets processes run three tests of each module in turn, and says which modules each of them got."""
    return partial(given_out, pytestconfig, monkeypatch)


def given_out(
    config: pytest.Config, monkeypatch: pytest.MonkeyPatch, modules: Sequence[str], processes: int
) -> list[list[str]]:
    """Do so."""
    monkeypatch.setattr(config.option, "tx", ["popen"] * processes)
    monkeypatch.setattr(config.option, "loadscopereorder", False)
    scheduler = WaitingBeside(config)
    made = [Process(SimpleNamespace(id=f"gw{n}"), scheduler) for n in range(processes)]
    collected = [f"{module}::test_{number}" for module in modules for number in range(3)]
    for process in made:
        scheduler.add_node(process)  # type: ignore[arg-type]
        scheduler.add_node_collection(process, collected)  # type: ignore[arg-type]
    scheduler.schedule()
    while sum(process.run() for process in made):
        pass
    assert all(process.shutting_down for process in made)
    assert sum(len(process.modules) for process in made) == len(modules)
    assert all(not process.waiting for process in made)
    return [process.modules for process in made]


@pytest.mark.parametrize(("processes", "count"), [(3, 1), (5, 1), (6, 2)])
def test_what_only_waits_has_processes_of_its_own(
    give_out: GivesOut, processes: int, count: int
) -> None:
    modules = give_out([*COMPUTING, *ONLY_WAITING], processes)
    others, beside = modules[:-count], modules[-count:]
    assert [each[0] for each in beside] == list(ONLY_WAITING[:count])
    assert all(set(each) <= set(ONLY_WAITING) for each in beside)
    assert all(each[0] in COMPUTING for each in others)


def test_others_take_what_is_left_of_it_at_the_end(give_out: GivesOut) -> None:
    for computing in range(3):
        give_out([*COMPUTING[:computing], *ONLY_WAITING], 3)


@pytest.mark.parametrize("processes", [1, 2, 3, 5, 9])
def test_all_is_run_where_nothing_only_waits(give_out: GivesOut, processes: int) -> None:
    for count in range(1, len(COMPUTING) + 1):
        give_out(COMPUTING[:count], processes)


def test_two_processes_share_everything(give_out: GivesOut) -> None:
    modules = [*ONLY_WAITING, *COMPUTING]
    assert all(any(name in COMPUTING for name in each) for each in give_out(modules, 2))


def test_modules_that_only_wait_exist() -> None:
    assert [name for name in ONLY_WAITING if not (REPOSITORY / name).exists()] == []
