"""What is wrong in maintenance.yaml is told at its place, with its mend, and without what may be secret."""

from datetime import timedelta
from pathlib import Path

import pytest

from vaultmesh.domain.errors import ConfigurationError, InvalidDocument, InvalidValue
from vaultmesh.domain.maintenance.config import (
    Kind,
    RetainTask,
    VacuumTask,
    parse_maintenance,
    tables_named,
)
from vaultmesh.process.config_files import load_good_tasks, load_maintenance
from vaultmesh.process.settings import REPOSITORY

URL = "postgresql://shop:very-secret-9@db:5432/shop"
RETAIN = {"kind": "retain", "table": "public.orders", "ageColumn": "at", "keep": "180d"}


def problems(task: object, **top: object) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        parse_maintenance({"database": URL, "tasks": {"it": task}, **top})
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("task", "place", "words"),
    [
        ({**RETAIN, "archive": {"folder": "a", "sealTo": "dao shop"}}, "archive.sealTo", "is not a namespace's name - use"),
        ({**RETAIN, "archive": {"folder": "a", "sealTo": ""}}, "archive.sealTo", "is not a namespace's name"),
        ({**RETAIN, "archive": {"table": "a", "sealTo": "dao:shop"}}, "archive", "has sealTo, which is for files - remove it"),
        ({**RETAIN, "archive": {"folder": "a", "sealto": "dao:shop"}}, "archive.sealto", "did you mean 'sealTo'?"),
        ({"kind": "backup", "folder": "b", "sealTo": "a/b"}, "sealTo", "is not a namespace's name"),
    ],
)  # fmt: skip
def test_a_seal_that_can_not_be_made_is_refused_before_anything_is_deleted(
    task: object, place: str, words: str
) -> None:
    [problem] = problems(task)
    assert problem.startswith(f"tasks.it.{place}: {words}") or (
        problem.startswith(f"tasks.it.{place}") and words in problem
    )


