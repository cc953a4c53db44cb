"""Fills metrics as a worker with many namespaces has them in an outage: everything failed once, anchored once, and owes for too long."""

import time

from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorOutcome, AnchorRequest, OutcomeStatus
from vaultmesh.domain.status import CadenceMemo, NamespaceMemo, SlotOutcome
from vaultmesh.domain.target import Target
from vaultmesh.process.counts import NamespaceCounts
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.promises import Key, Look, PromiseMetrics

_TARGETS = {"fast": "eip155:31337", "strong": "eip155:1", "cold": "btc:main"}


def crowded(namespaces: int, cadences: int) -> Metrics:
    """Return metrics of so many namespaces with up to three cadences each."""
    metrics, now = Metrics(), int(time.time())
    anchored = AnchorOutcome(status=OutcomeStatus.ANCHORED)
    targets = dict(list(_TARGETS.items())[:cadences])
    memos: dict[str, NamespaceMemo] = {}
    counts: dict[str, NamespaceCounts] = {}
    due: dict[Key, float] = {}
    for number in range(namespaces):
        name = f"dao:example-{number:04d}"
        outcomes = dict.fromkeys(SlotOutcome, number)
        memos[name] = NamespaceMemo(
            namespace=name,
            cadences={
                label: CadenceMemo(target=target, last_anchor=now, outcomes=outcomes)
                for label, target in targets.items()
            },
        )
        counts[name] = NamespaceCounts(dict.fromkeys(targets, 1), (), dict.fromkeys(targets, now))
        for label, target in targets.items():
            request = AnchorRequest(namespace=name, cadence=label, slot=str(now))
            metrics.failed(request, Target.parse(target), FailureKind.NETWORK)
            metrics.ended(request, Target.parse(target), anchored)
            due[name, label, target] = now - number
    metrics.listed(memos)
    metrics.counted(counts)
    metrics.compared(dict.fromkeys(memos, False), {})
    promises = PromiseMetrics(metrics.prefix)
    promises.looked(Look(float(now), due=due))
    metrics.add(promises.page)
    return metrics
