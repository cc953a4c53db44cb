"""Measures maintenance of a PostgreSQL database: retention beside a writer, deciding over many tables, a killed client."""

import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, Popen

import psycopg
import yaml

from bench.figures import Row, at_least, at_most, median, quantile, spread, unlimited
from bench.system import BenchError
from devnet.postgres import PostgresServer
from vaultmesh.domain.paths import CONFIG_FOLDER, MAINTENANCE_FILE
from vaultmesh.process.settings import REPOSITORY

NEEDS = "PostgreSQL; about 6 minutes"
_ROWS_PER_SECOND, _BATCH_MS, _MORE_MB, _GONE_SECONDS, _TIMES_AS_LONG = (
    20_000.0,
    500.0,
    20.0,
    3.0,
    2.0,
)
_DATABASE, _ROLE = "shop", "janitor"
_GIVE_UP_SECONDS = 600.0
_LOOK_SECONDS = 0.02
_WRITER_PAUSE_SECONDS = 0.002
_STATEMENT = re.compile(r"duration: ([\d.]+) ms  statement: (?:COPY|DELETE|WITH)\b")
"""In the server's log: what one batch of retention took."""
_SERVER = {
    "fsync": "on",
    "max_wal_size": "4GB",
    "shared_buffers": "256MB",
    "logging_collector": "on",
    "log_rotation_size": "0",  # each batch is a line of one file
    "log_line_prefix": "%u ",
}
_FILL = """
TRUNCATE events, archive.events;
INSERT INTO events (at, body)
SELECT now() - interval '100 days' - number * interval '1 second', repeat(md5(number::text), 3)
FROM generate_series(1, {old}) AS number;
INSERT INTO events (at, body)
SELECT now() - number * interval '1 second', repeat(md5(number::text), 3) FROM generate_series(1, {young}) AS number
"""
_TABLES = """
CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL, body text NOT NULL);
CREATE INDEX ON events (at);
CREATE SCHEMA archive;
CREATE TABLE archive.events (id bigint, at timestamptz, body text);
ALTER TABLE events OWNER TO janitor;
ALTER TABLE archive.events OWNER TO janitor;
ALTER SCHEMA archive OWNER TO janitor
"""
_MANY = """
DO $$ BEGIN FOR number IN 1..{count} LOOP
EXECUTE format('CREATE TABLE many.t%s AS SELECT 1 AS number', number);
EXECUTE format('ALTER TABLE many.t%s OWNER TO janitor', number);
IF number % 200 = 0 THEN COMMIT; END IF;
END LOOP; END $$
"""
_ARCHIVES: Mapping[str, Mapping[str, str] | None] = {
    "deleted only": None,
    "archived into a table": {"table": "archive.events"},
    "archived into files": {"folder": "archive/events"},
}


def measure(*, quick: bool) -> list[Row]:
    """Measure with 1,000,000 rows, 700,000 of them old, and with 5,000 tables; quickly, with few."""
    size = _Size(20_000, 14_000, 50, 1.0, 1) if quick else _Size(1_000_000, 700_000, 5_000, 5.0, 3)
    with _Shop(size) as shop:
        idle = shop.run("statistics")
        rows = [
            row
            for name, archive in _ARCHIVES.items()
            for row in _retention(shop, name, archive, idle)
        ]
        return [*rows, *_killed(shop), *_many_tables(shop)]


@dataclass(frozen=True, slots=True)
class _Size:
    """How much there is."""

    rows: int
    old: int
    tables: int
    writer_seconds: float
    """How long the writer is measured alone, before a run and again after it."""
    rounds: int


@dataclass(frozen=True, slots=True)
class _Ran:
    """A run of the command, as its parent sees it."""

    seconds: float
    cpu: float
    memory: float
    """Peak, in MB."""


