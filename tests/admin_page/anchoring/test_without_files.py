"""The page of a process that has no access to the files of anchoring: it says so, and the pages of jobs work."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from devnet.ports import LOOPBACK, free_port
from tests.admin_page.anchoring.logged_in import log_in, shown
from tests.api.running import RunningApi, running
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
