"""Says how far a statement is that is under way, by a connection of its own, opened when something takes long."""

import psycopg

from vaultmesh.postgres.connection import Session

_CONNECT_SECONDS = 3
_PROGRESS = """
SELECT coalesce(
  (SELECT phase || ', ' || heap_blks_scanned || ' of ' || heap_blks_total || ' pages' FROM pg_stat_progress_vacuum WHERE pid = {pid}),
  (SELECT phase || ', ' || sample_blks_scanned || ' of ' || sample_blks_total || ' pages' FROM pg_stat_progress_analyze WHERE pid = {pid}),
  (SELECT phase || ', ' || CASE WHEN lockers_total > 0 THEN lockers_done || ' of ' || lockers_total || ' transactions waited for'
      ELSE blocks_done || ' of ' || blocks_total || ' pages' END FROM pg_stat_progress_create_index WHERE pid = {pid}),
  (SELECT tuples_processed || ' rows' FROM pg_stat_progress_copy WHERE pid = {pid}),
  (SELECT CASE WHEN wait_event_type = 'Lock' THEN 'waits for a lock' ELSE coalesce(state, '') END FROM pg_stat_activity WHERE pid = {pid}),
  '')
"""


class Watcher:
    """Looks at one session's statements. It never fails: what can't be seen is not told."""

    def __init__(self, session: Session) -> None:
        """Connect to nothing yet."""
        self._session = session
        self._connection: psycopg.AsyncConnection[tuple[str]] | None = None

    async def look(self) -> str:
        """Return how far the session's statement is; nothing if that can't be seen."""
        if not self._session.is_open:
            return ""
        pid = self._session.connection.info.backend_pid
        try:
            if self._connection is None or self._connection.closed:
                self._connection = await psycopg.AsyncConnection.connect(
                    self._session.database.url.get_secret_value(),
                    autocommit=True,
                    prepare_threshold=None,
                    connect_timeout=_CONNECT_SECONDS,
                    application_name=self._session.application,
                )
            cursor = await self._connection.execute(_PROGRESS.format(pid=pid).encode())
            row = await cursor.fetchone()
        except psycopg.Error:
            await self.close()
            return ""
        return row[0] if row else ""

    async def close(self) -> None:
        """Close the connection if there is one."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
