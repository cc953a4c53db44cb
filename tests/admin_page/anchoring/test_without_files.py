"""The page of a process that has no access to the files of anchoring: it says so, and the pages of jobs work."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from devnet.ports import LOOPBACK, free_port
from tests.api.running import ADMIN_TOKEN, RunningApi, running
from tests.overview.recorded import BATCH_ID, NAMESPACE, recorded, settings, write_namespaces
from vaultmesh.overview.anchoring import AnchoringOverview
from vaultmesh.storage.batch_files import BatchFiles


async def anchoring(root: Path) -> AnchoringOverview:
    """Return what a process knows whose Temporal is away."""
    client = await Client.connect(f"{LOOPBACK}:{free_port()}", lazy=True)
    return AnchoringOverview(client, settings(root), BatchFiles(root), lambda: True)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RunningApi]:
    root = tmp_path / "root"
    write_namespaces(root)
    async with running(tmp_path, parts={"anchoring": await anchoring(root)}) as started:
        await log_in(started)
        yield started


async def log_in(api: RunningApi) -> None:
    """Have every later request send the session's cookie; the library keeps none of an address."""
    async with api.session.post(
        f"{api.url}/admin/log-in",
        data={"token": ADMIN_TOKEN},
        headers={"Sec-Fetch-Site": "same-origin"},
        allow_redirects=False,
    ) as answer:
        assert answer.status == 303
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
    api.session.headers["Cookie"] = cookie


async def shown(api: RunningApi, place: str) -> tuple[int, str]:
    answer = await api.ask("GET", f"/admin/{place}", headers={})
    return answer.status, answer.text


async def test_pages_say_that_the_files_are_not_here(api: RunningApi) -> None:
    for place in ("namespaces", f"namespace?name={NAMESPACE}", "targets", f"batches?namespace={NAMESPACE}"):  # fmt: skip
        status, text = await shown(api, place)
        assert status == 200, place
        assert "The files of anchoring are not here" in text, place
    assert "owed" not in (await shown(api, "namespaces"))[1].lower()


async def test_jobs_are_shown_all_the_same(api: RunningApi) -> None:
    await api.register()
    status, text = await shown(api, "jobs")
    assert (status, "nightly-report" in text or "Nightly report" in text) == (200, True)


async def test_with_temporal_away_pages_show_what_files_show(tmp_path: Path) -> None:
    root = tmp_path / "root"
    recorded(root)
    async with running(tmp_path, parts={"anchoring": await anchoring(root)}) as api:
        await log_in(api)
        status, text = await shown(api, "namespaces")
        assert (status, NAMESPACE in text, "Not everything answered" in text) == (200, True, True)
        status, text = await shown(api, f"batch?namespace={NAMESPACE}&id={BATCH_ID}")
        assert (status, text.count("Download receipt")) == (200, 3)


async def test_a_process_that_knows_nothing_of_anchoring_says_where_to_ask(tmp_path: Path) -> None:
    async with running(tmp_path) as api:
        await log_in(api)
        status, text = await shown(api, "namespaces")
        assert (status, "Ask a worker" in text) == (404, True)
