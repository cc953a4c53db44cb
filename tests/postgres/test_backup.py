"""A backup that is kept can be read, and the last one is never deleted."""

import asyncio
import os
import subprocess
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from tests.postgres.shop import NOON, Shop, on_both, wait_until
from vaultmesh.domain.maintenance.outcomes import Outcome

BACKUP = {
    "kind": "backup",
    "folder": "backups",
    "keep": 2,
    "deadline": "10m",
    "statementTimeout": "50s",
}


def task(shop: Shop, **changes: object) -> dict[str, object]:
    """Return a task with programs of the server's version."""
    return {**BACKUP, "programs": str(shop.server.programs), **changes}


def names(shop: Shop) -> list[str]:
    return sorted(path.name for path in (shop.root / "backups").iterdir())


@pytest.fixture
def goods(shop: Shop) -> Shop:
    shop.sql(
        'CREATE SCHEMA "it\'s"; CREATE TABLE "it\'s".goods AS SELECT n FROM generate_series(1, 500) n'
    )
    shop.sql(
        "CREATE TABLE parent (n int); CREATE TABLE child () INHERITS (parent); INSERT INTO child VALUES (1)"
    )
    return shop


@on_both
def test_a_backup_can_be_verified_and_its_change_is_noticed(goods: Shop) -> None:
    assert goods.run(**task(goods)).outcome is Outcome.DONE
    assert names(goods) == ["it-20260302T120000Z.dump", "it-20260302T120000Z.dump.sha256"]
    dump = goods.root / "backups" / "it-20260302T120000Z.dump"
    assert goods.command("verify", str(dump)).code == 0
    assert dump.stat().st_mode & 0o077 == 0
    hashed = subprocess.run(
        ["sha256sum", "-c", f"{dump.name}.sha256"],
        cwd=dump.parent,
        capture_output=True,
        check=False,
    )
    assert hashed.returncode == 0
    dump.write_bytes(dump.read_bytes() + b"x")
    assert goods.command("verify", str(dump)).code == 1


