"""Decides what goes into a round: every owed batch of every request, once, and nothing twice.

1. A request whose leaf an open round holds joins that round; one that a closed round holds gets its receipt from there (X11).
2. A root that our own direct commitment holds is not committed again.
3. Leaves of lost rounds come first, also for who joined such a round late; then the oldest batches.
4. What a round that can't be read may hold is not sealed again (`activities.anchoring.damage`).
"""

import asyncio
import secrets
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

from temporalio import activity

from activities.anchoring.endpoints import shortcomings
from activities.anchoring.round_receipts import late_joiners_in
from activities.anchoring.stores import Files
from activities.anchoring.targets import Targets
from activities.failures import decided_by_the_aggregator
from vaultmesh.domain.aggregator.messages import Refusal, RoundRequests, Seal, Sealed, SealedRound
from vaultmesh.domain.depth import required_depth
from vaultmesh.domain.errors import LONGEST_MESSAGE, InvalidValue
from vaultmesh.domain.log_events import LogEvent, log_event
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.rounds.leaf import SALT_BYTES, Leaf
from vaultmesh.domain.rounds.manifest import Manifest, OwedLeaf, RoundRequest, compose, round_id
from vaultmesh.ledgers.driver import Anchoring, StaleCaller
from vaultmesh.storage.batches import BatchRef
from vaultmesh.storage.rounds import RoundStore

OTHER_ROOT = "the workers of task queues scheduler and anchors see different roots; give both the same VMSH_ROOT"


class Sealing:
    """Adapter of the port `seal`."""

    def __init__(self, files: Files, targets: Targets) -> None:
        """Seal what the files owe."""
        self._files = files
        self._targets = targets

    @activity.defn(name="seal")
    async def seal(self, order: Seal) -> Sealed:
        """Decide one round and write its manifest; a manifest that a lost result left behind means nothing."""
        with decided_by_the_aggregator():
            anchoring = await self._targets.open(order.target)
            sealed = await asyncio.to_thread(_Sealer(self._files, anchoring, order).seal)
            problems = [*sealed.problems, *await shortcomings(self._files, order.target, anchoring)]
        return sealed.model_copy(update={"problems": problems})


_LOST = (-1, "")
"""Age order of a lost round's leaf that nobody owes yet: before everything else."""


@dataclass(slots=True)
class _Findings:
    """What was found out about the requests of one order."""

    owed: dict[Leaf, OwedLeaf] = field(default_factory=dict)
    owing: dict[Leaf, set[str]] = field(default_factory=dict)
    """Ids of the requests that owe a leaf."""
    ages: dict[Leaf, tuple[int, str]] = field(default_factory=dict)
    """What owed leaves are sorted by: oldest first, and before all others those of lost rounds, which have none."""
    late_joiners: dict[str, set[str]] = field(default_factory=dict)
    """Ids of requests by the round that holds their batches."""
    refused: dict[str, str] = field(default_factory=dict)
    held_back: dict[str, list[str]] = field(default_factory=dict)
    """Why batches of a request are not sealed again, although no round that can be read holds them."""

    def concerned(self) -> set[str]:
        """Return the ids of requests that owe or join."""
        ids: set[str] = set()
        return ids.union(*self.owing.values(), *self.late_joiners.values())


@dataclass(frozen=True, slots=True)
class _Held:
    """Why a leaf is not to be sealed."""

    by: str = ""
    """The round that holds it; empty if only a round that can't be read may."""
    reason: str = ""


