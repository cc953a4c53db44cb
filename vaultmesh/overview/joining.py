"""Joins what workflows say of their anchors with what files and targets know since.

1. A workflow knows that its anchor is included; what became of it since is in the batch's receipt.
2. A receipt that names another transaction is newer than the workflow: the anchor moved.
3. The depth of an anchor that is not final yet comes from the target's aggregator, which looks at every block.
4. What is owed, and which batches can't be anchored, is counted from files. A file that can't be read is a problem of
   the cadence.
"""

from collections.abc import Sequence

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.receipts.levels import next_level
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.status import AggregatorView, CadenceView, LastAnchorView, NamespaceView
from vaultmesh.domain.target import Target
from vaultmesh.process.counts import count
from vaultmesh.process.failing import one_line
from vaultmesh.storage.batch_files import BatchFiles


def joined(
    view: NamespaceView, files: BatchFiles, aggregators: Sequence[AggregatorView]
) -> NamespaceView:
    """Return a view whose cadences say what files and aggregators say of them. Blocks."""
    by_target = {aggregator.target: aggregator for aggregator in aggregators}
    cadences = {
        label: _with_last_anchor(
            view.namespace,
            _counted(view, cadence, files),
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


def _counted(view: NamespaceView, cadence: CadenceView, files: BatchFiles) -> CadenceView:
    counts = count(files.owed, view.namespace, cadence.target, view.batches)
    update = {"unanchored": counts.unanchored, "problems": list(counts.problems)}
    return cadence.model_copy(update=update)


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