def test_every_kind_of_the_documentation_is_read() -> None:
    config = parse_maintenance(
        {
            "database": URL,
            "defaults": {"cron": "*/10 * * * *", "deadline": "90s"},
            "tasks": {
                "statistics": {"kind": "vacuum", "tables": "all", "deadRatio": "0.2", "minDead": 50, "freezeAge": 100000000},
                "old-orders": {**RETAIN, "cron": "0 3 * * *", "minKeep": "30d", "batch": 5000, "pause": "50ms",
                               "maxRows": 1000000, "archive": {"table": "archive.orders"}, "deadline": "30m"},
                "sessions": {"kind": "retain", "table": "sessions", "ageColumn": "expires_at", "keep": "0s", "minKeep": "0s"},
                "ranking": {"kind": "refresh", "view": "public.ranking"},
                "indexes": {"kind": "reindex", "indexes": "all", "minBloat": "0.4", "statementTimeout": "1h", "deadline": "2h"},
                "queue-depth": {"kind": "check", "query": "select 1", "failAbove": 1000},
                "clustering": {"kind": "call", "url": "http://clusterer:8080/run", "method": "POST", "expect": "2xx", "timeout": "30s"},
                "api-up": {"kind": "check", "url": "http://api:8080/health", "expect": 200, "within": "2s"},
                "backup": {"kind": "backup", "folder": "backups", "keep": 7, "deadline": "2h"},
            },
        }
    )  # fmt: skip
    assert {named.task.kind for named in config.tasks} == set(Kind)
    first, second = config.tasks[0].task, config.tasks[1].task
    assert isinstance(first, VacuumTask)
    assert (first.dead_ratio, first.cron, first.deadline) == (
        0.2,
        "*/10 * * * *",
        timedelta(seconds=90),
    )
    assert isinstance(second, RetainTask)
    assert (second.cron, second.deadline) == ("0 3 * * *", timedelta(minutes=30))
    assert [str(name) for name in tables_named(second)] == ["public.orders"]
    assert [named.name for named in config.only(("backup", "statistics")).tasks] == [
        "statistics",
        "backup",
    ]
    with pytest.raises(InvalidValue, match="did you mean 'backup'"):
        config.only(("backups",))


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (
            {"kind": "vacum", "tables": "all"},
            "tasks.it.kind: is no kind of task - did you mean 'vacuum'?",
        ),
        ({"tables": "all"}, "tasks.it.kind: is no kind of task - write it first"),
        (
            {"kind": "vacuum", "tables": "all", "deadRation": "0.1"},
            "tasks.it.deadRation: unknown key - did you mean 'deadRatio'?",
        ),
        ({"kind": "vacuum"}, "tasks.it.tables: is missing - add it"),
        ({"kind": "vacuum", "tables": "some"}, "tasks.it.tables: is no list of names"),
        ({"kind": "vacuum", "tables": []}, "tasks.it.tables: is no list of names"),
        (
            {"kind": "vacuum", "tables": ["Users"]},
            "tasks.it.tables.0: 'Users' has capital letters outside of quotes",
        ),
        ({"kind": "vacuum", "tables": "all", "deadRatio": "20"}, "tasks.it.deadRatio: is no share"),
        (
            {"kind": "vacuum", "tables": "all", "cron": "@daily"},
            "tasks.it.cron: '@daily' is no cron expression",
        ),
        (
            {"kind": "vacuum", "tables": "all", "deadline": "1x"},
            "tasks.it.deadline: is not a duration",
        ),
        (
            {"kind": "vacuum", "tables": "all", "deadline": "10ms"},
            "tasks.it.deadline: is too short - use at least 1s",
        ),
        (
            {"kind": "vacuum", "tables": "all", "enabled": "yes"},
            "tasks.it.enabled: is neither true nor false",
        ),
        ({**RETAIN, "pause": "1h"}, "tasks.it.pause: is too long - use at most 300s"),
        ({**RETAIN, "keep": "9999d"}, "tasks.it.keep: is too long - use at most 3660d"),
        ({**RETAIN, "table": ["orders"]}, "tasks.it.table: is no name - write one name"),
        ({**RETAIN, "ageColumn": "a; b"}, "tasks.it.ageColumn: 'a; b' is no name of a column"),
        (
            {**RETAIN, "archive": {"folder": "~/archive"}},
            "tasks.it.archive.folder: begins with ~",
        ),
        (
            {**RETAIN, "archive": {"folder": f"a/{256 * 'b'}"}},
            "tasks.it.archive.folder: has a part that is longer than 255 bytes",
        ),
        (
            {**RETAIN, "archive": {"folder": "a\0b"}},
            "tasks.it.archive.folder: holds a zero byte - remove it",
        ),
        (
            {"kind": "check", "query": "select 1\0 where false", "failAbove": 1},
            "tasks.it.query: holds a zero byte - remove it",
        ),
        (
            {"kind": "check", "query": "select 1", "failAbove": 5, "failBelow": 6},
            "tasks.it: has a failBelow that is above failAbove, so every number fails",
        ),
        (
            {"kind": "check", "query": "select 1", "failAbove": 5, "within": "1s"},
            "tasks.it: has a key that does nothing here",
        ),
        ({"kind": "check", "url": "http://a/", "failAbove": 5}, "tasks.it: has a key that does"),
        ({"kind": "check", "url": "http://.../"}, "tasks.it.url: is not a URL we can use"),
        ({"kind": "call", "url": "http://a/b c"}, "tasks.it.url: is not a URL we can use"),
        ({"kind": ["retain"]}, "tasks.it.kind: is no kind of task - write it first"),
        ({**RETAIN, "keep": "3d"}, "tasks.it: has a keep that is shorter than minKeep"),
        (
            {**RETAIN, "archive": {"folder": "a", "keep": "180d"}},
            "tasks.it: has an archive.keep that is not longer than keep",
        ),
        (
            {"kind": "vacuum", "tables": "all", "cron": "0 0 31 2 *"},
            "tasks.it.cron: never fires: no date matches",
        ),
        ({**RETAIN, "batch": 0}, "tasks.it.batch: is too small"),
        ({**RETAIN, "archive": {}}, "tasks.it.archive: needs either table or folder"),
        (
            {**RETAIN, "archive": {"table": "a", "folder": "b"}},
            "tasks.it.archive: needs either table or folder",
        ),
        (
            {**RETAIN, "archive": {"table": "public.orders"}},
            "tasks.it: archives into the table that it deletes from",
        ),
        (
            {**RETAIN, "archive": {"tabel": "a"}},
            "tasks.it.archive.tabel: unknown key - did you mean 'table'?",
        ),
        ({"kind": "check"}, "tasks.it: needs either query or url"),
        ({"kind": "check", "query": "select 1"}, "tasks.it: has a query without a limit"),
        ({"kind": "call", "url": "ftp://h/x"}, "tasks.it.url: is not a URL we can use"),
        ({"kind": "call", "url": "http://h/", "expect": "ok"}, "tasks.it.expect: is no status"),
        ({"kind": "backup", "folder": "b", "keep": 0}, "tasks.it.keep: is too small"),
        ("vacuum", "tasks.it: does not hold keys and values"),
    ],
)
def test_a_mistake_in_a_task_is_told_at_its_key(task: object, words: str) -> None:
    lines = problems(task)
    assert any(line.startswith(words) for line in lines), lines


