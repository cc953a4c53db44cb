"""Lists whose receipts a round gives.

One for each namespace, batch and target: for the requests that the manifest names, for the late joiners that
the round's folder names, then for new ones.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from activities.anchoring.receipts import Entry
from activities.anchoring.stores import Files
from vaultmesh.domain.aggregator.messages import Record
from vaultmesh.domain.depth import required_depth
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.rounds.leaf import Leaf
from vaultmesh.domain.rounds.manifest import Manifest, RoundRequest

Part = tuple[int, Leaf, RoundRequest]
"""Position of the leaf that proves a batch, the batch, and the request that its receipt names."""


def entries(
    files: Files, order: Record, manifest: Manifest, least_depth: int = 0
) -> Iterator[Entry]:
    """Yield every receipt that the round gives; late joiners get at least `least_depth` blocks as their required depth."""
    seen: set[tuple[str, str]] = set()
    named = ((*part, False) for part in _asked_for(manifest))
    joined = (
        (*part, True)
        for part in (*_stored(files, manifest), *_ridden_on(files, order, manifest, least_depth))
    )
    for index, leaf, request, rides in chain(named, joined):
        if (request.namespace, leaf.batch_id) not in seen:
            seen.add((request.namespace, leaf.batch_id))
            yield Entry(manifest, index, leaf, request, rides)


def _asked_for(manifest: Manifest) -> Iterator[Part]:
    for index, named in enumerate(manifest.leaves):
        for request in _one_per_namespace(named.requests):
            yield index, named.leaf, request


def _stored(files: Files, manifest: Manifest) -> Iterator[Part]:
    for one in files.rounds(manifest.target).late_joiners(manifest.round_id).late_joiners:
        if one.index < len(manifest.leaves):
            leaf = Leaf(one.leaf_namespace, one.batch_id, manifest.leaves[one.index].root)
            yield (
                one.index,
                leaf,
                _request(one.namespace, one.cadence, one.slot, one.required_depth),
            )


def _ridden_on(files: Files, order: Record, manifest: Manifest, least_depth: int) -> Iterator[Part]:
    for late_joiner in _unique((*order.late_joiners, *order.waiting)):
        depth = required_depth([late_joiner.required_depth], least_depth)
        request = _request(late_joiner.namespace, late_joiner.cadence, late_joiner.slot, depth)
        for index, leaf in _ridden(files, late_joiner, manifest):
            yield index, leaf, request


def _ridden(
    files: Files, late_joiner: AnchorRequest, manifest: Manifest
) -> Iterator[tuple[int, Leaf]]:
    """Yield the batches of a late joiner's namespace that the round commits to."""
    for ref in files.owned(late_joiner.namespace, late_joiner.batches):
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
        depth = required_depth([request.required_depth], known.required_depth if known else 0)
        chosen[request.namespace] = request.model_copy(update={"required_depth": depth})
    return list(chosen.values())


def _unique(requests: Iterable[AnchorRequest]) -> list[AnchorRequest]:
    return list({request.id: request for request in requests}.values())


def _request(namespace: str, cadence: str, slot: str, required_depth: int) -> RoundRequest:
    return RoundRequest(
        namespace=namespace, cadence=cadence, slot=slot, required_depth=required_depth
    )
