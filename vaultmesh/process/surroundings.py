"""Examines what every process of ours rests on: Temporal and the folder of batches and receipts. Nothing of it is changed.

In the folder a file with a dot is made, locked, renamed and removed again: that is what the product does there.
"""

import fcntl
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError

from vaultmesh.domain.diagnosis import Diagnosis, ok, warning, wrong
from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.freshness import in_words
from vaultmesh.process.client import retention, retention_warning
from vaultmesh.process.places import in_words as error_in_words
from vaultmesh.process.places import why_not_written
from vaultmesh.process.polling import POLLED_WITHIN, last_poll
from vaultmesh.process.search_attributes import missing

TEMPORAL = "temporal"
STORAGE = "storage"
ANSWER_WITHIN = timedelta(seconds=5)
LEAST_FREE_BYTES = 1_000_000_000
"""A day of receipts of a thousand namespaces."""
_FROM_A_SHELL = (
    "compare the mounts: readers and writers need one file system with locks (flock) and renames"
)


async def temporal_lines(client: Client) -> list[Diagnosis]:
    """Return a line for each thing about Temporal: version, Temporal namespace, retention, search attributes, workers."""
    lines = [await _server(client)]
    for check, look in (
        ("retention", _retention),
        ("search attributes", _attributes),
        ("reported problems", _reported),
        ("worker", _worker),
    ):
        try:
            lines.append(await look(client))
        except (RPCError, DomainError) as error:
            text = error.message if isinstance(error, RPCError) else str(error)
            mend = "give this client the right to look, or ask whoever runs the server"
            lines.append(warning(TEMPORAL, check, f"can't be looked at: {text}", mend))
    return lines


async def _server(client: Client) -> Diagnosis:
    place = client.service_client.config.target_host
    try:
        answer = await client.workflow_service.get_system_info(
            GetSystemInfoRequest(), timeout=ANSWER_WITHIN
        )
    except RPCError as error:
        return wrong(TEMPORAL, "server", f"{place}: {error.message}", "check TEMPORAL_ADDRESS")
    return ok(TEMPORAL, "server", f"{place}, version {answer.server_version or 'unknown'}")


async def _retention(client: Client) -> Diagnosis:
    kept = await retention(client)
    what, _, mend = retention_warning(client.namespace, kept).partition(" - ")
    if what:
        return warning(TEMPORAL, "retention", what, mend)
    return ok(
        TEMPORAL, "retention", f"{client.namespace} keeps closed workflows for {in_words(kept)}"
    )


async def _attributes(client: Client) -> Diagnosis:
    names = await missing(client)
    if names:
        mend = "run `python starter.py setup`, or start a worker that may create them"
        return wrong(TEMPORAL, "search attributes", f"{', '.join(names)} are missing", mend)
    return ok(TEMPORAL, "search attributes", "all are registered")


async def _reported(client: Client) -> Diagnosis:
    """Say whether the server lists failing workflows itself: without it, each is asked in turn."""
    answer = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace), timeout=ANSWER_WITHIN
    )
    if answer.namespace_info.capabilities.reported_problems_search_attribute:
        return ok(TEMPORAL, "reported problems", "the server lists failing workflows itself")
    detail = "the server lists no failing workflows: with many, one is known within minutes only"
    mend = "set system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute: 5 in its dynamic configuration"
    return warning(TEMPORAL, "reported problems", detail, mend)


async def _worker(client: Client) -> Diagnosis:
    polled = await last_poll(client)
    now = datetime.now(UTC)
    if polled is None or now - polled > POLLED_WITHIN:
        return warning(TEMPORAL, "worker", "no worker polls", "start one (python worker.py)")
    return ok(TEMPORAL, "worker", f"one polled {in_words(now - polled)} ago")


def storage_lines(root: Path) -> list[Diagnosis]:
    """Return a line for each thing about the folder; blocks."""
    part = f"{STORAGE} {root}"
    reason = why_not_written(root)
    if reason:
        mend = "set VMSH_ROOT to the folder of batches, and give this user the right to write"
        return [wrong(part, "writable", f"{root} {reason}", mend)]
    try:
        free = shutil.disk_usage(root).free
        _exercise(root)
    except OSError as error:
        return [wrong(part, "files", error_in_words(error), _FROM_A_SHELL)]
    lines = [ok(part, "files", "can be made, locked, renamed and removed")]
    space = f"{free / 1e9:.1f} GB are free"
    if free < LEAST_FREE_BYTES:
        return [*lines, warning(part, "space", space, "make room: without it nothing is signed")]
    return [*lines, ok(part, "space", space)]


def _exercise(root: Path) -> None:
    """Do in a folder what the product does there, with a file of our own.

    Raises:
        OSError: the file system can't do it.
    """
    before, after = root / f".doctor-{os.getpid()}", root / f".doctor-{os.getpid()}.renamed"
    try:
        with before.open("xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
        before.rename(after)
    finally:
        before.unlink(missing_ok=True)
        after.unlink(missing_ok=True)
