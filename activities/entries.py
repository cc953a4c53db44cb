"""The place where it is said whose receipts a round gives.

One for each namespace, batch and target: for the requests that the manifest names, then for riders.
"""

from collections.abc import Iterable, Iterator

from activities.files import Files
from activities.receipts import Entry
from vaultmesh.domain.aggregation import Leaf
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.rounds import Manifest, RoundRequest
from vaultmesh.domain.steps import Record


def entries(
    files: Files, order: Record, manifest: Manifest, least_depth: int = 0
) -> Iterator[Entry]:
    """Yield every receipt that the round gives; riders get at least `least_depth` blocks as their required depth."""
    seen: set[tuple[str, str]] = set()
    for index, named in enumerate(manifest.leaves):
        for request in _one_per_namespace(named.requests):
            if (request.namespace, named.batch_id) not in seen:
                seen.add((request.namespace, named.batch_id))
                yield Entry(manifest=manifest, index=index, leaf=named.leaf, request=request)
    for rider in _unique((*order.riders, *order.waiting)):
        for index, leaf in _ridden(files, rider, manifest):
            if (rider.namespace, leaf.batch_id) not in seen:
                seen.add((rider.namespace, leaf.batch_id))
                request = _named(rider, least_depth)
                yield Entry(manifest=manifest, index=index, leaf=leaf, request=request)


def _ridden(files: Files, rider: AnchorRequest, manifest: Manifest) -> Iterator[tuple[int, Leaf]]:
    """Yield the batches of a rider's namespace that the round commits to."""
    for ref in files.owned(rider.namespace, rider.batches):
        leaf = Leaf(ref.leaf_namespace, ref.batch_id, ref.root)
        if leaf in manifest.positions:
            yield manifest.positions[leaf], leaf
        elif manifest.aggregation is None and leaf.root == manifest.commitment:
            yield 0, leaf


def _one_per_namespace(requests: Iterable[RoundRequest]) -> list[RoundRequest]:
    """Return one request for each namespace: its newest, with the largest depth that any of them requires."""
    chosen: dict[str, RoundRequest] = {}
    for request in requests:
        known = chosen.get(request.namespace)
        depth = max(request.required_depth, known.required_depth if known else 0)
        chosen[request.namespace] = request.model_copy(update={"required_depth": depth})
    return list(chosen.values())


def _unique(requests: Iterable[AnchorRequest]) -> list[AnchorRequest]:
    return list({request.id: request for request in requests}.values())


def _named(request: AnchorRequest, least_depth: int) -> RoundRequest:
    return RoundRequest(
        namespace=request.namespace,
        cadence=request.cadence,
        slot=request.slot,
        required_depth=max(request.required_depth, least_depth),
    )
