"""Reads maintenance.yaml: which tasks there are, what each one does, and when.

1. `database` names the database; `defaults` holds settings that every task has unless it says otherwise.
2. `kind` says which keys a task knows; every other key is refused, with the one that was probably meant.
3. No message holds a value of the file: it may be secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from vaultmesh.domain.complaints import did_you_mean, unknown_key
from vaultmesh.domain.errors import InvalidDocument, InvalidValue, Problem, problems_of
from vaultmesh.domain.maintenance.sql_names import Column, Name, SqlName
from vaultmesh.domain.maintenance.values import (
    LONGEST_DEADLINE,
    Cron,
    Deadline,
    FolderName,
    Names,
    Namespace,
    Number,
    Ratio,
    Status,
    Wait,
    check_database,
)
from vaultmesh.domain.setting_values import Count, Duration, Flag, Url, between

MOST_BATCH_ROWS = 100_000
"""Rows that one transaction deletes: more would hold locks for too long."""

_TASK_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_ZERO_BYTE = "holds a zero byte - remove it"
_NOT_A_LIST = "literal['all']"
_TOP = ("database", "defaults", "tasks")


class Kind(StrEnum):
    """What a task does."""

    VACUUM = "vacuum"
    """Decides for each table: VACUUM, ANALYZE or nothing."""
    RETAIN = "retain"
    """Deletes rows that are old, in small transactions, and archives them before if asked to."""
    REINDEX = "reindex"
    """Builds bloated indexes anew, beside the work that goes on."""
    REFRESH = "refresh"
    """Refreshes a materialized view."""
    CHECK = "check"
    """Asks a query or a URL whether all is well."""
    CALL = "call"
    """Sends one HTTP request."""
    BACKUP = "backup"
    """Writes a dump that is proven to be readable, and keeps the newest ones."""


BY_NEED = frozenset({Kind.VACUUM, Kind.RETAIN, Kind.REINDEX, Kind.CHECK, Kind.CALL})
"""Kinds that a run without names takes; the others do their work however often they are asked."""


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        alias_generator=to_camel,
        arbitrary_types_allowed=True,
    )


class Defaults(_Section):
    """What every task has unless it says otherwise."""

    cron: Cron = "*/5 * * * *"
    deadline: Deadline = timedelta(seconds=60)
    lock_timeout: Wait = timedelta(seconds=2)
    """A statement that waits longer for a lock is given up: behind it every query on the table would wait."""
    statement_timeout: Wait = timedelta(seconds=50)
    """The server ends a statement after it; shorter than the deadline, so that the server is first."""
    locked_runs: Annotated[Count, Field(ge=1, le=1_000)] = 12
    """So many runs in a row may end as `skipped: locked`; the next one that does counts as failed."""
    enabled: Flag = True
    max_lag: Annotated[Duration, between(timedelta(0), LONGEST_DEADLINE)] = timedelta(seconds=10)
    """While a replica is further behind, work that writes waits; `0s` never waits."""


class VacuumTask(Defaults):
    """Decides for each table whether it needs VACUUM, ANALYZE or nothing."""

    kind: Literal[Kind.VACUUM] = Kind.VACUUM
    tables: Names
    dead_ratio: Ratio = 0.2
    min_dead: Count = 50
    stale_ratio: Ratio = 0.1
    min_stale: Count = 50
    freeze_age: Annotated[Count, Field(ge=1_000, le=1_500_000_000)] = 100_000_000


class ArchiveTarget(_Section):
    """Where rows go before they are deleted: a table, or files in a folder."""

    table: Name | None = None
    folder: FolderName | None = None
    keep: Duration | None = None
    """Files of the folder whose cut-off is older are deleted; nothing keeps all."""
    seal_to: Namespace | None = None
    """Namespace to which the manifest of each file is sealed, so that what was deleted stays provable."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.table is None) == (self.folder is None):
            message = "needs either table or folder - write one of them"
            raise InvalidValue(message)
        if self.keep is not None and self.folder is None:
            message = (
                "has keep, which is for files - remove it, or write a retain task for that table"
            )
            raise InvalidValue(message)
        if self.seal_to is not None and self.folder is None:
            message = "has sealTo, which is for files - remove it, or archive into a folder"
            raise InvalidValue(message)
        return self


