"""What a worker offers of its maintenance.yaml: each change once, and nothing that nobody chose where others chose."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from activities.maintenance.offers import TaskOffers
from vaultmesh.domain.jobs.records import Actor, JobRevision
from vaultmesh.domain.jobs.refusals import NotTold, StoreError
from vaultmesh.domain.jobs.tasks import TaskSchedule
from vaultmesh.domain.paths import CONFIG_FOLDER, JOBS_DATABASE, MAINTENANCE_FILE
from vaultmesh.process.job_workflows import TemporalJobs
from vaultmesh.process.maintenance_source import MaintenanceSource
from vaultmesh.process.settings import Settings
from vaultmesh.storage.job_store import JobStore

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BY = Actor(name="maintenance.yaml")
URL = "postgresql://u@db/shop"
VACUUM = "{{kind: vacuum, tables: all, cron: '{cron}'}}"
DAILY, HOURLY = VACUUM.format(cron="0 3 * * *"), VACUUM.format(cron="0 * * * *")


class Told:
    """Workflows that hear everything, or nothing while Temporal is away."""

    def __init__(self) -> None:
        self.heard: list[JobRevision] = []
        self.is_away = False

    async def tell(self, revision: JobRevision) -> None:
        """Hear of a task."""
        if self.is_away:
            message = "Temporal is away"
            raise NotTold(message)
        self.heard.append(revision)

    def names(self) -> list[str]:
        """Return what was heard since the last question; tasks that are gone with a dash."""
        names = [f"{'-' if one.is_gone else ''}{one.name}" for one in self.heard]
        self.heard.clear()
        return names


class Worker:
    """One worker's view: its root, its file, and the store that it shares."""

    def __init__(self, root: Path, store: JobStore, **environment: str) -> None:
        root.mkdir(exist_ok=True)
        self.file = root / CONFIG_FOLDER / MAINTENANCE_FILE
        self.workflows = Told()
        self.refused: list[bool] = []
        variables = {"VMSH_ROOT": str(root), **environment}
        source = MaintenanceSource(Settings.from_environment(variables), variables)
        jobs = cast("TemporalJobs", self.workflows)
        self.offers = TaskOffers(store, jobs, source, BY, self.refused.append)

    def write(self, **tasks: str) -> None:
        """Say what the file says."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"  {name}: {task}" for name, task in tasks.items()]
        self.file.write_text("\n".join([f"database: {URL}", "tasks:", *lines]))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[JobStore]:
    store = await JobStore.open(None, tmp_path)
    yield store
    await store.close()


async def test_each_change_of_the_file_is_told_once(store: JobStore, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "root", store)
    worker.write(a=DAILY, b=DAILY)
    for _ in range(3):
        await worker.offers.once()
    assert worker.workflows.names() == ["maintenance:a", "maintenance:b"]
    assert await store.untold() == ()
    worker.write(a=DAILY, b=HOURLY)
    await worker.offers.once()
    assert worker.workflows.names() == ["maintenance:b"]
    worker.write(b=HOURLY)
    await worker.offers.once()
    assert worker.workflows.names() == ["-maintenance:a"]
    worker.write(b="{kind: nothing}")
    await worker.offers.once()
    worker.write(b=HOURLY)
    await worker.offers.once()
    assert worker.workflows.names() == []
    assert worker.refused[-2:] == [True, False]


async def test_what_temporal_does_not_hear_is_left_to_the_reconciler(
    store: JobStore, tmp_path: Path
) -> None:
    worker = Worker(tmp_path / "root", store)
    worker.write(a=DAILY)
    worker.workflows.is_away = True
    await worker.offers.once()
    assert [revision.name for revision in await store.untold()] == ["maintenance:a"]


async def test_a_store_that_is_away_hears_of_it_later(store: JobStore, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "root", store)
    worker.write(a=DAILY)
    with closing(sqlite3.connect(tmp_path / JOBS_DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError):
            await worker.offers.once()
        other.rollback()
    await worker.offers.once()
    assert worker.workflows.names() == ["maintenance:a"]


async def test_the_file_that_we_ship_never_takes_away_what_somebody_chose(
    store: JobStore, tmp_path: Path
) -> None:
    """The harm: a worker without the file, but with DATABASE_URL, stopped every task of the others."""
    chosen = Worker(tmp_path / "with", store)
    chosen.write(mine=DAILY)
    await chosen.offers.once()
    bare = Worker(tmp_path / "without", store, DATABASE_URL=URL)
    await bare.offers.once()
    assert bare.workflows.names() == []
    known = {revision.name: revision.is_gone for revision in await store.tasks()}
    assert known == {"maintenance:mine": False}
    idle = Worker(tmp_path / "idle", store)
    await idle.offers.once()
    assert idle.workflows.names() == []


async def test_the_file_that_we_ship_is_offered_where_there_is_no_other_and_gives_way_to_one(
    store: JobStore, tmp_path: Path
) -> None:
    nightly = TaskSchedule(kind="vacuum", cron="0 3 * * *")
    await store.offer_task("maintenance:old", nightly, BY, NOON)
    await store.withdraw_task("maintenance:old", BY, NOON)
    worker = Worker(tmp_path / "root", store, DATABASE_URL=URL)
    await worker.offers.once()
    assert worker.workflows.names() == ["maintenance:statistics"]
    worker.write(mine=DAILY)
    await worker.offers.once()
    assert worker.workflows.names() == ["maintenance:mine", "-maintenance:statistics"]
