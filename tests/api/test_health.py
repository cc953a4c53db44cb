"""What probes are told when store, Temporal or port fail."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devnet.ports import LOOPBACK
from tests.api.running import RunningApi, running, settings
from tests.storage.jobs import conftest
from tests.storage.jobs.places import Place
from vaultmesh.domain.instants import read_time
from vaultmesh.domain.paths import JOBS_DATABASE
from vaultmesh.process.http import PortTaken

server, postgres = conftest.server, conftest.postgres


@pytest.fixture
async def storeless(tmp_path: Path) -> AsyncIterator[RunningApi]:
    """Run an API whose store can't be opened: a folder lies where its file belongs."""
    (tmp_path / JOBS_DATABASE).mkdir(parents=True)
    async with running(tmp_path) as started:
        yield started


async def test_without_temporal_it_is_unhealthy_and_still_takes_registrations(
    api: RunningApi,
) -> None:
    api.workflows.away = True
    answer = await api.ask("GET", "/health", headers={})
    assert answer.status == 503
    assert (answer.json["status"], answer.json["problems"]) == (
        "unhealthy",
        ["Temporal does not answer"],
    )
    assert [(await api.ask("GET", path, headers={})).status for path in ("/livez", "/readyz")] == [
        200,
        200,
    ]
    assert (await api.register()).status == 200


async def test_it_says_what_the_page_expects(api: RunningApi) -> None:
    body = (await api.ask("GET", "/health", headers={})).json
    read_time(body.pop("timestamp"))
    assert body == {
        "status": "healthy",
        "service": "scheduler-service",
        "version": "1.0.0",
        "jobs": 0,
    }


async def test_without_the_store_it_is_unhealthy_not_ready_and_alive(storeless: RunningApi) -> None:
    health = await storeless.ask("GET", "/health", headers={})
    assert (health.status, health.json["status"], health.json["jobs"]) == (503, "unhealthy", 0)
    assert "job store" in health.json["problems"][0]
    assert (await storeless.ask("GET", "/readyz", headers={})).status == 503
    assert (await storeless.ask("GET", "/livez", headers={})).status == 200


async def test_a_store_that_answers_and_takes_no_writes_is_not_called_healthy(
    postgres: Place,
) -> None:
    assert postgres.server is not None
    setting = f"ALTER DATABASE {postgres.database} SET default_transaction_read_only"
    async with running(postgres.root, database=postgres.url) as api:
        assert (await api.ask("GET", "/health", headers={})).status == 200
        postgres.server.sql("postgres", f"{setting} = on")
        try:
            cut_off = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
            postgres.server.sql("postgres", f"{cut_off}'{postgres.database}'")
            health = await api.ask("GET", "/health", headers={})
            registered = await api.register()
        finally:
            postgres.server.sql("postgres", f"{setting} TO DEFAULT")
    assert (health.status, health.json["status"]) == (503, "unhealthy")
    mend = "name the primary, or end what makes it read-only"
    assert all(mend in text for text in (health.json["problems"][0], registered.json["message"]))


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/api/jobs", "Failed to fetch job schedules"),
        ("GET", "/api/jobs/x", "Failed to fetch job details"),
        ("POST", "/api/jobs/x/trigger", "Failed to trigger job"),
        ("POST", "/api/jobs/x/enable", "Failed to enable job"),
        ("POST", "/api/jobs/x/disable", "Failed to disable job"),
        ("DELETE", "/api/jobs/x", "Failed to delete job"),
        ("GET", "/api/jobs/x/history", "Failed to fetch execution history"),
        ("GET", "/api/jobs/x/stats", "Failed to fetch execution stats"),
        ("POST", "/api/jobs/x/reset", "Failed to reset job"),
        ("POST", "/api/jobs/x/allow", "Failed to allow job"),
    ],
)
async def test_without_the_store_each_route_fails_with_its_own_words(
    method: str, path: str, error: str, storeless: RunningApi
) -> None:
    answer = await storeless.ask(method, path, {} if path.endswith("trigger") else None)
    assert (answer.status, answer.json["error"]) == (500, error), answer.text
    assert storeless.workflows.calls == []


async def test_without_the_store_a_registration_fails_and_tells_nobody(
    storeless: RunningApi,
) -> None:
    answer = await storeless.register()
    assert (answer.status, answer.json["error"]) == (500, "Failed to register job")
    assert storeless.workflows.calls == []


async def test_a_port_in_use_is_one_line_that_names_the_settings(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        with pytest.raises(PortTaken) as caught:
            async with running(tmp_path, settings(port=taken.getsockname()[1])):
                pass
    assert "API_PORT" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_host_that_is_not_of_this_machine_is_one_line_that_names_the_settings(
    tmp_path: Path,
) -> None:
    with pytest.raises(PortTaken) as caught:
        async with running(tmp_path, settings(host="192.0.2.1")):
            pass
    assert "API_HOST" in str(caught.value)


async def test_two_apis_that_change_one_job_200_times_leave_row_and_workflow_agreed(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as first, running(tmp_path) as second:
        await first.register()
        assert (await second.ask("GET", "/api/jobs")).json == (
            await first.ask("GET", "/api/jobs")
        ).json
        at = "/api/jobs/nightly-report"
        for number in range(10):
            answers = await asyncio.gather(
                *(api.register(description=f"text {number} {turn}") for api in (first, second) for turn in range(6)),
                *(api.ask("POST", f"{at}/{verb}") for api in (first, second) for verb in ("enable", "disable") * 2),
                *(api.ask("GET", at) for api in (first, second)),
            )  # fmt: skip
            assert {answer.status for answer in answers} == {200}
        heard = {call[2]: call[3] for api in (first, second) for call in api.workflows.calls}
        job = await first.store.get("nightly-report")
        assert job is not None
        assert job.decisions.revision == max(heard)
        assert job.definition == heard[max(heard)]
        assert await first.store.untold() == ()


async def test_one_registration_sent_twenty_times_at_once_is_one_job_of_one_revision(
    api: RunningApi,
) -> None:
    answers = await asyncio.gather(*(api.register() for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len((await api.ask("GET", "/api/jobs")).json["jobs"]) == 1
    assert len({call[2] for call in api.workflows.calls}) == 1
    assert len(await api.audited()) == 1