class RetainTask(Defaults):
    """Deletes rows older than `keep` in small transactions, archiving them before if asked to."""

    kind: Literal[Kind.RETAIN] = Kind.RETAIN
    table: Name
    age_column: Column
    keep: Duration
    min_keep: Duration = timedelta(days=30)
    """A slip in `keep` must not delete what is younger."""
    batch: Annotated[Count, Field(ge=1, le=MOST_BATCH_ROWS)] = 500
    """Rows of a transaction; of an archive in files each is a file."""
    pause: Annotated[Duration, between(timedelta(0), timedelta(minutes=5))] = timedelta(
        milliseconds=10
    )
    """The least time between two batches."""
    max_rows: Annotated[Count, Field(ge=1)] = 1_000_000
    archive: ArchiveTarget | None = None

    @model_validator(mode="after")
    def _old_enough(self) -> Self:
        if self.keep < self.min_keep:
            message = "has a keep that is shorter than minKeep - correct keep, or lower minKeep if you mean it"
            raise InvalidValue(message)
        if self.archive is not None and self.archive.table == self.table:
            message = "archives into the table that it deletes from - name another one"
            raise InvalidValue(message)
        if self.archive is not None and self.archive.keep is not None:
            self._keep_what_is_archived(self.archive.keep)
        return self

    def _keep_what_is_archived(self, keep: timedelta) -> None:
        """Refuse an archive whose files are too old as soon as they are written: they are as old as their rows."""
        if keep <= self.keep:
            message = (
                "has an archive.keep that is not longer than keep, so each file would be deleted by the run that wrote it - "
                "both count from the age of the rows: raise archive.keep, or remove it"
            )
            raise InvalidValue(message)


class ReindexTask(Defaults):
    """Builds indexes anew whose pages are more than `minBloat` empty, one at a time, beside the work that goes on."""

    kind: Literal[Kind.REINDEX] = Kind.REINDEX
    indexes: Names
    min_bloat: Ratio = 0.4


class RefreshTask(Defaults):
    """Refreshes a materialized view, beside its readers where that is possible."""

    kind: Literal[Kind.REFRESH] = Kind.REFRESH
    view: Name


_OF_URLS, _OF_QUERIES = {"expect", "within"}, {"fail_above", "fail_below"}


class CheckTask(Defaults):
    """Asks a query for a number with a limit, or a URL for a status."""

    kind: Literal[Kind.CHECK] = Kind.CHECK
    query: Annotated[str, Field(min_length=1)] | None = None
    fail_above: Number | None = None
    fail_below: Number | None = None
    url: Url | None = None
    expect: Status = "2xx"
    within: Wait = timedelta(seconds=10)

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.query is None) == (self.url is None):
            message = "needs either query or url - write one of them"
            raise InvalidValue(message)
        others = _OF_URLS if self.query is not None else _OF_QUERIES
        if others & self.model_fields_set:
            message = "has a key that does nothing here: expect and within are for a url, failAbove and failBelow for a query - remove it"
            raise InvalidValue(message)
        if self.query is not None and self.fail_above is None and self.fail_below is None:
            message = "has a query without a limit - add failAbove or failBelow"
            raise InvalidValue(message)
        if None not in (self.fail_above, self.fail_below) and self._nothing_passes():
            message = (
                "has a failBelow that is above failAbove, so every number fails - exchange them"
            )
            raise InvalidValue(message)
        return self

    def _nothing_passes(self) -> bool:
        return (self.fail_below or 0.0) > (self.fail_above or 0.0)


class CallTask(Defaults):
    """Sends one HTTP request."""

    kind: Literal[Kind.CALL] = Kind.CALL
    url: Url
    method: Literal["POST", "GET", "PUT"] = "POST"
    body: dict[str, JsonValue] = Field(default_factory=dict)
    expect: Status = "2xx"
    timeout: Wait = timedelta(seconds=30)


