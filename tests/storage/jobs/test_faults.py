"""Whatever dies or hangs: each run counts once, and nobody waits long for a store that does not answer."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from devnet.postgres import PostgresServer
from tests.architecture.test_layers import REPOSITORY
from tests.storage.jobs.places import (
    ADMIN,
    NAME,
    NOON,
    SERVICE,
    Place,
    definition,
    emptied,
    end,
    start,
)
from tests.support.freezing import freeze, thaw
from vaultmesh.domain.jobs.records import Closing, Opening
from vaultmesh.domain.jobs.refusals import StoreError, StoreErrorKind
from vaultmesh.domain.jobs.run import WORKER_DIED
from vaultmesh.storage.job_store import CALL_SECONDS, JobStore

MINUTE = timedelta(minutes=1)
PATIENCE_SECONDS = 180

CLOSES_FOR_EVER = """
import asyncio, sys
from datetime import timedelta
from pathlib import Path
from tests.storage.jobs.places import end, start
from vaultmesh.domain.jobs.run import WORKER_DIED
from vaultmesh.storage.job_store import JobStore

async def main() -> None:
    store = await JobStore.open(sys.argv[1] or None, Path(sys.argv[2]))
    for minutes in range(100_000):
        run = start(after=timedelta(minutes=minutes))
        await store.open_run(run)
        await store.close_run(end(run, WORKER_DIED if minutes % 3 else None))
        await store.close_run(end(run))
        print(minutes, flush=True)

