"""The place where ports meet their adapters: which activities a worker offers on which task queue."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client

from activities.answers import Answers
from activities.collector import Collector
from activities.files import Files
from activities.filling import Filling
from activities.recording import Recording
from activities.recovery import Recovery
from activities.reopening import Reopening
from activities.requests import Requests
from activities.resolving import Resolving
from activities.sealing import Sealing
from activities.targets import Targets
from activities.telling import Telling
from activities.watching import Watching
from activities.writing import Writing
from vaultmesh.domain.names import ANCHORS_QUEUE, SCHEDULER_QUEUE
from vaultmesh.runtime.configuration import AnchorsSource
from vaultmesh.runtime.metrics import Metrics

Activity = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Adapters:
    """Everything a process offers."""

    by_queue: dict[str, list[Activity]]
    files: Files
    targets: Targets


def build(client: Client, root: Path, anchors: AnchorsSource, metrics: Metrics) -> Adapters:
    """Build the adapters of one process; nothing is opened before it is used."""
    files = Files(root, metrics.found_unreadable)
    targets = Targets(anchors, root)
    answers = Answers(client, metrics)
    requests = Requests(files, Collector(client), answers, client)
    sealing = Sealing(files, targets)
    writing = Writing(files, targets)
    return Adapters(
        by_queue={
            SCHEDULER_QUEUE: [
                requests.anchor,
                requests.ask_again,
                requests.withdraw,
            ],
            ANCHORS_QUEUE: [
                sealing.seal,
                writing.reserve,
                writing.sign,
                writing.broadcast,
                writing.bump,
                Filling(files, targets).fill,
                Watching(files, targets, Reopening(files)).observe,
                Recording(files, targets, answers).record,
                Recovery(files, targets).recover,
                Resolving(files, targets).resolve,
                Telling(files, answers).answer,
                Telling(files, answers).report_failure,
            ],
        },
        files=files,
        targets=targets,
    )
