"""A worker starts while its job store is away: what needs no store works, and the rest follows when it is back."""

from pathlib import Path

import pytest

from devnet.ports import LOOPBACK, free_port
from tests.jobs.job_system import JobSystem

pytestmark = [pytest.mark.server, pytest.mark.timeout(700)]


def test_a_job_store_that_is_away_at_the_start_keeps_no_worker_from_its_other_roles(
    tmp_path: Path,
) -> None:
    """The harm: a database of jobs that is down ends workers that anchor, too, each time they start."""
    nobody = f"postgresql://vaultmesh@{LOOPBACK}:{free_port()}/jobs"
    with JobSystem(tmp_path, nobody) as system:
        worker = system.start_worker()
        status, body = system.ask("GET", "/health")
        assert (status, body["status"]) == (503, "unhealthy")
        assert system.ask("GET", "/livez")[0] == 200
        assert worker.alive
        assert "jobs not counted" in worker.log.read_text()