asyncio.run(main())
"""


async def test_two_stores_on_one_database_count_each_run_once(place: Place) -> None:
    async with place.store() as one, place.store() as other:
        await one.register(definition(), SERVICE, NOON)
        for minutes in range(10):
            run = start(after=minutes * MINUTE)
            rival = run.model_copy(update={"started_at": run.started_at + timedelta(seconds=1)})
            opened = await asyncio.gather(one.open_run(run), other.open_run(rival))
            assert sorted(each.outcome for each in opened) == [Opening.EXISTS, Opening.OPENED]
            closings = await asyncio.gather(
                *(store.close_run(end(run)) for store in (one, other, one, other))
            )
            assert sorted(closings) == [Closing.CLOSED, Closing.KEPT, Closing.KEPT, Closing.KEPT]
        job = await other.get(NAME)
        assert job is not None
        assert (job.row.total_runs, job.row.successful_runs) == (10, 10)
        assert await one.check() == ()


async def test_two_stores_that_change_one_job_lose_no_change_and_agree(place: Place) -> None:
    async with place.store() as one, place.store() as other:
        await one.register(definition(), SERVICE, NOON)
        rounds = 25
        for number in range(rounds):
            at = NOON + number * MINUTE
            await asyncio.gather(
                one.disable(NAME, ADMIN, at),
                other.register(definition(), SERVICE, at),
                other.enable(NAME, ADMIN, at),
                one.close_run(end(start())),
            )
        job, same = await one.get(NAME), await other.get(NAME)
        assert job == same
        assert job is not None
        lines = await one.audit(NAME, limit=1_000)
        assert job.decisions.revision == len(lines)
        assert [line.action for line in lines].count("disable") == rounds
        last = next(line.action for line in lines if line.action in {"enable", "disable"})
        assert job.row.enabled == (last == "enable")


async def test_two_processes_take_an_sql_edit_once(place: Place) -> None:
    async with place.store() as one, place.store() as other:
        await one.register(definition(), SERVICE, NOON)
        place.sql("UPDATE job_schedules SET description = 'by hand'")
        taken = await asyncio.gather(*(store.take_sql_edits(NOON) for store in (one, other) * 3))
        assert sum(map(len, taken)) == 1
        assert [line.action for line in await one.audit(NAME)] == ["sql edit", "register"]


@pytest.mark.fault
async def test_a_process_that_is_killed_while_it_closes_runs_leaves_counters_that_are_right(
    place: Place,
) -> None:
    async with place.store() as store:
        await store.register(definition(), SERVICE, NOON)
        for kill in range(4):
            command = [sys.executable, "-c", CLOSES_FOR_EVER, place.url or "", str(place.root)]
            with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220
                assert process.stdout is not None
                for _ in range(3 + 7 * kill):
                    await asyncio.to_thread(process.stdout.readline)
                process.kill()
            assert process.returncode == -signal.SIGKILL
            assert await store.check() == ()
        total = (await store.history(NAME, 1, 0)).total
        for run in await store.running(NOON + timedelta(days=1)):
            assert await store.close_run(end(run.as_start(), WORKER_DIED)) is Closing.CLOSED
        job = await store.get(NAME)
        assert job is not None
        assert job.row.total_runs == total
        assert await store.check() == ()


async def test_a_locked_file_is_said_within_seconds_and_written_when_it_is_free(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    async with place.store() as store:
        await store.register(definition(), SERVICE, NOON)
        with closing(sqlite3.connect(place.file, isolation_level=None)) as locker:
            locker.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            waiting = [store.close_run(end(start(after=MINUTE * n))) for n in range(4)]
            failures = await asyncio.gather(*waiting, return_exceptions=True)
            assert time.monotonic() - began < CALL_SECONDS
            for failure in failures:
                assert isinstance(failure, StoreError)
                assert failure.kind is StoreErrorKind.DOWN
            # Readers see everything meanwhile.
            assert len(await store.list()) == 1
            locker.execute("ROLLBACK")
        assert await store.close_run(end(start())) is Closing.CLOSED


@pytest.mark.fault
async def test_a_database_that_is_away_is_said_and_used_again_when_it_is_back(
    tmp_path: Path,
) -> None:
    with PostgresServer() as server:
        place = Place(tmp_path, server, "jobs", server.create("jobs"))
        async with place.store() as store:
            await store.register(definition(), SERVICE, NOON)
            for end_it in (server.kill, server.stop):
                await store.open_run(start())
                await asyncio.to_thread(end_it)
                with pytest.raises(StoreError) as down:
                    await store.close_run(end(start()))
                assert down.value.may_pass
                server.start()
                # The connections of the pool are dead; the first call finds that out by itself.
                assert len(await store.list()) == 1
            assert await store.close_run(end(start())) is Closing.CLOSED
            assert await store.check() == ()


@pytest.mark.fault
async def test_a_store_may_be_opened_while_its_database_is_away(tmp_path: Path) -> None:
    with PostgresServer() as server:
        url = server.create("jobs")
        server.stop()
        store = await JobStore.open(url, tmp_path)
        with pytest.raises(StoreError, match="Connection refused"):
            await store.list()
        server.start()
        assert await store.list() == ()
        assert store.made_by_us
        await store.close()


@pytest.mark.fault
async def test_a_database_that_hangs_holds_nobody_for_longer_than_a_call(tmp_path: Path) -> None:
    with PostgresServer() as server:
        place = Place(tmp_path, server, "jobs", server.create("jobs"))
        async with place.store() as store:
            await store.register(definition(), SERVICE, NOON)
            (backend,) = {
                int(line)
                for line in server.sql(
                    "jobs", "SELECT pid FROM pg_stat_activity WHERE application_name = 'vmsh:jobs'"
                ).splitlines()
            }
            freeze(backend)
            freeze(server.pid)
            try:
                began = time.monotonic()
                with pytest.raises(StoreError) as hung:
                    await store.list()
                assert hung.value.may_pass
                assert time.monotonic() - began < CALL_SECONDS + 5
            finally:
                thaw(server.pid)
                thaw(backend)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not await answers(store):
                assert time.monotonic() < deadline
            assert len(await store.list()) == 1


async def answers(store: JobStore) -> bool:
    try:
        await store.ping()
    except StoreError:
        return False
    return True


async def test_a_table_that_others_lock_is_waited_for_two_seconds(
    server: PostgresServer, tmp_path: Path
) -> None:
    emptied(server, "jobs")
    place = Place(tmp_path, server, "jobs", server.url("jobs"))
    async with place.store() as store:
        await store.register(definition(), SERVICE, NOON)
        locking = "BEGIN; LOCK TABLE scheduled_jobs; SELECT pg_sleep(4); COMMIT"
        locker = asyncio.create_task(asyncio.to_thread(server.sql, "jobs", locking))
        query = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'scheduled_jobs'::regclass AND granted"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while await asyncio.to_thread(server.sql, "jobs", query) != "1":
            assert time.monotonic() < deadline
        with pytest.raises(StoreError, match="lock timeout") as locked:
            await store.open_run(start())
        assert locked.value.kind is StoreErrorKind.DOWN
        await locker
        assert (await store.open_run(start())).outcome is Opening.OPENED
