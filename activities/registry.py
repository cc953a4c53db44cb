"""Connects ports with their adapters: which activities a worker offers on which task queue."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client

from activities.anchoring.fill import Filling
from activities.anchoring.observe import Observing
from activities.anchoring.record import Recording
from activities.anchoring.recover import Recovery
from activities.anchoring.reopen import Reopening
from activities.anchoring.replies import Answers, Replies
from activities.anchoring.requests import Requests
from activities.anchoring.resolve import Resolving
from activities.anchoring.seal import Sealing
from activities.anchoring.signals import Collector
from activities.anchoring.stores import Files
from activities.anchoring.submit import Submitting
from activities.anchoring.targets import Targets
from activities.anchoring.troubles import Troubles
from activities.current import Attempts
from vaultmesh.domain.names import ANCHORS_QUEUE, SCHEDULER_QUEUE
from vaultmesh.process.config_files import AnchorsSource
from vaultmesh.process.metrics import Metrics

Activity = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Adapters:
    """Everything a process offers."""

    by_queue: dict[str, list[Activity]]
    files: Files
    targets: Targets
    troubles: Troubles


def build(
    client: Client,
    root: Path,
    anchors: AnchorsSource,
    metrics: Metrics,
    folders: Callable[[], Iterable[str]] = tuple,
) -> Adapters:
    """Build the adapters of one process; nothing is opened before it is used. `folders` are those of configured batches."""
    files = Files(root, metrics.found_unreadable, folders)
    targets = Targets(anchors, root)
    answers = Answers(client, metrics)
    requests = Requests(files, Collector(client), answers, client)
    submitting = Submitting(files, targets, metrics.targets.bumped)
    recording = Recording(files, targets, answers, Attempts(client), metrics.targets.paid)
    return Adapters(
        by_queue={
            SCHEDULER_QUEUE: [
                requests.anchor,
                requests.ask_again,
                requests.withdraw,
            ],
            ANCHORS_QUEUE: [
                Sealing(files, targets).seal,
                submitting.reserve,
                submitting.sign,
                submitting.broadcast,
                submitting.bump,
                Filling(files, targets).fill,
                Observing(files, targets, Reopening(files), metrics.targets).observe,
                recording.record,
                Recovery(files, targets).recover,
                Resolving(files, targets).resolve,
                Replies(files, answers).answer,
                Replies(files, answers).report_failure,
            ],
        },
        files=files,
        targets=targets,
        troubles=Troubles(),
    )
