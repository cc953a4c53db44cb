"""What the last run of a namespace left behind, as a real Temporal server keeps it."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from temporalio.client import Client

from vaultmesh.domain.names import (
    MEMO_DECIDED,
    MEMO_STATUS,
    NAMESPACE_WORKFLOW,
    namespace_workflow_id,
)
from vaultmesh.domain.namespaces.state import Decided
from vaultmesh.domain.status import NamespaceMemo, PausedView
from vaultmesh.process.client import connect
from vaultmesh.process.last_run import LastRun, Past, last_run

pytestmark = pytest.mark.server
PAUSED = Decided(
    paused={"fast": PausedView(reason="budget", since=datetime(2026, 1, 15, tzinfo=UTC))}
)


async def _anchored(_: str) -> bool:
    return True


async def ended(client: Client, memo: Mapping[str, object]) -> str:
    """Leave a run that was terminated; returns its namespace."""
    name = f"dao:{secrets.token_hex(4)}"
    handle = await client.start_workflow(
        NAMESPACE_WORKFLOW, id=namespace_workflow_id(name), task_queue="nobody", memo=memo
    )
    await handle.terminate()
    return name


async def test_what_was_decided_is_known_although_the_run_was_terminated(address: str) -> None:
    client = await connect()
    name = await ended(client, {MEMO_DECIDED: PAUSED})
    assert await last_run(client, name, Past()) == LastRun(decided=PAUSED)


async def test_a_pause_that_an_earlier_version_kept_is_not_lost(address: str) -> None:
    client = await connect()
    memo = NamespaceMemo(namespace="", paused=["fast"])
    name = await ended(client, {MEMO_STATUS: memo})
    assert set((await last_run(client, name, Past())).decided.paused) == {"fast"}


async def test_a_run_that_was_stopped_leaves_nothing_behind(address: str) -> None:
    client = await connect()
    memo = NamespaceMemo(namespace="", paused=["fast"], stopping=True)
    name = await ended(client, {MEMO_STATUS: memo, MEMO_DECIDED: PAUSED})
    assert await last_run(client, name, Past(has_receipts=_anchored)) == LastRun()


async def test_a_memo_that_means_nothing_is_not_taken_for_nothing_decided(address: str) -> None:
    client = await connect()
    name = await ended(client, {MEMO_DECIDED: {"paused": 7}})
    past = Past(has_receipts=_anchored)
    assert await last_run(client, name, past) == LastRun(is_unknown=True)


async def test_a_past_that_nobody_knows_stays_unknown_although_the_run_was_terminated(
    address: str,
) -> None:
    client = await connect()
    since = datetime(2026, 1, 15, tzinfo=UTC)
    name = await ended(client, {MEMO_STATUS: NamespaceMemo(namespace="", unknown_since=since)})
    assert await last_run(client, name, Past()) == LastRun(is_unknown=True)


async def test_what_temporal_lost_is_known_to_who_saw_it_and_else_unknown(address: str) -> None:
    client = await connect()
    seen, none = f"dao:{secrets.token_hex(4)}", f"dao:{secrets.token_hex(4)}"
    past = Past({seen: PAUSED}, _anchored)
    assert await last_run(client, seen, past) == LastRun(decided=PAUSED)
    assert await last_run(client, none, past) == LastRun(is_unknown=True)
    assert await last_run(client, none, Past()) == LastRun()


async def test_one_that_runs_is_not_started_again(address: str) -> None:
    client = await connect()
    name = f"dao:{secrets.token_hex(4)}"
    await client.start_workflow(
        NAMESPACE_WORKFLOW, id=namespace_workflow_id(name), task_queue="nobody"
    )
    assert await last_run(client, name, Past()) == LastRun(runs=True)
