"""Keeps a table of a local system in motion, so that what maintenance does to it can be watched.

1. Each second some rows come, half of them with an age of up to an hour, and the newest ones are changed: dead rows grow,
   and so do rows that are too old.
2. The server's own autovacuum leaves the table alone. A table that nobody maintains grows to a limit and rests.
3. A server that does not answer is tried again; the writer is a thread of whoever starts it, and ends with it.
"""

import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

TABLE = "public.sample_events"
AGE_COLUMN = "happened_at"
OLD_MINUTES = 10
"""Age from which rows may go."""
PAUSE_SECONDS = 1.0
_ROWS, _CHANGED = 20, 50
_LARGEST_MB = 64
_CONNECT_SECONDS = 2
_CREATE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    {AGE_COLUMN} timestamptz NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    what text NOT NULL
) WITH (autovacuum_enabled = false);
CREATE INDEX IF NOT EXISTS sample_events_by_age ON {TABLE} ({AGE_COLUMN}, id);
CREATE INDEX IF NOT EXISTS sample_events_by_change ON {TABLE} (changed_at);
"""
_HAS_ROOM = f"SELECT pg_total_relation_size('{TABLE}') < {_LARGEST_MB} * 1024 * 1024"
_COME = f"""
INSERT INTO {TABLE} ({AGE_COLUMN}, what)
SELECT now() - (number % 2) * random() * interval '1 hour', md5(number::text)
FROM generate_series(1, {_ROWS}) AS number
"""  # noqa: S608 - constants of this module
_CHANGE = f"""
UPDATE {TABLE} SET changed_at = clock_timestamp()
WHERE id > (SELECT max(id) - {_CHANGED} FROM {TABLE})
"""  # noqa: S608 - as above

_LOOK = f"""
SELECT n_live_tup, n_dead_tup, last_vacuum,
       (SELECT count(*) FROM {TABLE} WHERE {AGE_COLUMN} < now() - interval '{OLD_MINUTES} minutes')
FROM pg_stat_user_tables WHERE relid = '{TABLE}'::regclass
"""  # noqa: S608 - as above


@dataclass(frozen=True, slots=True)
class TableState:
    """What there is to maintain, as the server counts it."""

    rows: int
    dead: int
    vacuumed: datetime | None
    old: int
    """Rows that are older than `OLD_MINUTES`."""


class SampleTable:
    """The table's writer."""

    def __init__(self, url: str) -> None:
        """Write to nothing yet; `url` names the database."""
        self._url = url
        self.state: TableState | None = None
        """As it was a second ago; None before the first look."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, name="sample table", daemon=True)

    def start(self) -> None:
        """Write from now on."""
        self._thread.start()

    def close(self) -> None:
        """Write no more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_CONNECT_SECONDS)

    def _keep_writing(self) -> None:
        import psycopg  # noqa: PLC0415 - whoever has no server needs no client

        while not self._ended.is_set():
            with suppress(psycopg.Error):
                self._write()
            self._ended.wait(PAUSE_SECONDS)

    def _write(self) -> None:
        """Write until the end; raises what the server's end raises."""
        import psycopg  # noqa: PLC0415 - as above

        with psycopg.connect(
            self._url, autocommit=True, connect_timeout=_CONNECT_SECONDS
        ) as connection:
            connection.execute(_CREATE)
            while not self._ended.wait(PAUSE_SECONDS):
                has_room = connection.execute(_HAS_ROOM).fetchone()
                if has_room == (True,):
                    connection.execute(_COME)
                    connection.execute(_CHANGE)
                row = connection.execute(_LOOK).fetchone()
                self.state = None if row is None else TableState(*row)
