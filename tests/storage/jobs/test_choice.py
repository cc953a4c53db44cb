"""Which database is used, and what is refused before anything is lost."""

import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.storage.jobs.places import NOON, SERVICE, Place, definition
from vaultmesh.domain.jobs.refusals import StoreError, StoreErrorKind
from vaultmesh.storage.job_store import JobStore
from vaultmesh.storage.jobs import takeover
from vaultmesh.storage.jobs.database import Database, postgres_place

PASSWORD = "s3cr?t/word"
ENCODED = "s3cr%3Ft%2Fword"


async def refusal(url: str | None, root: Path, *, supabase: bool = False) -> StoreError:
    with pytest.raises(StoreError) as refused:
        await JobStore.open(url, root, supabase=supabase)
    return refused.value


async def test_without_a_url_the_jobs_lie_in_a_file_below_the_root(tmp_path: Path) -> None:
    for url in (None, "", "sqlite"):
        async with Place(tmp_path, url=url).store() as store:
            assert store.place == str(tmp_path / "ops/data/jobs.db")
    with closing(sqlite3.connect(tmp_path / "ops/data/jobs.db")) as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_jobs_in_a_database_of_supabase_are_never_left_behind_in_silence(
    tmp_path: Path,
) -> None:
    refused = await refusal(None, tmp_path, supabase=True)
    assert refused.kind is StoreErrorKind.SETTING
    assert "set JOBS_DATABASE_URL to its connection string" in str(refused)
    assert not (tmp_path / "ops").exists()
    async with Place(tmp_path, url="sqlite").store() as store:
        assert store.made_by_us
    store = await JobStore.open("sqlite", tmp_path, supabase=True)
    await store.close()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"mysql://vmsh:{ENCODED}@db/jobs", "is no URL of PostgreSQL"),
        (f"postgresq://vmsh:{ENCODED}@db/jobs", "did you mean 'postgresql'?"),
        (f"postgresql://vmsh:{PASSWORD}@db:x/jobs", "can't be read"),
        (f"postgresql://vmsh:{ENCODED}@db", "names no database"),
        (f"postgresql://vmsh:1@{PASSWORD[:4]}@db/jobs", "has @ in its user or password"),
        ("jobs.db", "can't be read"),
    ],
)
async def test_a_url_that_cannot_be_used_is_refused_without_its_secrets(
    url: str, why: str, tmp_path: Path
) -> None:
    refused = await refusal(url, tmp_path)
    assert refused.kind is StoreErrorKind.SETTING
    assert why in str(refused)
    assert "write postgresql://user:password@host:5432/database" in str(refused)
    assert PASSWORD[:4] not in str(refused)


async def test_what_the_client_library_refuses_of_a_url_is_a_setting(postgres: Place) -> None:
    refused = await refusal(f"{postgres.url}?pgbouncer=true", postgres.root)
    assert refused.kind is StoreErrorKind.SETTING
    assert "pgbouncer" in str(refused)


async def test_a_wrong_password_or_host_shows_no_secret(postgres: Place, tmp_path: Path) -> None:
    assert postgres.server is not None
    place = f"127.0.0.1:{postgres.server.port}/nowhere"
    refused = await refusal(f"postgresql://vmsh:{ENCODED}@{place}", tmp_path)
    assert refused.kind is StoreErrorKind.SETTING
    away = "127.0.0.1:1/jobs"
    store = await JobStore.open(f"postgresql://vmsh:{ENCODED}@{away}", tmp_path)
    with pytest.raises(StoreError) as unanswered:
        await store.list()
    assert unanswered.value.may_pass
    for message, where in ((str(refused), place), (str(unanswered.value), away)):
        assert where in message
        assert PASSWORD not in message
    assert store.notices == ("it does not answer yet",)
    await store.close()


@pytest.mark.parametrize(
    "url", [f"postgresql://vmsh:{ENCODED}@db/jobs", f"postgresql://db/jobs?password={ENCODED}"]
)
def test_whatever_a_driver_says_no_secret_is_repeated(url: str) -> None:
    database = Database(postgres_place(url))
    for secret in (PASSWORD, ENCODED):
        with pytest.raises(StoreError) as failed, database._translated():
            raise psycopg.OperationalError(f"could not connect\nwith {secret} to db")
        assert "could not connect with *** to db" in str(failed.value)
        assert failed.value.may_pass


async def test_a_file_of_another_host_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    async with place.store() as store:
        await store.register(definition(), SERVICE, NOON)
    here, folder = socket.gethostname(), place.file.parent
    before = folder.stat().st_mtime_ns
    monkeypatch.setattr(takeover.socket, "gethostname", lambda: "elsewhere")
    refused = await refusal(None, tmp_path)
    assert refused.kind is StoreErrorKind.SETTING
    assert f"belongs to the host {here!r}, and this is 'elsewhere'" in str(refused)
    assert "set JOBS_DATABASE_URL" in str(refused)
    assert folder.stat().st_mtime_ns == before  # not even its log was touched
    place.sql("DROP TABLE job_host")  # what the message says
    async with place.store() as store:
        assert len(await store.list()) == 1


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ops/data/jobs.db"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a database, " * 100)
    refused = await refusal(None, tmp_path)
    assert refused.kind is StoreErrorKind.SCHEMA
    assert str(path) in str(refused)


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "ops").write_text("a file")
    refused = await refusal(None, tmp_path)
    assert refused.kind is StoreErrorKind.DENIED
    assert "its folder can't be made" in str(refused)
