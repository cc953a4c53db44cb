"""The commands of maintenance do their work without Temporal, say what they did, and show no password."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from devnet.postgres import Pgbouncer, PostgresServer
from tests.postgres.shop import DATABASE, REPOSITORY, Shop

STATISTICS = {"statistics": {"kind": "vacuum", "tables": "all"}}


def test_the_shipped_file_needs_nothing_but_the_database(shop: Shop) -> None:
    shop.sql("CREATE TABLE goods AS SELECT 1 AS id")
    listed = shop.command("list", "--json")
    assert listed.json["tasks"][0]["task"] == "statistics"  # type: ignore[index]
    assert listed.json["tasks"][0]["cron"] == "*/5 * * * *"  # type: ignore[index]
    assert listed.json["tasks"][0]["deadline_seconds"] == 60  # type: ignore[index]
    planned = shop.command("plan")
    assert 'ANALYZE (SKIP_LOCKED) "public"."goods";' in planned.out.splitlines()
    assert shop.command("run", "--once").code == 0
    again = shop.command("run", "--once", "--json")
    assert again.code == 0
    assert again.json["tasks"][0]["outcome"] == "not needed"  # type: ignore[index]


def test_a_list_needs_no_database(shop: Shop) -> None:
    assert shop.command("list", DATABASE_URL="").code == 0
    ran = shop.command("run", "--once", DATABASE_URL="")
    assert ran.code == 2
    assert "DATABASE_URL" in ran.errors


def test_a_failed_table_is_exit_code_1_and_does_not_hide_the_next_task(shop: Shop) -> None:
    shop.sql("CREATE TABLE goods AS SELECT 1 AS id")
    shop.write({"bad": {"kind": "vacuum", "tables": ["public.gone"]}, **STATISTICS})
    ran = shop.command("run", "--once", "--json")
    assert ran.code == 1
    assert [task["outcome"] for task in ran.json["tasks"]] == ["failed", "done"]  # type: ignore[attr-defined]


def test_a_task_that_is_written_wrongly_stops_no_other_and_is_told_at_its_line(shop: Shop) -> None:
    shop.sql("CREATE TABLE goods AS SELECT 1 AS n")
    good = {"kind": "check", "query": "SELECT count(*) FROM goods", "failAbove": 1}
    file = shop.write(
        {
            "unknown": {"kind": "vacum", "tables": "all"},
            "never": {**good, "cron": "0 0 31 2 *"},
            "unset": {**good, "query": "SELECT ${NOBODY_SET_IT}"},
            "listed": {**good, "kind": ["check"]},
            "cut": {**good, "query": "SELECT 1\0 WHERE false"},
            "gone": {"kind": "retain", "table": "gone", "ageColumn": "at", "keep": "40d"},
            "good": good,
        }
    )
    ran = shop.command("run", "--once", "--json")
    tasks: list[dict[str, object]] = ran.json["tasks"]  # type: ignore[assignment]
    ended = [(task["task"], task["outcome"]) for task in tasks]
    assert (ran.code, ended) == (2, [("gone", "failed"), ("good", "done")])
    for place in (
        "unknown.kind: is no kind",
        "never.cron: never fires",
        "unset.query: needs the",
        "listed.kind: is no",
        "cut.query: holds",
    ):
        assert f"{file}:" in ran.errors
        assert f" tasks.{place}" in ran.errors
    assert "tasks.gone.table in maintenance.yaml" in ran.out
    planned = shop.command("plan", "--json")
    plans: list[dict[str, object]] = planned.json["tasks"]  # type: ignore[assignment]
    assert planned.code == 2
    assert [(plan["task"], plan["error"] is None) for plan in plans] == [
        ("gone", False), ("good", True),
    ]  # fmt: skip
    assert shop.command("run", "good", "--once").code == 0
    assert shop.command("run", "never", "--once").code == 2
    assert shop.command("plan", "gone").code == 1


def test_a_key_that_is_written_twice_or_with_a_tag_stops_its_own_task_alone(shop: Shop) -> None:
    file = shop.write({})
    file.write_text(
        "database: ${DATABASE_URL}\ntasks:\n"
        "  twice: { kind: check, query: select 1, failAbove: 1, failAbove: 0 }\n"
        "  tagged: !!map { kind: check, query: !!binary aGk=, failAbove: 1 }\n"
        "  merged: { <<: { kind: check }, query: select 1, failAbove: 1 }\n"
        "  good: { kind: check, query: select 1, failAbove: 1 }\n"
    )
    ran = shop.command("run", "--once", "--json")
    assert ran.code == 2
    assert [task["task"] for task in ran.json["tasks"]] == ["good"]  # type: ignore[attr-defined]
    for words in (
        "3 tasks.twice: has the key",
        "4 tasks.tagged.query: has a tag",
        "5 tasks.merged: has a merge",
    ):
        assert f"{file}:{words}" in ran.errors
    file.write_text(f"{file.read_text()}  good: {{ kind: check }}\n")
    assert shop.command("run", "--once").code == 2  # which of both is meant, nobody knows


def test_what_the_system_refuses_to_one_task_hides_no_other(shop: Shop) -> None:
    """A path that is too long as a whole is seen by nobody but the system: it says so in a way of its own."""
    shop.sql("CREATE TABLE goods (at timestamptz)")
    long = {"folder": "/".join(["archive"] * 600)}
    shop.write(
        {
            "long": {"kind": "retain", "table": "goods", "ageColumn": "at", "keep": "40d", "archive": long},
            "good": {"kind": "check", "query": "SELECT 1", "failAbove": 1},
        }
    )  # fmt: skip
    ran = shop.command("run", "--once", "--json")
    tasks: list[dict[str, object]] = ran.json["tasks"]  # type: ignore[assignment]
    assert [(task["task"], task["outcome"]) for task in tasks] == [
        ("long", "failed"), ("good", "done"),
    ]  # fmt: skip
    assert ran.code == 1
    assert "File name too long - mount it, make it, or name another one" in str(tasks[0]["detail"])
    planned = shop.command("plan", "--json")
    plans: list[dict[str, object]] = planned.json["tasks"]  # type: ignore[assignment]
    assert planned.code == 1
    assert [(plan["task"], plan["error"] is None) for plan in plans] == [
        ("long", False), ("good", True),
    ]  # fmt: skip


def test_a_folder_in_place_of_the_file_does_not_have_the_shipped_tasks_run(shop: Shop) -> None:
    """A volume whose file is missing makes one: whoever mounted it wants no VACUUM of all tables instead."""
    (shop.root / "vmsh" / "config" / "maintenance.yaml").mkdir(parents=True)
    ran = shop.command("run", "--once")
    assert ran.code == 2
    assert "maintenance.yaml cannot be read (Is a directory)" in ran.errors


def test_a_hash_that_is_no_text_is_told_as_a_backup_that_was_changed(shop: Shop) -> None:
    dump = shop.root / "shop.dump"
    dump.write_bytes(b"PGDMP")
    dump.with_name("shop.dump.sha256").write_bytes(b"\xff\xfe")
    said = shop.command("verify", str(dump))
    assert said.code == 1
    assert "was changed since it was written" in said.errors
    assert "Traceback" not in said.errors


def test_a_run_says_how_each_part_ended_in_lines_of_json(shop: Shop) -> None:
    shop.sql("CREATE TABLE goods AS SELECT 1 AS id")
    ran = shop.command("run", "--once")
    lines = [json.loads(line) for line in ran.errors.splitlines()]
    assert [line["msg"] for line in lines] == [
        "maintenance task began", "maintenance step ended", "maintenance task ended",
    ]  # fmt: skip
    quiet = shop.command("run", "--once", LOG_LEVEL="error")
    assert quiet.errors == ""
    assert quiet.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "statistic", "--once"), "did you mean 'statistics'?"),
        (("run",), "add --once"),
        (("run", "--once"), "tables: is missing"),
    ],
)
def test_what_is_asked_wrongly_is_exit_code_2(
    shop: Shop, arguments: tuple[str, ...], words: str
) -> None:
    if "missing" in words:
        shop.write({"statistics": {"kind": "vacuum"}})
    ran = shop.command(*arguments)
    assert ran.code == 2
    assert words in ran.errors


def test_a_wrong_password_is_told_with_its_mend_and_shown_nowhere(shop: Shop) -> None:
    password = "correct-horse-battery"
    hba = shop.sql("SHOW hba_file")
    shop.sql("DROP ROLE IF EXISTS guarded; CREATE ROLE guarded LOGIN PASSWORD 'another'")
    from pathlib import Path

    file = Path(hba)
    before = file.read_text()
    file.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{before}")
    try:
        shop.sql("SELECT pg_reload_conf()")
        url = f"postgresql://guarded:{password}@127.0.0.1:{shop.server.port}/{DATABASE}"
        for arguments in (("run", "--once", "--json"), ("plan",)):
            ran = shop.command(*arguments, DATABASE_URL=url, LOG_LEVEL="debug")
            assert ran.code == 2, ran
            assert "correct user and password in DATABASE_URL" in ran.out + ran.errors
            assert password not in ran.out + ran.errors
    finally:
        file.write_text(before)
        shop.sql("SELECT pg_reload_conf()")


def test_a_database_that_is_away_is_a_failure_of_each_task(shop: Shop) -> None:
    from devnet.ports import free_port

    url = f"postgresql://postgres:very-secret-word@127.0.0.1:{free_port()}/{DATABASE}"
    ran = shop.command("run", "--once", "--json", DATABASE_URL=url)
    assert ran.code == 1
    [task] = ran.json["tasks"]  # type: ignore[misc]
    assert (task["outcome"], task["reason"]) == ("failed", "connection")  # type: ignore[index]
    assert "very-secret-word" not in ran.out + ran.errors


def test_a_url_that_is_none_is_not_quoted(shop: Shop) -> None:
    for url in ("postgresql://u:geheimnis@[::1/shop", "postgresql://u:geheimnis@h:99999999/shop?x"):
        ran = shop.command("run", "--once", DATABASE_URL=url)
        assert ran.code in {1, 2}
        assert "geheimnis" not in ran.out + ran.errors


def test_a_lock_that_never_goes_is_a_failure_in_the_end(shop: Shop) -> None:
    shop.sql("CREATE TABLE goods AS SELECT 1 AS id")
    shop.write(STATISTICS, lockTimeout="50ms", lockedRuns=2)
    with shop.holding("LOCK TABLE goods IN ACCESS EXCLUSIVE MODE"):
        assert [shop.command("run", "--once").code for _ in range(3)] == [0, 0, 1]
        assert "in a row, more than lockedRuns 2" in shop.command("run", "--once").out
    assert shop.command("run", "--once").code == 0
    with shop.holding("LOCK TABLE goods IN ACCESS EXCLUSIVE MODE"):
        shop.sql("SELECT pg_stat_reset()")
        assert shop.command("run", "--once").code == 0


@pytest.fixture
def pooler(server: PostgresServer) -> Iterator[Pgbouncer]:
    with Pgbouncer(server) as pooler:
        yield pooler


def test_a_pooler_in_transaction_mode_is_refused(shop: Shop, pooler: Pgbouncer) -> None:
    ran = shop.command("run", "--once", DATABASE_URL=pooler.url(DATABASE))
    assert ran.code == 2
    assert "this is a pooler in transaction mode" in ran.out
    assert shop.command("plan", DATABASE_URL=pooler.url(DATABASE)).code == 2


LOADED = """
import sys
sys.argv = ["starter.py", "maintenance", "run", "--once"]
import starter
code = starter.main(sys.argv[1:])
import resource
names = {name.partition(".")[0] for name in sys.modules}
print(code, sorted(names & {"web3", "temporalio", "aiohttp", "sqlalchemy", "opentelemetry"}),
      [name for name in sys.modules if name.startswith(("vaultmesh.ledgers", "vaultmesh.storage"))],
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""
BARE = "import psycopg, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
MOST_KILOBYTES = 64_000
MOST_CPU_SECONDS = 1.5


def test_a_run_with_nothing_to_do_is_small_and_loads_no_chain_and_no_temporal(shop: Shop) -> None:
    shop.command("run", "--once")
    environment = {
        "DATABASE_URL": shop.url,
        "VMSH_ROOT": str(shop.root),
        "PATH": "/usr/bin:/bin",
        "LOG_LEVEL": "silent",
    }

    def python(code: str) -> tuple[str, float]:
        import resource

        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=REPOSITORY,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done.stdout + done.stderr, cpu

    bare, _ = python(BARE)
    said, cpu = python(LOADED)
    assert "0 [] [] " in said, said
    assert int(said.split()[-1]) - int(bare) <= MOST_KILOBYTES
    assert cpu <= MOST_CPU_SECONDS