class _Shop:
    """A server with a database, and the tasks that look after it."""

    def __init__(self, size: _Size) -> None:
        self.size = size
        self._server = PostgresServer(_SERVER)
        self._folder = tempfile.TemporaryDirectory(prefix="vaultmesh-bench-")
        self._root = Path(self._folder.name)
        self._read = 0
        """Characters of the server's log that were read."""

    def __enter__(self) -> "_Shop":
        self._server.start()
        self._server.create(_DATABASE)
        self._server.sql("postgres", f"CREATE ROLE {_ROLE} LOGIN")
        self._server.sql("postgres", f"ALTER ROLE {_ROLE} SET log_min_duration_statement = 0")
        self.sql(_TABLES)
        self._write({"statistics": {"kind": "vacuum", "tables": ["public.events"]}})
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.close()
        self._folder.cleanup()

    def sql(self, statements: str) -> str:
        """Run SQL as the server's owner."""
        return self._server.sql(_DATABASE, statements)

    def number(self, query: str) -> int:
        """Return the one number that a query returns."""
        return int(self.sql(query))

    def connect(self) -> psycopg.Connection:
        """Connect as the server's owner."""
        return psycopg.connect(self._server.url(_DATABASE), autocommit=True)

    def _write(self, tasks: Mapping[str, object]) -> None:
        place = self._root / CONFIG_FOLDER / MAINTENANCE_FILE
        place.parent.mkdir(parents=True, exist_ok=True)
        defaults = {"deadline": "10m", "statementTimeout": "60s", "lockTimeout": "30s"}
        document = {
            "database": self._server.url(_DATABASE, _ROLE),
            "defaults": defaults,
            "tasks": tasks,
        }
        place.write_text(yaml.safe_dump(document))

    def start(self, *arguments: str) -> "Popen[bytes]":
        """Start the command."""
        return Popen(
            [sys.executable, str(REPOSITORY / "starter.py"), "maintenance", *arguments],
            env={"PATH": os.environ["PATH"], "VMSH_ROOT": str(self._root), "LOG_LEVEL": "error"},
            stdin=DEVNULL,
            stdout=DEVNULL,
        )

    def run(self, *tasks: str, verb: Sequence[str] = ("run", "--once")) -> _Ran:
        """Run the command to its end.

        Raises:
            BenchError: it failed.
        """
        began = time.monotonic()
        process = self.start(*verb, *tasks)
        peak = 0.0
        while True:
            peak = max(peak, _peak(process.pid))
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            time.sleep(_LOOK_SECONDS)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            message = f"maintenance {' '.join((*verb, *tasks))} ended with {process.returncode}"
            raise BenchError(message)
        return _Ran(time.monotonic() - began, used.ru_utime + used.ru_stime, peak)

    def set_tasks(self, tasks: Mapping[str, object]) -> None:
        """Have these tasks from now on."""
        self._write(tasks)

    def batches(self) -> list[float]:
        """Return what each batch took since the last call, in milliseconds, as the server logged it."""
        text = self.sql("SELECT pg_read_file(pg_current_logfile())")
        fresh, self._read = text[self._read :], len(text)
        return [float(taken) for taken in _STATEMENT.findall(fresh)]


def _peak(pid: int) -> float:
    """Return the most memory that a process ever had, in MB; what `wait4` says of it would be its parent's."""
    line = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(line[1]) * 1_024 / 1e6 if line else 0.0


@dataclass(frozen=True, slots=True)
class _Written:
    """What became of the writer's transactions in some time."""

    taken: Sequence[float]
    """Milliseconds of each pair."""
    waiting: float
    """Share of the time in which it, or its process of the server, waited for a processor."""

    @property
    def p99(self) -> float:
        """What one in a hundred exceeds."""
        return quantile(self.taken, 0.99)

    def __add__(self, other: "_Written") -> "_Written":
        """Return both together."""
        return _Written([*self.taken, *other.taken], (self.waiting + other.waiting) / 2)


@dataclass(frozen=True, slots=True)
class _Round:
    """A run beside a writer, who is measured alone before and after it."""

    ran: _Ran
    batches: Sequence[float]
    alone: _Written
    beside: _Written

    @property
    def times_as_long(self) -> float:
        """The writer's p99 beside the run, of what it is alone."""
        return self.beside.p99 / self.alone.p99


def _round(shop: _Shop) -> _Round:
    size = shop.size
    shop.sql(_FILL.format(old=size.old, young=size.rows - size.old))
    shop.sql("VACUUM ANALYZE events")
    shop.sql("CHECKPOINT")
    shop.batches()
    with _writing(shop) as writer:
        writer.written(size.writer_seconds / 5)  # what is new to both is no matter
        before = writer.written(size.writer_seconds)
        ran = shop.run("retention")
        beside = writer.written()
        after = writer.written(size.writer_seconds)
    if shop.number("SELECT count(*) FROM events WHERE at < now() - interval '91 days'"):
        message = "old rows are left"
        raise BenchError(message)
    return _Round(ran, shop.batches(), before + after, beside)


def _retention(
    shop: _Shop, what: str, archive: Mapping[str, str] | None, idle: _Ran
) -> Iterator[Row]:
    size = shop.size
    task = {
        "kind": "retain",
        "table": "public.events",
        "ageColumn": "at",
        "keep": "90d",
        **({"archive": archive} if archive else {}),
    }
    shop.set_tasks({"retention": task})
    rounds = [_round(shop) for _ in range(size.rounds)]
    title = f"{size.old:,} of {size.rows:,} rows beside a writer, {what}"
    speeds = [size.old / each.ran.seconds for each in rounds]
    more = spread(speeds, "{:,.0f}")
    yield at_least(title, median(speeds), _ROWS_PER_SECOND, "{:,.0f} rows/s", more=more)
    batches = [taken for each in rounds for taken in each.batches]
    more = f" ({len(batches)} batches, p50 {quantile(batches, 0.5):.1f} ms, longest {max(batches):.0f} ms)"
    yield at_most("  a batch, p99", quantile(batches, 0.99), _BATCH_MS, "{:.0f} ms", more=more)
    peak = max(each.ran.memory for each in rounds)
    yield at_most(
        "  memory of the client, above a run with nothing to do",
        peak - idle.memory,
        _MORE_MB,
        "{:.0f} MB",
        more=f" (peak {peak:.0f} MB)",
    )
    times = [each.times_as_long for each in rounds]
    more = spread(times, "{:.1f}")
    title = "  the writer's p99 beside it, of that alone"
    yield at_most(title, median(times), _TIMES_AS_LONG, "{:.1f} times", more=more)
    for each in rounds:
        words = (
            f"{each.alone.p99:.1f} ms, {each.beside.p99:.1f} ms (longest {max(each.beside.taken):.0f} ms); "
            f"waited for a processor {each.alone.waiting:.0%}, {each.beside.waiting:.0%}"
        )
        yield unlimited("    alone, beside it", words)