def test_a_power_cut_takes_neither_a_backup_nor_its_hash(
    goods: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harm: the hash is empty, and the only backup passes for one that somebody changed."""
    flushed: dict[int, int] = {}

    def flush(descriptor: int) -> None:
        stat = os.fstat(descriptor)
        flushed[stat.st_ino] = stat.st_size

    monkeypatch.setattr(os, "fsync", flush)
    assert goods.run(**task(goods)).outcome is Outcome.DONE
    places = [path.stat() for path in (goods.root / "backups").iterdir()]
    assert [flushed.get(place.st_ino) for place in places] == [place.st_size for place in places]
    assert len(places) == 2


def test_the_newest_are_kept_and_other_tasks_are_left_alone(goods: Shop) -> None:
    (goods.root / "backups").mkdir()
    other = goods.root / "backups" / "it-too-20200101T000000Z.dump"
    other.write_text("")
    other.with_name(other.name + ".sha256").write_text("")
    for day in range(4):
        assert goods.run(now=NOON + timedelta(days=day), **task(goods)).outcome is Outcome.DONE
    dumps = [name for name in names(goods) if name.endswith(".dump")]
    assert dumps == ["it-20260304T120000Z.dump", "it-20260305T120000Z.dump", other.name]


@on_both
def test_a_restore_is_compared_and_leaves_no_database(goods: Shop) -> None:
    result = goods.run(**task(goods, verifyRestore=True))
    assert (result.outcome, result.steps[0].rows) == (Outcome.DONE, 501)
    assert goods.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'vmsh%'") == "0"


def test_what_a_killed_run_left_on_the_server_goes_with_the_next(goods: Shop) -> None:
    """A copy of all rows would lie there for ever, and a program would dump into a file that has gone."""
    slow = goods.root / "programs"
    slow.mkdir()
    real = goods.server.programs
    (slow / "pg_dump").symlink_to(real / "pg_dump")
    restore = slow / "pg_restore"
    restore.write_text(
        f'#!/bin/sh\n[ "$1" = --list ] && exec {real}/pg_restore "$@"\nexec {real}/psql -c "SELECT pg_sleep(600)"\n'
    )
    restore.chmod(0o755)
    goods.write({"it": task(goods, verifyRestore=True, programs=str(slow))})
    killed = goods.start("run", "it", "--once")
    wait_until(lambda: goods.sees("datname LIKE 'vmsh_verify%'"), "the restore")
    killed.kill()
    killed.wait()
    left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'vmsh%'"
    assert goods.sql(left) == "1"
    orphan = goods.server.url("shop") + "?application_name=vmsh:maintenance:it:killed"
    with psycopg.connect(orphan) as program, psycopg.connect(goods.server.url("shop")):
        assert goods.run(**task(goods, verifyRestore=True)).outcome is Outcome.DONE
        with pytest.raises(psycopg.OperationalError):
            program.execute("SELECT 1")
    assert goods.sql(left) == "0"


def test_a_clock_that_was_put_back_does_not_cost_the_newest_backup(goods: Shop) -> None:
    for hours in (1, 0):
        result = goods.run(now=NOON + timedelta(hours=hours), **task(goods, keep=1))
        assert result.outcome is Outcome.DONE
    assert names(goods) == ["it-20260302T120000Z.dump", "it-20260302T120000Z.dump.sha256"]


def test_programs_connect_by_every_setting_of_the_url(goods: Shop) -> None:
    program = goods.root / "programs"
    program.mkdir()
    real = goods.server.programs
    (program / "pg_restore").symlink_to(real / "pg_restore")
    dump = program / "pg_dump"
    dump.write_text(f'#!/bin/sh\nenv > {goods.root}/environment\nexec {real}/pg_dump "$@"\n')
    dump.chmod(0o755)
    goods.url_of_others = f"{goods.url}?target_session_attrs=read-write&options=-c%20work_mem%3D5MB&gssencmode=disable"
    assert goods.run(**task(goods, programs=str(program))).outcome is Outcome.DONE
    said = (goods.root / "environment").read_text().splitlines()
    assert {
        "PGTARGETSESSIONATTRS=read-write",
        "PGOPTIONS=-c work_mem=5MB",
        "PGGSSENCMODE=disable",
    } <= {*said}


def test_a_restore_that_has_other_rows_keeps_no_backup(goods: Shop) -> None:
    # what a row of the copy is depends on something that is no part of it
    goods.sql(
        "CREATE FUNCTION drop_some() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        'CREATE TRIGGER few BEFORE INSERT ON "it\'s".goods FOR EACH ROW EXECUTE FUNCTION drop_some(); '
        'ALTER TABLE "it\'s".goods ENABLE ALWAYS TRIGGER few'
    )
    program = goods.root / "programs"
    program.mkdir()
    real = goods.server.programs
    (program / "pg_dump").symlink_to(real / "pg_dump")
    restore = program / "pg_restore"
    restore.write_text(
        f'#!/bin/sh\nfor last; do :; done\n[ "$1" = --list ] && exec {real}/pg_restore "$@"\n'
        f'{real}/pg_restore "$@" --section=pre-data\nexec {real}/pg_restore --section=data --no-password -t child -d "$PGDATABASE" "$last"\n'
    )
    restore.chmod(0o755)
    result = goods.run(**task(goods, verifyRestore=True, programs=str(program)))
    assert result.outcome is Outcome.FAILED
    assert "rows, not 500" in result.steps[0].detail
    assert names(goods) == []
    assert goods.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'vmsh%'") == "0"


@on_both
def test_a_failed_backup_deletes_no_older_one(goods: Shop) -> None:
    assert goods.run(**task(goods, keep=1)).outcome is Outcome.DONE
    before = names(goods)
    goods.sql("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN")
    goods.user = "reader"
    result = goods.run(now=NOON + timedelta(days=1), **task(goods, keep=1))
    assert result.outcome is Outcome.DENIED
    assert "permission denied" in result.steps[0].detail
    assert names(goods) == before


def test_a_cut_off_dump_is_not_kept(goods: Shop) -> None:
    program = goods.root / "programs"
    program.mkdir()
    real = goods.server.programs
    (program / "pg_restore").symlink_to(real / "pg_restore")
    dump = program / "pg_dump"
    dump.write_text(
        f'#!/bin/sh\n{real}/pg_dump "$@" || exit 1\nfor file; do :; done\nhead -c 700 "$file" > "$file.cut"; mv "$file.cut" "$file"\n'
    )
    dump.chmod(0o755)
    result = goods.run(**task(goods, programs=str(program)))
    assert result.outcome is Outcome.FAILED
    assert "pg_restore failed" in result.steps[0].detail
    assert names(goods) == []


def test_programs_that_are_missing_are_named(goods: Shop) -> None:
    assert (
        "pg_dump is not in /nowhere"
        in goods.run(**task(goods, programs="/nowhere")).steps[0].detail
    )


async def test_a_deadline_ends_the_programs_too(goods: Shop) -> None:
    with goods.holding("LOCK TABLE parent IN ACCESS EXCLUSIVE MODE"):
        result = await goods.run_async(
            **task(goods, deadline="2s", lockTimeout="50s", statementTimeout="1s")
        )
    assert result.outcome is Outcome.TIMED_OUT
    await asyncio.to_thread(
        wait_until, lambda: not goods.sees("application_name LIKE 'vmsh:%'"), "the end of pg_dump"
    )
    assert names(goods) == []


def test_the_password_is_no_argument_of_a_program(goods: Shop) -> None:
    program = goods.root / "programs"
    program.mkdir()
    real = goods.server.programs
    (program / "pg_restore").symlink_to(real / "pg_restore")
    dump = program / "pg_dump"
    dump.write_text(f'#!/bin/sh\necho "$@" > {goods.root}/arguments\nexec {real}/pg_dump "$@"\n')
    dump.chmod(0o755)
    goods.url_of_others = goods.server.url("shop").replace("postgres@", "postgres:secret-word-9@")
    assert goods.run(**task(goods, programs=str(program))).outcome is Outcome.DONE
    assert "secret-word-9" not in (goods.root / "arguments").read_text()
    assert Path(os.fsdecode(goods.root)).is_dir()
