"""The database of the scheduler that we replace, made by hand, and that scheduler's own way of writing runs."""

import json
import threading
import time
import urllib.request
import uuid
from datetime import UTC, datetime

from devnet.postgres import PostgresServer
from tests.storage.jobs.test_takeover import SEED, TRIGGER

JOBS = """
INSERT INTO job_schedules (job_name, display_name, description, cron_expression, job_type, service, endpoint, config, enabled,
    last_run_at, last_run_status, last_run_duration_ms, total_runs, successful_runs, failed_runs) VALUES
  ('weekly-digest', 'Weekly digest', 'Mail the digest', '0 9 * * 1', 'email', 'mail-service', '/api/jobs/weekly-digest',
    '{"batchSize": 100}', true, '2026-03-02T09:00:05Z', 'completed', 5000, 9, 7, 2),
  ('queue-cleanup', 'Queue cleanup', 'Delete old mails', '0 2 * * *', 'cleanup', 'mail-service', '/api/jobs/queue-cleanup',
    '{}', false, null, null, null, 0, 0, 0),
  ('deletion-cleanup', 'Deletion', 'Delete accounts', '0 2 * * *', 'cleanup', 'user-service', '/api/jobs/process-deletions',
    '{}', true, null, null, null, 1, 1, 0);
"""
RUNS = """
INSERT INTO scheduled_jobs (id, job_name, job_type, status, started_at, completed_at, duration_ms, error_message, triggered_by) VALUES
  ('00000000-0000-4000-8000-000000000001', 'weekly-digest', 'email', 'completed', '2026-02-23T09:00:00Z', '2026-02-23T09:00:05Z', 5000, null, 'scheduler'),
  ('00000000-0000-4000-8000-000000000002', 'weekly-digest', 'email', 'failed', '2026-03-02T09:00:00Z', '2026-03-02T09:00:05Z', 5000, 'fetch failed', 'scheduler'),
  ('00000000-0000-4000-8000-000000000003', 'weekly-digest', 'email', 'running', '2026-03-01T09:00:00Z', null, null, null, 'admin'),
  ('00000000-0000-4000-8000-000000000004', 'gone-job', 'other', 'completed', '2026-01-01T00:00:00Z', '2026-01-01T00:00:01Z', 1000, null, 'manual');
"""
"""Two of nine runs are left of the first job's, and one that a crash left behind; the last one's job was deleted."""


def make_old_database(server: PostgresServer, database: str) -> None:
    """Make the tables, the trigger that counts, and some rows."""
    server.sql(database, SEED)
    server.sql(database, JOBS)
    server.sql(database, RUNS)
    server.sql(database, TRIGGER)


class OldScheduler:
    """Fires one job at one second of each minute, as node-cron does: a row, a call, an update of the row."""

    def __init__(
        self, server: PostgresServer, database: str, job: str, url: str, second: int
    ) -> None:
        """Fire nothing yet."""
        self._server, self._database = server, database
        self._job, self._url, self._second = job, url, second
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._fire_for_ever)
        self.runs: list[str] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is under way ends first."""
        self._is_over.set()
        self._thread.join()

    def _fire_for_ever(self) -> None:
        fired = -1
        while not self._is_over.wait(0.2):
            now = int(time.time())
            if now % 60 == self._second and now != fired:
                fired = now
                self._fire()

    def _fire(self) -> None:
        run, began = str(uuid.uuid4()), datetime.now(UTC)
        self._sql(
            "INSERT INTO scheduled_jobs (id, job_name, job_type, status, started_at) VALUES "  # noqa: S608
            f"('{run}', '{self._job}', 'email', 'running', '{began.isoformat()}')"
        )
        self.runs.append(run)
        body = {"jobName": self._job, "config": {}, "executionId": run, "triggeredBy": "scheduler"}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=240) as answer:  # noqa: S310
            answer.read()
        self._sql(
            "UPDATE scheduled_jobs SET status = 'completed', completed_at = now(), duration_ms = 1 "  # noqa: S608
            f"WHERE id = '{run}'"
        )

    def _sql(self, statement: str) -> None:
        self._server.sql(self._database, statement)