class _Sealer:
    """Seals one order; blocks."""

    def __init__(self, files: Files, anchoring: Anchoring, order: Seal) -> None:
        self._files = files
        self._anchoring = anchoring
        self._order = order
        self._rounds: RoundStore = files.rounds(order.target)
        self._damaged = files.damaged(order.target)
        self._findings = _Findings()
        self._problems: list[str] = []
        self._lost: dict[str, list[Leaf]] = {}
        """What each lost round held."""

    def seal(self) -> Sealed:
        """Return what the aggregator is to do with each request."""
        self._rounds.numbers.expect(self._order.number)
        self._problems = list(self._damaged.look(self._order.requests))
        try:
            self._files.require_known(self._order.target, self._order.rounds, self._order.ended)
        except StaleCaller as stale:
            activity.logger.warning("caller is behind the storage", extra={"reason": str(stale)})
            return Sealed(stale=True)
        self._take_lost()
        for request in self._order.requests:
            self._take(request)
        chosen = self._chosen()
        self._refuse_held_back()
        return self._result(self._write(chosen) if chosen else None)

    def _refuse_held_back(self) -> None:
        """Refuse who owes nothing but what is held back; the others are answered for the rest."""
        concerned = self._findings.concerned()
        for request_id, reasons in self._findings.held_back.items():
            if request_id not in concerned:
                self._findings.refused[request_id] = "; ".join(dict.fromkeys(reasons[:3]))

    # --- what is owed ----------------------------------------------------------------------------------------------

    def _take_lost(self) -> None:
        """Owe the leaves of lost rounds again, for the requests that their manifests name and those that joined late."""
        for lost in self._order.reseal:
            since = self._rounds.signed_at(lost)
            for leaf, requests in self._leaves_of(lost):
                self._lost.setdefault(lost, []).append(leaf)
                if not self._held(leaf, 0, since=since):
                    self._owe(leaf, requests)

    def _leaves_of(self, lost: str) -> Iterator[tuple[Leaf, tuple[RoundRequest, ...]]]:
        """Yield what a lost round committed to, with the requests that had it from there."""
        manifest = self._rounds.read_manifest(lost)
        for named in manifest.leaves:
            yield named.leaf, named.requests
        try:
            joined = self._rounds.late_joiners(lost)
        except InvalidValue as error:
            activity.logger.warning("late joiners not sealed again", extra={"err": str(error)})
            self._problems.append(str(error))
            return
        for _, leaf, request in late_joiners_in(joined, manifest):
            yield leaf, (request,)

    def _take(self, request: AnchorRequest) -> None:
        if request.root_id and request.root_id != self._files.root_id():
            self._findings.refused[request.id] = OTHER_ROOT
            return
        uncovered = self._files.owed(request.namespace, self._order.target, request.batches)
        for ref in uncovered.owed:
            self._take_batch(request, ref)
        if uncovered.refused and not uncovered.owed:
            self._findings.refused[request.id] = "; ".join(map(str, uncovered.refused[:3]))

    def _take_batch(self, request: AnchorRequest, ref: BatchRef) -> None:
        leaf = Leaf(ref.leaf_namespace, ref.batch_id, ref.root)
        if leaf not in self._findings.owed:
            held = self._held(leaf, ref.created_at)
            if held is not None and held.by:
                self._findings.late_joiners.setdefault(held.by, set()).add(request.id)
                return
            if held is not None:
                self._findings.held_back.setdefault(request.id, []).append(held.reason)
                return
        depth = required_depth([request.required_depth], self._anchoring.confirmations)
        own = RoundRequest(
            namespace=request.namespace,
            cadence=request.cadence,
            slot=request.slot,
            required_depth=depth,
        )
        self._owe(leaf, (own,))
        self._findings.ages.setdefault(leaf, ref.age_order)
        self._findings.owing.setdefault(leaf, set()).add(request.id)

    def _owe(self, leaf: Leaf, requests: Sequence[RoundRequest]) -> None:
        """Owe a leaf for these requests, and for those that owe it already."""
        known = self._findings.owed.get(leaf)
        merged = dict.fromkeys((*(known.requests if known else ()), *requests))
        self._findings.owed[leaf] = OwedLeaf(
            namespace=leaf.namespace, batch_id=leaf.batch_id, root=leaf.root, requests=tuple(merged)
        )

    def _held(self, leaf: Leaf, created_at: int, *, since: float = 0.0) -> "_Held | None":
        """Return what keeps a leaf from being sealed: a round that holds it, or one that may and can't be read."""
        try:
            holder = self._holder(leaf)
        except InvalidValue as error:  # it was known to hold the leaf before it was damaged
            return _Held(reason=str(error))
        if holder is not None:
            return _Held(by=holder)
        reason = self._damaged.held_back(leaf, created_at, since=since)
        return None if reason is None else _Held(reason=reason)

    def _holder(self, leaf: Leaf) -> str | None:
        """Return the round, not a lost one, that commits to a leaf or directly to its root."""
        holder = self._rounds.find_leaf(leaf, besides=self._order.reseal) or self._rounds.find_root(
            leaf.root
        )
        return None if holder in self._order.reseal else holder

    # --- the round -------------------------------------------------------------------------------------------------

    def _chosen(self) -> list[OwedLeaf]:
        """Return what goes into the round: the oldest leaves, except those that are anchored in a round that is gone."""
        most, findings = self._anchoring.aggregator_settings.max_leaves, self._findings
        by_age = sorted(
            findings.owed.values(), key=lambda owed: findings.ages.get(owed.leaf, _LOST)
        )
        chosen: list[OwedLeaf] = []
        for owed in by_age:
            if len(chosen) == most:
                break
            reason = self._damaged.anchored_in_a_lost_folder(owed.leaf)
            if reason is None:
                chosen.append(owed)
                continue
            del findings.owed[owed.leaf]
            for position in findings.owing.pop(owed.leaf, ()):
                findings.held_back.setdefault(position, []).append(reason)
        return chosen

    def _write(self, chosen: list[OwedLeaf]) -> Manifest:
        """Compose the round and write its manifest, exclusively and durably."""
        manifest = self._composed(chosen)
        if self._rounds.create_manifest(manifest):
            self._log(manifest)
            return manifest
        return self._rounds.read_manifest(manifest.round_id)

    def _log(self, manifest: Manifest) -> None:
        """Say of each batch in which round it is; of one that is there already, an earlier seal has said it."""
        for owed in manifest.leaves:
            for request in owed.requests:
                log_event(
                    activity.logger,
                    LogEvent.SEALED,
                    ns=request.namespace,
                    label=request.cadence,
                    slot=request.slot,
                    target=str(self._order.target),
                    batch=owed.batch_id,
                    root=str(owed.root),
                    round=manifest.round_id,
                )

    def _composed(self, owed: list[OwedLeaf]) -> Manifest:
        """Compose the round; a root that was given up as a direct commitment goes into a tree, since its own folder is taken."""
        target, mode = self._order.target, self._anchoring.aggregation
        given_up = [
            leaf for leaf in owed if self._rounds.is_forgotten(round_id(target, leaf.root.digest))
        ]
        if given_up:
            owed, mode = given_up, "always"
        return compose(target, owed, mode, lambda: secrets.token_bytes(SALT_BYTES))

    def _result(self, manifest: Manifest | None) -> Sealed:
        findings = self._findings
        held = self._held_by(manifest)
        owing = findings.owing.items()
        mine = set[str]().union(*(ids for leaf, ids in owing if leaf in held))
        partial = set[str]().union(*(ids for leaf, ids in owing if leaf not in held))
        everybody = {request.id for request in self._order.requests}
        return Sealed(
            round=self._sealed_round(manifest) if manifest else None,
            requests=self._in_order(mine),
            partial=self._in_order(partial),
            late_joiners=list(self._late_joiners(mine)),
            rebuild=self._rebuild(mine),
            covered=self._in_order(everybody - findings.concerned() - set(findings.refused)),
            refused=[
                Refusal(request=request_id, reason=reason[:LONGEST_MESSAGE])
                for request_id, reason in findings.refused.items()
            ],
            resealed=self._resealed(held),
            settings=self._anchoring.aggregator_settings,
            problems=self._problems,
            number=self._rounds.numbers.highest,
        )

    def _late_joiners(self, mine: set[str]) -> Iterator[RoundRequests]:
        """Yield who joins which round: each request the first that holds batches of it, whose recording looks for the others.

        Named with each of them, a thousand requests that miss the receipts of thousands of rounds would be more than a server
        takes. A round that the caller drives is named all the same: its receipts are written again.
        """
        driven = {known.round_id for known in self._order.rounds}
        joined: set[str] = set()
        for holder, ids in self._findings.late_joiners.items():
            joining = ids - mine
            if joining - joined or (joining and holder in driven):
                yield RoundRequests(round_id=holder, requests=self._in_order(joining - joined))
            joined |= joining

    def _in_order(self, ids: Set[str]) -> list[str]:
        """Return ids in the order of the requests."""
        return [request.id for request in self._order.requests if request.id in ids]

    def _rebuild(self, mine: set[str]) -> RoundRequests | None:
        """Return what is to be written again beside the new round; its recording looks for further rounds itself."""
        missing = {
            holder: ids & mine
            for holder, ids in self._findings.late_joiners.items()
            if ids & mine and self._rounds.closed(holder) is not None
        }
        if not missing:
            return None
        ids = set[str]().union(*missing.values())
        return RoundRequests(round_id=next(iter(missing)), requests=self._in_order(ids))

    def _held_by(self, manifest: Manifest | None) -> set[Leaf]:
        """Return the owed leaves that the new round commits to; a direct one holds every leaf of its root."""
        if manifest is None:
            return set()
        if manifest.aggregation is None:
            return {leaf for leaf in self._findings.owed if leaf.root == manifest.commitment}
        return set(manifest.positions)

    def _resealed(self, held: set[Leaf]) -> list[str]:
        def is_safe(leaf: Leaf) -> bool:
            other = None if leaf in held else self._held(leaf, 0)
            return leaf in held or (other is not None and bool(other.by))

        return [lost for lost in self._order.reseal if all(map(is_safe, self._lost[lost]))]

    def _sealed_round(self, manifest: Manifest) -> SealedRound:
        owed = self._findings.owed.values()
        depths = {request.required_depth for leaf in owed for request in leaf.requests}
        return SealedRound(
            round_id=manifest.round_id,
            commitment=manifest.commitment,
            label=manifest.label,
            leaves=len(manifest.leaves),
            required_depths=sorted({*manifest.required_depths, *depths}),
            candidates=len(self._rounds.candidates(manifest.round_id)),
            number=self._rounds.number_of(manifest.round_id),
        )
