"""The page without a worker, and without Temporal: it says so, shows what files say, and takes no order."""

from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from devnet.temporal import TemporalServer
from tests.admin_page.anchoring.logged_in import log_in, sent, shown
from tests.api.running import RunningApi, running
from tests.overview.recorded import BATCH_ID, NAMESPACE, recorded, settings
from vaultmesh.overview.anchoring import AnchoringOverview
from vaultmesh.process.search_attributes import ensure
from vaultmesh.storage.batch_files import BatchFiles

pytestmark = [pytest.mark.server, pytest.mark.timeout(700)]
PAUSE = {"name": NAMESPACE, "cadence": "", "reason": "upgrade"}


async def assert_shows_files(api: RunningApi) -> None:
    for place in ("namespaces", f"namespace?name={NAMESPACE}"):
        status, text = await shown(api, place)
        assert (status, NAMESPACE in text, "no answer" in text) == (200, True, True), place
        assert "Not everything answered" in text, place
    status, text = await shown(api, f"batch?namespace={NAMESPACE}&id={BATCH_ID}")
    assert (status, text.count("Download receipt")) == (200, 3)


async def test_an_order_that_nobody_hears_is_never_called_done(tmp_path: Path) -> None:
    root = tmp_path / "root"
    recorded(root)
    with TemporalServer(tmp_path, headless=True) as server:
        client = await Client.connect(server.address, data_converter=pydantic_data_converter)
        await ensure(client)
        await client.start_workflow(
            "NamespaceWorkflow", id=f"namespace:{NAMESPACE}", task_queue="scheduler"
        )
        anchoring = AnchoringOverview(client, settings(root), BatchFiles(root))
        async with running(tmp_path, parts={"anchoring": anchoring}) as api:
            await log_in(api)
            await assert_shows_files(api)
            answer = await sent(api, "pause-namespace", PAUSE)
            assert (answer.status, "no worker polls" in answer.text) == (503, True)
            server.kill()
            await assert_shows_files(api)
            answer = await sent(api, "pause-namespace", PAUSE)
            assert (answer.status, "Nobody answered" in answer.text) == (503, True)
            assert "Set-Cookie" not in answer.headers  # no notice that it was done