class BackupTask(Defaults):
    """Writes a dump of the database, proves that it can be read, and keeps the newest ones."""

    kind: Literal[Kind.BACKUP] = Kind.BACKUP
    folder: FolderName
    keep: Annotated[Count, Field(ge=1, le=10_000)] = 7
    verify_restore: Flag = False
    """Restore it into a database that is made for it, and compare the rows of every table."""
    seal_to: Namespace | None = None
    """Namespace to which the hash of each backup is sealed."""
    programs: str | None = None
    """Folder of `pg_dump` and `pg_restore`; else the PATH, else the newest that Debian installed."""


Task = VacuumTask | RetainTask | ReindexTask | RefreshTask | CheckTask | CallTask | BackupTask
MODELS: Mapping[str, type[Task]] = {
    Kind.VACUUM.value: VacuumTask,
    Kind.RETAIN.value: RetainTask,
    Kind.REINDEX.value: ReindexTask,
    Kind.REFRESH.value: RefreshTask,
    Kind.CHECK.value: CheckTask,
    Kind.CALL.value: CallTask,
    Kind.BACKUP.value: BackupTask,
}
WITHOUT_DATABASE = frozenset({Kind.CALL})


@dataclass(frozen=True, slots=True)
class NamedTask:
    """A task and its name."""

    name: str
    task: Task


@dataclass(frozen=True, slots=True)
class MaintenanceConfig:
    """What maintenance.yaml says."""

    database: SecretStr | None
    """URL of the database; None where no task needs one."""
    tasks: tuple[NamedTask, ...]
    EMPTY: ClassVar[str] = "names no task - write one below tasks"

    def only(self, names: tuple[str, ...]) -> Self:
        """Return the same with these tasks alone, in the file's order.

        Raises:
            InvalidValue: there is no task of a name.
        """
        known = [named.name for named in self.tasks]
        for name in names:
            if name not in known:
                meant = did_you_mean(name, known)
                mend = meant or f"there are: {', '.join(known)}"
                message = f"{name[:100]!r} is no task of maintenance.yaml - {mend}"
                raise InvalidValue(message)
        return replace(self, tasks=tuple(named for named in self.tasks if named.name in names))


def parse_maintenance(document: object, *, connects: bool = True) -> MaintenanceConfig:
    """Read maintenance.yaml, variables replaced; without `connects`, the database may be left open.

    Raises:
        InvalidDocument: with everything that is wrong.
    """
    config, problems = parse_good_tasks(document, connects=connects)
    if problems:
        raise InvalidDocument(problems)
    return config


def parse_good_tasks(
    document: object, *, connects: bool = True
) -> tuple[MaintenanceConfig, list[Problem]]:
    """Read the tasks that can be used, and what is wrong with the others.

    Raises:
        InvalidDocument: none can be used, or what all of them share is wrong; with everything that is wrong.
    """
    if not isinstance(document, Mapping):
        raise InvalidDocument([Problem((), "holds no keys and values - write tasks below tasks")])
    problems = [Problem((key,), unknown_key(key, _TOP)) for key in document if key not in _TOP]
    defaults = document.get("defaults") or {}
    problems += _complaints(Defaults, defaults, ("defaults",))
    tasks = document.get("tasks")
    if not isinstance(tasks, Mapping) or not tasks:
        raise InvalidDocument([*problems, Problem(("tasks",), MaintenanceConfig.EMPTY)])
    named: list[NamedTask] = []
    of_tasks: list[Problem] = []
    stated = {} if problems else defaults
    for name, keys in tasks.items():
        task, wrong = _task(str(name), keys, stated)
        of_tasks += wrong
        if task is not None:
            named.append(NamedTask(str(name), task))
    database = _read_database(document.get("database"), named, problems) if connects else None
    if problems or not named:
        raise InvalidDocument([*problems, *of_tasks])
    return MaintenanceConfig(database, tuple(named)), of_tasks


