"""Jobs on real parts, whatever dies: no slot is called twice, nothing overlaps, and every run's fate is written."""

import threading
import time
from collections.abc import Iterator

import pytest

from tests.jobs.job_system import JobSystem, kill
from vaultmesh.domain.jobs.run import is_fate_unknown

pytestmark = [pytest.mark.server, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(300)]
EVERY_TWO_SECONDS, NEVER = "*/2 * * * * *", "0 0 31 2 *"


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobSystem]:
    with JobSystem(tmp_path_factory.mktemp("jobs")) as running:
        yield running


def test_a_registered_job_fires_on_time_and_its_books_agree(system: JobSystem) -> None:
    system.start_worker()
    system.register("tick", EVERY_TWO_SECONDS)
    system.wait(lambda: len(system.handler.calls) >= 6, "six calls")
    status, answer = system.ask("POST", "/api/jobs/tick/disable", {})
    assert (status, answer["message"]) == (200, "Job tick disabled successfully")
    system.wait(
        lambda: all(row["status"] == "completed" for row in system.history("tick")), "all ends"
    )
    calls = len(system.handler.calls)
    lags = sorted(call["at"] % 2 for call in system.handler.calls[1:])
    assert lags[len(lags) // 2] < 1.5
    time.sleep(5)  # two slots of a job that has none any more
    assert len(system.handler.calls) == calls
    system.assert_books_agree("tick")


def test_a_worker_killed_in_the_middle_of_a_call_leaves_a_failed_run_and_calls_nobody_twice(
    system: JobSystem,
) -> None:
    system.start_worker()
    system.register("slow", NEVER, seconds=6)
    with pytest.raises(OSError):  # noqa: PT011 - whatever a connection that breaks raises
        _trigger_and_kill(system)
    system.start_worker()
    (row,) = system.wait(
        lambda: [row for row in system.history("slow") if row["status"] == "failed"],
        "the end of the run",
        120,
    )
    assert is_fate_unknown(row["error_message"])
    assert len(system.handler.calls) == 1
    system.assert_books_agree("slow")
    status, answer = system.ask("POST", "/api/jobs/slow/trigger", {"userId": "ada"})
    assert (status, answer["result"]["success"]) == (200, True)
    system.assert_books_agree("slow")


def _trigger_and_kill(system: JobSystem) -> None:
    """Kill the worker as soon as the handler has the call; its API's connection breaks."""

    def kill_when_called() -> None:
        system.wait(lambda: bool(system.handler.calls), "the call")
        system.kill_worker()

    threading.Thread(target=kill_when_called).start()
    system.ask("POST", "/api/jobs/slow/trigger", {})


def test_two_workers_call_each_slot_once(system: JobSystem) -> None:
    system.start_worker()
    system.start_worker()
    system.register("tick", EVERY_TWO_SECONDS)
    system.wait(lambda: len(system.handler.calls) >= 3, "three calls")
    kill(system.workers[0])
    before = len(system.handler.calls)
    system.wait(lambda: len(system.handler.calls) >= before + 4, "calls by the other worker", 120)
    system.ask("POST", "/api/jobs/tick/disable", {})
    system.wait(
        lambda: all(row["status"] != "running" for row in system.history("tick")), "all ends", 120
    )
    system.assert_books_agree("tick")


def test_a_server_killed_in_the_middle_of_a_call_changes_neither_its_end_nor_its_number(
    system: JobSystem,
) -> None:
    system.start_worker()
    system.register("slow", "*/30 * * * * *", seconds=8)
    system.wait(lambda: bool(system.handler.calls), "the call", 90)
    kill(system.temporal)
    run = system.handler.calls[0]["executionId"]
    time.sleep(12)  # the call ends while Temporal is away
    (row,) = [row for row in system.history("slow") if row["id"] == run]
    assert row["status"] == "completed"
    system.temporal.start()
    system.wait(lambda: len(system.handler.calls) >= 2, "the next slot", 120)
    system.ask("POST", "/api/jobs/slow/disable", {})
    system.wait(
        lambda: all(row["status"] != "running" for row in system.history("slow")), "all ends", 60
    )
    assert {row["status"] for row in system.history("slow")} == {"completed"}
    system.assert_books_agree("slow")


def test_a_lost_database_of_temporal_brings_every_job_back_and_calls_no_slot_again(
    system: JobSystem,
) -> None:
    system.start_worker()
    system.register("tick", EVERY_TWO_SECONDS)
    system.wait(lambda: len(system.handler.calls) >= 3, "three calls")
    system.kill_worker()
    system.replays.check_at(system.temporal.address)
    kill(system.temporal)
    database = system.temporal.database
    assert database is not None
    for place in database.parent.glob(f"{database.name}*"):
        place.unlink()
    system.temporal.start()
    before = len(system.handler.calls)
    system.start_worker()
    system.wait(lambda: len(system.handler.calls) >= before + 3, "calls of the new workflow", 120)
    system.ask("POST", "/api/jobs/tick/disable", {})
    system.wait(
        lambda: all(row["status"] != "running" for row in system.history("tick")), "all ends", 150
    )
    system.assert_books_agree("tick")
