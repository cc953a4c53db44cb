"""Puts together what watches the deadlines of batches, and tells somebody outside that they hold."""

import time
from collections.abc import Awaitable, Callable
from functools import partial

from pydantic import SecretStr

from activities.anchoring.probe import Probing
from activities.anchoring.stores import Files
from activities.anchoring.unfinished import UnfinishedBatches
from vaultmesh.process import heartbeat_url, promises
from vaultmesh.process.config_files import NamespacesSource
from vaultmesh.process.heartbeat_url import HeartbeatUrl
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.promises import PromiseMetrics, Promises
from vaultmesh.process.visibility import Visibility


def promises_of(
    configured: NamespacesSource,
    files: Files,
    visibility: Visibility,
    probing: Probing,
    metrics: Metrics,
) -> Promises:
    """Return what watches whether batches become final within their deadlines."""
    written = PromiseMetrics(metrics.prefix)
    metrics.add(written.page)
    return Promises(
        configured.look,
        lambda: UnfinishedBatches(files).find,
        lambda: visibility.snapshot,
        probing.unreachable,
        written,
    )


def watching(
    promised: Promises, visibility: Visibility, url: SecretStr | None
) -> dict[str, Callable[[], Awaitable[None]]]:
    """Return the tasks that watch promises, and call a URL while they hold, if there is one."""
    tasks: dict[str, Callable[[], Awaitable[None]]] = {promises.TASK: promised.run}
    if url is not None:
        beats = HeartbeatUrl(url, lambda: visibility.snapshot, promised)
        tasks[heartbeat_url.TASK] = partial(beats.run, time.time)
    return tasks