def _task(
    name: str, keys: object, defaults: Mapping[str, object]
) -> tuple[Task | None, list[Problem]]:
    path = ("tasks", name)
    if not _TASK_NAME.fullmatch(name):
        message = "is no name of a task - use small letters, digits, dot, dash and underscore"
        return None, [Problem(path, message)]
    if not isinstance(keys, Mapping):
        return None, [
            Problem(path, "does not hold keys and values - write kind and its keys below it")
        ]
    kind = keys.get("kind")
    if not isinstance(kind, str) or kind not in MODELS:
        meant = did_you_mean(kind, MODELS) if isinstance(kind, str) else "write it first;"
        message = (
            f"is no kind of task - {meant + ' ' if meant else ''}use one of: {', '.join(MODELS)}"
        )
        return None, [Problem((*path, "kind"), message)]
    if zeroes := [Problem((*path, *place), _ZERO_BYTE) for place in _zero_bytes(keys)]:
        return None, zeroes
    model = MODELS[kind]
    values = {**defaults, **keys, "kind": Kind(kind)}
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        return None, _located(error, model, path)


def _zero_bytes(value: object) -> list[tuple[str, ...]]:
    """Return where texts hold a zero byte: PostgreSQL and the system read a text up to it, and no further."""
    if isinstance(value, str):
        return [()] if "\0" in value else []
    items = (
        value.items() if isinstance(value, Mapping)
        else enumerate(value) if isinstance(value, list) else ()
    )  # fmt: skip
    return [(str(key), *place) for key, item in items for place in _zero_bytes(item)]


def _complaints(model: type[_Section], values: object, path: tuple[str, ...]) -> list[Problem]:
    try:
        model.model_validate(values)
    except ValidationError as error:
        return _located(error, model, path)
    return []


def _located(error: ValidationError, model: type[_Section], path: tuple[str, ...]) -> list[Problem]:
    """Return what is wrong at its place in the file; the branches of a choice are no keys."""
    branches = ("tuple[", "function-")
    return [
        Problem(
            (*path, *(part for part in problem.path if not part.startswith(branches))),
            problem.message,
        )
        for problem in problems_of(error, model)
        if _NOT_A_LIST not in problem.path  # it is one, and what is wrong with it is told too
    ]


def _read_database(
    value: object, named: list[NamedTask], problems: list[Problem]
) -> SecretStr | None:
    needed = any(
        item.task.kind not in WITHOUT_DATABASE and getattr(item.task, "url", None) is None
        for item in named
    )
    if value in (None, ""):
        if needed:
            message = "is missing or empty - set the variable DATABASE_URL, and write database: ${DATABASE_URL}"
            problems.append(Problem(("database",), message))
        return None
    if not isinstance(value, str):
        problems.append(Problem(("database",), "is not a text - write a URL"))
        return None
    try:
        return check_database(SecretStr(value))
    except InvalidValue as error:
        problems.append(Problem(("database",), str(error)))
        return None


@dataclass(frozen=True, slots=True)
class SealTo:
    """What a task's files are sealed to, and where they lie."""

    namespace: str
    folder: str
    """Below the root, unless it is absolute."""


def seal_to(task: Task) -> SealTo | None:
    """Return where the files of a task are sealed; None if they are not, or it leaves none."""
    match task:
        case RetainTask(archive=ArchiveTarget(folder=str(folder), seal_to=str(namespace))):
            return SealTo(namespace, folder)
        case BackupTask(folder=folder, seal_to=str(namespace)):
            return SealTo(namespace, folder)
        case _:
            return None


def tables_named(task: Task) -> tuple[SqlName, ...]:
    """Return the tables, views or indexes that a task names; none if it takes all."""
    match task:
        case VacuumTask(tables=tables) | ReindexTask(indexes=tables):
            return tables if isinstance(tables, tuple) else ()
        case RetainTask(table=table):
            return (table,)
        case RefreshTask(view=view):
            return (view,)
        case _:
            return ()
