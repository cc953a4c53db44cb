"""Joins what workflows say of their anchors with what files and targets know since.

1. A workflow knows that its anchor is included; what became of it since is in the batch's receipt.
2. A receipt that names another transaction is newer than the workflow: the anchor moved.
3. The depth of an anchor that is not final yet comes from the target's aggregator, which looks at every block.
4. What is owed, and which batches can't be anchored, is counted from files. A file that can't be read is a problem of
   the cadence.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.instants import of_seconds
from vaultmesh.domain.receipts.levels import next_level
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.status import (
    AggregatorView,
    CadenceMemo,
    CadenceView,
    LastAnchorView,
    NamespaceMemo,
    NamespaceView,
)
from vaultmesh.domain.target import Target
from vaultmesh.process.counts import Counts, count
from vaultmesh.process.failing import one_line
from vaultmesh.storage.batch_files import BatchFiles

COUNTED_WITHIN_SECONDS = 0.5
"""A page does not wait longer for a count."""


def followed(
    view: NamespaceView, files: BatchFiles, aggregators: Sequence[AggregatorView]
) -> NamespaceView:
    """Return a view whose last anchors are as receipts and aggregators have them now. Blocks."""
    by_target = {aggregator.target: aggregator for aggregator in aggregators}
    cadences = {
        label: _with_last_anchor(
            view.namespace,
            cadence,
            files,
            by_target.get(cadence.target),
        )
        for label, cadence in view.cadences.items()
    }
    return view.model_copy(update={"cadences": cadences})


def counted(view: NamespaceView, files: BatchFiles) -> NamespaceView:
    """Return a view whose cadences say what files say is owed. Blocks."""
    cadences = {label: _counted(view, cadence, files) for label, cadence in view.cadences.items()}
    return view.model_copy(update={"cadences": cadences})


async def counted_beside(views: Sequence[NamespaceView], counts: Counts) -> list[NamespaceView]:
    """Return views whose cadences say what is owed, as far as that is counted within half a second.

    What is not counted yet stays unknown; the count goes on, and a later look shows it.
    """
    known = await counts.current(
        {view.namespace: _asked(view) for view in views}, within=COUNTED_WITHIN_SECONDS
    )
    counted_views = []
    for view in views:
        namespace = known.get(view.namespace)
        cadences = {
            label: _with_counts(
                cadence,
                namespace.unanchored.get(label) if namespace else None,
                namespace.problems if namespace else (),
                namespace.oldest.get(label) if namespace else None,
            )
            for label, cadence in view.cadences.items()
        }
        counted_views.append(view.model_copy(update={"cadences": cadences}))
    return counted_views


def _asked(view: NamespaceView) -> NamespaceMemo:
    """Return what is counted of a namespace."""
    cadences = {
        label: CadenceMemo(target=cadence.target) for label, cadence in view.cadences.items()
    }
    return NamespaceMemo(namespace=view.namespace, batches=view.batches, cadences=cadences)


def _counted(view: NamespaceView, cadence: CadenceView, files: BatchFiles) -> CadenceView:
    counts = count(files.owed, view.namespace, cadence.target, view.batches)
    return _with_counts(cadence, counts.unanchored, counts.problems, counts.oldest)


def _with_counts(
    cadence: CadenceView, unanchored: int | None, problems: Sequence[str], oldest: int | None
) -> CadenceView:
    every = list(dict.fromkeys([*problems, *(cadence.problems or ())]))
    oldest_owed = None if oldest is None else of_seconds(oldest)
    return cadence.model_copy(
        update={"unanchored": unanchored, "problems": every, "oldest_owed": oldest_owed}
    )


def promised(view: NamespaceView, deadlines: Mapping[str, timedelta]) -> NamespaceView:
    """Return a view whose cadences say what is promised of their batches."""
    cadences = {
        label: cadence.model_copy(
            update={"deadline_seconds": int(deadlines[label].total_seconds())}
        )
        for label, cadence in view.cadences.items()
        if label in deadlines
    }
    return view.model_copy(update={"cadences": {**view.cadences, **cadences}})


def _with_last_anchor(
    namespace: str, cadence: CadenceView, files: BatchFiles, aggregator: AggregatorView | None
) -> CadenceView:
    anchor = cadence.last_anchor
    if anchor is None or not anchor.batch_ids:
        return cadence
    try:
        receipt = files.receipts.read(namespace, anchor.batch_ids[0], Target.parse(cadence.target))
    except (AnchorError, InvalidValue, OSError) as error:
        return _with_problem(cadence, one_line(str(error)))
    if receipt is None:
        lost = f"the receipt of batch {anchor.batch_ids[0]} is missing; it is written anew from the rounds"
        return _with_problem(cadence, lost)
    return cadence.model_copy(update={"last_anchor": _followed(anchor, receipt, aggregator)})


def _with_problem(cadence: CadenceView, problem: str) -> CadenceView:
    return cadence.model_copy(update={"problems": [*(cadence.problems or ()), problem]})


def _followed(
    anchor: LastAnchorView, receipt: AnchorReceipt, aggregator: AggregatorView | None
) -> LastAnchorView:
    finality = receipt.finality
    rounds = aggregator.rounds if aggregator is not None else []
    seen = next((view.depth for view in rounds if view.tx_ref == receipt.tx_ref), 0)
    depth = max(seen, finality.observed_depth)
    missing = next_level(receipt)
    fresher = {"depth": depth} if missing and missing.depth is not None else {}
    return anchor.model_copy(
        update={
            "tx_ref": receipt.tx_ref,
            "block": receipt.block_number,
            "at": receipt.anchor_ts,
            "finality": finality.state.value,
            "depth": depth,
            "required_depth": finality.required_depth,
            "awaiting": missing.view.model_copy(update=fresher) if missing else None,
        }
    )