@dataclass
class _Writer:
    """Inserts and updates single rows, one transaction each, and keeps how long each took."""

    connection: psycopg.Connection
    ended: threading.Event = field(default_factory=threading.Event)
    _taken: list[float] = field(default_factory=list)
    _since: tuple[float, float] = (0.0, 0.0)
    """When the last measurement ended, and how long processors had been waited for by then."""
    _thread: int = 0

    def run(self) -> None:
        """Write until the end."""
        self._thread = threading.get_native_id()
        while not self.ended.wait(_WRITER_PAUSE_SECONDS):
            began = time.perf_counter()
            row = self.connection.execute(
                "INSERT INTO events (at, body) VALUES (now(), 'new') RETURNING id"
            ).fetchone()
            self.connection.execute("UPDATE events SET body = 'changed' WHERE id = %s", row)
            self._taken.append(1_000 * (time.perf_counter() - began))

    def written(self, seconds: float = 0.0) -> _Written:
        """Wait, and return what was written since the last call."""
        time.sleep(seconds)
        taken, self._taken = self._taken, []
        now, waited = time.monotonic(), self._waited()
        began, waited_before = self._since
        self._since = now, waited
        return _Written(taken, (waited - waited_before) / (now - began))

    def _waited(self) -> float:
        """Return for how many seconds either half of the writer waited for a processor."""
        halves = (self._thread, self.connection.info.backend_pid)
        fields = [Path(f"/proc/{pid}/schedstat").read_text().split() for pid in halves]
        return sum(int(waited) for _, waited, *_ in fields) / 1e9


@contextmanager
def _writing(shop: _Shop) -> Iterator[_Writer]:
    with shop.connect() as connection:
        writer = _Writer(connection)
        thread = threading.Thread(target=writer.run)
        thread.start()
        try:
            yield writer
        finally:
            writer.ended.set()
            thread.join()


def _killed(shop: _Shop) -> Iterator[Row]:
    """Kill a client whose statement waits for a lock, and see how long the server keeps it."""
    ours = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'vmsh:maintenance:%'{}"
    )
    with shop.connect() as holder, holder.transaction():
        holder.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        process = shop.start("run", "--once", "retention")
        _until(
            shop, ours.format(" AND wait_event_type = 'Lock'"), lambda count: count > 0, "a wait"
        )
        process.kill()
        process.wait()
        killed = time.monotonic()
        _until(shop, ours.format(""), lambda count: count == 0, "the statement's end")
        gone = time.monotonic() - killed
    yield at_most("client killed: its statement is gone after", gone, _GONE_SECONDS, "{:.1f} s")


def _until(shop: _Shop, query: str, holds: Callable[[int], bool], what: str) -> None:
    end = time.monotonic() + _GIVE_UP_SECONDS
    while not holds(shop.number(query)):
        if time.monotonic() > end:
            message = f"waited in vain for {what}"
            raise BenchError(message)
        time.sleep(_LOOK_SECONDS)


def _many_tables(shop: _Shop) -> Iterator[Row]:
    """Decide over many tables of which none needs anything."""
    shop.sql(f"CREATE SCHEMA many AUTHORIZATION {_ROLE}")
    with shop.connect() as connection:
        connection.execute(_MANY.format(count=shop.size.tables).encode())
    shop.sql("VACUUM ANALYZE")
    shop.set_tasks({"statistics": {"kind": "vacuum", "tables": "all"}})
    shop.run("statistics")
    planned = shop.run("statistics", verb=("plan",))
    idle = shop.run()
    tables = f"{shop.size.tables:,} tables"
    yield unlimited(f"`maintenance plan` of {tables}", _in_words(planned))
    yield unlimited(f"`maintenance run --once` of {tables}, nothing to do", _in_words(idle))
    shop.set_tasks({"statistics": {"kind": "vacuum", "tables": ["public.events"]}})
    yield unlimited("  of one table, nothing to do", _in_words(shop.run()))


def _in_words(ran: _Ran) -> str:
    return f"{ran.seconds:.2f} s, CPU {ran.cpu:.2f} s, {ran.memory:.0f} MB"