@pytest.mark.parametrize(
    ("top", "words"),
    [
        ({"databse": URL}, "databse: unknown key - did you mean 'database'?"),
        (
            {"defaults": {"locktimeout": "1s"}},
            "defaults.locktimeout: unknown key - did you mean 'lockTimeout'?",
        ),
        ({"defaults": "none"}, "defaults: does not hold keys and values"),
        ({"database": "mysql://h/x"}, "database: is no URL of PostgreSQL"),
        ({"database": ""}, "database: is missing or empty - set the variable DATABASE_URL"),
        ({"tasks": {}}, "tasks: names no task"),
        (
            {"tasks": {"It Self": {"kind": "vacuum", "tables": "all"}}},
            "tasks.It Self: is no name of a task",
        ),
    ],
)
def test_a_mistake_outside_of_tasks_is_told_at_its_key(top: dict[str, object], words: str) -> None:
    lines = problems({"kind": "vacuum", "tables": "all"}, **top)
    assert any(line.startswith(words) for line in lines), lines


def test_every_problem_is_told_at_once_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "maintenance.yaml"
    path.write_text(
        'database: "${DATABASE_URL}"\ntasks:\n  a:\n    kind: vacuum\n    tables: all\n    minDad: 3\n  b:\n    kind: retian\n'
    )
    with pytest.raises(ConfigurationError) as caught:
        load_maintenance(path, {"DATABASE_URL": URL})
    assert [line.partition(" - ")[0] for line in caught.value.problems] == [
        f"{path}:6 tasks.a.minDad: unknown key",
        f"{path}:8 tasks.b.kind: is no kind of task",
    ]


def test_what_all_tasks_share_stops_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "maintenance.yaml"
    good, broken = "{kind: vacuum, tables: all}", "{kind: vacuum, tables: '${UNSET}'}"
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.delenv("UNSET", raising=False)

    def write(top: str, *tasks: str) -> None:
        lines = [f"  t{number}: {task}" for number, task in enumerate(tasks)]
        path.write_text("\n".join(['database: "${DATABASE_URL}"', top, "tasks:", *lines]))

    write("", good, broken, "{kind: vacum}")
    config, wrong = load_good_tasks(path)
    assert [named.name for named in config.tasks] == ["t0"]
    assert [list(map(len, wrong.values())), *wrong] == [[1, 1], "t1", "t2"]
    for top, tasks in (("defaults: {cron: x}", [good]), ("cron: x", [good]), ("", [broken])):
        write(top, *tasks)
        with pytest.raises(ConfigurationError):
            load_good_tasks(path)


def test_a_variable_that_is_wrong_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "maintenance.yaml"
    path.write_text('database: "${DATABASE_URL}"\ntasks: {a: {kind: vacuum, tables: all}}\n')
    with pytest.raises(ConfigurationError) as caught:
        load_maintenance(path, {"DATABASE_URL": "hidden-away://x"})
    assert "hidden-away" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="DATABASE_URL, which is not set"):
        load_maintenance(path, {})
    assert load_maintenance(path, {}, connects=False).tasks


def test_a_call_alone_needs_no_database() -> None:
    config = parse_maintenance({"tasks": {"it": {"kind": "call", "url": "http://h/"}}})
    assert config.database is None


def test_the_shipped_file_is_the_statistics_task() -> None:
    config = load_maintenance(REPOSITORY / "vmsh/config/maintenance.yaml", {"DATABASE_URL": URL})
    [named] = config.tasks
    assert (named.name, named.task.kind, named.task.cron) == (
        "statistics",
        Kind.VACUUM,
        "*/5 * * * *",
    )
    assert named.task.deadline == timedelta(seconds=60)


def test_a_list_with_a_bad_name_is_not_also_told_to_be_no_word() -> None:
    task = {"kind": "vacuum", "tables": ["orders", 5]}
    with pytest.raises(InvalidDocument) as refused:
        parse_maintenance({"database": "postgresql://u@h/d", "tasks": {"it": task}})
    assert [problem.path for problem in refused.value.problems] == [("tasks", "it", "tables", "1")]


@pytest.mark.parametrize(
    ("keys", "rows", "milliseconds"),
    [
        ({}, 500, 10),
        ({"archive": {"table": "archive.orders"}}, 500, 10),
        ({"archive": {"folder": "archive"}}, 500, 10),
        ({"archive": {"folder": "archive"}, "batch": 10, "pause": "0s"}, 10, 0),
        ({"batch": 5_000, "pause": "50ms"}, 5_000, 50),
    ],
)
def test_batches_are_small_for_whoever_writes_beside_them_unless_the_file_says_otherwise(
    keys: dict[str, object], rows: int, milliseconds: int
) -> None:
    task = (
        parse_maintenance({"database": "postgresql://u@h/d", "tasks": {"it": {**RETAIN, **keys}}})
        .tasks[0]
        .task
    )
    assert isinstance(task, RetainTask)
    assert (task.batch, task.pause) == (rows, timedelta(milliseconds=milliseconds))
